//! The EnclaveWorkload: a namespace for Pods, shut but for what connections let through.

pub mod index;
pub mod observe;
pub mod plan;
pub mod watches;

use self::observe::observe_workload;
use self::plan::plan_workload;

use crate::api::enclave_workload::{AccessMode, WorkloadPrincipals};
use crate::api::{EnclaveWorkload, EnclaveWorkloadSpec, EnclaveWorkloadStatus};
use crate::kinds::controller::controller;
use crate::kinds::gated::made_changed_retired;
use crate::model::approval::gated::Gated;
use crate::model::lists::in_both;
use crate::model::rbac::access::{Admitted, admitted};

impl Gated for EnclaveWorkload {
    made_changed_retired!(EnclaveWorkload, EnclaveWorkloadSpec, WorkloadUpdate, WorkloadDeletion);

    /// Closes also by the readable part of a spec that cannot be read as a whole: nobody keeps access because of
    /// another field. Of the principals who get in, only those stay whom the readable part names.
    fn restrict(applied: &EnclaveWorkloadSpec, wanted: &EnclaveWorkloadSpec) -> EnclaveWorkloadSpec {
        if wanted.unreadable.is_none() {
            return applied.clone();
        }
        let (access_mode, named) = match admitted(wanted) {
            Admitted::All => return applied.clone(),
            Admitted::Listed(named) => (applied.access_mode, named),
            Admitted::Only(named) => (AccessMode::Isolated, named),
        };
        let principals = applied.principals.as_ref().map(|applied| WorkloadPrincipals {
            admin: in_both(&named.admin, &applied.admin),
            edit: in_both(&named.edit, &applied.edit),
            view: in_both(&named.view, &applied.view),
        });
        EnclaveWorkloadSpec { access_mode, principals, ..applied.clone() }
    }
}

controller!(EnclaveWorkload, EnclaveWorkloadStatus, |object, known| {
    plan_workload(&observe_workload(known.caches, object, known.policy_status), known.now)
});
