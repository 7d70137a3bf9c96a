//! Deaths inside a disk operation: what is on the disk then, and that nothing happens afterwards.

use std::path::Path;

use super::*;
use crate::world::{CrashDeath, CrashMoment, CrashPoint};

fn point(op: FsOp, path: &str, moment: CrashMoment) -> CrashPoint {
    let (program, path) = ("server".to_string(), path.to_string());
    CrashPoint { program, op: Some(op), path, from_call: 1, moment, death: CrashDeath::Killed }
}

/// What is left of a process that appends `one` and `two`, each synced, with a sibling task that writes `late`,
/// when it meets `point`: the content of the file, and how it died.
fn left_by(point: CrashPoint) -> (Option<String>, Vec<DeathCause>) {
    in_world(async |world| {
        let guard = world.crash_at("box", point).expect("a machine");
        let mut struck = guard.watch();
        let pid = start(&world, "box", |env| {
            Box::pin(async move {
                let sibling = env.clone();
                drop(env.spawn("sibling", async move {
                    tokio::task::yield_now().await;
                    let _ = sibling.fs().write(Path::new("/late"), b"x");
                }));
                for part in ["one", "two"] {
                    // A dead program learns nothing: whatever it makes of the error changes nothing.
                    let _ = env.fs().append(Path::new("/f"), part.as_bytes());
                    let _ = env.fs().sync_file(Path::new("/f"));
                    let _ = env.fs().sync_dir(Path::new("/"));
                }
                let _ = env.fs().rename(Path::new("/f"), Path::new("/g"));
                env.exit(ExitCode::CLEAN).await
            })
        });
        let exit = world.wait_exit(pid);
        struck.wait_for(|struck| *struck).await.expect("it is met");
        exit.await.expect("it was started");
        sleep(SECOND).await;
        let disk = world.disk("box").expect("a machine");
        assert!(disk.stat(Path::new("/late")).is_err(), "a dead process's other tasks do nothing");
        assert!(disk.stat(Path::new("/g")).is_err(), "nor does the rest of the one that died");
        let content = disk.read(Path::new("/f")).ok().map(|bytes| String::from_utf8(bytes).expect("text"));
        let exits = facts(&world, |fact| matches!(fact, Fact::ProcessExited { .. }));
        let causes = exits.into_iter().map(|fact| match fact {
            Fact::ProcessExited { cause, .. } => cause,
            _ => unreachable!("only exits were picked"),
        });
        (content, causes.collect())
    })
}

#[test]
fn a_process_dies_before_in_the_middle_of_or_after_an_operation() {
    let killed = vec![DeathCause::Killed];
    let append = |moment| left_by(point(FsOp::Append, "/f", moment));
    assert_eq!(append(CrashMoment::Before), (None, killed.clone()));
    assert_eq!(append(CrashMoment::Torn(0)), (Some(String::new()), killed.clone()));
    assert_eq!(append(CrashMoment::Torn(2)), (Some("on".into()), killed.clone()));
    assert_eq!(append(CrashMoment::Torn(9)), (Some("one".into()), killed.clone()));
    assert_eq!(append(CrashMoment::After), (Some("one".into()), killed));
}

#[test]
fn the_call_that_counts_can_be_a_later_one() {
    let second = CrashPoint { from_call: 2, ..point(FsOp::Append, "f", CrashMoment::Before) };
    assert_eq!(left_by(second).0.as_deref(), Some("one"));
    let fourth = CrashPoint { op: None, from_call: 4, ..point(FsOp::Append, "*", CrashMoment::After) };
    assert_eq!(left_by(fourth).0.as_deref(), Some("onetwo"));
    let renamed = point(FsOp::Rename, "g", CrashMoment::Before);
    assert_eq!(left_by(renamed).0.as_deref(), Some("onetwo"), "a rename is met by either path");
}

#[test]
fn power_can_be_lost_inside_an_operation() {
    let loss = |point| CrashPoint { death: CrashDeath::PowerLoss, ..point };
    let cause = vec![DeathCause::PowerLoss];
    // The second append is torn; what was synced before it is certain.
    let torn = CrashPoint { from_call: 2, ..loss(point(FsOp::Append, "/f", CrashMoment::Torn(2))) };
    let (content, causes) = left_by(torn);
    assert_eq!(causes, cause);
    assert!(["one", "onet", "onetw"].contains(&content.as_deref().expect("it is durable")), "{content:?}");
    let (content, causes) = left_by(loss(point(FsOp::SyncDir, "/", CrashMoment::After)));
    assert_eq!((content.as_deref(), causes), (Some("one"), cause));
}

#[test]
fn a_server_with_open_connections_can_lose_power_inside_an_operation() {
    let (seen, after) = in_world(async |world| {
        let lost =
            CrashPoint { death: CrashDeath::PowerLoss, ..point(FsOp::Append, "/f", CrashMoment::After) };
        let guard = world.crash_at("box", lost).expect("a machine");
        start(&world, "box", |env| {
            Box::pin(async move {
                let Ok(mut listener) = env.net().listen(80).await else { return ExitCode::CONFIG };
                let Ok(mut stream) = listener.accept().await else { return ExitCode::FAILURE };
                let mut byte = [0];
                let _ = stream.read(&mut byte).await;
                let _ = stream.write_all(b"never seen").await;
                let _ = env.fs().append(Path::new("/f"), b"x");
                std::future::pending().await
            })
        });
        sleep(SECOND).await;
        let seen = ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("listens");
            stream.write_all(b"x").await.expect("open");
            fate(&mut stream).await
        });
        let seen = seen.await.expect("peers live on");
        assert!(*guard.watch().borrow());
        world.power_on("box").expect("a machine");
        start(&world, "box", echo_server(80));
        let after = ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("listens again");
            stream.write_all(b"x").await.expect("open");
            fate(&mut stream).await
        });
        (seen, after.await.expect("peers live on"))
    });
    assert_eq!((&*seen, &*after), ("silence", "byte 120"));
}

#[test]
fn a_point_that_is_taken_back_or_meant_for_others_harms_nobody() {
    in_world(async |world| {
        drop(world.crash_at("box", point(FsOp::Append, "*", CrashMoment::Before)).expect("a machine"));
        let others = CrashPoint { program: "client".into(), ..point(FsOp::Append, "*", CrashMoment::Before) };
        let guard = world.crash_at("box", others).expect("a machine");
        let pid = start(&world, "box", |env| {
            Box::pin(async move {
                env.fs().append(Path::new("/f"), b"x").expect("room");
                ExitCode::CLEAN
            })
        });
        assert_eq!(world.wait_exit(pid).await.expect("started"), DeathCause::Exited(ExitCode::CLEAN));
        assert!(!*guard.watch().borrow());
    });
}
