//! The daemon killed with SIGKILL at random moments, under load on webchat and on both platforms: what it acknowledged
//! is answered, or its sender is told, and nobody is answered twice who did not have to be.
//!
//! A few kills by default; `GATEWAY_KILLS=200 cargo test -p gateway-os --test kills -- --nocapture` makes more of them and
//! shows the figures, `GATEWAY_KILLS_SEED=7` others.

use std::cell::{Cell, RefCell};
use std::env;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

#[allow(unreachable_pub, dead_code, reason = "shared among test binaries")]
mod support;

use support::client::Client;
use support::daemon::{Home, Minded, TOKEN};
use support::platforms::{Kind, Platform};
use support::provider::{Pace, Provider, reply_to};
use support::run;

const KILLS: u64 = 4;
const SEED: u64 = 29_106;
/// Who sends on webchat at the same time.
const SENDERS: u64 = 3;
/// A conversation has no more messages than its history shows.
const MESSAGES_OF_A_SESSION: u64 = 20;
/// So many messages may wait for their answers on a platform before its user writes the next.
const PATIENCE_OF_USERS: usize = 4;
/// How long the last life may take to settle everything.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);
/// What a text says that a platform may have been sent before.
const MAYBE_REPEATED: &str = "\n(You may have got this before";

/// Numbers that a seed decides.
struct Lot(u64);

