//! Rude peers: plain TCP sockets that know the protocol and keep to it only as far as it serves them.
//!
//! Each is brought into its state before the test goes on, and tells in the end how the gateway got rid of it. Words
//! follow those of the simulator's scenarios. What a socket option can do is done by the socket; nothing here uses a
//! WebSocket library, which would be polite.

use std::cell::Cell;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::daemon::TOKEN;
use super::soon;

/// The pause between two bytes of what drips.
const DRIP: Duration = Duration::from_millis(20);
/// The pause between two attempts to connect.
const IMPATIENCE: Duration = Duration::from_millis(5);
/// A receive buffer that is full at once.
const TINY_BUFFER: u32 = 4096;
/// As on the worst of roads. The other side's send buffer is made to hold a number of segments, which on loopback are
/// megabytes otherwise.
const TINY_SEGMENT: u32 = 536;

const PROBE: &str = "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// The head of a masked text frame of a megabyte, whose mask is zero.
const HEAD_OF_A_LONG_FRAME: &[u8] = b"\x81\xff\0\0\0\0\0\x10\0\0\0\0\0\0";

/// The end of every close frame of a gateway that ends: its code and its reason.
const GOODBYE: &[u8] = b"\x03\xf4service restart";

/// What is rude about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rudeness {
    /// It is a client like any other, and never answers the close frame.
    NeverCloses,
    /// It follows a conversation and reads nothing; its window is a few kilobytes.
    NeverReads,
    /// It upgrades, and never sends its `connect`.
    SilentAfterUpgrade,
    /// It sends the first half of its upgrade request.
    HalfUpgrade,
    /// It connects, and that is all.
    SilentAfterConnect,
    /// It keeps its connection after the answer to its request.
    IdleKeepAlive,
    /// It keeps its connection, and sends the first half of another request.
    HalfOfTheNext,
    /// It sends its request a byte at a time, and has much to say.
    SlowDripOfARequest,
    /// It is a client, and sends a frame of a megabyte a byte at a time.
    SlowDripOfAFrame,
    /// It connects, sends half of something and resets the connection, over and over.
    ResetsInTheMiddle,
    /// It is a client, and answers the close frame by a reset.
    ResetsAtTheEnd,
}

impl Rudeness {
    pub const ALL: [Self; 11] = [
        Self::NeverCloses,
        Self::NeverReads,
        Self::SilentAfterUpgrade,
        Self::HalfUpgrade,
        Self::SilentAfterConnect,
        Self::IdleKeepAlive,
        Self::HalfOfTheNext,
        Self::SlowDripOfARequest,
        Self::SlowDripOfAFrame,
        Self::ResetsInTheMiddle,
        Self::ResetsAtTheEnd,
    ];
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The gateway closed it.
    Closed,
    /// The gateway reset it, or never accepted it.
    Reset,
    /// The peer itself reset it.
    ByPeer,
}

/// A peer at work.
pub struct RudePeer {
    rudeness: Rudeness,
    conduct: Conduct,
}

/// What a peer does until its end.
enum Conduct {
    /// Nothing, not even read.
    Idle(Wire),
    Busy(JoinHandle<Parting>),
}

/// What a peer has to say of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    pub end: End,
    /// Whether the gateway said goodbye: a close frame with its code and reason.
    pub told: bool,
}

impl RudePeer {
    /// Connects to the gateway on `port` and goes on until its rudeness has begun. One that never reads follows
    /// the conversations `sessions`.
    pub async fn begin(rudeness: Rudeness, port: u16, sessions: &[&str]) -> Self {
        let conduct = soon(&format!("{rudeness:?} to begin"), begin(rudeness, port, sessions)).await;
        Self { rudeness, conduct: conduct.expect("the gateway serves it so far") }
    }

    pub fn rudeness(&self) -> Rudeness {
        self.rudeness
    }

