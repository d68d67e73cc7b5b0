#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::time::UnixMs;
use proptest::prelude::*;

fn fault<T: FromStr<Err = IdError> + fmt::Debug>(text: &str) -> (usize, IdFault) {
    let error = text.parse::<T>().unwrap_err();
    (error.at, error.reason)
}

#[test]
fn an_endpoint_id_is_a_zone_and_a_name() {
    let id: EndpointId = "de.sn/leipzig.gewerbe-1".parse().unwrap();
    assert_eq!((id.zone(), id.name()), ("de.sn", "leipzig.gewerbe-1"));
}

#[test]
fn a_router_id_has_router_in_the_middle_and_decides_the_party() {
    let id: RouterId = "de.sn/router/r1".parse().unwrap();
    assert_eq!((id.zone(), id.name()), ("de.sn", "r1"));
    assert_eq!("de.sn/router/r1".parse(), Ok(Party::Router(id)));
    assert!(matches!("de.sn/router".parse(), Ok(Party::Endpoint(_))));
    assert!("de.sn/router/r1".parse::<EndpointId>().is_err());
}

#[test]
fn id_errors_name_the_position_and_the_reason() {
    assert_eq!(fault::<ZoneId>(""), (1, IdFault::LabelEdge));
    assert_eq!(fault::<ZoneId>("de..sn"), (4, IdFault::LabelEdge));
    assert_eq!(fault::<ZoneId>("de.sn-"), (6, IdFault::LabelEdge));
    assert_eq!(fault::<ZoneId>("a.b.c.d.e"), (9, IdFault::Labels));
    assert_eq!(fault::<ZoneId>("abcdefghijklmnopq"), (17, IdFault::LabelLength));
    assert_eq!(fault::<ZoneId>("dé"), (2, IdFault::Character));
    assert_eq!(fault::<EndpointId>("de"), (3, IdFault::Slash));
    assert_eq!(fault::<EndpointId>("de/Leipzig"), (4, IdFault::Character));
    assert_eq!(fault::<EndpointId>("de/leipzig."), (11, IdFault::NameEdge));
    assert_eq!(fault::<EndpointId>("de/"), (4, IdFault::NameEdge));
    assert_eq!(fault::<EndpointId>(&format!("de/{}", "x".repeat(41))), (44, IdFault::NameLength));
    assert_eq!(fault::<EndpointId>(&"x".repeat(70)), (65, IdFault::Length));
    assert_eq!(fault::<RouterId>("de/leipzig"), (3, IdFault::RouterSlash));
    let message = "de/le_ipzig".parse::<EndpointId>().unwrap_err().to_string();
    assert_eq!(message, "endpoint id: character 6: only a-z, 0-9, - and . are allowed here");
}

#[test]
fn a_message_id_is_a_uuid_of_version_7() {
    let id = MessageId::from_parts(UnixMs(0x0198_a1b2_3c4d), [0xff; 10]);
    assert_eq!(id.to_string(), "0198a1b2-3c4d-7fff-bfff-ffffffffffff");
    assert_eq!(id.to_string().parse(), Ok(id));
    for bad in ["", "0198a1b2", "0198A1b2-3c4d-7fff-bfff-ffffffffffff", "0198a1b2-3c4d-7fff-bfff-ffffffffffff0"] {
        assert!(bad.parse::<MessageId>().is_err(), "{bad}");
    }
}

#[test]
fn link_identities_have_four_forms() {
    let spki = format!("spki:{}", "0a".repeat(32));
    for good in ["uri:spiffe://kern.example/portal/1", &spki, "dns:a.example", "name:CN=CA,C=DE|CN=x:y"] {
        assert_eq!(good.parse::<LinkIdentity>().unwrap().to_string(), *good);
    }
    for bad in ["", "uri:", "uri:https://x/", "uri:spiffe:///x", "spki:0a", "dns:A.example", "name:CN=x", "mail:x"] {
        assert!(bad.parse::<LinkIdentity>().is_err(), "{bad}");
    }
}

#[test]
fn the_directory_version_does_not_depend_on_the_order_of_zones() {
    let zone = |id: &str| ZoneVersion { zone: id.parse().unwrap(), serial: 7, digest: Digest([1; 32]) };
    let (a, b) = (zone("de"), zone("de.sn"));
    assert_eq!(DirectoryVersion::of(&[a.clone(), b.clone()]), DirectoryVersion::of(&[b.clone(), a.clone()]));
    assert_ne!(DirectoryVersion::of(&[a]), DirectoryVersion::of(&[b]));
}

/// The rule of WIRE 1.6 for zones written in another way.
fn oracle_zone(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    labels.len() <= 4
        && labels.iter().all(|label| {
            (1..=16).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn oracle_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=40).contains(&text.len())
        && text.chars().all(|c| edge(c) || c == '-' || c == '.')
        && text.starts_with(edge)
        && text.ends_with(edge)
}

proptest! {
    #[test]
    fn checking_agrees_with_the_rule(text in "\\PC{0,8}|[ab.-]{0,12}|[a.-]{0,20}/[a.-]{1,44}|[a.]{1,9}/router/[a.-]{1,9}") {
        prop_assert_eq!(ZoneId::check(&text).is_ok(), oracle_zone(&text));
        let endpoint = text.split_once('/').is_some_and(|(zone, name)| oracle_zone(zone) && oracle_name(name));
        prop_assert_eq!(EndpointId::check(&text).is_ok(), endpoint && text.len() <= 64);
        let router = text.split_once("/router/").is_some_and(|(zone, name)| oracle_zone(zone) && oracle_name(name));
        prop_assert_eq!(RouterId::check(&text).is_ok(), router && text.len() <= 64);
    }

    #[test]
    fn any_text_parses_or_is_refused_and_prints_back(text in "\\PC{0,40}|(uri|spki|dns|name):\\PC{0,20}|[0-9a-f-]{36}") {
        if let Ok(id) = text.parse::<LinkIdentity>() {
            prop_assert_eq!(id.to_string(), text.clone());
        }
        if let Ok(id) = text.parse::<MessageId>() {
            prop_assert_eq!(id.to_string(), text.clone());
        }
        if let Ok(party) = text.parse::<Party>() {
            prop_assert_eq!(party.to_string(), text);
        }
    }
}
