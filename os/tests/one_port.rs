//! One port, one gateway: who is healthy is left alone, who leaves is followed, and what others left behind is no
//! obstacle.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, join3};
use rustix::process::Signal;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Home, TOKEN};
use support::life::{MARGIN, SESSIONS, converses, serves};
use support::provider::{Pace, Provider};
use support::rude::{RudePeer, Rudeness};
use support::{run, soon};

/// Whether it would take the same state, the same port or both, a second instance ends with the status on which no
/// supervisor starts it again, and the first does not even notice.
#[test]
fn a_second_instance_leaves_a_healthy_one_alone() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut first = home.start().await;
        let client = converses(Client::connect(home.port(), TOKEN).await, "before").await;
        let state = fs::read_to_string(home.state().join("gateway.lock")).expect("it is locked");

        let neighbour = Home::new(&provider).on_port(home.port());
        let (mut same, mut same_state, mut same_port) =
            (home.launch(), home.launch_second(), neighbour.launch());
        let statuses = join3(same.ended(), same_state.ended(), same_port.ended()).await;
        assert_eq!(statuses, (Some(78), Some(78), Some(78)));

        assert!(first.lives());
        assert_eq!(fs::read_to_string(home.state().join("gateway.lock")).expect("it is locked"), state);
        assert!(!neighbour.state().join("gateway.lock").exists(), "it takes its own lock along");
        converses(client, "after").await;
    });
}

/// A port that somebody else has for a moment is waited for.
#[test]
fn a_port_taken_for_a_moment() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, home.port())).expect("the port is free");
        let mut daemon = home.launch();
        daemon.logged("port.taken", 1).await;
        drop(stranger);
        daemon.ready().await;
        converses(Client::connect(home.port(), TOKEN).await, "at last").await;
    });
}

/// What a killed gateway leaves behind, connections in every state and its lock, does not keep the next one waiting.
#[test]
fn a_killed_gateway_is_followed_at_once() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut first = home.start().await;
        let client = converses(Client::connect(home.port(), TOKEN).await, "before").await;
        let rude = Rudeness::ALL.map(|rudeness| RudePeer::begin(rudeness, home.port(), &SESSIONS));
        let peers = join_all(rude).await;
        first.signal(Signal::KILL);
        assert_eq!(first.ended().await, None);
        // The one who ends a connection first keeps its name for a minute, and that was the gateway.
        drop(client);
        if cfg!(target_os = "linux") {
            soon("a connection in TIME_WAIT", lingers(home.port())).await;
        }
        let asked = Instant::now();
        let second = home.start().await;
        assert!(asked.elapsed() <= Duration::from_secs(1) + MARGIN, "ready after {:?}", asked.elapsed());
        serves(&home, &second).await;
        drop(peers);
    });
}

/// Until a connection of `port` is in TIME_WAIT on the side of that port.
async fn lingers(port: u16) {
    const TIME_WAIT: &str = "06";
    let local = format!(":{port:04X}");
    loop {
        let table = fs::read_to_string("/proc/net/tcp").expect("the system shows its sockets");
        let found = table.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            fields[1].ends_with(&local) && fields[3] == TIME_WAIT
        });
        if found {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
