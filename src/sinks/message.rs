//! Plain text for people.

use crate::api::text::shorten;
/// So that subjects stay one line in a list of mails.
const LONGEST_SUBJECT: usize = 200;
/// In characters. Slack takes 40,000 after escaping, and mail has no such bound.
const LONGEST_TEXT: usize = 8_000;

/// A message for people. Justifications, names and other texts of users go in as they are: it holds nothing
/// that could end a line of the subject, drive a terminal or turn the direction of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    subject: String,
    text: String,
}

impl Message {
    /// The subject becomes one line of at most 200 characters, the text has at most 8,000. What cannot be
    /// shown becomes `U+FFFD`.
    #[must_use]
    pub fn new(subject: &str, text: &str) -> Self {
        let subject = shorten(subject.trim(), LONGEST_SUBJECT).into_owned();
        let subject = subject.chars().map(|c| if c.is_whitespace() { ' ' } else { shown(c) }).collect();
        let text = shorten(&text.replace("\r\n", "\n"), LONGEST_TEXT).into_owned();
        let text = text.chars().map(|c| if c == '\n' || c == '\t' { c } else { shown(c) }).collect();
        Self { subject, text }
    }

    /// One line.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Lines that end with `\n`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn shown(c: char) -> char {
    let hidden = c.is_control()
        // Line and paragraph separator, and what turns the direction of writing.
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if hidden { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_line_of_what_can_be_shown() {
        let message = Message::new(" Open shop\r\nBcc: evil@example.com\u{2028}\u{202e}\0 ✓\n", "");
        assert_eq!(message.subject(), "Open shop  Bcc: evil@example.com \u{fffd}\u{fffd} ✓");
    }

    #[test]
    fn a_text_keeps_its_lines_and_nothing_else_that_controls() {
        let message = Message::new("", "one\r\ntwo\rthree\n\tfour\u{1b}[2J\u{85}\u{2066}ü");
        assert_eq!(message.text(), "one\ntwo\u{fffd}three\n\tfour\u{fffd}[2J\u{fffd}\u{fffd}ü");
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let message = Message::new(&"ü".repeat(201), &"ü".repeat(8_001));
        assert_eq!(message.subject(), format!("{}…", "ü".repeat(199)));
        assert_eq!(message.text(), format!("{}…", "ü".repeat(7_999)));
        let fits = "ü".repeat(200);
        assert_eq!(Message::new(&fits, "").subject(), fits);
    }
}
