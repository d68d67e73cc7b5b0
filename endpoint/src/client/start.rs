//! From a configuration to a running client: check, open the journal, load the directory, start the thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kernpost_codecs::EndpointId;
use kernpost_codecs::credit::LARGEST_ENTRY_COST;
use kernpost_routing_table::Table;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

use super::clock::{Clock, wall};
use super::config::{ClientConfig, DirectoryConfig, EndpointConfig, JournalConfig, LinkConfig};
use super::directory::{self, FLOOR_FILE};
use super::driver::{Driver, Input, Parts};
use super::identity::link_identities;
use super::link::{self, Dial, Shared};
use super::partials::Partials;
use super::payloads::Payloads;
use super::sockets::Sockets;
use super::status::Status;
use super::tls::{TlsError, client_config};
use super::{Client, Delivery};
use crate::core::{Core, CoreConfig, DirectoryFrom, EndpointSetup, Limits, LinkSetup, Recovered};
use crate::journal::{DiskJournal, Journal, JournalError, JournalThreads, MemoryJournal, SentLog, SharedJournal};
use crate::outbox_store::{OutboxError, OutboxStore, StoreThreads, Stored};

/// How often partial payloads are looked through.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// Inputs that may wait for the driver.
const INPUTS: usize = 4_096;
/// Messages handed to the application and not yet taken by it.
const DELIVERIES: usize = 256;
/// Late receipts granted at once by a process that only sends; their bytes say that it takes nothing else (WIRE 7.1).
const RECEIPT_ENTRIES: u64 = 256;
/// How often a directory folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a client does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A link attaches an endpoint that has no keys here.
    #[error("a link attaches {endpoint}, which is not among the endpoints: give it an entry with its signing key")]
    UnknownEndpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// There is nothing to run.
    #[error("{0}")]
    Nothing(&'static str),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The durable outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The directory cannot be used.
    #[error("directory: {0}")]
    Directory(String),
    /// The state folder cannot be used, or a thread cannot be started.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

pub(super) fn start(config: ClientConfig) -> Result<Client, StartError> {
    if config.links.is_empty() || config.links.iter().any(|link| link.routers.is_empty()) {
        return Err(StartError::Nothing("every client needs a link, and every link a router"));
    }
    let io = |what: &str| {
        let what = what.to_owned();
        move |cause| StartError::Io { what, cause }
    };
    if let Some(folder) = &config.state {
        std::fs::create_dir_all(folder).map_err(io(&format!("state folder {}", folder.display())))?;
    }
    let sent = match &config.state {
        Some(folder) => SentLog::open(&folder.join("sent.ids")).map_err(io("list of sent messages"))?,
        None => SentLog::in_memory(),
    };
    let store = config.outbox.clone().map(OutboxStore::open).transpose()?;
    let recovered = match &store {
        Some(store) => recovered(store, &config.endpoints)?,
        None => Vec::new(),
    };
    let journal = open_journal(&config.journal)?;
    let floor = config.state.as_ref().map(|folder| folder.join(FLOOR_FILE));
    let first_table = match &config.directory {
        DirectoryConfig::Table(table) => Some(Arc::clone(table)),
        DirectoryConfig::Folder { path, anchor } => {
            let loaded = directory::load(path, anchor, floor.as_deref(), wall());
            Some(loaded.map_err(|why| StartError::Directory(format!("{}: {why}", path.display())))?)
        }
        DirectoryConfig::Link { .. } => None,
    };
    let mut config = config;
    let partials = open_partials(&mut config).map_err(io("folder of partial payloads"))?;
    let dials = dials(&config.links, &config.limits)?;
    if let Some(outbox) = &config.outbox {
        config.limits.parked_messages = usize::try_from(outbox.messages).unwrap_or(usize::MAX);
    }
    let mut core = core(&config, journal.id())?;
    if store.is_some() {
        core.keep_durably();
    }
    launch(Pieces {
        core,
        store: store.map(Arc::new),
        recovered,
        endpoints: config.links.iter().flat_map(|link| link.endpoints.iter().cloned()).collect(),
        journal,
        partials,
        sent,
        directory: config.directory,
        floor,
        first_table,
        dials,
        receive: config.receive,
        limits: config.limits,
    })
}

/// What a client is started from.
struct Pieces {
    core: Core,
    store: Option<Arc<OutboxStore>>,
    recovered: Vec<Recovered>,
    endpoints: Vec<EndpointId>,
    journal: Journal,
    partials: Partials,
    sent: SentLog,
    directory: DirectoryConfig,
    floor: Option<PathBuf>,
    first_table: Option<Arc<Table>>,
    dials: Vec<Dial>,
    receive: bool,
    limits: Limits,
}

/// Starts the threads of a client.
fn launch(pieces: Pieces) -> Result<Client, StartError> {
    let io = |what: &'static str| move |cause| StartError::Io { what: what.to_owned(), cause };
    let (inputs, input_queue) = mpsc::channel(INPUTS);
    let (deliveries, delivery_queue) = mpsc::channel::<Delivery>(DELIVERIES);
    let (tables, table_reader) = watch::channel(None);
    let attached = pieces.endpoints.iter().map(|id| (id.clone(), 0)).collect();
    let (status, status_reader) = watch::channel(Status { attached, ..Status::default() });
    let (ended, ended_reader) = watch::channel(false);
    let (held, dropped) = watch::channel(());
    let answers = inputs.clone();
    let answer = move |answer| drop(answers.blocking_send(Input::Journal(answer)));
    let queue = pieces.limits.inbox_messages.max(16);
    let sent = Arc::new(pieces.sent);
    let journal = JournalThreads::start(Arc::new(pieces.journal), Arc::clone(&sent), queue, answer, wall)
        .map_err(io("journal threads"))?;
    let answers = inputs.clone();
    let answer = move |answer| drop(answers.blocking_send(Input::Store(answer)));
    let start_store = |store: &Arc<OutboxStore>| StoreThreads::start(Arc::clone(store), answer, wall);
    let store = pieces.store.as_ref().map(start_store).transpose().map_err(io("outbox threads"))?;
    let byte_room_total = u32::try_from(pieces.limits.outbox_bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    let client = Client {
        inputs: inputs.clone(),
        deliveries: Mutex::new(delivery_queue),
        message_room: Arc::new(Semaphore::new(pieces.limits.outbox_messages)),
        byte_room: Arc::new(Semaphore::new(byte_room_total as usize)),
        message_room_total: pieces.limits.outbox_messages,
        byte_room_total,
        status: status_reader,
        tables: table_reader.clone(),
        ended: ended_reader,
        outbox: pieces.store,
        _held: held,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("async runtime"))?;
    let (first_table, dials, floor) = (pieces.first_table, pieces.dials, pieces.floor.clone());
    let folder = match &pieces.directory {
        DirectoryConfig::Folder { path, anchor } => Some((path.clone(), anchor.clone())),
        DirectoryConfig::Table(_) | DirectoryConfig::Link { .. } => None,
    };
    let run = move || {
        runtime.block_on(async move {
            let sockets = Arc::new(Sockets::default());
            let (stop, stop_reader) = watch::channel(false);
            let shared = Shared {
                inputs: inputs.clone(),
                tables: table_reader,
                stop: stop_reader,
                sockets: Arc::clone(&sockets),
            };
            if let Some(table) = first_table {
                let _ = inputs.send(Input::Table(table)).await;
            }
            let sessions = Arc::new(AtomicU64::new(1));
            for dial in dials {
                tokio::spawn(link::keep(dial, shared.clone(), rand::random(), Arc::clone(&sessions)));
            }
            if let Some((path, anchor)) = folder {
                tokio::spawn(watch_folder(path, anchor, floor, inputs.clone()));
            }
            let partials = Arc::new(pieces.partials);
            tokio::spawn(expire_partials(Arc::downgrade(&partials)));
            let payloads = Payloads::new(partials, inputs.clone());
            let parts = Parts {
                core: pieces.core,
                payloads,
                clock: Clock::start(),
                inputs: input_queue,
                own_inputs: inputs,
                deliveries,
                journal,
                store,
                recovered: pieces.recovered,
                sent,
                directory: pieces.directory,
                floor: pieces.floor,
                tables,
                status,
                dropped,
                receive: pieces.receive,
            };
            Driver::new(parts).run().await;
            let _ = stop.send(true);
            let _ = tokio::time::timeout(GOODBYE, sockets.wait_idle()).await;
        });
        let _ = ended.send(true);
    };
    std::thread::Builder::new().name("kp-endpoint".to_owned()).spawn(run).map_err(io("client thread"))?;
    Ok(client)
}

/// Partials are deleted at their time, also where nothing new arrives.
async fn expire_partials(partials: std::sync::Weak<Partials>) {
    loop {
        tokio::time::sleep(EXPIRE_EVERY).await;
        let Some(partials) = partials.upgrade() else { return };
        let expire = move || partials.expire(std::time::SystemTime::now());
        // Fails only when the runtime ends.
        let _ = tokio::task::spawn_blocking(expire).await;
    }
}

/// Beside the state, else in memory and then no larger than the inbox. A process that takes no messages has none.
fn open_partials(config: &mut ClientConfig) -> std::io::Result<Partials> {
    let folder = config.state.as_ref().filter(|_| config.receive).map(|folder| folder.join("payloads"));
    let limits = &mut config.limits;
    if folder.is_none() {
        limits.partial_bytes = limits.partial_bytes.min(limits.inbox_bytes as u64);
    }
    let inline = kernpost_codecs::part::LONGEST_INLINE_PAYLOAD as u64;
    let most = if config.receive { limits.partial_bytes } else { inline };
    limits.largest_payload = limits.largest_payload.min(most).max(inline);
    Partials::open(folder, limits.partial_bytes, limits.partial_ms)
}

/// What an earlier process of these endpoints promised to send. Messages of other endpoints stay where they are.
fn recovered(store: &OutboxStore, endpoints: &[EndpointConfig]) -> Result<Vec<Recovered>, OutboxError> {
    let ours = |stored: &Stored| endpoints.iter().any(|entry| entry.id == stored.sender);
    let open = store.open_messages()?.into_iter().filter(ours);
    Ok(open
        .map(|stored| Recovered { statement: stored.statement, file: stored.file, stage: stored.outcome.map(Box::new) })
        .collect())
}

fn open_journal(config: &JournalConfig) -> Result<Journal, JournalError> {
    Ok(match config {
        JournalConfig::Folder { path, keep_messages } => {
            Journal::Disk(DiskJournal::open(path, rand::random(), *keep_messages)?)
        }
        JournalConfig::Socket(path) => Journal::Shared(SharedJournal::connect(path, rand::random())?),
        JournalConfig::Memory => Journal::Memory(MemoryJournal::new(rand::random())),
    })
}

fn dials(links: &[LinkConfig], limits: &Limits) -> Result<Vec<Dial>, TlsError> {
    let mut dials = Vec::new();
    for (link, config) in links.iter().enumerate() {
        let tls = client_config(config, limits)?;
        for (router_index, router) in config.routers.iter().enumerate() {
            dials.push(Dial {
                link,
                router_index,
                router: router.id.clone(),
                address: router.address.clone(),
                tls: tls.clone(),
                trust_domain: config.trust_domain.clone(),
            });
        }
    }
    Ok(dials)
}

fn core(config: &ClientConfig, journal: [u8; 16]) -> Result<Core, StartError> {
    let position = |endpoint: &EndpointId| {
        let found = config.endpoints.iter().position(|entry| entry.id == *endpoint);
        found.ok_or_else(|| StartError::UnknownEndpoint { endpoint: endpoint.to_string() })
    };
    let mut links = Vec::with_capacity(config.links.len());
    for link in &config.links {
        let leaf = link.certificates.first().map(|leaf| link_identities(leaf, link.trust_domain.as_deref()));
        links.push(LinkSetup {
            identities: link.identity.clone().map_or_else(|| leaf.unwrap_or_default(), |identity| vec![identity]),
            endpoints: link.endpoints.iter().map(position).collect::<Result<_, _>>()?,
            routers: link.routers.iter().map(|router| router.id.clone()).collect(),
            largest_bundle: link.line.largest_bundle_bytes(),
        });
    }
    let mut limits = config.limits;
    if !config.receive {
        (limits.credit_entries, limits.credit_bytes) = (RECEIPT_ENTRIES, LARGEST_ENTRY_COST - 1);
    }
    let keys = |entry: &super::config::EndpointConfig| {
        // SigningKey is not Clone: written out and read again, once per process.
        let copies = entry
            .keys
            .iter()
            .filter_map(|key| kernpost_codecs::key::SigningKey::from_pkcs8_der(&key.to_pkcs8_der().ok()?).ok());
        copies.collect()
    };
    let endpoints = config.endpoints.iter().map(|entry| EndpointSetup { id: entry.id.clone(), keys: keys(entry) });
    Ok(Core::new(CoreConfig {
        endpoints: endpoints.collect(),
        links,
        journal,
        directory: match config.directory {
            DirectoryConfig::Link { .. } => DirectoryFrom::Link,
            DirectoryConfig::Table(_) | DirectoryConfig::Folder { .. } => DirectoryFrom::Shell,
        },
        limits,
        seed: rand::random(),
        software: concat!("kernpost-endpoint/", env!("CARGO_PKG_VERSION")).to_owned(),
    }))
}

/// Loads the folder again when it changed, or when a rule begins or ends.
async fn watch_folder(
    path: PathBuf,
    anchor: kernpost_routing_table::TrustAnchor,
    floor: Option<PathBuf>,
    inputs: mpsc::Sender<Input>,
) {
    let mut seen = directory::stamp(&path);
    let mut until = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = wall();
        let stamp = directory::stamp(&path);
        let due = until.is_some_and(|until| until <= now);
        if stamp == seen && !due {
            continue;
        }
        let (folder, trust, floor) = (path.clone(), anchor.clone(), floor.clone());
        let load = move || directory::load(&folder, &trust, floor.as_deref(), now);
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(table)) => {
                until = table.valid_until();
                seen = stamp;
                if inputs.send(Input::Table(table)).await.is_err() {
                    return;
                }
            }
            Ok(Err(why)) => tracing::warn!(folder = %path.display(), why, "the directory changed and cannot be used"),
            Err(error) => tracing::warn!(%error, "the directory could not be loaded"),
        }
    }
}
