//! `kernpost directory`: from what maintainers write to signed zones, and back to answers. One file below per command.
//!
//! Exit status: 0, or 1 when anything is wrong; `lookup` 3 when nobody is responsible.

mod build;
mod key;
mod lookup;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::{Args, Subcommand};
use kernpost_codecs::UnixMs;
use kernpost_codecs::key::SigningKey;
use kernpost_endpoint::client::now;
use kernpost_routing_table::model::Maintainers;
use kernpost_routing_table::source::{ANCHOR_FILE, load_anchor, load_snapshots};
use kernpost_routing_table::{TrustAnchor, ZoneSnapshot, parse_instant};

/// What the file name of an encoded, unsigned zone ends with.
const UNSIGNED: &str = "unsigned";

#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Make a signing key for a maintainer or an endpoint, or show the public half of one.
    Key(key::KeyArgs),
    /// Check zone sources (TOML), say what they change, and encode them, ready to be signed.
    Build(build::BuildArgs),
    /// Sign an encoded zone, or add a signature to a signed one.
    Sign(sign::SignArgs),
    /// Say everything that is wrong with a folder of signed zones, or what is in it.
    Verify(verify::VerifyArgs),
    /// Say who is responsible for a route key, and why nobody else is.
    #[command(visible_alias = "explain")]
    Lookup(lookup::LookupArgs),
}

/// A folder of signed zones and whom to believe.
#[derive(Debug, Args)]
pub struct FolderArgs {
    /// Folder with the signed zones (*.zone).
    #[arg(long, value_name = "FOLDER")]
    pub directory: PathBuf,
    /// Trust anchor; by default trust-anchor.toml in the folder.
    #[arg(long, value_name = "FILE")]
    pub trust_anchor: Option<PathBuf>,
}

impl FolderArgs {
    /// Reads the trust anchor.
    pub fn anchor(&self) -> Result<TrustAnchor> {
        let beside = self.directory.join(ANCHOR_FILE);
        Ok(load_anchor(self.trust_anchor.as_deref().unwrap_or(&beside))?)
    }

    /// Reads the signed zones with their paths; nothing of them is verified.
    pub fn snapshots(&self) -> Result<Vec<(String, Bytes)>> {
        let zones = load_snapshots(&self.directory)?;
        Ok(zones.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)).collect())
    }
}

pub fn run(command: DirectoryCommand) -> Result<ExitCode> {
    run_to(command, now(), &mut std::io::stdout().lock())
}

fn run_to(command: DirectoryCommand, now: UnixMs, out: &mut impl Write) -> Result<ExitCode> {
    match command {
        DirectoryCommand::Key(args) => key::run(&args, out),
        DirectoryCommand::Build(args) => build::run(&args, now, out),
        DirectoryCommand::Sign(args) => sign::run(&args, out),
        DirectoryCommand::Verify(args) => verify::run(&args, now, out),
        DirectoryCommand::Lookup(args) => lookup::run(&args, now, out),
    }
}

/// Reads `--at`.
fn instant(text: &str) -> Result<UnixMs, String> {
    parse_instant(text).map_err(|error| error.to_string())
}

fn read_key(path: &PathBuf) -> Result<SigningKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    SigningKey::from_pkcs8_pem(&text).with_context(|| format!("key {}", path.display()))
}

/// Who signs for a zone: the anchor says it for the root, its parent for every other.
fn maintainers_of<'a>(
    zone: &kernpost_codecs::ZoneId,
    anchor: &'a TrustAnchor,
    zones: impl IntoIterator<Item = &'a ZoneSnapshot>,
) -> Option<&'a Maintainers> {
    if *zone == anchor.root_zone {
        return Some(&anchor.maintainers);
    }
    let delegations = zones.into_iter().flat_map(|parent| &parent.delegations);
    delegations.into_iter().find(|delegation| delegation.zone == *zone).map(|delegation| &delegation.maintainers)
}

/// What a zone holds, in numbers.
fn contents(zone: &ZoneSnapshot) -> String {
    format!(
        "serial {}, {} routers, {} endpoints, {} routes, {} delegations",
        zone.serial,
        zone.routers.len(),
        zone.endpoints.len(),
        zone.routes.len(),
        zone.delegations.len()
    )
}
