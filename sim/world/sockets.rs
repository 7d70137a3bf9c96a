//! The network door: listeners, connections and the abortive close, on the process's own socket kernel.
//!
//! A socket call acts on whichever kernel is current, so every call and every drop in this file first names its
//! own ([`Process::enter_kernel`]); nothing else touches the socket stack. Calls of a dead process never
//! return, except that dropping a socket closes it, which is the kernel's doing and not the program's.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use gateway::env::{ConnectionControl, Listener, LocalBoxFuture, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use turmoil_net::shim::tokio::net::{TcpListener, TcpStream};

use super::lines::Line;
use super::machine::{Machine, PortOwner};
use super::network::RECEIVE_BUFFER;
use super::process::Process;
use crate::timeline::Fact;

/// Linux sends a SYN again after one second, then after two more, four more and so on.
const FIRST_SYN_RETRY: Duration = Duration::from_secs(1);

impl Process {
    /// Makes this process's kernel the one that socket calls act on; false when the world is over. Who makes it
    /// send something says so with [`Network::touch`](super::network::Network::touch).
    fn enter_kernel(&self) -> bool {
        let is_open = self.world.network().is_open();
        if is_open {
            turmoil_net::set_current(self.host);
        }
        is_open
    }

    /// Listens on `port` of the process's machine, or on any free one if `port` is 0.
    pub(super) async fn listen(self: &Rc<Self>, port: u16) -> io::Result<Box<dyn Listener>> {
        if self.is_dead() || !self.enter_kernel() {
            return pending().await;
        }
        let machine = &self.machine;
        let port = match port {
            0 => machine.any_free_port().ok_or(io::ErrorKind::AddrInUse)?,
            port => port,
        };
        let machine_name = machine.name.clone();
        if machine.port_owner(port).is_some() {
            self.record(Fact::BindRefused { pid: self.pid, machine: machine_name, port });
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // The kernel's own port is another one each time: old connections of this process must not block it.
        let any = SocketAddr::new(self.world.network().address(self.slot), 0);
        let inner = TcpListener::bind(any).await?;
        let kernel = inner.local_addr()?;
        machine.bind_port(port, PortOwner { pid: self.pid, kernel, lingers: false });
        self.record(Fact::PortBound { pid: self.pid, machine: machine_name, port });
        Ok(Box::new(ListeningSocket { process: self.clone(), port, kernel, inner: Some(inner) }))
    }

    /// Connects to `port` of the machine called `host`, trying for as long as a kernel would.
    pub(super) async fn connect(self: &Rc<Self>, host: &str, port: u16) -> io::Result<Stream> {
        if self.is_dead() {
            return pending().await;
        }
        let target = self.target(host)?;
        let network = self.world.network();
        let deadline = Instant::now() + self.world.settings().connect_timeout;
        let mut retry_after = FIRST_SYN_RETRY.max(network.round_trip(self.machine.id, target.id) * 2);
        loop {
            let attempt_ends = deadline.min(Instant::now() + retry_after);
            let is_reachable = target.has_power() && !network.is_cut(self.machine.id, target.id);
            match target.port_owner(port).filter(|owner| !owner.lingers) {
                None if is_reachable => {
                    sleep(network.round_trip(self.machine.id, target.id)).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                Some(owner) if target.has_power() => {
                    let attempt = Handshake::new(self.clone(), owner.kernel);
                    if let Ok(outcome) = timeout_at(attempt_ends, attempt).await {
                        return outcome.and_then(|inner| self.stream(inner, &target, port));
                    }
                }
                _ => sleep_until(attempt_ends).await,
            }
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            retry_after *= 2;
        }
    }

    /// The machine that `host` names, seen from here.
    fn target(&self, host: &str) -> io::Result<Rc<Machine>> {
        if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            return Ok(self.machine.clone());
        }
        let named = self.world.machines().into_iter().find(|machine| {
            machine.name == host || host.parse().is_ok_and(|address: Ipv4Addr| address == machine.address())
        });
        match named {
            // As `getaddrinfo` says it when no name server answers.
            Some(machine) if machine.is_unknown() && machine.name == host => Err(io::Error::other(
                "failed to lookup address information: Temporary failure in name resolution",
            )),
            Some(machine) => Ok(machine),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("no machine is called {host}"))),
        }
    }

    /// Wraps a connected socket; the peer is shown as `port` of `peer`'s address.
    fn stream(self: &Rc<Self>, inner: TcpStream, peer: &Machine, port: u16) -> io::Result<Stream> {
        let (local, remote) = (inner.local_addr()?, inner.peer_addr()?);
        let line = self.world.network().mark_owned(local, remote);
        let wire = Rc::new(Wire { process: self.clone(), local, remote, line, ended: Cell::new(false) });
        let shown = if peer.id == self.machine.id { Ipv4Addr::LOCALHOST } else { peer.address() };
        let io = ConnectedSocket {
            inner: Some(inner),
            wire: wire.clone(),
            leftover: Bytes::new(),
            saw_end: false,
            waiting: None,
            trusts_line: false,
            is_drained: false,
        };
        Ok(Stream::new(Box::new(io), SocketAddr::new(IpAddr::V4(shown), port), wire))
    }
}

