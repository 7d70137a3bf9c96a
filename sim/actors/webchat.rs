//! A person at a webchat tab, patient or rude.
//!
//! The sender keeps a WebSocket to the gateway, hands over the messages it is told to send and records what
//! becomes of them: acknowledgement, reply, notice, or the break that leaves it in doubt. What it decides stands
//! in `conversation`; this file is the thin rim of connections and waits around it. It knows the scenario only
//! as a channel of commands.

use std::time::Duration;

use futures_util::future::Either;
use gateway::env::Env;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::backoff;
use super::socket::{self, Hello, Socket};
use crate::timeline::{Fact, LEFT_FOR_GOOD, Recorder, Source};
use conversation::Conversation;

mod conversation;
mod heard;
mod history;

/// How long connecting, upgrade and handshake together may take, and how long a frame may take to leave.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// What a sender is told at the start.
#[derive(Clone, Debug)]
pub struct WebchatSettings {
    /// Its name: `ann` sends `ann#1`, `ann#2`, ...
    pub name: String,
    /// Whose conversation it is: `ann` for the session `agent:main:webchat:direct:ann`.
    pub conversation_of: String,
    /// Whether several senders talk in it.
    pub is_shared: bool,
    /// How it behaves.
    pub kind: SenderKind,
    /// The gateway's port.
    pub port: u16,
    /// The token it authenticates with.
    pub token: String,
}

/// The session in which the sender called `name` talks.
pub fn session_key(name: &str) -> String {
    format!("agent:main:webchat:direct:{name}")
}

/// How a sender behaves when things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderKind {
    /// Reconnects, reads the history, waits.
    Patient,
    /// As patient, and hands a message over again, with the same idempotency key, when it was refused as
    /// retryable or left in doubt; at most 20 times.
    Retrying,
    /// Reads nothing after the handshake. It never learns that a message was accepted, and notices the end of
    /// its connection only when it writes; then it opens the next one and does not read that either.
    NeverReads,
    /// Its first connection reads everything, but answers no close frame and never closes its side of the
    /// connection. What it could not learn there it learns in a second tab, as a patient sender.
    NeverCloses,
    /// Closes for good as soon as its last message was acknowledged, refused or left in doubt. Its last message
    /// is the last one before the command channel is closed.
    Leaves,
}

/// What the scenario tells a sender to do. Commands are carried out in order, each as soon as there is a
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderCommand {
    /// Hand over a message. Its mark is added to the text.
    Send {
        /// What it says.
        text: String,
    },
    /// Stop whatever runs in the conversation.
    Abort,
}

/// Plays the sender for as long as its process lives, or until it leaves for good. Closing `commands` means
/// that no more will come.
pub async fn run(
    env: Env,
    recorder: Recorder,
    settings: WebchatSettings,
    commands: mpsc::UnboundedReceiver<SenderCommand>,
) {
    let jitter_env = env.clone();
    let jitter = Box::new(move || jitter_env.random("webchat-backoff"));
    let mut conversation =
        Conversation::new(&settings.name, &settings.conversation_of, settings.kind, jitter);
    if settings.is_shared {
        conversation.is_shared_with(&settings.conversation_of);
    }
    let mut sender = Sender { env, recorder, settings, conversation, commands, more_commands: true };
    sender.live().await;
}

struct Sender {
    env: Env,
    recorder: Recorder,
    settings: WebchatSettings,
    conversation: Conversation,
    commands: mpsc::UnboundedReceiver<SenderCommand>,
    more_commands: bool,
}

/// How a connection ended.
enum Ended {
    /// It broke, or one side closed it; in words.
    Broken(String),
    /// The sender left for good.
    Left,
}

impl Sender {
    async fn live(&mut self) {
        if self.settings.conversation_of != self.settings.name {
            self.record(Fact::SenderJoined { whose: self.settings.conversation_of.clone() });
        }
        let mut failures = 0;
        let mut tabs = 0u32;
        loop {
            match self.connect().await {
                Err(how) => self.record(Fact::SenderConnectFailed { how }),
                Ok((mut socket, hello)) => {
                    failures = 0;
                    tabs += 1;
                    self.record(Fact::SenderConnected);
                    if tabs == 1 && self.settings.kind == SenderKind::NeverReads {
                        self.record(Fact::SenderStoppedListening);
                    }
                    self.conversation.connected(&hello, self.recorder.now());
                    match self.converse(&mut socket).await {
                        Ended::Left => {
                            socket::hang_up(socket).await;
                            return self.record(Fact::SenderDisconnected { how: LEFT_FOR_GOOD.into() });
                        }
                        Ended::Broken(how) => {
                            self.record(Fact::SenderDisconnected { how });
                            let facts = self.conversation.disconnected(self.recorder.now());
                            self.record_all(facts);
                            self.let_go(socket, tabs).await;
                        }
                    }
                }
            }
            self.take_waiting_commands();
            if self.may_leave() {
                return self.record(Fact::SenderDisconnected { how: LEFT_FOR_GOOD.into() });
            }
            failures += 1;
            sleep(backoff(failures, self.env.random("webchat-backoff"))).await;
        }
    }

