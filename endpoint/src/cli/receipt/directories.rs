//! By which directory is a receipt judged? The version it states, found and verified; and the one in force, for what was
//! revoked since.

use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use kernpost_codecs::statement::Receipt;
use kernpost_codecs::time::SKEW_MS;
use kernpost_codecs::{Digest, DirectoryVersion, UnixMs, ZoneVersion};
use kernpost_endpoint::offline::audit::Check;
use kernpost_endpoint::offline::versions::assemble;
use kernpost_routing_table::snapshot::SignedSnapshot;
use kernpost_routing_table::source::load_snapshots;
use kernpost_routing_table::{Directory, SerialFloor, Table, TrustAnchor, instant_text};

use super::super::directory::FolderArgs;

/// What was read from disk; nothing of it is believed yet.
pub struct Directories {
    anchor: TrustAnchor,
    current: Vec<(String, Bytes)>,
    /// Older snapshots, and the folder they are from.
    older: Option<(String, Vec<Bytes>)>,
    lists: Option<std::path::PathBuf>,
}

/// The directory version a receipt states, verified.
pub struct Stated {
    pub at_receipt: Table,
    pub at_sending: Table,
    pub current: Table,
    pub zones: Vec<ZoneVersion>,
}

impl Directories {
    /// Reads the folder in force and, if given, a folder of older zones.
    pub fn read(folder: &FolderArgs, older: Option<&Path>) -> Result<Self> {
        let older_snapshots = older
            .map(|path| {
                let snapshots = load_snapshots(path).context("--snapshots")?;
                let bytes = snapshots.into_iter().map(|(_, bytes)| bytes).collect();
                anyhow::Ok((path.display().to_string(), bytes))
            })
            .transpose()?;
        Ok(Self {
            anchor: folder.anchor()?,
            current: folder.snapshots()?,
            older: older_snapshots,
            lists: older.map(Path::to_owned),
        })
    }

    /// Verifies the directory in force and the stated one, each a check; tables when both hold.
    pub fn judge(&self, receipt: &Receipt, created: UnixMs, now: UnixMs) -> (Vec<Check>, Option<Stated>) {
        let mut checks = Vec::new();
        let current = Directory::verify_named(&self.anchor, self.current.clone(), &SerialFloor::new(), now);
        checks.push(Check::of("directory", described(&current)));
        let version = receipt.directory_version;
        let stated = match self.find(&version) {
            Err(why) => Err(why),
            Ok((snapshots, whence)) => self.verify_stated(&snapshots, receipt, &whence),
        };
        let text = stated.as_ref().map(|(_, detail)| detail.clone()).map_err(Clone::clone);
        checks.push(Check::of("version", text));
        let (Ok(current), Ok((stated, _))) = (current, stated) else { return (checks, None) };
        let compiled = Table::compile(&stated, receipt.time, 1).and_then(|at_receipt| {
            Ok((at_receipt, Table::compile(&stated, created, 1)?, Table::compile(&current, now, 2)?))
        });
        match compiled {
            Ok((at_receipt, at_sending, current)) => {
                let zones = stated.versions().to_vec();
                (checks, Some(Stated { at_receipt, at_sending, current, zones }))
            }
            Err(error) => {
                checks.push(Check::of("directory", Err(error.to_string())));
                (checks, None)
            }
        }
    }

    /// The snapshots of the stated version, and where they are from.
    fn find(&self, version: &DirectoryVersion) -> Result<(Vec<Bytes>, String), String> {
        let current: Vec<Bytes> = self.current.iter().map(|(_, bytes)| bytes.clone()).collect();
        let opened = current.iter().map(|bytes| SignedSnapshot::open(bytes.clone()).map(|signed| signed.version()));
        if opened.collect::<Result<Vec<_>, _>>().is_ok_and(|zones| DirectoryVersion::of(&zones) == *version) {
            return Ok((current, "the version in the folder".to_owned()));
        }
        let stated = format!("the receipt states {version}, the folder holds another one");
        let Some((name, older)) = &self.older else {
            return Err(format!("{stated}; give the zones as of that time with --snapshots"));
        };
        let listed = self.lists.as_ref().and_then(|folder| listed(folder, version, older));
        let mut heap = older.clone();
        heap.extend(current);
        let found = listed.map_or_else(|| assemble(version, &heap), Ok);
        found
            .map(|zones| (zones, format!("an older version, from {name}")))
            .map_err(|why| format!("{stated}, and in {name} {why}"))
    }

    /// The trust anchor's least serial keeps old directories out of force; it says nothing about what they said then.
    fn verify_stated(
        &self,
        snapshots: &[Bytes],
        receipt: &Receipt,
        whence: &str,
    ) -> Result<(Directory, String), String> {
        let anchor = TrustAnchor { minimum_serial: 0, ..self.anchor.clone() };
        let at = receipt.time.plus_ms(SKEW_MS);
        let directory = Directory::verify(&anchor, snapshots, &SerialFloor::new(), at)
            .map_err(|errors| format!("{} as of the receipt's time: {errors}", receipt.directory_version))?;
        let zones: Vec<String> =
            directory.versions().iter().map(|zone| format!("{} {}", zone.zone, zone.serial)).collect();
        let (version, when) = (directory.version(), instant_text(receipt.time));
        Ok((directory, format!("{version} is {whence}, in force at {when}: {}", zones.join(", "))))
    }
}

fn described(directory: &Result<Directory, kernpost_routing_table::DirectoryErrors>) -> Result<String, String> {
    match directory {
        Ok(directory) => Ok(format!("{} zones, signed as the trust anchor asks", directory.versions().len())),
        Err(errors) => Err(format!("the folder is refused: {errors}")),
    }
}

/// A router's history names the zones of each version in a file (`<version>.version`: zone, serial and digest per line).
fn listed(folder: &Path, version: &DirectoryVersion, heap: &[Bytes]) -> Option<Vec<Bytes>> {
    let text = std::fs::read_to_string(folder.join(format!("{}.version", version.0))).ok()?;
    let digests: Option<Vec<Digest>> = text.lines().map(|line| line.split(' ').nth(2)?.parse().ok()).collect();
    let by_digest: std::collections::HashMap<Digest, &Bytes> =
        heap.iter().map(|bytes| (Digest::of(bytes), bytes)).collect();
    let zones: Vec<Bytes> =
        digests?.iter().map(|digest| by_digest.get(digest).map(|bytes| (*bytes).clone())).collect::<Option<_>>()?;
    // The file is only a hint: what counts is that the zones hash to the version.
    assemble(version, &zones).ok()
}
