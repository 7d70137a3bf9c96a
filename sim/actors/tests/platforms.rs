//! The chat platforms as bots see them, and what their users learn.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use gateway::env::Env;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::stage::{self, ACTOR_HOST};
use crate::actors::platform::{
    self, Block, FEISHU_PORT, Outage, PlatformCommand, PlatformSettings, PlatformsSettings, TELEGRAM_PORT,
    Trouble, User,
};
use crate::actors::socket::Socket;
use crate::actors::webchat::SenderCommand;
use crate::timeline::Platform::{self, Feishu, Telegram};

/// Lets `bot` talk to platforms on which `ann` (telegram) and `eve` (feishu) are told these commands, each at its second;
/// the platforms' timeline.
fn platforms<F>(
    commands: Vec<(u64, PlatformCommand)>,
    feishu: PlatformSettings,
    bot: impl FnOnce(Env) -> F + 'static,
) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    let user = |sender: &str, platform, chat: &str| User {
        sender: sender.into(),
        platform,
        account: "main".into(),
        chat: chat.into(),
    };
    let settings = PlatformsSettings {
        users: vec![user("ann", Telegram, "700001"), user("eve", Feishu, "oc_eve")],
        telegram: PlatformSettings::default(),
        feishu,
        whose: std::rc::Rc::new(|| None),
    };
    stage::play(Duration::from_secs(100), bot, move |env, recorder| async move {
        let (tell, told) = mpsc::unbounded_channel();
        let script = async move {
            let began = tokio::time::Instant::now();
            for (at, command) in commands {
                tokio::time::sleep_until(began + Duration::from_secs(at)).await;
                tell.send(command).expect("the platforms listen");
            }
            std::future::pending::<()>().await;
        };
        env.spawn("script", script);
        platform::run(env, recorder, settings, told).await;
    })
}

fn says(sender: &str, text: &str) -> PlatformCommand {
    PlatformCommand::Say { sender: sender.into(), command: SenderCommand::Send { text: text.into() } }
}

fn suffers(platform: Platform, trouble: Trouble) -> PlatformCommand {
    PlatformCommand::Trouble(platform, trouble)
}

/// A bot's connection for requests.
struct Bot(SendRequest<Full<Bytes>>);

impl Bot {
    async fn connect(env: &Env, port: u16) -> Self {
        let stream = env.net().connect(ACTOR_HOST, port).await.expect("the platform listens");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("no bytes needed");
        env.spawn("connection", connection);
        Self(sender)
    }

    async fn post(&mut self, path: &str, token: &str, body: Value) -> Result<(u16, Value), String> {
        let request = Request::post(path)
            .header("host", format!("{ACTOR_HOST}:1"))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a valid request");
        let response = self.0.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, serde_json::from_slice(&body).expect("JSON")))
    }

    async fn telegram(&mut self, method: &str, body: Value) -> (u16, Value) {
        self.post(&format!("/bot7000:main/{method}"), "", body).await.expect("an answer")
    }

    /// The ids and texts of the updates from an offset on.
    async fn poll(&mut self, offset: u64) -> Vec<(u64, String)> {
        let (status, answer) = self.telegram("getUpdates", json!({ "offset": offset, "timeout": 30 })).await;
        assert_eq!(status, 200, "{answer}");
        let update = |update: &Value| {
            let text = update["message"]["text"].as_str().expect("a text").to_owned();
            (update["update_id"].as_u64().expect("an id"), text)
        };
        answer["result"].as_array().expect("a list").iter().map(update).collect()
    }

    async fn token(&mut self) -> String {
        let body = json!({ "app_id": "cli_main", "app_secret": "secret-of-main" });
        let path = "/open-apis/auth/v3/tenant_access_token/internal";
        let (_, answer) = self.post(path, "", body).await.expect("an answer");
        answer["tenant_access_token"].as_str().expect("a token").to_owned()
    }

    async fn say_on_feishu(&mut self, token: &str, uuid: &str, text: &str) -> Result<(u16, Value), String> {
        let content = json!({ "text": text }).to_string();
        let body = json!({ "receive_id": "oc_eve", "msg_type": "text", "content": content, "uuid": uuid });
        self.post("/open-apis/im/v1/messages", token, body).await
    }
}

async fn long_connection(env: &Env, bot: &mut Bot) -> Socket {
    let body = json!({ "AppID": "cli_main", "AppSecret": "secret-of-main" });
    let (_, answer) = bot.post("/callback/ws/endpoint", "", body).await.expect("an answer");
    assert_eq!(answer["code"], 0, "{answer}");
    let url = answer["data"]["URL"].as_str().expect("a place");
    let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect("host and port");
    let (host, port) = address.split_once(':').expect("a port");
    let stream = env.net().connect(host, port.parse().expect("a port")).await.expect("it listens");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("an upgrade");
    socket
}

