//! How much memory does a router need for many links and a large table?
//!
//! A generated directory, a router process, and one process with a link for each of its endpoints. Resident memory is read
//! from the router's `/proc` entry: with the table alone, with all endpoints attached, and at its highest while the next
//! table is loaded and published.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use kernpost_routing_table::generate::Shape;
use kernpost_routing_table::model::RouteEntry;
use serde_json::{Value, json};

use super::fetch;
use super::network::Network;
use super::process::Running;

/// How it is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// `kernpost-router`
    #[arg(long)]
    router: PathBuf,
    /// Links, each with one endpoint
    #[arg(long, default_value_t = 1_000)]
    links: usize,
    /// Routes
    #[arg(long, default_value_t = 1_000_000)]
    routes: usize,
}

/// How long loading a table may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Memory is looked at this often while a table is published.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The three readings, MiB.
pub fn run(options: &Options) -> Result<Value> {
    let names: Vec<String> = (0..options.links).map(|number| format!("bench/e{number:05}")).collect();
    let mut network = Network::new(&names)?;
    network.zone.routes = routes(options, &names)?;
    network.publish()?;
    let links = options.links;
    let more = format!(
        "[limits]\nlinks = {}\nlinks_per_identity = 16\n[handshakes]\nstrangers_per_s = 100000\nstrangers_burst = 100000\n\
         per_prefix_per_s = 100000\nper_prefix_burst = 100000\n",
        links * 2
    );
    let (router, address) = network.start_router(&options.router, &[], "[::1]:0", &more)?;
    let with_table = mib(router.memory_kib("VmRSS")?);
    let peak_at_start = mib(router.memory_kib("VmHWM")?);
    let config = network.crowd_config(&names, address)?.display().to_string();
    let mut crowd =
        Running::role(&[], &["crowd".to_owned(), "--config".to_owned(), config], &network.path("crowd.log"))?;
    let ready = crowd.answer()?;
    ensure!(ready.get("attached").and_then(Value::as_u64) == Some(links as u64), "not all are attached: {ready}");
    let attached = mib(router.memory_kib("VmRSS")?);
    let peak_attached = mib(router.memory_kib("VmHWM")?);
    let (highest, after) = publish(&mut network, &router)?;
    crowd.end();
    Ok(json!({
        "links": links,
        "routes": options.routes,
        "senders": 0,
        "recipients": links,
        "mib_with_table": with_table,
        "mib_peak_at_start": peak_at_start,
        "mib_attached": attached,
        "mib_peak_attached": peak_attached,
        "mib_peak_while_published": highest,
        "mib_after_publishing": after,
        "kib_per_link": (attached - with_table) * 1_024.0 / links as f64,
        "bytes_per_route": with_table * 1_048_576.0 / options.routes as f64,
    }))
}

/// The routes of the generated directory, with the endpoints of this one.
fn routes(options: &Options, names: &[String]) -> Result<Vec<RouteEntry>> {
    let shape = Shape { routes: options.routes, endpoints: names.len(), ..Shape::MILLION };
    let zones = shape.generate()?.zones;
    let ids = zones.iter().flat_map(|zone| zone.endpoints.iter().map(|endpoint| endpoint.id.clone()));
    let ours = names.iter().map(|name| name.parse()).collect::<Result<Vec<kernpost_codecs::EndpointId>, _>>()?;
    let ours: std::collections::HashMap<_, _> = ids.zip(ours).collect();
    let mut routes: Vec<RouteEntry> = zones.into_iter().flat_map(|zone| zone.routes).collect();
    for (number, route) in routes.iter_mut().enumerate() {
        // Names are unique in a zone, and here all are in one.
        route.rule = format!("r{number}").into();
        let own = |id| ours.get(id).cloned().context("a route to an endpoint that is not there");
        route.endpoints = route.endpoints.iter().map(own).collect::<Result<_>>()?;
    }
    Ok(routes)
}

/// Has the router load the next serial; the highest resident memory meanwhile, and that afterwards.
fn publish(network: &mut Network, router: &Running) -> Result<(f64, f64)> {
    // The highest value is counted anew from here on.
    std::fs::write(format!("/proc/{}/clear_refs", router.pid()), "5")?;
    network.zone.serial += 1;
    network.zone.routes.pop();
    network.publish()?;
    let until = Instant::now() + PATIENCE;
    let wanted = format!("\"serial\":{}", network.zone.serial);
    let addresses: Value = serde_json::from_str(&std::fs::read_to_string(network.path("state/addresses.json"))?)?;
    let admin = addresses.get("admin").and_then(Value::as_str).context("no admin address")?.to_owned();
    while !fetch::page(&admin, "/status")?.replace(' ', "").contains(&wanted) {
        ensure!(Instant::now() < until, "the next table does not come into force");
        std::thread::sleep(LOOK_EVERY);
    }
    // What held the table before lets go within a moment.
    std::thread::sleep(Duration::from_secs(2));
    Ok((mib(router.memory_kib("VmHWM")?), mib(router.memory_kib("VmRSS")?)))
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1_024.0
}
