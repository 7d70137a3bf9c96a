//! The four deaths and the sleep, as a peer, a successor and the disk see them.

use std::path::Path;

use super::*;

/// What a peer that is connected to an echo server sees after `end` was done to the server: of its open
/// connection, of a write then, and whether a successor can bind a second later.
struct Seen {
    connection: String,
    after_a_write: String,
    successor_binds: bool,
}

fn after(end: impl AsyncFnOnce(&World, Pid) + 'static) -> Seen {
    in_world(async |world| {
        let server = start(&world, "box", echo_server(80));
        sleep(SECOND).await;
        let peer = world.spawn({
            let world = world.clone();
            async move {
                let seen = ask(&world, "far", async |env| {
                    let mut stream = env.net().connect("box", 80).await.expect("listening");
                    stream.write_all(b"x").await.expect("open");
                    stream.read_u8().await.expect("echo");
                    let first = fate(&mut stream).await;
                    // Nobody answers a write at once; what comes of it shows a round trip later.
                    let _ = stream.write_all(b"y").await;
                    sleep(SECOND).await;
                    (first, fate(&mut stream).await)
                });
                seen.await.expect("peers live on")
            }
        });
        sleep(SECOND).await;
        end(&world, server).await;
        sleep(SECOND).await;
        let successor_binds = match world.start_process("box", "successor", echo_server(80)) {
            Ok(successor) => {
                sleep(SECOND).await;
                world.listening_on("box", 80) == Some(successor)
            }
            Err(_) => false,
        };
        let (connection, after_a_write) = peer.await.expect("no panic");
        Seen { connection, after_a_write, successor_binds }
    })
}

#[test]
fn a_living_server_is_silent_and_answers() {
    let seen = after(async |_, _| ());
    assert_eq!((&*seen.connection, &*seen.after_a_write), ("silence", "byte 121"));
    assert!(!seen.successor_binds);
}

#[test]
fn sigkill_closes_connections_and_frees_the_port() {
    let seen = after(async |world, server| world.kill(server).expect("lives"));
    assert_eq!((&*seen.connection, &*seen.after_a_write), ("unexpected end of file", "connection reset"));
    assert!(seen.successor_binds);
}

#[test]
fn a_default_action_does_what_sigkill_does() {
    let seen = after(async |world, server| world.signal(server, Signal::Terminate).expect("lives"));
    assert_eq!((&*seen.connection, &*seen.after_a_write), ("unexpected end of file", "connection reset"));
    assert!(seen.successor_binds);
}

#[test]
fn power_loss_is_silence_until_the_machine_answers_again() {
    let dark = after(async |world, _| world.power_off("box").expect("exists"));
    assert_eq!((&*dark.connection, &*dark.after_a_write), ("silence", "silence"));
    assert!(!dark.successor_binds, "nothing starts without power");

    let back = after(async |world, _| {
        world.power_off("box").expect("exists");
        world.power_on("box").expect("exists");
    });
    assert_eq!((&*back.connection, &*back.after_a_write), ("silence", "connection reset"));
    assert!(back.successor_binds);
}

#[test]
fn a_frozen_server_is_silent_holds_its_port_and_answers_after_the_thaw() {
    let seen = after(async |world, server| {
        world.freeze(server).expect("lives");
        let world = world.clone();
        world.clone().spawn(async move {
            sleep(30 * SECOND).await;
            world.thaw(server).expect("lives");
        });
    });
    assert_eq!((&*seen.connection, &*seen.after_a_write), ("silence", "byte 121"));
    assert!(!seen.successor_binds);
}

#[test]
fn a_frozen_listener_still_accepts_into_its_backlog() {
    let connected = in_world(async |world| {
        let server = start(&world, "box", echo_server(80));
        sleep(SECOND).await;
        world.freeze(server).expect("lives");
        ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("the kernel accepts");
            fate(&mut stream).await
        })
        .await
    });
    assert_eq!(connected.as_deref(), Some("silence"));
}

#[test]
fn a_signal_to_a_stopped_process_acts_when_it_continues() {
    in_world(async |world| {
        let server = start(&world, "box", echo_server(80));
        sleep(SECOND).await;
        world.freeze(server).expect("lives");
        world.signal(server, Signal::Hangup).expect("lives");
        sleep(SECOND).await;
        assert!(world.is_alive(server));
        world.thaw(server).expect("lives");
        assert_eq!(world.wait_exit(server).await.expect("known"), DeathCause::Signal(Signal::Hangup));
    });
}

/// Writes to the disk when it is dropped, as a polite program would.
struct LastWords(Env);

