//! A whole load test with real processes: router, source, sink, forger and storm, on `[::1]`, for a few seconds.
//!
//! It fails when a message is lost, doubled or not accounted for, when a broken signature gets through, when an objective
//! that cannot be met, a message that was never started, a link that stays away or a starved generator do not change the exit
//! status, or when something outlives the test. On a busy machine the generator may rightly say that it was the bottleneck:
//! then the status is the one it has to be for that, and everything that is counted has to be right all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Once;
use std::time::Duration;

use kernpost_loadgen::layout::{Layout, Part};
use kernpost_loadgen::network::{Folder, Routers, config, directory, now, pki};
use kernpost_loadgen::scenario::Scenario;
use rustix::process::{Pid, Signal, kill_process};
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

/// Few messages for a short time.
const SHORT: [&str; 6] = ["--rate", "50", "--duration", "1s", "--warm-up", "200ms"];

fn loadgen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernpost-loadgen"));
    command.args(["--self-contained", "--no-tui", "--router-bin"]).arg(router()).args(arguments);
    shown(command.output().unwrap())
}

/// Seen only when the test fails.
fn shown(output: Output) -> Output {
    println!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

/// The status of the program, when `otherwise` is what it has to be unless the generator was the bottleneck.
fn expect_status(done: &Output, result: &Value, otherwise: i32) {
    let bound = result["valid"] == false;
    assert_eq!(bound, result["limited"]["limit"] == "generator");
    assert_eq!(done.status.code(), Some(if bound { 2 } else { otherwise }), "{}", result["limited"]);
    assert_eq!(result["exit_status"], done.status.code().unwrap());
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(said.trim_start().starts_with("GENERATOR-BOUND"), bound, "{said}");
}

/// Every message of the whole run has its outcome, and every delivery its receipt.
fn expect_accounted(result: &Value) {
    let count = |path: &str| count(result, path);
    let outcomes =
        ["delivered", "rejected", "refused", "undecided", "expired", "custody", "other", "not_taken", "lost"];
    let sum: u64 = outcomes.iter().map(|name| count(&format!("/outcomes/{name}"))).sum();
    assert_eq!(sum, count("/outcomes/intended"));
    assert_eq!(count("/outcomes/started") + count("/outcomes/not_started"), count("/outcomes/intended"));
    assert_eq!(count("/checks/outcome_faults") + count("/checks/open"), 0);
    assert!(count("/checks/receipts_due") > 0);
    assert!(count("/checks/receipts_verified") >= count("/checks/receipts_due"));
}

fn count(result: &Value, path: &str) -> u64 {
    result.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {result:#}"))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Process ids and command lines.
fn processes() -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    entries.collect()
}

fn names(line: &str, folder: &Path) -> bool {
    line.contains(folder.to_str().unwrap())
}

/// Processes whose command line names `folder`.
fn left_over(folder: &Path) -> Vec<String> {
    processes().into_iter().map(|(_, line)| line).filter(|line| names(line, folder)).collect()
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
    let result = json(&result);
    expect_status(&done, &result, 0);
    expect_accounted(&result);
    let count = |path: &str| count(&result, path);
    let started = count("/outcomes/started");
    assert!(started > 400, "{started}");
    assert_eq!(count("/outcomes/delivered") + count("/outcomes/rejected"), started);
    assert!(count("/outcomes/rejected") > 10);
    assert_eq!(count("/checks/sink_duplicates"), 0);
    assert_eq!(count("/checks/receipts_verified"), count("/checks/messages"));
    assert!(count("/checks/receipts_rechecked") > 0);
    assert_eq!(result["checks"]["sink_agrees"], true);
    assert_eq!(result["checks"]["ledgers_balance"], true);
    assert!(count("/bad_signatures/sent") > 20);
    assert_eq!(count("/bad_signatures/refused"), count("/bad_signatures/sent"));
    assert_eq!(count("/reconnects/attached"), 5 * count("/reconnects/storms"));
    assert_eq!(count("/reconnects/missed"), 0);
    assert!(count("/reconnects/storms") >= 1);
    for router in [0, 1] {
        assert!(result["routers"][router]["cpu_us_per_message"].as_f64().unwrap() > 0.0);
        assert!(result["routers"][router]["resident_bytes"].as_u64().unwrap() > 1 << 20);
        assert!(result["routers"][router]["signature_checks_per_message"].as_f64().unwrap() > 0.0);
    }
    assert!(result["links"]["sender"]["to_router_per_message"].as_f64().unwrap() > 1_000.0);
    assert!(result["bundle_fill"]["sent"].as_f64().unwrap() >= 1.0);
    let stages: Vec<_> =
        result["stages"].as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(stages, ["sign", "wire", "route", "verify", "wait", "settle"]);
    let html = std::fs::read_to_string(html).unwrap();
    for part in ["Latency by percentile", "Router CPU over time", "Bundle fill over time"].iter().chain(&stages) {
        assert!(html.contains(part), "{part}");
    }
    assert_eq!(left_over(&folder), Vec::<String>::new());
}

#[test]
fn an_objective_that_cannot_be_met_is_missed_and_the_exit_status_says_so() {
    let place = tempfile::tempdir().unwrap();
    let result = place.path().join("result.json");
    let done = loadgen(&[&SHORT[..], &["--slo", "p50<1us,lost=0", "--json", result.to_str().unwrap()]].concat());
    let result = json(&result);
    assert_eq!((&result["slo"][0]["met"], &result["slo"][1]["met"]), (&Value::Bool(false), &Value::Bool(true)));
    expect_status(&done, &result, 1);
    expect_accounted(&result);
    assert!(result["valid"] == false || String::from_utf8_lossy(&done.stdout).contains("MISSED"));
}

/// Stops and continues the source of a running test in turns until the test has ended: a generator that gets too little CPU.
/// Ends with the source running.
fn starve(folder: &Path, test: &mut Child) {
    const TURN: Duration = Duration::from_millis(60);
    let signal = |signal| {
        let source = processes().into_iter().find(|(_, line)| line.contains(" source ") && names(line, folder));
        if let Some(pid) = source.and_then(|(pid, _)| Pid::from_raw(pid)) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, signal);
        }
    };
    while test.try_wait().unwrap().is_none() {
        signal(Signal::STOP);
        std::thread::sleep(TURN);
        signal(Signal::CONT);
        std::thread::sleep(TURN);
    }
}