    /// Opens a connection and shakes hands: the connection and the gateway's hello.
    async fn connect(&self) -> Result<(Socket, Hello), String> {
        let attempt = async {
            let mut socket = socket::open(&self.env, self.settings.port).await?;
            let hello = socket::shake_hands(&mut socket, &self.settings.token).await?;
            Ok((socket, hello))
        };
        let too_late = |_| Err(format!("no handshake within {} s", CONNECT_TIMEOUT.as_secs()));
        timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or_else(too_late)
    }

    /// Talks over an open connection until it ends.
    async fn converse(&mut self, socket: &mut Socket) -> Ended {
        loop {
            if let Err(how) = self.hand_over(socket).await {
                return Ended::Broken(how);
            }
            if self.may_leave() {
                return Ended::Left;
            }
            let now = self.recorder.now();
            let until_deadline = match self.conversation.deadline() {
                Some(deadline) => Either::Left(sleep(deadline.saturating_sub(now))),
                None => Either::Right(std::future::pending()),
            };
            tokio::select! {
                biased;
                heard = socket::next_frame(socket), if self.settings.kind != SenderKind::NeverReads => {
                    match heard {
                        Ok(frame) => {
                            let facts = self.conversation.heard(frame, self.recorder.now());
                            self.record_all(facts);
                        }
                        Err(how) => return Ended::Broken(how),
                    }
                }
                command = self.commands.recv(), if self.more_commands => self.take(command),
                () = until_deadline => {}
            }
            if let Err(how) = self.conversation.look_at_clock(self.recorder.now()) {
                return Ended::Broken(how);
            }
        }
    }

    /// Sends everything that the conversation wants to say now.
    async fn hand_over(&mut self, socket: &mut Socket) -> Result<(), String> {
        self.take_waiting_commands();
        while let Some(mut request) = self.conversation.next_request(self.recorder.now()) {
            let frame = std::mem::take(&mut request.frame);
            let sent = timeout(SEND_TIMEOUT, socket::send(socket, frame)).await;
            match sent.unwrap_or_else(|_| Err("the connection takes nothing more".into())) {
                Ok(()) => {
                    let facts = self.conversation.handed_over(request, self.recorder.now());
                    self.record_all(facts);
                }
                Err(how) => {
                    self.conversation.take_back(request);
                    return Err(how);
                }
            }
        }
        Ok(())
    }

    /// Ends this side of a connection that is over, in the manner of the sender's kind.
    async fn let_go(&self, socket: Socket, tabs: u32) {
        if self.settings.kind == SenderKind::NeverCloses && tabs == 1 {
            self.env.spawn("tab that never closes", keep_open(socket));
        } else {
            socket::hang_up(socket).await;
        }
    }

    fn may_leave(&self) -> bool {
        self.settings.kind == SenderKind::Leaves
            && !self.more_commands
            && self.conversation.has_said_everything()
    }

    fn take_waiting_commands(&mut self) {
        while self.more_commands {
            match self.commands.try_recv() {
                Ok(command) => self.take(Some(command)),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => self.take(None),
            }
        }
    }

    fn take(&mut self, command: Option<SenderCommand>) {
        match command {
            Some(SenderCommand::Send { text }) => {
                self.conversation.compose(&text, self.env.random_id("webchat-keys"));
            }
            Some(SenderCommand::Abort) => self.conversation.stop(),
            None => self.more_commands = false,
        }
    }

    fn record(&self, fact: Fact) {
        self.recorder.record(Source::Sender(self.settings.name.clone()), fact);
    }

    fn record_all(&self, facts: Vec<Fact>) {
        for fact in facts {
            self.record(fact);
        }
    }
}

/// Reads whatever still comes and never closes. Only the raw bytes: tungstenite would answer the close frame.
async fn keep_open(mut socket: Socket) {
    let mut sink = vec![0; 4096];
    loop {
        match socket.get_mut().read(&mut sink).await {
            Ok(0) => std::future::pending().await,
            Ok(_) => {}
            // Reset: there is nothing left to keep open.
            Err(_) => return,
        }
    }
}
