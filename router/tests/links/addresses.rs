//! Peers whose address changes while their links are up, with several workers.

use std::net::SocketAddr;

use kernpost_codecs::ControlFrame;
use kernpost_router::observed::Observed;

use super::SOON;
use super::network::{Network, address, until};
use super::peer::{Peer, take_another_address};
use super::traffic;

const PEERS: usize = 12;
/// Without steering, each move of each peer would find its worker with probability 1 / workers.
const MOVES: usize = 4;

/// Remote addresses of the links of every worker, as last published.
fn remotes(observed: &Observed) -> Vec<Vec<SocketAddr>> {
    let of_worker = |worker: &arc_swap::ArcSwap<kernpost_router::observed::WorkerSnapshot>| {
        worker.load().links.iter().map(|link| link.remote).collect()
    };
    observed.workers.iter().map(of_worker).collect()
}

fn per_worker(observed: &Observed) -> Vec<usize> {
    remotes(observed).iter().map(Vec::len).collect()
}

async fn ping(peer: &mut Peer, nonce: u64) {
    peer.send(&ControlFrame::Ping { nonce }).await;
    match peer.receive().await {
        ControlFrame::Pong { nonce: answered, .. } => assert_eq!(answered, nonce),
        other => panic!("the answer to PING is {other:?}"),
    }
}

#[tokio::test]
async fn a_peer_whose_address_changes_keeps_its_link_and_its_worker() {
    for workers in 2..=4 {
        let network = Network::new();
        let router = network.start("r1", workers, "[limits]\nlinks_per_identity = 64\n");
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            peers.push(Peer::greet(&network, "portal", address(&router)).await);
        }
        until("all links are shown", router.observed(), |observed| per_worker(observed).iter().sum::<usize>() == PEERS)
            .await;
        let before = per_worker(router.observed());
        for nonce in 1..=MOVES {
            for peer in &mut peers {
                take_another_address(&peer.endpoint);
                ping(peer, nonce as u64).await;
            }
        }
        let now: Vec<SocketAddr> = peers.iter().map(|peer| peer.endpoint.local_addr().unwrap()).collect();
        until("the router has seen every last address", router.observed(), |observed| {
            let seen: Vec<SocketAddr> = remotes(observed).concat();
            now.iter().all(|address| seen.contains(address))
        })
        .await;
        assert_eq!(per_worker(router.observed()), before, "every link is still with its worker");
        for worker in &router.observed().workers {
            let worker = worker.load();
            assert_eq!((worker.ended.lost, worker.ended.closed.len()), (0, 0));
        }
        router.stop(SOON).await;
    }
}

#[tokio::test]
async fn messages_go_on_while_sender_and_recipient_change_their_addresses() {
    let network = Network::new();
    let routers = network.start_two(3).await;
    let result = traffic::send_moving(&network, &routers, 3_000, 16, 10).await;
    assert_eq!(result.delivered, 3_000);
    for router in routers {
        let stopped = router.stop(SOON).await;
        assert!(stopped.ledger.balanced());
        assert_eq!((stopped.ledger.delivered, stopped.ledger.undecided), (3_000, 0));
    }
}