#[test]
fn a_starved_generator_says_so_first_and_presents_no_results() {
    let place = tempfile::tempdir().unwrap();
    let (result, html) = (place.path().join("result.json"), place.path().join("report.html"));
    let folder = place.path().join("network");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernpost-loadgen"));
    command.args(["--self-contained", "--quiet", "--slo", "lost=0,p99<1m", "--router-bin"]).arg(router()).args(SHORT);
    command.arg("--folder").arg(&folder).arg("--json").arg(&result).arg("--html").arg(&html);
    let mut test = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    starve(&folder, &mut test);
    let done = shown(test.wait_with_output().unwrap());
    assert_eq!(done.status.code(), Some(2));
    let result = json(&result);
    assert_eq!((&result["valid"], &result["limited"]["limit"]), (&Value::Bool(false), &"generator".into()));
    expect_status(&done, &result, 2);
    expect_accounted(&result);
    assert!(std::fs::read_to_string(html).unwrap().contains("class=\"banner\""));
    assert_eq!(left_over(&folder), Vec::<String>::new());
}

#[test]
fn messages_that_were_never_started_are_lost_and_fail_a_run_whose_objectives_do_not_ask() {
    let place = tempfile::tempdir().unwrap();
    let (scenario, result) = (place.path().join("stuck.toml"), place.path().join("result.json"));
    // Everything goes to an authority that answers one message a second, and two may be under way.
    std::fs::write(
        &scenario,
        r#"
            slo = "delivered>0%, rejected=0"
            [load]
            rate = 30
            duration = "1s"
            warm_up = "0s"
            in_flight = 2
            [faults]
            slow = { recipients = 1, rate = 1.0, share = 1.0 }
        "#,
    )
    .unwrap();
    let done = loadgen(&["--scenario", scenario.to_str().unwrap(), "--json", result.to_str().unwrap()]);
    let result = json(&result);
    expect_accounted(&result);
    assert_eq!(count(&result, "/outcomes/intended"), 30);
    let not_started = count(&result, "/outcomes/not_started");
    assert!((15..30).contains(&not_started), "{not_started}");
    assert_eq!(count(&result, "/outcomes/lost"), not_started);
    assert!(result["slo"].as_array().unwrap().iter().all(|judgement| judgement["met"] == true));
    expect_status(&done, &result, 1);
    assert!(String::from_utf8_lossy(&done.stdout).contains(&format!("{not_started} of 30 intended messages")));
}

