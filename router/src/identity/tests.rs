#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rcgen::{CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType};

use super::*;

const DOMAIN: &str = "kern.example";

fn leaf(sans: Vec<SanType>, names: &[(DnType, &str)]) -> (Vec<u8>, KeyPair) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name = DistinguishedName::new();
    ca.distinguished_name.push(DnType::CountryName, "DE");
    ca.distinguished_name.push(DnType::OrganizationName, "Amt, Zwei");
    let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans;
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in names {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.der().to_vec(), key)
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn forms(sans: Vec<SanType>) -> Vec<String> {
    let (der, _) = leaf(sans, &[(DnType::CommonName, "r1")]);
    link_identities(&der, &DOMAIN.parse().unwrap())
        .unwrap()
        .iter()
        .map(|identity| identity.to_string().split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn candidates_come_in_the_order_of_wire_2_2() {
    let sans = vec![dns("B.example"), uri("spiffe://kern.example/bund/portal"), dns("a.example")];
    let (der, key) = leaf(sans, &[(DnType::CountryName, "DE"), (DnType::CommonName, "r+1")]);
    let identities = link_identities(&der, &DOMAIN.parse().unwrap()).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    assert_eq!(
        identities,
        [
            LinkIdentity::Uri("spiffe://kern.example/bund/portal".to_owned()),
            LinkIdentity::Spki(Digest::of(&spki)),
            LinkIdentity::Dns("b.example".to_owned()),
            LinkIdentity::Dns("a.example".to_owned()),
            LinkIdentity::Name("O=Amt\\, Zwei,C=DE|CN=r\\+1,C=DE".to_owned()),
        ]
    );
}

#[test]
fn two_uri_names_give_no_uri_identity() {
    let one = uri("spiffe://kern.example/a");
    assert_eq!(forms(vec![one.clone()]), ["uri", "spki", "name"]);
    assert_eq!(forms(vec![one.clone(), one]), ["spki", "name"]);
    let foreign = uri("https://kern.example/a");
    assert_eq!(forms(vec![uri("spiffe://kern.example/a"), foreign]), ["spki", "name"]);
}

#[test]
fn a_uri_of_another_trust_domain_is_no_identity() {
    for other in [
        "spiffe://kern.example.evil/a",
        "spiffe://kern.example",
        "spiffe://kern.example/",
        "https://kern.example/a",
        "SPIFFE://kern.example/a",
    ] {
        assert_eq!(forms(vec![uri(other)]), ["spki", "name"], "{other}");
    }
}

#[test]
fn unknown_attribute_types_are_written_as_hex_of_their_der() {
    let (der, _) = leaf(vec![], &[(DnType::CustomDnType(vec![2, 5, 4, 5]), "42"), (DnType::CommonName, "x")]);
    let identities = link_identities(&der, &DOMAIN.parse().unwrap()).unwrap();
    let LinkIdentity::Name(name) = identities.last().unwrap() else {
        panic!("the last form is the name");
    };
    assert_eq!(name, "O=Amt\\, Zwei,C=DE|CN=x,2.5.4.5=#0c023432");
}

#[test]
fn garbage_is_an_error_not_a_panic() {
    for length in 0..64 {
        let garbage = vec![0x30; length];
        assert!(link_identities(&garbage, &DOMAIN.parse().unwrap()).is_err());
    }
}

#[test]
fn a_trust_domain_is_a_bare_domain() {
    assert_eq!("spiffe://a".parse::<TrustDomain>(), Err(TrustDomainError::Character(7)));
    assert_eq!("".parse::<TrustDomain>(), Err(TrustDomainError::Length));
}
