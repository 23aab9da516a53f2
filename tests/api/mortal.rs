//! An operator that dies after every write, at the worst moment: the API server has made the
//! write, and the operator never learns of it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use enclave_operator::runtime::Settings;
use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;

use crate::in_process::{Answer, InProcess, is_write};
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
    let (left, death) = (Arc::new(AtomicUsize::new(writes)), Arc::new(Notify::new()));
    let _mortal = InProcess::start(account, settings, {
        let death = Arc::clone(&death);
        move |request, client| {
            let (left, death) = (Arc::clone(&left), Arc::clone(&death));
            async move { answer(request, client, &left, &death).await }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = death.notified() => Life::Died,
            _ = story => Life::Outlived,
        }
    })
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
async fn answer(request: Request<Body>, client: Client, left: &AtomicUsize, death: &Notify) -> Answer {
    let left = if is_write(&request) {
        left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
    } else {
        Ok(usize::MAX)
    };
    // The operator is dead already.
    let Ok(left) = left else { return std::future::pending().await };
    let answer = client.send(request).await;
    if left == 1 {
        death.notify_one();
        std::future::pending::<()>().await;
    }
    answer
}
