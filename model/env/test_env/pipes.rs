//! The network of the small world: every connection is a pipe, every listener a queue.
//!
//! Nothing is lost or late. Who a process is, and whether it lives, is not known here.

use super::*;

impl Net for Doors {
    fn listen(&self, port: u16) -> LocalBoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            if self.world.listens(port) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (sender, backlog) = mpsc::unbounded_channel();
            self.world.0.listeners.borrow_mut().insert(port, (self.pid, sender));
            self.world.0.binds.set(self.world.0.binds.get() + 1);
            Ok(Box::new(TestListener { backlog, port }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, _host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            if let Some(kind) = self.world.0.connect_error.get() {
                return Err(kind.into());
            }
            let (ours, theirs) = duplex(PIPE_BYTES);
            let listeners = self.world.0.listeners.borrow();
            let (_, listener) = listeners.get(&port).ok_or(io::ErrorKind::ConnectionRefused)?;
            listener.send(pipe(theirs)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(pipe(ours))
        })
    }

    fn listeners(&self) -> Option<Vec<Listening>> {
        let listeners = self.world.0.listeners.borrow();
        let open = listeners.iter().filter(|(_, (_, listener))| !listener.is_closed());
        let listening = |(port, (pid, _)): (&u16, &(Pid, _))| Listening {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
            pid: *pid,
        };
        Some(open.map(listening).collect())
    }
}

struct TestListener {
    backlog: mpsc::UnboundedReceiver<Stream>,
    port: u16,
}

impl Listener for TestListener {
    fn accept(&mut self) -> LocalBoxFuture<'_, io::Result<Stream>> {
        Box::pin(async { Ok(self.backlog.recv().await.expect("the world holds the other end")) })
    }

    fn port(&self) -> u16 {
        self.port
    }
}

fn pipe(io: DuplexStream) -> Stream {
    let end = Rc::new(End { io: RefCell::new(Some(io)), waiting: Cell::new(None) });
    Stream::new(Box::new(Pipe(end.clone())), SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1), end)
}

/// One end of a pipe; `None` once it was aborted. At most one task waits on it.
struct End {
    io: RefCell<Option<DuplexStream>>,
    waiting: Cell<Option<Waker>>,
}

impl End {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut DuplexStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.waiting.set(Some(cx.waker().clone()));
        match &mut *self.io.borrow_mut() {
            Some(io) => attempt(Pin::new(io), cx),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl ConnectionControl for End {
    fn abort(&self) {
        drop(self.io.take());
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

struct Pipe(Rc<End>);

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(self.0.io.take());
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |io, cx| io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |io, cx| io.poll_shutdown(cx))
    }
}
