//! The clients for the API server, whose requests end in time and whose answers are text; and what keeps writes from
//! leaving when the lease is over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Response, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::retry::RetryPolicy;
use kube::client::{ClientBuilder, ConfigExt};
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::util::MapResponseLayer;
use tower::{BoxError, Service, ServiceBuilder, service_fn};
use tower_http::timeout::ResponseBodyTimeoutLayer;

use crate::api::names::OPERATOR;
use crate::cluster::fence::{Fence, NotLeading};
use crate::cluster::text::Text;

/// So long the API server may be silent, before an answer or within it, until it counts as gone. It ends requests
/// within a minute itself, and sends watches a bookmark about as often.
const LONGEST_IDLE: Duration = Duration::from_secs(90);
const LONGEST_CONNECT: Duration = Duration::from_secs(5);
/// So long a socket may take nothing.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// The clients by which the operator reaches the API server.
#[derive(Clone)]
pub struct Clients {
    /// For reads, and for the lease.
    pub reads: Client,
    /// For writes: while the fence is closed its sockets take nothing.
    pub writes: Client,
    /// Around the lease of the operator.
    pub fence: Fence,
}

impl Clients {
    /// Clients whose requests end in time: closing access must not wait for a connection that is silently dead.
    /// `namespace` is the operator's own.
    ///
    /// # Errors
    /// When the configuration has no usable credentials, or asks for a proxy.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(config: &kube::Config, namespace: &str) -> Result<Self, kube::Error> {
        let fence = Fence::new(namespace, OPERATOR);
        let reads = build(config, None, LONGEST_IDLE)?;
        let writes = build(config, Some(fence.clone()), LONGEST_IDLE)?;
        Ok(Self { reads, writes, fence })
    }

    /// One client for everything, whose sockets are its own matter.
    #[must_use]
    pub fn of(client: Client, namespace: &str) -> Self {
        Self { reads: client.clone(), writes: client, fence: Fence::new(namespace, OPERATOR) }
    }
}

/// The stack that [`ClientBuilder`] makes of a configuration, without spans and proxies, with sockets of its own. The
/// limit of silence is not `set_read_timeout`: that sets a timer to the present each time when something was read,
/// which wakes the runtime once more for each event and each answer.
fn build(config: &kube::Config, fence: Option<Fence>, longest_idle: Duration) -> Result<Client, kube::Error> {
    if let Some(proxy) = &config.proxy_url {
        return Err(kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy.clone()) });
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // The kernel gives up resending unacknowledged bytes before another process can take the lease. One second is to
    // spare, because the time counts from the first resend (tcp(7), TCP_USER_TIMEOUT).
    #[cfg(target_os = "linux")]
    if fence.is_some() {
        use crate::cluster::fence::{LEASE_DURATION, RENEW_DEADLINE};
        tcp.set_tcp_user_timeout(LEASE_DURATION.checked_sub(RENEW_DEADLINE + Duration::from_secs(1)));
    }
    let connect = service_fn(move |to: Uri| {
        let (mut tcp, fence) = (tcp.clone(), fence.clone());
        async move { Ok::<_, BoxError>(Fenced { socket: tcp.call(to).await?, fence }) }
    });
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connect)?);
    connector.set_connect_timeout(Some(LONGEST_CONNECT));
    connector.set_write_timeout(Some(LONGEST_WRITE));
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(longest_idle))
        .layer(ResponseBodyTimeoutLayer::new(longest_idle))
        .layer(MapResponseLayer::new(|answer: Response<_>| answer.map(Text::new)))
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Pool::builder(TokioExecutor::new()).build(connector));
    Ok(ClientBuilder::new(service, &config.default_namespace).build())
}

/// A socket that sends nothing while the fence is closed, if there is one. What was refused ends its connection.
///
/// A request can wait long after the fence let it through: for a connection to be made, for the task that serves the
/// connection, for a process that sleeps. Nothing is awaited between this check and the system call.
struct Fenced<S> {
    socket: S,
    fence: Option<Fence>,
}

