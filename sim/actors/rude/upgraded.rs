//! Peers that speak WebSocket, and most of them the gateway's protocol, up to the point where they turn rude.

use futures_util::SinkExt;
use gateway::env::{AbortHandle, Env};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::plain::drip;
use super::{Caller, HUNG_UP_ON, RESET, Visit, hear_out, reset_soon};
use crate::actors::socket::{self, Socket};
use crate::actors::{frames, webchat};

/// A text frame of 126 bytes, masked with zeros, of which a few have come.
const BEGINNING_OF_A_FRAME: &[u8] = b"\x81\xfe\x00\x7e\0\0\0\0{\"type\":";
/// The length of a request of somebody who sends many: the answer repeats its id.
const LONG_ID: usize = 4 * 1024;
/// After so many requests even the rudest has nothing more to say.
const MOST_REQUESTS: u32 = 4_096;

pub(super) async fn never_connects(caller: &Caller) -> Result<Visit, String> {
    let mut socket = socket::open(&caller.env, caller.port).await?;
    let abort = socket.get_ref().abort_handle();
    Ok(Visit::new("upgraded", abort, async move { hear_out(socket.get_mut()).await }))
}

pub(super) async fn never_answers_close(caller: Caller) -> Result<Visit, String> {
    let socket = caller.authenticate().await?;
    let abort = socket.get_ref().abort_handle();
    Ok(Visit::new(AUTHENTICATED, abort, never_close(caller.env, socket)))
}

/// Reads everything up to the close frame and does not answer it. When the gateway gives up on it, its own side of the
/// connection stays open.
async fn never_close(env: Env, mut socket: Socket) -> String {
    // The answer to a close frame would leave with the next look at the socket, which nobody takes.
    let closed = socket::until_close_frame(&mut socket).await;
    let end = hear_out(socket.get_mut()).await;
    if end == HUNG_UP_ON {
        let abort = socket.get_ref().abort_handle();
        drop(env.spawn("peer that never closes", until_broken(abort, socket)));
    }
    match closed {
        Some(closed) => format!("{closed}, then {end}"),
        None => end,
    }
}

pub(super) async fn never_reads(caller: &Caller) -> Result<Visit, String> {
    let socket = caller.authenticate().await?;
    let abort = socket.get_ref().abort_handle();
    Ok(Visit::new("reading nothing", abort.clone(), until_broken(abort, socket)))
}

async fn until_broken(abort: AbortHandle, socket: Socket) -> String {
    abort.broken().await;
    drop(socket);
    RESET.into()
}

pub(super) async fn drips_frame(caller: &Caller) -> Result<Visit, String> {
    let stream = caller.authenticate().await?.into_inner();
    let frame = BEGINNING_OF_A_FRAME.iter().copied();
    Ok(Visit::new("with a slow frame", stream.abort_handle(), drip(stream, frame)))
}

pub(super) async fn half_closes(caller: &Caller) -> Result<Visit, String> {
    let mut stream = caller.authenticate().await?.into_inner();
    stream.shutdown().await.map_err(|error| error.to_string())?;
    let abort = stream.abort_handle();
    Ok(Visit::new("half closed", abort, async move { hear_out(&mut stream).await }))
}

pub(super) async fn pipelines(caller: &Caller) -> Result<Visit, String> {
    let mut socket = caller.authenticate().await?;
    let abort = socket.get_ref().abort_handle();
    let stay = async move {
        for number in 0..MOST_REQUESTS {
            let id = format!("{number:0LONG_ID$}");
            if socket::send(&mut socket, frames::request(&id, "health", json!({}))).await.is_err() {
                return RESET.into();
            }
        }
        until_broken(socket.get_ref().abort_handle(), socket).await
    };
    Ok(Visit::new("reading no answers", abort, stay))
}

pub(super) async fn resets_mid_frame(caller: &Caller) -> Result<Visit, String> {
    let mut stream = caller.authenticate().await?.into_inner();
    stream.write_all(BEGINNING_OF_A_FRAME).await.map_err(|error| error.to_string())?;
    Ok(Visit::new("with half a frame", stream.abort_handle(), reset_soon(caller.env.clone(), stream)))
}

pub(super) async fn resets_mid_answer(caller: &Caller) -> Result<Visit, String> {
    let mut socket = caller.authenticate().await?;
    let abort = socket.get_ref().abort_handle();
    let stay = async move {
        // The request and the reset travel together.
        let request = frames::request("health", "health", json!({}));
        let _ = socket.feed(Message::text(request)).await;
        let _ = socket.flush().await;
        socket.get_ref().abort_handle().abort();
        super::RESET_ITSELF.into()
    };
    Ok(Visit::new("with half an answer", abort, stay))
}

const AUTHENTICATED: &str = "authenticated";

impl Caller {
    /// Opens a WebSocket, shakes hands and joins the conversation, if one is to be joined.
    pub(super) async fn authenticate(&self) -> Result<Socket, String> {
        let mut socket = socket::open(&self.env, self.port).await?;
        socket::shake_hands(&mut socket, &self.token).await?;
        if let Some(sender) = &self.joins {
            let params = json!({ "sessionKey": webchat::session_key(sender), "limit": 0 });
            socket::send(&mut socket, frames::request("join", "chat.history", params)).await?;
        }
        Ok(socket)
    }
}
