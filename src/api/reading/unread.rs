//! The fields that could not be read, and the mark of a content that has such fields.

use std::fmt;

/// Field that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Path of the field, for example `spec.quota.cpu` or `metadata.labels.team`.
    pub path: String,
    /// Reason why the field cannot be read.
    pub why: String,
    /// Sort of the value that cannot be read.
    pub cause: Cause,
}

/// Sort of a value that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Value of another type, or one that cannot be represented.
    Wrong,
    /// Value or field that this version does not know and another version may know.
    Newer,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, why, cause: _ } = self;
        write!(f, "{path}: {why}")
    }
}

/// Mark of a content that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(Vec<Unread>);

impl Unreadable {
    /// Returns the mark for these fields; `None` when there are none.
    #[must_use]
    pub fn of(fields: Vec<Unread>) -> Option<Box<Self>> {
        (!fields.is_empty()).then(|| Box::new(Self(fields)))
    }

    /// Whether all unreadable fields are unreadable because only another version may know them. Such a
    /// content takes no access away by itself, because nobody asked for that.
    #[must_use]
    pub fn is_only_newer(&self) -> bool {
        self.0.iter().all(|unread| unread.cause == Cause::Newer)
    }

    /// Whether only another version knows so much of a field of the spec that nobody can tell which access
    /// the field takes away.
    #[must_use]
    pub fn is_unclear(&self, field: &str) -> bool {
        self.cause_of(&unclear(field)).is_some()
    }

    /// Returns the sort of value because of which a field could not be read; `None` when it could.
    #[must_use]
    pub fn cause_of(&self, path: &str) -> Option<Cause> {
        self.0.iter().find(|unread| unread.path == path).map(|unread| unread.cause)
    }

    /// Returns the fields that could not be read.
    #[must_use]
    pub fn fields(&self) -> &[Unread] {
        &self.0
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 5;
        let first: Vec<String> = self.0.iter().take(MOST).map(ToString::to_string).collect();
        f.write_str(&first.join("; "))?;
        match self.0.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Returns the path that marks a field of a spec of which only another version knows so much that nobody can
/// tell which access the field takes away. The applied content of the field stands in for it.
pub(super) fn unclear(field: &str) -> String {
    format!("spec.{field}[*]")
}
