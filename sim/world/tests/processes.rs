//! Processes: ports, signals, liveness, pids, the address pool, tasks, logs and clocks.

use std::collections::BTreeSet;

use gateway::env::Liveness;

use super::*;

#[test]
fn a_port_has_one_listener_at_a_time_and_is_free_when_it_is_dropped() {
    in_world(async |world| {
        let first = start(&world, "box", echo_server(80));
        sleep(SECOND).await;
        let second = start(&world, "box", echo_server(80));
        assert_eq!(world.wait_exit(second).await.expect("known"), DeathCause::Exited(ExitCode::CONFIG));
        assert_eq!(world.listening_on("box", 80), Some(first));

        let again = ask(&world, "box", async |env| {
            let first = env.net().listen(81).await.map_err(|error| error.kind());
            let while_held = env.net().listen(81).await.map(drop).map_err(|error| error.kind());
            drop(first);
            (
                while_held,
                env.net().listen(81).await.map(|listener| listener.port()).map_err(|error| error.kind()),
            )
        });
        assert_eq!(again.await, Some((Err(ErrorKind::AddrInUse), Ok(81))));
        let refused = facts(&world, |fact| matches!(fact, Fact::BindRefused { .. }));
        assert_eq!(refused.len(), 2);
    });
}

#[test]
fn a_process_may_listen_again_while_its_old_connections_live() {
    let listened = in_world(async |world| {
        ask(&world, "box", async |env| {
            let mut listener = env.net().listen(80).await.expect("free");
            let client = env.spawn("client", {
                let env = env.clone();
                async move { env.net().connect("localhost", 80).await }
            });
            let _held = (listener.accept().await.expect("a client"), client.await);
            drop(listener);
            env.net().listen(80).await.is_ok()
        })
        .await
    });
    assert_eq!(listened, Some(true));
}

#[test]
fn a_handled_signal_reaches_its_stream_and_another_one_kills() {
    in_world(async |world| {
        let pid = start(&world, "box", |env| {
            Box::pin(async move {
                let mut signals = env.process().handle_signals(&[Signal::User1]);
                signals.next().await;
                ExitCode::RESTART
            })
        });
        // Not even started: the handler is not installed yet.
        world.signal(pid, Signal::User1).expect("lives");
        assert_eq!(world.wait_exit(pid).await.expect("known"), DeathCause::Signal(Signal::User1));
        assert_eq!(world.signal(pid, Signal::User1).map_err(|error| error.kind()), Err(ErrorKind::NotFound));

        let handler = |env: Env| -> LocalBoxFuture<'static, ExitCode> {
            Box::pin(async move {
                env.process().handle_signals(&[Signal::User1]).next().await;
                ExitCode::RESTART
            })
        };
        let pid = start(&world, "box", handler);
        sleep(SECOND).await;
        world.signal(pid, Signal::User1).expect("lives");
        assert_eq!(world.wait_exit(pid).await.expect("known"), DeathCause::Exited(ExitCode::RESTART));
        let delivered = facts(&world, |fact| matches!(fact, Fact::SignalDelivered { handled: true, .. }));
        assert_eq!(delivered.len(), 1);
    });
}

#[test]
fn liveness_tells_a_process_from_its_successor_with_the_same_pid() {
    let settings = WorldSettings { pid_space: 2, ..WorldSettings::seeded(1) };
    World::run(settings, async |world| {
        world.add_machine("box").expect("new name");
        let identity = |env: &Env| (env.process().pid(), env.process().start_time());
        let (old, old_start) = ask(&world, "box", async move |env| identity(&env)).await.expect("finished");
        sleep(SECOND).await;
        ask(&world, "box", async |_| ()).await;
        let seen = ask(&world, "box", async move |env| {
            let process = env.process();
            assert_eq!(process.pid(), old, "the pid is used again");
            let own = process.liveness(old, process.start_time());
            (
                own,
                process.liveness(old, old_start),
                process.liveness(old, None),
                process.liveness(Pid(1), None),
            )
        });
        let expect = (Liveness::Alive, Liveness::Dead, Liveness::Unknown, Liveness::Dead);
        assert_eq!(seen.await, Some(expect));
    });
}

