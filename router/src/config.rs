//! What did the operator configure?
//!
//! Reads the TOML file into typed sections and collects everything that is wrong with the text itself; `check` then looks
//! at the files it names. `config/reference.toml` is the documentation of every key: default, unit, range, memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

use kernpost_codecs::part::LONGEST_INLINE_PAYLOAD;
use kernpost_codecs::{Class, RouterId};
use kernpost_router_core::config::{ClassCredit, LinkBudget};
use kernpost_router_core::line::link_window_bytes;
use kernpost_router_core::{ControlConfig, EngineConfig};

use crate::identity::TrustDomain;
use crate::problem::{Place, Problem, Problems};

mod address;
mod custody;
mod link;
mod reader;
mod sections;

pub use address::PeerAddress;
pub use custody::{CustodySection, KeySource};
pub use kernpost_router_core::{Line, LinkProfile};
pub use link::LinkSection;

/// The reference configuration: every key with its default, unit, range and worst-case memory.
pub const REFERENCE: &str = include_str!("config/reference.toml");

/// A whole configuration whose text is sound. The files it names are looked at by [`crate::check`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// This router.
    pub router: RouterSection,
    /// Where links are accepted.
    pub listen: ListenSection,
    /// Certificates and the TLS profile.
    pub tls: TlsSection,
    /// The signed directory.
    pub directory: DirectorySection,
    /// Routers to be linked with.
    pub peers: Vec<PeerSection>,
    /// QUIC windows and timers.
    pub link: LinkSection,
    /// Credit granted per link and class, by [`Class::index`].
    pub credit: [ClassCredit; 3],
    /// Bounds on counts and queues.
    pub limits: LimitsSection,
    /// Times after which waiting ends.
    pub deadlines: DeadlinesSection,
    /// What an endpoint's link may use per second.
    pub endpoint_budget: LinkBudget,
    /// What a router's link may use per second.
    pub router_budget: LinkBudget,
    /// What is kept for those who cannot take it now; `None`: nothing is.
    pub custody: Option<CustodySection>,
    /// Bounds on connections being set up.
    pub handshakes: HandshakesSection,
    /// The admin interface.
    pub admin: AdminSection,
    /// `[clock]`: who says whether the machine's clock can be trusted; `None`: see [`Config::clock`].
    pub clock: Option<ClockSynchronisation>,
    /// Logging.
    pub log: LogSection,
    places: BTreeMap<String, Place>,
}

/// `[router]`: this router.
#[derive(Debug, Clone)]
pub struct RouterSection {
    /// Its id, as the directory lists it (WIRE 1.6).
    pub id: RouterId,
    /// Workers; 0 means one per core. 0..=64, default 0.
    pub workers: u16,
    /// Folder for what must survive a restart (serial memory, last good directory).
    pub state: PathBuf,
    /// Whether a development PKI is tolerated. Default false.
    pub dev: bool,
}

/// `[listen]`: where links are accepted.
#[derive(Debug, Clone)]
pub struct ListenSection {
    /// UDP addresses; port 0 lets the kernel choose.
    pub addresses: Vec<SocketAddr>,
    /// Whether IPv4 addresses are allowed. Default false.
    pub ipv4: bool,
    /// Socket buffer asked of the kernel, bytes per direction and worker. Default 8 MiB.
    pub socket_buffer_bytes: usize,
}

/// `[tls]`: certificates and the profile.
#[derive(Debug, Clone)]
pub struct TlsSection {
    /// PEM file: own certificate first, then the intermediates.
    pub certificates: PathBuf,
    /// PEM file: the private key (PKCS #8, SEC1 or PKCS #1).
    pub key: PathBuf,
    /// PEM files with the CA certificates that peers must chain to.
    pub roots: Vec<PathBuf>,
    /// Files with certificate revocation lists, PEM or DER. When any is given, every CA of a peer's chain needs one.
    pub crls: Vec<PathBuf>,
    /// Trust domain of the URI identities (WIRE 2.2).
    pub trust_domain: TrustDomain,
    /// Groups and signature algorithms.
    pub profile: TlsProfile,
    /// Whether links without hybrid post-quantum key exchange are refused. Default false.
    pub require_hybrid: bool,
}

/// Which key exchange groups and signature algorithms are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsProfile {
    /// Both hybrids, then P-384 and P-256; every signature algorithm of the TLS library.
    #[default]
    Default,
    /// As the default, without X25519 and Ed25519 (TR-02102-2 does not list them).
    Strict,
}

/// `[directory]`: the signed directory.
#[derive(Debug, Clone)]
pub struct DirectorySection {
    /// Folder with the signed zone snapshots.
    pub folder: PathBuf,
    /// File with the trust anchor, installed out of band.
    pub trust_anchor: PathBuf,
    /// How often the folder is looked at, ms. Default 2,000; 100..=3,600,000.
    pub poll_ms: u64,
}

