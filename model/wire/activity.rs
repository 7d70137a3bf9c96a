//! Activity: whether the peer of an HTTP connection is in the middle of a request.
//!
//! An HTTP library knows of a request when its head is complete, which the head of a rude peer never is. This layer
//! below it sees the first byte. Knows nothing of HTTP but that what is read is a request, and what is written its
//! answer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an HTTP connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Activity {
    /// Nothing was ever said on it.
    #[default]
    Untouched,
    /// A request is coming in, or its answer is not out.
    Busy,
    /// The last request was answered.
    Idle,
}

/// The activity of one connection, seen from everywhere.
#[derive(Clone, Default)]
pub(super) struct Watch(Rc<Cell<Activity>>);

impl Watch {
    pub(super) fn get(&self) -> Activity {
        self.0.get()
    }
}

/// A stream that keeps its [`Watch`] up to date.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Watch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.0.set(Activity::Busy);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        let is_out = matches!(outcome, Poll::Ready(Ok(written)) if written == buf.len());
        self.activity.0.set(if is_out { Activity::Idle } else { Activity::Busy });
        outcome
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
    async fn a_connection_is_busy_from_the_first_byte_of_a_request_to_the_last_of_its_answer() {
        let (mut peer, stream) = duplex(8);
        let activity = Watch::default();
        let mut watched = Watched { stream, activity: activity.clone() };
        assert_eq!(activity.get(), Activity::Untouched);
        peer.write_all(b"G").await.expect("there is room");
        assert_eq!(activity.get(), Activity::Untouched, "nobody has read it");
        watched.read_u8().await.expect("a byte");
        assert_eq!(activity.get(), Activity::Busy);
        assert_eq!(watched.write(b"123456789").await.expect("there is some room"), 8);
        assert_eq!(activity.get(), Activity::Busy, "a byte is left");
        peer.read_exact(&mut [0; 8]).await.expect("are there");
        watched.write_all(b"9").await.expect("there is room");
        assert_eq!(activity.get(), Activity::Idle);
    }
}
