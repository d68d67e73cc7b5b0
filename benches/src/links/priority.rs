//! Does urgent overtake bulk on a full line?
//!
//! Portal and authority on one router, one of them behind a line of 100 Mbit/s with a queue of 32 KiB. Pairs of phases take
//! turns: urgent messages alone, then the same beside as much bulk as goes.

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::namespaces::{Namespaces, Shape, THERE};
use super::network::{AUTHORITY, Network, PORTAL};
use super::process::{Programs, Running, prefixed};
use super::{median, number, portal};

/// How it is measured.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    programs: Programs,
    /// Pairs of phases per line
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Seconds of a phase
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Urgent messages a second
    #[arg(long, default_value_t = 200)]
    urgent_per_s: u64,
    /// Bulk bytes always under way; below a downstream link's share of the credit, so that the line is the bottleneck
    #[arg(long, default_value_t = 1_536 << 10)]
    bulk_bytes: u64,
}

const SHAPE: Shape = Shape { rate: "100mbit", burst: "5000", limit: "32768" };
const PROFILE: &str = "100mbit";

/// Which way the full line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// The portal is behind it: the library has to let urgent overtake.
    Portal,
    /// The authority is behind it: the router has to.
    Authority,
}

/// Both lines, one after the other.
pub fn run(options: &Options) -> Result<Value> {
    Ok(json!({
        "shape": format!("tc tbf rate {} burst {} limit {}", SHAPE.rate, SHAPE.burst, SHAPE.limit),
        "profile": PROFILE,
        "portal_behind_line": one(options, Behind::Portal)?,
        "authority_behind_line": one(options, Behind::Authority)?,
    }))
}

fn one(options: &Options, behind: Behind) -> Result<Value> {
    let line = Namespaces::make(Some(SHAPE))?;
    let network = Network::new(&[PORTAL.to_owned(), AUTHORITY.to_owned()])?;
    network.publish()?;
    let link = format!("[link]\nprofile = \"{PROFILE}\"\n");
    let listen = format!("[{THERE}]:0");
    let (router, address) = network.start_router(&options.programs.router, &line.there(), &listen, &link)?;
    let (near, far) = (line.there(), line.here());
    let (portal_at, authority_at) = if behind == Behind::Portal { (&far, &near) } else { (&near, &far) };
    let authority = {
        let config = network.endpoint_config(AUTHORITY, address, PROFILE)?;
        let mut command = prefixed(authority_at, &options.programs.kernpost);
        command.args(["receive", "--accept", "--config"]).arg(config);
        command.arg("--journal").arg(network.path("journal"));
        Running::start(&mut command, &network.path("authority.log"))?
    };
    let config = network.endpoint_config(PORTAL, address, PROFILE)?;
    let arguments = ["portal".to_owned(), "--config".to_owned(), config.display().to_string()];
    let mut sender = Running::role(portal_at, &arguments, &network.path("portal.log"))?;
    portal::expect_ready(&sender.answer()?)?;
    let mut pairs = Vec::new();
    for _ in 0..options.pairs {
        let idle = sender.ask(&format!("{} 0 {}", options.urgent_per_s, options.seconds))?;
        let full = sender.ask(&format!("{} {} {}", options.urgent_per_s, options.bulk_bytes, options.seconds))?;
        pairs.push((idle, full));
    }
    let over = |of: &dyn Fn(&(Value, Value)) -> Result<f64>| -> Result<Value> {
        let values: Vec<f64> = pairs.iter().map(of).collect::<Result<_>>()?;
        ensure!(!values.is_empty(), "no pairs");
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Ok(json!({ "median": median(&values), "low": low, "high": high }))
    };
    let result = json!({
        "senders": 1,
        "recipients": 1,
        "pairs": options.pairs,
        "seconds": options.seconds,
        "urgent_idle_p50_ms": over(&|pair| number(&pair.0, "/urgent/p50_ms"))?,
        "urgent_full_p50_ms": over(&|pair| number(&pair.1, "/urgent/p50_ms"))?,
        "bulk_p50_ms": over(&|pair| number(&pair.1, "/bulk/p50_ms"))?,
        "urgent_idle_p99_ms": over(&|pair| number(&pair.0, "/urgent/p99_ms"))?,
        "urgent_full_p99_ms": over(&|pair| number(&pair.1, "/urgent/p99_ms"))?,
        "urgent_above_idle_p99_ms": over(&|pair| {
            Ok(number(&pair.1, "/urgent/p99_ms")? - number(&pair.0, "/urgent/p99_ms")?)
        })?,
        "bulk_p99_ms": over(&|pair| number(&pair.1, "/bulk/p99_ms"))?,
        "urgent_of_bulk_p99": over(&|pair| Ok(number(&pair.1, "/urgent/p99_ms")? / number(&pair.1, "/bulk/p99_ms")?))?,
        "bulk_mbit_per_s": over(&|pair| number(&pair.1, "/bulk/mbit_per_s"))?,
        "bundle_fill": over(&|pair| number(&pair.1, "/bundle_fill"))?,
        "refusals": over(&|pair| number(&pair.1, "/refusals"))?,
    });
    sender.end();
    drop((authority, router));
    Ok(result)
}
