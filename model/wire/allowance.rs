//! An allowance of bytes: what a peer may send before it has shown who it is.
//!
//! The frame limits of the WebSocket library are fixed when the connection is upgraded, so they must fit the
//! frames of authenticated clients. This layer below them counts what is read until [`Allowance::lift`].

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many more bytes may be read.
#[derive(Clone)]
pub(super) struct Allowance(Rc<Cell<Option<usize>>>);

impl Allowance {
    pub(super) fn of(bytes: usize) -> Self {
        Self(Rc::new(Cell::new(Some(bytes))))
    }

    /// From now on everything may be read.
    pub(super) fn lift(&self) {
        self.0.set(None);
    }
}

/// A stream that fails with [`io::ErrorKind::QuotaExceeded`] when more than its allowance is read from it.
pub(super) struct Rationed<S> {
    pub(super) stream: S,
    pub(super) allowance: Allowance,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rationed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if let Some(left) = self.allowance.0.get() {
            let Some(left) = left.checked_sub(read) else {
                return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
            };
            self.allowance.0.set(Some(left));
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rationed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn reading_ends_with_the_allowance_unless_it_was_lifted() {
        let (mut peer, stream) = duplex(64);
        let allowance = Allowance::of(4);
        let mut rationed = Rationed { stream, allowance: allowance.clone() };
        peer.write_all(b"1234").await.expect("there is room");
        rationed.read_exact(&mut [0; 4]).await.expect("is allowed");
        peer.write_all(b"5").await.expect("there is room");
        let refused = rationed.read_u8().await.expect_err("is not allowed");
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        allowance.lift();
        peer.write_all(b"6").await.expect("there is room");
        assert_eq!(rationed.read_u8().await.expect("is allowed"), b'6');
    }
}
