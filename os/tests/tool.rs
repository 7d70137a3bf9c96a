//! The command-line tool from outside, beside a daemon that serves.
//!
//! The simulator checks the two writers in every order of events; here is the proof that the tool is one on an
//! operating system.

use std::process::Output;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Home, TOKEN};
use support::provider::{Pace, Provider, reply_to};
use support::run;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn sessions_are_listed_and_labelled_while_a_daemon_serves() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let first = client.send("main", "hello", "key-1").await;
        client.reply(&first).await;

        let labelled = home.sessions(&["label", "main", "to be paid"]).await;
        assert_eq!(labelled.status.code(), Some(0), "{labelled:?}");
        assert_eq!(said(&labelled), "main is labelled \"to be paid\"\n");

        // A new session makes the daemon write the store, and the label is still there.
        let second = client.send("other", "hello again", "key-2").await;
        assert_eq!(client.reply(&second).await.text, reply_to("hello again"));
        let listed = home.sessions(&["list"]).await;
        assert_eq!(listed.status.code(), Some(0), "{listed:?}");
        let lines: Vec<_> = said(&listed).lines().map(str::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("main  2") && lines[0].ends_with("  \"to be paid\""), "{lines:?}");
        assert!(lines[1].starts_with("other  2"), "{lines:?}");
        assert!(daemon.lives());
    });
}

#[test]
fn what_cannot_be_done_is_said_on_standard_error() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let unknown = home.sessions(&["label", "nobody", "x"]).await;
        assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
        assert!(
            String::from_utf8_lossy(&unknown.stderr).contains("there is no session \"nobody\""),
            "{unknown:?}"
        );
        assert_eq!(said(&unknown), "");
        let profile = home.sessions(&["list", "--profile", "hardend"]).await;
        assert_eq!(profile.status.code(), Some(78), "{profile:?}");
        for wrong in [&[][..], &["label", "main"], &["list", "--bind", "127.0.0.1"]] {
            assert_eq!(home.sessions(wrong).await.status.code(), Some(2), "{wrong:?}");
        }
    });
}
