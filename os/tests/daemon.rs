//! The daemon from outside: real processes, sockets, signals and files.
//!
//! The simulator checks what the gateway does in every order of events; here are the few lives that prove that the
//! same code keeps its word on an operating system.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::{Client, Heard};
use support::daemon::{Home, TOKEN, is_free};
use support::provider::{Pace, Provider, reply_to};
use support::{run, soon};

#[test]
fn a_conversation() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let _daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        for (number, message) in ["hello", "and again"].into_iter().enumerate() {
            let run = client.send("main", message, &format!("key-{number}")).await;
            let reply = client.reply(&run).await;
            assert_eq!((reply.state.as_str(), reply.text), ("final", reply_to(message)));
            assert!(reply.deltas > 0, "the reply is shown while it is written");
        }
        assert_eq!(provider.asked(), ["hello", "and again"]);
        let said = ["hello", &reply_to("hello"), "and again", &reply_to("and again")].map(str::to_string);
        let roles = ["user", "assistant", "user", "assistant"].map(str::to_string);
        let expected: Vec<_> = roles.into_iter().zip(said).collect();
        assert_eq!(client.history("main").await, expected);
    });
}

#[test]
fn sigterm_during_a_reply_lets_it_finish() {
    run(async {
        let provider = Provider::start(Pace::SLOW).await;
        let home = Home::new(&provider);
        let mut daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let run = client.send("main", "are you still there?", "key").await;
        client.delta(&run).await;
        daemon.signal(Signal::TERM);
        let reply = client.reply(&run).await;
        assert_eq!((reply.state.as_str(), reply.text), ("final", reply_to("are you still there?")));
        assert_eq!(client.closed().await, Some(1012));
        assert_eq!(daemon.ended().await, Some(0));
        assert!(is_free(home.port()));
    });
}

#[test]
fn a_message_acknowledged_before_sigkill_is_answered_for_by_the_next_life() {
    run(async {
        let provider = Provider::start(Pace::NEVER).await;
        let home = Home::new(&provider);
        let mut first = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        client.send("main", "remember me", "key").await;
        first.signal(Signal::KILL);
        assert_eq!(first.ended().await, None);

        provider.set_pace(Pace::FAST);
        let _second = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let settled = async {
            loop {
                let history = client.history("main").await;
                let mut after = history.iter().skip_while(|line| line.0 != "user");
                if after.next().is_some_and(|line| line.1 == "remember me")
                    && after.any(|line| line.0 == "notice" || line.1 == reply_to("remember me"))
                {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        soon("a notice or a reply after the restart", settled).await;
    });
}

#[test]
fn a_wrong_token_is_refused() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut daemon = home.start().await;
        for wrong in ["", "guess", &format!("{TOKEN} ")] {
            let mut client = Client::open(home.port()).await;
            let response = client.identify(wrong).await;
            assert_eq!(response["ok"], false, "{wrong:?}: {response}");
            assert!(response["error"]["message"].is_string(), "{wrong:?}: {response}");
            assert_eq!(client.closed().await, Some(1008), "{wrong:?}");
        }
        assert!(daemon.lives());
        Client::connect(home.port(), TOKEN).await;
    });
}

#[test]
fn malformed_frames_harm_only_their_own_connection() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut daemon = home.start().await;
        let mut bystander = Client::connect(home.port(), TOKEN).await;

        for identified in [false, true] {
            for message in malformed_messages() {
                let mut client = Client::open(home.port()).await;
                if identified {
                    assert_eq!(client.identify(TOKEN).await["ok"], true);
                }
                client.say(message).await;
                hear_out(&mut client).await;
            }
        }
        for bytes in [
            &b"\xc1\x80\0\0\0\0"[..],                            // a reserved bit is set
            b"\x83\x80\0\0\0\0",                                 // a reserved opcode
            b"\x81\x03abc",                                      // a client must mask
            b"\x81\x82\0\0\0\0\xff\xfe",                         // text that is not UTF-8
            b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", // a frame of 8 exbibytes
            b"\x80\x80\0\0\0\0",                                 // the rest of a message that never began
            b"\x88\x81\0\0\0\0x",                                // a close code of one byte
        ] {
            let mut client = Client::open(home.port()).await;
            client.say_raw(bytes).await;
            hear_out(&mut client).await;
        }
        for bytes in [&b"\x16\x03\x01\x02\0\x01\0"[..], b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /"] {
            let mut socket =
                TcpStream::connect((Ipv4Addr::LOCALHOST, home.port())).await.expect("it listens");
            // The gateway may hang up at any point of this.
            let _ = socket.write_all(bytes).await;
            let _ = socket.shutdown().await;
            let _ = soon("the end of a hopeless connection", socket.read_to_end(&mut Vec::new())).await;
        }

        assert!(daemon.lives());
        let run = bystander.send("main", "all well?", "key").await;
        assert_eq!(bystander.reply(&run).await.text, reply_to("all well?"));
    });
}

