//! The network door on `turmoil::net`.
//!
//! Turmoil has no abortive close; giving up the socket comes nearest, which resets when bytes are unread.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use gateway::env::{ConnectionControl, Listener, LocalBoxFuture, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Listens on `port` of the current host.
pub(super) async fn listen(port: u16) -> io::Result<Box<dyn Listener>> {
    let inner = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    Ok(Box::new(Listening { inner, port }))
}

/// Connects to `port` of the host called `host`.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<Stream> {
    let inner = TcpStream::connect((host, port)).await?;
    let peer = inner.peer_addr()?;
    Ok(stream(inner, peer))
}

fn stream(inner: TcpStream, peer: SocketAddr) -> Stream {
    let socket = Rc::new(Socket { inner: RefCell::new(Some(inner)), sleepers: RefCell::default() });
    Stream::new(Box::new(Handle(socket.clone())), peer, socket)
}

struct Listening {
    inner: TcpListener,
    port: u16,
}

impl Listener for Listening {
    fn accept(&mut self) -> LocalBoxFuture<'_, io::Result<Stream>> {
        Box::pin(async {
            let (inner, peer) = self.inner.accept().await?;
            Ok(stream(inner, peer))
        })
    }

    fn port(&self) -> u16 {
        self.port
    }
}

/// A connection that can be taken away from its owner.
struct Socket {
    /// `None` after an abort.
    inner: RefCell<Option<TcpStream>>,
    sleepers: RefCell<Sleepers>,
}

/// Who waits for the connection.
#[derive(Default)]
struct Sleepers {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl ConnectionControl for Socket {
    fn abort(&self) {
        drop(self.inner.take());
        let sleepers = self.sleepers.take();
        sleepers.reader.into_iter().chain(sleepers.writer).for_each(Waker::wake);
    }
}

impl Socket {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        sleeper: impl FnOnce(&mut Sleepers) -> &mut Option<Waker>,
        poll: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut inner = self.inner.borrow_mut();
        let Some(inner) = inner.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let polled = poll(Pin::new(inner), cx);
        if polled.is_pending() {
            *sleeper(&mut self.sleepers.borrow_mut()) = Some(cx.waker().clone());
        }
        polled
    }
}

/// The owner's end; dropping it closes the connection, whoever could still abort it.
struct Handle(Rc<Socket>);

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.0.inner.take());
    }
}

impl AsyncRead for Handle {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |sleepers| &mut sleepers.reader, |inner, cx| inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Handle {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, |sleepers| &mut sleepers.writer, |inner, cx| inner.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |sleepers| &mut sleepers.writer, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |sleepers| &mut sleepers.writer, |inner, cx| inner.poll_shutdown(cx))
    }
}
