//! The EnclaveConnection: lets a workload or a TransitHub reach an endpoint.
//!
//! A connection is held and enacted like every gated object. `plan.rs` asks for the rules of the Community, of the
//! Enclaves on both sides and of the endpoint, so nothing is evaluated before the endpoint is in force. The request
//! remembers the endpoint by UID and digest (`change.references`), and the applied content names it by UID.
//!
//! `observe.rs` finds both ends in the caches, `lookup.rs` the connections that lead to an object. `model::network::connectivity::resolve` says which packets may pass:
//! from the applied content of the connection, restricted by what its spec closes and by its end in time, and from the
//! applied contents of both ends. No other place decides that. The request describes it in words (`traffic_summary`),
//! `plan/policies.rs` turns it into NetworkPolicies, and tests compare it with what an independent analyser finds.
//!
//! The policies belong to the namespace in which they stand, not to the connection. Each EnclaveWorkload plans all
//! policies of its namespace: those that are always there, and one per direction for each open connection; whatever
//! else carries the operator's names is pruned. So two workloads write both halves at the same time, and a policy that
//! lost its connection in any way is removed. The plan of a connection only reports: a connection is Connected when its
//! policies are seen in every namespace.

pub mod index;
pub mod lookup;
pub mod observe;
pub mod plan;
pub mod watches;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::observe::{observe_connection, resolve_connection};
use self::plan::plan_connection;

use crate::api::approvals::Operation;
use crate::api::gate::Reference;
use crate::api::{EnclaveConnection, EnclaveConnectionSpec, EnclaveConnectionStatus};
use crate::kinds::caches::Caches;
use crate::kinds::controller::controller;
use crate::kinds::gated::{operations_of, retired_parts, shared_parts};
use crate::model::approval::gated::Gated;
use crate::model::network::connectivity::find_references;

impl Gated for EnclaveConnection {
    shared_parts!(EnclaveConnection, EnclaveConnectionSpec);
    retired_parts!(EnclaveConnectionSpec);

    fn operations(
        before: Option<&EnclaveConnectionSpec>,
        after: &EnclaveConnectionSpec,
    ) -> BTreeSet<Operation> {
        let rest = |spec: &EnclaveConnectionSpec| EnclaveConnectionSpec {
            retire: false,
            change: None,
            ..spec.clone()
        };
        operations_of(
            before.map(|spec| (rest(&Self::restrict(spec, after)), spec.retire)).as_ref(),
            &(rest(after), after.retire),
            [Operation::ConnectionCreation, Operation::ConnectionUpdate, Operation::ConnectionDeletion],
        )
    }

    /// Disabling closes, and so does an earlier end.
    fn restrict(applied: &EnclaveConnectionSpec, wanted: &EnclaveConnectionSpec) -> EnclaveConnectionSpec {
        let ends_no_later = match (&applied.expires_at, &wanted.expires_at) {
            (Some(applied), Some(wanted)) => wanted.0 <= applied.0,
            (None, _) => true,
            (Some(_), None) => false,
        };
        let lasts_no_longer = match (&applied.duration, &wanted.duration) {
            (Some(applied), Some(wanted)) => wanted.length() <= applied.length(),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let end = if ends_no_later && lasts_no_longer { wanted } else { applied };
        EnclaveConnectionSpec {
            enabled: applied.enabled && wanted.enabled,
            expires_at: end.expires_at.clone(),
            duration: end.duration.clone(),
            ..applied.clone()
        }
    }
}

controller!(
    EnclaveConnection,
    EnclaveConnectionStatus,
    |object, known| plan_connection(
        &observe_connection(known.caches, object, known.policy_status),
        known.now
    ),
    |_, _, _| None,
    {
        fn references(caches: &Caches, connection: &Arc<Self>) -> Vec<Reference> {
            find_references(&resolve_connection(caches, Arc::clone(connection))).unwrap_or_default()
        }
    }
);
