//! The network: listen, connect, byte streams, and the abortive close (RST).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{LocalBoxFuture, Pid};

/// The door to the network. Errors carry their true kinds: `AddrInUse`, `ConnectionRefused`,
/// `ConnectionReset`, `TimedOut`.
pub trait Net {
    /// Listens on `port` of this machine. `AddrInUse` while another process listens there.
    fn listen(&self, port: u16) -> LocalBoxFuture<'_, io::Result<Box<dyn Listener>>>;
    /// Opens a connection to `port` of the machine called `host`.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Stream>>;
    /// Who listens on which port of this machine, as far as that can be seen: a socket whose owner is hidden is
    /// missing. `None` where it cannot be told at all.
    fn listeners(&self) -> Option<Vec<Listening>>;
}

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whose it is.
    pub pid: Pid,
}

/// A listening socket; dropping it stops listening and frees the port.
pub trait Listener {
    /// The next connection.
    fn accept(&mut self) -> LocalBoxFuture<'_, io::Result<Stream>>;
    /// The port listened on.
    fn port(&self) -> u16;
}

/// What a stream is made of.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

/// The part of a connection that stays reachable after the bytes went into somebody else's hands.
pub trait ConnectionControl {
    /// Ends the connection at once: the peer gets a reset, pending reads and writes fail.
    fn abort(&self);

    /// Resolves when the connection is broken, also for somebody who neither reads nor writes (`POLLERR`). Where
    /// nobody asks it may never resolve, which is what this does.
    fn broken(&self) -> LocalBoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// A handle that can end a connection abortively from anywhere, whoever owns the stream by then.
#[derive(Clone)]
pub struct AbortHandle(Rc<dyn ConnectionControl>);

impl AbortHandle {
    /// A handle on the connection behind `control`.
    #[cfg(test)]
    pub(crate) fn new(control: Rc<dyn ConnectionControl>) -> Self {
        Self(control)
    }

    /// Ends the connection at once with a reset. Harmless when it has already ended.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// See [`ConnectionControl::broken`].
    pub fn broken(&self) -> LocalBoxFuture<'static, ()> {
        self.0.broken()
    }
}

/// A connected byte stream.
pub struct Stream {
    io: Box<dyn Connection>,
    peer: SocketAddr,
    control: AbortHandle,
}

impl Stream {
    /// Wraps a connection of some world.
    pub fn new(io: Box<dyn Connection>, peer: SocketAddr, control: Rc<dyn ConnectionControl>) -> Self {
        Self { io, peer, control: AbortHandle(control) }
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// A handle that can reset this connection later.
    pub fn abort_handle(&self) -> AbortHandle {
        self.control.clone()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.peer)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
