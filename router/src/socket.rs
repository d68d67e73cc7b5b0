//! Which UDP sockets does the router own, and who else could receive on them?
//!
//! Every worker has a socket of its own for each listen address; the kernel spreads flows over such a group by their
//! addresses (`SO_REUSEPORT`). The whole group is bound before anybody reads, and never resized. The first socket of a
//! group is bound *without* `SO_REUSEPORT` and joins the group afterwards: so the kernel refuses the address when anybody
//! else is there, another group of the same user included, and with port 0 it picks one that is really free. A dialled
//! link needs a socket outside any group: its answers would reach another worker.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// One listen address and the sockets of its group, one per worker.
#[derive(Debug)]
pub struct SocketGroup {
    /// The address all sockets are bound to; never with port 0.
    pub address: SocketAddr,
    /// One socket per worker, in their order, which is that of the kernel's group.
    pub sockets: VecDeque<UdpSocket>,
    /// What the kernel gave of the buffers asked for.
    pub buffers: Buffers,
}

/// Socket buffers as the kernel gave them, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Asked for, per direction.
    pub asked: usize,
    /// Receive buffer.
    pub receive: usize,
    /// Send buffer.
    pub send: usize,
}

impl Buffers {
    /// One sentence per buffer that is smaller than asked, with the sysctl that limits it.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        let limits = [("receive", self.receive, "net.core.rmem_max"), ("send", self.send, "net.core.wmem_max")];
        let short = limits.into_iter().filter(|(_, given, _)| *given < self.asked);
        short
            .map(|(direction, given, sysctl)| {
                format!(
                    "the kernel gives sockets a {direction} buffer of {given} bytes, {asked} were asked for: under load \
                     packets are lost and latency grows; run sysctl -w {sysctl}={asked}",
                    asked = self.asked
                )
            })
            .collect()
    }
}

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody else is bound there.
    #[error(
        "cannot listen on {address}: the address is in use; stop the other process (ss -ulpn shows it) or change listen.addresses"
    )]
    InUse {
        /// The listen address.
        address: SocketAddr,
    },
    /// The kernel refused for another reason.
    #[error("cannot bind a UDP socket to {address}: {source}; check listen.addresses")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl SocketError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            _ => Self::Bind { address, source },
        }
    }
}

/// Binds the group of `workers` sockets (at least one) for `asked`, whose port may be 0.
///
/// # Errors
/// The address is in use or is not one of this machine's.
pub fn bind_group(asked: SocketAddr, workers: u16, buffer: usize) -> Result<SocketGroup, SocketError> {
    let wrong = |source| SocketError::new(asked, source);
    let first = open(asked, buffer).map_err(wrong)?;
    first.bind(&asked.into()).map_err(wrong)?;
    first.set_reuse_port(true).map_err(wrong)?;
    let first = UdpSocket::from(first);
    let address = first.local_addr().map_err(wrong)?;
    let buffers = read_back(&first, buffer).map_err(wrong)?;
    let mut sockets = VecDeque::from([first]);
    for _ in 1..workers {
        let socket = open(address, buffer).map_err(wrong)?;
        socket.set_reuse_port(true).map_err(wrong)?;
        socket.bind(&address.into()).map_err(wrong)?;
        sockets.push_back(UdpSocket::from(socket));
    }
    Ok(SocketGroup { address, sockets, buffers })
}

/// Binds a socket of its own, with a port the kernel chooses, from which links are dialled.
///
/// # Errors
/// `local` is not an address of this machine.
pub fn bind_alone(local: IpAddr, buffer: usize) -> Result<UdpSocket, SocketError> {
    let address = SocketAddr::new(local, 0);
    let wrong = |source| SocketError::new(address, source);
    let socket = open(address, buffer).map_err(wrong)?;
    socket.bind(&address.into()).map_err(wrong)?;
    Ok(socket.into())
}

fn open(address: SocketAddr, buffer: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel cuts both to its limits without an error.
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Linux reports twice what it grants, the other half being its own bookkeeping.
fn read_back(socket: &UdpSocket, asked: usize) -> io::Result<Buffers> {
    let socket = socket2::SockRef::from(socket);
    let (receive, send) = (socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2);
    Ok(Buffers { asked, receive, send })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ANY_PORT: &str = "[::1]:0";

    #[test]
    fn all_sockets_of_a_group_share_the_port_the_kernel_chose() {
        let group = bind_group(ANY_PORT.parse().unwrap(), 3, 65_536).unwrap();
        assert_ne!(group.address.port(), 0);
        for socket in &group.sockets {
            assert_eq!(socket.local_addr().unwrap(), group.address);
        }
    }

    #[test]
    fn a_second_group_cannot_join_the_first() {
        let group = bind_group(ANY_PORT.parse().unwrap(), 2, 65_536).unwrap();
        let second = bind_group(group.address, 2, 65_536);
        assert!(matches!(second, Err(SocketError::InUse { .. })), "{second:?}");
    }

    #[test]
    fn flows_reach_every_socket_of_a_group() {
        let group = bind_group(ANY_PORT.parse().unwrap(), 2, 65_536).unwrap();
        let clients: Vec<UdpSocket> = (0..64).map(|_| UdpSocket::bind(ANY_PORT).unwrap()).collect();
        for client in &clients {
            client.send_to(b"?", group.address).unwrap();
        }
        let mut reached = BTreeSet::new();
        for (worker, socket) in group.sockets.iter().enumerate() {
            // Loopback delivers within send: what is not there now never comes.
            while socket.recv_from(&mut [0; 8]).is_ok() {
                reached.insert(worker);
            }
        }
        assert_eq!(reached.len(), 2);
    }

    #[test]
    fn a_short_buffer_names_its_sysctl() {
        let buffers = Buffers { asked: 8 << 20, receive: 212_992, send: 8 << 20 };
        let said = buffers.shortfalls();
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("net.core.rmem_max=8388608"), "{said:?}");
    }

    #[test]
    fn an_ipv6_socket_takes_no_ipv4() {
        let group = bind_group("[::]:0".parse().unwrap(), 1, 65_536).unwrap();
        assert!(socket2::SockRef::from(&group.sockets[0]).only_v6().unwrap());
    }
}
