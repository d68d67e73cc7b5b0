//! How does a packet find the worker that holds its connection, whatever address it comes from?
//!
//! The kernel spreads packets over a group of sockets by their addresses. A classic BPF program on the group looks first:
//!
//! - a packet with a short header carries one of our connection ids: the program answers with the worker it names
//!   ([`crate::connection_id`]), which is also the place of its socket in the group;
//! - a packet with a long header belongs to a handshake, whose first id the peer invents: the program answers with a number
//!   no group has, and the kernel goes on by addresses, as it does for ids nobody made.
//!
//! A peer keeps its address during the handshake, and its long-header packets follow each other to the worker that then
//! makes its ids. Without the program links work the same until a peer's address changes; then the link is lost and comes
//! back.

use std::io;
use std::net::UdpSocket;

use crate::connection_id::{Mask, NONCE};

mod kernel;

/// One instruction of classic BPF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u32,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// Puts the program on the group `first` belongs to. The group must be whole.
///
/// # Errors
/// The kernel refuses: it is older than 4.5, or a filter of the process's sandbox forbids it.
pub fn steer(first: &UdpSocket, mask: Mask) -> io::Result<()> {
    kernel::attach(first, &program(mask))
}

/// Offsets are from the start of the UDP payload. A load beyond the end of the packet ends the program with 0: a packet
/// too short for an id goes to the first worker, which drops it.
fn program(mask: Mask) -> [Instruction; 10] {
    let plain = |code, value| Instruction { code, if_true: 0, if_false: 0, value };
    [
        plain(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0),
        // The form bit: skips to the last instruction when it is set.
        Instruction { code: libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, if_true: 7, if_false: 0, value: LONG_HEADER },
        plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, ID),
        plain(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, mask.0),
        plain(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 24),
        plain(libc::BPF_MISC | libc::BPF_TAX, 0),
        plain(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, ID + NONCE as u32),
        plain(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0),
        plain(libc::BPF_RET | libc::BPF_A, 0),
        plain(libc::BPF_RET | libc::BPF_K, NO_SOCKET),
    ]
}

/// The header form bit of the first byte.
const LONG_HEADER: u32 = 0x80;
/// The id follows the first byte of a short header.
const ID: u32 = 1;
/// No group is that large: the kernel falls back to the addresses.
const NO_SOCKET: u32 = u32::MAX;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::connection_id::ConnectionIds;
    use crate::link_secret::LinkSecret;
    use crate::socket::{SocketGroup, bind_group};

    const ANY_PORT: &str = "[::1]:0";

    fn group(workers: u16) -> SocketGroup {
        bind_group(ANY_PORT.parse().unwrap(), workers, 65_536).unwrap()
    }

    /// How many packets each socket has received since the last call. Loopback delivers within send.
    fn counts(group: &SocketGroup) -> Vec<usize> {
        let drain = |socket: &UdpSocket| std::iter::from_fn(|| socket.recv_from(&mut [0; 64]).ok()).count();
        group.sockets.iter().map(drain).collect()
    }

    fn short_header(id: &[u8]) -> Vec<u8> {
        [&[0x41], id, &[9; 30]].concat()
    }

    #[test]
    fn a_short_header_reaches_the_worker_its_id_names_from_any_address() {
        for workers in 2..=4_u16 {
            let group = group(workers);
            let ids = ConnectionIds::new(&LinkSecret::random(), workers, true);
            steer(&group.sockets[0], ids.mask()).unwrap();
            for worker in 0..workers {
                for _ in 0..40 {
                    let client = UdpSocket::bind(ANY_PORT).unwrap();
                    let id = ids.of_worker(worker).generate_cid();
                    client.send_to(&short_header(&id), group.address).unwrap();
                }
                let expected: Vec<usize> = (0..workers).map(|at| if at == worker { 40 } else { 0 }).collect();
                assert_eq!(counts(&group), expected, "{workers} workers");
            }
        }
    }

    #[test]
    fn long_headers_and_unknown_ids_go_by_address_as_without_the_program() {
        let group = group(4);
        let clients: Vec<UdpSocket> = (0..64).map(|_| UdpSocket::bind(ANY_PORT).unwrap()).collect();
        let reached = |bytes: &[u8]| -> Vec<usize> {
            let send = |client: &UdpSocket| {
                client.send_to(bytes, group.address).unwrap();
                counts(&group).iter().position(|count| *count == 1).unwrap()
            };
            clients.iter().map(send).collect()
        };
        let ids = ConnectionIds::new(&LinkSecret::random(), 4, true);
        let initial = [&[0xc3, 0, 0, 0, 1, 8][..], &[7; 40]].concat();
        let by_address = reached(&initial);
        assert!((0..4).all(|worker| by_address.contains(&worker)), "{by_address:?}");
        // Without the program a short header goes by address, too: this is what steering changes.
        let id = ids.of_worker(2).generate_cid();
        assert_eq!(reached(&short_header(&id)), by_address);
        steer(&group.sockets[0], ids.mask()).unwrap();
        assert_eq!(reached(&initial), by_address);
        assert_eq!(reached(&short_header(&id)), [2; 64]);
        // No socket has place 200.
        let mut id = ids.of_worker(0).generate_cid().to_vec();
        id[NONCE] ^= 200;
        assert_eq!(reached(&short_header(&id)), by_address);
    }

    #[test]
    fn packets_too_short_for_an_id_harm_nobody() {
        let group = group(2);
        steer(&group.sockets[0], Mask(0x9e37_79b1)).unwrap();
        let client = UdpSocket::bind(ANY_PORT).unwrap();
        for length in 0..6 {
            client.send_to(&vec![0x40; length], group.address).unwrap();
        }
        assert_eq!(counts(&group).iter().sum::<usize>(), 6);
    }

    #[test]
    fn a_socket_outside_any_group_is_refused() {
        let alone = UdpSocket::bind(ANY_PORT).unwrap();
        assert!(steer(&alone, Mask(1)).is_err());
    }
}
