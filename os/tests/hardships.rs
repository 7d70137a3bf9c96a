//! What a machine does to a daemon besides its peers: file descriptors run out, nobody takes its log.
//!
//! Peers and disks at their worst are the simulator's trade; these are the troubles that only a real system has.

use std::fs;
use std::io::{self, Read};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use rustix::io::ioctl_fionread;
use rustix::process::{Resource, Rlimit, Signal, prlimit};

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Daemon, Home, Minded, TOKEN};
use support::life::{Ending, SESSIONS, converses, gone, hears_goodbye, serves};
use support::provider::{Pace, Provider};
use support::rude::{RudePeer, Rudeness};
use support::run;
use tokio_tungstenite::tungstenite::Message;

/// More strangers than the daemon has file descriptors take none of those that its clients' work needs, keep it
/// neither busy nor from ending, and once they are gone others are let in.
#[test]
#[cfg(target_os = "linux")]
fn more_connections_than_file_descriptors() {
    const DESCRIPTORS: u64 = 64;
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider).minded(Minded::BySupervisor);
        let mut daemon = home.start().await;
        let client = Client::connect(home.port(), TOKEN).await;
        let few = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
        prlimit(Some(daemon.pid()), Resource::Nofile, few).expect("we may limit our child");

        let crowd = (0..2 * DESCRIPTORS)
            .map(|_| RudePeer::begin(Rudeness::SilentAfterConnect, home.port(), &SESSIONS));
        let crowd = join_all(crowd).await;
        let client = converses(client, "before they came").await;
        daemon.logged("net.accept-paused", 1).await;
        let client = converses(client, "while they are here").await;
        let (busy, watched) = (cpu_time(&daemon), Instant::now());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (busy, watched) = (cpu_time(&daemon) - busy, watched.elapsed());
        assert!(busy < watched / 4, "it used {busy:?} of {watched:?} for nothing");
        drop(crowd);
        converses(Client::connect(home.port(), TOKEN).await, "after they left").await;
        assert_eq!(daemon.log().matches("net.accept-paused").count(), 1, "it says so over and over");

        let crowd = (0..2 * DESCRIPTORS)
            .map(|_| RudePeer::begin(Rudeness::SilentAfterConnect, home.port(), &SESSIONS));
        let crowd = join_all(crowd).await;
        let asked = Instant::now();
        let ending = Ending::Stop(Signal::TERM);
        daemon.signal(ending.signal());
        gone(&home, &mut daemon, ending, asked).await;
        hears_goodbye(client, ending).await;
        for peer in crowd {
            peer.end().await;
        }
        serves(&home, &home.start().await).await;
    });
}

/// The processor time that a daemon has used so far.
#[cfg(target_os = "linux")]
fn cpu_time(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid().as_raw_nonzero())).expect("it lives");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a command").1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    // A hundred in a second, whatever the kernel counts with itself.
    Duration::from_millis(ticks * 10)
}

/// Its log goes into a pipe that nobody reads any more, or for now: that costs lines, and nothing else.
#[test]
fn a_log_that_nobody_takes() {
    run(async {
        let (reader, broken) = io::pipe().expect("a pipe");
        drop(reader);
        let (mut reader, full) = io::pipe().expect("a pipe");
        let unread = async {
            let daemon = TalkativeLife::begin(full).await;
            let taken = ioctl_fionread(&reader).expect("a pipe tells what is in it");
            assert!(taken >= 4096, "the pipe was not full: {taken}");
            daemon.end().await;
        };
        join(unread, async { TalkativeLife::begin(broken).await.end().await }).await;

        // All that fits into the pipe is there, and no line is in pieces.
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("it is text");
        assert!(log.lines().all(|line| line.starts_with("20")), "{log}");
        assert!(log.contains("gateway.ready") && !log.contains("gateway.exiting"), "{log}");
    });
}

/// Once somebody reads it again, the log goes on, and says how much is missing.
#[test]
fn a_log_that_is_read_again() {
    run(async {
        let (mut reader, full) = io::pipe().expect("a pipe");
        let daemon = TalkativeLife::begin(full).await;
        let (has_begun, begun) = mpsc::channel();
        let reading = thread::spawn(move || {
            let mut log = vec![0; 1 << 16];
            let taken = reader.read(&mut log)?;
            log.truncate(taken);
            has_begun.send(()).expect("somebody waits for it");
            reader.read_to_end(&mut log)?;
            Ok::<_, io::Error>(String::from_utf8(log).expect("it is text"))
        });
        // Who ends before there is room again has no line left in which to say so.
        begun.recv().expect("there was something to read");
        daemon.end().await;
        let log = reading.join().expect("it does not panic").expect("it can be read");
        let lost = log.split("log.lines-lost lines=").nth(1).expect("lines were lost");
        let lost: usize = lost.lines().next().expect("a number").parse().expect("a number");
        let refused = log.matches("peer.bad-frame").count();
        assert!(lost > 0 && refused < TalkativeLife::LINES, "{lost} lost, {refused} of its lines are there");
        assert!(log.contains("gateway.exiting"), "{log}");
    });
}

/// A life that has a lot to log.
struct TalkativeLife {
    daemon: Daemon,
    home: Home,
    client: Client,
    _provider: Provider,
}

impl TalkativeLife {
    /// More than a pipe holds, which is 64 KiB as a rule.
    const LINES: usize = 1_000;

    async fn begin(log: impl Into<Stdio>) -> Self {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider).minded(Minded::BySupervisor);
        let mut daemon = home.launch_logging_to(log.into());
        daemon.ready().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        for _ in 0..Self::LINES {
            client.say(Message::text("this is no frame")).await;
        }
        let client = converses(client, "nothing is wrong").await;
        Self { daemon, home, client, _provider: provider }
    }

    async fn end(self) {
        let Self { mut daemon, home, client, _provider } = self;
        let asked = Instant::now();
        let ending = Ending::Stop(Signal::TERM);
        daemon.signal(ending.signal());
        join(gone(&home, &mut daemon, ending, asked), hears_goodbye(client, ending)).await;
    }
}