    /// Whether the gateway has bytes for it that do not leave, because there is no room for them. Of a system that does
    /// not show the queues of its sockets it is believed.
    pub fn window_is_full(&self) -> bool {
        let Conduct::Idle(Wire(socket)) = &self.conduct else { return false };
        let (ours, theirs) =
            (socket.local_addr().expect("bound").port(), socket.peer_addr().expect("connected").port());
        match fs::read_to_string("/proc/net/tcp") {
            Ok(table) => table.lines().skip(1).any(|line| {
                let fields: Vec<_> = line.split_ascii_whitespace().collect();
                fields[1].ends_with(&format!(":{theirs:04X}"))
                    && fields[2].ends_with(&format!(":{ours:04X}"))
                    && !fields[4].starts_with("00000000:")
            }),
            Err(_) => true,
        }
    }

    /// To be called when the gateway should be rid of it: waits for the end of its connection. One that opens others
    /// stops doing so.
    pub async fn end(self) -> Parting {
        let parting = async {
            match self.conduct {
                Conduct::Busy(task) if self.rudeness == Rudeness::ResetsInTheMiddle => {
                    task.abort();
                    Parting { end: End::ByPeer, told: false }
                }
                Conduct::Idle(wire) => wire.outlast().await,
                Conduct::Busy(task) => task.await.expect("it does not panic"),
            }
        };
        soon(&format!("the end of {:?}", self.rudeness), parting).await
    }
}

async fn begin(rudeness: Rudeness, port: u16, sessions: &[&str]) -> io::Result<Conduct> {
    let wire =
        Wire::connect(port, if rudeness == Rudeness::NeverReads { Room::Tiny } else { Room::Usual }).await?;
    let busy = match rudeness {
        Rudeness::SilentAfterConnect => return Ok(Conduct::Idle(wire)),
        Rudeness::HalfUpgrade => {
            wire.say(&UPGRADE.as_bytes()[..UPGRADE.len() / 2]).await?;
            return Ok(Conduct::Idle(wire));
        }
        Rudeness::IdleKeepAlive => {
            wire.probe().await?;
            return Ok(Conduct::Idle(wire));
        }
        Rudeness::HalfOfTheNext => {
            wire.probe().await?;
            wire.say(&PROBE.as_bytes()[..PROBE.len() / 2]).await?;
            return Ok(Conduct::Idle(wire));
        }
        Rudeness::NeverReads => {
            wire.identify().await?;
            for session in sessions {
                wire.request("chat.history", json!({"sessionKey": session})).await?;
                wire.hear(b"\"messages\"").await?;
            }
            return Ok(Conduct::Idle(wire));
        }
        Rudeness::SilentAfterUpgrade => {
            wire.upgrade().await?;
            spawn_local(async move { wire.outlast().await })
        }
        Rudeness::NeverCloses => {
            wire.identify().await?;
            spawn_local(async move { wire.outlast().await })
        }
        Rudeness::SlowDripOfARequest => {
            wire.say(b"GET / HTTP/1.1\r\nx-drip: ").await?;
            spawn_local(async move { wire.drip().await })
        }
        Rudeness::SlowDripOfAFrame => {
            wire.identify().await?;
            wire.say(HEAD_OF_A_LONG_FRAME).await?;
            spawn_local(async move { wire.drip().await })
        }
        Rudeness::ResetsInTheMiddle => spawn_local(wire.reset_again_and_again(port)),
        Rudeness::ResetsAtTheEnd => {
            wire.identify().await?;
            spawn_local(wire.reset_on_close())
        }
    };
    Ok(Conduct::Busy(busy))
}

/// Clients that connect again as soon as their connection has ended.
pub struct Storm {
    clients: usize,
    connected: Rc<Cell<usize>>,
}

impl Storm {
    pub fn begin(clients: usize, port: u16) -> Self {
        let connected = Rc::<Cell<usize>>::default();
        for _ in 0..clients {
            spawn_local(come_back(port, connected.clone()));
        }
        Self { clients, connected }
    }

    /// Resolves while all of them are welcome clients.
    pub async fn all_connected(&self) {
        while self.connected.get() < self.clients {
            sleep(DRIP).await;
        }
    }
}

async fn come_back(port: u16, connected: Rc<Cell<usize>>) {
    loop {
        if let Ok(wire) = Wire::connect(port, Room::Usual).await
            && wire.identify().await.is_ok()
        {
            connected.set(connected.get() + 1);
            // A client like others, but for the answer to the close frame.
            let _ = wire.hear(GOODBYE).await;
            connected.set(connected.get() - 1);
        }
        sleep(IMPATIENCE).await;
    }
}