/// A socket that listens.
struct ListeningSocket {
    process: Rc<Process>,
    port: u16,
    kernel: SocketAddr,
    inner: Option<TcpListener>,
}

impl ListeningSocket {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let process = &self.process;
        let Some(inner) = self.inner.as_ref().filter(|_| !process.is_dead() && process.enter_kernel()) else {
            return Poll::Pending;
        };
        inner.poll_accept(cx).map(|accepted| {
            let (stream, peer) = accepted?;
            process.world.note_accepted_from(peer.ip());
            let machine = process.world.network().machine_at(peer.ip());
            let machine = machine.and_then(|id| process.world.machine_by_id(id));
            process.stream(stream, machine.as_deref().unwrap_or(&process.machine), peer.port())
        })
    }
}

impl Listener for ListeningSocket {
    fn accept(&mut self) -> LocalBoxFuture<'_, io::Result<Stream>> {
        Box::pin(poll_fn(|cx| self.poll_accept(cx)))
    }

    fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        let process = &self.process;
        close(process, self.inner.take());
        if process.machine.release_port(self.port, self.kernel) {
            let machine = process.machine.name.clone();
            process.record(Fact::PortReleased { pid: process.pid, machine, port: self.port });
        }
    }
}

/// A connect in progress; dropping it gives up the attempt.
struct Handshake {
    process: Rc<Process>,
    inner: Option<LocalBoxFuture<'static, io::Result<TcpStream>>>,
}

impl Handshake {
    fn new(process: Rc<Process>, to: SocketAddr) -> Self {
        Self { process, inner: Some(Box::pin(TcpStream::connect(to))) }
    }
}

impl Future for Handshake {
    type Output = io::Result<TcpStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.process.is_dead() || !self.process.enter_kernel() {
            return Poll::Pending;
        }
        self.process.world.network().touch();
        match self.inner.as_mut() {
            Some(inner) => inner.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        close(&self.process, self.inner.take());
    }
}

/// Drops a socket in its own kernel; after the end of the world there is none to drop it in.
fn close<T>(process: &Process, socket: Option<T>) {
    if process.enter_kernel() {
        process.world.network().touch();
        drop(socket);
    } else {
        std::mem::forget(socket);
    }
}

/// A connected socket, as bytes.
///
/// The kernel tells its peer of free space only when one read empties at least half of its buffer, so a read
/// always takes everything and keeps for later what the caller has no room for. Somebody who never reads thus
/// still blocks his peer, and somebody who reads little by little does not.
struct ConnectedSocket {
    inner: Option<TcpStream>,
    wire: Rc<Wire>,
    leftover: Bytes,
    saw_end: bool,
    /// Who is woken when something comes, after the kernel had nothing.
    waiting: Option<Waker>,
    /// The kernel had nothing once, so whatever it has now, its line has told of.
    trusts_line: bool,
    /// The last read took all that the kernel had.
    is_drained: bool,
}

impl ConnectedSocket {
    /// The socket, with its kernel current; `None` when calls must not do anything any more.
    fn enter(&mut self) -> Option<Pin<&mut TcpStream>> {
        let process = &self.wire.process;
        if process.is_dead() || !process.enter_kernel() {
            return None;
        }
        self.inner.as_mut().map(Pin::new)
    }

