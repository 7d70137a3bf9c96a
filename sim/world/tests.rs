//! The world from its users' side: what processes, peers and operators see of deaths, links and clocks.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{Env, ExitCode, Fs, FsOp, LocalBoxFuture, Pid, Signal, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::{World, WorldSettings};
use crate::timeline::{DeathCause, Fact};

mod commands;
mod crashes;
mod deaths;
mod determinism;
mod disks;
mod links;
mod neighbours;
mod processes;
mod streams;

const SECOND: Duration = Duration::from_secs(1);

/// Runs `body` in a world with a gateway machine `box` and a peer machine `far`.
fn in_world<R>(body: impl AsyncFnOnce(World) -> R) -> R {
    World::run(WorldSettings::seeded(7), async |world| {
        world.add_machine("box").expect("new name");
        world.add_machine("far").expect("new name");
        body(world).await
    })
}

/// A main that serves `port`, echoing on every connection.
fn echo_server(port: u16) -> impl FnOnce(Env) -> LocalBoxFuture<'static, ExitCode> {
    move |env| {
        Box::pin(async move {
            let Ok(mut listener) = env.net().listen(port).await else { return ExitCode::CONFIG };
            loop {
                let Ok(stream) = listener.accept().await else { return ExitCode::FAILURE };
                env.spawn("echo", echo(stream));
            }
        })
    }
}

async fn echo(mut stream: Stream) {
    let mut buf = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..len]).await.is_err() {
            return;
        }
    }
}

/// Runs `task` as a process of `machine` and gives back what it returns; `None` when it died before.
async fn ask<R: 'static, F: Future<Output = R> + 'static>(
    world: &World,
    machine: &str,
    task: impl FnOnce(Env) -> F + 'static,
) -> Option<R> {
    let answer = Rc::new(RefCell::new(None));
    let slot = answer.clone();
    let main = move |env: Env| -> LocalBoxFuture<'static, ExitCode> {
        Box::pin(async move {
            let result = task(env).await;
            *slot.borrow_mut() = Some(result);
            ExitCode::CLEAN
        })
    };
    let pid = world.start_actor(machine, "asker", main).expect("room for one more");
    world.wait_exit(pid).await.expect("just started");
    answer.take()
}

fn start(
    world: &World,
    machine: &str,
    main: impl FnOnce(Env) -> LocalBoxFuture<'static, ExitCode> + 'static,
) -> Pid {
    world.start_process(machine, "server", main).expect("machine is up")
}

/// A connection's fate in one word, as its holder sees it within 20 s.
async fn fate(stream: &mut Stream) -> String {
    match timeout(20 * SECOND, stream.read_u8()).await {
        Err(_) => "silence".to_string(),
        Ok(Ok(byte)) => format!("byte {byte}"),
        Ok(Err(error)) => error.kind().to_string(),
    }
}

/// The names of all facts so far that `wanted` picks.
fn facts(world: &World, wanted: impl Fn(&Fact) -> bool) -> Vec<Fact> {
    world.recorder().with_events(|events| {
        events.iter().map(|event| &event.fact).filter(|fact| wanted(fact)).cloned().collect()
    })
}
