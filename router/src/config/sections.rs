//! Which keys does the configuration have, and what may each be?
//!
//! One function per section; each reads its keys, checks what can be checked within the section, and goes on with the
//! default after a fault.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

use kernpost_codecs::frame::LONGEST_BODY;
use kernpost_codecs::{Class, RouterId};
use kernpost_router_core::config::{ClassCredit, LinkBudget};
use kernpost_router_core::line::{LARGEST_WINDOW, SMALLEST_WINDOW};
use kernpost_router_core::{Line, LinkProfile};

use super::link::send_window_bytes;
use super::reader::{FilePath, Notes, Section};
use super::{
    AdminSection, ClockSynchronisation, Config, CustodySection, DeadlinesSection, DirectorySection, HandshakesSection,
    LimitsSection, LinkSection, ListenSection, LogFormat, LogSection, PeerSection, RouterSection, TlsProfile,
    TlsSection, report_duplicates,
};
use crate::problem::Problems;

/// Reads the whole document.
pub(super) fn read(file: &Path, text: &str) -> Result<Config, Problems> {
    let (config, mut notes) = read_noting(file, text);
    config.ok_or_else(|| {
        notes.problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
        Problems(notes.problems)
    })
}

/// Reads the whole document and shows what was noted on the way; no configuration when any problem was.
pub(super) fn read_noting<'t>(file: &'t Path, text: &'t str) -> (Option<Config>, Notes<'t>) {
    let (mut notes, mut root) = Notes::open(file, text);
    let syntax_is_sound = notes.problems.is_empty();
    let section = root.section(&mut notes, "router");
    let router = read_router(&mut notes, section, file);
    let section = root.section(&mut notes, "listen");
    let listen = read_listen(&mut notes, section);
    let section = root.section(&mut notes, "tls");
    let tls = read_tls(&mut notes, section, file);
    let section = root.section(&mut notes, "directory");
    let directory = read_directory(&mut notes, section, file);
    let sections = root.sections(&mut notes, "peers");
    let peers = read_peers(&mut notes, sections);
    let section = root.section(&mut notes, "credit");
    let credit = read_credit(&mut notes, section);
    let section = root.section(&mut notes, "link");
    let link = read_link(&mut notes, section, &credit);
    let section = root.section(&mut notes, "limits");
    let limits = read_limits(&mut notes, section);
    let section = root.section(&mut notes, "deadlines");
    let deadlines = read_deadlines(&mut notes, section);
    let section = root.section(&mut notes, "budgets");
    let (endpoint_budget, router_budget) = read_budgets(&mut notes, section);
    let has_custody = root.has("custody");
    let section = root.section(&mut notes, "custody");
    let custody = if has_custody { CustodySection::read(&mut notes, section, file) } else { None };
    let section = root.section(&mut notes, "handshakes");
    let handshakes = read_handshakes(&mut notes, section);
    let section = root.section(&mut notes, "admin");
    let state = router.as_ref().map_or(Path::new(""), |router| router.state.as_path());
    let admin = read_admin(&mut notes, section, file, state);
    let section = root.section(&mut notes, "clock");
    let clock = read_clock(&mut notes, section);
    let section = root.section(&mut notes, "log");
    let log = read_log(&mut notes, section);
    root.finish(&mut notes);
    report_ipv4_peers(&mut notes, listen.ipv4, &peers);
    if let Some(router) = &router {
        report_self_as_peer(&mut notes, &router.id, &peers);
    }

    if !syntax_is_sound {
        // After a syntax error the recovered document lacks keys that are in the text: only the syntax is reported.
        notes.problems.retain(|problem| problem.key.is_none());
    }
    let config = match (router, tls, directory, admin) {
        (Some(router), Some(tls), Some(directory), Some(admin)) if notes.problems.is_empty() => Some(Config {
            file: file.to_owned(),
            router,
            listen,
            tls,
            directory,
            peers,
            link,
            credit,
            limits,
            deadlines,
            endpoint_budget,
            router_budget,
            custody,
            handshakes,
            admin,
            clock,
            log,
            places: notes.places.clone(),
        }),
        _ => None,
    };
    (config, notes)
}

fn path<'t>(
    section: &mut Section<'t>,
    notes: &mut Notes<'t>,
    key: &str,
    expected: &str,
    file: &Path,
) -> Option<PathBuf> {
    let path: FilePath = section.required(notes, key, expected)?;
    Some(path.resolve(file))
}

