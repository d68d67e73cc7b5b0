//! A whole load test with real processes: router, source, sink, forger and storm, on `[::1]`, for a few seconds.
//!
//! It fails when a message is lost, doubled or not accounted for, when a broken signature gets through, when an objective
//! that cannot be met does not change the exit status, or when something outlives the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

use serde_json::Value;

/// The router's program, built with the profile of this test. `KERNPOST_PROGRAMS` names a folder where it is already.
fn router() -> PathBuf {
    if let Some(folder) = std::env::var_os("KERNPOST_PROGRAMS") {
        return Path::new(&folder).join("kernpost-router");
    }
    static BUILT: Once = Once::new();
    let beside = Path::new(env!("CARGO_BIN_EXE_kernpost-loadgen")).with_file_name("kernpost-router");
    let profile = beside.parent().and_then(Path::file_name).unwrap().to_str().unwrap().to_owned();
    BUILT.call_once(|| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "kernpost-router", "--bin", "kernpost-router", "--profile"]);
        cargo.arg(if profile == "debug" { "dev" } else { &profile });
        cargo.arg("--target-dir").arg(beside.ancestors().nth(2).unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "building the router failed");
    });
    beside
}

fn loadgen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernpost-loadgen"));
    command.args(["--self-contained", "--no-tui", "--router-bin"]).arg(router()).args(arguments);
    let output = command.output().unwrap();
    // Seen only when the test fails.
    println!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Processes whose command line names `folder`.
fn left_over(folder: &Path) -> Vec<String> {
    let named = folder.to_str().unwrap();
    let lines = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(named)).collect()
}

#[test]
fn every_message_of_a_troubled_run_is_accounted_for_and_nothing_outlives_it() {
    let place = tempfile::tempdir().unwrap();
    let (scenario, result) = (place.path().join("trouble.toml"), place.path().join("result.json"));
    let folder = place.path().join("network");
    std::fs::write(
        &scenario,
        r#"
            [network]
            routers = 2
            senders = 3
            sender_links = 2
            recipients = 5
            recipient_links = 2
            jurisdictions = "population"
            algorithms = ["esp256", "ed25519", "hybrid"]
            [load]
            rate = 150
            duration = "3s"
            warm_up = "1s"
            payload = [{ weight = 9, from = 256, to = "4KiB" }, { size = "60KiB" }]
            classes = { urgent = 1, interactive = 2, bulk = 1 }
            burst = { every = "2s", length = "300ms", factor = 3.0 }
            [faults]
            bad_signatures = 0.1
            rejected = 0.1
            slow = { recipients = 1, rate = 200.0, share = 0.05 }
            reconnect = { links = 5, every = "2s" }
        "#,
    )
    .unwrap();
    let html = place.path().join("report.html");
    let done = loadgen(&[
        "--scenario",
        scenario.to_str().unwrap(),
        "--folder",
        folder.to_str().unwrap(),
        "--json",
        result.to_str().unwrap(),
        "--html",
        html.to_str().unwrap(),
    ]);
    // On a busy machine the generator may rightly say that it was the bottleneck; what is counted has to be right anyway.
    assert!(matches!(done.status.code(), Some(0 | 2)), "{:?}", done.status);
    let result = json(&result);
    let count = |path: &str| result.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"));
    let started = count("/outcomes/started");
    assert!(started > 400, "{started}");
    assert_eq!(count("/outcomes/delivered") + count("/outcomes/rejected"), started);
    assert!(count("/outcomes/rejected") > 10);
    assert_eq!(count("/checks/outcome_faults") + count("/checks/open") + count("/checks/sink_duplicates"), 0);
    assert_eq!(count("/checks/receipts_verified"), count("/checks/messages"));
    assert_eq!(result["checks"]["sink_agrees"], true);
    assert_eq!(result["checks"]["ledgers_balance"], true);
    assert!(count("/bad_signatures/sent") > 20);
    assert_eq!(count("/bad_signatures/refused"), count("/bad_signatures/sent"));
    assert_eq!(count("/reconnects/attached"), 5 * count("/reconnects/storms"));
    assert!(count("/reconnects/storms") >= 1);
    for router in [0, 1] {
        assert!(result["routers"][router]["cpu_us_per_message"].as_f64().unwrap() > 0.0);
        assert!(result["routers"][router]["resident_bytes"].as_u64().unwrap() > 1 << 20);
        assert!(result["routers"][router]["signature_checks_per_message"].as_f64().unwrap() > 0.0);
    }
    assert!(result["links"]["sender"]["to_router_per_message"].as_f64().unwrap() > 1_000.0);
    assert!(result["bundle_fill"]["sent"].as_f64().unwrap() >= 1.0);
    assert!(std::fs::read_to_string(html).unwrap().contains("Latency by percentile"));
    assert_eq!(left_over(&folder), Vec::<String>::new());
}

#[test]
fn an_objective_that_cannot_be_met_is_missed_and_the_exit_status_says_so() {
    let place = tempfile::tempdir().unwrap();
    let result = place.path().join("result.json");
    let done = loadgen(&[
        "--rate",
        "50",
        "--duration",
        "1s",
        "--warm-up",
        "200ms",
        "--slo",
        "p50<1us,lost=0",
        "--json",
        result.to_str().unwrap(),
    ]);
    let result = json(&result);
    assert_eq!((&result["slo"][0]["met"], &result["slo"][1]["met"]), (&Value::Bool(false), &Value::Bool(true)));
    let bound = result["limited"]["limit"] == "generator";
    assert_eq!(done.status.code(), Some(if bound { 2 } else { 1 }));
    assert!(String::from_utf8_lossy(&done.stdout).contains(if bound { "GENERATOR-BOUND" } else { "MISSED" }));
}

#[test]
fn wrong_options_are_told_with_a_remedy_and_a_status_of_their_own() {
    let program = env!("CARGO_BIN_EXE_kernpost-loadgen");
    let said = |arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said(&["--self-contained", "--rate", "fast"]).contains("1500/s"));
    assert!(said(&["--self-contained", "--slo", "p98<5ms"]).contains("p99.9"));
    assert!(said(&["--self-contained", "--scenario", "no-such"]).contains("baseline"));
    assert!(said(&["--rate", "5"]).contains("--self-contained"));
    assert!(said(&["--no-such-option"]).contains("--help"));
    assert!(said(&["--self-contained", "--router-bin", "/nowhere"]).contains("/nowhere"));
}
