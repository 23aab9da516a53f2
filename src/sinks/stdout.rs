//! Audit records as lines of JSON on the standard output, for whatever collects logs.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{DELIVERY_LIMIT, DeliveryError, within};

const STDOUT: &str = "the standard output";
/// Lines that wait for the thread that writes; more deliveries wait for a place.
const WAITING_LINES: usize = 64;

/// Writes each event as one line, from a thread of its own: a pipe that nobody reads holds up that thread
/// alone. Clones share it, so their lines never mix; the process should make one sink.
#[derive(Clone)]
pub struct StdoutSink {
    lines: mpsc::Sender<Line>,
    limit: Duration,
}

struct Line {
    text: String,
    written: oneshot::Sender<io::Result<()>>,
}

impl StdoutSink {
    /// # Errors
    /// When the process has no standard output, or no thread can be started.
    pub fn new() -> Result<Self, DeliveryError> {
        // `io::stdout()` itself would take a closed output for one that swallows everything, and keep a part
        // of a line that failed in its buffer.
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(unreachable)?;
        Self::writing_to(std::fs::File::from(stdout))
    }

    /// Writes somewhere else, which should have no buffer of its own: what was written once may be an error
    /// later.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn writing_to(output: impl Write + Send + 'static) -> Result<Self, DeliveryError> {
        let (lines, queue) = mpsc::channel(WAITING_LINES);
        std::thread::Builder::new()
            .name("stdout-sink".to_owned())
            .spawn(move || write_lines(output, queue))
            .map_err(unreachable)?;
        Ok(Self { lines, limit: DELIVERY_LIMIT })
    }

    /// With a limit other than [`DELIVERY_LIMIT`].
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The event is delivered when its line is written and flushed.
    ///
    /// # Errors
    /// When it was not, or not within the limit.
    pub async fn deliver(&self, event: &Value) -> Result<(), DeliveryError> {
        let ended = || unreachable(io::Error::other("the thread that writes has ended"));
        within(self.limit, STDOUT, async {
            let (written, result) = oneshot::channel();
            let line = Line { text: format!("{event}\n"), written };
            self.lines.send(line).await.map_err(|_| ended())?;
            result.await.map_err(|_| ended())?.map_err(unreachable)
        })
        .await
    }
}

fn unreachable(error: io::Error) -> DeliveryError {
    DeliveryError::Unreachable {
        to: STDOUT.to_owned(),
        advice: "look whether what reads it still runs, or has no space left",
        source: Box::new(error),
    }
}

/// Writes lines until no sink is left.
fn write_lines(mut output: impl Write, mut queue: mpsc::Receiver<Line>) {
    let mut torn = false;
    while let Some(Line { text, written }) = queue.blocking_recv() {
        // A caller that gave up waiting got an error, and tries again.
        if written.is_closed() {
            continue;
        }
        let result = write_line(&mut output, text.as_bytes(), &mut torn);
        // Whoever waited may have gone.
        let _ = written.send(result);
    }
}

/// `torn`: only a part of the line before was written. The next one must not be taken for its end.
fn write_line(output: &mut impl Write, line: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        output.write_all(b"\n")?;
        *torn = false;
    }
    let mut rest = line;
    while !rest.is_empty() {
        match output.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                rest = rest.get(count..).unwrap_or_default();
                *torn = !rest.is_empty();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    output.flush()
}
