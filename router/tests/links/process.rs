//! The command `kernpost-router run` as an operator sees it: exit status, standard error, signals.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kernpost_codecs::{CloseCode, ControlFrame};
use kernpost_router::state_folder::Addresses;
use quinn::ConnectionError;
use rustix::process::{Pid, Signal, kill_process};

use super::network::Network;
use super::peer::{LIMIT, Peer};

const BINARY: &str = env!("CARGO_BIN_EXE_kernpost-router");

/// A router process; killed when the test ends before it does.
struct Process(Child);

impl Process {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("run").arg("--config").arg(config).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Exit status and everything it logged.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.0.wait().unwrap().code(), log)
    }

    async fn addresses(&self, network: &Network, name: &str) -> Addresses {
        let path = network.path(&format!("state-{name}")).join("addresses.json");
        let began = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(&path) {
                return serde_json::from_str(&text).unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no {}", path.display());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn hangup_brings_a_new_directory_and_terminate_a_balanced_ledger() {
    let mut network = Network::new();
    let process = Process::start(&network.configure("r1", 2, "[::1]:0", ""));
    let addresses = process.addresses(&network, "r1").await;
    let peer = Peer::greet(&network, "portal", addresses.quic[0]).await;
    let other = Peer::greet(&network, "amt", addresses.quic[0]).await;
    network.zone.serial = 2;
    network.zone.endpoints.retain(|entry| entry.id.as_str() != "kern/portal");
    network.publish();
    process.signal(Signal::HUP);
    assert_eq!(peer.closed().await.0, CloseCode::Revoked);
    process.signal(Signal::TERM);
    assert_eq!(other.closed().await.0, CloseCode::Closed);
    let (status, log) = process.end();
    assert_eq!(status, Some(0), "{log}");
    for part in ["routing table in force", "listening", "looking for a new directory", "drained", "balanced=true"] {
        assert!(log.contains(part), "{part:?} is missing in {log}");
    }
}

#[tokio::test]
async fn after_a_crash_a_peer_learns_at_its_next_packet_that_its_link_is_gone() {
    let network = Network::new();
    let first = Process::start(&network.configure("r1", 3, "[::1]:0", ""));
    let address = first.addresses(&network, "r1").await.quic[0];
    let mut peers = Vec::new();
    for _ in 0..6 {
        peers.push(Peer::greet(&network, "portal", address).await);
    }
    first.signal(Signal::KILL);
    let (status, _) = first.end();
    assert_eq!(status, None, "killed by a signal");
    std::fs::remove_file(network.path("state-r1").join("addresses.json")).unwrap();
    let second = Process::start(&network.configure("r1", 3, &address.to_string(), ""));
    assert_eq!(second.addresses(&network, "r1").await.quic[0], address);
    for peer in &mut peers {
        // A packet that was still due may have been answered already: then there is nobody to ping.
        let _ = peer.try_send(&ControlFrame::Ping { nonce: 1 }).await;
        // An idle timeout would be another error, and come after twenty seconds.
        let closed = tokio::time::timeout(LIMIT, peer.connection.closed()).await.unwrap();
        assert!(matches!(closed, ConnectionError::Reset), "{closed:?}");
    }
    second.signal(Signal::TERM);
    let (status, log) = second.end();
    assert_eq!(status, Some(0), "{log}");
}

#[tokio::test]
async fn a_second_process_cannot_join_address_or_state() {
    let network = Network::new();
    let first = Process::start(&network.configure("r1", 2, "[::1]:0", ""));
    let address = first.addresses(&network, "r1").await.quic[0];
    let (status, log) = Process::start(&network.configure("r1", 2, "[::1]:0", "")).end();
    assert_eq!(status, Some(1));
    assert!(log.contains("in use by another router process"), "{log}");
    let (status, log) = Process::start(&network.configure("r2", 2, &address.to_string(), "")).end();
    assert_eq!(status, Some(1));
    assert!(log.contains(&format!("cannot listen on {address}")), "{log}");
}

#[test]
fn check_prints_what_follows_from_the_line() {
    let network = Network::new();
    let peer = format!("{}profile = \"10mbit\"\n", super::network::peer("r2", "[::1]:9"));
    let config = network.configure("r1", 2, "[::1]:0", &format!("{peer}[link]\nmtu_upper_bound = 8952\n"));
    let checked = Command::new(BINARY).arg("check").arg("--config").arg(config).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    for line in [
        "link: 1gbit, round trip 1 ms: lane window 262144 bytes, send window 26214400 bytes, bundles up to 262144 bytes, UDP \
         payload up to 8952 bytes, segmentation offload off",
        "peer kern/router/r2: 10mbit, round trip 50 ms: lane window 125000 bytes, send window 26214400 bytes, bundles up to \
         25000 bytes, UDP payload up to 1232 bytes, segmentation offload on",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn a_wrong_configuration_is_said_before_any_port_is_bound() {
    let network = Network::new();
    let config = network.configure("r1", 2, "[::1]:0", "[limits]\nlinks = 0\n");
    let (status, log) = Process::start(&config).end();
    assert_eq!(status, Some(1));
    assert!(log.contains("limits.links"), "{log}");
    assert!(!network.path("state-r1").exists());
}
