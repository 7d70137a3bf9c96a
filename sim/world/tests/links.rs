//! Links: partitions, healing, timeouts, and machines that do not answer.

use super::*;

/// A server that collects what one client sends, and a client that sends a number a second, ten in all.
async fn count_to_ten(world: &World, meanwhile: impl AsyncFnOnce()) -> (Vec<u8>, String) {
    let received = Rc::new(RefCell::new((Vec::new(), String::new())));
    let sink = received.clone();
    start(world, "box", move |env| {
        Box::pin(async move {
            let mut listener = env.net().listen(80).await.expect("free");
            let mut stream = listener.accept().await.expect("a client");
            loop {
                match stream.read_u8().await {
                    Ok(byte) => sink.borrow_mut().0.push(byte),
                    Err(error) => break sink.borrow_mut().1 = error.kind().to_string(),
                }
            }
            ExitCode::CLEAN
        })
    });
    sleep(SECOND).await;
    world
        .start_actor("far", "client", |env| {
            Box::pin(async move {
                let mut stream = env.net().connect("box", 80).await.expect("listening");
                for number in 0..10 {
                    if stream.write_all(&[number]).await.is_err() {
                        return ExitCode::FAILURE;
                    }
                    sleep(SECOND).await;
                }
                std::future::pending().await
            })
        })
        .expect("room");
    sleep(SECOND / 2).await;
    meanwhile().await;
    received.borrow().clone()
}

#[test]
fn a_partition_parks_and_healing_delivers_in_order() {
    in_world(async |world| {
        let received = count_to_ten(&world, async || {
            world.partition("far", "box").expect("both exist");
            sleep(20 * SECOND).await;
            world.heal("box", "far").expect("both exist");
            sleep(SECOND).await;
        });
        assert_eq!(received.await, ((0..10).collect(), String::new()));
        let names = facts(&world, |fact| fact.name().starts_with("link."));
        assert_eq!(names.len(), 2);
    });
}

#[test]
fn nothing_crosses_a_cut_link() {
    in_world(async |world| {
        let received = count_to_ten(&world, async || {
            world.partition("box", "far").expect("both exist");
            sleep(20 * SECOND).await;
        });
        assert_eq!(received.await, (vec![0], String::new()));
    });
}

#[test]
fn a_partition_longer_than_the_user_timeout_resets_what_waits() {
    in_world(async |world| {
        let received = count_to_ten(&world, async || {
            world.partition("box", "far").expect("both exist");
            sleep(20 * 60 * SECOND).await;
        });
        assert_eq!(received.await, (vec![0], "connection reset".to_string()));
    });
}

/// How a connect from `far` to `box` ends, and after how long, while `events` happen.
fn connect_while(events: impl AsyncFnOnce(&World) + 'static) -> (Result<(), ErrorKind>, Duration) {
    in_world(async |world| {
        start(&world, "box", echo_server(80));
        sleep(SECOND).await;
        let attempt = world.spawn({
            let world = world.clone();
            async move {
                sleep(SECOND).await;
                let answer = ask(&world, "far", async |env| {
                    let began = Instant::now();
                    let outcome = env.net().connect("box", 80).await;
                    (outcome.map(drop).map_err(|error| error.kind()), began.elapsed())
                });
                answer.await.expect("finished")
            }
        });
        events(&world).await;
        attempt.await.expect("no panic")
    })
}

#[test]
fn a_connect_across_a_partition_times_out() {
    let (outcome, took) = connect_while(async |world| world.partition("box", "far").expect("both exist"));
    assert_eq!((outcome, took.as_secs()), (Err(ErrorKind::TimedOut), 127));
}

#[test]
fn a_connect_to_a_machine_without_power_times_out() {
    let (outcome, took) = connect_while(async |world| world.power_off("box").expect("exists"));
    assert_eq!((outcome, took.as_secs()), (Err(ErrorKind::TimedOut), 127));
}

#[test]
fn a_connect_goes_through_once_the_link_heals() {
    let (outcome, took) = connect_while(async |world| {
        world.partition("box", "far").expect("both exist");
        sleep(10 * SECOND).await;
        world.heal("box", "far").expect("both exist");
    });
    assert_eq!(outcome, Ok(()));
    assert!(took >= 9 * SECOND && took < 20 * SECOND, "{took:?}");
}

#[test]
fn a_connect_to_a_machine_that_comes_back_without_the_service_is_refused() {
    let (outcome, took) = connect_while(async |world| {
        world.power_off("box").expect("exists");
        sleep(10 * SECOND).await;
        world.power_on("box").expect("exists");
    });
    assert_eq!(outcome, Err(ErrorKind::ConnectionRefused));
    assert!(took >= 9 * SECOND && took < 20 * SECOND, "{took:?}");
}

#[test]
fn an_unknown_host_is_not_found() {
    let kind = in_world(async |world| {
        ask(&world, "far", async |env| env.net().connect("nowhere", 80).await.map_err(|error| error.kind()))
            .await
    });
    assert_eq!(kind.expect("finished").err(), Some(ErrorKind::NotFound));
}

#[test]
fn a_slow_link_delays_and_keeps_order() {
    in_world(async |world| {
        world.set_latency("far", "box", Duration::ZERO..=3 * SECOND).expect("both exist");
        let received = count_to_ten(&world, async || sleep(40 * SECOND).await).await;
        assert_eq!(received.0, (0..10).collect::<Vec<_>>());
    });
}
