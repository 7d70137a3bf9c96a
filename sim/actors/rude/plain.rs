//! Peers that never come as far as a WebSocket: bare connections, and requests that are half, slow, kept alive or
//! no requests at all.

use std::time::Duration;

use gateway::env::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::{Caller, HUNG_UP_ON, RESET, Visit, hear_out, reset_soon};
use crate::actors::{GATEWAY_HOST, http};

const HALF_AN_UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upg";
pub(super) const HALF_A_REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHo";
const BEGINNING_OF_A_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: gateway\r\nX-Slow: ";
/// The beginning of a TLS handshake, from somebody who took the port for that of a proxy.
const CLIENT_HELLO: &[u8] =
    b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03Not a random number, but who will know\x00";

pub(super) async fn bare(caller: &Caller) -> Result<Visit, String> {
    let stream = caller.connect().await?;
    Ok(stays("with a bare connection", stream))
}

pub(super) async fn half_upgrade(caller: &Caller) -> Result<Visit, String> {
    let stream = caller.say(HALF_AN_UPGRADE).await?;
    Ok(stays("with half an upgrade", stream))
}

pub(super) async fn resets_mid_upgrade(caller: &Caller) -> Result<Visit, String> {
    let stream = caller.say(HALF_AN_UPGRADE).await?;
    let (abort, env) = (stream.abort_handle(), caller.env.clone());
    Ok(Visit::new("with half an upgrade", abort, reset_soon(env, stream)))
}

pub(super) async fn speaks_tls(caller: &Caller) -> Result<Visit, String> {
    let stream = caller.say(CLIENT_HELLO).await?;
    Ok(stays("with a TLS handshake", stream))
}

/// Gets an answer over HTTP, sends `more`, and sits there.
pub(super) async fn keep_alive(caller: &Caller, more: &[u8]) -> Result<Visit, String> {
    let mut stream = caller.connect().await?;
    let status = http::ask_on(&mut stream, "/healthz").await?;
    if status != 200 {
        return Err(format!("answered with HTTP {status}"));
    }
    stream.write_all(more).await.map_err(|error| error.to_string())?;
    Ok(stays(if more.is_empty() { "with an answer" } else { "with half a second request" }, stream))
}

pub(super) async fn drips_request(caller: &Caller) -> Result<Visit, String> {
    let stream = caller.connect().await?;
    let header = BEGINNING_OF_A_REQUEST.iter().copied().chain(std::iter::repeat(b'.'));
    Ok(Visit::new("with a slow request", stream.abort_handle(), drip(stream, header)))
}

/// From one byte to the next in the first minute, and then.
const DRIP: Duration = Duration::from_secs(1);
const SLOW_DRIP: Duration = Duration::from_secs(30);
/// So many bytes come quickly.
const QUICK_BYTES: usize = 60;

/// Sends `bytes` one by one, until the gateway ends the connection: how.
pub(super) async fn drip(stream: Stream, bytes: impl Iterator<Item = u8>) -> String {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let dripping = async {
        for (number, byte) in bytes.enumerate() {
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(if number < QUICK_BYTES { DRIP } else { SLOW_DRIP }).await;
        }
        std::future::pending().await
    };
    let mut sink = [0; 256];
    let hearing = async {
        loop {
            match reader.read(&mut sink).await {
                Ok(0) => return HUNG_UP_ON,
                Ok(_) => {}
                Err(_) => return RESET,
            }
        }
    };
    tokio::select! {
        biased;
        how = hearing => how.into(),
        () = dripping => RESET.into(),
    }
}

/// Sits there until the gateway ends the connection.
fn stays(place: &'static str, mut stream: Stream) -> Visit {
    let abort = stream.abort_handle();
    Visit::new(place, abort, async move { hear_out(&mut stream).await })
}

impl Caller {
    pub(super) async fn connect(&self) -> Result<Stream, String> {
        self.env.net().connect(GATEWAY_HOST, self.port).await.map_err(|error| error.to_string())
    }

    async fn say(&self, bytes: &[u8]) -> Result<Stream, String> {
        let mut stream = self.connect().await?;
        stream.write_all(bytes).await.map_err(|error| error.to_string())?;
        Ok(stream)
    }
}
