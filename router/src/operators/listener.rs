//! Where do operators' commands arrive? A Unix socket whose peers the kernel names; at most 32 at a time.
//!
//! The file appears with its final mode and group, under its final name, or not at all: 0600, or 0660 with a group of operators.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream, unix};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::account::Account;

/// Connections at a time; more wait in the kernel's queue.
const MOST: usize = 32;

/// A bound socket; the file goes away with it.
#[derive(Debug)]
pub(super) struct OperatorListener {
    listener: UnixListener,
    room: Arc<Semaphore>,
    _file: SocketFile,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Missing is as good as removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds `path`; a socket nobody listens at is replaced. Wants a tokio runtime.
pub(super) fn bind(path: &Path, group: Option<u32>) -> io::Result<OperatorListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    let fresh = path.with_extension("new");
    // Left behind by a process that died here.
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    std::os::unix::fs::chown(&fresh, None, group)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&fresh, path)?;
    Ok(OperatorListener { listener, room: Arc::new(Semaphore::new(MOST)), _file: SocketFile(path.to_owned()) })
}

impl Listener for OperatorListener {
    type Io = Seated;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // The semaphore is never closed.
            let seat = Arc::clone(&self.room).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, address)) => return (Seated { stream, _seat: seat }, address),
                Err(error) => {
                    tracing::warn!(%error, "an operator's connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that holds its seat.
#[derive(Debug)]
pub(super) struct Seated {
    stream: UnixStream,
    _seat: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Seated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who is at the other end, by the kernel; `None` when it does not say.
#[derive(Debug, Clone)]
pub(super) struct AskedBy(pub(super) Option<Account>);

impl Connected<IncomingStream<'_, OperatorListener>> for AskedBy {
    fn connect_info(stream: IncomingStream<'_, OperatorListener>) -> Self {
        Self(stream.io().stream.peer_cred().ok().map(|peer| Account::of(peer.uid())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_replaces_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = bind(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }
}
