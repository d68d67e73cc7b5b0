//! What do links that are up notice of a flood of strangers?
//!
//! A portal sends steadily through the router to an authority. Strangers knock either at the router or at a plain QUIC
//! endpoint beside it, on the same machine: what the router's links feel more is the router's own doing.

use anyhow::{Context, Result};
use clap::Args;
use kernpost_router::pki::{DevPkiRequest, write_dev_pki};
use serde_json::{Value, json};

use super::namespaces::{Namespaces, THERE};
use super::network::{AUTHORITY, Network, PORTAL, ROUTER};
use super::process::{Programs, Running, prefixed};
use super::refuser::Files;
use super::{fetch, median, number, portal, strangers};

/// How it is measured.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    programs: Programs,
    /// Pairs of phases
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Seconds of a phase
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Messages a second of the portal
    #[arg(long, default_value_t = 500)]
    messages_per_s: u64,
    /// Attempts a second of the strangers
    #[arg(long, default_value_t = 500)]
    attempts_per_s: u64,
    /// Networks (/64) the strangers come from
    #[arg(long, default_value_t = 500)]
    networks: u16,
}

/// Pairs of phases: strangers at the router, strangers at the plain endpoint.
pub fn run(options: &Options) -> Result<Value> {
    let line = Namespaces::make(None)?;
    line.own_everything(strangers::NETWORKS)?;
    let network = Network::new(&[PORTAL.to_owned(), AUTHORITY.to_owned()])?;
    network.publish()?;
    let listen = format!("[{THERE}]:0");
    let (router, address) = network.start_router(&options.programs.router, &line.there(), &listen, "")?;
    let authority = {
        let mut command = prefixed(&line.there(), &options.programs.kernpost);
        command.args(["receive", "--accept", "--config"]).arg(network.endpoint_config(AUTHORITY, address, "1gbit")?);
        command.arg("--journal").arg(network.path("journal"));
        Running::start(&mut command, &network.path("authority.log"))?
    };
    let config = network.endpoint_config(PORTAL, address, "1gbit")?.display().to_string();
    let arguments = ["portal".to_owned(), "--config".to_owned(), config];
    let mut sender = Running::role(&line.there(), &arguments, &network.path("portal.log"))?;
    portal::expect_ready(&sender.answer()?)?;
    let mut refuser = plain_endpoint(&network, &line, &listen)?;
    let plain = refuser.answer()?.get("listens").and_then(Value::as_str).context("no address")?.to_owned();
    let unknown = unknown_credentials(&network)?;

    let (mut ratios, mut with, mut beside, mut fill) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut attempts = Vec::new();
    for pair in 0..options.pairs {
        // Whoever comes first takes turns.
        let mut p99 = [0.0; 2];
        for at_router in [pair % 2 == 0, pair % 2 != 0] {
            let to = if at_router { address.to_string() } else { plain.clone() };
            let mut knocking = knock(options, &network, &line, &to, &unknown)?;
            let phase = sender.ask(&format!("{} 0 {}", options.messages_per_s, options.seconds))?;
            fill.push(number(&phase, "/bundle_fill")?);
            attempts.push(number(&knocking.answer()?, "/per_s")?);
            let [router, endpoint] = &mut p99;
            *(if at_router { router } else { endpoint }) = number(&phase, "/urgent/p99_ms")?;
        }
        let [router, endpoint] = p99;
        ratios.push(router / endpoint);
        with.push(router);
        beside.push(endpoint);
    }
    let spread = |values: &[f64]| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        json!({ "median": median(values), "low": low, "high": high })
    };
    let most = most_in_progress(&network, &line)?;
    sender.end();
    drop((authority, refuser, router));
    Ok(json!({
        "senders": 1,
        "recipients": 1,
        "pairs": options.pairs,
        "p99_ratio": spread(&ratios),
        "p99_ms_strangers_at_router": spread(&with),
        "p99_ms_strangers_at_plain_endpoint": spread(&beside),
        "bundle_fill": spread(&fill),
        "most_handshakes_in_progress": most,
        "attempts_per_s": spread(&attempts),
    }))
}

fn plain_endpoint(network: &Network, line: &Namespaces, listen: &str) -> Result<Running> {
    let (certificates, key) = network.credentials(ROUTER)?;
    let mut arguments = vec!["refuser".to_owned(), "--listen".to_owned(), listen.to_owned()];
    arguments.extend(Files::arguments(&certificates, &key, network.ca()));
    Running::role(&line.there(), &arguments, &network.path("refuser.log"))
}

/// A certificate of a CA nobody here trusts.
fn unknown_credentials(network: &Network) -> Result<Vec<String>> {
    let pki = write_dev_pki(&DevPkiRequest {
        out: network.path("unknown"),
        trust_domain: "elsewhere.example".parse()?,
        identities: vec!["stranger".to_owned()],
        dns: vec![],
        ips: vec![],
    })?;
    let leaf = pki.leaves.first().context("no certificate")?;
    let (certificates, key) = (leaf.certificates.display().to_string(), leaf.key.display().to_string());
    Ok(Files::arguments(&certificates, &key, network.ca()))
}

fn knock(options: &Options, network: &Network, line: &Namespaces, to: &str, unknown: &[String]) -> Result<Running> {
    // A second longer than what is counted, before and after.
    let numbers = [
        ("--per-s", options.attempts_per_s),
        ("--seconds", options.seconds + 1),
        ("--networks", u64::from(options.networks)),
    ];
    let mut arguments = vec!["strangers".to_owned(), "--to".to_owned(), to.to_owned()];
    arguments.extend(numbers.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]));
    arguments.extend(unknown.iter().cloned());
    Running::role(&line.here(), &arguments, &network.path("strangers.log"))
}

/// The most there ever were, as the router says at the end.
fn most_in_progress(network: &Network, line: &Namespaces) -> Result<f64> {
    let addresses: Value = serde_json::from_str(&std::fs::read_to_string(network.path("state/addresses.json"))?)?;
    let admin = addresses.get("admin").and_then(Value::as_str).context("no admin address")?;
    let arguments = ["fetch", "--host", admin, "--page", "/metrics"].map(str::to_owned);
    let mut fetching = Running::role(&line.there(), &arguments, &network.path("fetch.log"))?;
    let page = fetching.answer()?;
    Ok(fetch::metric(page.as_str().context("no page")?, "kernpost_handshakes_in_progress_most{"))
}
