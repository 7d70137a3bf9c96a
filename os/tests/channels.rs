//! Chat platforms and the daemon: real processes and sockets, and deaths at moments that matter.
//!
//! The simulator has platforms and gateways in every order of events; here is the proof that the clients of the platforms
//! are some on an operating system.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::daemon::{Home, Minded};
use support::platforms::{Kind, Platform};
use support::provider::{Pace, Provider, reply_to};
use support::run;

const BOTH: [Kind; 2] = [Kind::Telegram, Kind::Feishu];

/// A provider, a platform of this kind, and a place for daemons that have an account there.
async fn beside(kind: Kind, pace: Pace) -> (Provider, Platform, Home) {
    let provider = Provider::start(pace).await;
    let platform = Platform::start(kind).await;
    let home = Home::new(&provider).minded(Minded::BySupervisor).channels(platform.config());
    (provider, platform, home)
}

#[test]
fn a_conversation() {
    run(async {
        for kind in BOTH {
            let (_provider, platform, home) = beside(kind, Pace::FAST).await;
            let _daemon = home.start().await;
            for text in ["hello", "and again"] {
                platform.write(text);
            }
            let sent = platform.sent_so_many(2).await;
            assert_eq!(sent, [reply_to("hello"), reply_to("and again")], "{kind:?}");
            platform.all_confirmed().await;
        }
    });
}

#[test]
fn sigterm_during_a_reply_lets_it_finish_and_leaves_what_comes_to_the_next_life() {
    run(async {
        for kind in BOTH {
            let (provider, platform, home) = beside(kind, Pace::SLOW).await;
            let mut daemon = home.start().await;
            platform.write("are you still there?");
            while provider.asked().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
            daemon.signal(Signal::TERM);
            daemon.logged("drain.started", 1).await;
            while platform.listening() > 0 {
                sleep(Duration::from_millis(10)).await;
            }
            platform.write("and now?");
            assert_eq!(daemon.ended().await, Some(0));
            assert_eq!(platform.sent(), [reply_to("are you still there?")], "{kind:?}");
            assert_eq!((platform.listening(), provider.asked().len()), (0, 1));
            let _daemon = home.start().await;
            let sent = platform.sent_so_many(2).await;
            assert_eq!(sent[1], reply_to("and now?"), "{kind:?}");
            platform.all_confirmed().await;
        }
    });
}

#[test]
fn a_message_confirmed_before_sigkill_is_answered_for_by_the_next_life() {
    run(async {
        for kind in BOTH {
            let (provider, platform, home) = beside(kind, Pace::NEVER).await;
            let mut first = home.start().await;
            platform.write("remember me");
            platform.all_confirmed().await;
            first.signal(Signal::KILL);
            assert_eq!(first.ended().await, None);
            provider.set_pace(Pace::FAST);
            let _second = home.start().await;
            let sent = platform.sent_so_many(1).await;
            let is_notice = sent[0].starts_with("Your message \"remember me\" was not answered");
            assert!(is_notice || sent[0] == reply_to("remember me"), "{kind:?}: {sent:?}");
            sleep(Duration::from_secs(1)).await;
            assert_eq!(platform.sent().len(), 1, "{kind:?}");
        }
    });
}

#[test]
fn what_the_platform_gives_again_after_a_restart_is_known() {
    run(async {
        for kind in BOTH {
            let (provider, platform, home) = beside(kind, Pace::FAST).await;
            platform.set_deaf(true);
            let mut daemon = home.start().await;
            platform.write("hello");
            platform.sent_so_many(1).await;
            for signal in [Signal::KILL, Signal::TERM] {
                daemon.signal(signal);
                daemon.ended().await;
                daemon = home.start().await;
                platform.heard().await;
            }
            platform.set_deaf(false);
            platform.write("again");
            let sent = platform.sent_so_many(2).await;
            assert_eq!(sent, [reply_to("hello"), reply_to("again")], "{kind:?}");
            assert_eq!(provider.asked(), ["hello", "again"], "{kind:?}");
        }
    });
}

#[test]
fn a_stop_ends_what_runs() {
    run(async {
        for kind in BOTH {
            let (provider, platform, home) = beside(kind, Pace::NEVER).await;
            let mut daemon = home.start().await;
            platform.write("count to a million");
            while provider.asked().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
            platform.write("/stop");
            assert_eq!(platform.sent_so_many(1).await, ["Stopped: \"count to a million\""], "{kind:?}");
            platform.all_confirmed().await;
            daemon.signal(Signal::TERM);
            assert_eq!(daemon.ended().await, Some(0), "nothing is left to wait for");
        }
    });
}