/// How much a socket takes in before it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Usual,
    Tiny,
}

/// A socket, and the little of the protocol that rudeness needs.
struct Wire(TcpStream);

impl Wire {
    async fn connect(port: u16, room: Room) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if room == Room::Tiny {
            // Before the connection: both are agreed upon then.
            socket.set_recv_buffer_size(TINY_BUFFER)?;
            SockRef::from(&socket).set_tcp_mss(TINY_SEGMENT)?;
        }
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    async fn say(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.writable().await?;
            match self.0.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Some bytes; none at the end.
    async fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(buffer) {
                Ok(read) => return Ok(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until `words` have come.
    async fn hear(&self, words: &[u8]) -> io::Result<()> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while !heard.windows(words.len()).any(|part| part == words) {
            match self.read(&mut buffer).await? {
                [] => return Err(ErrorKind::UnexpectedEof.into()),
                bytes => heard.extend_from_slice(bytes),
            }
        }
        Ok(())
    }

    async fn probe(&self) -> io::Result<()> {
        self.say(PROBE.as_bytes()).await?;
        self.hear(b"\"live\"").await
    }

    async fn upgrade(&self) -> io::Result<()> {
        self.say(UPGRADE.as_bytes()).await?;
        self.hear(b"connect.challenge").await
    }

    async fn identify(&self) -> io::Result<()> {
        self.upgrade().await?;
        let params = json!({
            "minProtocol": 3,
            "maxProtocol": 3,
            "client": {"id": "rude", "version": "1", "platform": "test", "mode": "webchat"},
            "role": "operator",
            "scopes": ["operator.read", "operator.write"],
            "auth": {"token": TOKEN},
        });
        self.request("connect", params).await?;
        self.hear(b"hello-ok").await
    }

    async fn request(&self, method: &str, params: serde_json::Value) -> io::Result<()> {
        let text = json!({"type": "req", "id": "1", "method": method, "params": params}).to_string();
        self.say(&text_frame(&text)).await
    }

    /// Reads on to the end, and says nothing.
    async fn outlast(&self) -> Parting {
        let mut last = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            match self.read(&mut buffer).await {
                Ok([]) => break End::Closed,
                Ok(bytes) => {
                    last.extend_from_slice(bytes);
                    last.drain(..last.len().saturating_sub(GOODBYE.len()));
                }
                Err(_) => break End::Reset,
            }
        };
        Parting { end, told: last == GOODBYE }
    }

    /// Goes on with what it began, a byte at a time.
    async fn drip(&self) -> Parting {
        let dripping = async {
            while self.say(b"x").await.is_ok() {
                sleep(DRIP).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            parting = self.outlast() => parting,
            parting = dripping => parting,
        }
    }

    /// Waits for the close frame, and resets.
    async fn reset_on_close(self) -> Parting {
        match self.hear(GOODBYE).await {
            Ok(()) => {
                self.reset();
                Parting { end: End::ByPeer, told: true }
            }
            Err(_) => Parting { end: End::Reset, told: false },
        }
    }

    /// Resets this connection, and others that it opens for as long as the task lives.
    async fn reset_again_and_again(self, port: u16) -> Parting {
        let mut wire = Some(self);
        for turn in 0.. {
            // The gateway may be on its way out, or not yet back.
            if let Some(wire) = wire.take() {
                if turn % 2 == 0 && wire.identify().await.is_ok() {
                    let _ = wire.say(HEAD_OF_A_LONG_FRAME).await;
                } else {
                    let _ = wire.say(b"GET /hea").await;
                }
                wire.reset();
            }
            sleep(DRIP).await;
            wire = Self::connect(port, Room::Usual).await.ok();
        }
        unreachable!("there is always another turn")
    }

    /// Drops the connection without a word.
    fn reset(self) {
        // Fails only where there is nothing left to reset.
        let _ = self.0.set_zero_linger();
    }
}

/// A text frame of a client, under a mask of zeros.
fn text_frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
    [&[0x81, 0x80 | 126], &length[..], &[0; 4], text.as_bytes()].concat()
}
