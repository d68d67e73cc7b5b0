//! `kernpost-router explain`: who answers for this route key, by which rule, and why not by another?

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{Table as Grid, presets};
use kernpost_codecs::{Ars, ServiceKey};
use kernpost_routing_table::source::{load_anchor, load_snapshots};
use kernpost_routing_table::{Directory, SerialFloor, Table};
use serde::Deserialize;

use super::{EXIT_NOBODY, ExplainArgs, fetch};
use crate::clock::wall;

/// The JSON of the command and of the admin interface, as read back.
#[derive(Debug, Deserialize)]
struct Explained {
    service: String,
    jurisdiction: String,
    generation: u64,
    decision: Option<Decision>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    rule: String,
    zone: String,
    service_prefix: String,
    jurisdiction_prefix: String,
    endpoints: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    rule: String,
    service_prefix: String,
    jurisdiction_prefix: String,
    rejected_because: String,
}

/// Prints the explanation; exit status 3 when nobody is responsible.
pub(super) fn run(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let service = match args.service.parse::<ServiceKey>() {
        Ok(service) => service,
        Err(error) => bail!("--service {}: {error}", args.service),
    };
    let jurisdiction = match args.jurisdiction.parse::<Ars>() {
        Ok(jurisdiction) => jurisdiction,
        Err(error) => bail!("--jurisdiction {}: {error}", args.jurisdiction),
    };
    let json = match (&args.admin, &args.directory) {
        (Some(admin), _) => ask(admin, service, jurisdiction)?,
        (None, Some(folder)) => {
            let beside = folder.join(kernpost_routing_table::source::ANCHOR_FILE);
            let anchor = args.trust_anchor.as_deref().unwrap_or(&beside);
            let explanation = compile(folder, anchor)?.explain(service, jurisdiction);
            serde_json::to_string(&explanation)?
        }
        (None, None) => bail!("give --directory or --admin"),
    };
    let explained: Explained =
        serde_json::from_str(&json).context("the answer is not an explanation; is this a router?")?;
    if args.json {
        writeln!(out, "{json}")?;
    } else {
        show(&explained, out)?;
    }
    Ok(match explained.decision {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(EXIT_NOBODY),
    })
}

fn ask(admin: &str, service: ServiceKey, jurisdiction: Ars) -> anyhow::Result<String> {
    let query = format!("/explain?service={service}&jurisdiction={jurisdiction}");
    let (status, body) = fetch::page(admin, &query)?;
    match status {
        200 | 404 => Ok(body),
        other => bail!("{admin}{query}: status {other}: {}", body.trim()),
    }
}

/// The table of a folder, as of now. Nothing remembers serials here: that is the running router's part.
fn compile(folder: &Path, anchor: &Path) -> anyhow::Result<Table> {
    let anchor = load_anchor(anchor)?;
    let snapshots = load_snapshots(folder)?;
    let named = snapshots.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes));
    let now = wall();
    let directory = Directory::verify_named(&anchor, named, &SerialFloor::new(), now)
        .with_context(|| format!("the directory in {} is refused", folder.display()))?;
    Ok(Table::compile(&directory, now, 1)?)
}

fn show(explained: &Explained, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "service {}, jurisdiction {}, table generation {}",
        explained.service, explained.jurisdiction, explained.generation
    )?;
    match &explained.decision {
        None => writeln!(out, "NOBODY is responsible: a message would be refused no-route (118)")?,
        Some(decision) => {
            let (first, rest) = match decision.endpoints.split_first() {
                Some((first, rest)) => (first.as_str(), rest),
                None => ("-", &[][..]),
            };
            writeln!(out, "goes to {first}")?;
            if !rest.is_empty() {
                writeln!(out, "  else {}", rest.join(", "))?;
            }
            writeln!(
                out,
                "  by rule {} of zone {} (service {}, jurisdiction {})",
                decision.rule, decision.zone, decision.service_prefix, decision.jurisdiction_prefix
            )?;
        }
    }
    if explained.candidates.is_empty() {
        return writeln!(out, "no other rule covers this route key");
    }
    let mut grid = Grid::new();
    grid.load_preset(presets::NOTHING);
    grid.set_header(["RULE", "SERVICE", "JURISDICTION", "NOT BECAUSE"]);
    for candidate in &explained.candidates {
        grid.add_row([
            &candidate.rule,
            &candidate.service_prefix,
            &candidate.jurisdiction_prefix,
            &candidate.rejected_because,
        ]);
    }
    writeln!(out, "other rules that cover it:\n{grid}")
}
