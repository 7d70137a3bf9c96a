//! One connection: HTTP first, WebSocket when the client asks for it, registered with the peers all the while.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::activity::Watched;
use super::allowance::{Allowance, Rationed};
use super::peers::{Membership, Which};
use super::{MAX_PAYLOAD_BYTES, http, talk};
use crate::env::{Listener, Stream};
use crate::gateway::Gateway;
use crate::lifecycle::phase::Phase;
use crate::policy::PeerClose;

/// How many connections there may be. Whoever comes when there are so many is told to come later.
const MAX_CONNECTIONS: usize = 4_096;
/// What it reads.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n";
/// How long a client may take for its HTTP header, and again for its `connect` (OpenClaw: 15 s).
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest HTTP header.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// tungstenite zero-fills its read buffer at each read; its default of 128 KiB costs more than all else. Most
/// frames fit.
const READ_BUFFER_BYTES: usize = 1024;

/// Accepts connections for as long as the task lives.
pub(crate) async fn serve(gateway: Rc<Gateway>, mut listener: Box<dyn Listener>) {
    loop {
        match listener.accept().await {
            Ok(stream) if gateway.peers.count(Which::All) >= MAX_CONNECTIONS => turn_away(stream),
            Ok(stream) => {
                let membership = gateway.peers.join(stream.abort_handle());
                let task = serve_connection(gateway.clone(), membership, stream);
                drop(gateway.env.spawn("connection", task));
            }
            Err(error) => {
                tracing::warn!(name: "port.accept-failed", %error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn turn_away(mut stream: Stream) {
    tracing::warn!(name: "peer.one-too-many", peers = MAX_CONNECTIONS, "too many connections");
    // What the socket does not take at once is not worth a wait.
    let _ = stream.write(TOO_MANY).now_or_never();
}

async fn serve_connection(gateway: Rc<Gateway>, membership: Membership, stream: Stream) {
    let upgraded = Rc::new(Cell::new(false));
    let service = service_fn(|request| {
        let response = http::answer(&gateway, &request, &upgraded);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let stream = Watched { stream, activity: membership.activity.clone() };
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let outcome = tokio::select! {
        biased;
        // Not the plain future: it would shut the stream down after the 101 response.
        outcome = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => outcome,
        () = membership.dismissed() => return,
    };
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner().stream;
    match outcome {
        Ok(()) if upgraded.get() => {}
        Err(error) if error.is_timeout() && has_stopped_counting(&gateway) => {
            return while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {};
        }
        Err(error) if upgraded.get() => {
            tracing::debug!(name: "peer.upgrade-failed", %error, "the connection broke during the upgrade");
            return;
        }
        Ok(()) | Err(_) => return,
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_PAYLOAD_BYTES))
        .max_frame_size(Some(MAX_PAYLOAD_BYTES));
    let allowance = Allowance::of(talk::MAX_PREAUTH_BYTES);
    let stream = Rationed { stream, allowance: allowance.clone() };
    let read_ahead = parts.read_buf.to_vec();
    let socket = WebSocketStream::from_partially_read(stream, read_ahead, Role::Server, Some(config)).await;
    talk::serve(&gateway, &membership, socket, &allowance).await;
}

/// Whether requests have any time to arrive: Node.js checks them no more once its server is being closed, so OpenClaw
/// waited for them without limit.
fn has_stopped_counting(gateway: &Gateway) -> bool {
    let is_history = match gateway.policies.peer_close {
        PeerClose::WaitForPeers | PeerClose::StepByStep => true,
        PeerClose::GraceThenReset | PeerClose::HttpForgotten | PeerClose::GraceUnbounded => false,
    };
    is_history && gateway.phase.get() >= Phase::Closing
}
