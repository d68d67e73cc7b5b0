//! `kernpost directory lookup`: who is responsible, by which rule, and why nobody else is? Exit status 3: nobody.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use kernpost_codecs::{Ars, ServiceKey, UnixMs};
use kernpost_routing_table::{Directory, SerialFloor, Table};

use super::{FolderArgs, instant};

/// Nobody is responsible for the route key.
const EXIT_NOBODY: u8 = 3;

#[derive(Debug, Args)]
pub struct LookupArgs {
    #[command(flatten)]
    pub folder: FolderArgs,
    /// Service key, 14 digits.
    #[arg(long, value_name = "KEY")]
    pub service: ServiceKey,
    /// Jurisdiction (ARS), 12 digits; 000000000000 is the federal level.
    #[arg(long, value_name = "ARS")]
    pub jurisdiction: Ars,
    /// Answer as of this instant (RFC 3339) instead of now.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<UnixMs>,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints the explanation.
pub fn run(args: &LookupArgs, now: UnixMs, out: &mut impl Write) -> Result<ExitCode> {
    let at = args.at.unwrap_or(now);
    let (anchor, snapshots) = (args.folder.anchor()?, args.folder.snapshots()?);
    let directory = Directory::verify_named(&anchor, snapshots, &SerialFloor::new(), at)
        .with_context(|| format!("the directory in {} is refused", args.folder.directory.display()))?;
    let explanation = Table::compile(&directory, at, 1)?.explain(args.service, args.jurisdiction);
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&explanation)?)?;
    } else {
        write!(out, "{explanation}")?;
    }
    Ok(if explanation.decision.is_some() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOBODY) })
}
