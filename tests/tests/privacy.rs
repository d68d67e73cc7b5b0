//! Is ops/PRIVACY.md complete? Its table is compared with the sources, both ways.
//!
//! A new field of something stored, a new keyspace, a new source file that writes to disk or makes JSON, a new log field or metric
//! label: each fails here until a row of the table says what it is for, how long it is kept and how it is erased. And whatever
//! the table says: payload, case, mailbox, problem and statement are in no log line and no label.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "privacy/logging.rs"]
mod logging;
#[path = "privacy/sources.rs"]
mod sources;
#[path = "privacy/table.rs"]
mod table;

use sources::Source;
use table::{Code, Row};

/// Words that no log line, trace or label may carry.
const NEVER_LOGGED: [&str; 8] =
    ["payload", "case", "mailbox", "problem", "statement", "case_hex", "mailbox_hex", "statement_hex"];
/// Fields that a row naming a whole file (`file#*`) must not hide.
const OF_PERSONS: [&str; 15] = [
    "sender",
    "recipient",
    "addressee",
    "case",
    "mailbox",
    "payload",
    "problem",
    "statement",
    "case_hex",
    "mailbox_hex",
    "statement_hex",
    "in_reply_to",
    "user",
    "uid",
    "reason_text",
];
/// Crates whose programs and libraries are shipped; tests, benches and the build's own tasks keep nothing of anybody.
const SHIPPED: [&str; 7] = ["codecs", "routing-table", "router/core", "router/spool", "router", "endpoint", "loadgen"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rows() -> Vec<Row> {
    table::read(&fs::read_to_string(root().join("ops/PRIVACY.md")).unwrap())
}

fn shipped() -> Vec<Source> {
    SHIPPED.iter().flat_map(|of| sources::below(&root(), &format!("{of}/src"))).collect()
}

/// The fields that rows with this code list.
fn listed(rows: &[Row], matches: impl Fn(&Code) -> bool) -> BTreeSet<String> {
    let named = rows.iter().filter(|row| row.code.iter().any(&matches));
    named.flat_map(|row| row.fields.iter().cloned()).collect()
}

#[track_caller]
fn same(what: &str, in_code: &BTreeSet<String>, in_table: &BTreeSet<String>) {
    let missing: Vec<_> = in_code.difference(in_table).collect();
    let gone: Vec<_> = in_table.difference(in_code).collect();
    assert!(missing.is_empty(), "{what}: ops/PRIVACY.md does not list {missing:?}");
    assert!(gone.is_empty(), "{what}: ops/PRIVACY.md lists {gone:?}, which the code does not have");
}

#[test]
fn every_row_says_everything() {
    let rows = rows();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in &rows {
        assert!(row.cells.iter().all(|cell| !cell.is_empty()), "an empty cell in the row of {}", row.store);
        let personal = row.personal.split([' ', ';', ',', ':']).next().unwrap();
        assert!(["yes", "no", "indirectly"].contains(&personal), "{}: personal is {:?}", row.store, row.personal);
    }
    let names: BTreeSet<_> = rows.iter().map(|row| &row.store).collect();
    assert_eq!(names.len(), rows.len(), "two rows have one name");
}

#[test]
fn every_field_of_what_is_stored_is_in_the_table_and_no_other() {
    for row in rows() {
        let types: Vec<_> = row.code.iter().filter_map(Code::as_type).collect();
        if types.is_empty() {
            continue;
        }
        let mut fields = BTreeSet::new();
        for (file, name) in types {
            let source = Source::read(&root(), file);
            let found = source.fields(name).unwrap_or_else(|| panic!("{}: {file} has no type {name}", row.store));
            fields.extend(found);
        }
        same(&row.store, &fields, &row.fields.iter().cloned().collect());
    }
}

#[test]
fn every_source_that_writes_to_disk_is_in_the_table() {
    let rows = rows();
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| &row.code).filter_map(Code::file).collect();
    for source in shipped().iter().filter(|source| source.writes()) {
        assert!(
            named.contains(source.path.as_str()),
            "{} writes files; no row of ops/PRIVACY.md names it",
            source.path
        );
    }
    for file in named {
        assert!(root().join(file).is_file(), "ops/PRIVACY.md names {file}, which is not there");
    }
}

#[test]
fn every_type_that_leaves_as_json_or_toml_is_in_the_table() {
    let rows = rows();
    let types: BTreeSet<_> = rows.iter().flat_map(|row| &row.code).filter_map(Code::as_type).collect();
    let whole: BTreeSet<_> = rows.iter().flat_map(|row| &row.code).filter_map(Code::whole).collect();
    for source in shipped() {
        for (name, fields) in source.serialised() {
            let path = source.path.as_str();
            if types.contains(&(path, name.as_str())) {
                continue;
            }
            assert!(whole.contains(path), "{path}: {name} leaves the process; no row of ops/PRIVACY.md names it");
            let of_persons: Vec<_> = fields.iter().filter(|field| OF_PERSONS.contains(&field.as_str())).collect();
            assert!(of_persons.is_empty(), "{path}: {name} has {of_persons:?}: give it a row with its fields");
        }
    }
}

