//! Signals at every moment: before the daemon is ready, while it drains, while it closes, and one after another.
//!
//! What is checked is the exit status that a supervisor acts upon, what a client is told meanwhile, and that the next
//! life finds port and state free.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use rustix::process::Signal;
use tokio::time::sleep;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Home, Minded, TOKEN};
use support::life::{Ending, GONE_WITHIN, SESSIONS, gone, hears_goodbye, serves};
use support::provider::{Pace, Provider, reply_to};
use support::rude::{RudePeer, Rudeness};
use support::run;

/// A stop during the drain of a restart makes it a stop, whoever would start the successor; the reply is finished.
#[test]
fn a_stop_overtakes_a_restart_that_drains() {
    run(async {
        let provider = Provider::start(Pace::SLOW).await;
        let overtakes = async |(minded, stop): (Minded, Signal)| {
            let home = Home::new(&provider).minded(minded);
            let mut daemon = home.start().await;
            let mut client = Client::connect(home.port(), TOKEN).await;
            let run = client.send(SESSIONS[0], "stop or restart?", "key").await;
            client.delta(&run).await;
            daemon.signal(Signal::USR1);
            daemon.logged("drain.started", 1).await;
            daemon.signal(stop);
            let reply = client.reply(&run).await;
            assert_eq!((reply.state.as_str(), reply.text), ("final", reply_to("stop or restart?")));
            let asked = Instant::now();
            let ending = Ending::Stop(stop);
            join(gone(&home, &mut daemon, ending, asked), hears_goodbye(client, ending)).await;
        };
        let each = [
            (Minded::BySupervisor, Signal::TERM),
            (Minded::BySupervisor, Signal::INT),
            (Minded::ByNobody, Signal::TERM),
        ];
        join_all(each.map(overtakes)).await;
    });
}

/// A restart during the drain of a stop changes nothing: who was told to stay down stays down.
#[test]
fn a_restart_does_not_overtake_a_stop() {
    run(async {
        let provider = Provider::start(Pace::SLOW).await;
        let home = Home::new(&provider).minded(Minded::BySupervisor);
        let mut daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let run = client.send(SESSIONS[0], "down or up?", "key").await;
        client.delta(&run).await;
        daemon.signal(Signal::TERM);
        daemon.logged("drain.started", 1).await;
        daemon.signal(Signal::USR1);
        assert_eq!(client.reply(&run).await.state, "final");
        let asked = Instant::now();
        let ending = Ending::Stop(Signal::TERM);
        join(gone(&home, &mut daemon, ending, asked), hears_goodbye(client, ending)).await;
    });
}

/// Restarts asked for while one drains are that one.
#[test]
fn restarts_merge() {
    run(async {
        let provider = Provider::start(Pace::SLOW).await;
        let home = Home::new(&provider).minded(Minded::ByNobody);
        let mut daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let run = client.send(SESSIONS[0], "once or twice?", "key").await;
        client.delta(&run).await;
        for number in 1..=3 {
            daemon.signal(Signal::USR1);
            daemon.logged("signal=SIGUSR1", number).await;
        }
        assert_eq!(client.reply(&run).await.state, "final");
        assert_eq!(client.closed().await, Some(1012));
        daemon.logged("gateway.ready", 2).await;
        serves(&home, &daemon).await;
        assert_eq!(daemon.log().matches("gateway.ready").count(), 2, "one restart");
    });
}

/// Whatever comes while connections are being closed, the bounds hold.
#[test]
fn signals_while_it_closes_do_not_prolong_the_end() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let ends = async |(first, second)| {
            let home = Home::new(&provider).minded(Minded::BySupervisor);
            let mut daemon = home.start().await;
            let peer = RudePeer::begin(Rudeness::NeverCloses, home.port(), &SESSIONS).await;
            let asked = Instant::now();
            daemon.signal(first);
            daemon.logged("shutdown.started", 1).await;
            daemon.signal(second);
            let status = daemon.ended().await;
            let took = asked.elapsed();
            assert!(took <= GONE_WITHIN, "{first:?}, {second:?}: {took:?}");
            assert!(status.is_some(), "{first:?}, {second:?}: killed");
            peer.end().await;
            serves(&home, &home.start().await).await;
        };
        let all = [Signal::TERM, Signal::INT, Signal::USR1];
        let pairs: Vec<_> = all.iter().flat_map(|&first| all.map(|second| (first, second))).collect();
        join_all(pairs.into_iter().map(ends)).await;
    });
}

/// Until the handlers stand a signal kills, by its default; from then on the status is the documented one. Nothing in
/// between, and nothing that the next start would stumble over.
#[test]
fn a_signal_at_any_moment_of_the_start() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let ends = async |(signal, status)| {
            let home = Home::new(&provider).minded(Minded::BySupervisor);
            for pause in [0, 1, 2, 4, 8, 16, 32] {
                let mut daemon = home.launch();
                sleep(Duration::from_millis(pause)).await;
                daemon.signal(signal);
                let ended = daemon.end().await;
                let by_default = ended.signal() == Some(signal.as_raw());
                assert!(by_default || ended.code() == Some(status), "{signal:?} after {pause} ms: {ended:?}");
            }
            serves(&home, &home.start().await).await;
        };
        join_all([(Signal::TERM, 0), (Signal::INT, 0), (Signal::USR1, 75)].map(ends)).await;
    });
}
