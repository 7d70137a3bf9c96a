//! Hooks of the daemon, as real programs: what they read, and that nothing they do keeps the daemon from its end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Home, Minded, TOKEN};
use support::provider::{Pace, Provider};
use support::{run, soon};

/// A command that keeps what it reads, as it arrives, in `file`.
fn keeps(file: &Path) -> Value {
    let script = format!("cat >>{0}.part && mv {0}.part {0}", file.display());
    json!(["/bin/sh", "-c", script])
}

/// What a hook has read.
async fn read(file: &Path) -> Value {
    let kept = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let text = fs::read_to_string(file).expect("it is there");
        fs::remove_file(file).expect("it is ours");
        serde_json::from_str(&text).expect("it is JSON")
    };
    soon("a hook to be run", kept).await
}

async fn asked(provider: &Provider, times: usize) {
    while provider.asked().len() < times {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn sessions(run_id: &str, became: &str) -> Value {
    json!([{"sessionKey": "main", "channel": "webchat", "runs": [{"runId": run_id, "became": became}]}])
}

#[test]
fn they_read_who_is_affected() {
    run(async {
        let provider = Provider::start(Pace::NEVER).await;
        let home = Home::new(&provider).minded(Minded::BySupervisor);
        let (before, after) = (home.room().join("before.json"), home.room().join("after.json"));
        let hooks = json!({"preStop": keeps(&before), "post-start": {"command": keeps(&after)}});
        let home = home.with_settings(json!({"drainBudgetMs": 200, "hooks": hooks}));

        let mut daemon = home.start().await;
        let first = read(&after).await;
        assert_eq!((&first["event"], &first["reason"]), (&json!("post-start"), &json!("start")));
        assert_eq!(first["sessions"], json!([]));
        let mut client = Client::connect(home.port(), TOKEN).await;
        client.send("main", "hello?", "k1").await;
        soon("the model to be asked", asked(&provider, 1)).await;
        daemon.signal(Signal::USR1);
        assert_eq!(daemon.ended().await, Some(75));
        let last = read(&before).await;
        assert_eq!((&last["event"], &last["reason"]), (&json!("pre-stop"), &json!("restart")));
        assert_eq!(last["sessions"], sessions("k1", "told"), "{last}");

        let mut daemon = home.start().await;
        assert_eq!(read(&after).await["sessions"], json!([]));
        let mut client = Client::connect(home.port(), TOKEN).await;
        client.send("main", "hello?", "k2").await;
        // Not before that is it on record that the run has begun.
        soon("the model to be asked", asked(&provider, 2)).await;
        daemon.signal(Signal::KILL);
        assert_eq!(daemon.ended().await, None);
        let _daemon = home.start().await;
        let crashed = read(&after).await;
        assert_eq!(crashed["reason"], "crash");
        assert_eq!(crashed["sessions"], sessions("k2", "told"), "{crashed}");
    });
}

#[test]
fn nothing_they_do_keeps_the_daemon_from_its_end() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let shell = |script: &str| json!(["/bin/sh", "-c", script]);
        let each = [
            (json!("/nowhere/to/be/found"), "it cannot be run"),
            (shell("echo no such user >&2; exit 3"), "exit status 3"),
            (shell("kill -9 $$"), "killed by SIGKILL"),
            (shell("while :; do echo much too much; done"), "hook.timed-out"),
            (shell("trap '' TERM INT; sleep 1000"), "hook.timed-out"),
        ];
        for (command, why) in each {
            let hook = json!({"command": command, "timeoutMs": 1_000});
            let hooks = json!({"preStop": hook, "postStart": hook});
            let home = Home::new(&provider).with_settings(json!({"hooks": hooks}));
            let mut daemon = home.start().await;
            // What is said of it follows its end.
            daemon.logged(why, 1).await;
            let asked = Instant::now();
            daemon.signal(Signal::TERM);
            assert_eq!(daemon.ended().await, Some(0), "{command}");
            assert!(asked.elapsed() < Duration::from_secs(5), "{command}: {:?}", asked.elapsed());
            assert_eq!(daemon.log().matches(why).count(), 2, "{command}");
        }
    });
}