#[test]
fn links_of_a_storm_that_stay_away_fail_the_run() {
    let place = tempfile::tempdir().unwrap();
    let (scenario, result) = (place.path().join("storm.toml"), place.path().join("result.json"));
    // The router admits as many links from one address as there are, and one a second more: not a second time all of them.
    std::fs::write(
        &scenario,
        r#"
            slo = "lost=0"
            [network]
            router = { handshakes = { per_prefix_per_s = 1, per_prefix_burst = 24 } }
            [load]
            rate = 20
            duration = "1500ms"
            warm_up = "500ms"
            [faults]
            reconnect = { links = 20, every = "1500ms" }
        "#,
    )
    .unwrap();
    let done = loadgen(&["--scenario", scenario.to_str().unwrap(), "--json", result.to_str().unwrap()]);
    let result = json(&result);
    assert!(count(&result, "/reconnects/missed") > 0, "{}", result["reconnects"]);
    expect_status(&done, &result, 1);
    assert!(String::from_utf8_lossy(&done.stdout).contains("did not come back in time"));
}

#[test]
fn a_ramp_starts_what_it_says_without_its_warm_up_and_its_percentile_file_holds_every_receipt() {
    let place = tempfile::tempdir().unwrap();
    let (result, hgrm) = (place.path().join("result.json"), place.path().join("latency.hgrm"));
    let files = ["--json", result.to_str().unwrap(), "--hgrm", hgrm.to_str().unwrap()];
    let done = loadgen(&[&["--ramp", "20..100", "--duration", "1s", "--warm-up", "1s"], &files[..]].concat());
    let result = json(&result);
    expect_status(&done, &result, 0);
    expect_accounted(&result);
    assert_eq!(result["asked"]["shape"], "ramp");
    // The area below 60..100 over the second second; 40 more are warm-up, and are not part of the bundle fill either.
    let intended = count(&result, "/outcomes/intended");
    assert!((78..=82).contains(&intended), "{intended}");
    let (entries, all) = (count(&result, "/bundle_fill/sent_entries"), count(&result, "/outcomes/attempts"));
    assert!((118..=122).contains(&all), "{all}");
    assert!((intended - 10..all - 10).contains(&entries), "{entries} of {all}, {intended} of them measured");
    let text = std::fs::read_to_string(hgrm).unwrap();
    let receipts = count(&result, "/outcomes/delivered") + count(&result, "/outcomes/rejected");
    assert!(text.contains(&format!("1.000000000000 {receipts:10}\n")), "{text}");
    assert!(text.contains(&format!("Total count    = {receipts:12}]")), "{text}");
}

#[test]
fn a_closed_loop_keeps_its_bound_and_verifies_as_many_receipts_again_as_asked() {
    let place = tempfile::tempdir().unwrap();
    let result = place.path().join("result.json");
    let run = |recheck: &str| {
        let load = ["--max", "--in-flight", "8", "--duration", "1s", "--warm-up", "200ms", "--recheck", recheck];
        let done = loadgen(&[&load[..], &["--json", result.to_str().unwrap()]].concat());
        let result = json(&result);
        expect_status(&done, &result, 0);
        expect_accounted(&result);
        assert_eq!((&result["asked"]["shape"], count(&result, "/outcomes/not_started")), (&"closed".into(), 0));
        assert_eq!(count(&result, "/outcomes/delivered"), count(&result, "/outcomes/started"));
        assert!(result["series"].as_array().unwrap().iter().all(|moment| moment["open"].as_u64().unwrap() <= 8));
        count(&result, "/checks/receipts_rechecked")
    };
    // A little more than the run's length, for what is under way at its end.
    assert!((1..=20).contains(&run("10")));
    assert_eq!(run("0"), 0);
}

