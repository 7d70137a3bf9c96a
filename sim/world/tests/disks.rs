//! A slow disk: the process that waits for it stands still, and so does what it has written.

use std::path::Path;

use super::*;

/// A main that syncs a file and then answers whoever connects; every other task of it counts milliseconds.
fn syncing_server(counted: Rc<RefCell<Vec<u64>>>) -> impl FnOnce(Env) -> LocalBoxFuture<'static, ExitCode> {
    move |env| {
        Box::pin(async move {
            let Ok(mut listener) = env.net().listen(80).await else { return ExitCode::CONFIG };
            drop(env.spawn("counter", async move {
                let began = Instant::now();
                loop {
                    sleep(Duration::from_millis(10)).await;
                    counted.borrow_mut().push(began.elapsed().as_millis() as u64);
                }
            }));
            let Ok(mut stream) = listener.accept().await else { return ExitCode::FAILURE };
            let (file, dir) = (Path::new("/f"), Path::new("/"));
            env.fs().append(file, b"x").expect("room");
            // Written before the sync, and still it leaves after it: one thread does one thing at a time.
            stream.write_all(b"before").await.expect("connected");
            env.fs().sync_file(file).expect("exists");
            env.fs().sync_dir(dir).expect("exists");
            std::future::pending().await
        })
    }
}

#[test]
fn a_process_stands_still_while_its_disk_works() {
    let slow = Duration::from_millis(100);
    let settings = WorldSettings { disk_sync: slow..=slow, ..WorldSettings::seeded(7) };
    let (arrived_ms, counted) = World::run(settings, async |world| {
        world.add_machine("box").expect("new name");
        world.add_machine("far").expect("new name");
        let counted = Rc::<RefCell<Vec<u64>>>::default();
        start(&world, "box", syncing_server(counted.clone()));
        sleep(SECOND).await;
        let arrived = ask(&world, "far", async |env| {
            let began = Instant::now();
            let mut stream = env.net().connect("box", 80).await.expect("listens");
            let mut buf = [0; 6];
            stream.read_exact(&mut buf).await.expect("is answered");
            began.elapsed().as_millis() as u64
        })
        .await;
        sleep(SECOND).await;
        (arrived.expect("it lives"), counted.take())
    });
    assert!((200..220).contains(&arrived_ms), "two syncs of 100 ms and a few packets: {arrived_ms} ms");
    let gaps: Vec<u64> = counted.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 20).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!((190..=220).contains(&gaps[0]), "the counter missed its turns: {gaps:?}");
}
