//! A listener for a port that anybody in the cluster may reach: it holds few connections, and none for long.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// So many connections are open at a time; others wait in the queue of the system.
const MOST_CONNECTIONS: usize = 32;
/// So long a connection lasts, whatever is or is not sent on it. Probes and scrapes take milliseconds.
const LONGEST: Duration = Duration::from_secs(30);

/// Accepts a bounded number of connections that end in time.
pub struct BoundedListener {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    longest: Duration,
}

impl BoundedListener {
    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::with_limits(address, MOST_CONNECTIONS, LONGEST).await
    }

    async fn with_limits(address: SocketAddr, connections: usize, longest: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, seats: Arc::new(Semaphore::new(connections)), longest })
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        loop {
            // It is never closed.
            let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await else { continue };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let ends = Box::pin(tokio::time::sleep(self.longest));
                    return (BoundedStream { stream, ends, _seat: seat }, address);
                }
                // As a rule the connection is gone already, or there are too many files open.
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection to the metrics port");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
    }
}

/// A connection that ends in time.
pub struct BoundedStream {
    stream: TcpStream,
    ends: Pin<Box<Sleep>>,
    _seat: OwnedSemaphorePermit,
}

impl BoundedStream {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.ends.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Who opens connections and says nothing keeps the others out for a moment only.
    #[tokio::test]
    async fn silent_connections_end_and_others_are_served_after_them() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = BoundedListener::with_limits(any, 2, Duration::from_millis(200)).await.unwrap();
        let address = listener.address().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn(async { axum::serve(listener, router).await });
        assert!(ask(address).await.ends_with("here"));
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address).await.ends_with("here"));
        // They were ended from the other side.
        for mut stream in silent {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
        server.abort();
    }
}
