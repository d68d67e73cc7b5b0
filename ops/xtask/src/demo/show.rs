//! What the demo prints: one explained route, one receipt verified offline, the table of outcomes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};

use super::Summary;
use crate::network::Network;
use crate::workspace;

/// Business registration in Leipzig.
const SERVICE: &str = "99050012104000";
const JURISDICTION: &str = "147130000000";

/// Asks the first router where a business registration in Leipzig goes, and why.
pub fn explained(network: &Network) -> Result<()> {
    let admin = &network.addresses().first().context("there is a first router")?.admin;
    let mut command = Command::new(&network.programs.router);
    command.args(["explain", "--service", SERVICE, "--jurisdiction", JURISDICTION]);
    command.args(["--admin", &format!("http://{admin}")]);
    let said = workspace::output(&mut command)?;
    println!("\nwhere does a business registration in Leipzig go?\n{}", said.trim_end());
    Ok(())
}

/// Verifies one receipt from the files alone, without any router.
pub fn receipt(network: &Network) -> Result<()> {
    let file = some_receipt(&network.folder.path().join("work"))?.context("no portal kept a receipt")?;
    let files = network.folder.files();
    let mut command = Command::new(&network.programs.kernpost);
    command.args(["receipt", "verify"]).arg(&file).arg("--directory").arg(&files.zones);
    command.arg("--trust-anchor").arg(&files.trust_anchor);
    let said = workspace::output(&mut command)?;
    println!("\na receipt, verified offline:\n{}", said.trim_end());
    Ok(())
}

fn some_receipt(work: &Path) -> Result<Option<PathBuf>> {
    for site in std::fs::read_dir(work)? {
        let Ok(receipts) = std::fs::read_dir(site?.path().join("receipts")) else { continue };
        if let Some(found) = receipts.flatten().next() {
            return Ok(Some(found.path()));
        }
    }
    Ok(None)
}

/// The table of outcomes.
pub fn summary(summary: &Summary) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(["outcome", "applications"]);
    let rows = [
        ("sent", summary.sent),
        ("delivered, receipt verified", summary.delivered),
        ("rejected, receipt verified", summary.rejected),
        ("refused", summary.refused),
        ("undecided", summary.undecided),
        ("lost", summary.lost),
        ("handed over twice", summary.duplicates),
        ("crossed both routers", summary.crossed),
    ];
    for (name, value) in rows {
        table.add_row([name.to_owned(), value.to_string()]);
    }
    let latency = &summary.latency_ms;
    println!("\n{table}");
    println!("{} endpoints, each with its own key", summary.endpoints);
    println!("latency: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", latency.p50, latency.p99, latency.max);
    println!("{:.0} messages/s", summary.messages_per_second);
    println!("ledgers {}", if summary.ledger_balanced { "balance" } else { "DO NOT BALANCE" });
    println!("seed {}: {}", summary.seed, if summary.good() { "good" } else { "NOT GOOD" });
}

/// What a person can do with a network that was left running.
pub fn how_to_talk(network: &Network) {
    println!("\nthe network keeps running in {}", network.folder.path().display());
    for (name, addresses) in ["a", "b"].iter().zip(network.addresses()) {
        println!("  router {name}: quic {}, admin http://{}", addresses.quic.join(" "), addresses.admin);
    }
    let send = network.folder.config("portal-bund");
    let program = network.programs.kernpost.display();
    println!(
        "  send: echo hello | {program} send --config {} --service {SERVICE} --jurisdiction {JURISDICTION}",
        send.display()
    );
    if let Some(first) = network.addresses().first() {
        println!("  look: {} status --admin http://{}", network.programs.router.display(), first.admin);
    }
    let pids: Vec<_> = network.pids().iter().map(ToString::to_string).collect();
    println!("  stop: kill {}", pids.join(" "));
}