impl Lot {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What senders on webchat had acknowledged: conversation and text.
#[derive(Default)]
struct Book {
    acknowledged: RefCell<Vec<(String, String)>>,
    is_over: Cell<bool>,
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn nothing_that_was_acknowledged_is_lost_to_sigkill() {
    run(async {
        let mut lot = Lot(number_from("GATEWAY_KILLS_SEED", SEED).max(1));
        let kills = number_from("GATEWAY_KILLS", KILLS);
        let provider = Provider::start(Pace::FAST).await;
        let platforms = [Platform::start(Kind::Telegram).await, Platform::start(Kind::Feishu).await];
        let mut channels = platforms[0].config();
        channels
            .as_object_mut()
            .expect("a table")
            .extend(platforms[1].config().as_object().expect("a table").clone());
        let home = Home::new(&provider).minded(Minded::BySupervisor).channels(channels);
        let book = Rc::new(Book::default());
        for number in 1..=SENDERS {
            spawn_local(talk(home.port(), number, book.clone()));
        }
        let written = Rc::new([const { RefCell::new(Vec::new()) }; 2]);
        for (index, platform) in platforms.iter().enumerate() {
            spawn_local(write(platform.clone(), index, written.clone(), book.clone()));
        }
        let began = Instant::now();
        let mut before_ready = 0;
        for _ in 0..kills {
            let mut daemon = home.launch();
            // One in four dies while it starts.
            match lot.below(4) {
                0 => before_ready += 1,
                _ => daemon.ready().await,
            }
            sleep(Duration::from_micros(lot.below(600_000))).await;
            daemon.signal(Signal::KILL);
            assert_eq!(daemon.ended().await, None, "it was killed");
        }
        book.is_over.set(true);
        let _daemon = home.start().await;
        let figures = settles(&home, &book, &platforms, &written).await;
        println!(
            "{kills} kills in {:.0} s, {before_ready} of them in a start: {figures}",
            began.elapsed().as_secs_f64()
        );
    });
}

/// A sender on webchat: hands over one message after another, each again under its name until it is acknowledged.
async fn talk(port: u16, number: u64, book: Rc<Book>) {
    let mut sent = 0;
    while !book.is_over.get() {
        if let Some(mut socket) = connect(port).await {
            while !book.is_over.get() {
                let session = format!("kills-{number}-{}", sent / MESSAGES_OF_A_SESSION);
                let text = format!("w{number}x{sent}y");
                let params = json!({"sessionKey": session, "message": text, "idempotencyKey": text});
                match request(&mut socket, "chat.send", params).await {
                    Some(answer) if answer["ok"] == true => {
                        book.acknowledged.borrow_mut().push((session, text));
                        sent += 1;
                    }
                    Some(_) => {}
                    None => break,
                }
                sleep(Duration::from_millis(40)).await;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// A user of a platform, who does not run away from the answers.
async fn write(platform: Platform, index: usize, written: Rc<[RefCell<Vec<String>>; 2]>, book: Rc<Book>) {
    while !book.is_over.get() {
        let count = written[index].borrow().len();
        if count < platform.sent().len() + PATIENCE_OF_USERS {
            let text = format!("p{index}x{count}y");
            platform.write(&text);
            written[index].borrow_mut().push(text);
        }
        sleep(Duration::from_millis(40)).await;
    }
}

async fn connect(port: u16) -> Option<WebSocketStream<TcpStream>> {
    let opening = async {
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        tokio_tungstenite::client_async(format!("ws://127.0.0.1:{port}/"), tcp).await.ok()
    };
    let (mut socket, _) = timeout(Duration::from_secs(5), opening).await.ok()??;
    let params = json!({"minProtocol": 3, "maxProtocol": 3, "auth": {"token": TOKEN}});
    let hello = request(&mut socket, "connect", params).await?;
    (hello["ok"] == true).then_some(socket)
}

/// A request and its response; `None` when the connection ends before it.
async fn request(socket: &mut WebSocketStream<TcpStream>, method: &str, params: Value) -> Option<Value> {
    let frame = json!({"type": "req", "id": method, "method": method, "params": params});
    let exchange = async {
        socket.send(Message::text(frame.to_string())).await.ok()?;
        loop {
            let Message::Text(text) = socket.next().await?.ok()? else { continue };
            let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
            if frame["type"] == "res" {
                return Some(frame);
            }
        }
    };
    timeout(Duration::from_secs(10), exchange).await.ok()?
}

/// Waits until everybody was answered or told, and that nobody was too often.
async fn settles(
    home: &Home,
    book: &Book,
    platforms: &[Platform; 2],
    written: &[RefCell<Vec<String>>; 2],
) -> String {
    let deadline = Instant::now() + SETTLES_WITHIN;
    let (lost, figures) = loop {
        let (mut lost, mut figures) = on_webchat(home, book).await;
        for (platform, written) in platforms.iter().zip(written) {
            let (lost_there, figures_there) = on_platform(platform, &written.borrow());
            lost.extend(lost_there);
            figures += &figures_there;
        }
        if lost.is_empty() || Instant::now() > deadline {
            break (lost, figures);
        }
        sleep(Duration::from_millis(500)).await;
    };
    assert!(lost.is_empty(), "nobody was told of {lost:?}; {figures}");
    figures
}

/// What senders on webchat do not find in the history, and what they do.
async fn on_webchat(home: &Home, book: &Book) -> (Vec<String>, String) {
    let acknowledged = book.acknowledged.borrow().clone();
    let mut client = Client::connect(home.port(), TOKEN).await;
    let (mut lost, mut replies) = (Vec::new(), 0);
    let mut history: (String, Vec<(String, String)>) = Default::default();
    let mut in_order = acknowledged.clone();
    in_order.sort();
    for (session, text) in &in_order {
        if history.0 != *session {
            history = (session.clone(), client.history(session).await);
        }
        let about: Vec<_> =
            history.1.iter().filter(|(role, said)| role != "user" && said.contains(text.as_str())).collect();
        let answers = about.iter().filter(|(_, said)| *said == reply_to(text)).count();
        assert!(answers <= 1, "{text} was answered {answers} times: {about:?}");
        replies += answers;
        if about.is_empty() {
            lost.push(text.clone());
        }
    }
    (lost, format!("webchat acknowledged {}, answered {replies}", in_order.len()))
}

/// What a platform's user was not told of, and what was.
fn on_platform(platform: &Platform, written: &[String]) -> (Vec<String>, String) {
    let sent = platform.sent();
    let (mut lost, mut replies, mut repeats) = (Vec::new(), 0, 0);
    for text in written {
        let about: Vec<_> = sent.iter().filter(|said| said.contains(text.as_str())).collect();
        let (marked, plain): (Vec<&String>, Vec<&String>) =
            about.iter().copied().partition(|said| said.contains(MAYBE_REPEATED));
        assert!(plain.len() <= 1, "{text}: {about:?}");
        replies += usize::from(about.iter().any(|said| said.starts_with(&reply_to(text))));
        repeats += marked.len();
        if about.is_empty() {
            lost.push(text.clone());
        }
    }
    lost.extend((platform.unconfirmed() > 0).then(|| format!("{} unconfirmed", platform.unconfirmed())));
    (lost, format!("; a platform took {}, answered {replies}, repeated with a word {repeats}", written.len()))
}
