//! What `stamp-requester` makes of a change, once more in Rust, for clusters that are simulated in memory.
//! `tests/api/stamps.rs` holds it against the real policy.

use enclave_operator::api::names::{REQUESTED_BY, REQUESTED_GENERATION};
use enclave_operator::model::approval::gated::Gated;
use kube::ResourceExt;

/// One part of the condition under which a new list of requesters begins. All of them have to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Nothing is recorded as pending.
    NothingPending,
    /// The latest generation is the one that is applied.
    Generation,
    /// All of that generation is, and of this very object.
    Complete,
    /// The API server stamped who made that generation.
    Stamped,
}

/// The condition as the policies have it.
pub const CONDITION: [Part; 4] = [Part::NothingPending, Part::Generation, Part::Complete, Part::Stamped];

/// Writes on an object, whose spec somebody may have changed, what admission writes.
pub fn stamp<K: Gated>(stored: Option<&K>, object: &mut K, contributors: &[&str], condition: &[Part]) {
    let generation = stored.and_then(|stored| stored.meta().generation).unwrap_or_default();
    if stored.is_some_and(|stored| is_same(stored, object)) {
        return;
    }
    let known = match stored {
        Some(stored) if !is_applied(stored, condition) => names_of(stored),
        Some(_) | None => Vec::new(),
    };
    let new = contributors.iter().copied().filter(|name| !known.iter().any(|known| known == name));
    let mut names = known.clone();
    for name in new.map(ToOwned::to_owned) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    object.meta_mut().generation = Some(generation + 1);
    object.annotations_mut().insert(REQUESTED_BY.into(), names.join("\n"));
    object.annotations_mut().insert(REQUESTED_GENERATION.into(), (generation + 1).to_string());
}

/// Who is stamped on an object.
pub fn names_of<K: Gated>(object: &K) -> Vec<String> {
    let names = object.annotations().get(REQUESTED_BY).map_or("", String::as_str);
    names.split('\n').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

fn is_same<K: Gated>(stored: &K, object: &K) -> bool {
    stored.spec() == object.spec()
}

/// Whether nothing waits, as far as these parts of the condition can tell.
fn is_applied<K: Gated>(stored: &K, condition: &[Part]) -> bool {
    let Some(gate) = stored.gate() else { return false };
    let Some(applied) = &gate.applied else { return false };
    let generation = stored.meta().generation;
    let stamped = stored.annotations().get(REQUESTED_GENERATION);
    condition.iter().all(|part| match part {
        Part::NothingPending => gate.pending.is_none(),
        Part::Generation => Some(applied.generation) == generation,
        Part::Complete => applied.complete_for.is_some() && applied.complete_for == stored.uid(),
        Part::Stamped => stamped == generation.map(|generation| generation.to_string()).as_ref(),
    })
}
