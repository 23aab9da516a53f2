//! Answers of the API server as text, whatever bytes are in them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

/// A body whose bytes are UTF-8.
///
/// The API server does not look at the bytes of managed fields: it stores and sends what a client wrote there.
/// JSON that is not UTF-8 would fail a list or a watch as a whole, so bytes that are no character become U+FFFD.
pub struct Text<B> {
    inner: B,
    /// Bytes that may become a character with the next frame: three at most.
    begun: Vec<u8>,
}

impl<B> Text<B> {
    /// Wraps a body.
    pub const fn new(inner: B) -> Self {
        Self { inner, begun: Vec::new() }
    }

    /// Returns the part that is known to be text by now.
    fn decode(&mut self, data: Bytes) -> Bytes {
        if self.begun.is_empty() && std::str::from_utf8(&data).is_ok() {
            return data;
        }
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(&data);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let is_incomplete =
                || std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if chunks.peek().is_none() && is_incomplete() {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text.into()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Text<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else { return Poll::Pending };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => Frame::data(self.decode(data)),
                Err(trailers) => trailers,
            })),
            Some(Err(error)) => Some(Err(error)),
            None if self.begun.is_empty() => None,
            None => {
                self.begun.clear();
                Some(Ok(Frame::data(Bytes::from_static("\u{fffd}".as_bytes()))))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use super::*;

    /// A body in parts.
    struct Parts(VecDeque<Vec<u8>>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part.into()))))
        }
    }

    fn read(parts: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let mut text = Text::new(Parts(parts.into_iter().collect()));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut text).poll_frame(&mut context) {
            all.extend_from_slice(&frame.into_data().unwrap());
        }
        all
    }

    #[test]
    fn text_is_told_as_it_is_wherever_it_is_cut() {
        let text = "{\"name\": \"Ärger \u{1F600} \u{fffd}\"}".as_bytes();
        for cut in 0..=text.len() {
            let (first, second) = text.split_at(cut);
            assert_eq!(read([first.to_vec(), second.to_vec()]), text, "cut at {cut}");
        }
        assert_eq!(read(text.iter().map(|byte| vec![*byte])), text);
    }

    #[test]
    fn what_is_no_text_is_replaced_wherever_it_is_cut() {
        for invalid in [
            &b"a\xffb"[..],
            b"\xc3",
            b"\xf0\x9f\x98",
            b"\xe2\x82b\xc0\xaf\xed\xa0\x80",
            b"\xf0\x9f\"",
            b"\xc3\xc3\xa4",
        ] {
            let wanted = String::from_utf8_lossy(invalid).into_owned().into_bytes();
            for cut in 0..=invalid.len() {
                let (first, second) = invalid.split_at(cut);
                assert_eq!(read([first.to_vec(), second.to_vec()]), wanted, "{invalid:x?} cut at {cut}");
            }
        }
    }
}
