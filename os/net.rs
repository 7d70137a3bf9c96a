//! The network, by `tokio::net`.
//!
//! A connection is shared between the stream that the gateway reads and writes and the handle that can reset it.
//! Closing a socket whose linger time is zero is what makes every TCP stack send RST, so an abort takes the
//! socket away from the stream, wakes whoever waits on it, and closes it.
//!
//! Only so many connections are accepted at a time; others wait in the backlog until some have ended.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gateway::env::{ConnectionControl, Listener, Listening, LocalBoxFuture, Net, Stream};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::limits;

use crate::neighbours;

/// How long accepting pauses when the process has run out of file descriptors or memory for sockets.
const OUT_OF_RESOURCES_PAUSE: Duration = Duration::from_millis(100);
/// How often a listener that has as many connections as it may have asks for the limit again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How often a listener says that it does not accept, while that goes on.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long a connection may be silent before its other end is asked whether it is there; how often then, and how many
/// times in vain.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// The door to the network of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct OsNet {
    bind: IpAddr,
}

impl OsNet {
    /// A network whose listeners listen on the address `bind`.
    pub const fn new(bind: IpAddr) -> Self {
        Self { bind }
    }
}

impl Net for OsNet {
    fn listen(&self, port: u16) -> LocalBoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            // Sets SO_REUSEADDR, which on Unix lets a successor bind while old connections linger in TIME_WAIT
            // and still refuses a port that somebody listens on.
            let listener = TcpListener::bind((self.bind, port)).await?;
            let port = listener.local_addr()?.port();
            let listener = OsListener { listener, port, accepted: Rc::default(), said_paused: None };
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            // An IPv6 address taken from a URL still wears its brackets.
            let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
            let socket = TcpStream::connect((host, port)).await?;
            let peer = socket.peer_addr()?;
            Ok(stream(socket, peer, None))
        })
    }

    fn listeners(&self) -> Option<Vec<Listening>> {
        neighbours::listeners()
    }
}

struct OsListener {
    listener: TcpListener,
    port: u16,
    accepted: Rc<Accepted>,
    /// When it said last that it does not accept for now.
    said_paused: Option<Instant>,
}

/// The connections of a listener that are open.
#[derive(Default)]
struct Accepted {
    open: Cell<usize>,
    fewer: Notify,
}

/// A connection's place among those of its listener.
struct Place(Rc<Accepted>);

impl Accepted {
    fn enter(self: &Rc<Self>) -> Place {
        self.open.set(self.open.get() + 1);
        Place(self.clone())
    }

    /// Waits for a connection to end, or for the limit to be raised meanwhile.
    async fn room(&self) {
        let _ = timeout(FULL_PAUSE, self.fewer.notified()).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.fewer.notify_one();
    }
}

impl OsListener {
    /// Says that nothing is accepted for now, unless it was said only just.
    fn say_paused(&mut self, why: &dyn Display) {
        if self.said_paused.is_none_or(|said| said.elapsed() >= SAY_AGAIN_AFTER) {
            self.said_paused = Some(Instant::now());
            let open = self.accepted.open.get();
            tracing::warn!(name: "net.accept-paused", port = self.port, open, %why, "others have to wait");
        }
    }
}

impl Listener for OsListener {
    fn accept(&mut self) -> LocalBoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            loop {
                if self.accepted.open.get() >= limits::most_accepted() {
                    self.say_paused(&"as many are open as leave files for their work");
                    self.accepted.room().await;
                    continue;
                }
                match self.listener.accept().await {
                    Ok((socket, peer)) => {
                        return Ok(stream(socket, peer, Some(self.accepted.enter())));
                    }
                    Err(error) if concerns_one_connection(&error) => {}
                    Err(error) if is_out_of_resources(&error) => {
                        self.say_paused(&error);
                        sleep(OUT_OF_RESOURCES_PAUSE).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn port(&self) -> u16 {
        self.port
    }
}

/// Whether accepting failed only because that one peer was gone before its turn came.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Whether accepting will work again once other connections have ended. The peer waits in the backlog meanwhile.
fn is_out_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error
        .raw_os_error()
        .map(Errno::from_raw_os_error)
        .is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno))
}

fn stream(socket: TcpStream, peer: SocketAddr, place: Option<Place>) -> Stream {
    // Fails only when the connection has already ended, which the first read will tell.
    let _ = set_options(&socket);
    let shared = Rc::new(Shared {
        socket: RefCell::new(Some((socket, place))),
        reader: Cell::new(None),
        writer: Cell::new(None),
    });
    Stream::new(Box::new(OsConnection(shared.clone())), peer, shared)
}

/// No frame waits for the next one to fill a packet, and whoever vanished without a word is noticed, however long one
/// would be silent.
fn set_options(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    sockopt::set_socket_keepalive(socket, true)?;
    Ok(())
}

/// What the two owners of a connection share. `socket` is `None` from the abort on.
struct Shared {
    socket: RefCell<Option<(TcpStream, Option<Place>)>>,
    /// Who waits for bytes, and who for room. The socket forgets its waiters when it is closed from elsewhere,
    /// so they are kept here.
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl Shared {
    /// Lets `attempt` use the socket; remembers in `waiter` whom to wake if it has to wait.
    fn poll<T>(
        &self,
        waiter: &Cell<Option<Waker>>,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut socket = self.socket.borrow_mut();
        let Some((socket, _)) = socket.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let outcome = attempt(Pin::new(socket), cx);
        waiter.set(outcome.is_pending().then(|| cx.waker().clone()));
        outcome
    }
}

impl ConnectionControl for Shared {
    fn abort(&self) {
        let Some((socket, place)) = self.socket.take() else { return };
        // Fails only when the connection has already ended; there is nothing left to reset then.
        let _ = socket.set_zero_linger();
        drop((socket, place));
        for waiter in [&self.reader, &self.writer] {
            if let Some(waker) = waiter.take() {
                waker.wake();
            }
        }
    }
}

/// The stream's side of a connection. Dropping it closes the socket, whoever still holds an abort handle.
struct OsConnection(Rc<Shared>);

impl Drop for OsConnection {
    fn drop(&mut self) {
        drop(self.0.socket.take());
    }
}

impl AsyncRead for OsConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll(&self.0.reader, cx, |socket, cx| socket.poll_read(cx, buf))
    }
}

impl AsyncWrite for OsConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(&self.0.writer, cx, |socket, cx| socket.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(&self.0.writer, cx, |socket, cx| socket.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(&self.0.writer, cx, |socket, cx| socket.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_kinds_of_connections_get_their_options() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let opened = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        let (accepted, _) = listener.accept().await.expect("a connection");
        for socket in [opened, accepted] {
            set_options(&socket).expect("it is connected");
            assert!(socket.nodelay().expect("can be asked"));
            assert!(sockopt::socket_keepalive(&socket).expect("can be asked"));
            assert_eq!(sockopt::tcp_keepidle(&socket).expect("can be asked"), KEEPALIVE_IDLE);
        }
    }
}
