//! Objects as compressed JSON, for kinds with many objects and for objects that are seldom read.

use std::collections::HashMap;
use std::sync::Arc;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The number of bytes of the first object that are the dictionary for the others.
const DICTIONARY_BYTES: usize = 4096;

/// The number of objects that were read last and are kept decoded: between this and twice as many.
const MOST_RECENT: usize = 256;

/// The objects that were read last, decoded, by slot.
pub(super) struct Recent<K> {
    latest: HashMap<usize, Arc<K>>,
    before: HashMap<usize, Arc<K>>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { latest: HashMap::new(), before: HashMap::new() }
    }
}

impl<K> Recent<K> {
    pub fn get(&mut self, slot: usize) -> Option<Arc<K>> {
        if let Some(object) = self.latest.get(&slot) {
            return Some(Arc::clone(object));
        }
        let object = self.before.remove(&slot)?;
        self.put(slot, &object);
        Some(object)
    }

    pub fn put(&mut self, slot: usize, object: &Arc<K>) {
        if self.latest.len() >= MOST_RECENT {
            self.before = std::mem::take(&mut self.latest);
        }
        self.latest.insert(slot, Arc::clone(object));
    }

    pub fn forget(&mut self, slot: usize) {
        self.latest.remove(&slot);
        self.before.remove(&slot);
    }
}

/// Compresses objects of one kind with LZ4. The first one is the dictionary: objects of a kind resemble each other.
#[derive(Default)]
pub(super) struct Compression {
    dictionary: Option<Box<[u8]>>,
}

/// An object as text, compressed as an LZ4 block.
pub(super) struct Compressed {
    pub version: Option<u64>,
    text: Box<[u8]>,
}

impl Compression {
    /// Compresses an object; `None` when it would not come out again.
    pub fn compress<K>(&mut self, object: &K, version: Option<u64>) -> Option<Compressed>
    where
        K: Serialize + DeserializeOwned,
    {
        let text = serde_json::to_vec(object).ok()?;
        serde_json::from_slice::<K>(&text).ok()?;
        let dictionary =
            self.dictionary.get_or_insert_with(|| text.iter().take(DICTIONARY_BYTES).copied().collect());
        let compressed = compress_prepend_size_with_dict(&text, dictionary);
        let is_same =
            decompress_size_prepended_with_dict(&compressed, dictionary).is_ok_and(|again| again == text);
        is_same.then(|| Compressed { version, text: compressed.into_boxed_slice() })
    }

    pub fn decompress<K: DeserializeOwned>(&self, compressed: &Compressed) -> Option<K> {
        let text = decompress_size_prepended_with_dict(&compressed.text, self.dictionary.as_deref()?).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the first one was.
        #[test]
        fn what_is_compressed_comes_out_again(texts in prop::collection::vec(".{0,6000}", 1..6)) {
            let mut compression = Compression::default();
            let compressed: Vec<_> = texts.iter().map(|text| compression.compress(text, Some(1)).unwrap()).collect();
            for (compressed, text) in compressed.iter().zip(&texts) {
                prop_assert_eq!(compression.decompress::<String>(compressed), Some(text.clone()));
            }
        }
    }

    #[test]
    fn few_objects_are_kept_decoded_and_the_latest_of_them() {
        let mut recent = Recent::default();
        let is_kept = |recent: &mut Recent<usize>, slot| {
            let object = recent.get(slot);
            if object.is_none() {
                recent.put(slot, &Arc::new(slot));
            }
            assert_eq!(recent.get(slot).as_deref(), Some(&slot));
            object.is_some()
        };
        for slot in 1..10 * MOST_RECENT {
            assert!(!is_kept(&mut recent, slot));
            assert_eq!(is_kept(&mut recent, 0), slot > 1, "it is looked at all the time");
        }
        assert!(recent.latest.len() + recent.before.len() <= 2 * MOST_RECENT);
        assert!(is_kept(&mut recent, 9 * MOST_RECENT + 10) && !is_kept(&mut recent, 1));
        recent.forget(0);
        assert!(recent.get(0).is_none());
    }

    #[test]
    fn objects_of_a_kind_take_a_fraction_of_their_text() {
        let object = |number: u32| {
            serde_json::json!({
                "metadata": {"name": format!("enclave-operator:connection:a:{number}"), "namespace": "acme-payments-api"},
                "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 5432}]}]},
            })
        };
        let mut compression = Compression::default();
        let compressed = (0..100).filter_map(|number| compression.compress(&object(number), None));
        let (compressed, text): (usize, usize) = (
            compressed.map(|one| one.text.len()).sum(),
            (0..100).map(|one| object(one).to_string().len()).sum(),
        );
        assert!(compressed * 3 < text, "{compressed} of {text} bytes");
    }
}
