//! Do the files an operator gets fit the programs? Example configurations are read by the real parser; every metric a
//! rule or a dashboard asks for is one that the router exports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_endpoint::config::Purpose;
use kernpost_router::config::Config;
use kernpost_router::metrics;
use kernpost_router::pki::{DevPkiRequest, write_dev_pki};
use kernpost_routing_table::model::{Maintainers, TrustAnchor};
use kernpost_routing_table::source::anchor_to_toml;

fn ops() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(file: &str) -> String {
    fs::read_to_string(ops().join(file)).unwrap()
}

fn exported() -> BTreeSet<&'static str> {
    metrics::exported().into_iter().map(|family| family.name).collect()
}

/// Every word of `text` that begins like one of our metrics.
fn asked_for(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("kernpost_")).collect()
}

fn all_exported(file: &str) {
    let text = read(file);
    let asked = asked_for(&text);
    let known = exported();
    let unknown: Vec<_> = asked.iter().filter(|name| !known.contains(*name)).collect();
    assert!(asked.len() > 5, "{file} asks for {} metrics", asked.len());
    assert!(unknown.is_empty(), "{file} asks for metrics that no router exports: {unknown:?}");
}

#[test]
fn the_example_router_configuration_is_valid() {
    let file = ops().join("examples/router.toml");
    if let Err(problems) = Config::load(&file) {
        panic!("{problems}");
    }
}

#[test]
fn the_example_router_configuration_is_valid_with_what_it_leaves_out() {
    let setting = |line: &str| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        line.starts_with('[') || !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let text = read("examples/router.toml");
    let all = text.lines().map(|line| line.strip_prefix("# ").filter(|line| setting(line)).unwrap_or(line));
    let text: Vec<&str> = all.collect();
    let config = Config::parse(&ops().join("examples/router.toml"), &text.join("\n"));
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.custody.is_some() && config.admin.operators_group.is_some());
}

#[test]
fn every_alert_that_names_a_section_of_the_runbook_finds_it() {
    let runbook = read("RUNBOOK.md");
    let heading = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace(':', "");
    let headings: BTreeSet<String> = runbook.lines().filter(|line| line.starts_with("##")).map(heading).collect();
    let links = runbook.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    let missing: Vec<&str> = links.filter(|link| !headings.contains(*link)).collect();
    assert!(missing.is_empty(), "the runbook has no {missing:?}");
}

/// The parser reads every file that a configuration names, so the test makes them.
fn with_what_it_names(example: &str, keys: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("keys")).unwrap();
    let leaf = "site/example";
    let request = DevPkiRequest {
        out: folder.join("tls"),
        trust_domain: "kern.example".parse().unwrap(),
        identities: vec![leaf.to_owned()],
        dns: Vec::new(),
        ips: Vec::new(),
    };
    let files = write_dev_pki(&request).unwrap();
    fs::rename(&files.leaves[0].certificates, folder.join("tls/site.pem")).unwrap();
    fs::rename(&files.leaves[0].key, folder.join("tls/site.key")).unwrap();
    fs::rename(&files.ca, folder.join("tls/roots.pem")).unwrap();
    let key = SigningKey::generate(Algorithm::Esp256).unwrap();
    for name in keys {
        fs::write(folder.join(name), key.to_pkcs8_pem().unwrap().as_bytes()).unwrap();
    }
    let maintainers = Maintainers { keys: vec![key.public().clone()], threshold: 1 };
    let anchor = TrustAnchor { root_zone: "de".parse().unwrap(), maintainers, minimum_serial: 1 };
    fs::write(folder.join("trust-anchor.toml"), anchor_to_toml(&anchor).unwrap()).unwrap();
    let file = folder.join("example.toml");
    fs::copy(ops().join(example), &file).unwrap();
    if let Err(problems) = kernpost_endpoint::config::load(&file, &Purpose::default()) {
        panic!("{problems}");
    }
}

#[test]
fn the_example_authority_configuration_is_valid() {
    with_what_it_names("examples/authority.toml", &["keys/auffang.pem", "keys/kreis-14521.pem"]);
}

#[test]
fn the_example_portal_configuration_is_valid() {
    with_what_it_names("examples/portal.toml", &["keys/portal-sn.pem"]);
}

#[test]
fn the_dashboard_asks_only_for_exported_metrics() {
    all_exported("grafana/kernpost.json");
}

#[test]
fn the_alert_rules_ask_only_for_exported_metrics() {
    all_exported("prometheus/kernpost.rules.yml");
}

#[test]
fn the_dashboard_is_json_with_queries_in_every_panel() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/kernpost.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().unwrap();
            assert!(
                !targets.is_empty() && targets.iter().all(|target| target["expr"].is_string()),
                "{}",
                panel["title"]
            );
        }
    }
}

#[test]
fn the_runbook_explains_every_alert() {
    let runbook = read("RUNBOOK.md");
    let rules = read("prometheus/kernpost.rules.yml");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(runbook.contains(&format!("| {alert} |")), "ops/RUNBOOK.md says nothing about {alert}");
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let tests = read("prometheus/kernpost.rules.test.yml");
    let rules = read("prometheus/kernpost.rules.yml");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")), "no test makes {alert} fire");
    }
}

#[test]
fn the_units_start_the_programs_hardened() {
    for unit in ["systemd/kernpost-router.service", "systemd/kernpost-receive@.service"] {
        let text = read(unit);
        for line in
            ["NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes", "CapabilityBoundingSet="]
        {
            assert!(text.lines().any(|found| found == line), "{unit} lacks {line}");
        }
    }
}