/// The next event: its id and its text.
async fn event(socket: &mut Socket) -> (String, String) {
    loop {
        let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("the connection is over") };
        let frame: Value = serde_json::from_str(text.as_str()).expect("JSON");
        if frame["type"] == "event" {
            let content = frame["event"]["message"]["content"].as_str().expect("a content");
            let content: Value = serde_json::from_str(content).expect("JSON");
            let id = frame["headers"]["event_id"].as_str().expect("an id").to_owned();
            return (id, content["text"].as_str().expect("a text").to_owned());
        }
    }
}

async fn acknowledge(socket: &mut Socket, event: &str) {
    let ack = json!({ "type": "ack", "event_id": event, "code": 200 }).to_string();
    socket.send(Message::text(ack)).await.expect("it is open");
}

#[test]
fn telegram_hands_out_until_the_offset_has_passed() {
    let commands = vec![(0, says("ann", "one")), (5, says("ann", "two"))];
    let told = platforms(commands, PlatformSettings::default(), |env| async move {
        sleep(Duration::from_secs(1)).await;
        let mut bot = Bot::connect(&env, TELEGRAM_PORT).await;
        assert_eq!(bot.telegram("getMe", json!({})).await.1["result"]["username"], "main_bot");
        assert_eq!(bot.poll(0).await, [(1_001, "one [ann#1]".into())]);
        assert_eq!(bot.poll(0).await, [(1_001, "one [ann#1]".into())], "it was not confirmed");
        assert_eq!(bot.poll(1_002).await, [(1_002, "two [ann#2]".into())], "the poll waits");
        assert_eq!(bot.poll(1_003).await, []);
        let (status, answer) = bot
            .telegram("sendMessage", json!({ "chat_id": 700_001, "text": "Re [ann#1]: the harbour" }))
            .await;
        assert_eq!((status, &answer["ok"]), (200, &json!(true)));
    });
    assert_eq!(
        told,
        [
            "message.sent ann#1 (1) one [ann#1]",
            "bot.connected main",
            "update.handed-out ann#1 telegram:main:1001 (1)",
            "update.redelivered ann#1 telegram:main:1001 (2)",
            "message.accepted ann#1",
            "message.sent ann#2 (1) two [ann#2]",
            "update.handed-out ann#2 telegram:main:1002 (1)",
            "message.accepted ann#2",
            "send.taken 1 to 700001",
            "reply.received ann#1 Platform { send: 1 } Re [ann#1]: the harbour",
            "send.answered 1",
            "bot.disconnected main gone",
        ]
    );
}

#[test]
fn a_second_poller_ends_the_first() {
    let told = platforms(vec![], PlatformSettings::default(), |env| async move {
        sleep(Duration::from_secs(1)).await;
        let mut first = Bot::connect(&env, TELEGRAM_PORT).await;
        let mut second = Bot::connect(&env, TELEGRAM_PORT).await;
        let late = async {
            sleep(Duration::from_secs(2)).await;
            second.telegram("getUpdates", json!({ "timeout": 1 })).await
        };
        let body = json!({ "timeout": 30 });
        let ((status, answer), (other, _)) = tokio::join!(first.telegram("getUpdates", body), late);
        assert_eq!((status, other), (409, 200));
        assert!(answer["description"].as_str().expect("words").starts_with("Conflict: "), "{answer}");
        // Whoever has hung up is no poller any more.
        let gone =
            timeout(Duration::from_secs(1), first.telegram("getUpdates", json!({ "timeout": 30 }))).await;
        assert!(gone.is_err());
        drop(first);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(second.telegram("getUpdates", json!({ "timeout": 1 })).await.0, 200);
    });
    assert_eq!(told.iter().filter(|line| line.starts_with("bot.conflict")).count(), 1, "{told:#?}");
}

#[test]
fn feishu_pushes_again_until_it_is_acknowledged() {
    let feishu = PlatformSettings { new_ids: 100, ..PlatformSettings::default() };
    let told = platforms(vec![(0, says("eve", "one")), (30, says("eve", "two"))], feishu, |env| async move {
        sleep(Duration::from_secs(1)).await;
        let mut bot = Bot::connect(&env, FEISHU_PORT).await;
        let mut socket = long_connection(&env, &mut bot).await;
        assert_eq!(event(&mut socket).await, ("ev_main_1001".into(), "one [eve#1]".into()));
        assert_eq!(event(&mut socket).await.0, "ev_main_1001_2", "the same connection");
        drop(socket);
        let mut socket = long_connection(&env, &mut bot).await;
        let (id, _) = event(&mut socket).await;
        assert_eq!(id, "ev_main_1001_3", "after a reconnect");
        acknowledge(&mut socket, &id).await;
        let (id, text) = event(&mut socket).await;
        assert_eq!(text, "two [eve#2]");
        acknowledge(&mut socket, &id).await;
        sleep(Duration::from_secs(40)).await;
    });
    let pushed: Vec<_> = told.iter().filter(|line| !line.starts_with("bot.")).cloned().collect();
    assert_eq!(
        pushed,
        [
            "message.sent eve#1 (1) one [eve#1]",
            "update.handed-out eve#1 feishu:main:om_main_1001 (1)",
            "update.redelivered eve#1 feishu:main:om_main_1001_2 (2)",
            "update.redelivered eve#1 feishu:main:om_main_1001_3 (3)",
            "message.accepted eve#1",
            "message.sent eve#2 (1) two [eve#2]",
            "update.handed-out eve#2 feishu:main:om_main_1002 (1)",
            "message.accepted eve#2",
        ]
    );
}

