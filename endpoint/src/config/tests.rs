//! The example parses, and everything wrong with a file is said at once.

use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_routing_table::model::Maintainers;
use kernpost_routing_table::source::anchor_to_toml;

use super::*;

const EXAMPLE: &str = include_str!("../../kernpost.example.toml");

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["portal.example".to_owned()]).unwrap();
    write("portal.pem", &certified.cert.pem());
    write("portal.key", &certified.signing_key.serialize_pem());
    write("ca.pem", &certified.cert.pem());
    let key = SigningKey::generate(Algorithm::Esp256).unwrap();
    write("portal.sign.pem", &key.to_pkcs8_pem().unwrap());
    let anchor = TrustAnchor {
        root_zone: "de".parse().unwrap(),
        maintainers: Maintainers { keys: vec![key.public().clone()], threshold: 1 },
        minimum_serial: 0,
    };
    write("trust-anchor.toml", &anchor_to_toml(&anchor).unwrap());
    folder
}

fn load_text(folder: &tempfile::TempDir, text: &str) -> Result<ClientConfig, ConfigProblems> {
    let file = folder.path().join("kernpost.toml");
    std::fs::write(&file, text).unwrap();
    load(&file, &Purpose::default())
}

#[test]
fn the_example_configuration_parses() {
    let config = load_text(&folder(), EXAMPLE).unwrap();
    assert_eq!((config.endpoints.len(), config.links.len(), config.links[0].routers.len()), (1, 1, 2));
    assert!(matches!(config.directory, DirectoryConfig::Link { .. }));
}

#[test]
fn what_the_example_comments_out_is_valid_too() {
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            let is_setting = bare.starts_with('[') || bare.contains(" = ");
            format!("{}\n", if is_setting { bare } else { line })
        })
        .collect();
    let problems = load_text(&folder(), &uncommented).unwrap_err();
    assert!(problems.problems.iter().all(|problem| problem.contains("leipzig")), "{problems}");
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = EXAMPLE
        .replace("id = \"sn/portal\"", "id = \"SN/portal\"")
        .replace("router-a.kernpost.example:7070", "router-a")
        .replace("portal.key", "missing.key")
        .replace("trust_anchor = \"trust-anchor.toml\"", "trust_anchor = \"nowhere.toml\"");
    let problems = load_text(&folder(), &text).unwrap_err();
    for part in ["SN/portal", "\"router-a\"", "missing.key", "nowhere.toml"] {
        assert!(problems.problems.iter().any(|problem| problem.contains(part)), "{part} not in {problems}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = EXAMPLE.replace("[state]", "[state]\nfolders = 1");
    let problems = load_text(&folder(), &text).unwrap_err();
    assert!(problems.to_string().contains("folders"), "{problems}");
}