    /// Whether the kernel has nothing to read and it is known whom to wake. Many a task looks at its socket each time it
    /// is woken for something else, and once more after each read; asking the kernel was half of what reading cost.
    fn waits_already(&mut self, reader: &Waker) -> bool {
        // What a process sends to itself stays inside its kernel.
        let is_told = self.wire.local.ip() != self.wire.remote.ip();
        let line = &self.wire.line;
        if line.take_news() {
            (self.waiting, self.is_drained) = (None, false);
        }
        if !is_told || self.waiting.as_ref().is_some_and(|waiting| waiting.will_wake(reader)) {
            return is_told;
        }
        let has_nothing = self.trusts_line && self.is_drained && line.is_going_on();
        if has_nothing {
            line.wait_for_news(reader);
            self.waiting = Some(reader.clone());
        }
        has_nothing
    }

    /// Whether the peer sent something that was never read; an error when the connection is already over.
    fn has_unread(&self) -> io::Result<bool> {
        if !self.leftover.is_empty() {
            return Ok(true);
        }
        let Some(inner) = &self.inner else { return Ok(false) };
        let mut byte = [0];
        let peeked = inner.poll_peek(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte));
        match peeked {
            Poll::Ready(peeked) => peeked.map(|len| len > 0),
            Poll::Pending => Ok(false),
        }
    }
}

impl AsyncRead for ConnectedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.leftover.is_empty() {
            if this.waits_already(cx.waker()) {
                return Poll::Pending;
            }
            let network = this.wire.process.world.network().clone();
            let mut scratch = network.scratch.borrow_mut();
            let mut taken = ReadBuf::new(&mut scratch);
            let Some(inner) = this.enter() else { return Poll::Pending };
            match inner.poll_read(cx, &mut taken) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.waiting = Some(cx.waker().clone());
                    this.trusts_line = true;
                    return Poll::Pending;
                }
            }
            let taken = taken.filled();
            // Its buffer is no larger.
            this.is_drained = true;
            if taken.len() >= RECEIVE_BUFFER / 2 {
                // Now the kernel tells its peer that there is room again.
                network.touch();
            }
            let (now, later) = taken.split_at(taken.len().min(buf.remaining()));
            buf.put_slice(now);
            this.saw_end = taken.is_empty();
            if !later.is_empty() {
                this.leftover = Bytes::copy_from_slice(later);
            }
            return Poll::Ready(Ok(()));
        }
        if this.enter().is_none() {
            return Poll::Pending;
        }
        if this.wire.ended.get() {
            this.leftover.clear();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let len = this.leftover.len().min(buf.remaining());
        buf.put_slice(&this.leftover[..len]);
        this.leftover.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ConnectedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.process.world.network().touch();
        self.enter().map_or(Poll::Pending, |inner| inner.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.enter().map_or(Poll::Pending, |inner| inner.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.process.world.network().touch();
        self.enter().map_or(Poll::Pending, |inner| inner.poll_shutdown(cx))
    }
}

impl Drop for ConnectedSocket {
    fn drop(&mut self) {
        let wire = &self.wire;
        let process = &wire.process;
        let was_reset = wire.ended.replace(true);
        if !was_reset && process.enter_kernel() {
            let network = process.world.network();
            match self.has_unread() {
                // As Linux does: who closes without having read everything, resets.
                Ok(true) => network.reset(wire.local, wire.remote),
                Ok(false) if !self.saw_end => network.mark_orphan(wire.local, wire.remote),
                Ok(false) | Err(_) => {}
            }
        }
        close(process, self.inner.take());
    }
}

/// What stays reachable of a connection when its bytes are in other hands.
struct Wire {
    process: Rc<Process>,
    local: SocketAddr,
    remote: SocketAddr,
    line: Rc<Line>,
    /// Reset by this end, or closed.
    ended: Cell<bool>,
}

impl ConnectionControl for Wire {
    fn abort(&self) {
        if !self.process.is_dead() && !self.ended.replace(true) {
            self.process.world.network().reset(self.local, self.remote);
        }
    }

    fn broken(&self) -> LocalBoxFuture<'static, ()> {
        Box::pin(self.line.clone().broken())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.process.world.network().forget_line(self.local, self.remote, &self.line);
    }
}
