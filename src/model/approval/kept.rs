//! Finds what stays in force of an object that cannot be evaluated, because something that is applied of it or
//! around it cannot be read: what is applied, as far as that is known. Changes that are held are not in force;
//! access that is taken away is gone.

use serde_json::Value;

use crate::api::common::Principal;
use crate::api::enclave::WorkloadCommunication;
use crate::api::enclave_workload::{AccessMode, WorkloadPrincipals};
use crate::api::{Enclave, EnclaveWorkload, EnclaveWorkloadSpec};
use crate::model::approval::applied::applied_spec;
use crate::model::approval::gated::Gated;
use crate::model::network::intra_enclave::isolates_workloads;
use crate::model::rbac::access::{Admitted, admitted};

/// The principals that get into a workload.
#[derive(Clone, Debug, PartialEq)]
pub enum Access<'a> {
    /// The principals that this spec lets in.
    Of(Box<EnclaveWorkloadSpec>),
    /// Of those who get in now, the ones that the latest spec admits: what is applied cannot be read.
    Still(Admitted<'a>),
}

/// The principals that get into a workload that cannot be evaluated.
#[must_use]
pub fn access_kept(workload: &EnclaveWorkload) -> Access<'_> {
    let wanted = &workload.spec;
    let Ok(Some(applied)) = applied_spec(workload) else { return Access::Still(admitted(wanted)) };
    let kept = EnclaveWorkload::restrict(&applied, wanted);
    Access::Of(Box::new(if is_held(workload) { kept } else { without_removed(kept, wanted) }))
}

/// Whether an Enclave that cannot be evaluated keeps its workloads apart.
#[must_use]
pub fn enclave_isolates_workloads(enclave: &Enclave) -> bool {
    match applied_spec(enclave) {
        Ok(Some(applied)) => {
            let kept = Enclave::restrict(&applied, &enclave.spec);
            kept.network.workload_communication == WorkloadCommunication::Isolated
        }
        Ok(None) => isolates_workloads(&enclave.spec),
        Err(_) => isolates_workloads(&enclave.spec) && !may_allow_communication(enclave),
    }
}

/// Whether the applied content of an Enclave, which cannot be read as a whole, may say by a field that only another
/// version knows that its workloads are not kept apart. Where `workloadCommunication` is left out, the API server fills
/// in that they are.
fn may_allow_communication(enclave: &Enclave) -> bool {
    const KNOWN: &str = "workloadCommunication";
    let applied = enclave.gate().and_then(|gate| gate.applied.as_ref());
    let network = applied.and_then(|applied| applied.spec.to_field::<Value>("network").ok().flatten());
    let is_default = |network: &Value| network.get(KNOWN).is_none_or(|value| value == "Isolated");
    let fields = network.as_ref().filter(|network| is_default(network)).and_then(Value::as_object);
    fields.is_some_and(|fields| fields.keys().any(|field| field != KNOWN))
}

/// Whether the latest spec was evaluated, and waits.
fn is_held<K: Gated>(object: &K) -> bool {
    let pending = object.gate().and_then(|gate| gate.pending.as_ref());
    pending.is_some_and(|pending| Some(pending.generation) == object.meta().generation)
}