#[test]
fn every_keyspace_of_the_spool_has_a_row() {
    let space = Source::read(&root(), "router/spool/src/store/space.rs");
    let spaces: BTreeSet<_> = space.fields("Space").unwrap().iter().map(|name| name.to_lowercase()).collect();
    let rows = rows();
    let named = rows.iter().filter_map(|row| row.store.strip_prefix("router, spool: ")).map(str::to_owned);
    same("keyspaces of the spool", &spaces, &named.collect());
}

#[test]
fn every_keyspace_of_the_endpoint_has_a_row() {
    let below = sources::below(&root(), "endpoint/src");
    let opened: BTreeSet<_> = below.iter().flat_map(Source::keyspaces).collect();
    assert!(opened.contains("journal/verdicts"), "{opened:?}");
    let rows = rows();
    let named = rows.iter().flat_map(|row| &row.code).filter_map(Code::keyspace).map(str::to_owned);
    same("keyspaces of the endpoint", &opened, &named.collect());
}

#[test]
fn every_metric_label_is_in_the_table() {
    let families = Source::read(&root(), "router/src/metrics/families.rs");
    let labels = logging::labels(&families.text);
    assert!(labels.contains("peer") && labels.contains("worker"), "{labels:?}");
    same("metric labels", &labels, &listed(&rows(), |code| code.is("labels")));
    let never: Vec<_> = labels.iter().filter(|label| NEVER_LOGGED.contains(&label.as_str())).collect();
    assert!(never.is_empty(), "{never:?} must not be a label");
}

#[test]
fn every_log_field_is_in_the_table() {
    let rows = rows();
    for (who, crates) in [
        ("router", &["codecs", "routing-table", "router/core", "router/spool", "router"][..]),
        ("endpoint", &["endpoint"][..]),
        ("loadgen", &["loadgen"][..]),
    ] {
        let below = crates.iter().flat_map(|of| sources::below(&root(), &format!("{of}/src")));
        let fields: BTreeSet<_> = below.flat_map(|source| logging::fields(&source.text)).collect();
        assert!(!fields.is_empty(), "{who} logs nothing?");
        same(&format!("log of {who}"), &fields, &listed(&rows, |code| code.is(&format!("log:{who}"))));
    }
}

#[test]
fn payload_case_mailbox_problem_and_statement_reach_no_log_line() {
    let mut lines = 0;
    for source in shipped() {
        for call in logging::calls(&source.text) {
            lines += 1;
            let words = logging::words(&call);
            let never: Vec<_> = NEVER_LOGGED.iter().filter(|word| words.contains(**word)).collect();
            assert!(never.is_empty(), "{} logs {never:?}: {call}", source.path);
        }
    }
    assert!(lines > 50, "{lines} log lines found: does the scan still work?");
}

#[test]
fn the_scans_find_what_they_are_for() {
    let text = "fn f() {\n    tracing::warn!(target: \"audit\", %message, why = ?x.why(), a.b, \"said {code} of {0} (x, y)\", n);\n}\n";
    let fields: Vec<_> = logging::fields(text).into_iter().collect();
    assert_eq!(fields, ["a.b", "code", "message", "why"]);
    let call = logging::calls("tracing::info!(case = hex(case), \"a payload\");").remove(0);
    assert!(logging::words(&call).contains("case") && !logging::words(&call).contains("payload"));
    let text = "/// Doc: x.\n#[derive(Debug, Serialize)]\npub(crate) struct A<'a> {\n    /// Why: because.\n    #[serde(default)]\n    pub one: &'a str,\n    two: Vec<(u8, u8)>,\n}\n#[derive(Serialize)]\nenum E { X { y: u8 }, Z(u8) }\n#[cfg(test)]\nmod tests { fn f() { std::fs::write(a, b); } }\n";
    let source = Source { path: String::new(), text: sources::without_tests(text).to_owned() };
    assert_eq!(source.fields("A").unwrap(), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    assert_eq!(source.serialised().into_keys().collect::<Vec<_>>(), ["A", "E"]);
    assert!(!source.writes());
    let rows = table::read(
        "| a | b |\n|---|---|\n| `x` | y |\n\n| store | code | fields | personal | purpose | kept | read by | erased | protected |\n|-|-|-|-|-|-|-|-|-|\n| s | `f.rs#T`, `g.rs` | `one`, `two` | yes | p | k | r | e | p |\n",
    );
    assert_eq!((rows.len(), rows[0].fields.len()), (1, 2));
    assert_eq!((rows[0].code[0].as_type(), rows[0].code[1].file()), (Some(("f.rs", "T")), Some("g.rs")));
    let _: BTreeMap<String, BTreeSet<String>> = source.serialised();
}
