//! No peer, however rude, holds up the end of the daemon or keeps its port: the simulator's promise, checked against
//! real sockets, signals and processes.
//!
//! Every test has a polite client beside the rude ones, which must notice nothing of them, and a successor on the same
//! port and state as soon as the daemon is gone.

use std::time::Instant;

use futures_util::future::{join, join_all};
use rustix::process::Signal;
use tokio::time::sleep;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Daemon, Home, TOKEN, is_free};
use support::life::{Ending, GONE_WITHIN, SESSIONS, converses, gone, hears_goodbye, serves};
use support::provider::{Pace, Provider};
use support::rude::{End, RudePeer, Rudeness, Storm};
use support::{run, soon};

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
    let life = Life::beside(rude, ending).await;
    life.ends_in_time().await;
}

/// Two of it are about as much as a model may answer.
const LONG_WORD: usize = 200_000;

/// A daemon that serves a polite client and rude peers.
struct Life {
    // First, so that its log can be shown before its home is gone.
    daemon: Daemon,
    home: Home,
    ending: Ending,
    polite: Client,
    peers: Vec<RudePeer>,
    _provider: Provider,
}

impl Life {
    /// Begins one that will be asked to end in the given way.
    async fn beside(rude: &[Rudeness], ending: Ending) -> Self {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider).minded(ending.minded());
        let daemon = home.start().await;
        let polite = Client::connect(home.port(), TOKEN).await;
        let peers = join_all(rude.iter().map(|&rude| RudePeer::begin(rude, home.port(), &SESSIONS))).await;
        let polite = converses(polite, "before the end").await;
        Self { daemon, home, ending, polite, peers, _provider: provider }
    }

    async fn ends_in_time(self) {
        let Self { ending, home, mut daemon, polite, peers, _provider } = self;
        let asked = Instant::now();
        daemon.signal(ending.signal());
        join(gone(&home, &mut daemon, ending, asked), hears_goodbye(polite, ending)).await;
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

    /// Replies go to everybody who follows the conversations, until each has been sent so many bytes or a few more.
    async fn streams(&mut self, bytes: usize) {
        let word = "x".repeat(LONG_WORD.min(bytes / 8));
        let message = format!("{word} {word}");
        let mut sent = 0;
        // One conversation after the other, since each is told to the model from its beginning.
        for (number, session) in SESSIONS.into_iter().cycle().enumerate() {
            if sent >= bytes {
                return;
            }
            let run = self.polite.send(session, &message, &format!("stream-{number}")).await;
            let reply = self.polite.reply(&run).await;
            assert_eq!(reply.state, "final");
            sent += reply.heard;
        }
    }
}

#[test]
fn hundreds_of_every_kind_at_once() {
    run(async {
        let crowd: Vec<_> = Rudeness::ALL.into_iter().cycle().take(300).collect();
        for ending in [Ending::Restart, Ending::RestartInPlace] {
            ends_in_time_beside(&crowd, ending).await;
        }
    });
}

#[test]
fn a_peer_whose_window_is_full() {
    run(async {
        let ends_in_time = async |ending| {
            let mut life = Life::beside(&[Rudeness::NeverReads; 2], ending).await;
            // More than sockets hold, and less than the gateway keeps for a peer.
            life.streams(1 << 20).await;
            for peer in &life.peers {
                assert!(peer.window_is_full(), "{ending:?}");
            }
            life.ends_in_time().await;
        };
        join_all(Ending::ALL.map(ends_in_time)).await;
    });
}

/// The gateway keeps so much for a peer and no more.
#[test]
fn a_peer_that_never_reads_is_cut_off() {
    run(async {
        let mut life = Life::beside(&[Rudeness::NeverReads; 2], Ending::Stop(Signal::TERM)).await;
        life.streams(5 << 20).await;
        for peer in life.peers.drain(..) {
            peer.end().await;
        }
        assert!(life.daemon.lives());
        life.ends_in_time().await;
    });
}

/// Clients that come back at once, whatever happens, find the gateway again and do not hold up its end.
#[test]
fn a_reconnect_storm() {
    run(async {
        let weathers = async |ending| {
            let mut life = Life::beside(&[Rudeness::NeverCloses], ending).await;
            let storm = Storm::begin(100, life.home.port());
            soon("all to be connected", storm.all_connected()).await;
            let asked = Instant::now();
            life.daemon.signal(ending.signal());
            join(gone(&life.home, &mut life.daemon, ending, asked), hears_goodbye(life.polite, ending)).await;
            let successor = match ending {
                Ending::RestartInPlace => life.daemon,
                Ending::Stop(_) | Ending::Restart => life.home.start().await,
            };
            soon("all to be connected again", storm.all_connected()).await;
            serves(&life.home, &successor).await;
        };
        join_all([Ending::Restart, Ending::RestartInPlace].map(weathers)).await;
    });
}

/// The tests above lean on the rudeness of these peers; this one checks it on a gateway that waits for them.
#[test]
fn what_waits_for_such_peers_is_held_up() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let is_held_up = async |rudeness| {
            let home = Home::new(&provider).profile("planted:close-waits-for-peers");
            let mut daemon = home.start().await;
            let _peer = RudePeer::begin(rudeness, home.port(), &SESSIONS).await;
            daemon.signal(Signal::TERM);
            sleep(GONE_WITHIN).await;
            assert!(daemon.lives() && !is_free(home.port()), "{rudeness:?}");
        };
        // The clients. Whoever is no client yet was not waited for.
        let clients = [Rudeness::NeverCloses, Rudeness::NeverReads, Rudeness::SlowDripOfAFrame];
        join_all(clients.map(is_held_up)).await;
    });
}