/// One `[[peers]]`: a router to be linked with. Of two routers the bytewise smaller id dials (WIRE 2.1).
#[derive(Debug, Clone)]
pub struct PeerSection {
    /// Its id.
    pub router: RouterId,
    /// Its address; a name is resolved again at every connect.
    pub address: PeerAddress,
    /// The line to it, when it is another than that of `[link]`.
    pub line: Option<Line>,
}

/// `[limits]`: bounds on counts and queues.
#[derive(Debug, Clone)]
pub struct LimitsSection {
    /// Links in the process. Default 256; 1..=65,536.
    pub links: usize,
    /// Attachments one link may hold. Default 4,096; 1..=65,536.
    pub attachments_per_link: usize,
    /// Links one identity may have at a time.
    pub links_per_identity: usize,
    /// Frame bytes waiting to be written per link and class. Default 8 MiB.
    pub queued_bytes: usize,
    /// Crossings waiting between two workers. Default 8,192; 64..=1,048,576.
    pub crossings: usize,
    /// An endpoint gets at most 1/this of its link's credit. Default 8; 1..=1,024.
    pub endpoint_share: u64,
    /// A downstream link gets at most 1/this of an upstream link's credit. Default 4; 1..=1,024.
    pub downstream_share: u64,
    /// Checked roots remembered per worker. Default 8,192; 256..=1,048,576.
    pub root_cache: usize,
    /// Largest payload carried, stated in hello, bytes. Default 2 GiB; 65,536 (no large payloads) ..= 2 GiB.
    pub largest_payload: u64,
    /// Large payloads on one link in either direction. Default 16; 1..=256.
    pub large_payloads_per_link: u64,
    /// Large payloads on all links of one worker. Default 256; 1..=65,536.
    pub large_payloads: usize,
}

/// `[deadlines]`: times after which waiting ends, all in ms.
#[derive(Debug, Clone)]
pub struct DeadlinesSection {
    /// A recipient's time to settle (WIRE 8.6). Default 30,000.
    pub endpoint_ms: u64,
    /// Added per hop upstream (WIRE 8.6). Default 2,000.
    pub hop_ms: u64,
    /// How long an entry may wait for onward credit. Default 100.
    pub credit_wait_ms: u64,
    /// Retry-after stated with `busy` and `not-attached`. Default 200.
    pub retry_after_ms: u64,
    /// Time a new link has for its hello (WIRE 2.5). Default 10,000.
    pub hello_ms: u64,
    /// Interval of pings on a silent control stream. Default 10,000.
    pub ping_ms: u64,
    /// How long a drain may take before links are closed. Default 40,000.
    pub drain_ms: u64,
}

/// `[handshakes]`: bounds on connections being set up, so that a flood never starves links that are up.
#[derive(Debug, Clone)]
pub struct HandshakesSection {
    /// Handshakes in progress per worker; more are refused. Default 256; 8..=65,536.
    pub in_progress: usize,
    /// From this many in progress on, a newcomer proves its address first (Retry). Default 32.
    pub retry_above: usize,
    /// New connections a second from all networks together that had no link within the last hour, per worker. Default 100.
    pub strangers_per_s: u32,
    /// Burst of that bucket. Default 200.
    pub strangers_burst: u32,
    /// New connections a second from one /64 (or IPv4 address) and worker. Default 50.
    pub per_prefix_per_s: u32,
    /// Burst of that bucket. Default 200.
    pub per_prefix_burst: u32,
    /// Share of `in_progress` kept for the addresses of configured peers, percent. Default 25; 0..=90.
    pub peer_share_percent: u8,
}

/// `[admin]`: the admin interface.
#[derive(Debug, Clone)]
pub struct AdminSection {
    /// HTTP address on the IPv6 loopback; port 0 lets the kernel choose.
    pub listen: SocketAddrV6,
    /// The Unix socket of the spool's commands; there is one with custody. Default `admin.sock` in the state folder.
    pub socket: PathBuf,
    /// A group whose members may use that socket; by default only its owner may.
    pub operators_group: Option<String>,
}

/// `[clock]`: when is the machine's clock good enough to say that something has expired?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSynchronisation {
    /// While the kernel says that it is synchronised. The default, except with `router.dev` or `--dev`.
    Kernel,
    /// Always: for machines whose clock something keeps that the kernel does not know of. The default with `router.dev` or `--dev`.
    Assumed,
}

/// `[log]`: logging to standard error.
#[derive(Debug, Clone)]
pub struct LogSection {
    /// Text for people or JSON lines for machines. Default text.
    pub format: LogFormat,
    /// Filter in tracing's directive syntax. Default "info".
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

impl Config {
    /// Who says whether the clock can be trusted: as configured, else the kernel, but for a development router: machines on which
    /// one develops have no NTP client more often than not, and what is tried out there should expire.
    #[must_use]
    pub fn clock(&self) -> ClockSynchronisation {
        let usual = if self.router.dev { ClockSynchronisation::Assumed } else { ClockSynchronisation::Kernel };
        self.clock.unwrap_or(usual)
    }

