//! Events that are written.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use enclave_operator::sinks::StdoutSink;
use serde_json::{Value, json};

use crate::{in_time, is_child, run_as_child, tell};

/// Takes a few bytes at a time, and the errors that it is told to make.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    written: Vec<u8>,
    flushed: usize,
    /// Fails once, when this much was written.
    fails_at: Option<usize>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        if state.fails_at.is_some_and(|at| at <= state.written.len()) {
            state.fails_at = None;
            return Err(ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(7);
        state.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.flushed = state.written.len();
        Ok(())
    }
}

impl Output {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().written.clone()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_whole_lines() {
    in_time(async {
        let output = Output::default();
        let sink = StdoutSink::writing_to(output.clone()).unwrap();
        let deliveries = (0..200).map(|id| {
            let sink = sink.clone();
            tokio::spawn(async move { sink.deliver(&json!({ "id": id, "data": "two\nlines ü" })).await })
        });
        for delivery in futures::future::join_all(deliveries).await {
            delivery.unwrap().unwrap();
        }
        let text = output.text();
        let mut ids: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..200).collect::<Vec<_>>());
        assert!(text.ends_with('\n'));
    })
    .await;
}

#[tokio::test]
async fn delivered_means_flushed() {
    in_time(async {
        let output = Output::default();
        StdoutSink::writing_to(output.clone()).unwrap().deliver(&json!({ "id": 1 })).await.unwrap();
        assert_eq!(output.text(), "{\"id\":1}\n");
        assert_eq!(output.0.lock().unwrap().flushed, 9);
    })
    .await;
}

#[tokio::test]
async fn a_torn_line_does_not_spoil_the_next_one() {
    in_time(async {
        let output = Output::default();
        output.0.lock().unwrap().fails_at = Some(7);
        let sink = StdoutSink::writing_to(output.clone()).unwrap();
        let error = sink.deliver(&json!({ "id": "first" })).await.unwrap_err();
        assert_eq!(error.category(), "Unreachable");
        sink.deliver(&json!({ "id": "second" })).await.unwrap();
        sink.deliver(&json!({ "id": "third" })).await.unwrap();
        assert_eq!(output.text(), "{\"id\":\"\n{\"id\":\"second\"}\n{\"id\":\"third\"}\n");
    })
    .await;
}

/// The runtime has one thread here: if a write blocked it, no limit would end the delivery.
#[tokio::test]
async fn a_full_pipe_blocks_nothing_else() {
    in_time(async {
        let (reader, writer) = io::pipe().unwrap();
        let sink = StdoutSink::writing_to(writer).unwrap();
        let large = json!({ "id": "large", "data": "x".repeat(1 << 20) });
        let writing = tokio::spawn({
            let (sink, large) = (sink.clone(), large.clone());
            async move { sink.deliver(&large).await }
        });
        // Its first byte says that it was begun. The pipe does not hold the rest.
        let begun = tokio::task::spawn_blocking(move || {
            let mut reader = BufReader::with_capacity(1, reader);
            reader.read_exact(&mut [0]).unwrap();
            reader.into_inner()
        });
        let reader = begun.await.unwrap();
        writing.abort();
        for id in 0..100 {
            let limit = Duration::from_millis(1);
            let error = sink.clone().with_limit(limit).deliver(&json!({ "id": id })).await.unwrap_err();
            assert_eq!(error.category(), "TimedOut");
        }

        // Somebody reads again. What was given up before it was begun is not written any more.
        let lines = tokio::task::spawn_blocking(move || {
            let mut reader = BufReader::new(reader);
            let mut lines = [String::new(), String::new()];
            for line in &mut lines {
                reader.read_line(line).unwrap();
            }
            lines
        });
        sink.deliver(&json!({ "id": "after" })).await.unwrap();
        let [first, second] = lines.await.unwrap();
        assert_eq!(format!("{{{first}"), format!("{large}\n"));
        assert_eq!(second, "{\"id\":\"after\"}\n");
    })
    .await;
}

#[tokio::test]
async fn a_pipe_that_nobody_holds_is_an_error() {
    in_time(async {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let sink = StdoutSink::writing_to(writer).unwrap();
        for _ in 0..3 {
            let error = sink.deliver(&json!({ "id": 1 })).await.unwrap_err();
            assert_eq!(error.category(), "Unreachable");
            assert!(tell(&error).contains("BrokenPipe"), "{}", tell(&error));
        }
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_an_error() {
    in_time(async {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let sink = StdoutSink::writing_to(full).unwrap();
        for _ in 0..3 {
            let error = sink.deliver(&json!({ "id": 1 })).await.unwrap_err();
            assert_eq!(error.category(), "Unreachable");
            assert!(tell(&error).contains("No space left"), "{}", tell(&error));
        }
    })
    .await;
}

#[tokio::test]
async fn the_real_output_is_written() {
    in_time(async {
        if is_child() {
            return StdoutSink::new().unwrap().deliver(&json!({ "id": "real" })).await.unwrap();
        }
        let child = tokio::task::spawn_blocking(|| run_as_child("stdout::the_real_output_is_written", &[]));
        let output = child.await.unwrap();
        let mut text = String::new();
        output.stdout.as_slice().read_to_string(&mut text).unwrap();
        assert!(text.contains("{\"id\":\"real\"}\n"), "{text}");
    })
    .await;
}
