//! What does the configuration file of an endpoint process say, and what is wrong with it? All problems at once.
//!
//! Every key with its default stands in `endpoint/kernpost.example.toml`. Paths are relative to the file. Unknown keys
//! are refused.

mod credentials;
mod raw;

use std::fmt;
use std::path::{Path, PathBuf};

use kernpost_codecs::key::SigningKey;
use kernpost_codecs::{EndpointId, LinkIdentity, RouterId};
use kernpost_router_core::{Line, LinkProfile};
use kernpost_routing_table::TrustAnchor;
use kernpost_routing_table::source::load_anchor;

use crate::client::{
    ClientConfig, DirectoryConfig, EndpointConfig, JournalConfig, LinkConfig, RouterConfig, TlsProfile,
};
use crate::core::Limits;
use crate::outbox_store::OutboxConfig;
use credentials::{read_certificates, read_key};
use raw::{RawConfig, RawEndpoint, RawJournal, RawLine, RawLink, RawOutbox, RawRouter, RawTls};

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems {
    /// The file.
    pub file: PathBuf,
    /// One line each: what, where, and what to do.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used:", self.file.display())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigProblems {}

/// What a process adds to its configuration file.
#[derive(Debug, Clone, Default)]
pub struct Purpose {
    /// Where verdicts are kept; `None`: where the file says, in memory if nowhere.
    pub journal: Option<PathBuf>,
    /// Whether accepted messages are stored in the journal.
    pub keep_messages: bool,
    /// Whether messages are taken.
    pub receive: bool,
    /// Whether messages are sent: only then the durable outbox is opened, which one process at a time can.
    pub send: bool,
    /// Only these endpoints, or all.
    pub only: Option<Vec<EndpointId>>,
}

/// Reads and checks a configuration file with everything it names.
///
/// # Errors
/// All problems at once.
pub fn load(file: &Path, purpose: &Purpose) -> Result<ClientConfig, ConfigProblems> {
    let one = |problem: String| ConfigProblems { file: file.to_owned(), problems: vec![problem] };
    let text = std::fs::read_to_string(file).map_err(|error| one(format!("cannot be read: {error}")))?;
    let raw: RawConfig =
        toml::from_str(&text).map_err(|error| one(error.to_string().trim_end().replace('\n', "\n  ")))?;
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut check = Check { folder, problems: Vec::new() };
    let config = check.config(raw, purpose);
    match config {
        Some(config) if check.problems.is_empty() => Ok(config),
        _ => Err(ConfigProblems { file: file.to_owned(), problems: check.problems }),
    }
}

struct Check<'a> {
    folder: &'a Path,
    problems: Vec<String>,
}

