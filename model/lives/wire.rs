//! Rude and broken clients, and a provider out of its mind: each harms at most itself.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::{House, Model, TOKEN, run};

#[test]
fn a_ping_is_no_connect_request_and_no_offence() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.stranger().await;
        client.say(Message::Ping("hello".into())).await;
        assert_eq!(client.identify(TOKEN).await["ok"], true);
    });
}

#[test]
fn a_stranger_may_send_64_kib_in_frames_of_any_kind() {
    let large = "x".repeat(70_000);
    let pieces = Message::Pong(vec![0; 120].into());
    for (count, message) in [(1, Message::text(large)), (1_000, pieces)] {
        run(async {
            let house = House::new();
            house.live().await;
            let mut client = house.stranger().await;
            for _ in 0..count {
                // It may hang up at any point of this.
                let _ = client.socket.send(message.clone()).await;
            }
            let (code, reason) = client.closed().await.expect("a close frame");
            assert_eq!(
                (code, reason.as_str()),
                (1008, "at most 65536 bytes are allowed before authentication")
            );
        });
    }
}

#[test]
fn one_that_says_nothing_is_hung_up_on() {
    run(async {
        let house = House::new();
        house.live().await;
        let started = Instant::now();
        assert_eq!(house.stranger().await.closed().await, None);
        assert_eq!(started.elapsed().as_secs(), 15);
        for sent in ["", "GET / HT", "GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n"] {
            let mut stream = house.dial().await.expect("the port is open");
            stream.write_all(sent.as_bytes()).await.expect("is taken");
            let started = Instant::now();
            stream.read_to_end(&mut Vec::new()).await.expect("an end");
            assert_eq!(started.elapsed().as_secs(), 15, "{sent:?}");
        }
    });
}

#[test]
fn a_reason_longer_than_a_close_frame_is_cut() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.stranger().await;
        let params = json!({"minProtocol": "é".repeat(100), "maxProtocol": 3});
        let refused = client.request("connect", params).await;
        assert_eq!(refused["ok"], false);
        let (code, reason) = client.closed().await.expect("a close frame");
        assert_eq!(code, 1008);
        assert!(reason.contains("éé") && reason.len() <= 123, "{reason}");
    });
}

#[test]
fn a_frame_that_is_no_request_gets_an_answer() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.client().await;
        for frame in ["nonsense", "[]", r#"{"type":"req","id":7,"method":"health"}"#, ""] {
            client.say(Message::text(frame)).await;
            let answer = client.response("invalid").await;
            assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{frame}: {answer}");
        }
        assert_eq!(client.request("health", json!({})).await["ok"], true);
        client.say(Message::binary(vec![1, 2, 3])).await;
        assert_eq!(client.closed().await, Some((1008, "frames are text".into())));
    });
}

#[test]
fn a_connection_follows_only_so_many_conversations() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.client().await;
        for number in 0..1_000 {
            let params = json!({"sessionKey": format!("s{number}")});
            assert_eq!(client.request("chat.history", params).await["ok"], true);
        }
        let params = json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "k1"});
        let refused = client.request("chat.send", params).await;
        assert_eq!(refused["error"]["code"], "INVALID_REQUEST", "{refused}");
        assert_eq!(client.request("chat.history", json!({"sessionKey": "S7"})).await["ok"], true);
        assert_eq!(house.asked(), [""; 0]);
    });
}

#[test]
fn a_provider_out_of_its_mind_is_a_notice() {
    let endless_line = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(300_000)).leak();
    let piece = json!({"choices": [{"delta": {"content": "x".repeat(100_000)}}]});
    let endless_answer = format!("HTTP/1.1 200 OK\r\n\r\n{}", format!("data: {piece}\n\n").repeat(6)).leak();
    let endless_error = format!("HTTP/1.1 404 No\r\n\r\n{}", "x".repeat(300_000)).leak();
    for (says, why) in [
        (&*endless_line, "a line of the stream is longer than"),
        (endless_answer, "it is longer than"),
        (endless_error, "the model answered 404"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "ended before [DONE]"),
        ("HTTP/1.1 200 OK\r\n\r\ndata: {\"error\":\"overloaded\"}\n\n", "missing field `choices`"),
        ("not HTTP at all\r\n\r\n", "the connection to the model broke"),
        ("", "the connection to the model broke"),
    ] {
        run(async {
            let house = House::new();
            house.live().await;
            house.model.set(Model::Says(says));
            let mut client = house.client().await;
            client.accepted("hello", "k1").await;
            let (state, text) = client.ending("k1").await;
            assert_eq!(state, "error");
            assert!(text.contains(why) && text.len() < 1_000, "{text}");
        });
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_the_answer_still_recorded() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut deaf = house.client().await;
        let piece = json!({"choices": [{"delta": {"content": "x".repeat(100_000)}}]});
        let long =
            format!("HTTP/1.1 200 OK\r\n\r\n{}data: [DONE]\n\n", format!("data: {piece}\n\n").repeat(5));
        house.model.set(Model::Says(long.leak()));
        for key in 0..12 {
            deaf.say(Message::text(
                json!({"type": "req", "id": "x", "method": "chat.send", "params":
                    {"sessionKey": "main", "message": "hi", "idempotencyKey": format!("k{key}")}})
                .to_string(),
            ))
            .await;
        }
        // Its pipe is full, so it does not hear that it is sent away: it has a second for that.
        sleep(Duration::from_secs(5)).await;
        let health = house.client().await.request("health", json!({})).await;
        assert_eq!(health["payload"]["peers"], 1, "{health}");
        assert_eq!(health["payload"]["work"]["openMessages"], 0, "{health}");
        let recorded = house.world.text(&house.transcript());
        assert_eq!(recorded.matches(r#""role":"assistant""#).count(), 12);
        assert_eq!(
            house.client().await.history().await.len(),
            8,
            "as much as may wait for one client, and half"
        );
    });
}
