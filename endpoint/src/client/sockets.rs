//! The UDP sockets of a client: one for IPv6 and, only when a router has no IPv6 address, one for IPv4.
//!
//! All links of the process share them. Buffers are asked for large and the kernel's answer is logged when it gave less.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

const BUFFER_BYTES: usize = 8 << 20;

/// Sockets, opened at first use.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    v6: OnceLock<Endpoint>,
    v4: OnceLock<Endpoint>,
}

impl Sockets {
    /// The endpoint from which this address is dialled.
    pub fn for_address(&self, address: SocketAddr) -> io::Result<&Endpoint> {
        let (cell, local) = match address {
            SocketAddr::V6(_) => (&self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
            SocketAddr::V4(_) => (&self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        };
        if let Some(endpoint) = cell.get() {
            return Ok(endpoint);
        }
        let endpoint = open(local)?;
        Ok(cell.get_or_init(|| endpoint))
    }

    /// Waits until every connection has said goodbye.
    pub async fn wait_idle(&self) {
        for endpoint in [&self.v6, &self.v4].into_iter().filter_map(OnceLock::get) {
            endpoint.wait_idle().await;
        }
    }
}

fn open(local: SocketAddr) -> io::Result<Endpoint> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    // The kernel reports twice what it gives.
    let (receive, send) = (socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2);
    if receive < BUFFER_BYTES || send < BUFFER_BYTES {
        tracing::info!(
            receive,
            send,
            wanted = BUFFER_BYTES,
            "small socket buffers; raise net.core.rmem_max and wmem_max"
        );
    }
    socket.bind(&local.into())?;
    Endpoint::new(EndpointConfig::default(), None, socket.into(), Arc::new(TokioRuntime))
}