impl Drop for LastWords {
    fn drop(&mut self) {
        let _ = self.0.fs().write(Path::new("/last-words"), b"goodbye");
        self.0.spawn("afterlife", async { unreachable!("spawned by a dead process") });
        tracing::info!(target: "gateway::test", "goodbye");
    }
}

/// Whether the last words of a process that ends by `end` reach the disk, and how many tasks it dropped.
fn last_words(end: impl AsyncFnOnce(&World, Pid)) -> (bool, Vec<u32>) {
    in_world(async |world| {
        let dropped = Rc::new(RefCell::new(Vec::new()));
        let order = dropped.clone();
        let pid = start(&world, "box", move |env| {
            Box::pin(async move {
                for number in 0..3 {
                    let noted = Noted(order.clone(), number);
                    let words = LastWords(env.clone());
                    env.spawn("speaker", async move {
                        let _held = (noted, words);
                        std::future::pending::<()>().await;
                    });
                }
                let mut signals = env.process().handle_signals(&[Signal::User1, Signal::User2]);
                match signals.next().await {
                    Signal::User1 => env.exit(ExitCode::CLEAN).await,
                    _ => panic!("as asked"),
                }
            })
        });
        sleep(SECOND).await;
        end(&world, pid).await;
        sleep(SECOND).await;
        assert!(!world.is_alive(pid));
        let logged = facts(&world, |fact| matches!(fact, Fact::Log { record, .. } if record.name == "log"));
        assert_eq!(logged, [], "the dead do not log");
        let spoke = world.disk("box").expect("exists").read(Path::new("/last-words")).is_ok();
        (spoke, dropped.take())
    })
}

/// Notes the order in which tasks are dropped.
struct Noted(Rc<RefCell<Vec<u32>>>, u32);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn no_destructor_of_a_dead_process_touches_the_world() {
    let silent = (false, vec![0, 1, 2]);
    assert_eq!(last_words(async |world, pid| world.kill(pid).expect("lives")), silent);
    assert_eq!(last_words(async |world, _| world.power_off("box").expect("exists")), silent);
    assert_eq!(last_words(async |world, pid| world.signal(pid, Signal::User1).expect("lives")), silent);
    assert_eq!(last_words(async |world, pid| world.signal(pid, Signal::User2).expect("lives")), silent);
    assert_eq!(
        last_words(async |world, pid| {
            world.freeze(pid).expect("lives");
            world.kill(pid).expect("lives");
        }),
        silent
    );
}

#[test]
fn a_panic_ends_its_process_and_nothing_else() {
    in_world(async |world| {
        let bystander = start(&world, "box", echo_server(80));
        let pid = start(&world, "box", |env| {
            Box::pin(async move {
                env.spawn("bomb", async {
                    sleep(SECOND).await;
                    panic!("out of cheese");
                });
                std::future::pending().await
            })
        });
        assert_eq!(world.wait_exit(pid).await.expect("known"), DeathCause::Panicked);
        assert!(world.is_alive(bystander));
        let words = facts(&world, |fact| matches!(fact, Fact::Log { record, .. } if record.name == "panic"));
        assert!(format!("{words:?}").contains("out of cheese"), "{words:?}");
    });
}

#[test]
fn power_loss_loses_what_was_not_synced() {
    in_world(async |world| {
        start(&world, "box", |env| {
            Box::pin(async move {
                let (kept, lost) = (Path::new("/kept"), Path::new("/lost"));
                env.fs().write(kept, b"1").expect("room");
                env.fs().sync_file(kept).expect("there");
                env.fs().sync_dir(Path::new("/")).expect("there");
                for _ in 0..64 {
                    env.fs().append(lost, b"2").expect("room");
                }
                std::future::pending().await
            })
        });
        sleep(SECOND).await;
        world.power_off("box").expect("exists");
        let disk = world.disk("box").expect("exists");
        assert_eq!(disk.read(Path::new("/kept")).expect("synced"), b"1");
        let lost = facts(&world, |fact| matches!(fact, Fact::PowerLost { .. }));
        assert_eq!(lost.len(), 1);
    });
}

#[test]
fn what_was_sent_before_the_death_arrives_before_the_end() {
    let text = in_world(async |world| {
        start(&world, "box", |env| {
            Box::pin(async move {
                let mut listener = env.net().listen(80).await.expect("free");
                let mut stream = listener.accept().await.expect("a client");
                stream.write_all(&[b'z'; 40_000]).await.expect("open");
                ExitCode::CLEAN
            })
        });
        sleep(SECOND).await;
        ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("listening");
            let mut text = Vec::new();
            stream.read_to_end(&mut text).await.map_err(|error: io::Error| error.kind())
        })
        .await
    });
    assert_eq!(text, Some(Ok(40_000)));
}
