//! Byte streams: echo, flow control, abort, half-read closes.

use super::*;

#[test]
fn bytes_come_back_over_a_connection() {
    let answer = in_world(async |world| {
        start(&world, "box", echo_server(80));
        ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("listening");
            stream.write_all(b"hello").await.expect("open");
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await.expect("echo");
            (answer, stream.peer().to_string())
        })
        .await
    });
    let (answer, peer) = answer.expect("finished");
    assert_eq!(&answer, b"hello");
    assert_eq!(peer, "10.0.0.1:80");
}

#[test]
fn localhost_is_the_own_machine() {
    let peers = in_world(async |world| {
        let server = |env: Env| async move {
            let mut listener = env.net().listen(80).await.expect("free");
            let peer = env.spawn("client", {
                let env = env.clone();
                async move { env.net().connect("localhost", 80).await.expect("listening").peer() }
            });
            let accepted = listener.accept().await.expect("a client").peer();
            (accepted.ip().is_loopback(), peer.await.expect("not aborted").to_string())
        };
        ask(&world, "box", server).await
    });
    assert_eq!(peers, Some((true, "127.0.0.1:80".to_string())));
}

#[test]
fn nobody_listening_refuses_after_a_round_trip() {
    let (kind, took) = in_world(async |world| {
        ask(&world, "far", async |env| {
            let began = Instant::now();
            let error = env.net().connect("box", 80).await.expect_err("nobody there");
            (error.kind(), began.elapsed())
        })
        .await
    })
    .expect("finished");
    assert_eq!(kind, ErrorKind::ConnectionRefused);
    assert!(took >= Duration::from_millis(2) && took <= Duration::from_millis(6), "{took:?}");
}

/// A server that writes a mebibyte to its first client and reports how far it came within a minute.
async fn push_a_mebibyte(env: Env) -> usize {
    let mut listener = env.net().listen(80).await.expect("free");
    let mut stream = listener.accept().await.expect("a client");
    let mut sent = 0;
    let chunk = [7; 8192];
    while sent < 1 << 20 {
        match timeout(60 * SECOND, stream.write(&chunk[..chunk.len().min((1 << 20) - sent)])).await {
            Ok(Ok(len)) => sent += len,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

#[test]
fn a_big_transfer_reaches_a_reader_of_small_pieces() {
    let (sent, received) = in_world(async |world| {
        let server = world.spawn({
            let world = world.clone();
            async move { ask(&world, "box", push_a_mebibyte).await }
        });
        sleep(SECOND).await;
        let received = ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("listening");
            let mut received = 0;
            let mut buf = [0; 3000];
            while let Ok(len @ 1..) = stream.read(&mut buf).await {
                received += len;
                sleep(Duration::from_millis(5)).await;
            }
            received
        });
        let received = received.await;
        (server.await.expect("no panic"), received)
    });
    assert_eq!((sent, received), (Some(1 << 20), Some(1 << 20)));
}

#[test]
fn a_peer_that_never_reads_blocks_the_writer() {
    let sent = in_world(async |world| {
        start(&world, "far", |env| {
            Box::pin(async move {
                sleep(SECOND).await;
                let _held = env.net().connect("box", 80).await.expect("listening");
                std::future::pending().await
            })
        });
        ask(&world, "box", push_a_mebibyte).await
    });
    let sent = sent.expect("gave up");
    assert!((64 << 10..=256 << 10).contains(&sent), "{sent} bytes went somewhere");
}

#[test]
fn an_abort_resets_both_ends() {
    let (own, other) = in_world(async |world| {
        let server = world.spawn({
            let world = world.clone();
            async move {
                ask(&world, "box", async |env| {
                    let mut listener = env.net().listen(80).await.expect("free");
                    let mut stream = listener.accept().await.expect("a client");
                    let abort = stream.abort_handle();
                    env.spawn("abort", async move {
                        sleep(SECOND).await;
                        abort.abort();
                        abort.abort();
                    });
                    fate(&mut stream).await
                })
                .await
            }
        });
        sleep(SECOND).await;
        let client = ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("listening");
            let seen = fate(&mut stream).await;
            (seen, stream.write_all(b"x").await.map_err(|error| error.kind()))
        });
        let client = client.await.expect("finished");
        (server.await.expect("no panic").expect("finished"), client)
    });
    assert_eq!(own, "connection reset");
    assert_eq!(other, ("connection reset".to_string(), Err(ErrorKind::ConnectionReset)));
}

#[test]
fn closing_with_unread_bytes_resets_and_closing_after_reading_ends() {
    let see = |reads: usize| {
        in_world(async move |world| {
            start(&world, "box", move |env| {
                Box::pin(async move {
                    let mut listener = env.net().listen(80).await.expect("free");
                    let mut stream = listener.accept().await.expect("a client");
                    for _ in 0..reads {
                        stream.read_u8().await.expect("two bytes come");
                    }
                    sleep(SECOND).await;
                    drop(stream);
                    std::future::pending().await
                })
            });
            sleep(SECOND).await;
            let seen = ask(&world, "far", async |env| {
                let mut stream = env.net().connect("box", 80).await.expect("listening");
                stream.write_all(b"ab").await.expect("open");
                fate(&mut stream).await
            });
            seen.await.expect("finished")
        })
    };
    assert_eq!(see(0), "connection reset");
    // One of two bytes was read: the other sits in the stream, out of the kernel's sight.
    assert_eq!(see(1), "connection reset");
    assert_eq!(see(2), "unexpected end of file");
}

#[test]
fn data_for_a_dropped_stream_is_answered_with_a_reset() {
    let seen = in_world(async |world| {
        start(&world, "box", |env| {
            Box::pin(async move {
                let mut listener = env.net().listen(80).await.expect("free");
                drop(listener.accept().await);
                std::future::pending().await
            })
        });
        sleep(SECOND).await;
        ask(&world, "far", async |env| {
            let mut stream = env.net().connect("box", 80).await.expect("listening");
            let first = fate(&mut stream).await;
            stream.write_all(b"still there?").await.expect("half open");
            sleep(SECOND).await;
            (first, stream.write_all(b"?").await.map_err(|error| error.kind()))
        })
        .await
    });
    let (first, then) = seen.expect("finished");
    assert_eq!(first, "unexpected end of file");
    assert_eq!(then, Err(ErrorKind::ConnectionReset));
}
