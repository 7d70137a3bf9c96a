//! Connections to the model provider: made when needed, and kept for a moment after an answer.
//!
//! A kept connection saves the next turn a handshake. It is kept for less time than servers commonly allow, so that
//! theirs is not the hand that closes it. Knows HTTP and nothing of what is asked or answered.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout};

use super::provider::{Endpoint, ProviderError};
use crate::env::{Env, Stream};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an unused connection is kept. Common servers close it after five seconds at the earliest.
const KEPT_FOR: Duration = Duration::from_secs(4);
/// How many unused connections are kept.
const KEPT: usize = 8;

/// The connections that wait for their next request, the latest last.
#[derive(Clone, Default)]
pub(super) struct Connections(Rc<RefCell<Vec<(Instant, Link)>>>);

impl Connections {
    /// A connection that is open as far as we know.
    pub(super) async fn take(&self) -> Option<Link> {
        loop {
            let (_, mut link) = self.0.borrow_mut().pop()?;
            if link.is_open().await {
                return Some(link);
            }
        }
    }

    /// Keeps a connection that carries nothing for a while. Must be called in a task of the process.
    pub(super) fn keep(&self, env: &Env, link: Link) {
        let mut kept = self.0.borrow_mut();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((Instant::now() + KEPT_FOR, link));
        if kept.len() == 1 {
            drop(env.spawn("unused model connections", self.clone().let_go()));
        }
    }

    /// Closes each when its time is over.
    async fn let_go(self) {
        loop {
            let next = self.0.borrow().first().map(|(until, _)| *until);
            let Some(next) = next else { return };
            sleep_until(next).await;
            self.0.borrow_mut().retain(|(until, _)| *until > Instant::now());
        }
    }
}

/// One connection.
pub(crate) struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Boxed, since every turn's task would have room for it.
    connection: Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>,
    has_ended: bool,
}

impl Link {
    /// Connects to the provider.
    pub(super) async fn open(env: &Env, endpoint: &Endpoint) -> Result<Self, ProviderError> {
        let (host, port) = (&endpoint.host, endpoint.port);
        let unreachable = |source| ProviderError::Unreachable { host: host.clone(), port, source };
        let stream = match timeout(CONNECT_TIMEOUT, env.net().connect(host, port)).await {
            Ok(connected) => connected.map_err(unreachable)?,
            Err(_) => return Err(unreachable(io::ErrorKind::TimedOut.into())),
        };
        Ok(Self::over(stream).await?)
    }

    /// Speaks HTTP over a stream.
    pub(crate) async fn over(stream: Stream) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, connection: Box::new(connection), has_ended: false })
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let response = self.sender.send_request(request);
        self.drive(response).await
    }

    /// Does `work` while the connection moves its bytes.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if self.has_ended {
            return work.await;
        }
        match select(&mut work, &mut self.connection).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => {
                // The connection is done; what it carried may still be on its way through the channel.
                self.has_ended = true;
                work.await
            }
        }
    }

    /// Whether `body` has come to its end, so that another request can follow. What has not arrived by now is not
    /// waited for: the answer is complete without it.
    pub(super) fn is_free_after(&mut self, body: &mut Incoming) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // The connection hands over the end when it was asked for it, so the second look finds it.
        for _ in 0..2 {
            match Pin::new(&mut *body).poll_frame(&mut cx) {
                Poll::Ready(None) => return !self.has_ended && self.sender.is_ready(),
                Poll::Ready(Some(_)) => return false,
                Poll::Pending => {}
            }
            if !self.has_ended {
                self.has_ended = Pin::new(&mut self.connection).poll(&mut cx).is_ready();
            }
        }
        matches!(Pin::new(body).poll_frame(&mut cx), Poll::Ready(None))
            && !self.has_ended
            && self.sender.is_ready()
    }

    /// Looks whether the other side has closed.
    async fn is_open(&mut self) -> bool {
        self.has_ended |= poll_fn(|cx| Poll::Ready(Pin::new(&mut self.connection).poll(cx).is_ready())).await;
        !self.has_ended && self.sender.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::sleep;

    use super::super::provider::{Question, complete};
    use super::super::tools;
    use super::*;
    use crate::env::test_env::{World, on_paused_time};

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        2f\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"yes\"}}]}\r\n\
        10\r\n\n\ndata: [DONE]\n\n\r\n0\r\n\r\n";

    /// What a provider does with the second request of a connection.
    #[derive(Clone, Copy, PartialEq)]
    enum Second {
        Answered,
        /// The connection is closed right after the first answer.
        NotAwaited,
        /// Read, and then the connection is closed.
        Dropped,
    }

    /// Asks a provider twice, `pause` after each other: whether both were answered, and the number of connections.
    fn ask_twice(second: Second, pause: Duration) -> (bool, u32) {
        on_paused_time(async {
            let world = World::default();
            let (client, server) = (world.process(1), world.process(2));
            let connections = Rc::new(Cell::new(0));
            drop(server.env.spawn("provider", serve(server.env.clone(), connections.clone(), second)));
            sleep(Duration::from_millis(1)).await;
            let endpoint = Endpoint::parse("http://model:8080/v1").expect("is valid");
            let mut answered = true;
            for _ in 0..2 {
                let question = Question { model: "m", messages: &[], tools: tools::offered(false) };
                let answer = complete(&client.env, &endpoint, question, |_| {}).await;
                answered &= answer.is_ok_and(|answer| answer.text == "yes");
                sleep(pause).await;
            }
            (answered, connections.get())
        })
    }

    async fn serve(env: Env, connections: Rc<Cell<u32>>, second: Second) {
        let mut listener = env.net().listen(8080).await.expect("the port is free");
        while let Ok(mut stream) = listener.accept().await {
            connections.set(connections.get() + 1);
            drop(env.spawn("connection", async move {
                for request in 0..u32::MAX {
                    if request == 1 && second == Second::NotAwaited {
                        return Ok(());
                    }
                    read_request(&mut stream).await?;
                    if request == 1 && second == Second::Dropped {
                        return Ok(());
                    }
                    stream.write_all(ANSWER.as_bytes()).await?;
                }
                Ok::<_, io::Error>(())
            }));
        }
    }

    /// The head, and as much of a body as it says.
    async fn read_request(stream: &mut Stream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|length| length.trim().parse().ok()).expect("the body has a length");
        stream.read_exact(&mut vec![0; length]).await.map(|_| ())
    }

    #[test]
    fn a_connection_carries_the_next_request_for_a_moment() {
        assert_eq!(ask_twice(Second::Answered, Duration::from_secs(3)), (true, 1));
        assert_eq!(ask_twice(Second::Answered, Duration::from_secs(5)), (true, 2));
    }

    #[test]
    fn one_that_has_ended_is_replaced() {
        assert_eq!(ask_twice(Second::NotAwaited, Duration::from_secs(1)), (true, 2));
        assert_eq!(ask_twice(Second::Dropped, Duration::from_secs(1)), (true, 2));
    }
}
