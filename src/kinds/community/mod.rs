//! The Community: the scope in which Enclaves are declared, and its approval rules.

pub mod index;
pub mod observe;
pub mod plan;
pub mod watches;

use std::collections::BTreeSet;

use self::observe::observe_community;
use self::plan::plan_community;

use crate::api::approvals::{Approvals, Operation};
use crate::api::common::Maintenance;
use crate::api::{Community, CommunitySpec, CommunityStatus};
use crate::kinds::controller::controller;
use crate::kinds::gated::{collect, retired_parts, shared_parts};
use crate::model::approval::change::requesters;
use crate::model::approval::gated::Gated;
use crate::model::audit::records::records_of_maintenance;
use crate::model::naming::namespace_of;
use crate::model::rbac::maintenance;

impl Gated for Community {
    shared_parts!(Community, CommunitySpec);
    retired_parts!(CommunitySpec);

    fn operations(before: Option<&CommunitySpec>, after: &CommunitySpec) -> BTreeSet<Operation> {
        let rest = |spec: &CommunitySpec| CommunitySpec {
            maintenance: Maintenance::default(),
            change: None,
            ..spec.clone()
        };
        let maintenance = maintenance::opens(before.map(|spec| &spec.maintenance), &after.maintenance);
        let update = before.map(rest) != Some(rest(after));
        // The maintenance of a Community opens its Enclaves too.
        collect([
            (maintenance, Operation::CommunityMaintenance),
            (maintenance, Operation::EnclaveMaintenance),
            (update, Operation::CommunityUpdate),
        ])
    }

    fn restrict(applied: &CommunitySpec, wanted: &CommunitySpec) -> CommunitySpec {
        let maintenance = maintenance::restrict(&applied.maintenance, &wanted.maintenance);
        CommunitySpec { maintenance, ..applied.clone() }
    }

    fn approvals(spec: &CommunitySpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }

    fn maintenance(spec: &CommunitySpec) -> Option<&Maintenance> {
        Some(&spec.maintenance)
    }

    /// Whether a change touches the rules. The name resolution is no rule, but it opens traffic of all workloads, so it
    /// is protected as the rules are.
    fn changes_rules(before: &CommunitySpec, after: &CommunitySpec) -> bool {
        before.retire != after.retire
            || before.approvals != after.approvals
            || before.service_account_votes != after.service_account_votes
            || before.conflicting_duties != after.conflicting_duties
            || before.dns != after.dns
            || before.fqdn_backend != after.fqdn_backend
    }

    fn request_namespace(&self) -> String {
        namespace_of(self)
    }
}

controller!(
    Community,
    CommunityStatus,
    |object, known| plan_community(&observe_community(known.caches, object, known.policy_status), known.now),
    |community: &Community, after: &CommunityStatus, now| {
        let before = community.status.as_ref().and_then(|status| status.maintenance.as_ref());
        records_of_maintenance(before, after.maintenance.as_ref(), requesters(community), now)
    },
    {}
);
