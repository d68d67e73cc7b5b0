//! `kernpost directory build`: is what a maintainer wrote fit to be signed, and what does it change?
//!
//! Zones are checked one by one and, with the other zones at hand (`--directory`, or all sources together), as the whole
//! they would make. For that they are signed with a throw-away key in memory: everything but the signatures themselves
//! is judged as a router would judge it. Nothing is written unless all is well.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::{Digest, UnixMs, ZoneId};
use kernpost_routing_table::diff::DirectoryDiff;
use kernpost_routing_table::model::Maintainers;
use kernpost_routing_table::snapshot::{self, SignedSnapshot, encode_payload};
use kernpost_routing_table::source::{ZONE_EXTENSION, load_snapshots, load_sources, load_zone_toml, write_atomically};
use kernpost_routing_table::{Directory, SerialFloor, TrustAnchor, ZoneSnapshot, check_zone};

use super::{UNSIGNED, contents};

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Zone source (TOML), or a folder of them; may be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    pub source: Vec<PathBuf>,
    /// Folder for the encoded zones (*.unsigned); without it they are only checked.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Folder with the zones signed so far: the new ones are checked together with the others, and compared.
    #[arg(long, value_name = "FOLDER")]
    pub directory: Option<PathBuf>,
}

/// Prints every finding, or what changes and what was written.
pub fn run(args: &BuildArgs, now: UnixMs, out: &mut impl Write) -> Result<ExitCode> {
    let sources = read_sources(&args.source)?;
    let signed = args.directory.as_deref().map(read_signed).transpose()?;
    let before = signed.as_deref().unwrap_or_default();
    let mut findings = Findings::default();
    for (path, zone) in &sources {
        if let Err(errors) = check_zone(zone) {
            errors.iter().for_each(|error| findings.add(error.to_string()));
        }
        findings.of_serial(path, zone, before);
    }
    let zones = together(&sources, before);
    let alone = zones.len() == 1 && signed.is_none();
    let whole = if alone { None } else { whole(&zones, now, &mut findings)? };
    if !findings.list.is_empty() {
        for finding in &findings.list {
            writeln!(out, "{finding}")?;
        }
        let count = findings.list.len();
        writeln!(out, "{count} {}; nothing was written", if count == 1 { "finding" } else { "findings" })?;
        return Ok(ExitCode::FAILURE);
    }
    if alone {
        writeln!(out, "checked alone; give --directory to check it together with the other zones")?;
    }
    if let (Some(whole), false) = (&whole, before.is_empty()) {
        show_changes(&sources, before, whole, now, out)?;
    }
    write(args.out.as_deref(), &sources, before, out)?;
    Ok(ExitCode::SUCCESS)
}

type Sources = Vec<(PathBuf, ZoneSnapshot)>;

fn read_sources(paths: &[PathBuf]) -> Result<Sources> {
    let (mut sources, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        if path.is_dir() {
            match load_sources(path) {
                Ok(zones) if zones.is_empty() => {
                    errors.push(format!("{} holds no zone source (*.toml)", path.display()))
                }
                Ok(zones) => sources.extend(zones),
                Err(found) => errors.extend(found.iter().map(ToString::to_string)),
            }
        } else {
            match load_zone_toml(path) {
                Ok(zone) => sources.push((path.clone(), zone)),
                Err(error) => errors.push(error.to_string()),
            }
        }
    }
    if errors.is_empty() { Ok(sources) } else { bail!("{}", errors.join("\n")) }
}

/// What was signed so far; not verified, since a directory that broke has to be mended too.
fn read_signed(folder: &Path) -> Result<Vec<ZoneSnapshot>> {
    let any = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(Result::ok)
        .any(|entry| entry.path().extension().is_some_and(|extension| extension == ZONE_EXTENSION));
    if !any {
        return Ok(Vec::new());
    }
    let open = |(path, bytes): (PathBuf, Bytes)| {
        SignedSnapshot::open(bytes).map(SignedSnapshot::into_snapshot).with_context(|| path.display().to_string())
    };
    load_snapshots(folder)?.into_iter().map(open).collect()
}

/// The sources and, of the zones signed so far, those that no source replaces.
fn together(sources: &Sources, before: &[ZoneSnapshot]) -> Vec<ZoneSnapshot> {
    let replaced = |zone: &ZoneId| sources.iter().any(|(_, source)| source.zone == *zone);
    let kept = before.iter().filter(|zone| !replaced(&zone.zone));
    sources.iter().map(|(_, zone)| zone).chain(kept).cloned().collect()
}