/// WebSocket messages that are fine as such, and no frames of the protocol.
fn malformed_messages() -> Vec<Message> {
    let mut messages: Vec<_> = [
        json!({}),
        json!([]),
        json!(null),
        json!({"type": "req"}),
        json!({"type": "req", "id": 1, "method": 2, "params": 3}),
        json!({"type": "req", "id": "x", "method": "no.such.method", "params": {}}),
        json!({"type": "req", "id": "x", "method": "chat.send"}),
        json!({"type": "req", "id": "x", "method": "chat.send", "params": {"sessionKey": 7, "message": {}}}),
        json!({"type": "req", "id": "x", "method": "chat.history", "params": {"sessionKey": "../..", "limit": -1}}),
        json!({"type": "req", "id": "x", "method": "connect", "params": {"minProtocol": 99, "maxProtocol": 1}}),
        json!({"type": "res", "id": "x", "ok": true}),
        json!({"type": "event", "event": "shutdown"}),
    ]
    .iter()
    .map(|frame| Message::text(frame.to_string()))
    .collect();
    messages.push(Message::text("not JSON"));
    messages.push(Message::text(""));
    messages.push(Message::text("[".repeat(50_000)));
    messages.push(Message::binary(&b"\0\x01\x02"[..]));
    messages
}

/// Listens until the gateway has had its say: a response, the end, or nothing for a while.
async fn hear_out(client: &mut Client) {
    while let Some(Heard::Frame(frame)) = client.hear_within(Duration::from_millis(100)).await {
        if frame["type"] == "res" {
            assert_eq!(frame["ok"], false, "{frame}");
            return;
        }
    }
}

#[test]
fn a_broken_configuration_is_named_by_file_line_and_column() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut daemon = home.launch_configured("{\n  \"gateway\": {\n    \"port\": oops\n  }\n}\n");
        assert_eq!(daemon.ended().await, Some(78));
        let log = daemon.log();
        assert!(log.contains(&*daemon.config().to_string_lossy()), "no file in: {log}");
        let names_the_place = log.contains(":3:") || (log.contains("line 3") && log.contains("column"));
        assert!(names_the_place, "no line and column in: {log}");
    });
}

#[test]
fn an_oversized_frame_is_answered_by_its_close_code() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let home = Home::new(&provider);
        let mut daemon = home.start().await;
        // The head of a text frame of 26 MiB and the beginning of its content.
        let mut frame = b"\x81\xff\0\0\0\0\x01\xa0\0\0\0\0\0\0".to_vec();
        frame.resize(200_000, b'x');
        for (identified, code) in [(true, 1009), (false, 1008)] {
            let mut client = Client::open(home.port()).await;
            if identified {
                assert_eq!(client.identify(TOKEN).await["ok"], true);
            }
            client.say_raw(&frame).await;
            assert_eq!(client.closed().await, Some(code));
        }
        assert!(daemon.lives());
    });
}

#[test]
fn a_message_is_run_once_however_often_it_is_handed_over() {
    run(async {
        let provider = Provider::start(Pace::SLOW).await;
        let home = Home::new(&provider);
        let mut daemon = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let send = |message| json!({"sessionKey": "main", "message": message, "idempotencyKey": "key"});
        let statuses = ["started", "in_flight"];
        for status in statuses {
            let response = client.request("chat.send", send("hello")).await;
            assert_eq!(response["payload"]["status"], status, "{response}");
        }
        client.reply("key").await;
        daemon.signal(Signal::KILL);
        daemon.ended().await;

        let _second = home.start().await;
        let mut client = Client::connect(home.port(), TOKEN).await;
        let response = client.request("chat.send", send("hello")).await;
        assert_eq!(
            (&response["payload"]["status"], &response["payload"]["outcome"]),
            (&json!("ok"), &json!("answered"))
        );
        let response = client.request("chat.send", send("something else")).await;
        assert_eq!(response["error"]["code"], "INVALID_REQUEST", "{response}");
        assert_eq!(provider.asked(), ["hello"]);
        assert_eq!(client.history("main").await.len(), 2);
    });
}

#[test]
fn state_that_cannot_be_read_is_named_and_never_overwritten() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        for (file, text) in [
            ("inbox.jsonl", "not ours, without an end of line"),
            ("inbox.jsonl", "not ours\n"),
            // Empty and alone it would be a store that does not exist yet.
            ("agents/main/sessions/sessions.json", "\n"),
            ("agents/main/sessions/sessions.json", "{\"main\": {"),
        ] {
            let home = Home::new(&provider);
            let path = home.state().join(file);
            fs::create_dir_all(path.parent().expect("in a directory")).expect("created");
            fs::write(&path, text).expect("written");
            let mut daemon = home.launch();
            assert_eq!(daemon.ended().await, Some(78), "{file} {text:?}");
            assert!(daemon.log().contains(&*path.to_string_lossy()), "{}", daemon.log());
            assert_eq!(fs::read_to_string(&path).expect("is there"), text);
            assert!(!home.state().join("gateway.lock").exists());
        }
    });
}

/// The tests above lean on the stub; this one checks the stub.
#[test]
fn the_stub_provider_streams_a_token_per_word() {
    run(async {
        let provider = Provider::start(Pace::FAST).await;
        let mut socket =
            TcpStream::connect((Ipv4Addr::LOCALHOST, provider.port())).await.expect("it listens");
        let body = json!({"stream": true, "messages": [{"role": "user", "content": "one two"}]}).to_string();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: stub\r\nconnection: close\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).await.expect("taken");
        let mut answer = String::new();
        soon("the reply", socket.read_to_string(&mut answer)).await.expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("text/event-stream"), "{answer}");
        let tokens: Vec<_> =
            answer.split("\"content\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(tokens, ["You ", "said ", "to ", "me: ", "one ", "two"]);
        assert!(answer.contains("data: [DONE]\n\n"), "{answer}");
        assert_eq!(provider.asked(), ["one two"]);
    });
}
