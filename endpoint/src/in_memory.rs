//! A Kernpost network in one process, for unit tests of programs that use [`Client`].
//!
//! One router (the real control side and engine), real clients, a directory that is signed by two maintainers and
//! verified, real signatures on every message and receipt. Left out: QUIC, TLS, certificates and disks. Nothing here is
//! for production: keys are made at every start and journals live in memory.
//!
//! What happens on the network is deterministic: everything runs on one thread, in the order in which it was asked for,
//! and everybody is attached when [`Builder::start`] returns. Keys, message ids and instants differ from run to run.
//!
//! ```
//! use bytes::Bytes;
//! use kernpost_endpoint::in_memory::InMemory;
//! use kernpost_endpoint::{FinalOutcome, Outgoing};
//! use kernpost_endpoint::client::fresh_id;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = InMemory::builder()
//!     .endpoint("de/portal")
//!     .endpoint("de/leipzig")
//!     .route("99050012", "14713", &["de/leipzig"])
//!     .start()?;
//! let (portal, leipzig) = (network.client("de/portal")?, network.client("de/leipzig")?);
//!
//! let application = Outgoing::new(
//!     fresh_id(),
//!     "de/portal".parse()?,
//!     "99050012104000".parse()?,
//!     "147130000000".parse()?,
//!     Bytes::from_static(b"<application/>"),
//! );
//! let sent = portal.send(application).await?;
//!
//! let delivery = leipzig.receive().await.ok_or("the client has ended")?;
//! assert_eq!(delivery.payload, "<application/>");
//! delivery.accept().await?;
//!
//! let outcome = sent.outcome().await?;
//! assert_eq!(outcome.outcome, FinalOutcome::Delivered);
//! assert!(outcome.proof.is_some(), "with a verified receipt");
//! # Ok(())
//! # }
//! ```

mod drive;
mod plan;
mod process;
mod router;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernpost_codecs::EndpointId;
use kernpost_routing_table::{Directory, TrustAnchor};
use tokio::sync::{mpsc, oneshot};

pub use plan::Builder;

use crate::client::Client;
use drive::{Change, Command, Network};

/// Why a network does not start: everything at once, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the in-memory network cannot start: {}", .problems.join("; "))]
pub struct CannotStart {
    /// What is wrong.
    pub problems: Vec<String>,
}

/// No client of the network holds this endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint:?} is not in this in-memory network; add .endpoint({endpoint:?}) to its builder")]
pub struct NoSuchEndpoint {
    /// What was asked for.
    pub endpoint: String,
}

/// A running network. It ends when it and all its clients are dropped.
#[derive(Debug)]
pub struct InMemory {
    clients: Vec<Arc<Client>>,
    by_endpoint: BTreeMap<EndpointId, usize>,
    commands: mpsc::Sender<Command>,
    directory: Directory,
    anchor: TrustAnchor,
}

impl InMemory {
    /// A network with a router and nobody else.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(plan: plan::Plan) -> Result<Self, CannotStart> {
        let world = plan.sign()?;
        let (mut network, clients) = Network::new(&plan, &world);
        network.connect_all();
        let problems = network.problems();
        if !problems.is_empty() {
            return Err(CannotStart { problems });
        }
        let by_endpoint =
            plan.links.iter().enumerate().flat_map(|(at, ids)| ids.iter().map(move |id| (id.clone(), at)));
        let (commands, command_queue) = mpsc::channel(16);
        let cannot = |error: std::io::Error| CannotStart { problems: vec![format!("its thread: {error}")] };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(cannot)?;
        std::thread::Builder::new()
            .name("kp-in-memory".to_owned())
            .spawn(move || runtime.block_on(drive::run(network, command_queue)))
            .map_err(cannot)?;
        Ok(Self {
            by_endpoint: by_endpoint.collect(),
            clients: clients.into_iter().map(Arc::new).collect(),
            commands,
            directory: world.directory,
            anchor: world.anchor,
        })
    }

    /// The client that holds this endpoint; the same one for all endpoints of a link.
    ///
    /// # Errors
    /// [`NoSuchEndpoint`].
    pub fn client(&self, endpoint: &str) -> Result<Arc<Client>, NoSuchEndpoint> {
        self.place(endpoint).and_then(|at| self.clients.get(at)).map(Arc::clone).ok_or_else(|| no_such(endpoint))
    }

    /// Cuts the link of this endpoint's client: what is in flight on it becomes undecided, and messages to it are refused
    /// `not-attached` and tried again. Returns when that has happened.
    ///
    /// # Errors
    /// [`NoSuchEndpoint`].
    pub async fn disconnect(&self, endpoint: &str) -> Result<(), NoSuchEndpoint> {
        self.change(endpoint, Change::Disconnect).await
    }

    /// Brings the link of this endpoint's client back; its endpoints are attached when this returns.
    ///
    /// # Errors
    /// [`NoSuchEndpoint`].
    pub async fn reconnect(&self, endpoint: &str) -> Result<(), NoSuchEndpoint> {
        self.change(endpoint, Change::Connect).await
    }

    /// The verified directory in force.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The trust anchor that believes it.
    pub fn trust_anchor(&self) -> &TrustAnchor {
        &self.anchor
    }

    /// Closes every client; each finishes what is under way for at most `patience`.
    pub async fn close(&self, patience: Duration) {
        for client in &self.clients {
            client.close(patience).await;
        }
    }

    fn place(&self, endpoint: &str) -> Option<usize> {
        self.by_endpoint.get(endpoint).copied()
    }

    async fn change(&self, endpoint: &str, change: Change) -> Result<(), NoSuchEndpoint> {
        let process = self.place(endpoint).ok_or_else(|| no_such(endpoint))?;
        let (done, answer) = oneshot::channel();
        // Both fail only when every client has ended: then there is no link left to change.
        if self.commands.send(Command { process, change, done }).await.is_ok() {
            let _ = answer.await;
        }
        Ok(())
    }
}

fn no_such(endpoint: &str) -> NoSuchEndpoint {
    NoSuchEndpoint { endpoint: endpoint.to_owned() }
}

#[cfg(test)]
mod tests;