fn read_router<'t>(notes: &mut Notes<'t>, mut section: Section<'t>, file: &Path) -> Option<RouterSection> {
    let id = section.required(notes, "id", "this router's id in the directory, zone/router/name");
    let workers = section.number(notes, "workers", 0, 0..=64, "workers");
    let state = path(&mut section, notes, "state", "a folder this router may write to", file);
    let dev = section.flag(notes, "dev", false);
    section.finish(notes);
    Some(RouterSection { id: id?, workers: u16::try_from(workers).unwrap_or(64), state: state?, dev })
}

fn read_listen<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> ListenSection {
    let expected = "an address with port such as \"[::]:4713\"";
    let addresses: Vec<SocketAddr> = section.list(notes, "addresses", expected);
    let ipv4 = section.flag(notes, "ipv4", false);
    let buffer = section.number(notes, "socket_buffer_bytes", 8 << 20, 65_536..=1 << 30, "bytes");
    let key = section.dotted("addresses");
    if addresses.is_empty() {
        notes.wrong(&key, "names no address to listen on", format!("list {expected}"));
    }
    for (position, address) in addresses.iter().enumerate() {
        let slot = format!("{key}[{position}]");
        if address.is_ipv4() && !ipv4 {
            let what = format!("{address} is IPv4, and IPv4 is off");
            notes.wrong(&slot, what, "listen on an IPv6 address, or set listen.ipv4 = true");
        }
        report_mapped(notes, &slot, *address);
    }
    report_duplicates(
        &addresses,
        |address| (*address, address.port() == 0),
        |position, address| {
            if address.port() != 0 {
                notes.wrong(
                    &format!("{key}[{position}]"),
                    format!("{address} is listed twice"),
                    "list each address once; workers share it",
                );
            }
        },
    );
    section.finish(notes);
    ListenSection { addresses, ipv4, socket_buffer_bytes: usize_of(buffer) }
}

fn read_tls<'t>(notes: &mut Notes<'t>, mut section: Section<'t>, file: &Path) -> Option<TlsSection> {
    let certificates = path(&mut section, notes, "certificates", "a PEM file with the own chain", file);
    let key = path(&mut section, notes, "key", "a PEM file with the private key", file);
    let roots: Vec<FilePath> = section.list(notes, "roots", "a PEM file with CA certificates");
    let crls: Vec<FilePath> = section.list(notes, "crls", "a file with a revocation list");
    let trust_domain = section.required(notes, "trust_domain", "the trust domain of URI identities");
    let profile = section.choice(
        notes,
        "profile",
        TlsProfile::Default,
        &[("default", TlsProfile::Default), ("strict", TlsProfile::Strict)],
    );
    let require_hybrid = section.flag(notes, "require_hybrid", false);
    if roots.is_empty() {
        notes.wrong(
            &section.dotted("roots"),
            "names no CA certificate: nobody could connect",
            "list the PEM files of the CAs whose certificates peers present",
        );
    }
    section.finish(notes);
    let resolved = |paths: Vec<FilePath>| paths.into_iter().map(|path| path.resolve(file)).collect();
    Some(TlsSection {
        certificates: certificates?,
        key: key?,
        roots: resolved(roots),
        crls: resolved(crls),
        trust_domain: trust_domain?,
        profile,
        require_hybrid,
    })
}

fn read_directory<'t>(notes: &mut Notes<'t>, mut section: Section<'t>, file: &Path) -> Option<DirectorySection> {
    let folder = path(&mut section, notes, "folder", "the folder with the signed zones", file);
    let trust_anchor = path(&mut section, notes, "trust_anchor", "the trust anchor file", file);
    let poll_ms = section.number(notes, "poll_ms", 2_000, 100..=3_600_000, "ms");
    section.finish(notes);
    Some(DirectorySection { folder: folder?, trust_anchor: trust_anchor?, poll_ms })
}

