//! One workqueue per kind, and one for rights that have to be taken away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::api::Kind;
use crate::cluster::cache::Key;
use crate::cluster::workqueue::{Priority, Workqueue};

/// The workqueues of one process.
pub struct Queues {
    kinds: BTreeMap<Kind, Workqueue>,
    /// Grants of which rights may have to be taken away, by the name of everything that is made for one
    /// ([`crate::model::naming::grant`]), as a whole or in one namespace; and roles that nothing explains, by namespace
    /// and name.
    pub revocation: Workqueue,
    is_open: AtomicBool,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            kinds: Kind::ALL.into_iter().map(|kind| (kind, Workqueue::default())).collect(),
            revocation: Workqueue::default(),
            is_open: AtomicBool::new(false),
        }
    }
}

impl Queues {
    /// Lets work in. Until then, in a replica that does not lead, nothing piles up.
    pub fn open(&self) {
        self.revocation.open();
        self.kinds.values().for_each(Workqueue::open);
        self.is_open.store(true, Ordering::Release);
    }

    /// Whether work is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// The workqueue of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Workqueue {
        // Every kind has one.
        self.kinds.get(&kind).cloned().unwrap_or_default()
    }

    /// Adds an object; `namespace` is empty for one that is in none.
    pub fn add(&self, kind: Kind, namespace: &str, name: &str, priority: Priority) {
        if let Some(queue) = self.kinds.get(&kind) {
            queue.add(Key::new(namespace, name), priority);
        }
    }
}
