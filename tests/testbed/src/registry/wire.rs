//! A TCP stream that can be made slow, or cut off with a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// The handle by which a request tells its connection what to do.
#[derive(Debug, Default)]
pub(super) struct Switch {
    pause_micros: AtomicU64,
    resets: AtomicBool,
    cut: Notify,
}

impl Switch {
    /// Lets the connection pause this long after each byte it sends.
    pub(super) fn slow_down(&self, pause: Duration) {
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.pause_micros.store(micros, Ordering::Relaxed);
    }

    /// Has the connection dropped with a TCP reset.
    pub(super) fn reset(&self) {
        self.resets.store(true, Ordering::Relaxed);
        self.cut.notify_one();
    }

    /// Returns once the connection is to be dropped.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }
}

/// The stream.
#[derive(Debug)]
pub(super) struct Wire {
    tcp: TcpStream,
    switch: Arc<Switch>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream, switch: Arc<Switch>) -> Self {
        Self {
            tcp,
            switch,
            pause: None,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.switch.resets.load(Ordering::Relaxed) {
            // A zero linger time makes the kernel send RST instead of FIN; without it the fault is a plain close.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let micros = self.switch.pause_micros.load(Ordering::Relaxed);
        if micros == 0 {
            return Pin::new(&mut self.tcp).poll_write(cx, buf);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let first = &buf[..buf.len().min(1)];
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, first));
        self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_micros(micros))));
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