#[test]
fn a_search_ends_with_the_status_of_what_it_found() {
    let place = tempfile::tempdir().unwrap();
    let result = place.path().join("result.json");
    for (slo, found) in [("lost=0", true), ("p50<1us", false)] {
        let done = loadgen(
            &[&SHORT[..], &["--find-max", "--steps", "2", "--slo", slo, "--json", result.to_str().unwrap()]].concat(),
        );
        let result = json(&result);
        assert_eq!(result["runs"].as_array().unwrap().len(), 2);
        result["runs"].as_array().unwrap().iter().for_each(expect_accounted);
        let bound = result["generator_bound"] == true;
        assert!(bound || result["best_per_s"].is_number() == found, "{slo}: {}", result["best_per_s"]);
        let status = if bound { 2 } else { i32::from(!found) };
        assert_eq!(done.status.code(), Some(status), "{slo}");
    }
    assert_eq!(loadgen(&["--find-max"]).status.code(), Some(3));
}

/// A network that runs already: its folder, its router, and the configurations of both sides.
struct Given {
    routers: Routers,
    place: tempfile::TempDir,
    source: PathBuf,
    sink: PathBuf,
    targets: Vec<String>,
}

impl Given {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        // Other numbers than the defaults, which a given network has nothing to do with.
        let mut scenario = Scenario::default();
        (scenario.network.senders, scenario.network.recipients) = (2, 3);
        let layout = Layout::of(&scenario).unwrap();
        let folder = Folder::make(place.path()).unwrap();
        pki::make(&layout.plan, &router(), &folder).unwrap();
        directory::write(&layout.plan, folder.path(), now()).unwrap();
        let none = toml::Table::new();
        let routers = Routers::start(&layout.plan, &router(), &folder, &none).unwrap();
        let side = |name: &str, part| {
            let sites = layout.sites(part);
            let sites: Vec<_> = sites.iter().map(|(site, ids)| (site, ids.as_slice())).collect();
            config::sites(&folder, &layout.plan, name, &sites, |router| routers.address(router), &none).unwrap()
        };
        let (source, sink) = (side("source", Part::Sender), side("sink", Part::Recipient));
        let targets = layout.targets.iter().take(3).map(|(service, place)| format!("{service}:{place}")).collect();
        Self { routers, place, source, sink, targets }
    }
}

#[test]
fn a_given_network_is_used_and_left_running() {
    let mut given = Given::start();
    let result = given.place.path().join("result.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernpost-loadgen"));
    command.arg("--no-tui").args(SHORT).args(["--slo", "lost=0,delivered=100%"]).arg("--json").arg(&result);
    command.arg("--config").arg(&given.source).arg("--sink-config").arg(&given.sink);
    command.args([
        "--admin",
        &given.routers.addresses()[0].admin,
        "--router-pid",
        &given.routers.pids()[0].to_string(),
    ]);
    for target in &given.targets {
        command.args(["--to", target]);
    }
    let done = shown(command.output().unwrap());
    let result = json(&result);
    expect_status(&done, &result, 0);
    expect_accounted(&result);
    assert_eq!(count(&result, "/outcomes/delivered"), count(&result, "/outcomes/intended"));
    let asked = &result["asked"];
    assert_eq!((&asked["self_contained"], &asked["algorithms"]), (&false.into(), &serde_json::json!([])));
    assert_eq!((count(&result, "/asked/senders"), count(&result, "/asked/recipients")), (2, 3));
    assert_eq!((&result["checks"]["sink_agrees"], &result["checks"]["ledgers_balance"]), (&true.into(), &true.into()));
    assert!(count(&result, "/checks/receipts_rechecked") > 0);
    assert!(result["routers"][0]["cpu_us_per_message"].as_f64().unwrap() > 0.0, "its process is looked at");
    assert!(count(&result, "/routers/0/entries_received") > 0, "its counters are read");
    given.routers.running()[0].still_runs().unwrap();
    assert!(given.routers.stop().unwrap());
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
