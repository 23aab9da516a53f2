//! A listener for a port that anybody in the cluster may reach: it holds few connections, and none for long.
//! Whoever opens many ends his own.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// So many connections are open at a time.
const MOST_CONNECTIONS: usize = 32;
/// So long a connection lasts, whatever is or is not sent on it. Probes and scrapes take milliseconds.
const LONGEST: Duration = Duration::from_secs(30);

/// The time between two connections when there are too many.
const FULL_DELAY: Duration = Duration::from_millis(1);

/// Accepts connections that end in time. When there are too many, the oldest one of the address that has most of
/// them ends: the kubelet's probes are answered whatever others do.
pub struct BoundedListener {
    listener: TcpListener,
    slots: Arc<Mutex<ConnectionSlots>>,
    connections: usize,
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
        Ok(Self { listener, slots: Arc::default(), connections, longest })
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
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let is_full = lock(&self.slots).open.len() >= self.connections;
                    let (number, ended) = lock(&self.slots).take(address.ip(), self.connections);
                    let slot = ConnectionSlot { slots: Arc::clone(&self.slots), number };
                    if is_full {
                        // Whoever opens one after the other gets no processor for it.
                        tokio::time::sleep(FULL_DELAY).await;
                    }
                    let ends = Box::pin(tokio::time::sleep(self.longest));
                    return (BoundedStream { stream, ends, ended, is_over: false, _slot: slot }, address);
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

/// The connections that are open, the oldest first.
#[derive(Default)]
struct ConnectionSlots {
    next: u64,
    open: Vec<(u64, IpAddr, oneshot::Sender<()>)>,
}

impl ConnectionSlots {
    /// A slot for a connection from this address, and what tells that it is to end. When there is none, an
    /// address with as many connections as no other loses its oldest, the one that asks before others.
    fn take(&mut self, address: IpAddr, most: usize) -> (u64, oneshot::Receiver<()>) {
        if self.open.len() >= most {
            let mut counts = HashMap::from([(address, 1)]);
            for (_, other, _) in &self.open {
                *counts.entry(*other).or_default() += 1;
            }
            let greatest = counts.values().copied().max().unwrap_or_default();
            let has_most = |address: &IpAddr| counts.get(address) == Some(&greatest);
            let is_own = has_most(&address) && greatest > 1;
            let is_evicted = |other: &IpAddr| if is_own { *other == address } else { has_most(other) };
            if let Some(oldest) = self.open.iter().position(|(_, other, _)| is_evicted(other)) {
                self.open.remove(oldest);
            }
        }
        let (sender, ended) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.open.push((number, address, sender));
        (number, ended)
    }
}

fn lock(slots: &Mutex<ConnectionSlots>) -> MutexGuard<'_, ConnectionSlots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The slot of a connection, which is free when it is dropped.
struct ConnectionSlot {
    slots: Arc<Mutex<ConnectionSlots>>,
    number: u64,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        lock(&self.slots).open.retain(|(number, _, _)| *number != self.number);
    }
}

/// A connection that ends in time.
pub struct BoundedStream {
    stream: TcpStream,
    ends: Pin<Box<Sleep>>,
    ended: oneshot::Receiver<()>,
    is_over: bool,
    _slot: ConnectionSlot,
}

impl BoundedStream {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        // The other end of it goes with the slot. What has ended must not be asked again.
        self.is_over = self.is_over
            || self.ends.as_mut().poll(context).is_ready()
            || Pin::new(&mut self.ended).poll(context).is_ready();
        if self.is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
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

    async fn serve(connections: usize, longest: Duration) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = BoundedListener::with_limits(any, connections, longest).await.unwrap();
        let address = listener.address().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        (address, tokio::spawn(async { axum::serve(listener, router).await.unwrap() }))
    }

    async fn is_ended(mut stream: TcpStream) {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }

    /// Those who open connections and say nothing keep nobody out.
    #[tokio::test]
    async fn others_are_served_whatever_silent_connections_there_are() {
        // An hour, so that nothing ends by time.
        let (address, server) = serve(2, Duration::from_secs(3600)).await;
        assert!(ask(address).await.ends_with("here"));
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address).await.ends_with("here"));
        // The oldest of them were ended from the other side.
        for stream in silent.drain(..3) {
            is_ended(stream).await;
        }
        server.abort();
    }

    /// One that was used and is kept open is asked more than once after it was ended.
    #[tokio::test]
    async fn a_connection_that_was_used_is_ended_like_another() {
        let (address, server) = serve(1, Duration::from_secs(3600)).await;
        let mut used = TcpStream::connect(address).await.unwrap();
        used.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 4096];
        let read = used.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).contains("200 OK"));
        assert!(ask(address).await.ends_with("here"));
        is_ended(used).await;
        let mut stream = BoundedStream {
            stream: TcpStream::connect(address).await.unwrap(),
            ends: Box::pin(tokio::time::sleep(Duration::ZERO)),
            ended: oneshot::channel().1,
            is_over: false,
            _slot: ConnectionSlot { slots: Arc::default(), number: 0 },
        };
        for _ in 0..3 {
            assert!(stream.read_u8().await.is_err(), "it has ended");
        }
        server.abort();
    }

    #[tokio::test]
    async fn a_silent_connection_ends_by_itself() {
        let (address, server) = serve(2, Duration::from_millis(100)).await;
        is_ended(TcpStream::connect(address).await.unwrap()).await;
        assert!(ask(address).await.ends_with("here"));
        server.abort();
    }

    #[test]
    fn who_has_most_connections_loses_the_oldest() {
        let mut slots = ConnectionSlots::default();
        let [frequent, single, newest] = [1, 2, 3].map(|number| IpAddr::from([10, 0, 0, number]));
        let mut open: Vec<_> =
            [single, frequent, frequent].map(|address| slots.take(address, 3).1).into_iter().collect();
        let ended = |open: &mut Vec<oneshot::Receiver<()>>| {
            let is_over = |ended: &mut oneshot::Receiver<()>| {
                matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed))
            };
            open.iter_mut().map(is_over).collect::<Vec<bool>>()
        };
        open.push(slots.take(newest, 3).1);
        assert_eq!(ended(&mut open), [false, true, false, false]);
        for _ in 0..100 {
            open.push(slots.take(frequent, 3).1);
        }
        assert_eq!(ended(&mut open)[..4], [false, true, true, false], "others keep theirs");
        assert_eq!(slots.open.len(), 3);
    }
}
