//! The slots that an index of a cache has under one value.

use std::collections::BTreeSet;

/// Slots of objects. Most values have one, which needs no set.
pub enum Slots {
    /// A single slot.
    One(usize),
    /// Several slots.
    More(BTreeSet<usize>),
}

impl Slots {
    /// Adds a slot.
    pub fn add(&mut self, slot: usize) {
        match self {
            Self::One(one) if *one == slot => {}
            Self::One(one) => *self = Self::More([*one, slot].into()),
            Self::More(slots) => {
                slots.insert(slot);
            }
        }
    }

    /// Removes a slot. Returns whether none is left.
    pub fn remove(&mut self, slot: usize) -> bool {
        match self {
            Self::One(one) => *one == slot,
            Self::More(slots) => {
                slots.remove(&slot);
                slots.is_empty()
            }
        }
    }

    /// All slots, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let (one, more) = match self {
            Self::One(one) => (Some(*one), None),
            Self::More(slots) => (None, Some(slots)),
        };
        one.into_iter().chain(more.into_iter().flatten().copied())
    }

    /// The number of slots: at least one.
    pub fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::More(slots) => slots.len(),
        }
    }
}
