//! The configuration file as it is written. Nothing is checked here beyond types and unknown keys.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub tls: Option<RawTls>,
    pub directory: Option<RawDirectory>,
    pub state: Option<RawState>,
    pub journal: Option<RawJournal>,
    pub outbox: Option<RawOutbox>,
    pub line: Option<RawLine>,
    pub limits: Option<RawLimits>,
    #[serde(default)]
    pub routers: Vec<RawRouter>,
    #[serde(default)]
    pub endpoints: Vec<RawEndpoint>,
    #[serde(default)]
    pub links: Vec<RawLink>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub certificates: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub roots: Option<Vec<PathBuf>>,
    pub trust_domain: Option<String>,
    pub profile: Option<String>,
    #[serde(default)]
    pub require_hybrid: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDirectory {
    pub trust_anchor: PathBuf,
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawState {
    pub folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJournal {
    pub folder: Option<PathBuf>,
    pub socket: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutbox {
    #[serde(default = "yes")]
    pub enabled: bool,
    pub folder: PathBuf,
    pub messages: Option<u64>,
    pub bytes: Option<u64>,
    pub kept: Option<u64>,
    pub retention_days: Option<u64>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLine {
    pub profile: Option<String>,
    pub rtt_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub outbox_messages: Option<u64>,
    pub outbox_bytes: Option<u64>,
    pub inbox_messages: Option<u64>,
    pub inbox_bytes: Option<u64>,
    pub credit_entries: Option<u64>,
    pub credit_bytes: Option<u64>,
    pub largest_payload: Option<u64>,
    pub large_sending: Option<u64>,
    pub large_receptions: Option<u64>,
    pub partial_bytes: Option<u64>,
    pub partial_hours: Option<u64>,
    pub case_hold_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRouter {
    pub id: String,
    pub address: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEndpoint {
    pub id: String,
    #[serde(default)]
    pub keys: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    pub certificates: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub roots: Option<Vec<PathBuf>>,
    pub identity: Option<String>,
    pub endpoints: Option<Vec<String>>,
    pub routers: Option<Vec<String>>,
    pub line: Option<RawLine>,
}
