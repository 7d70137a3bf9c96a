//! No peer, however rude, holds up the end of the daemon or keeps its port: the simulator's promise, checked against
//! real sockets, signals and processes.
//!
//! Every test has a polite client beside the rude ones, which must notice nothing of them, and a successor on the same
//! port and state as soon as the daemon is gone.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::sleep;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::{Client, Heard};
use support::daemon::{Daemon, Home, Minded, TOKEN};
use support::provider::{Pace, Provider};
use support::rude::{End, RudePeer, Rudeness};
use support::{run, soon};

/// How long peers get for the closing handshake, and connections to end once they were reset; the same as in the
/// simulator (`model/lifecycle/shutdown.rs`).
const CLOSE_GRACE: Duration = Duration::from_secs(1);
const RESET_GRACE: Duration = Duration::from_millis(250);
/// What a busy test machine may add.
const MARGIN: Duration = Duration::from_millis(1_500);
/// From the signal until nobody listens any more. The listener closes first of all.
const PORT_FREE_WITHIN: Duration = RESET_GRACE.saturating_add(MARGIN);
/// From the signal until the process, or its generation, is gone.
const GONE_WITHIN: Duration = CLOSE_GRACE.saturating_add(RESET_GRACE).saturating_add(MARGIN);
/// The share of closing in the time of an end, `budgets::close`: what is cut off there was not bounded by its step.
const SHARE: Duration = Duration::from_secs(5);

const _: () = assert!(GONE_WITHIN.as_millis() + 2_000 < SHARE.as_millis(), "the bounds prove something");

/// The conversation that the polite client and those who never read have in common.
const SESSION: &str = "main";

/// How a daemon is asked to end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Stop(Signal),
    /// By its exit status.
    Restart,
    /// In the same process.
    RestartInPlace,
}

impl Ending {
    const ALL: [Self; 4] =
        [Self::Stop(Signal::TERM), Self::Stop(Signal::INT), Self::Restart, Self::RestartInPlace];

    fn signal(self) -> Signal {
        match self {
            Self::Stop(signal) => signal,
            Self::Restart | Self::RestartInPlace => Signal::USR1,
        }
    }

    fn minded(self) -> Minded {
        match self {
            Self::RestartInPlace => Minded::ByNobody,
            Self::Stop(_) | Self::Restart => Minded::BySupervisor,
        }
    }

    fn is_restart(self) -> bool {
        !matches!(self, Self::Stop(_))
    }
}

/// One test a kind, all four endings at the same time.
macro_rules! each_ends_in_time_beside {
    ($($name:ident: $rudeness:ident,)*) => {
        $(#[test]
        fn $name() {
            run(async {
                let endings = Ending::ALL.map(|ending| ends_in_time_beside(&[Rudeness::$rudeness; 2], ending));
                join_all(endings).await;
            });
        })*
    };
}

each_ends_in_time_beside! {
    a_peer_that_never_answers_the_close_frame: NeverCloses,
    a_peer_that_never_reads: NeverReads,
    a_peer_that_never_sends_connect: SilentAfterUpgrade,
    half_an_upgrade_request: HalfUpgrade,
    a_bare_connection: SilentAfterConnect,
    an_idle_connection_kept_alive: IdleKeepAlive,
    half_of_the_next_request: HalfOfTheNext,
    a_request_that_drips: SlowDripOfARequest,
    a_frame_that_drips: SlowDripOfAFrame,
    resets_in_the_middle: ResetsInTheMiddle,
    a_reset_for_an_answer_to_the_close_frame: ResetsAtTheEnd,
}

/// A whole life beside such peers: asked to end, the daemon does so in time, and is followed at once.
async fn ends_in_time_beside(rude: &[Rudeness], ending: Ending) {
    let provider = Provider::start(Pace::FAST).await;
    let home = Home::new(&provider).minded(ending.minded());
    let mut daemon = home.start().await;
    let polite = Client::connect(home.port(), TOKEN).await;
    let peers = join_all(rude.iter().map(|&rude| RudePeer::begin(rude, home.port(), SESSION))).await;
    let polite = converses(polite, "before the end").await;

    let asked = Instant::now();
    daemon.signal(ending.signal());
    let gone = gone(&home, &mut daemon, ending, asked);
    join(gone, hears_goodbye(polite, ending)).await;
    for peer in peers {
        let rudeness = peer.rudeness();
        let parting = peer.end().await;
        let is_client = matches!(rudeness, Rudeness::NeverCloses | Rudeness::SilentAfterUpgrade);
        assert!(parting.told || !is_client, "{rudeness:?} {ending:?}: {parting:?}");
        let by_peer = matches!(rudeness, Rudeness::ResetsInTheMiddle | Rudeness::ResetsAtTheEnd);
        assert!((parting.end == End::ByPeer) == by_peer, "{rudeness:?} {ending:?}: {parting:?}");
    }

    match ending {
        Ending::RestartInPlace => {
            daemon.ready().await;
            serves(&home, &daemon).await;
        }
        Ending::Stop(_) | Ending::Restart => serves(&home, &home.start().await).await,
    }
}

/// Waits until the daemon is gone, and checks how soon the port and then the process were.
async fn gone(home: &Home, daemon: &mut Daemon, ending: Ending, asked: Instant) {
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
async fn refused(port: u16) {
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// A message and its reply. Whatever was asked of the daemon before has been done by then.
async fn converses(mut client: Client, message: &str) -> Client {
    let run = client.send(SESSION, message, message).await;
    assert_eq!(client.reply(&run).await.state, "final");
    client
}

/// The client hears of the end, what to expect, and the close code.
async fn hears_goodbye(mut client: Client, ending: Ending) {
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
async fn serves(home: &Home, successor: &Daemon) {
    converses(Client::connect(home.port(), TOKEN).await, "after the end").await;
    assert!(!successor.log().contains("port.taken"), "the successor found the port taken");
}
