//! A crowd in one world: many clients connected to one gateway at the same time, and what a round trip costs.
//!
//! A round trip is a `health` request over the WebSocket and its answer: client, wires, gateway and back, as
//! JSON in masked frames, without a model's answer in between. All clients ask at once, and each asks again as soon
//! as it has its answer. Connecting and shaking hands is not counted.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use gatesim::actors::GATEWAY_HOST;
use gatesim::world::{World, WorldSettings};
use gateway::Launch;
use gateway::env::{Env, ExitCode, Stream};
use gateway::policy::Policies;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};

const PORT: u16 = 18_789;
const TOKEN: &str = "crowd";
const CONFIG_FILE: &str = "/etc/gateway/config.json";
/// Virtual time after which something is wrong.
const PATIENCE: Duration = Duration::from_secs(600);

/// The cost of one round trip in a world with so many connected clients.
///
/// # Errors
/// A world that cannot be built, and clients that do not get their answers.
pub(crate) fn round_trip(clients: u32, rounds: u32) -> io::Result<Duration> {
    World::run(WorldSettings::seeded(1), async |world| {
        start_gateway(&world)?;
        let crowd = Rc::new(Crowd::new(clients, rounds));
        start_clients(&world, crowd.clone())?;
        crowd.all_have("connected").await?;
        let took = Instant::now();
        crowd.go.send_replace(true);
        crowd.all_have("been answered").await?;
        Ok(took.elapsed() / (clients * rounds))
    })
}

fn start_gateway(world: &World) -> io::Result<()> {
    world.add_machine(GATEWAY_HOST)?;
    let config = json!({
        "gateway": {"port": PORT, "auth": {"token": TOKEN}, "stateDir": "/var/lib/gateway"},
        "model": {"baseUrl": "http://provider:8080/v1", "name": "sim"},
    });
    world.disk(GATEWAY_HOST)?.preload(Path::new(CONFIG_FILE), config.to_string().as_bytes())?;
    let launch = Launch { config: PathBuf::from(CONFIG_FILE), policies: Policies::default() };
    world.start_process(GATEWAY_HOST, "gateway", move |env| Box::pin(gateway::run(env, launch)))?;
    Ok(())
}

fn start_clients(world: &World, crowd: Rc<Crowd>) -> io::Result<()> {
    world.add_machine("clients")?;
    world.start_actor("clients", "clients", move |env| {
        Box::pin(async move {
            for _ in 0..crowd.clients {
                drop(env.spawn("client", live(env.clone(), crowd.clone())));
            }
            std::future::pending::<ExitCode>().await
        })
    })?;
    Ok(())
}

/// What the clients have in common.
struct Crowd {
    clients: u32,
    rounds: u32,
    arrived: Cell<u32>,
    complete: Notify,
    go: watch::Sender<bool>,
}

impl Crowd {
    fn new(clients: u32, rounds: u32) -> Self {
        let (go, _) = watch::channel(false);
        Self { clients, rounds, arrived: Cell::new(0), complete: Notify::new(), go }
    }

    fn arrive(&self) {
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() == self.clients {
            self.complete.notify_one();
        }
    }

    /// Waits until every client has arrived, then counts anew.
    async fn all_have(&self, done: &str) -> io::Result<()> {
        let complete = timeout(PATIENCE, self.complete.notified()).await;
        let arrived = self.arrived.replace(0);
        complete
            .map_err(|_| io::Error::other(format!("only {arrived} of {} clients have {done}", self.clients)))
    }
}

type Socket = WebSocketStream<Stream>;

/// One client. Whatever goes wrong shows in the count of those that arrive.
async fn live(env: Env, crowd: Rc<Crowd>) {
    let Ok(mut socket) = connect(&env).await else { return };
    crowd.arrive();
    if crowd.go.subscribe().wait_for(|go| *go).await.is_err() {
        return;
    }
    for _ in 0..crowd.rounds {
        if !ask(&mut socket, "health", json!({})).await {
            return;
        }
    }
    crowd.arrive();
    // The connection stays open while the others go on.
    std::future::pending().await
}

async fn connect(env: &Env) -> Result<Socket, Error> {
    // Everybody comes at once and the gateway's backlog is finite; a refused one tries again.
    let stream = loop {
        match env.net().connect(GATEWAY_HOST, PORT).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    };
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let url = format!("ws://{GATEWAY_HOST}:{PORT}/");
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
    let params = json!({
        "minProtocol": 3,
        "maxProtocol": 3,
        "client": {"id": "crowd", "version": "1", "platform": "sim", "mode": "webchat"},
        "role": "operator",
        "scopes": ["operator.read"],
        "auth": {"token": TOKEN},
    });
    if ask(&mut socket, "connect", params).await { Ok(socket) } else { Err(Error::ConnectionClosed) }
}

/// Makes a request and waits for its answer: whether it was granted.
async fn ask(socket: &mut Socket, method: &str, params: Value) -> bool {
    let request = json!({"type": "req", "id": method, "method": method, "params": params}).to_string();
    if socket.send(Message::text(request)).await.is_err() {
        return false;
    }
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let Ok(frame) = serde_json::from_str::<Value>(&text) else { return false };
        if frame["type"] == "res" {
            return frame["ok"] == true;
        }
    }
    false
}