fn read_peers<'t>(notes: &mut Notes<'t>, sections: Vec<Section<'t>>) -> Vec<PeerSection> {
    let mut peers = Vec::new();
    for mut section in sections {
        let router = section.required(notes, "router", "the peer's router id");
        let address = section.required(notes, "address", "host:port");
        let line = read_own_line(notes, &mut section);
        section.finish(notes);
        if let (Some(router), Some(address)) = (router, address) {
            peers.push(PeerSection { router, address, line });
        }
    }
    let remedy = "list each router once; a DNS name may stand for several addresses";
    report_duplicates(
        &peers,
        |peer| peer.router.clone(),
        |position, peer| {
            let key = format!("peers[{position}].router");
            notes.wrong(&key, format!("{} is listed twice", peer.router), remedy);
        },
    );
    report_duplicates(
        &peers,
        |peer| peer.address.clone(),
        |position, peer| {
            let key = format!("peers[{position}].address");
            notes.wrong(&key, format!("{} is listed twice", peer.address), remedy);
        },
    );
    peers
}

fn report_ipv4_peers(notes: &mut Notes<'_>, ipv4: bool, peers: &[PeerSection]) {
    for (position, peer) in peers.iter().enumerate() {
        let Some(address) = peer.address.literal() else { continue };
        let slot = format!("peers[{position}].address");
        if !ipv4 && address.is_ipv4() {
            let what = format!("{address} is IPv4, and IPv4 is off");
            notes.wrong(&slot, what, "name the peer's IPv6 address, or set listen.ipv4 = true");
        }
        report_mapped(notes, &slot, address);
    }
}

/// Every socket carries one address family, so an IPv4 address in the form of an IPv6 address reaches nobody.
fn report_mapped(notes: &mut Notes<'_>, slot: &str, address: SocketAddr) {
    let plain = SocketAddr::new(address.ip().to_canonical(), address.port());
    if plain != address {
        let what = format!("{address} is an IPv4 address in the form of an IPv6 address");
        notes.wrong(slot, what, format!("write {plain} and set listen.ipv4 = true, or name an IPv6 address"));
    }
}

fn report_self_as_peer(notes: &mut Notes<'_>, own: &RouterId, peers: &[PeerSection]) {
    for (position, peer) in peers.iter().enumerate() {
        if peer.router == *own {
            notes.wrong(
                &format!("peers[{position}].router"),
                format!("{own} is this router itself"),
                "remove it: a router has no link to itself",
            );
        }
    }
}

fn read_credit<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> [ClassCredit; 3] {
    let credit = Class::ALL.map(|class| {
        let mut section = section.section(notes, class.name());
        let entries = section.number(notes, "entries", 4_096, 256..=1 << 20, "entries");
        let bytes = section.number(notes, "bytes", 8 << 20, 1 << 20..=1 << 32, "bytes");
        section.finish(notes);
        ClassCredit { entries, bytes }
    });
    section.finish(notes);
    credit
}

fn read_link<'t>(notes: &mut Notes<'t>, mut section: Section<'t>, credit: &[ClassCredit; 3]) -> LinkSection {
    let (line, _) = read_line(notes, &mut section);
    let windows = SMALLEST_WINDOW..=LARGEST_WINDOW * 4;
    let lane_window_bytes = section.number(notes, "lane_window_bytes", line.lane_window_bytes(), windows, "bytes");
    let least_send = least_send_window(credit);
    let send_window_bytes = section.number(
        notes,
        "send_window_bytes",
        send_window_bytes(lane_window_bytes, least_send),
        least_send..=1 << 36,
        "bytes (at least all class credits and 1 MiB for settlements)",
    );
    let bundle = line.largest_bundle_bytes() as u64;
    let longest = LONGEST_BODY as u64;
    let largest_bundle_bytes = section.number(notes, "largest_bundle_bytes", bundle, 1_024..=longest, "bytes");
    let mtu = u64::from(line.mtu_upper_bound());
    let mtu = section.number(notes, "mtu_upper_bound", mtu, 1_200..=65_527, "bytes");
    let keep_alive_ms = section.number(notes, "keep_alive_ms", 15_000, 1_000..=25_000, "ms");
    let idle_timeout_ms = section.number(notes, "idle_timeout_ms", 30_000, 3_000..=300_000, "ms");
    if keep_alive_ms >= idle_timeout_ms {
        notes.wrong(
            &section.dotted("keep_alive_ms"),
            format!("{keep_alive_ms} ms is not below the idle timeout of {idle_timeout_ms} ms"),
            "lower link.keep_alive_ms or raise link.idle_timeout_ms",
        );
    }
    section.finish(notes);
    LinkSection {
        line,
        lane_window_bytes,
        send_window_bytes,
        largest_bundle_bytes: usize_of(largest_bundle_bytes),
        mtu_upper_bound: u16::try_from(mtu).unwrap_or(1_452),
        keep_alive_ms,
        idle_timeout_ms,
    }
}

