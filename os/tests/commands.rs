//! The door that runs commands, on real programs: fed, heard, killed with their group, and buried.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use gateway::env::{Command, CommandEnd, CommandOutput, Env, KEPT_OUTPUT, Pid};
use rustix::process::{Pid as OsPid, Signal, kill_process};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(15);

fn in_the_world<F: Future<Output = ()>>(test: impl FnOnce(Env) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let env = gateway_os::env(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let test = async { timeout(PATIENCE, test(env)).await.expect("in time") };
    runtime.block_on(LocalSet::new().run_until(test));
}

fn shell(script: &str) -> Command {
    Command { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()], ..Command::default() }
}

async fn run(env: &Env, command: Command) -> CommandOutput {
    env.process().run_command(command).await.expect("it can be run")
}

#[test]
fn it_is_fed_and_heard() {
    in_the_world(|env| async move {
        let command = Command {
            environment: vec![("COLOUR".into(), "green".into())],
            input: b"hello".to_vec(),
            ..shell("cat; echo \" $COLOUR\"; echo alas >&2; exit 3")
        };
        let output = run(&env, command).await;
        assert_eq!(output.end, CommandEnd::Exited(3));
        assert_eq!(output.stdout, b"hello green\n");
        assert_eq!(output.stderr, b"alas\n");
        assert!(!output.is_cut);
    });
}

#[test]
fn what_it_does_not_read_and_what_nobody_keeps_are_no_trouble() {
    in_the_world(|env| async move {
        let deaf = Command { input: vec![b'x'; 1 << 20], ..shell("exit 0") };
        assert_eq!(run(&env, deaf).await.end, CommandEnd::Exited(0));
        let flood = run(&env, shell("head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2")).await;
        assert_eq!(flood.end, CommandEnd::Exited(0));
        assert_eq!((flood.stdout.len(), flood.stderr.len()), (KEPT_OUTPUT, KEPT_OUTPUT));
        assert!(flood.is_cut);
    });
}

#[test]
fn how_it_ended_and_that_there_is_none_can_be_told() {
    in_the_world(|env| async move {
        assert_eq!(run(&env, shell("kill -TERM $$")).await.end, CommandEnd::Signalled(15));
        let missing = Command { program: "/nowhere/to/be/found".into(), ..Command::default() };
        let missing = env.process().run_command(missing).await.expect_err("there is none");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let directory = Command { program: "/".into(), ..Command::default() };
        let directory = env.process().run_command(directory).await.expect_err("it is no program");
        assert_eq!(directory.kind(), ErrorKind::PermissionDenied);
    });
}

/// The process ids that a script has written into a file, once there are so many.
async fn pids_in(file: &Path, count: usize) -> Vec<u32> {
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        let pids: Vec<_> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if pids.len() == count {
            return pids;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn let_go_of_it_is_killed_with_its_group_and_buried() {
    in_the_world(|env| async move {
        let room = tempfile::tempdir().expect("a temporary directory");
        let file = room.path().join("pids");
        let script = format!("echo $$ >{0}; sleep 1000 & echo $! >>{0}; trap '' TERM; wait", file.display());
        let running = env.process().run_command(shell(&script));
        let pids = tokio::select! {
            _ = running => panic!("it does not end by itself"),
            pids = pids_in(&file, 2) => pids,
        };
        for pid in &pids {
            while env.process().look_up(Pid(*pid)).is_some() {
                sleep(Duration::from_millis(10)).await;
            }
        }
        // The other is an orphan, and not ours to bury.
        while Path::new(&format!("/proc/{}", pids[0])).exists() {
            sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn what_it_leaves_behind_keeps_nobody_waiting() {
    in_the_world(|env| async move {
        let began = Instant::now();
        let output = run(&env, shell("sleep 1000 & echo $!")).await;
        assert_eq!(output.end, CommandEnd::Exited(0));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let left = String::from_utf8(output.stdout).expect("text").trim().parse().expect("a number");
        assert!(env.process().look_up(Pid(left)).is_some(), "it lives on");
        let left = OsPid::from_raw(left.cast_signed()).expect("a process id");
        kill_process(left, Signal::KILL).expect("it is ours");
    });
}
