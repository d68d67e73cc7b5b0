//! How does a router keep the links it has to dial? Of two routers the bytewise smaller id dials (WIRE 2.1).
//!
//! One task per such peer, on the worker its id hashes to. Names are resolved again at every attempt and all addresses
//! tried; attempts back off, with jitter, and start over once a link has lasted. That the certificate belongs to the router
//! that was meant, control checks.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint};
use rand::Rng;
use tokio::time::Instant;

use super::accept::{Room, handshake_limit};
use super::{Phase, Worker};
use crate::config::{Config, PeerSection};
use crate::link;
use crate::tls::SERVER_NAME;

/// Sockets to dial from, one per address family in use. Not of a listen group: see [`crate::socket`].
#[derive(Debug, Clone, Default)]
pub(super) struct DialEndpoints {
    pub v6: Option<Endpoint>,
    pub v4: Option<Endpoint>,
}

/// Whether this router dials `peer`: it has the smaller id.
pub(super) fn dials(config: &Config, peer: &PeerSection) -> bool {
    config.router.id.as_str() < peer.router.as_str()
}

/// Whether worker `worker` of `workers` dials `peer`.
pub(super) fn is_mine(config: &Config, peer: &PeerSection, worker: u16, workers: u16) -> bool {
    dials(config, peer) && spread(peer.router.as_str()) % u64::from(workers.max(1)) == u64::from(worker)
}

/// FNV-1a: the same worker for a peer at every start.
fn spread(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Keeps a link to `peer` until the drain begins.
pub(super) async fn run(worker: Rc<Worker>, endpoints: DialEndpoints, client: ClientConfig, peer: PeerSection) {
    let mut phase = worker.phase.clone();
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let _room = Room::take(&worker);
        tokio::select! {
            attempt = connect(&worker, &endpoints, &client, &peer) => match attempt {
                Ok(connection) => {
                    worker.note_handshake(|counts| counts.finished += 1);
                    tracing::info!(router = %peer.router, address = %connection.remote_address(), "peer dialled");
                    link::run(Rc::clone(&worker), connection, Some(peer.router.clone())).await;
                }
                Err(cause) => {
                    worker.note_handshake(|counts| counts.failed += 1);
                    tracing::warn!(router = %peer.router, address = %peer.address, cause, "peer not reached");
                }
            },
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
        }
        let pause = backoff.after(began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
        }
    }
}

/// Resolves the names of peers that dial us, so that the handshake gate knows their addresses.
pub(super) async fn know(worker: Rc<Worker>, peers: Vec<PeerSection>) {
    let mut phase = worker.phase.clone();
    loop {
        for peer in &peers {
            if let Err(cause) = worker.shared.peer_addresses.resolve(peer).await {
                tracing::warn!(router = %peer.router, cause, "a peer that dials us is not known by address");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(NAMES_LAST) => {}
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
        }
    }
}

/// How long a resolved name of a peer that dials us is good.
const NAMES_LAST: Duration = Duration::from_secs(60);

/// Tries every address the peer's name has now.
async fn connect(
    worker: &Worker,
    endpoints: &DialEndpoints,
    client: &ClientConfig,
    peer: &PeerSection,
) -> Result<Connection, String> {
    let addresses = worker.shared.peer_addresses.resolve(peer).await?;
    let mut causes = Vec::new();
    for address in addresses {
        match connect_to(worker, endpoints, client, address).await {
            Ok(connection) => return Ok(connection),
            Err(cause) => causes.push(format!("{address}: {cause}")),
        }
    }
    Err(causes.join("; "))
}

async fn connect_to(
    worker: &Worker,
    endpoints: &DialEndpoints,
    client: &ClientConfig,
    address: SocketAddr,
) -> Result<Connection, String> {
    let endpoint = if address.is_ipv6() { &endpoints.v6 } else { &endpoints.v4 };
    let endpoint = endpoint.as_ref().ok_or("no socket of this address family")?;
    let connecting = endpoint.connect_with(client.clone(), address, SERVER_NAME).map_err(|error| error.to_string())?;
    match tokio::time::timeout(handshake_limit(worker), connecting).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// The pause before the next attempt: doubles from 100 ms to 10 s, a random half of it each time.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

const SHORTEST_MS: u64 = 100;
const LONGEST_MS: u64 = 10_000;
/// A link that lasted this long was a good one.
const LASTED: Duration = Duration::from_secs(10);

impl Backoff {
    fn after(&mut self, lasted: Duration) -> Duration {
        self.failures = if lasted >= LASTED { 0 } else { self.failures.saturating_add(1) };
        let whole = Self::whole_ms(self.failures);
        Duration::from_millis(rand::rng().random_range(whole / 2..=whole))
    }

    fn whole_ms(failures: u32) -> u64 {
        SHORTEST_MS.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_its_limit_and_starts_over_after_a_good_link() {
        let steps: Vec<u64> = (0..10).map(Backoff::whole_ms).collect();
        assert_eq!(steps, [100, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        let mut backoff = Backoff { failures: 9 };
        assert!(backoff.after(LASTED) <= Duration::from_millis(SHORTEST_MS));
    }

    #[test]
    fn every_peer_has_exactly_one_worker() {
        for workers in 1..=8 {
            for peer in ["kern/router/r2", "kern/router/r3", "land/router/r1"] {
                assert!(spread(peer) % workers < workers);
            }
        }
        assert_ne!(spread("kern/router/r2"), spread("kern/router/r3"));
    }
}
