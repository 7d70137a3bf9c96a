//! The operator's console: it waits for what came of the restarts that somebody asked for.
//!
//! Whoever asks has an answer at once, which may be that it waits. What comes of it in the end, a gateway says to those
//! who listen and to those who ask: this one does both, over whatever connection it can get, and records what it learns.
//! It asks ever more rarely: what it does not hear by itself it may have missed on a connection that is dead by now.

use std::collections::VecDeque;
use std::time::Duration;

use gateway::env::Env;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::frames::{self, Frame, string_at};
use super::socket::{self, Socket};
use crate::timeline::{Fact, Recorder, RestartEnding, Source};

/// From one question to the next, and from one connection to the next; twice as long each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// It must hear of an end within 15 s.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How long the console waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long no question is asked of a gateway that does not know it.
const UNKNOWN: Duration = Duration::from_secs(60);

/// What the console is told.
#[derive(Clone, Debug)]
pub struct ConsoleSettings {
    /// The gateway's port.
    pub port: u16,
    /// The token that it presents.
    pub token: String,
}

/// A request whose end is to be learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Waited {
    /// The operator's number of it.
    pub request: u32,
    /// The name that the gateway gave it.
    pub name: Value,
}

/// Waits for the ends of whatever requests come in, for as long as its process lives.
pub async fn run(
    env: Env,
    recorder: Recorder,
    settings: ConsoleSettings,
    requests: mpsc::UnboundedReceiver<Waited>,
) {
    let mut console = Console { env, recorder, settings, requests, waited: VecDeque::new() };
    let mut pause = SHORTEST_PAUSE;
    while console.has_something_to_wait_for().await {
        // Whatever broke, the next connection may tell.
        if let Ok(mut socket) = console.connect().await {
            pause = SHORTEST_PAUSE;
            let _ = console.listen(&mut socket).await;
            socket::hang_up(socket).await;
        }
        if !console.waited.is_empty() {
            sleep(pause).await;
            pause = longer(pause);
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

struct Console {
    env: Env,
    recorder: Recorder,
    settings: ConsoleSettings,
    requests: mpsc::UnboundedReceiver<Waited>,
    waited: VecDeque<Waited>,
}

impl Console {
    /// Waits until there is something; `false`: nothing more will come.
    async fn has_something_to_wait_for(&mut self) -> bool {
        if self.waited.is_empty() {
            self.waited.extend(self.requests.recv().await);
        }
        !self.waited.is_empty()
    }

    async fn connect(&self) -> Result<Socket, String> {
        let attempt = async {
            let mut socket = socket::open(&self.env, self.settings.port).await?;
            socket::shake_hands(&mut socket, &self.settings.token).await?;
            Ok(socket)
        };
        timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or_else(|_| Err("no handshake".into()))
    }

    /// Asks and listens until all that is waited for has ended, or the connection.
    async fn listen(&mut self, socket: &mut Socket) -> Result<(), String> {
        let mut asked = 0_u64;
        let mut pause = SHORTEST_PAUSE;
        let mut next = Instant::now();
        while !self.waited.is_empty() {
            tokio::select! {
                biased;
                heard = socket::next_frame(socket) => match heard? {
                    Frame::Event { name, payload } if name == "restart" => self.learn(&payload),
                    Frame::Response { answer: Ok(status), .. } => {
                        let outcomes = status["outcomes"].as_array().cloned().unwrap_or_default();
                        outcomes.iter().for_each(|outcome| self.learn(outcome));
                    }
                    Frame::Response { answer: Err(refusal), .. } if !refusal.retryable => {
                        next = Instant::now() + UNKNOWN;
                    }
                    _ => {}
                },
                Some(more) = self.requests.recv() => {
                    self.waited.push_back(more);
                    (next, pause) = (next.min(Instant::now() + SHORTEST_PAUSE), SHORTEST_PAUSE);
                }
                () = sleep_until(next) => {
                    asked += 1;
                    let request = frames::request(&asked.to_string(), "gateway.restart.status", json!({}));
                    socket::send(socket, request).await?;
                    next = Instant::now() + pause;
                    pause = longer(pause);
                }
            }
        }
        Ok(())
    }

    /// An outcome of some request, if it is one.
    fn learn(&mut self, outcome: &Value) {
        let Some(ending) = string_at(outcome, "status").and_then(RestartEnding::called) else { return };
        let Some(place) = self.waited.iter().position(|waited| waited.name == outcome["request"]) else {
            return;
        };
        let Some(Waited { request, .. }) = self.waited.remove(place) else { return };
        let said = string_at(outcome, "message").unwrap_or_default().to_string();
        self.recorder.record(Source::Operator, Fact::RestartReported { request, ending, said });
    }
}
