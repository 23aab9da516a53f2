//! The indexes of Enclaves.

use crate::api::Enclave;
use crate::cluster::cache::Indexed;
use crate::kinds::index::namespace_of_object;
use crate::model::approval::gated::Gated;

/// Indexes of Enclaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnclaveBy {
    /// The namespace of an Enclave, unless that only waits for the delivery of its records ([`Gated::is_record`]).
    CountedIn,
}

impl Indexed for Enclave {
    type By = EnclaveBy;

    fn index(&self, add: &mut dyn FnMut(EnclaveBy, &str)) {
        if !self.is_record() {
            add(EnclaveBy::CountedIn, namespace_of_object(self));
        }
    }
}
