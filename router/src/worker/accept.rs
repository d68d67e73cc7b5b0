//! Who may connect, and when is a handshake too slow?

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming, ServerConfig};

use super::{Phase, Worker};
use crate::handshakes::{Newcomer, Verdict};
use crate::link;
use crate::tls::quic::QuicConfigs;

/// Accepts connections until the drain begins; from then on everybody is refused by the transport.
pub(super) async fn run(worker: Rc<Worker>, endpoint: Endpoint, quic: QuicConfigs) {
    let mut phase = worker.phase.clone();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => judge(&worker, &quic, incoming),
                None => return,
            },
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => break,
        }
    }
    endpoint.set_server_config(None);
}

fn judge(worker: &Rc<Worker>, quic: &QuicConfigs, incoming: Incoming) {
    let from = incoming.remote_address();
    let peer = worker.shared.peer_addresses.configured(from.ip());
    let newcomer = Newcomer {
        from,
        validated: incoming.remote_address_validated(),
        peer: peer.is_some(),
        room: worker.shared.links.load(Ordering::Relaxed) < worker.shared.config.limits.links,
    };
    let verdict = worker.gate.borrow_mut().judge(worker.shared.clock.now().mono_us, newcomer);
    match verdict {
        Verdict::Accept => {
            let line = peer.and_then(|address| quic.server_for(&address));
            drop(tokio::task::spawn_local(set_up(Rc::clone(worker), incoming, line)));
        }
        Verdict::Retry => {
            worker.note_handshake(|counts| counts.retried += 1);
            // Fails only for an address that is proven, which is never told to prove it.
            let _ = incoming.retry();
        }
        Verdict::Refuse(reason) => {
            worker.note_handshake(|counts| counts.refused += 1);
            tracing::debug!(%from, ?reason, "connection refused");
            incoming.refuse();
        }
    }
}

/// `line`: what holds for a peer that hangs on a line of its own.
async fn set_up(worker: Rc<Worker>, incoming: Incoming, line: Option<Arc<ServerConfig>>) {
    let from = incoming.remote_address();
    let _room = Room::take(&worker);
    let connection = finish(&worker, incoming, line).await;
    worker.gate.borrow_mut().on_end();
    match connection {
        Ok(connection) => {
            worker.note_handshake(|counts| counts.finished += 1);
            tracing::info!(peer = %from, "link accepted");
            let known = || worker.gate.borrow_mut().on_link(worker.shared.clock.now().mono_us, from);
            known();
            link::run(Rc::clone(&worker), connection, None).await;
            // Again: it may have lasted for days.
            known();
        }
        Err(cause) => {
            worker.note_handshake(|counts| counts.failed += 1);
            tracing::info!(peer = %from, cause, "handshake failed");
        }
    }
}

async fn finish(worker: &Worker, incoming: Incoming, line: Option<Arc<ServerConfig>>) -> Result<Connection, String> {
    let limit = handshake_limit(worker);
    let connecting = match line {
        Some(line) => incoming.accept_with(line),
        None => incoming.accept(),
    };
    let connecting = connecting.map_err(|error| error.to_string())?;
    match tokio::time::timeout(limit, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not done within {limit:?}")),
    }
}

/// A handshake may take as long as a hello.
pub(super) fn handshake_limit(worker: &Worker) -> Duration {
    Duration::from_millis(worker.shared.config.deadlines.hello_ms)
}

/// A place among the links of the process; given back when the link ends.
pub(super) struct Room(Rc<Worker>);

impl Room {
    pub(super) fn take(worker: &Rc<Worker>) -> Self {
        worker.shared.links.fetch_add(1, Ordering::Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.shared.links.fetch_sub(1, Ordering::Relaxed);
    }
}
