//! `gateway restart` from outside, beside a daemon that serves: every flag, as somebody would type it.
//!
//! The simulator has the gateway restarted in every order of events; here is the proof that the command is one on an
//! operating system, down to its exit status.

use std::process::Output;

use serde_json::{Value, json};

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Home, Minded, TOKEN};
use support::provider::{Pace, Provider};
use support::run;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn flags_that_cannot_stand_together_are_refused_and_unknown_ones_too() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut daemon = home.start().await;
        for (flags, why) in [
            (
                &["--safe", "--force"][..],
                "--safe cannot be combined with --force; omit --safe to force restart now",
            ),
            (
                &["--safe", "--wait", "5s"],
                "--safe cannot be combined with --wait; safe restart uses gateway deferral",
            ),
            (&["--force", "--wait", "5s"], "--force cannot be combined with --wait"),
            (&["--safe", "--force", "--wait", "1"], "--safe cannot be combined with --force"),
            (&["--wait", "soon"], "invalid --wait \"soon\""),
        ] {
            let ended = home.command("restart", flags).await;
            assert_eq!(ended.status.code(), Some(1), "{ended:?}");
            assert!(complained(&ended).contains(why) && said(&ended).is_empty(), "{ended:?}");
            let with_json: Vec<_> = flags.iter().copied().chain(["--json"]).collect();
            let ended = home.command("restart", &with_json).await;
            let payload: Value = serde_json::from_str(&said(&ended)).expect("JSON");
            assert_eq!((ended.status.code(), &payload["ok"]), (Some(1), &json!(false)), "{ended:?}");
        }
        for wrong in [&["--now"][..], &["--wait"], &["--safe", "now"]] {
            assert_eq!(home.command("restart", wrong).await.status.code(), Some(2), "{wrong:?}");
        }
        assert!(daemon.lives());
    });
}

#[test]
fn every_flag_restarts_a_daemon_with_nothing_in_hand() {
    run(async {
        for (flags, what) in [
            (&[][..], "restart"),
            (&["--safe"], "safe restart"),
            (&["--force"], "forced restart"),
            (&["--wait", "10s"], "restart"),
            (&["--wait=0"], "restart"),
        ] {
            let provider = Provider::start(Pace::FAST).await;
            let home = Home::new(&provider).minded(Minded::BySupervisor);
            let mut daemon = home.start().await;
            let ended = home.command("restart", flags).await;
            assert_eq!(ended.status.code(), Some(0), "{ended:?}");
            assert_eq!(said(&ended), format!("{what} requested; gateway will restart momentarily\n"));
            assert_eq!(daemon.ended().await, Some(75), "{flags:?}");
        }
    });
}

#[test]
fn a_safe_restart_lets_a_reply_end_and_the_next_life_knows_of_it() {
    run(async {
        let provider = Provider::start(Pace::SLOW).await;
        let home = Home::new(&provider).minded(Minded::BySupervisor);
        let mut daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let run_id = client.send("main", "hello", "key-1").await;
        let ended = home.command("restart", &["--safe", "--json"]).await;
        let payload: Value = serde_json::from_str(&said(&ended)).expect("JSON");
        assert_eq!((&payload["ok"], &payload["result"]), (&json!(true), &json!("deferred")), "{payload}");
        assert_eq!(payload["preflight"]["safe"], false, "{payload}");
        let again = home.command("restart", &["--safe"]).await;
        assert!(said(&again).starts_with("safe restart request joined an existing pending"), "{again:?}");
        assert_eq!(client.reply(&run_id).await.state, "final");
        assert_eq!(daemon.ended().await, Some(75));
        let mut daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let status = client.request("gateway.restart.status", json!({})).await;
        let outcomes = &status["payload"]["outcomes"];
        assert_eq!(
            (&outcomes[0]["status"], &outcomes[1]["status"]),
            (&json!("done"), &json!("merged")),
            "{status}"
        );
        assert!(daemon.lives());
    });
}

#[test]
fn without_a_daemon_and_beside_an_old_one() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let nobody = home.command("restart", &[]).await;
        assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
        assert!(complained(&nobody).contains("cannot reach the gateway"), "{nobody:?}");
        let home = home.minded(Minded::BySupervisor).profile("openclaw-2026.5.3-1");
        let mut daemon = home.start().await;
        let refused = home.command("restart", &["--safe"]).await;
        assert!(complained(&refused).contains("restart it without --safe"), "{refused:?}");
        let ended = home.command("restart", &[]).await;
        assert!(said(&ended).starts_with("restart signal sent to gateway process"), "{ended:?}");
        assert_eq!(daemon.ended().await, Some(0), "its era's way to ask for a successor");
    });
}

#[test]
fn a_reason_and_a_preflight_and_what_a_second_restart_is_told() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider).minded(Minded::BySupervisor);
        let nobody = home.command("restart", &["--preflight"]).await;
        assert!(complained(&nobody).contains("is one running? Nobody holds the lock"), "{nobody:?}");
        let mut daemon = home.start().await;
        let preview = home.command("restart", &["--preflight"]).await;
        assert_eq!((said(&preview).as_str(), preview.status.code()), ("safe to restart now\n", Some(0)));
        let both = home.command("restart", &["--preflight", "--force"]).await;
        assert!(complained(&both).contains("--preflight cannot be combined with --force"), "{both:?}");
        let ended = home.command("restart", &["--reason", "upgrade", "--json"]).await;
        let payload: Value = serde_json::from_str(&said(&ended)).expect("JSON");
        assert_eq!(payload["restart"]["reason"], "upgrade", "{payload}");
        assert_eq!(daemon.ended().await, Some(75));
        let mut daemon = home.start().await;
        let again = home.command("restart", &[]).await;
        assert!(
            said(&again).contains("after a pause since its last restart; --force does not wait"),
            "{again:?}"
        );
        let forced = home.command("restart", &["--force"]).await;
        assert!(said(&forced).ends_with("gateway will restart momentarily\n"), "{forced:?}");
        assert_eq!(daemon.ended().await, Some(75));
    });
}
