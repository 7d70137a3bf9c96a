//! The doors on a real machine keep what their interfaces promise.
//!
//! Peers are plain sockets, files and processes of the standard library, so that no door vouches for another.
//! Everything happens on loopback, in temporary directories and in this process.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{Env, Liveness, Pid, Signal, StartTime, Stream};
use gateway_os::exit_on_panic;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal as OsSignal, getpid, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test in the world the daemon runs in.
fn in_the_world<F: Future<Output = ()>>(test: impl FnOnce(Env) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let test = async { timeout(PATIENCE, test(gateway_os::env(LOOPBACK))).await.expect("in time") };
    runtime.block_on(LocalSet::new().run_until(test));
}

/// A connection that the gateway accepted, and the peer's end of it.
async fn accepted(env: &Env) -> (Stream, TcpStream) {
    let mut listener = env.net().listen(0).await.expect("a free port");
    let peer = TcpStream::connect((LOOPBACK, listener.port())).expect("the backlog takes it");
    peer.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    let stream = listener.accept().await.expect("a connection");
    assert_eq!(stream.peer(), peer.local_addr().expect("connected"));
    (stream, peer)
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.map(|_| "success").expect_err("an error is due").kind()
}

#[test]
fn a_port_is_taken_while_somebody_listens_and_free_afterwards() {
    in_the_world(|env| async move {
        let mut first = env.net().listen(0).await.expect("a free port");
        let port = first.port();
        assert_eq!(env.net().listen(port).await.err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));

        // The server closes first, which leaves the connection in TIME_WAIT on its side.
        let mut peer = TcpStream::connect((LOOPBACK, port)).expect("connects");
        drop(first.accept().await.expect("a connection"));
        assert_eq!(peer.read(&mut [0]).expect("a clean end"), 0);
        drop((peer, first));
        let second = env.net().listen(port).await.expect("the port is free again");
        assert_eq!(second.port(), port);
    });
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    in_the_world(|env| async move {
        let port = env.net().listen(0).await.expect("a free port").port();
        assert_eq!(kind(env.net().connect("127.0.0.1", port).await), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_connection_that_we_open_carries_bytes_both_ways() {
    in_the_world(|env| async move {
        let server = std::net::TcpListener::bind((LOOPBACK, 0)).expect("a free port");
        let at = server.local_addr().expect("bound");
        let mut stream = env.net().connect("localhost", at.port()).await.expect("connects");
        let (mut peer, from) = server.accept().expect("a connection");
        assert_eq!(stream.peer(), at);
        assert_eq!(from.ip(), LOOPBACK);
        stream.write_all(b"ping").await.expect("written");
        let mut four = [0; 4];
        peer.read_exact(&mut four).expect("arrives");
        assert_eq!(&four, b"ping");
        peer.write_all(b"pong").expect("written");
        stream.read_exact(&mut four).await.expect("arrives");
        assert_eq!(&four, b"pong");
    });
}

#[test]
fn an_ipv6_host_may_wear_the_brackets_of_its_url() {
    let Ok(server) = std::net::TcpListener::bind("[::1]:0") else {
        eprintln!("this machine has no IPv6 loopback; nothing to test");
        return;
    };
    let at: SocketAddr = server.local_addr().expect("bound");
    in_the_world(|env| async move {
        assert_eq!(env.net().connect("[::1]", at.port()).await.expect("connects").peer(), at);
    });
}

#[test]
fn an_abort_resets_the_peer_and_fails_our_side() {
    in_the_world(|env| async move {
        let (mut stream, mut peer) = accepted(&env).await;
        stream.abort_handle().abort();
        assert_eq!(kind(peer.read(&mut [0])), ErrorKind::ConnectionReset);
        assert_eq!(kind(stream.read_u8().await), ErrorKind::ConnectionReset);
        assert_eq!(kind(stream.write_all(b"x").await), ErrorKind::ConnectionReset);
        stream.abort_handle().abort();
    });
}

#[test]
fn an_abort_wakes_a_reader_and_a_writer_that_wait() {
    in_the_world(|env| async move {
        let (stream, peer) = accepted(&env).await;
        let handle = stream.abort_handle();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let reader = env.spawn("reader", async move { kind(reading.read_u8().await) });
        let writer = env.spawn("writer", async move {
            // More than two socket buffers hold, and the peer reads nothing.
            loop {
                if let Err(error) = writing.write_all(&[0; 1 << 16]).await {
                    return error.kind();
                }
            }
        });
        sleep(Duration::from_millis(100)).await;
        handle.abort();
        assert_eq!(reader.await, Some(ErrorKind::ConnectionReset));
        assert_eq!(writer.await, Some(ErrorKind::ConnectionReset));
        drop(peer);
    });
}

#[test]
fn dropping_a_stream_ends_it_cleanly_though_an_abort_handle_remains() {
    in_the_world(|env| async move {
        let (mut stream, mut peer) = accepted(&env).await;
        let handle = stream.abort_handle();
        stream.write_all(b"bye").await.expect("written");
        drop(stream);
        handle.abort();
        let mut heard = String::new();
        peer.read_to_string(&mut heard).expect("a clean end");
        assert_eq!(heard, "bye");
    });
}

#[test]
fn files_are_private_and_their_errors_keep_their_kinds() {
    let room = tempfile::tempdir().expect("a temporary directory");
    let env = gateway_os::env(LOOPBACK);
    let (fs, at) = (env.fs(), |name: &str| room.path().join(name));

    fs.create_dir_all(&at("a/b")).expect("created");
    fs.create_dir_all(&at("a/b")).expect("fine when it exists");
    fs.create_new(&at("a/new")).expect("created");
    assert_eq!(kind(fs.create_new(&at("a/new"))), ErrorKind::AlreadyExists);
    fs.append(&at("a/log"), b"one\n").expect("created by appending");
    fs.append(&at("a/log"), b"two\n").expect("appended");
    fs.truncate(&at("a/log"), 6).expect("shortened");
    assert_eq!(fs.read(&at("a/log")).expect("readable"), b"one\ntw");
    fs.write(&at("a/new"), b"x").expect("replaced");
    fs.sync_file(&at("a/new")).expect("synced");
    fs.rename(&at("a/new"), &at("a/log")).expect("renamed over the old file");
    fs.sync_dir(&at("a")).expect("synced");
    assert_eq!(fs.read(&at("a/log")).expect("readable"), b"x");

    let stat = fs.stat(&at("a/log")).expect("exists");
    assert_eq!(stat.size, 1);
    assert!(env.wall_clock().since(stat.modified) < Duration::from_secs(60));
    for (path, mode) in [("a", 0o700), ("a/b", 0o700), ("a/log", 0o600)] {
        let permissions = std::fs::metadata(at(path)).expect("exists").permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{path}");
    }

    fs.write(&at("a/Z"), b"").expect("created");
    assert_eq!(fs.list(&at("a")).expect("a directory"), [at("a/Z"), at("a/b"), at("a/log")]);
    fs.remove(&at("a/log")).expect("removed");
    for gone in [
        kind(fs.read(&at("a/log"))),
        kind(fs.remove(&at("a/log"))),
        kind(fs.stat(&at("a/log"))),
        kind(fs.truncate(&at("a/log"), 0)),
        kind(fs.sync_file(&at("a/log"))),
        kind(fs.rename(&at("a/log"), &at("a/Z"))),
        kind(fs.list(&at("gone"))),
        kind(fs.sync_dir(&at("gone"))),
        kind(fs.write(&at("gone/file"), b"")),
    ] {
        assert_eq!(gone, ErrorKind::NotFound);
    }
    assert_eq!(kind(fs.sync_dir(&at("a/Z"))), ErrorKind::NotADirectory);
}

#[test]
fn liveness_tells_a_process_from_another_with_its_id() {
    let env = gateway_os::env(LOOPBACK);
    let process = env.process();
    assert_eq!(process.pid(), Pid(std::process::id()));
    let start = process.start_time();
    if cfg!(target_os = "linux") {
        let StartTime(ticks) = start.expect("/proc tells it");
        assert_eq!(process.liveness(process.pid(), start), Liveness::Alive);
        assert_eq!(process.liveness(process.pid(), Some(StartTime(ticks + 1))), Liveness::Dead);
    }
    assert_eq!(process.liveness(process.pid(), None), Liveness::Unknown);
    assert_eq!(process.liveness(Pid(0), None), Liveness::Dead);
    assert_eq!(process.liveness(Pid(u32::MAX), start), Liveness::Dead);
}

#[test]
fn a_process_is_dead_from_its_end_on_not_only_once_it_is_reaped() {
    let env = gateway_os::env(LOOPBACK);
    let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat starts");
    let pid = Pid(child.id());
    assert_eq!(env.process().liveness(pid, None), Liveness::Unknown);
    drop(child.stdin.take());
    if cfg!(target_os = "linux") {
        let ended = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            env.process().liveness(pid, None) == Liveness::Dead
        });
        assert!(ended, "cat ends when its input does");
    }
    child.wait().expect("reaped");
    assert_eq!(env.process().liveness(pid, None), Liveness::Dead);
}

#[test]
fn handled_signals_arrive_in_order_and_do_not_kill() {
    in_the_world(|env| async move {
        let mut signals = env.process().handle_signals(&[Signal::Terminate, Signal::User1]);
        assert_eq!(signals.try_next(), None);
        for (sent, name) in [
            (OsSignal::USR1, Signal::User1),
            (OsSignal::TERM, Signal::Terminate),
            (OsSignal::USR1, Signal::User1),
        ] {
            kill_process(getpid(), sent).expect("we may signal ourselves");
            assert_eq!(signals.next().await, name);
        }
    });
}

#[test]
fn a_task_gives_its_result_unless_it_is_aborted() {
    struct OnDrop(Rc<Cell<bool>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    in_the_world(|env| async move {
        assert_eq!(env.spawn("sum", async { 1 + 1 }).await, Some(2));

        let dropped = Rc::new(Cell::new(false));
        let guard = OnDrop(dropped.clone());
        let task = env.spawn("waits for ever", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        assert!(!dropped.get());
        task.abort();
        assert_eq!(task.await, None);
        assert!(dropped.get(), "its destructors ran");
    });
}

#[test]
fn random_numbers_differ() {
    let env = gateway_os::env(LOOPBACK);
    assert_ne!(env.random("ids"), env.random("ids"));
    assert_eq!(env.random_id("ids").len(), 16);
}

#[test]
fn the_wall_clock_is_the_machines() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let read = Duration::from_millis(gateway_os::env(LOOPBACK).wall_clock().epoch_ms());
    assert!(read.abs_diff(now) < Duration::from_secs(5));
}

/// Set for the child process that [`panicking`] starts.
const IS_CHILD: &str = "GATEWAY_OS_TEST_PANICS";

/// Runs itself as a child process, which survives, and so succeeds, if the panic stays in its task.
#[test]
fn a_panic_in_a_task_ends_the_process_with_101() {
    if std::env::var_os(IS_CHILD).is_some() {
        exit_on_panic();
        in_the_world(|env| async move {
            let task = env.spawn("panics", async { panic!("the task's own words") });
            assert_eq!(task.await, None::<()>);
        });
        return;
    }
    let child = panicking().output().expect("starts");
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(101), "{said}");
    assert!(said.contains("the task's own words"), "{said}");
}

#[test]
fn a_panic_that_nobody_reads_ends_the_process_all_the_same() {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let has_room = |writer: &io::PipeWriter| {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(writer, PollFlags::OUT)], Some(&at_once)).expect("can be asked") > 0
    };
    while has_room(&writer) {
        writer.write_all(&[b'x'; 512]).expect("there is room");
    }
    let mut child = panicking().stdout(Stdio::null()).stderr(writer).spawn().expect("starts");
    assert_eq!(child.wait().expect("is our child").code(), Some(101));
    drop(reader);
}

/// This test program as a child process that panics.
fn panicking() -> Command {
    let mut child = Command::new(std::env::current_exe().expect("this test binary"));
    child.args(["--exact", "a_panic_in_a_task_ends_the_process_with_101", "--nocapture"]).env(IS_CHILD, "1");
    child
}