#[test]
fn addresses_are_used_again_over_fifty_generations() {
    let settings = WorldSettings { process_slots: 3, ..WorldSettings::seeded(2) };
    World::run(settings, async |world| {
        world.add_machine("box").expect("new name");
        world.add_machine("far").expect("new name");
        // A peer that holds on to every connection it ever had.
        let survivors = Rc::new(RefCell::new(Vec::new()));
        let held = survivors.clone();
        world
            .start_actor("far", "hoarder", move |env| {
                Box::pin(async move {
                    loop {
                        if let Ok(mut stream) = env.net().connect("box", 80).await
                            && stream.write_all(b"x").await.is_ok()
                            && stream.read_u8().await.is_ok()
                        {
                            held.borrow_mut().push(stream);
                        }
                        sleep(SECOND).await;
                    }
                })
            })
            .expect("room");
        for _ in 0..50 {
            let server = start(&world, "box", echo_server(80));
            sleep(5 * SECOND).await;
            assert_eq!(world.listening_on("box", 80), Some(server));
            world.kill(server).expect("lives");
        }
        assert!(survivors.borrow().len() >= 50, "every generation served");
        survivors.borrow_mut().clear();
        let pids: BTreeSet<_> = facts(&world, |fact| matches!(fact, Fact::ProcessStarted { .. }))
            .into_iter()
            .filter_map(|fact| if let Fact::ProcessStarted { pid, .. } = fact { Some(pid) } else { None })
            .collect();
        assert_eq!(pids.len(), 51);

        start(&world, "box", echo_server(80));
        start(&world, "box", echo_server(81));
        let full = world.start_process("box", "one too many", echo_server(82));
        assert_eq!(full.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    });
}

#[test]
fn tasks_end_early_when_asked_and_give_their_results() {
    let (result, aborted, names) = in_world(async |world| {
        let inner = world.clone();
        ask(&world, "box", async move |env| {
            let result = env.spawn("adder", async { 40 + 2 }).await;
            let endless = env.spawn("endless", std::future::pending::<()>());
            let names = inner.tasks_of(env.process().pid());
            endless.abort();
            (result, endless.await, names)
        })
        .await
        .expect("finished")
    });
    assert_eq!((result, aborted), (Some(42), None));
    assert_eq!(names, ["main", "endless"]);
}

#[test]
fn log_records_of_the_gateway_reach_the_timeline() {
    let records = in_world(async |world| {
        tracing::info!(target: "gateway", "said by no process");
        ask(&world, "box", async |_| {
            tracing::info!(name: "run.started", target: "gateway::lanes", run = 7, sender = "ann", "begins");
            tracing::debug!(target: "gateway", "too fine");
            tracing::error!(target: "hyper", "not the gateway's");
        })
        .await;
        facts(&world, |fact| matches!(fact, Fact::Log { .. }))
    });
    let [Fact::Log { record, .. }] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record.name, "run.started");
    let fields: Vec<_> = record.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(fields, [("message", "begins"), ("run", "7"), ("sender", "ann")]);
}

#[test]
fn the_wall_clock_jumps_and_monotonic_time_does_not() {
    in_world(async |world| {
        let before = world.wall_clock("box")();
        sleep(SECOND).await;
        world.jump_wall_clock("box", -3_600_000);
        let seen = ask(&world, "box", async |env| env.wall_clock()).await.expect("finished");
        assert_eq!(seen.epoch_ms() + 3_600_000 - before.epoch_ms(), 1000);
        assert_eq!(world.wall_clock("far")().since(before), SECOND);
    });
}

#[test]
fn a_second_world_runs_after_a_first_that_panicked() {
    let panicked = std::panic::catch_unwind(|| {
        in_world(async |world| {
            start(&world, "box", echo_server(80));
            sleep(SECOND).await;
            panic!("the script is wrong");
        })
    });
    assert!(panicked.is_err());
    assert_eq!(in_world(async |world| ask(&world, "box", async |_| 1).await), Some(1));
}

#[test]
fn sockets_that_outlive_their_world_are_harmless() {
    let stream = in_world(async |world| {
        start(&world, "box", echo_server(80));
        sleep(SECOND).await;
        ask(&world, "far", async |env| (env.net().connect("box", 80).await, env.net().listen(1).await)).await
    });
    drop(stream);
}

#[test]
fn those_who_wait_for_an_end_learn_of_it_in_the_order_of_waiting() {
    let woken = in_world(async |world| {
        let pid = start(&world, "box", echo_server(80));
        let woken = Rc::new(RefCell::new(Vec::new()));
        for number in 0..20 {
            let (woken, end) = (woken.clone(), world.wait_exit(pid));
            world.spawn(async move {
                end.await.expect("it was started");
                woken.borrow_mut().push(number);
            });
        }
        sleep(SECOND).await;
        world.kill(pid).expect("it lives");
        sleep(SECOND).await;
        woken.take()
    });
    assert_eq!(woken, (0..20).collect::<Vec<_>>());
}
