//! One HTTP request, the way a probe asks: over a fresh connection, or over one that is kept.

use bytes::Bytes;
use gateway::env::{Env, Stream};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

/// Asks over a connection that stays open, and reads the whole answer: its status, or in words why there is none.
pub(super) async fn ask_on(stream: &mut Stream, path: &str) -> Result<u16, String> {
    /// Longer than any answer to a probe.
    const LONGEST_ANSWER: usize = 4 * 1024;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {GATEWAY_HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    loop {
        if let Some(status) = status_of_whole(&answer) {
            return Ok(status);
        }
        if answer.len() >= LONGEST_ANSWER {
            return Err("the answer does not end".into());
        }
        if stream.read_buf(&mut answer).await.map_err(|error| error.to_string())? == 0 {
            return Err("connection ended".into());
        }
    }
}

/// The status of an answer, when all of it is there.
fn status_of_whole(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    };
    let length = head.lines().find_map(header)?;
    (body.len() >= length).then(|| head.split(' ').nth(1)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::status_of_whole;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlive";
        assert_eq!(status_of_whole(whole.as_bytes()), Some(200));
        for end in 0..whole.len() {
            assert_eq!(status_of_whole(&whole.as_bytes()[..end]), None, "{end}");
        }
        assert_eq!(status_of_whole(b"HTTP/1.1 two OK\r\ncontent-length: 0\r\n\r\n"), None);
    }
}
