//! Two daemons and one port: who gives way, who stands by.
//!
//! The simulator has every supervisor and every moment; here is the proof that a real start reads its environment,
//! looks at a real port, and keeps out of a real gateway's way.

use rustix::process::Signal;

#[allow(unreachable_pub, dead_code, reason = "shared among the test binaries, and none uses all of it")]
mod support;

use support::daemon::Home;
use support::provider::{Pace, Provider};
use support::{run, soon};

#[test]
fn a_second_start_gives_way_under_systemd() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut first = home.start().await;
        let mut second = home.launch_minded(&[("INVOCATION_ID", "0f6a2d3b")]);
        assert_eq!(second.ended().await, Some(78), "{}", second.log());
        assert!(first.lives());
    });
}

#[test]
fn a_second_start_stands_by_under_a_supervisor_that_it_does_not_know() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut first = home.start().await;
        let mut second = home.launch_minded(&[("OPENCLAW_SERVICE_MARKER", "openclaw")]);
        let standing_by = async {
            while !second.log().contains("start.standing-by") {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        soon("the second to stand by", standing_by).await;
        assert!(first.lives() && second.lives());
        first.signal(Signal::TERM);
        assert_eq!(first.ended().await, Some(0));
        second.ready().await;
        assert!(second.log().contains("start.taking-over"), "{}", second.log());
        second.signal(Signal::TERM);
        assert_eq!(second.ended().await, Some(0));
    });
}
