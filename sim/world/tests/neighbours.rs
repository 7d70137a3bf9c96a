//! What one process can learn of another, and do to it; and what a death leaves behind on a port.

use gateway::env::{EndSignal, ProcessId};

use super::*;

#[test]
fn the_process_table_says_who_somebody_is_and_only_that_one_is_ended() {
    in_world(async |world| {
        let server = start(&world, "box", echo_server(80));
        sleep(5 * SECOND).await;
        world.freeze(server).expect("it lives");
        let seen = ask(&world, "box", async move |env| {
            let process = env.process();
            let entry = process.look_up(server).expect("it lives");
            let listening = env.net().listeners().expect("it can be told");
            let another = ProcessId { start: gateway::env::StartTime(entry.id.start.0 + 1), ..entry.id };
            let missed = process.end_process(another, EndSignal::Kill).map_err(|error| error.kind());
            let struck = process.end_process(entry.id, EndSignal::Kill).map_err(|error| error.kind());
            (entry, listening, missed, struck, process.look_up(server))
        });
        let (entry, listening, missed, struck, afterwards) = seen.await.expect("an answer");
        assert!(entry.is_stopped && entry.running_for == 5 * SECOND, "{entry:?}");
        assert_eq!(entry.parent, None);
        assert!(listening.iter().any(|one| one.pid == server && one.address.port() == 80), "{listening:?}");
        assert_eq!((missed, struck, afterwards), (Err(ErrorKind::NotFound), Ok(()), None));
        let strikes = facts(&world, |fact| matches!(fact, Fact::ProcessStruck { .. }));
        assert_eq!(strikes.len(), 1, "{strikes:?}");
        assert_eq!(world.wait_exit(server).await.expect("known"), DeathCause::Killed);
    });
}

#[test]
fn where_ports_linger_that_of_the_killed_is_taken_for_a_while_and_leads_nowhere() {
    in_world(async |world| {
        world.linger_ports("box", 3 * SECOND).expect("there is a box");
        let server = start(&world, "box", echo_server(80));
        sleep(SECOND).await;
        world.kill(server).expect("it lives");
        let try_both = async || {
            ask(&world, "box", async |env| {
                let listened = env.net().listen(80).await.map(drop).map_err(|error| error.kind());
                let reached =
                    env.net().connect("localhost", 80).await.map(drop).map_err(|error| error.kind());
                (listened, reached)
            })
            .await
        };
        let refused = Err(ErrorKind::ConnectionRefused);
        assert_eq!(try_both().await, Some((Err(ErrorKind::AddrInUse), refused)));
        sleep(3 * SECOND).await;
        assert_eq!(try_both().await, Some((Ok(()), refused)));
        let released = facts(&world, |fact| matches!(fact, Fact::PortReleased { pid, .. } if *pid == server));
        assert_eq!(released.len(), 1);
    });
}
