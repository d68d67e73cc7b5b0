//! `kernpost directory verify`: would a router take this folder, and what is in it?

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use comfy_table::{Table as Grid, presets};
use kernpost_codecs::UnixMs;
use kernpost_routing_table::snapshot::SignedSnapshot;
use kernpost_routing_table::{Directory, SerialFloor, Table, TrustAnchor, ZoneSnapshot, instant_text};
use serde_json::{Value, json};

use super::{FolderArgs, instant, maintainers_of};

/// Zones that end within this time are named: long enough for two maintainers to find a date.
const SOON_MS: u64 = 14 * 86_400_000;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub folder: FolderArgs,
    /// Judge as of this instant (RFC 3339) instead of now.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<UnixMs>,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints everything that is wrong (exit status 1), or version, zones and counts.
pub fn run(args: &VerifyArgs, now: UnixMs, out: &mut impl Write) -> Result<ExitCode> {
    let (anchor, snapshots) = (args.folder.anchor()?, args.folder.snapshots()?);
    let at = args.at.unwrap_or(now);
    let verified = Directory::verify_named(&anchor, snapshots, &SerialFloor::new(), at);
    let (directory, table) = match verified.map(|directory| (Table::compile(&directory, at, 1), directory)) {
        Ok((Ok(table), directory)) => (directory, table),
        Ok((Err(error), _)) => return refused(args.json, vec![error.to_string()], 1, out),
        Err(errors) => {
            return refused(args.json, errors.iter().map(ToString::to_string).collect(), errors.count(), out);
        }
    };
    let zones: Vec<Zone<'_>> = describe(&directory, &anchor)?;
    let warnings = warnings(&directory, at);
    if args.json {
        let zones: Vec<Value> = zones.iter().map(Zone::json).collect();
        let json = json!({
            "verified": true,
            "version": directory.version().to_string(),
            "zones": zones,
            "endpoints": table.endpoints().len(),
            "routers": table.routers().len(),
            "routes": table.routes().len(),
            "warnings": warnings,
        });
        writeln!(out, "{json}")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "directory {}", directory.version())?;
    writeln!(out, "{}", grid(&zones))?;
    let (endpoints, routers, routes) = (table.endpoints().len(), table.routers().len(), table.routes().len());
    writeln!(out, "{endpoints} endpoints, {routers} routers, {routes} routes")?;
    for warning in warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(json: bool, findings: Vec<String>, count: usize, out: &mut impl Write) -> Result<ExitCode> {
    if json {
        writeln!(out, "{}", json!({ "verified": false, "count": count, "findings": findings }))?;
    } else {
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
        writeln!(
            out,
            "{count} {}: routers would refuse this directory",
            if count == 1 { "finding" } else { "findings" }
        )?;
    }
    Ok(ExitCode::FAILURE)
}

struct Zone<'a> {
    snapshot: &'a ZoneSnapshot,
    digest: String,
    signed_by: usize,
    needed: u32,
}

fn describe<'a>(directory: &'a Directory, anchor: &TrustAnchor) -> Result<Vec<Zone<'a>>> {
    let mut zones = Vec::new();
    for (snapshot, bytes) in directory.zones().zip(directory.signed()) {
        let signed = SignedSnapshot::open(bytes.clone())?;
        let maintainers = maintainers_of(&snapshot.zone, anchor, directory.zones());
        zones.push(Zone {
            snapshot,
            digest: signed.digest().to_string(),
            signed_by: maintainers.map_or(0, |maintainers| signed.signers(maintainers).valid.len()),
            needed: maintainers.map_or(0, |maintainers| maintainers.threshold),
        });
    }
    Ok(zones)
}

impl Zone<'_> {
    fn json(&self) -> Value {
        let zone = self.snapshot;
        json!({
            "zone": zone.zone.to_string(),
            "serial": zone.serial,
            "digest": self.digest,
            "not_before": instant_text(zone.not_before),
            "not_after": instant_text(zone.not_after),
            "signed_by": self.signed_by,
            "needed": self.needed,
            "endpoints": zone.endpoints.len(),
            "routers": zone.routers.len(),
            "routes": zone.routes.len(),
        })
    }
}

fn grid(zones: &[Zone<'_>]) -> Grid {
    let mut grid = Grid::new();
    grid.load_preset(presets::NOTHING);
    grid.set_header(["ZONE", "SERIAL", "SIGNED BY", "FROM", "TO", "ENDPOINTS", "ROUTES", "SHA-256"]);
    for Zone { snapshot, digest, signed_by, needed } in zones {
        grid.add_row([
            snapshot.zone.to_string(),
            snapshot.serial.to_string(),
            format!("{signed_by} of {needed}"),
            instant_text(snapshot.not_before),
            instant_text(snapshot.not_after),
            snapshot.endpoints.len().to_string(),
            snapshot.routes.len().to_string(),
            digest.get(..16).unwrap_or(digest).to_owned(),
        ]);
    }
    grid
}

fn warnings(directory: &Directory, at: UnixMs) -> Vec<String> {
    let warning = |zone: &ZoneSnapshot| {
        let end = instant_text(zone.not_after);
        if zone.not_after < at {
            Some(format!("zone {} ended {end}: routers go on routing by it and report themselves degraded", zone.zone))
        } else if zone.not_after < at.plus_ms(SOON_MS) {
            Some(format!("zone {} ends {end}: sign a new snapshot before", zone.zone))
        } else {
            None
        }
    };
    directory.zones().filter_map(warning).collect()
}