/// Takes out whoever is only removed from a list, although it is not known yet whether somebody would have to be asked.
/// A change that puts somebody else in, or opens the workload to others, is a proposal and takes nobody out.
fn without_removed(kept: EnclaveWorkloadSpec, wanted: &EnclaveWorkloadSpec) -> EnclaveWorkloadSpec {
    let nobody = WorkloadPrincipals::default();
    let (before, after) =
        (kept.principals.as_ref().unwrap_or(&nobody), wanted.principals.as_ref().unwrap_or(&nobody));
    let only_loses = |before: &[Principal], after: &[Principal]| after.iter().all(|one| before.contains(one));
    let is_removal = wanted.unreadable.is_none()
        && (kept.access_mode, wanted.access_mode) == (AccessMode::Isolated, AccessMode::Isolated)
        && only_loses(&before.admin, &after.admin)
        && only_loses(&before.edit, &after.edit)
        && only_loses(&before.view, &after.view);
    if is_removal { EnclaveWorkloadSpec { principals: wanted.principals.clone(), ..kept } } else { kept }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::reading::{Item, Readable};

    fn read<K: Readable>(applied: &Value, spec: &Value, held: Option<i64>) -> K {
        let applied = json!({"generation": 1, "digest": "d", "spec": applied, "at": "2026-01-01T00:00:00Z"});
        let held = held.map(|generation| {
            json!({
                "generation": generation, "digest": "e", "operations": [], "since": "2026-01-01T00:00:00Z",
            })
        });
        let object = json!({
            "metadata": {"name": "x", "namespace": "n", "uid": "u", "generation": 2},
            "spec": spec,
            "status": {"applied": applied, "pending": held},
        });
        serde_json::from_str::<Item<K>>(&object.to_string()).unwrap().read().0
    }

    fn isolated(names: &[&str]) -> Value {
        let people: Vec<Value> = names.iter().map(|name| json!({"kind": "User", "name": name})).collect();
        json!({"accessMode": "Isolated", "principals": {"edit": people}})
    }

    /// The applied content stays in force whatever is proposed, except that whoever is removed from a list is out.
    #[test]
    fn of_a_workload_a_proposal_takes_nobody_out_and_a_removal_does() {
        let kept = |applied: &Value, spec: &Value, held: Option<i64>| {
            let workload = read::<EnclaveWorkload>(applied, spec, held);
            match access_kept(&workload) {
                Access::Of(kept) => serde_json::to_value(kept).unwrap(),
                Access::Still(_) => panic!("it can be read"),
            }
        };
        let (standard, both) = (json!({"accessMode": "Standard"}), isolated(&["ann", "eve"]));
        let of = |spec: &Value| kept(spec, spec, None);
        for (applied, spec, held, expected) in [
            (&both, isolated(&["ann"]), None, &isolated(&["ann"])),
            (&both, isolated(&["ann"]), Some(1), &isolated(&["ann"])),
            (&both, isolated(&["ann"]), Some(2), &both),
            (&both, isolated(&[]), None, &isolated(&[])),
            (&both, isolated(&["bob"]), None, &both),
            (&both, isolated(&["ann", "bob"]), None, &both),
            (&both, standard.clone(), None, &both),
            (&standard, isolated(&["ann"]), None, &standard),
        ] {
            assert_eq!(kept(applied, &spec, held), of(expected), "{applied} {spec} {held:?}");
        }
        let mut odd = isolated(&["bob"]);
        odd["quota"] = json!("much");
        assert_eq!(kept(&both, &odd, Some(2)), of(&isolated(&[])), "beside what cannot be read");
    }

    #[test]
    fn nobody_is_taken_out_by_a_list_of_which_nobody_can_tell_whom_it_names() {
        let crowd = |kind: &str| {
            let mut people = isolated(&["ann"]);
            let more = vec![json!({"kind": kind, "name": "r"}); 200];
            people["principals"]["edit"].as_array_mut().unwrap().extend(more);
            people
        };
        let kept = |spec: &Value| match access_kept(&read::<EnclaveWorkload>(&crowd("Robot"), spec, None)) {
            Access::Still(Admitted::All) => true,
            Access::Still(Admitted::Only(_)) => false,
            other => panic!("{other:?}"),
        };
        assert!(kept(&crowd("Robot")));
        assert!(!kept(&crowd("User")), "what can be read");
        let mut wrong = crowd("Robot");
        wrong["principals"]["edit"][0] = json!(5);
        assert!(!kept(&wrong), "what no version can read");
    }

    #[test]
    fn an_enclave_is_kept_apart_by_what_is_applied_and_by_what_is_read_beside_what_cannot_be() {
        let isolates =
            |applied: Value, spec: Value| enclave_isolates_workloads(&read::<Enclave>(&applied, &spec, None));
        let network = |word: &str| json!({"network": {"workloadCommunication": word}});
        assert!(!isolates(network("Allowed"), json!({})), "a proposal");
        assert!(!isolates(network("Allowed"), network("Isolated")), "a proposal");
        assert!(!isolates(network("Allowed"), json!({"network": {"workloadCommunication": 7}})));
        assert!(isolates(network("Allowed"), json!({"description": 7})));
        assert!(isolates(network("Isolated"), network("Allowed")));
    }

    /// After a rollback: the API server filled in what was left out, and that takes nothing away.
    #[test]
    fn an_enclave_that_a_newer_version_keeps_together_by_another_field_stays_so() {
        let isolates = |network: Value, spec: Value| {
            let applied = json!({"network": network, "zone": "eu"});
            enclave_isolates_workloads(&read::<Enclave>(&applied, &spec, None))
        };
        let filled_in = || json!({"network": {"workloadCommunication": "Isolated"}});
        for spec in [json!({}), filled_in()] {
            assert!(!isolates(json!({"mode": "Open"}), spec.clone()));
            assert!(!isolates(json!({"mode": "Open", "workloadCommunication": "Isolated"}), spec.clone()));
            assert!(isolates(json!({"workloadCommunication": "Allowed"}), spec.clone()));
            assert!(isolates(json!({"workloadCommunication": "Isolated"}), spec.clone()), "it is put back");
            assert!(isolates(json!({"workloadCommunication": "Some"}), spec));
        }
        assert!(!isolates(json!({"mode": "Open"}), json!({"network": {"workloadCommunication": "Allowed"}})));
    }
}
