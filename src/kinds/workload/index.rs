//! The indexes of EnclaveWorkloads.

use crate::api::EnclaveWorkload;
use crate::cluster::cache::Indexed;
use crate::kinds::index::maker;

/// Indexes of EnclaveWorkloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadBy {
    /// The user who made the object, as the API server stamped it.
    Maker,
}

impl Indexed for EnclaveWorkload {
    type By = WorkloadBy;

    fn index(&self, add: &mut dyn FnMut(WorkloadBy, &str)) {
        if let Some(maker) = maker(self) {
            add(WorkloadBy::Maker, maker);
        }
    }
}
