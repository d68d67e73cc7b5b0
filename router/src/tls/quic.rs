//! How is quinn configured for a link? Built by hand: quinn's convenience constructors switch early data on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use kernpost_router_core::WorkerId;
use kernpost_router_core::line::link_window_bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::{Credentials, TlsError, Trust, client, server};
use crate::config::{Config, LinkSection, PeerSection};
use crate::connection_id::ConnectionIds;

/// Everything a worker needs to open its quinn endpoint. Shared by all workers but for the connection ids: so a packet of a
/// connection nobody knows any more is answered, by whichever worker it reaches, with the stateless reset its sender knows.
#[derive(Debug, Clone)]
pub struct QuicConfigs {
    endpoint: EndpointConfig,
    ids: ConnectionIds,
    /// For accepted connections.
    pub server: quinn::ServerConfig,
    client: quinn::ClientConfig,
    /// By the address as it is configured.
    own_lines: BTreeMap<String, OwnLine>,
}

/// What holds for links with a peer that hangs on a line of its own.
#[derive(Debug, Clone)]
struct OwnLine {
    accepted: Arc<quinn::ServerConfig>,
    dialled: quinn::ClientConfig,
}

impl QuicConfigs {
    /// Builds them from the configuration, the loaded credentials, and the secret that makes connection ids and resets.
    ///
    /// # Errors
    /// Credentials or trust cannot be used.
    pub fn new(
        config: &Config,
        credentials: &Credentials,
        trust: &Arc<Trust>,
        ids: ConnectionIds,
        reset_key: hmac::Key,
    ) -> Result<Self, TlsError> {
        let usual = Arc::new(transport(config));
        let (profile, hybrid) = (config.tls.profile, config.tls.require_hybrid);
        let server_tls = server(credentials, trust, profile, hybrid)?;
        let server_tls = QuicServerConfig::try_from(server_tls).map_err(|_| TlsError::InitialSuite)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(server_tls));
        server
            .transport_config(usual.clone())
            .max_incoming(config.handshakes.in_progress)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES * config.handshakes.in_progress as u64);
        let client_tls = client(credentials, trust, profile, hybrid)?;
        let client_tls = QuicClientConfig::try_from(client_tls).map_err(|_| TlsError::InitialSuite)?;
        let mut client = quinn::ClientConfig::new(Arc::new(client_tls));
        client.transport_config(usual);
        let own_lines = config.peers.iter().filter(|peer| peer.line.is_some());
        let own_lines = own_lines.map(|peer| {
            let line = Arc::new(transport_over(config, &config.link_with(peer)));
            let (mut accepted, mut dialled) = (server.clone(), client.clone());
            accepted.transport_config(line.clone());
            dialled.transport_config(line);
            (peer.address.to_string(), OwnLine { accepted: Arc::new(accepted), dialled })
        });
        let own_lines = own_lines.collect();
        Ok(Self { endpoint: endpoint(config, reset_key), ids, server, client, own_lines })
    }

    /// For connections dialled to `peer`.
    #[must_use]
    pub fn client(&self, peer: &PeerSection) -> quinn::ClientConfig {
        let own = self.own_lines.get(peer.address.as_str());
        own.map_or_else(|| self.client.clone(), |own| own.dialled.clone())
    }

    /// For connections accepted from the peer configured with `address`; `None`: as all others.
    #[must_use]
    pub fn server_for(&self, address: &str) -> Option<Arc<quinn::ServerConfig>> {
        self.own_lines.get(address).map(|own| Arc::clone(&own.accepted))
    }

    /// For the endpoints of one worker.
    #[must_use]
    pub fn endpoint(&self, worker: WorkerId) -> EndpointConfig {
        let (ids, mut endpoint) = (self.ids.clone(), self.endpoint.clone());
        endpoint.cid_generator(move || ids.of_worker(worker.0));
        endpoint
    }
}

/// Bytes buffered for a connection attempt before it is accepted: a client hello with a hybrid key share and room.
const INCOMING_BYTES: u64 = 64 << 10;

fn endpoint(config: &Config, reset_key: hmac::Key) -> EndpointConfig {
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    endpoint.supported_versions(vec![QUIC_V1]);
    // What we say we take must not be below what discovery may find. The range of the knob is quinn's own.
    let lines = config.peers.iter().map(|peer| config.link_with(peer).mtu_upper_bound);
    let largest =
        lines.chain([config.link.mtu_upper_bound, LARGEST_COMMON_PAYLOAD]).max().unwrap_or(LARGEST_COMMON_PAYLOAD);
    if let Err(error) = endpoint.max_udp_payload_size(largest) {
        tracing::warn!(%error, largest, "largest UDP payload stays at the default");
    }
    endpoint
}

const QUIC_V1: u32 = 1;
/// An Ethernet frame's UDP payload over IPv4, quinn's default.
const LARGEST_COMMON_PAYLOAD: u16 = 1_472;
/// The UDP payload every IPv6 path carries: 1,280 − 40 − 8.
const SAFE_IPV6_PAYLOAD: u16 = 1_232;
/// The least QUIC demands of any path.
const SAFE_PAYLOAD: u16 = 1_200;
/// The control stream.
const BIDI_STREAMS: u32 = 1;
/// Four lanes (WIRE 2.3) and as many for kinds this version stops and ignores; large payloads come on top.
const UNI_STREAMS: u32 = 8;

/// Windows, timers and MTU of a connection. quinn paces by congestion window and round trip; there is nothing to set.
#[must_use]
pub fn transport(config: &Config) -> TransportConfig {
    transport_over(config, &config.link)
}

fn transport_over(config: &Config, link: &LinkSection) -> TransportConfig {
    let window = |bytes| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
    // The windows of a connection count all streams: what large payloads may fill must not be taken from the lanes.
    let large = config.large_payload_windows();
    let large_streams = u32::try_from(config.limits.large_payloads_per_link).unwrap_or(u32::MAX);
    let safe = if config.listen.ipv4 { SAFE_PAYLOAD } else { SAFE_IPV6_PAYLOAD };
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(link.mtu_upper_bound);
    // The range of the knob is far below what a VarInt of milliseconds holds; `None` would mean no timeout at all.
    let idle = VarInt::from_u64(link.idle_timeout_ms).unwrap_or(VarInt::from_u32(30_000));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS.saturating_add(large_streams)))
        .stream_receive_window(window(link.lane_window_bytes))
        .receive_window(window(link_window_bytes(link.lane_window_bytes).saturating_add(large)))
        .send_window(link.send_window_bytes.saturating_add(large))
        .initial_mtu(safe.min(link.mtu_upper_bound))
        .mtu_discovery_config(Some(mtu))
        .enable_segmentation_offload(link.segmentation_offload())
        .keep_alive_interval(Some(Duration::from_millis(link.keep_alive_ms)))
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0);
    transport
}