/// `profile` and `rtt_ms` of a section, and whether a profile is named.
fn read_line<'t>(notes: &mut Notes<'t>, section: &mut Section<'t>) -> (Line, bool) {
    let named = LinkProfile::NAMES.map(|(name, profile)| (name, Some(profile)));
    let profile = section.choice(notes, "profile", None, &named);
    let usual = Line::usual(profile.unwrap_or_default());
    let rtt_ms = section.number(notes, "rtt_ms", usual.rtt_ms, 1..=2_000, "ms");
    (Line { rtt_ms, ..usual }, profile.is_some())
}

/// A peer's own line.
fn read_own_line<'t>(notes: &mut Notes<'t>, section: &mut Section<'t>) -> Option<Line> {
    let (line, named) = read_line(notes, section);
    if !named && line != Line::default() {
        let remedy = "name the profile beside it, or remove it: then [link] holds";
        notes.wrong(&section.dotted("rtt_ms"), "stands there without a profile", remedy);
    }
    named.then_some(line)
}

/// All that may be in flight by credit, and room for the settlement and control streams. Bytes.
pub(super) fn least_send_window(credit: &[ClassCredit; 3]) -> u64 {
    credit.iter().map(|class| class.bytes).sum::<u64>() + SETTLEMENT_RESERVE
}

/// Send window kept for the settlement and control streams, bytes.
const SETTLEMENT_RESERVE: u64 = 1 << 20;

fn read_limits<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> LimitsSection {
    let limits = LimitsSection {
        links: usize_of(section.number(notes, "links", 256, 1..=65_536, "links")),
        attachments_per_link: usize_of(section.number(notes, "attachments_per_link", 4_096, 1..=65_536, "attachments")),
        links_per_identity: usize_of(section.number(notes, "links_per_identity", 16, 1..=65_536, "links")),
        queued_bytes: usize_of(section.number(notes, "queued_bytes", 8 << 20, 1 << 20..=1 << 30, "bytes")),
        crossings: usize_of(section.number(notes, "crossings", 8_192, 64..=1 << 20, "crossings")),
        endpoint_share: section.number(notes, "endpoint_share", 8, 1..=1_024, "parts"),
        downstream_share: section.number(notes, "downstream_share", 4, 1..=1_024, "parts"),
        root_cache: usize_of(section.number(notes, "root_cache", 8_192, 256..=1 << 20, "roots")),
        largest_payload: section.number(notes, "largest_payload", 2 << 30, 65_536..=2 << 30, "bytes"),
        large_payloads_per_link: section.number(notes, "large_payloads_per_link", 16, 1..=256, "payloads"),
        large_payloads: usize_of(section.number(notes, "large_payloads", 256, 1..=65_536, "payloads")),
    };
    section.finish(notes);
    limits
}

fn read_deadlines<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> DeadlinesSection {
    let deadlines = DeadlinesSection {
        endpoint_ms: section.number(notes, "endpoint_ms", 30_000, 100..=600_000, "ms"),
        hop_ms: section.number(notes, "hop_ms", 2_000, 10..=60_000, "ms"),
        credit_wait_ms: section.number(notes, "credit_wait_ms", 100, 1..=5_000, "ms"),
        retry_after_ms: section.number(notes, "retry_after_ms", 200, 1..=60_000, "ms"),
        hello_ms: section.number(notes, "hello_ms", 10_000, 100..=60_000, "ms"),
        ping_ms: section.number(notes, "ping_ms", 10_000, 100..=300_000, "ms"),
        drain_ms: section.number(notes, "drain_ms", 40_000, 100..=3_600_000, "ms"),
    };
    section.finish(notes);
    deadlines
}

fn read_budgets<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> (LinkBudget, LinkBudget) {
    let endpoint = section.section(notes, "endpoint");
    let endpoint = read_budget(notes, endpoint, [200_000, 1 << 30, 20_000]);
    let router = section.section(notes, "router");
    let router = read_budget(notes, router, [1_000_000, 4 << 30, 50_000]);
    section.finish(notes);
    (endpoint, router)
}

