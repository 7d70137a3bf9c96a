//! Whole lives of the gateway in a small world, with one thing in the way of each.
//!
//! A [`House`] has a disk, a provider and room for one life after another; a [`Client`] speaks the protocol. What is
//! asserted is what a sender hears, what the model was asked, what stands on the disk, and which log records name a
//! message.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use crate::Launch;
use crate::env::test_env::{TestProcess, World, on_paused_time};
use crate::env::{ExitCode, Signal, Stream, Task};
use crate::policy::{Policies, profile};

mod config_edits;
mod conflict;
mod cron;
mod delivery;
mod disk;
mod endings;
mod exec;
mod feishu;
mod generations;
mod hooks;
mod locks;
mod platform;
mod restart;
mod restart_command;
mod restart_company;
mod restart_memory;
mod rude;
mod second_signals;
mod sentinel;
mod store;
mod subagents;
mod telegram;
mod turns;
mod waiting;
mod wire;

const PORT: u16 = 18_789;
const PROVIDER_PORT: u16 = 8_080;
const TOKEN: &str = "t";
const INBOX: &str = "/state/inbox.jsonl";
const SESSIONS: &str = "/state/agents/main/sessions/sessions.json";
const STORE_LOCK: &str = "/state/agents/main/sessions/sessions.json.lock";
/// Longer than anything here may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(1_000);

/// Runs a test on paused time.
fn run(test: impl Future<Output = ()>) {
    on_paused_time(async { timeout(PATIENCE, test).await.expect("in time") });
}

/// What the model does with a question.
#[derive(Clone, Copy)]
enum Model {
    /// Answers after a while.
    Answers(Duration),
    /// Says nothing, ever.
    Hangs,
    /// Says nothing to what ends like this, and answers the rest at once.
    HangsOver(&'static str),
    /// These bytes, and then the end of the connection.
    Says(&'static str),
}

/// Set where somebody minds a gateway.
const MARKER: &str = "OPENCLAW_SERVICE_MARKER";

/// Where one gateway after another may live. Somebody minds them, and nothing tells who.
struct House {
    world: World,
    policies: Policies,
    lives: Cell<u32>,
    model: Rc<Cell<Model>>,
    asked: Rc<RefCell<Vec<String>>>,
    outside: TestProcess,
}

impl House {
    fn new() -> Self {
        Self::with_policies(Policies::default())
    }

    fn of_history() -> Self {
        Self::with_policies(profile("openclaw-2026.3.2").expect("exists"))
    }

    fn with_policies(policies: Policies) -> Self {
        let world = World::default();
        world.set_env_var(MARKER, "openclaw");
        let outside = world.process(1);
        configure(&world, json!({}));
        let model = Rc::new(Cell::new(Model::Answers(Duration::from_millis(100))));
        let asked = Rc::<RefCell<Vec<String>>>::default();
        let env = outside.env.clone();
        drop(outside.env.spawn("provider", provider(env, model.clone(), asked.clone())));
        Self { world, policies, lives: Cell::new(0), model, asked, outside }
    }

    /// From the next life on.
    fn set_stop_timeout(&self, ms: u64) {
        configure(&self.world, json!({"stopTimeoutMs": ms}));
    }

    /// From the next life on.
    fn set_max_buffered(&self, bytes: u64) {
        configure(&self.world, json!({"maxBufferedBytes": bytes}));
    }

    /// From the next life on.
    fn add_to_config(&self, key: &str, value: Value) {
        let mut config: Value = serde_json::from_str(&self.world.text("/config.json")).expect("JSON");
        config[key] = value;
        self.world.put("/config.json", &config.to_string());
    }

    /// Starts a life without waiting for anything.
    fn launch(&self) -> Life {
        self.lives.set(self.lives.get() + 1);
        let process = self.world.process(100 + self.lives.get());
        let launch = Launch { config: "/config.json".into(), policies: self.policies.clone() };
        let main = process.env.spawn("main", crate::run(process.env.clone(), launch));
        Life { process, main }
    }

    /// Starts a life and waits until it serves.
    async fn live(&self) -> Life {
        let life = self.launch();
        while self.probe("/readyz").await != Some(200) {
            sleep(Duration::from_millis(10)).await;
        }
        life
    }

    async fn probe(&self, path: &str) -> Option<u16> {
        let mut stream = self.dial().await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_whitespace().nth(1)?.parse().ok()
    }

    async fn dial(&self) -> Option<Stream> {
        self.outside.env.net().connect("gateway", PORT).await.ok()
    }

    /// A client that has not said who it is.
    async fn stranger(&self) -> Client {
        let stream = self.dial().await.expect("the port is open");
        let (socket, _) =
            tokio_tungstenite::client_async("ws://gateway/", stream).await.expect("the gateway upgrades");
        let mut client = Client { socket, requests: 0, kept: Vec::new() };
        client.event("connect.challenge").await;
        client
    }

    async fn client(&self) -> Client {
        let mut client = self.stranger().await;
        let hello = client.identify(TOKEN).await;
        assert_eq!(hello["ok"], true, "{hello}");
        client
    }

    /// The file of the only conversation.
    fn transcript(&self) -> String {
        let sessions: Value = serde_json::from_str(&self.world.text(SESSIONS)).expect("JSON");
        let file = sessions["main"]["sessionFile"].as_str().expect("a file name");
        format!("/state/agents/main/sessions/{file}")
    }

    fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }
}

/// Writes a configuration with these settings of the gateway beside those that it must have.
fn configure(world: &World, settings: Value) {
    configure_all(world, settings, json!({}));
}

/// As [`configure`], with these parts beside `gateway` and `model`.
fn configure_all(world: &World, settings: Value, parts: Value) {
    let mut gateway = json!({"auth": {"token": TOKEN}, "stateDir": "/state"});
    let merged = gateway.as_object_mut().expect("an object");
    merged.extend(settings.as_object().expect("settings").clone());
    let model = json!({"baseUrl": format!("http://model:{PROVIDER_PORT}/v1"), "name": "m"});
    let mut config = json!({"gateway": gateway, "model": model});
    let merged = config.as_object_mut().expect("an object");
    merged.extend(parts.as_object().expect("parts").clone());
    world.put("/config.json", &config.to_string());
}

/// One life of the gateway.
struct Life {
    process: TestProcess,
    main: Task<ExitCode>,
}

impl Life {
    fn signal(&self, signal: Signal) {
        self.process.signals.send(signal).expect("the handlers are installed");
    }