/// Judges zones as one directory; `None` when something was found.
fn whole(zones: &[ZoneSnapshot], now: UnixMs, findings: &mut Findings) -> Result<Option<Directory>> {
    let below: BTreeSet<&ZoneId> = zones.iter().flat_map(|zone| &zone.delegations).map(|below| &below.zone).collect();
    let roots: Vec<&ZoneSnapshot> = zones.iter().filter(|zone| !below.contains(&zone.zone)).collect();
    let [root] = roots.as_slice() else {
        let names: Vec<&str> = roots.iter().map(|zone| zone.zone.as_str()).collect();
        findings.add(format!(
            "these zones are not one directory: exactly one, the root, has no parent among them; without parent: {}; \
             add the missing delegations, or the missing zones with --directory",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        ));
        return Ok(None);
    };
    match rehearse(zones, &root.zone, now)? {
        Ok(directory) => Ok(Some(directory)),
        Err(errors) => {
            errors.iter().for_each(|error| findings.add(error.to_string()));
            Ok(None)
        }
    }
}

/// Signs copies of the zones with one throw-away key, names it as everybody's maintainer, and verifies the result.
fn rehearse(
    zones: &[ZoneSnapshot],
    root: &ZoneId,
    now: UnixMs,
) -> Result<Result<Directory, kernpost_routing_table::DirectoryErrors>> {
    let key = SigningKey::generate(Algorithm::Ed25519)?;
    let maintainers = Maintainers { keys: vec![key.public().clone()], threshold: 1 };
    let mut signed = Vec::with_capacity(zones.len());
    for zone in zones {
        let mut zone = zone.clone();
        zone.root = None;
        zone.delegations.iter_mut().for_each(|delegation| delegation.maintainers = maintainers.clone());
        signed.push(snapshot::sign(&zone, &[&key])?);
    }
    let anchor = TrustAnchor { root_zone: root.clone(), maintainers, minimum_serial: 0 };
    // Zones may be built before their time.
    let at = zones.iter().map(|zone| zone.not_before).fold(now, UnixMs::max);
    Ok(Directory::verify(&anchor, &signed, &SerialFloor::new(), at))
}

fn show_changes(
    sources: &Sources,
    before: &[ZoneSnapshot],
    whole: &Directory,
    now: UnixMs,
    out: &mut impl Write,
) -> Result<()> {
    let mut ignored = Findings::default();
    let old = self::whole(before, now, &mut ignored)?;
    match old {
        Some(old) => {
            let diff = DirectoryDiff::between(&old, whole);
            if diff.is_empty() {
                writeln!(out, "routes, endpoints and routers stay as they are")?;
            }
            write!(out, "{diff}")?;
        }
        None => writeln!(out, "the zones signed so far are not in order; what changes cannot be said")?,
    }
    for (old, new) in pairs(sources, before) {
        let keys = |zone: &ZoneSnapshot| -> Vec<_> {
            zone.delegations.iter().map(|below| (below.zone.clone(), below.maintainers.clone())).collect()
        };
        if keys(old) != keys(new) {
            writeln!(out, "~ zone {}: who maintains the zones below it changed", new.zone)?;
        }
        if old.root != new.root {
            writeln!(out, "~ zone {}: root maintainers changed", new.zone)?;
        }
    }
    Ok(())
}

fn pairs<'a>(
    sources: &'a Sources,
    before: &'a [ZoneSnapshot],
) -> impl Iterator<Item = (&'a ZoneSnapshot, &'a ZoneSnapshot)> {
    sources.iter().filter_map(|(_, new)| Some((before.iter().find(|old| old.zone == new.zone)?, new)))
}

fn write(folder: Option<&Path>, sources: &Sources, before: &[ZoneSnapshot], out: &mut impl Write) -> Result<()> {
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (path, zone) in sources {
        if before.contains(zone) {
            writeln!(out, "{}: as signed already, nothing to sign", path.display())?;
            continue;
        }
        let payload = encode_payload(zone);
        match folder {
            Some(folder) => {
                let path = folder.join(format!("{}.{UNSIGNED}", zone.zone));
                write_atomically(&path, &payload)?;
                writeln!(out, "{}: {}, SHA-256 {}", path.display(), contents(zone), Digest::of(&payload))?;
            }
            None => writeln!(out, "{}: in order, {}", path.display(), contents(zone))?,
        }
    }
    Ok(())
}

/// Findings in the order in which they were made, each once.
#[derive(Default)]
struct Findings {
    list: Vec<String>,
}

impl Findings {
    fn add(&mut self, finding: String) {
        if !self.list.contains(&finding) {
            self.list.push(finding);
        }
    }

    /// A changed zone needs a higher serial than the one signed so far.
    fn of_serial(&mut self, path: &Path, zone: &ZoneSnapshot, before: &[ZoneSnapshot]) {
        let old = before.iter().find(|old| old.zone == zone.zone);
        if let Some(old) = old.filter(|old| *old != zone && zone.serial <= old.serial) {
            let (found, signed) = (zone.serial, old.serial);
            let next = signed.saturating_add(1);
            self.add(format!(
                "zone {}: it changed, but its serial {found} is not above {signed}, which is signed already; write serial = \
                 {next} in {}",
                zone.zone,
                path.display()
            ));
        }
    }
}
