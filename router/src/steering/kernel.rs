//! The one call for which neither socket2 nor rustix has a safe form: `SO_ATTACH_REUSEPORT_CBPF`. (socket2's
//! `attach_filter` sets `SO_ATTACH_FILTER`, which drops packets instead of choosing a socket.)

use std::io;
use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::Instruction;

/// Attaches `program` to the reuseport group of `socket`. The kernel copies and checks it.
pub(super) fn attach(socket: &UdpSocket, program: &[Instruction]) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let filter = |step: &Instruction| -> io::Result<libc::sock_filter> {
        let code = u16::try_from(step.code).map_err(invalid)?;
        Ok(libc::sock_filter { code, jt: step.if_true, jf: step.if_false, k: step.value })
    };
    let mut filters = program.iter().map(filter).collect::<io::Result<Vec<_>>>()?;
    let len = u16::try_from(filters.len()).map_err(invalid)?;
    let program = libc::sock_fprog { len, filter: filters.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).map_err(invalid)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed. The option's value is a `sock_fprog`, `size` its
    // size, and it points to `len` filters in `filters`, which outlives the call; the kernel only reads both and keeps a
    // copy of its own.
    #[expect(unsafe_code, reason = "the kernel takes this program through setsockopt only")]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
