//! What does a client need to know before it opens any link? Everything is loaded already: no path is left here but
//! those of folders that are written to.

use std::path::PathBuf;
use std::sync::Arc;

use kernpost_codecs::key::SigningKey;
use kernpost_codecs::{EndpointId, LinkIdentity, RouterId};
use kernpost_router_core::Line;
use kernpost_routing_table::{Table, TrustAnchor};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::core::Limits;
use crate::outbox_store::OutboxConfig;

/// A client: its endpoints, its links and where its state lives.
#[derive(Debug)]
pub struct ClientConfig {
    /// The endpoints of this process.
    pub endpoints: Vec<EndpointConfig>,
    /// The links: one connection is kept to every router of every link.
    pub links: Vec<LinkConfig>,
    /// Where directories come from.
    pub directory: DirectoryConfig,
    /// Where verdicts are kept.
    pub journal: JournalConfig,
    /// The durable outbox. `None`: what is sent lives as long as the process, and late receipts of messages in custody are lost
    /// with it.
    pub outbox: Option<OutboxConfig>,
    /// Folder of the list of sent messages and of the directory's serial floor. `None`: both live in memory, and a reply
    /// after a restart is rejected as unsolicited.
    pub state: Option<PathBuf>,
    /// Whether messages are taken. False for processes that only send: they grant credit for late receipts only.
    pub receive: bool,
    /// Bounds.
    pub limits: Limits,
}

/// An endpoint with its signing keys.
#[derive(Debug)]
pub struct EndpointConfig {
    /// Its id.
    pub id: EndpointId,
    /// Its signing keys, the preferred first.
    pub keys: Vec<SigningKey>,
}

/// A link identity, what it attaches and to which routers.
#[derive(Debug)]
pub struct LinkConfig {
    /// Own chain, leaf first.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
    /// Certificates of the CAs that issue the routers' certificates.
    pub roots: Vec<CertificateDer<'static>>,
    /// The identity to attach with; `None`: whatever of the certificate the directory lists.
    pub identity: Option<LinkIdentity>,
    /// URI identities of other trust domains are not used; `None`: any domain.
    pub trust_domain: Option<String>,
    /// The endpoints to attach.
    pub endpoints: Vec<EndpointId>,
    /// The routers, the preferred first.
    pub routers: Vec<RouterConfig>,
    /// Suites and groups.
    pub profile: TlsProfile,
    /// The line to the routers: sets windows and the largest bundle. Default: 1 Gbit/s, short.
    pub line: Line,
    /// Close everything but hybrid key exchange.
    pub require_hybrid: bool,
}

/// A router to connect to.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// Its id; the link closes when another router answers.
    pub id: RouterId,
    /// `host:port` or `[v6]:port`; names are resolved again at every reconnect, IPv6 first.
    pub address: String,
}

/// A TLS profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsProfile {
    /// Hybrids with P-256 and X25519, then P-384 and P-256.
    #[default]
    Default,
    /// Without X25519.
    Strict,
}

/// Where directories come from.
#[derive(Debug, Clone)]
pub enum DirectoryConfig {
    /// A compiled table; never changes.
    Table(Arc<Table>),
    /// A folder of signed zones; looked at again every few seconds.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Whom to trust.
        anchor: TrustAnchor,
    },
    /// The routers.
    Link {
        /// Whom to trust.
        anchor: TrustAnchor,
    },
}

/// Where verdicts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalConfig {
    /// On disk, for every process that receives.
    Folder {
        /// The journal's folder; one process at a time.
        path: PathBuf,
        /// Whether accepted messages are stored with their verdicts.
        keep_messages: bool,
    },
    /// Served by `kernpost journal serve` at this socket, for several processes of the endpoints. It stores no messages.
    Socket(PathBuf),
    /// In memory: for tests, and for processes that only send.
    Memory,
}
