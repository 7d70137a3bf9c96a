//! How a life ends and is followed: the ways to ask for it, the bounds that it keeps, and what a polite client sees.
//!
//! The bounds are the simulator's, plus what a busy test machine may add. They are stated here and nowhere else.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::client::{Client, Heard};
use super::daemon::{Daemon, Home, Minded, TOKEN};
use super::soon;

/// How long peers get for the closing handshake, and connections to end once they were reset; the same as in the
/// simulator (`model/lifecycle/shutdown.rs`).
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);
pub const RESET_GRACE: Duration = Duration::from_millis(250);
/// What a busy test machine may add.
pub const MARGIN: Duration = Duration::from_millis(1_500);
/// From the signal until nobody listens any more. The listener closes first of all.
pub const PORT_FREE_WITHIN: Duration = RESET_GRACE.saturating_add(MARGIN);
/// From the signal until the process, or its generation, is gone.
pub const GONE_WITHIN: Duration = CLOSE_GRACE.saturating_add(RESET_GRACE).saturating_add(MARGIN);
/// The share of closing in the time of an end, `budgets::close`: what is cut off there was not bounded by its step.
pub const SHARE: Duration = Duration::from_secs(5);

const _: () = assert!(GONE_WITHIN.as_millis() + 2_000 < SHARE.as_millis(), "the bounds prove something");

/// The conversations of the polite client, which those who never read follow too.
pub const SESSIONS: [&str; 16] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

/// How a daemon is asked to end.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    Stop(Signal),
    /// By its exit status.
    Restart,
    /// In the same process.
    RestartInPlace,
}

impl Ending {
    pub const ALL: [Self; 4] =
        [Self::Stop(Signal::TERM), Self::Stop(Signal::INT), Self::Restart, Self::RestartInPlace];

    pub fn signal(self) -> Signal {
        match self {
            Self::Stop(signal) => signal,
            Self::Restart | Self::RestartInPlace => Signal::USR1,
        }
    }

    pub fn minded(self) -> Minded {
        match self {
            Self::RestartInPlace => Minded::ByNobody,
            Self::Stop(_) | Self::Restart => Minded::BySupervisor,
        }
    }

    pub fn is_restart(self) -> bool {
        !matches!(self, Self::Stop(_))
    }
}

/// Waits until the daemon is gone, and checks how soon the port and then the process were.
pub async fn gone(home: &Home, daemon: &mut Daemon, ending: Ending, asked: Instant) {
    if matches!(ending, Ending::RestartInPlace) {
        daemon.logged("gateway.ready", 2).await;
        assert!(asked.elapsed() <= GONE_WITHIN, "{ending:?}: ready again after {:?}", asked.elapsed());
        return;
    }
    let (refused_after, (status, gone_after)) = join(
        async {
            soon("the port to be free", refused(home.port())).await;
            asked.elapsed()
        },
        async { (daemon.ended().await, asked.elapsed()) },
    )
    .await;
    assert_eq!(status, Some(if ending.is_restart() { 75 } else { 0 }), "{ending:?}");
    assert!(refused_after <= PORT_FREE_WITHIN, "{ending:?}: the port was free after {refused_after:?}");
    assert!(gone_after <= GONE_WITHIN, "{ending:?}: the process was gone after {gone_after:?}");
}

/// Until a connection to `port` is refused.
pub async fn refused(port: u16) {
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// A message and its reply. Whatever was asked of the daemon before has been done by then.
pub async fn converses(mut client: Client, message: &str) -> Client {
    static MESSAGES: AtomicU64 = AtomicU64::new(0);
    let key = format!("message-{}", MESSAGES.fetch_add(1, Ordering::Relaxed));
    let run = client.send(SESSIONS[0], message, &key).await;
    assert_eq!(client.reply(&run).await.state, "final");
    client
}

/// The client hears of the end, what to expect, and the close code.
pub async fn hears_goodbye(mut client: Client, ending: Ending) {
    let mut expected = None;
    loop {
        match client.hear().await {
            Heard::Frame(frame) if frame["event"] == "shutdown" => {
                expected = Some(frame["payload"]["restartExpectedMs"].is_number());
            }
            Heard::Frame(_) => {}
            Heard::Closed(code) => {
                assert_eq!((code, expected), (Some(1012), Some(ending.is_restart())), "{ending:?}");
                return;
            }
        }
    }
}

/// The successor serves, and found the port free at its first attempt.
pub async fn serves(home: &Home, successor: &Daemon) {
    converses(Client::connect(home.port(), TOKEN).await, "after the end").await;
    assert!(!successor.log().contains("port.taken"), "the successor found the port taken");
}
