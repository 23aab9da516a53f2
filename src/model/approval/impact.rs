//! The lines about what a change opens and closes: as many as a request may have.

use crate::api::text::shorten;
/// Lines of which only the first are written. There may be one for each person and each namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    first: Vec<String>,
    /// The number of further lines.
    more: usize,
}

impl Lines {
    /// The most lines of a request, beside one that says how many more there are.
    const MOST: usize = 200;
    /// The most characters of a line.
    const LONGEST: usize = 1024;

    /// A line for each item.
    pub fn of<T>(mut items: impl Iterator<Item = T>, write: impl FnMut(T) -> String) -> Self {
        let first = items.by_ref().take(Self::MOST).map(write).collect();
        Self { first, more: items.count() }
    }
}

impl From<Vec<String>> for Lines {
    fn from(lines: Vec<String>) -> Self {
        Self::of(lines.into_iter(), |line| line)
    }
}

impl From<Lines> for Vec<String> {
    fn from(Lines { first, more }: Lines) -> Self {
        let more = (more > 0).then(|| format!("and {more} more"));
        first.iter().chain(&more).map(|line| shorten(line, Lines::LONGEST).into_owned()).collect()
    }
}

/// Adds one impact to another.
#[must_use]
pub fn add(
    (mut opens, mut closes): (Vec<String>, Vec<String>),
    (more_opens, more_closes): (Vec<String>, Vec<String>),
) -> (Vec<String>, Vec<String>) {
    opens.extend(more_opens);
    closes.extend(more_closes);
    (opens, closes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_that_a_request_has_are_written() {
        let mut written = 0;
        let lines = Lines::of(0..2_000_000, |number: usize| {
            written += 1;
            format!("{number:02000}")
        });
        let lines: Vec<String> = lines.into();
        assert_eq!((written, lines.len()), (200, 201));
        assert_eq!((lines[0].chars().count(), lines[200].as_str()), (1024, "and 1999800 more"));
        assert_eq!(Vec::from(Lines::from(vec!["x".to_owned(); 200])).len(), 200);
    }
}
