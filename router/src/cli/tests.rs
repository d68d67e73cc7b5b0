#![allow(clippy::unwrap_used, reason = "tests")]

use clap::CommandFactory;

use super::*;
use crate::directory::tests::TestDirectory;
use crate::observed::tests::busy;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn explain_wants_exactly_one_source() {
    let base = ["kernpost-router", "explain", "--service", "99050012104000", "--jurisdiction", "147130000000"];
    let with = |more: &[&str]| Cli::try_parse_from(base.iter().chain(more)).is_ok();
    assert!(!with(&[]));
    assert!(with(&["--directory", "d"]));
    assert!(with(&["--directory", "d", "--trust-anchor", "f"]));
    assert!(with(&["--admin", "http://[::1]:1"]));
    assert!(!with(&["--admin", "http://[::1]:1", "--directory", "d"]));
    assert!(!with(&["--admin", "http://[::1]:1", "--trust-anchor", "f"]));
}

fn explain_of(directory: &TestDirectory, jurisdiction: &str, json: bool) -> (ExitCode, String) {
    let args = ExplainArgs {
        service: "99050012104000".to_owned(),
        jurisdiction: jurisdiction.to_owned(),
        directory: Some(directory.paths().folder),
        trust_anchor: Some(directory.paths().trust_anchor),
        admin: None,
        json,
    };
    let mut out = Vec::new();
    let code = explain::run(&args, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn explain_says_where_a_message_goes_and_exits_3_when_nobody_is_responsible() {
    let directory = TestDirectory::new(crate::clock::wall());
    let (code, text) = explain_of(&directory, "147130000000", false);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(text.contains("goes to kern/amt\n  by rule leipzig of zone kern"), "{text}");
    let (code, text) = explain_of(&directory, "000000000000", false);
    assert_eq!(code, ExitCode::from(3));
    assert!(text.contains("NOBODY is responsible"), "{text}");
}

#[test]
fn explain_as_json_has_the_documented_fields() {
    let directory = TestDirectory::new(crate::clock::wall());
    let (_, text) = explain_of(&directory, "147130000000", true);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for field in ["service", "jurisdiction", "generation", "decision", "candidates"] {
        assert!(json.get(field).is_some(), "{field} in {text}");
    }
}

#[test]
fn status_begins_with_what_is_wrong() {
    let observed = busy();
    observed.directory.on_refused("zone kern: too few signatures");
    let mut out = Vec::new();
    status::show(&crate::admin::StatusPage::of(&observed), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("kern/router/r1  NOT READY"), "{text}");
    assert_eq!(lines[1], "  ! directory: starting");
    assert!(text.contains("  ! the last directory was refused: zone kern: too few signatures"));
    assert!(text.contains("ledger     30 accepted = 2 in flight + 28 delivered"), "{text}");
    assert!(text.contains("refusals   3 busy"), "{text}");
    assert!(text.contains("router kern/router/r2"), "{text}");
}
