//! Signals at every moment: before the daemon is ready, while it drains, while it closes, and one after another.
//!
//! What is checked is the exit status that a supervisor acts upon, what a client is told meanwhile, and that the next
//! life finds port and state free.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Daemon, Home, Minded, TOKEN, put_program};
use support::life::{Ending, GONE_WITHIN, SESSIONS, converses, gone, hears_goodbye, serves};
use support::provider::{Pace, Provider, reply_to};
use support::rude::{RudePeer, Rudeness};
use support::{run, soon};

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

/// A process that begins again a dozen times has no more open than it had at first.
#[test]
#[cfg(target_os = "linux")]
fn restarts_in_place_leave_nothing_open() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider).minded(Minded::ByNobody);
        let mut daemon = home.start().await;
        let open = |daemon: &Daemon| {
            fs::read_dir(format!("/proc/{}/fd", daemon.pid().as_raw_nonzero())).expect("it lives").count()
        };
        let mut at_first = None;
        for generation in 2..=12 {
            let silent = [Rudeness::SilentAfterConnect, Rudeness::HalfUpgrade, Rudeness::IdleKeepAlive];
            let rude = silent.map(|rudeness| RudePeer::begin(rudeness, home.port(), &SESSIONS));
            let peers = join_all(rude).await;
            serves(&home, &daemon).await;
            daemon.signal(Signal::USR1);
            daemon.logged("gateway.ready", generation).await;
            for peer in peers {
                peer.end().await;
            }
            let open = open(&daemon);
            assert!(open <= *at_first.get_or_insert(open), "{open} are open, at first {at_first:?}");
        }
    });
}

/// A gateway that starts its own successor starts the program as it is by then, upgraded while it ran.
#[test]
fn a_detached_successor_is_the_program_as_it_is_now() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let mut home = Home::new(&provider).minded(Minded::ByNobody).profile("openclaw-2026.5.3-1");
        let program = home.install();
        let mut first = home.start().await;
        fs::remove_file(&program).expect("it was there");
        put_program(&program);
        first.signal(Signal::USR1);
        assert_eq!(first.ended().await, Some(0));
        let _stray = soon("the successor to hold the lock", successor(&home)).await;
        home.is_served().await;
        converses(Client::connect(home.port(), TOKEN).await, "who is there?").await;
    });
}

/// A process that is nobody's child. Ends with the test.
struct Stray(Pid);

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Whoever holds the lock of the state directory next.
async fn successor(home: &Home) -> Stray {
    loop {
        let lock = fs::read(home.state().join("gateway.lock")).unwrap_or_default();
        let payload: serde_json::Value = serde_json::from_slice(&lock).unwrap_or_default();
        let pid = payload["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            return Stray(pid);
        }
        sleep(Duration::from_millis(5)).await;
    }
}