    /// Reads and parses `file`.
    ///
    /// # Errors
    /// Everything that is wrong with the text, at once; an unreadable file is one problem.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Problems(vec![Problem::in_file(
                file,
                format!("cannot be read: {error}"),
                "name an existing, readable file with --config",
            )])
        })?;
        Self::parse(file, &text)
    }

    /// Parses `text`; `file` is named in problems, and relative paths are resolved against its folder.
    ///
    /// # Errors
    /// Everything that is wrong with the text, at once.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        sections::read(file, text)
    }

    /// Where a key stands in the file, when it is there.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<Place> {
        self.places.get(key).copied()
    }

    /// A problem at one of this configuration's keys.
    #[must_use]
    pub fn problem(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::in_file(&self.file, what, remedy).at(key, self.place(key))
    }

    /// The number of workers: as configured, else one per core.
    #[must_use]
    pub fn workers(&self) -> u16 {
        if self.router.workers > 0 {
            return self.router.workers;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u16::try_from(cores.min(64)).unwrap_or(64)
    }

    /// What every engine of this router is configured with.
    #[must_use]
    pub fn engine(&self) -> EngineConfig {
        let mut engine = EngineConfig::new(self.router.id.clone());
        engine.workers = self.workers();
        engine.credit = self.credit;
        engine.endpoint_deadline_ms = self.deadlines.endpoint_ms;
        engine.hop_deadline_ms = self.deadlines.hop_ms;
        engine.credit_wait_ms = self.deadlines.credit_wait_ms;
        engine.retry_after_ms = self.deadlines.retry_after_ms;
        engine.largest_bundle = self.link.largest_bundle_bytes;
        let own_lines = self.peers.iter().filter(|peer| peer.line.is_some());
        engine.largest_bundle_of =
            own_lines.map(|peer| (peer.router.clone(), self.link_with(peer).largest_bundle_bytes)).collect();
        engine.root_cache = self.limits.root_cache;
        engine.endpoint_budget = self.endpoint_budget;
        engine.router_budget = self.router_budget;
        engine.endpoint_share = self.limits.endpoint_share;
        engine.downstream_share = self.limits.downstream_share;
        engine.largest_payload = self.limits.largest_payload;
        engine.large_payloads_per_link = self.limits.large_payloads_per_link;
        engine.large_payloads = self.limits.large_payloads;
        engine.custody = self.custody.is_some();
        engine
    }

    /// What the control side of this router is configured with.
    #[must_use]
    pub fn control(&self) -> ControlConfig {
        let mut control = ControlConfig::new(self.router.id.clone(), self.workers());
        control.hello_timeout_ms = self.deadlines.hello_ms;
        control.attachments_per_link = self.limits.attachments_per_link;
        control.links_per_identity = self.limits.links_per_identity;
        control.ping_interval_ms = self.deadlines.ping_ms;
        control.largest_payload = self.limits.largest_payload;
        control
    }

    /// What holds for links with `peer`: `[link]`, or what its own line asks for.
    #[must_use]
    pub fn link_with(&self, peer: &PeerSection) -> LinkSection {
        match peer.line {
            Some(line) => self.link.over(line, self.least_send_window()),
            None => self.link.clone(),
        }
    }

    /// All that may be in flight by credit, and room for the settlement and control streams. Bytes.
    #[must_use]
    pub fn least_send_window(&self) -> u64 {
        sections::least_send_window(&self.credit)
    }

    /// Bytes of large payloads that may be on one link in one direction (WIRE 9.4); come on top of the windows of its lanes,
    /// so that they never take what a lane may use.
    #[must_use]
    pub fn large_payload_windows(&self) -> u64 {
        if self.limits.largest_payload > LONGEST_INLINE_PAYLOAD as u64 {
            self.limits.large_payloads_per_link.saturating_mul(kernpost_codecs::payload::WINDOW)
        } else {
            0
        }
    }

    /// The most memory links may hold: every link with all its credit, windows and queues full. Bytes.
    #[must_use]
    pub fn worst_case_link_memory(&self) -> u64 {
        let credit: u64 = self.credit.iter().map(|class| class.bytes).sum();
        let queues = self.limits.queued_bytes as u64 * Class::ALL.len() as u64;
        let windows = link_window_bytes(self.link.lane_window_bytes) + self.link.send_window_bytes;
        let per_link = credit + queues + windows + self.large_payload_windows();
        per_link.saturating_mul(self.limits.links as u64)
    }
}

/// Two entries of a list that are equal by `key` are one too many: reports every later one.
fn report_duplicates<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K, mut report: impl FnMut(usize, &T)) {
    let mut seen = BTreeSet::new();
    for (position, item) in items.iter().enumerate() {
        if !seen.insert(key(item)) {
            report(position, item);
        }
    }
}

#[cfg(test)]
mod tests;
