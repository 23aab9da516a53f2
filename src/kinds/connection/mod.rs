//! The EnclaveConnection: lets a workload or hub reach an endpoint.

pub mod observe;
pub mod plan;
pub mod resolver;
pub mod watches;

use std::collections::BTreeSet;

use self::observe::observe_connection;
use self::plan::plan_connection;

use crate::api::approvals::Operation;
use crate::api::{EnclaveConnection, EnclaveConnectionSpec, EnclaveConnectionStatus};
use crate::kinds::controller::controller;
use crate::kinds::gated::{operations_of, retired_parts, shared_parts};
use crate::model::approval::gated::Gated;

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

controller!(EnclaveConnection, EnclaveConnectionStatus, |object, known| {
    plan_connection(&observe_connection(known.caches, object, known.guard), known.now)
});
