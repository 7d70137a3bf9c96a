//! One HTTP request over a fresh connection, the way a probe asks.

use bytes::Bytes;
use gateway::env::Env;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::GATEWAY_HOST;

/// Asks the gateway and gives the status of its answer, or in words why there is none. Reads the answer to its
/// end, closes the connection. Waits as long as it takes: the caller sets the limit.
pub(super) async fn ask(
    env: &Env,
    port: u16,
    method: Method,
    path: &str,
    body: String,
) -> Result<StatusCode, String> {
    let stream = env.net().connect(GATEWAY_HOST, port).await.map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("{GATEWAY_HOST}:{port}"))
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        // `sender` goes here, which lets the connection end.
        Ok::<_, hyper::Error>(status)
    };
    // The connection's own error, if any, also fails the exchange.
    let (status, _) = tokio::join!(exchange, connection);
    status.map_err(|error| error.to_string())
}