impl<S> Fenced<S> {
    fn may_send(&self) -> io::Result<()> {
        match &self.fence {
            Some(fence) if !fence.is_open() => Err(io::Error::other(NotLeading)),
            _ => Ok(()),
        }
    }
}

impl<S: Write + Unpin> Write for Fenced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.may_send()?;
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.may_send()?;
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: Read + Unpin> Read for Fenced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl<S: Connection> Connection for Fenced<S> {
    fn connected(&self) -> Connected {
        self.socket.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures::TryStreamExt;
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
    use kube::Api;
    use kube::api::{PostParams, WatchParams};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::cluster::watch::WATCH_SECONDS;

    /// A client of a server that says this to whatever it is asked, and nothing more.
    async fn client_of(says: &'static str, longest_idle: Duration) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut streams = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                assert!(stream.read(&mut asked).await.unwrap() > 0);
                stream.write_all(says.as_bytes()).await.unwrap();
                streams.push(stream);
            }
        });
        build(&config_of(address), None, longest_idle).unwrap()
    }

    fn config_of(address: SocketAddr) -> kube::Config {
        kube::Config::new(format!("http://{address}").parse().unwrap())
    }

    /// A write that was let through and had to wait is not sent when the lease is over, neither on a new connection nor
    /// on one that is there.
    #[tokio::test]
    async fn nothing_leaves_a_socket_for_writes_when_the_lease_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = config_of(listener.local_addr().unwrap());
        let (heard, mut requests) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut asked = [0; 1024];
                    while let Ok(length) = stream.read(&mut asked).await
                        && length > 0
                    {
                        heard.send(asked[..length].starts_with(b"POST")).unwrap();
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        let clients = Clients::connect(&config, "enclave-system").unwrap();
        let write = async || {
            let maps = Api::<ConfigMap>::default_namespaced(clients.writes.clone());
            maps.create(&PostParams::default(), &ConfigMap::default()).await
        };
        let lease = async || {
            let leases =
                Api::<Lease>::namespaced(clients.fence.listen(clients.reads.clone()), "enclave-system");
            leases.replace(OPERATOR, &PostParams::default(), &Lease::default()).await.unwrap();
        };
        write().await.expect_err("it never led");
        lease().await;
        assert_eq!(requests.recv().await, Some(false), "the lease goes another way");
        write().await.unwrap();
        assert_eq!(requests.recv().await, Some(true));

        clients.fence.close();
        let error = write().await.expect_err("the connection is there and idle");
        assert!(format!("{:?}", anyhow::Error::from(error)).contains(&NotLeading.to_string()));
        lease().await;
        assert_eq!(requests.recv().await, Some(false), "nothing was sent before it");
        write().await.expect("a new connection is made");
        assert_eq!(requests.recv().await, Some(true));
    }

    #[tokio::test]
    async fn a_server_that_falls_silent_is_given_up() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let in_the_body: &'static str = format!("{HEAD}Content-Length: 100\r\n\r\n{{\"kind\":").leak();
        for says in ["", "HTTP/1.1 200 OK\r\n", in_the_body] {
            let client = client_of(says, Duration::from_millis(100)).await;
            let namespaces = Api::<Namespace>::all(client);
            let answer = timeout(Duration::from_secs(30), namespaces.get("any")).await;
            let error = answer.expect("a silent server is given up").expect_err("it did not answer");
            assert!(!matches!(error, kube::Error::Api(_)), "{says:?}: {error}");
        }
    }

    #[test]
    fn a_watch_is_over_before_its_silence_counts() {
        let watch_duration = Duration::from_secs(WATCH_SECONDS.into());
        assert!(watch_duration + Duration::from_secs(10) < LONGEST_IDLE);
    }

    #[tokio::test]
    async fn a_watch_in_which_nothing_comes_ends() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let client = client_of(head, Duration::from_millis(100)).await;
        let maps = Api::<ConfigMap>::default_namespaced(client);
        let watched = timeout(Duration::from_secs(30), async {
            maps.watch(&WatchParams::default(), "0").await?.try_collect::<Vec<_>>().await
        });
        watched.await.expect("a silent watch is given up").expect_err("nothing came");
    }
}