/// `defaults` are entries, bytes and signatures per second.
fn read_budget<'t>(notes: &mut Notes<'t>, mut section: Section<'t>, defaults: [u64; 3]) -> LinkBudget {
    let [entries, bytes, signatures] = defaults;
    let mut read = |key, default, largest| section.number(notes, key, default, 1..=largest, "units per second");
    let budget = LinkBudget {
        entries_per_s: read("entries_per_s", entries, 100_000_000),
        bytes_per_s: read("bytes_per_s", bytes, 1 << 40),
        signatures_per_s: read("signatures_per_s", signatures, 10_000_000),
    };
    section.finish(notes);
    budget
}

fn read_handshakes<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> HandshakesSection {
    let in_progress = section.number(notes, "in_progress", 256, 8..=65_536, "handshakes");
    let retry_above = section.number(notes, "retry_above", 32, 0..=65_536, "handshakes");
    let strangers = section.number(notes, "strangers_per_s", 100, 1..=100_000, "connections");
    let strangers_burst = section.number(notes, "strangers_burst", 200, 1..=100_000, "connections");
    let per_s = section.number(notes, "per_prefix_per_s", 50, 1..=100_000, "connections");
    let burst = section.number(notes, "per_prefix_burst", 200, 1..=100_000, "connections");
    let share = section.number(notes, "peer_share_percent", 25, 0..=90, "percent");
    if retry_above > in_progress {
        notes.wrong(
            &section.dotted("retry_above"),
            format!("{retry_above} is above handshakes.in_progress = {in_progress}: it would never apply"),
            "lower handshakes.retry_above",
        );
    }
    section.finish(notes);
    HandshakesSection {
        in_progress: usize_of(in_progress),
        retry_above: usize_of(retry_above),
        strangers_per_s: u32::try_from(strangers).unwrap_or(u32::MAX),
        strangers_burst: u32::try_from(strangers_burst).unwrap_or(u32::MAX),
        per_prefix_per_s: u32::try_from(per_s).unwrap_or(u32::MAX),
        per_prefix_burst: u32::try_from(burst).unwrap_or(u32::MAX),
        peer_share_percent: u8::try_from(share).unwrap_or(90),
    }
}

fn read_admin<'t>(notes: &mut Notes<'t>, mut section: Section<'t>, file: &Path, state: &Path) -> Option<AdminSection> {
    let expected = "an IPv6 loopback address such as \"[::1]:9713\"";
    let listen: Option<SocketAddr> = section.optional(notes, "listen", expected);
    let key = section.dotted("listen");
    let socket: Option<FilePath> = section.optional(notes, "socket", "the path of a socket to be made");
    let socket = socket.map_or_else(|| state.join("admin.sock"), |path| path.resolve(file));
    let group: Option<String> = section.optional(notes, "operators_group", "the name of a group of this machine");
    let operators_group = group.filter(|group| !group.is_empty());
    section.finish(notes);
    let Some(listen) = listen else {
        let default = SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, 9_713, 0, 0);
        return Some(AdminSection { listen: default, socket, operators_group });
    };
    match listen {
        SocketAddr::V6(address) if address.ip().is_loopback() => {
            Some(AdminSection { listen: address, socket, operators_group })
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => {
            let shown: IpAddr = listen.ip();
            notes.wrong(
                &key,
                format!("{shown} is not the IPv6 loopback; the admin interface has no authentication"),
                format!("write {expected}; reach it from elsewhere through SSH"),
            );
            None
        }
    }
}

fn read_clock<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> Option<ClockSynchronisation> {
    let named = [("kernel", Some(ClockSynchronisation::Kernel)), ("assumed", Some(ClockSynchronisation::Assumed))];
    let clock = section.choice(notes, "synchronisation", None, &named);
    section.finish(notes);
    clock
}

fn read_log<'t>(notes: &mut Notes<'t>, mut section: Section<'t>) -> LogSection {
    let format =
        section.choice(notes, "format", LogFormat::Text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let expected = "a filter such as \"info\" or \"info,kernpost_router=debug\"";
    let filter: Option<Filter> = section.optional(notes, "filter", expected);
    section.finish(notes);
    LogSection { format, filter: filter.map_or_else(|| "info".to_owned(), |filter| filter.0) }
}

/// A filter in tracing's directive syntax, of which only `level` and `target=level` are taken: the library itself reads a
/// misspelt level as the name of a target and then logs nothing.
struct Filter(String);

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        for directive in text.split(',') {
            let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
            if level.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
                return Err(format!("{level:?} is no level (off, error, warn, info, debug, trace)"));
            }
            let named = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
            if !target.chars().all(named) {
                return Err(format!("{target:?} is no module path"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