#[test]
fn feishu_takes_a_message_with_the_same_key_once() {
    let commands = vec![
        (0, says("eve", "one")),
        (1, suffers(Feishu, Trouble::CutLine { after: 0, count: 1 })),
        (20, suffers(Feishu, Trouble::Block { sender: "eve".into(), block: Some(Block::Blocked) })),
    ];
    let told = platforms(commands, PlatformSettings::default(), |env| async move {
        sleep(Duration::from_secs(2)).await;
        let mut bot = Bot::connect(&env, FEISHU_PORT).await;
        assert_eq!(bot.say_on_feishu("t-none", "k", "x").await.expect("an answer").0, 401);
        let token = bot.token().await;
        bot.say_on_feishu(&token, "k", "Re [eve#1]: yes").await.expect_err("the line is cut");
        let mut bot = Bot::connect(&env, FEISHU_PORT).await;
        let (status, answer) = bot.say_on_feishu(&token, "k", "Re [eve#1]: yes").await.expect("an answer");
        assert_eq!((status, answer["data"]["message_id"].as_str()), (200, Some("om_sent_1")));
        sleep(Duration::from_secs(20)).await;
        let (status, answer) = bot.say_on_feishu(&token, "k2", "x").await.expect("an answer");
        assert_eq!((status, &answer["code"]), (400, &json!(230_013)));
    });
    assert_eq!(
        told,
        [
            "message.sent eve#1 (1) one [eve#1]",
            "send.taken 1 to oc_eve",
            "reply.received eve#1 Platform { send: 1 } Re [eve#1]: yes",
            "send.unanswered 1 cut",
            "send.taken 2 to oc_eve again",
            "send.answered 2",
            "send.refused to oc_eve: blocked by the user",
        ]
    );
}

#[test]
fn a_platform_that_is_down_is_not_there_and_forgets_nothing() {
    let commands = vec![
        (2, suffers(Telegram, Trouble::Outage(Some(Outage::Refuses)))),
        (3, says("ann", "one")),
        (5, suffers(Telegram, Trouble::Outage(Some(Outage::Fails)))),
        (8, suffers(Telegram, Trouble::Outage(None))),
        (8, suffers(Telegram, Trouble::Limit(Some(Duration::from_secs(7))))),
    ];
    let told = platforms(commands, PlatformSettings::default(), |env| async move {
        sleep(Duration::from_secs(1)).await;
        let mut bot = Bot::connect(&env, TELEGRAM_PORT).await;
        let poll = bot.post("/bot7000:main/getUpdates", "", json!({ "timeout": 30 })).await;
        poll.expect_err("the line is cut");
        sleep(Duration::from_secs(1)).await;
        let refused = env.net().connect(ACTOR_HOST, TELEGRAM_PORT).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        sleep(Duration::from_secs(3)).await;
        let mut bot = Bot::connect(&env, TELEGRAM_PORT).await;
        assert_eq!(bot.telegram("getMe", json!({})).await.0, 502);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(bot.poll(0).await, [(1_001, "one [ann#1]".into())]);
        let (status, answer) = bot.telegram("sendMessage", json!({ "chat_id": 700_001, "text": "x" })).await;
        assert_eq!((status, &answer["parameters"]["retry_after"]), (429, &json!(7)));
        let (status, _) = bot.telegram("sendMessage", json!({ "chat_id": 9, "text": "x" })).await;
        assert_eq!(status, 429);
    });
    assert!(told.contains(&"bot.disconnected main gone".to_owned()), "{told:#?}");
}

#[test]
fn a_line_that_is_reset_loses_the_answer_on_its_way() {
    let commands = vec![(2, suffers(Telegram, Trouble::Outage(Some(Outage::Refuses))))];
    let told = platforms(commands, PlatformSettings::default(), |env| async move {
        for (wait_ms, text) in [(1_000, "long ago"), (800, "just now")] {
            sleep(Duration::from_millis(wait_ms)).await;
            let mut bot = Bot::connect(&env, TELEGRAM_PORT).await;
            let said = json!({ "chat_id": 700_001, "text": text });
            assert_eq!(bot.telegram("sendMessage", said).await.0, 200);
            // Its line stays open.
            std::mem::forget(bot);
        }
        sleep(Duration::from_secs(1)).await;
    });
    let of_sends: Vec<_> = told.iter().filter(|line| line.contains("answered")).collect();
    assert_eq!(of_sends, ["send.answered 1", "send.answered 2", "send.unanswered 2 cut"]);
}
