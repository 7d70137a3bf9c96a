//! The same seed gives the same run on any thread, another seed another one, and idle time costs nothing.

use std::path::Path;
use std::thread;

use super::*;
use crate::timeline::EventHash;

/// Twenty virtual minutes of clients, kills, partitions, freezes and power losses.
fn mixed_workload(seed: u64) -> (EventHash, (u64, u64)) {
    World::run(WorldSettings::seeded(seed), async |world| {
        ["box", "far", "near"].iter().for_each(|name| world.add_machine(name).expect("new name"));
        for machine in ["far", "near"] {
            world.start_actor(machine, "client", chatter).expect("room");
        }
        let choose = world.rng("workload");
        let mut server = None;
        for round in 0..40 {
            if !server.is_some_and(|pid| world.is_alive(pid)) {
                world.power_on("box").expect("exists");
                server = Some(start(&world, "box", journal_and_echo));
            }
            sleep(Duration::from_millis(choose.below(30_000))).await;
            let Some(pid) = server else { continue };
            match (round % 5, choose.below(2)) {
                (0, 0) => world.kill(pid).expect("lives"),
                (1, 0) => world.power_off("box").expect("exists"),
                (2, _) => {
                    world.partition("box", "far").expect("both exist");
                    sleep(SECOND).await;
                    world.heal("box", "far").expect("both exist");
                }
                (3, _) => {
                    world.freeze(pid).expect("lives");
                    sleep(SECOND).await;
                    world.thaw(pid).expect("lives");
                }
                _ => world.signal(pid, Signal::Terminate).expect("lives"),
            }
        }
        (world.recorder().hash(), world.work_done())
    })
}

fn journal_and_echo(env: Env) -> LocalBoxFuture<'static, ExitCode> {
    Box::pin(async move {
        let mut listener = env.net().listen(80).await.expect("free");
        loop {
            let mut stream = listener.accept().await.expect("a client");
            let journal = env.clone();
            env.spawn("client", async move {
                let mut buf = [0; 64];
                while let Ok(len @ 1..) = stream.read(&mut buf).await {
                    let _ = journal.fs().append(Path::new("/journal"), &buf[..len]);
                    if stream.write_all(&buf[..len]).await.is_err() {
                        break;
                    }
                }
                tracing::info!(name: "client.left", target: "gateway", id = journal.random_id("clients"));
            });
        }
    })
}

fn chatter(env: Env) -> LocalBoxFuture<'static, ExitCode> {
    Box::pin(async move {
        loop {
            if let Ok(mut stream) = env.net().connect("box", 80).await {
                let lines = env.random("lines") % 8;
                for _ in 0..lines {
                    let text = env.random_id("text");
                    if stream.write_all(text.as_bytes()).await.is_err() || stream.read_u8().await.is_err() {
                        break;
                    }
                    sleep(SECOND).await;
                }
            }
            sleep(SECOND).await;
        }
    })
}

fn on_a_fresh_thread(seed: u64) -> (EventHash, (u64, u64)) {
    thread::spawn(move || mixed_workload(seed)).join().expect("no panic")
}

#[test]
fn one_seed_is_one_run() {
    let first = on_a_fresh_thread(11);
    assert_eq!(first, on_a_fresh_thread(11));
    assert_ne!(first.0, on_a_fresh_thread(12).0);
    // And on a thread that has run worlds before.
    assert_eq!(mixed_workload(11), first);
    assert_eq!(mixed_workload(11), first);
}

#[test]
fn idle_time_costs_nothing() {
    in_world(async |world| {
        start(&world, "box", echo_server(80));
        world
            .start_actor("far", "client", |env| {
                Box::pin(async move {
                    let _held = env.net().connect("box", 80).await;
                    std::future::pending().await
                })
            })
            .expect("room");
        sleep(SECOND).await;
        let (packets, parks) = world.work_done();
        sleep(300 * SECOND).await;
        let (packets_then, parks_then) = world.work_done();
        assert_eq!(packets_then, packets);
        assert!(parks_then - parks < 20, "{} wake-ups", parks_then - parks);
    });
}
