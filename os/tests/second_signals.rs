//! Second signals: who has lost patience is obeyed, and what overtakes does so until the very end.
//!
//! A stop asked for once more by SIGINT, and SIGQUIT at any time, force the exit with a status of its own. A stop
//! overtakes a restart even while connections are being closed.

use std::time::Instant;

use futures_util::future::join_all;
use rustix::process::Signal;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Home, Minded, TOKEN};
use support::life::{GONE_WITHIN, MARGIN, SESSIONS, serves};
use support::provider::{Pace, Provider};
use support::rude::{RudePeer, Rudeness};
use support::run;

/// The exit status of an end that was forced.
const FORCED: i32 = 70;

/// Nothing is waited for, neither the reply nor the connections; the message is the next life's to answer for.
#[test]
fn a_forced_exit_is_at_once() {
    run(async {
        let provider = Provider::start(Pace::NEVER).await;
        let ends = async |first: Option<Signal>, second: Signal| {
            let home = Home::new(&provider).minded(Minded::BySupervisor);
            let mut daemon = home.start().await;
            let _deaf = RudePeer::begin(Rudeness::NeverCloses, home.port(), &SESSIONS).await;
            let mut client = Client::connect(home.port(), TOKEN).await;
            client.send("forced", "will you ever answer?", "key").await;
            if let Some(first) = first {
                daemon.signal(first);
                daemon.logged("drain.started", 1).await;
            }
            let asked = Instant::now();
            daemon.signal(second);
            assert_eq!(daemon.ended().await, Some(FORCED), "{first:?}, {second:?}");
            assert!(asked.elapsed() <= MARGIN, "{first:?}, {second:?}: {:?}", asked.elapsed());

            let _successor = home.start().await;
            let mut client = Client::connect(home.port(), TOKEN).await;
            let history = client.history("forced").await;
            assert!(history.iter().any(|(role, _)| role == "notice" || role == "user"), "{history:?}");
        };
        let each = [
            (Some(Signal::TERM), Signal::INT),
            (Some(Signal::INT), Signal::INT),
            (None, Signal::QUIT),
            (Some(Signal::USR1), Signal::QUIT),
        ];
        join_all(each.map(|(first, second)| ends(first, second))).await;
    });
}

/// What a second signal does while connections are being closed, and with what status the process ends then.
#[test]
fn second_signals_while_it_closes() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let ends = async |(first, second, status)| {
            let home = Home::new(&provider).minded(Minded::BySupervisor);
            let mut daemon = home.start().await;
            let peer = RudePeer::begin(Rudeness::NeverCloses, home.port(), &SESSIONS).await;
            let asked = Instant::now();
            daemon.signal(first);
            daemon.logged("shutdown.started", 1).await;
            daemon.signal(second);
            assert_eq!(daemon.ended().await, Some(status), "{first:?}, {second:?}");
            assert!(asked.elapsed() <= GONE_WITHIN, "{first:?}, {second:?}: {:?}", asked.elapsed());
            peer.end().await;
            serves(&home, &home.start().await).await;
        };
        let table = [
            (Signal::TERM, Signal::TERM, 0),
            (Signal::TERM, Signal::INT, FORCED),
            (Signal::TERM, Signal::USR1, 0),
            (Signal::INT, Signal::INT, FORCED),
            (Signal::USR1, Signal::TERM, 0),
            (Signal::USR1, Signal::INT, 0),
            (Signal::USR1, Signal::USR1, 75),
        ];
        join_all(table.map(ends)).await;
    });
}