    async fn ended(self) -> ExitCode {
        let code = self.main.await.expect("it was not killed");
        // Whatever still runs ends with the process.
        self.process.kill();
        code
    }

    async fn end(self, signal: Signal) -> ExitCode {
        self.signal(signal);
        self.ended().await
    }

    async fn killed(self) {
        self.process.kill();
        assert_eq!(self.main.await, None);
    }
}

struct Client {
    socket: WebSocketStream<Stream>,
    requests: u64,
    kept: Vec<Value>,
}

impl Client {
    async fn identify(&mut self, token: &str) -> Value {
        let params = json!({"minProtocol": 3, "maxProtocol": 3, "auth": {"token": token}});
        self.request("connect", params).await
    }

    async fn request(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests.to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.say(Message::text(frame.to_string())).await;
        self.response(&id).await
    }

    async fn response(&mut self, id: &str) -> Value {
        loop {
            let frame = self.receive().await.expect("a response");
            if frame["type"] == "res" && frame["id"] == id {
                return frame;
            }
            self.kept.push(frame);
        }
    }

    async fn say(&mut self, message: Message) {
        self.socket.send(message).await.expect("is taken");
    }

    async fn send(&mut self, text: &str, key: &str) -> Value {
        self.send_in("main", text, key).await
    }

    async fn send_in(&mut self, session: &str, text: &str, key: &str) -> Value {
        let params = json!({"sessionKey": session, "message": text, "idempotencyKey": key});
        self.request("chat.send", params).await
    }

    async fn accepted(&mut self, text: &str, key: &str) {
        let answer = self.send(text, key).await;
        assert_eq!(answer["payload"]["status"], "started", "{answer}");
    }

    /// The end of a run as its sender hears it: state and text.
    async fn ending(&mut self, key: &str) -> (String, String) {
        loop {
            let chat = self.event("chat").await;
            if chat["runId"] == key && chat["state"] != "delta" {
                let text = chat["errorMessage"].as_str().or(chat["message"]["content"][0]["text"].as_str());
                return (chat["state"].as_str().expect("a state").into(), text.unwrap_or_default().into());
            }
        }
    }

