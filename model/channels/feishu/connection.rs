//! The event connection: a WebSocket to the platform, from its opening to its close.
//!
//! A connection that says nothing is asked whether it is there, and given up when it does not answer. Closing takes a
//! moment at most, whoever is on the other side. What an event means is not known here.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::api::Endpoint;
use super::event::{self, Frame};
use crate::channels::http::Site;
use crate::env::{Env, Stream};

/// tungstenite fills its buffer with zeros at each read. Most events fit.
const READ_BUFFER_BYTES: usize = 4 * 1024;
const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a frame of ours may take to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the platform may take to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// How long it may take to answer a ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL_SECONDS: std::ops::RangeInclusive<u64> = 1..=600;

/// One connection.
pub(super) struct Connection {
    socket: WebSocketStream<Stream>,
    ping_interval: Duration,
    /// When the platform was heard last.
    heard: Instant,
    pinged: bool,
}

impl Connection {
    /// Opens it.
    ///
    /// Errors: why it could not be opened, in words.
    pub(super) async fn open(env: &Env, endpoint: &Endpoint) -> Result<Self, String> {
        let url = &endpoint.url;
        let site = Site::parse(url).ok_or_else(|| format!("no address of an event connection: {url}"))?;
        let opening = async {
            let stream = env.net().connect(&site.host, site.port).await.map_err(|error| error.to_string())?;
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER_BYTES)
                .max_message_size(Some(MAX_FRAME_BYTES))
                .max_frame_size(Some(MAX_FRAME_BYTES));
            let opened = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await;
            opened.map(|(socket, _)| socket).map_err(|error| error.to_string())
        };
        let opened = timeout(OPEN_TIMEOUT, opening).await.unwrap_or_else(|_| Err("it takes too long".into()));
        let socket = opened.map_err(|why| format!("cannot connect to {}:{}: {why}", site.host, site.port))?;
        let asked = endpoint.client_config.ping_interval;
        let seconds = asked.clamp(*PING_INTERVAL_SECONDS.start(), *PING_INTERVAL_SECONDS.end());
        Ok(Self { socket, ping_interval: Duration::from_secs(seconds), heard: Instant::now(), pinged: false })
    }

    /// The next frame. Dropping the future loses nothing but a ping.
    ///
    /// Errors: how the connection ended, in words.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            let patience = if self.pinged { self.ping_interval + PONG_TIMEOUT } else { self.ping_interval };
            let message = match timeout_at(self.heard + patience, self.socket.next()).await {
                Err(_) if self.pinged => return Err("it says nothing any more".into()),
                Err(_) => {
                    self.pinged = true;
                    self.say(event::ping()).await?;
                    continue;
                }
                Ok(message) => message,
            };
            (self.heard, self.pinged) = (Instant::now(), false);
            match message {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                    Ok(frame) => return Ok(frame),
                    Err(error) => {
                        tracing::warn!(name: "feishu.bad-frame", %error, "it is passed over");
                    }
                },
                Some(Ok(Message::Close(_))) => return Err("the platform closed it".into()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("it ended".into()),
            }
        }
    }

    /// Says something.
    ///
    /// Errors: how the connection ended, in words.
    pub(super) async fn say(&mut self, text: String) -> Result<(), String> {
        match timeout(SEND_TIMEOUT, self.socket.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("the platform does not read".into()),
        }
    }

    /// Closes it, and waits a moment for the other side to do so.
    pub(super) async fn close(mut self) {
        let farewell = async {
            // One that is broken is closed.
            if self.socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, farewell).await;
    }
}
