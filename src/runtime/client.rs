//! The client for the API server, whose requests end in time and whose answers are text.

use std::time::Duration;

use http::Response;
use kube::Client;
use kube::client::{ClientBuilder, DynBody};
use tower::timeout::TimeoutLayer;
use tower::util::MapResponseLayer;
use tower_http::timeout::ResponseBodyTimeoutLayer;

use crate::cluster::text::Text;

/// So long the API server may be silent, before an answer or within it, until it counts as gone. It ends requests
/// within a minute itself, and sends watches a bookmark about as often.
const LONGEST_SILENCE: Duration = Duration::from_secs(90);

/// A client whose requests end in time: closing access must not wait for a connection that is silently dead.
///
/// # Errors
/// When the configuration has no usable credentials.
pub fn build_client(config: kube::Config) -> Result<Client, kube::Error> {
    build_with_limit(config, LONGEST_SILENCE)
}

/// The limit is not `Config::read_timeout`: that sets a timer to the present each time when something was read, which
/// wakes the runtime once more for each event and each answer.
fn build_with_limit(mut config: kube::Config, silence: Duration) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = None;
    config.write_timeout = Some(Duration::from_secs(10));
    let builder = ClientBuilder::try_from(config)?;
    let text = MapResponseLayer::new(|answer: Response<Box<DynBody>>| answer.map(Text::new));
    let within = ResponseBodyTimeoutLayer::new(silence);
    Ok(builder.with_layer(&text).with_layer(&within).with_layer(&TimeoutLayer::new(silence)).build())
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
    use kube::Api;
    use kube::api::WatchParams;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::cluster::watch::WATCH_SECONDS;

    /// A client of a server that says this to whatever it is asked, and nothing more.
    async fn client_of(says: &'static str, silence: Duration) -> Client {
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
        build_with_limit(kube::Config::new(format!("http://{address}").parse().unwrap()), silence).unwrap()
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
        let lasts = Duration::from_secs(WATCH_SECONDS.into());
        assert!(lasts + Duration::from_secs(10) < LONGEST_SILENCE);
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
