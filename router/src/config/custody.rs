//! `[custody]`: what this router keeps for those who cannot take it now.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use kernpost_codecs::RouterId;
use kernpost_router_core::CustodyConfig;
use kernpost_spool::FjallOptions;

use super::reader::{FilePath, Notes, Section};

/// `[custody]`. Without this section the router takes no custody: what nobody can take now is refused.
#[derive(Debug, Clone)]
pub struct CustodySection {
    /// Folder of the spool; one process at a time.
    pub folder: PathBuf,
    /// The master key that wraps the spool's keys from now on.
    pub master_key: KeySource,
    /// Master keys of before, while their secrets have not been wrapped anew.
    pub previous_master_keys: Vec<KeySource>,
    /// PEM files: the keys that sign this router's receipts, the preferred first.
    pub signing_keys: Vec<PathBuf>,
    /// Bytes waiting from which on credit shrinks. Default 8 GiB.
    pub low_bytes: u64,
    /// Bytes waiting from which on nothing more is taken. Default 10 GiB.
    pub high_bytes: u64,
    /// Bytes the disk must have left. Default 1 GiB.
    pub least_free_bytes: u64,
    /// Bytes of large payloads on their way in, and of those that were interrupted. Default 4 GiB.
    pub partial_bytes: u64,
    /// Large payloads on their way in at a time; 1 MiB of memory each. Default 16.
    pub large_payloads: usize,
    /// Age of the oldest waiting message from which on credit shrinks, hours. Default 480.
    pub old_hours: u64,
    /// Days statements and proofs are kept after the end. Default 730.
    pub retention_days: u64,
    /// Bytes of records in memory, to be delivered from. Default 64 MiB.
    pub window_bytes: u64,
    /// Bytes of one queue of them. Default 4 MiB.
    pub queue_window_bytes: u64,
    /// Bytes the storage library caches. Default 64 MiB.
    pub cache_bytes: u64,
    /// Bytes of its journals; bounds the time of a restart too. Default 256 MiB.
    pub journal_bytes: u64,
    /// Whether to open although complete writes lie behind a damaged spot in the journal; they are lost then. Default false.
    pub accept_damaged_journal: bool,
}

/// Where a master key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file only the router's user may read: 32 bytes, or 64 hexadecimal digits.
    File(PathBuf),
    /// A credential of the service (`LoadCredential=` of systemd).
    Credential(String),
}

impl KeySource {
    /// For messages.
    #[must_use]
    pub fn shown(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Credential(name) => PathBuf::from(format!("credential:{name}")),
        }
    }
}

/// As it stands in the file, before relative paths are resolved.
struct Unresolved(String);

impl FromStr for Unresolved {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl Unresolved {
    fn resolve(self, file: &Path) -> KeySource {
        match self.0.strip_prefix("credential:") {
            Some(name) => KeySource::Credential(name.to_owned()),
            None => KeySource::File(file.parent().unwrap_or(Path::new("")).join(self.0)),
        }
    }
}

impl CustodySection {
    /// Reads the section, when it is there.
    pub(super) fn read<'t>(notes: &mut Notes<'t>, mut section: Section<'t>, file: &Path) -> Option<Self> {
        let expected = "a file with 32 random bytes, or credential:NAME";
        let folder: Option<FilePath> = section.required(notes, "folder", "a folder this router may write to");
        let master_key: Option<Unresolved> = section.required(notes, "master_key", expected);
        let previous: Vec<Unresolved> = section.list(notes, "previous_master_keys", expected);
        let signing_keys: Vec<FilePath> = section.list(notes, "signing_keys", "a PEM file with a signing key");
        if signing_keys.is_empty() {
            notes.wrong(
                &section.dotted("signing_keys"),
                "names no key: receipts could not be signed",
                "list the PEM files of the keys the directory states for this router",
            );
        }
        let low_bytes = section.number(notes, "low_bytes", 8 << 30, 1 << 20..=1 << 50, "bytes");
        let high_bytes = section.number(notes, "high_bytes", 10 << 30, 1 << 20..=1 << 50, "bytes");
        if high_bytes < low_bytes {
            notes.wrong(&section.dotted("high_bytes"), "is below custody.low_bytes", "make it larger than low_bytes");
        }
        let least_free_bytes = section.number(notes, "least_free_bytes", 1 << 30, 0..=1 << 50, "bytes");
        let partial_bytes = section.number(notes, "partial_bytes", 4 << 30, 1 << 20..=1 << 50, "bytes");
        let large_payloads = section.number(notes, "large_payloads", 16_u64, 0..=1_024, "payloads");
        let old_hours = section.number(notes, "old_hours", 480, 1..=720, "hours");
        let retention_days = section.number(notes, "retention_days", 730, 1..=36_500, "days");
        let window_bytes = section.number(notes, "window_bytes", 64 << 20, 1 << 20..=1 << 36, "bytes");
        let queue_window_bytes = section.number(notes, "queue_window_bytes", 4 << 20, 256 << 10..=1 << 32, "bytes");
        let cache_bytes = section.number(notes, "cache_bytes", 64 << 20, 4 << 20..=1 << 36, "bytes");
        let journal_bytes = section.number(notes, "journal_bytes", 256 << 20, 128 << 20..=1 << 36, "bytes");
        let accept_damaged_journal = section.flag(notes, "accept_damaged_journal", false);
        section.finish(notes);
        Some(Self {
            folder: folder?.resolve(file),
            master_key: master_key?.resolve(file),
            previous_master_keys: previous.into_iter().map(|key| key.resolve(file)).collect(),
            signing_keys: signing_keys.into_iter().map(|path| path.resolve(file)).collect(),
            low_bytes,
            high_bytes,
            least_free_bytes,
            partial_bytes,
            large_payloads: usize::try_from(large_payloads).unwrap_or(usize::MAX),
            old_hours,
            retention_days,
            window_bytes,
            queue_window_bytes,
            cache_bytes,
            journal_bytes,
            accept_damaged_journal,
        })
    }

    /// What the core's custody is configured with.
    #[must_use]
    pub fn core(&self, router: RouterId, workers: u16, deadlines: &super::DeadlinesSection) -> CustodyConfig {
        CustodyConfig {
            endpoint_deadline_ms: deadlines.endpoint_ms,
            hop_deadline_ms: deadlines.hop_ms,
            retry_after_ms: deadlines.retry_after_ms,
            queue_window_bytes: self.queue_window_bytes,
            window_bytes: self.window_bytes,
            retention_ms: self.retention_days * 24 * HOUR_MS,
            low_bytes: self.low_bytes,
            high_bytes: self.high_bytes,
            least_free_bytes: self.least_free_bytes,
            large_payloads: self.large_payloads,
            old_ms: self.old_hours * HOUR_MS,
            ..CustodyConfig::new(router, workers)
        }
    }

    /// What the storage library is configured with.
    #[must_use]
    pub fn store(&self) -> FjallOptions {
        FjallOptions {
            cache_bytes: self.cache_bytes,
            journal_bytes: self.journal_bytes,
            accept_damaged_journal: self.accept_damaged_journal,
            ..FjallOptions::default()
        }
    }
}

const HOUR_MS: u64 = 3_600_000;