impl Check<'_> {
    fn config(&mut self, raw: RawConfig, purpose: &Purpose) -> Option<ClientConfig> {
        let routers: Vec<RouterConfig> = raw.routers.iter().filter_map(|router| self.router(router)).collect();
        if raw.routers.is_empty() {
            self.problem("routers: none; name at least one [[routers]] with id and address");
        }
        let mut endpoints: Vec<EndpointConfig> =
            raw.endpoints.iter().filter_map(|entry| self.endpoint(entry)).collect();
        if raw.endpoints.is_empty() {
            self.problem("endpoints: none; name at least one [[endpoints]] with id and keys");
        }
        self.duplicates(&endpoints);
        self.keep_only(&mut endpoints, purpose);
        let ids: Vec<EndpointId> = endpoints.iter().map(|entry| entry.id.clone()).collect();
        let links = self.links(&raw, &routers, &ids, purpose);
        let directory = self.directory(&raw);
        let limits = self.limits(&raw);
        let outbox = raw.outbox.as_ref().filter(|_| purpose.send).and_then(|outbox| self.outbox(outbox));
        Some(ClientConfig {
            endpoints,
            links,
            directory: directory?,
            journal: self.journal(raw.journal.as_ref(), purpose),
            outbox,
            state: raw.state.map(|state| self.path(&state.folder)),
            receive: purpose.receive,
            limits,
        })
    }

    fn links(
        &mut self,
        raw: &RawConfig,
        routers: &[RouterConfig],
        ids: &[EndpointId],
        purpose: &Purpose,
    ) -> Vec<LinkConfig> {
        if raw.links.is_empty() {
            let whole = RawLink { endpoints: None, ..RawLink::default() };
            return self.link("tls", &whole, raw, routers, ids, purpose).into_iter().collect();
        }
        let mut links = Vec::new();
        for (number, link) in raw.links.iter().enumerate() {
            let place = format!("links[{number}]");
            links.extend(self.link(&place, link, raw, routers, ids, purpose));
        }
        links.retain(|link| !link.endpoints.is_empty());
        links
    }

    fn link(
        &mut self,
        place: &str,
        link: &RawLink,
        raw: &RawConfig,
        routers: &[RouterConfig],
        ids: &[EndpointId],
        purpose: &Purpose,
    ) -> Option<LinkConfig> {
        let before = self.problems.len();
        let tls = raw.tls.as_ref();
        let certificates = link.certificates.as_ref().or(tls.and_then(|tls| tls.certificates.as_ref()));
        let key = link.key.as_ref().or(tls.and_then(|tls| tls.key.as_ref()));
        let roots = link.roots.as_ref().or(tls.and_then(|tls| tls.roots.as_ref()));
        let certificates = self.need(place, "certificates", certificates.cloned()).map(|path| self.path(&path));
        let key = self.need(place, "key", key.cloned()).map(|path| self.path(&path));
        let roots = self.need(place, "roots", roots.cloned()).unwrap_or_default();
        let certificates = certificates.and_then(|path| self.keep(read_certificates(&path)));
        let key = key.and_then(|path| self.keep(read_key(&path)));
        let mut root_certificates = Vec::new();
        for path in &roots {
            let path = self.path(path);
            root_certificates.extend(self.keep(read_certificates(&path)).unwrap_or_default());
        }
        let profile = self.profile(tls);
        let line = self.line(place, link.line.as_ref().or(raw.line.as_ref()));
        let identity = link.identity.as_ref().and_then(|text| self.parse::<LinkIdentity>(place, "identity", text));
        let endpoints = self.link_endpoints(place, link, ids, purpose);
        let routers = self.link_routers(place, link, routers);
        if self.problems.len() > before {
            return None;
        }
        Some(LinkConfig {
            certificates: certificates?,
            key: key?,
            roots: root_certificates,
            identity,
            trust_domain: tls.and_then(|tls| tls.trust_domain.clone()),
            endpoints,
            routers,
            profile,
            line,
            require_hybrid: tls.is_some_and(|tls| tls.require_hybrid),
        })
    }

    fn link_endpoints(
        &mut self,
        place: &str,
        link: &RawLink,
        ids: &[EndpointId],
        purpose: &Purpose,
    ) -> Vec<EndpointId> {
        let Some(named) = &link.endpoints else { return ids.to_vec() };
        let mut endpoints = Vec::new();
        for text in named {
            let Some(id) = self.parse::<EndpointId>(place, "endpoints", text) else { continue };
            if ids.contains(&id) {
                endpoints.push(id);
            } else if purpose.only.is_none() {
                self.problem(format!("{place}.endpoints: {id} has no [[endpoints]] entry with its signing key"));
            }
        }
        endpoints
    }

    fn link_routers(&mut self, place: &str, link: &RawLink, routers: &[RouterConfig]) -> Vec<RouterConfig> {
        let Some(named) = &link.routers else { return routers.to_vec() };
        let mut chosen = Vec::new();
        for text in named {
            match routers.iter().find(|router| router.id.as_str() == text) {
                Some(router) => chosen.push(router.clone()),
                None => self.problem(format!("{place}.routers: {text} has no [[routers]] entry with its address")),
            }
        }
        chosen
    }

    fn profile(&mut self, tls: Option<&RawTls>) -> TlsProfile {
        match tls.and_then(|tls| tls.profile.as_deref()) {
            None | Some("default") => TlsProfile::Default,
            Some("strict") => TlsProfile::Strict,
            Some(other) => {
                self.problem(format!("tls.profile: {other:?} is neither \"default\" nor \"strict\""));
                TlsProfile::Default
            }
        }
    }

    fn line(&mut self, place: &str, raw: Option<&RawLine>) -> Line {
        let Some(raw) = raw else { return Line::default() };
        let mut profile = LinkProfile::default();
        if let Some(name) = &raw.profile {
            match LinkProfile::NAMES.iter().find(|(known, _)| known == name) {
                Some((_, known)) => profile = *known,
                None => {
                    let known = LinkProfile::NAMES.map(|(name, _)| name).join(", ");
                    self.problem(format!("{place}: line.profile: {name:?} is none of {known}"));
                }
            }
        }
        let rtt_ms = raw.rtt_ms.unwrap_or(profile.usual_rtt_ms());
        if !(1..=2_000).contains(&rtt_ms) {
            self.problem(format!("{place}: line.rtt_ms: {rtt_ms} is not within 1..=2000"));
        }
        Line { profile, rtt_ms }
    }

    fn router(&mut self, raw: &RawRouter) -> Option<RouterConfig> {
        let id = self.parse::<RouterId>("routers", "id", &raw.id)?;
        let port = raw.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            self.problem(format!("routers {id}: address {:?} is not host:port or [v6]:port", raw.address));
            return None;
        }
        Some(RouterConfig { id, address: raw.address.clone() })
    }

    fn endpoint(&mut self, raw: &RawEndpoint) -> Option<EndpointConfig> {
        let id = self.parse::<EndpointId>("endpoints", "id", &raw.id)?;
        if raw.keys.is_empty() || raw.keys.len() > 8 {
            self.problem(format!("endpoints {id}: {} keys; name 1 to 8 files with signing keys", raw.keys.len()));
        }
        let keys = raw.keys.iter().filter_map(|path| self.signing_key(&id, path)).collect();
        Some(EndpointConfig { id, keys })
    }

    fn signing_key(&mut self, id: &EndpointId, path: &Path) -> Option<SigningKey> {
        let path = self.path(path);
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let key = read.and_then(|text| SigningKey::from_pkcs8_pem(&text).map_err(|error| error.to_string()));
        self.keep(key.map_err(|why| format!("endpoints {id}: key {}: {why}", path.display())))
    }

    fn duplicates(&mut self, endpoints: &[EndpointConfig]) {
        for (number, entry) in endpoints.iter().enumerate() {
            if endpoints.iter().take(number).any(|earlier| earlier.id == entry.id) {
                self.problem(format!("endpoints {}: listed twice", entry.id));
            }
        }
    }

    fn keep_only(&mut self, endpoints: &mut Vec<EndpointConfig>, purpose: &Purpose) {
        let Some(only) = &purpose.only else { return };
        for id in only {
            if !endpoints.iter().any(|entry| entry.id == *id) {
                self.problem(format!("endpoints: {id} is asked for, but has no [[endpoints]] entry"));
            }
        }
        endpoints.retain(|entry| only.contains(&entry.id));
    }

    fn directory(&mut self, raw: &RawConfig) -> Option<DirectoryConfig> {
        let Some(directory) = &raw.directory else {
            self.problem("directory: missing; give trust_anchor, and folder unless the routers shall serve it");
            return None;
        };
        let path = self.path(&directory.trust_anchor);
        let anchor: TrustAnchor =
            self.keep(load_anchor(&path).map_err(|error| format!("directory.trust_anchor: {error}")))?;
        Some(match &directory.folder {
            Some(folder) => DirectoryConfig::Folder { path: self.path(folder), anchor },
            None => DirectoryConfig::Link { anchor },
        })
    }

    fn limits(&mut self, raw: &RawConfig) -> Limits {
        let mut limits = Limits::default();
        let Some(given) = &raw.limits else { return limits };
        let mut number = |name: &str, value: Option<u64>, least: u64, most: u64, into: &mut dyn FnMut(u64)| {
            let Some(value) = value else { return };
            if (least..=most).contains(&value) {
                into(value);
            } else {
                self.problem(format!("limits.{name}: {value} is not within {least}..={most}"));
            }
        };
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        number("outbox_messages", given.outbox_messages, 1, 1 << 20, &mut |value| limits.outbox_messages = size(value));
        number("outbox_bytes", given.outbox_bytes, 66_560, 16 << 30, &mut |value| limits.outbox_bytes = size(value));
        number("inbox_messages", given.inbox_messages, 1, 1 << 20, &mut |value| limits.inbox_messages = size(value));
        number("inbox_bytes", given.inbox_bytes, 66_816, 16 << 30, &mut |value| limits.inbox_bytes = size(value));
        number("credit_entries", given.credit_entries, 1, 65_536, &mut |value| limits.credit_entries = value);
        number("credit_bytes", given.credit_bytes, 66_816, 1 << 30, &mut |value| limits.credit_bytes = value);
        let largest = given.largest_payload;
        number("largest_payload", largest, 65_536, 2 << 30, &mut |value| limits.largest_payload = value);
        number("large_sending", given.large_sending, 1, 256, &mut |value| limits.large_sending = size(value));
        let receptions = given.large_receptions;
        number("large_receptions", receptions, 1, 256, &mut |value| limits.large_receptions = size(value));
        number("partial_bytes", given.partial_bytes, 1 << 20, 1 << 44, &mut |value| limits.partial_bytes = value);
        let hours = given.partial_hours;
        let hold = given.case_hold_ms;
        number("case_hold_ms", hold, 0, 30 * 86_400_000, &mut |value| limits.case_hold_ms = value);
        number("partial_hours", hours, 1, 720, &mut |value| limits.partial_ms = value * 3_600_000);
        limits
    }

    /// What the command line says goes before the file; a process that does not receive needs none.
    fn journal(&mut self, raw: Option<&RawJournal>, purpose: &Purpose) -> JournalConfig {
        let keep_messages = purpose.keep_messages;
        if let Some(path) = &purpose.journal {
            return JournalConfig::Folder { path: path.clone(), keep_messages };
        }
        match raw.map(|raw| (raw.folder.as_ref(), raw.socket.as_ref())) {
            Some((Some(_), Some(_)) | (None, None)) => {
                self.problem("journal: give folder, or socket of a journal that is served, and not both");
                JournalConfig::Memory
            }
            Some((Some(folder), None)) if purpose.receive => {
                JournalConfig::Folder { path: self.path(folder), keep_messages }
            }
            Some((None, Some(_))) if purpose.receive && keep_messages => {
                self.problem(
                    "journal.socket: a shared journal stores no messages; use a journal of this process's own",
                );
                JournalConfig::Memory
            }
            Some((None, Some(socket))) if purpose.receive => JournalConfig::Socket(self.path(socket)),
            _ => JournalConfig::Memory,
        }
    }

    fn outbox(&mut self, raw: &RawOutbox) -> Option<OutboxConfig> {
        let mut config = OutboxConfig::new(self.path(&raw.folder));
        let mut number = |name: &str, value: Option<u64>, least: u64, most: u64, into: &mut dyn FnMut(u64)| {
            let Some(value) = value else { return };
            if (least..=most).contains(&value) {
                into(value);
            } else {
                self.problem(format!("outbox.{name}: {value} is not within {least}..={most}"));
            }
        };
        number("messages", raw.messages, 1, 1 << 20, &mut |value| config.messages = value);
        number("bytes", raw.bytes, 1 << 20, 1 << 44, &mut |value| config.bytes = value);
        number("kept", raw.kept, 0, 100_000_000, &mut |value| config.kept = value);
        number("retention_days", raw.retention_days, 0, 3_660, &mut |value| {
            config.retention_ms = Some(value * 86_400_000);
        });
        raw.enabled.then_some(config)
    }

    fn parse<T>(&mut self, place: &str, key: &str, text: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let parsed = text.parse::<T>().map_err(|error| format!("{place}.{key}: {text:?}: {error}"));
        self.keep(parsed)
    }

    fn need<T>(&mut self, place: &str, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.problem(format!("{place}: {key} is missing; give it here or under [tls]"));
        }
        value
    }

    fn keep<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.problem(problem)).ok()
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

#[cfg(test)]
mod tests;
