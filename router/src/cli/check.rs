//! `kernpost-router check`: is everything in order before any port is bound?

use std::io::Write;
use std::process::ExitCode;

use super::ConfigArgs;
use crate::check::{Intent, prepare_file};
use crate::config::{Config, LinkSection};

/// Prints every problem, or what was found in order.
pub(super) fn run(args: &ConfigArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let prepared = match prepare_file(&args.config, args.dev, Intent::Check) {
        Ok(prepared) => prepared,
        Err(problems) => {
            for problem in &problems.0 {
                writeln!(out, "{problem}")?;
            }
            let count = problems.0.len();
            let noun = if count == 1 { "problem" } else { "problems" };
            writeln!(out, "{count} {noun}: the router would not start")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in &prepared.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    summary(&prepared.config, out)?;
    let table = &prepared.directory.table;
    writeln!(
        out,
        "directory {}: {} zones, {} endpoints, {} routes",
        table.version(),
        table.zone_versions().len(),
        table.endpoints().len(),
        table.routes().len()
    )?;
    writeln!(out, "in order")?;
    Ok(ExitCode::SUCCESS)
}

fn summary(config: &Config, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "router {}: {} workers, {} peers, up to {} links, {} MiB when all of them are full",
        config.router.id,
        config.workers(),
        config.peers.len(),
        config.limits.links,
        config.worst_case_link_memory() >> 20
    )?;
    line("link", &config.link, out)?;
    let own_lines = config.peers.iter().filter(|peer| peer.line.is_some());
    for peer in own_lines {
        line(&format!("peer {}", peer.router), &config.link_with(peer), out)?;
    }
    Ok(())
}

fn line(what: &str, link: &LinkSection, out: &mut impl Write) -> std::io::Result<()> {
    let offload = if link.segmentation_offload() { "on" } else { "off" };
    writeln!(
        out,
        "{what}: {}, round trip {} ms: lane window {} bytes, send window {} bytes, bundles up to {} bytes, UDP payload up \
         to {} bytes, segmentation offload {offload}",
        link.line.profile.name(),
        link.line.rtt_ms,
        link.lane_window_bytes,
        link.send_window_bytes,
        link.largest_bundle_bytes,
        link.mtu_upper_bound
    )
}
