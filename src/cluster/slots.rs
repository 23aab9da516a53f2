//! Where an index of a cache leads.

use std::collections::BTreeSet;

/// Slots of objects: most values lead to one.
pub enum Slots {
    /// This one.
    One(usize),
    /// These.
    More(BTreeSet<usize>),
}

impl Slots {
    /// One more.
    pub fn add(&mut self, slot: usize) {
        match self {
            Self::One(one) if *one == slot => {}
            Self::One(one) => *self = Self::More([*one, slot].into()),
            Self::More(slots) => {
                slots.insert(slot);
            }
        }
    }

    /// Takes one away. Returns whether none is left.
    pub fn remove(&mut self, slot: usize) -> bool {
        match self {
            Self::One(one) => *one == slot,
            Self::More(slots) => {
                slots.remove(&slot);
                slots.is_empty()
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let (one, more) = match self {
            Self::One(one) => (Some(*one), None),
            Self::More(slots) => (None, Some(slots)),
        };
        one.into_iter().chain(more.into_iter().flatten().copied())
    }

    /// How many there are; never none.
    pub fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::More(slots) => slots.len(),
        }
    }
}
