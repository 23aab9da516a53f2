//! Lists that are sets with an order.

/// The entries of `one`, in its order, that are in `other` too.
#[must_use]
pub fn in_both<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    one.iter().filter(|entry| other.contains(entry)).cloned().collect()
}