    /// The conversation: role and text, oldest first.
    async fn history(&mut self) -> Vec<(String, String)> {
        let answer = self.request("chat.history", json!({"sessionKey": "main"})).await;
        let messages = answer["payload"]["messages"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let text = |value: &Value| value.as_str().expect("a text").to_string();
        messages.iter().map(|entry| (text(&entry["role"]), text(&entry["content"][0]["text"]))).collect()
    }

    async fn event(&mut self, name: &str) -> Value {
        loop {
            let frame = match self.kept.is_empty() {
                true => self.receive().await.unwrap_or_else(|code| panic!("closed with {code:?}, no {name}")),
                false => self.kept.remove(0),
            };
            if frame["event"] == name {
                return frame["payload"].clone();
            }
        }
    }

    /// The close code and reason, `None` when the connection ended without.
    async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            if let Err(end) = self.receive().await {
                return end;
            }
        }
    }

    async fn receive(&mut self) -> Result<Value, Option<(u16, String)>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => {
                    // The answer to the close frame goes out with the next read.
                    let _: Option<Result<Message, WebSocketError>> = self.socket.next().await;
                    return Err(frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

fn user(text: &str) -> (String, String) {
    ("user".into(), text.into())
}

fn reply(text: &str) -> (String, String) {
    ("assistant".into(), format!("re: {text}"))
}

async fn provider(env: crate::env::Env, model: Rc<Cell<Model>>, asked: Rc<RefCell<Vec<String>>>) {
    let mut listener = env.net().listen(PROVIDER_PORT).await.expect("the port is free");
    loop {
        let mut stream = listener.accept().await.expect("a connection");
        let (model, asked) = (model.clone(), asked.clone());
        drop(env.spawn("exchange", async move {
            let question = question(&mut stream).await;
            asked.borrow_mut().push(question.clone());
            let answer = match model.get() {
                Model::HangsOver(end) if question.ends_with(end) && !question.starts_with(SPAWN) => {
                    std::future::pending().await
                }
                behaviour @ (Model::Answers(_) | Model::HangsOver(_)) => {
                    if let Model::Answers(delay) = behaviour {
                        sleep(delay).await;
                    }
                    let chunk = json!({"choices": [{"delta": said(&question)}]});
                    format!("HTTP/1.1 200 OK\r\n\r\ndata: {chunk}\n\ndata: [DONE]\n\n")
                }
                Model::Hangs => std::future::pending().await,
                Model::Says(bytes) => bytes.to_string(),
            };
            // A gateway that has gone does not listen.
            let _ = stream.write_all(answer.as_bytes()).await;
        }));
    }
}

/// How a message begins that makes the model want a subagent.
const SPAWN: &str = "spawn: ";

/// How a message begins that makes the model want a program run.
const EXEC: &str = "exec: ";

/// What the model says to a question: it repeats it, or does as it is told.
fn said(question: &str) -> Value {
    if let Some(program) = question.strip_prefix(EXEC) {
        let function = json!({"name": "exec", "arguments": json!({"command": [program]}).to_string()});
        return json!({"tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": function}]});
    }
    let Some(task) = question.strip_prefix(SPAWN) else {
        return json!({"content": format!("re: {question}")});
    };
    let arguments = json!({"task": task}).to_string();
    let function = json!({"name": "sessions_spawn", "arguments": arguments});
    json!({"tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": function}]})
}

/// Reads a request; the last message of its prompt.
async fn question(stream: &mut Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.split_once("content-length: ").expect("a length").1.lines().next().expect("a number");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a body");
    let asked: Value = serde_json::from_slice(&body).expect("JSON");
    let messages = asked["messages"].as_array().expect("a prompt");
    messages.last().expect("a message")["content"].as_str().expect("a text").to_string()
}

/// Asserts that a record of level warn or above names `run`.
fn named(lines: &[&str], run: &str) -> Result<(), String> {
    let run = format!("run=\"{run}\"");
    let names = |line: &&&str| line.contains(&run) && (line.contains(" WARN ") || line.contains("ERROR "));
    lines.iter().find(names).map(|_| ()).ok_or(format!("no warning names {run} in {lines:#?}"))
}
