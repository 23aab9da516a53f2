//! An operator that dies after every write, at the worst moment: the API server has made the
//! write, and the operator never learns of it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use enclave_operator::runtime::{Settings, run_operator};
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tower::{Layer, Service};

use crate::support::User;

/// Runs the operator in lives of one write each, until `story` has ended. Returns how many lives
/// that took.
pub fn run_mortal_operator<T>(
    account: &User,
    settings: &Settings,
    story: impl Future<Output = T>,
) -> (T, usize) {
    let over = Arc::new(Notify::new());
    std::thread::scope(|scope| {
        let lives = scope.spawn({
            let over = Arc::clone(&over);
            move || live_again_and_again(account, settings, &over)
        });
        let result = {
            // Also when the story fails.
            let _end = End(&over);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(story)
        };
        (result, lives.join().unwrap())
    })
}

/// Ends the lives when it goes out of scope.
struct End<'a>(&'a Notify);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// How a life of the operator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// By its last write.
    Died,
    /// The story was over before.
    Outlived,
}

/// Runs the operator until it has made so many writes, or `story` has ended.
pub fn live<T>(account: &User, settings: &Settings, writes: usize, story: impl Future<Output = T>) -> Life {
    let mortal = Operator::start(account, settings, writes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = mortal.death.notified() => Life::Died,
            _ = story => Life::Outlived,
        }
    })
}

/// An operator in a runtime of its own, which is dropped with everything in it: nothing gets to say goodbye.
struct Operator {
    runtime: Option<Runtime>,
    death: Arc<Notify>,
}

impl Operator {
    fn start(account: &User, settings: &Settings, writes: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let death = Arc::new(Notify::new());
        let layer = DeathLayer { left: Arc::new(AtomicUsize::new(writes)), death: Arc::clone(&death) };
        let (config, settings) = (account.config(), settings.clone());
        runtime.spawn(async move {
            let client = ClientBuilder::try_from(config).unwrap().with_layer(&layer).build();
            Box::pin(run_operator(client, &settings, std::future::pending())).await
        });
        Self { runtime: Some(runtime), death }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn live_again_and_again(account: &User, settings: &Settings, over: &Notify) -> usize {
    for life in 1.. {
        if live(account, settings, 1, over.notified()) == Life::Outlived {
            return life;
        }
    }
    unreachable!("the loop has no end")
}

/// Lets so many writes through and swallows the answer to the last one; from then on nothing is answered.
#[derive(Clone)]
struct DeathLayer {
    left: Arc<AtomicUsize>,
    death: Arc<Notify>,
}

impl<S> Layer<S> for DeathLayer {
    type Service = Mortal<S>;

    fn layer(&self, inner: S) -> Mortal<S> {
        Mortal { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
struct Mortal<S> {
    inner: S,
    layer: DeathLayer,
}

impl<S, B> Service<Request<Body>> for Mortal<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The lease is about the process, and a review only asks.
        let path = request.uri().path();
        let is_other = path.contains("/leases") || path.ends_with("/selfsubjectreviews");
        let is_write = request.method() != Method::GET && !is_other;
        let left = if is_write {
            self.layer.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
        } else {
            Ok(usize::MAX)
        };
        // The operator is dead already.
        let Ok(left) = left else { return Box::pin(std::future::pending()) };
        let answer = self.inner.call(request);
        let death = Arc::clone(&self.layer.death);
        Box::pin(async move {
            let answer = answer.await;
            if left == 1 {
                death.notify_one();
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}
