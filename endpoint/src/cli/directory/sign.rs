//! `kernpost directory sign`: a maintainer's word for a zone. It takes two: the second one adds a signature to the first's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use kernpost_codecs::key::SigningKey;
use kernpost_routing_table::snapshot::{SignedSnapshot, cosign, decode_payload, sign};
use kernpost_routing_table::source::{ZONE_EXTENSION, load_anchor, load_zone_toml, write_zone, zone_path};
use kernpost_routing_table::{ZoneSnapshot, check_zone, instant_text};

use super::{UNSIGNED, contents, maintainers_of, read_key};

#[derive(Debug, Args)]
pub struct SignArgs {
    /// Encoded zones (*.unsigned), sources (*.toml) or signed zones (*.zone).
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Maintainer's private key (PKCS#8 PEM); may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<PathBuf>,
    /// Folder for the signed zones. A zone that lies there with the same content gets the signatures added.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Trust anchor: say how many signatures are still missing (for zones below the root, if their parent is in --out).
    #[arg(long, value_name = "FILE")]
    pub trust_anchor: Option<PathBuf>,
}

/// Signs and says what was signed.
pub fn run(args: &SignArgs, out: &mut impl Write) -> Result<ExitCode> {
    let keys = args.key.iter().map(read_key).collect::<Result<Vec<_>>>()?;
    let keys: Vec<&SigningKey> = keys.iter().collect();
    // All are checked before the first is written: one set of zones is signed, or nothing.
    let signed: Vec<Bytes> = args.files.iter().map(|file| sign_one(file, &args.out, &keys)).collect::<Result<_>>()?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut zones = Vec::with_capacity(signed.len());
    for bytes in &signed {
        let opened = SignedSnapshot::open(bytes.clone())?;
        let path = write_zone(&args.out, &opened.snapshot().zone, bytes)?;
        let zone = opened.snapshot();
        writeln!(out, "{}: {}", path.display(), contents(zone))?;
        writeln!(out, "  in force {} to {}", instant_text(zone.not_before), instant_text(zone.not_after))?;
        writeln!(out, "  SHA-256 {}", opened.digest())?;
        zones.push(opened);
    }
    if let Some(path) = &args.trust_anchor {
        say_what_is_missing(path, &args.out, &zones, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn sign_one(file: &Path, folder: &Path, keys: &[&SigningKey]) -> Result<Bytes> {
    let name = || file.display().to_string();
    let extension = file.extension().and_then(|extension| extension.to_str());
    let zone = match extension {
        Some(UNSIGNED) => {
            let bytes = std::fs::read(file).with_context(name)?;
            decode_payload(&bytes).with_context(name)?
        }
        Some("toml") => load_zone_toml(file)?,
        Some(ZONE_EXTENSION) => {
            let bytes = Bytes::from(std::fs::read(file).with_context(name)?);
            let opened = SignedSnapshot::open(bytes.clone()).with_context(name)?;
            check_zone(opened.snapshot()).with_context(name)?;
            return cosign(&bytes, keys).with_context(name);
        }
        _ => bail!("{} is neither *.{UNSIGNED}, *.toml nor *.{ZONE_EXTENSION}", file.display()),
    };
    check_zone(&zone).with_context(name)?;
    match already_signed(&zone_path(folder, &zone.zone), &zone)? {
        Some(bytes) => cosign(&bytes, keys).with_context(name),
        None => sign(&zone, keys).with_context(name),
    }
}

/// The signed zone in its place, when it says the same; refused when it says something else under the same serial.
fn already_signed(path: &Path, zone: &ZoneSnapshot) -> Result<Option<Bytes>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = Bytes::from(std::fs::read(path).with_context(|| path.display().to_string())?);
    let there = SignedSnapshot::open(bytes.clone()).with_context(|| path.display().to_string())?;
    if there.snapshot() == zone {
        return Ok(Some(bytes));
    }
    if there.snapshot().serial >= zone.serial {
        bail!(
            "{} is signed with serial {} and says something else; a new zone needs a higher serial than that, not {}",
            path.display(),
            there.snapshot().serial,
            zone.serial
        );
    }
    Ok(None)
}

fn say_what_is_missing(anchor: &Path, folder: &Path, zones: &[SignedSnapshot], out: &mut impl Write) -> Result<()> {
    let anchor = load_anchor(anchor)?;
    let beside: Vec<ZoneSnapshot> = kernpost_routing_table::source::load_snapshots(folder)?
        .into_iter()
        .filter_map(|(_, bytes)| SignedSnapshot::open(bytes).ok())
        .map(SignedSnapshot::into_snapshot)
        .collect();
    for signed in zones {
        let zone = &signed.snapshot().zone;
        let Some(maintainers) = maintainers_of(zone, &anchor, &beside) else {
            writeln!(out, "zone {zone}: who maintains it is unknown here")?;
            continue;
        };
        let signers = signed.signers(maintainers);
        let (valid, needed) = (signers.valid.len(), maintainers.threshold);
        write!(out, "zone {zone}: {valid} of {needed} signatures")?;
        match signers.strangers.len() {
            0 => writeln!(out)?,
            strangers => writeln!(out, "; {strangers} signatures are by keys of nobody who maintains it")?,
        }
    }
    Ok(())
}
