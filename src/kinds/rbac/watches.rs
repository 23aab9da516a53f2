//! Enqueues RoleAssignments, RoleEligibilities and RoleActivations when the scope in which they are given changes, the
//! namespaces in it, the RBAC objects of their rights, or who else has which role. The same changes may take rights
//! away, so they enqueue grants for the revocation worker.

use std::collections::{BTreeSet, HashMap};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Resource, ResourceExt};

use crate::api::common::Principal;
use crate::api::names::{annotation, child, label};
use crate::api::{
    ApprovalRequest, Community, Enclave, EnclaveWorkload, Kind, Role, RoleActivation, RoleAssignment,
    RoleEligibility,
};
use crate::cluster::cache::{Change, Indexed, Key};
use crate::cluster::workqueue::Priority;
use crate::kinds::caches::Caches;
use crate::kinds::changes::Watches;
use crate::kinds::enclave::watches::{namespace_in_enclave, namespaces_in_community};
use crate::kinds::enqueue::{Enqueuer, concerns_others, grant_of, priority_of};
use crate::kinds::foreign::may_be_managed;
use crate::kinds::index::pair;
use crate::kinds::labels::{Labels, is_there, labels_of};
use crate::kinds::parent::parent_of;
use crate::kinds::rbac::index::{ActivationBy, GrantBy};
use crate::kinds::rbac::observe::{find_in_namespaces, overlapping};
use crate::model::approval::applied::{applied_spec, view_applied};
use crate::model::approval::gated::Gated;
use crate::model::naming::{ROLE_BINDING, enclave_namespace, is_of_grant, namespace_of, parse_grant};
use crate::plan::child::Made;
use crate::plan::parent::Parent;

/// Speaks for the three kinds.
impl Watches for RoleAssignment {
    /// Enqueues the roles that are given in a Community and in its Enclaves, for which its rules count.
    fn communities(enqueuer: &Enqueuer, change: &Change<Community>) {
        for namespace in namespaces_in_community(enqueuer, change) {
            enqueue_grants_in(enqueuer, &namespace);
        }
        if change.differs(crate::kinds::community::index::refuses_conflicts) {
            enqueue_grants_in(enqueuer, &enqueuer.caches.system);
        }
    }

    /// Enqueues the roles that are given in an Enclave, for which its rules count.
    fn enclaves(enqueuer: &Enqueuer, change: &Change<Enclave>) {
        if let Some((namespace, _)) = namespace_in_enclave(enqueuer, change) {
            enqueue_grants_in(enqueuer, &namespace);
        }
    }

    /// Enqueues the roles that count in a workload whose access mode changes: nobody gets into an isolated workload by a
    /// role.
    fn workloads(enqueuer: &Enqueuer, change: &Change<EnclaveWorkload>) {
        if let Some(maker) = change.latest().and_then(|workload| maker(workload.as_ref())) {
            enqueue_activations_of(enqueuer, maker, change);
        }
        let mode =
            |workload: &EnclaveWorkload| view_applied(workload, |spec| spec.access_mode).ok().flatten();
        if !change.differs(mode) {
            return;
        }
        let Some(workload) = change.latest() else { return };
        // The namespace of its pods counts, whatever became of the namespace in which the workload is declared.
        let control = workload.metadata.namespace.as_deref().unwrap_or_default();
        let Some(pods) = enqueuer.caches.namespaces.get("", &format!("{control}-{}", workload.name_any()))
        else {
            return;
        };
        let Some(labels) = labels_of(&pods) else { return };
        enqueue_covering(enqueuer, &labels);
        revoke_covering(enqueuer, &labels);
    }

    /// Enqueues the roles of an Enclave when a request about the Enclave itself comes, is decided or goes: its approvers
    /// reach such requests by their names.
    fn requests(enqueuer: &Enqueuer, change: &Change<ApprovalRequest>) {
        let is_undecided = |request: &ApprovalRequest| {
            request.status.as_ref().is_none_or(|status| status.decided_at.is_none())
        };
        let Some(request) = change.latest().filter(|request| request.spec.target.kind == Kind::Enclave)
        else {
            return;
        };
        if change.differs(is_undecided) {
            let target = &request.spec.target;
            let parent = parent_of(&enqueuer.caches, target.namespace.as_deref().unwrap_or_default());
            if let Some(community) = parent.community() {
                enqueue_grants_in(enqueuer, &enclave_namespace(&community.name_any(), &target.name));
            }
        }
    }

    /// Enqueues the grant of an assignment for the revocation worker, and the roles of the same principals that it may be
    /// in conflict with.
    fn assignments(enqueuer: &Enqueuer, change: &Change<RoleAssignment>) {
        let Some(assignment) = change.latest() else { return };
        if concerns_others(change) {
            revoke(enqueuer, grant_of(Kind::RoleAssignment, assignment.as_ref()));
            let versions = change.versions().filter_map(|one| applied_spec(one.as_ref()).ok().flatten());
            let namespace = assignment.metadata.namespace.as_deref().unwrap_or_default();
            let granted = versions.map(|spec| (spec.role, spec.principals));
            enqueue_in_conflict(enqueuer, namespace, granted, priority_of(change));
            enqueue_activations_by_maker(enqueuer, change);
        }
    }

    /// Enqueues the grant of an eligibility for the revocation worker, the roles that it may be in conflict with, and its
    /// activations, which end with it.
    fn eligibilities(enqueuer: &Enqueuer, change: &Change<RoleEligibility>) {
        let Some(eligibility) = change.latest() else { return };
        if concerns_others(change) {
            revoke(enqueuer, grant_of(Kind::RoleEligibility, eligibility.as_ref()));
            let versions = change.versions().filter_map(|one| applied_spec(one.as_ref()).ok().flatten());
            let (namespace, name) = (eligibility.namespace().unwrap_or_default(), eligibility.name_any());
            let granted = versions.map(|spec| (spec.role, spec.principals));
            enqueue_in_conflict(enqueuer, &namespace, granted, priority_of(change));
            let named = pair(&namespace, &name);
            for activation in enqueuer.caches.activations.by(ActivationBy::OpenEligibility, &named) {
                revoke(enqueuer, grant_of(Kind::RoleActivation, activation.as_ref()));
                enqueuer.enqueue_object(Kind::RoleActivation, activation.as_ref(), Priority::Closing);
            }
            enqueue_activations_by_maker(enqueuer, change);
        }
    }

    /// Enqueues an activation, and its grant for the revocation worker. A new state enqueues its eligibility, which shows
    /// how it is used, and the open activations of the same person, which may be in conflict with it.
    fn activations(enqueuer: &Enqueuer, change: &Change<RoleActivation>) {
        let Some(activation) = change.latest() else { return };
        revoke(enqueuer, grant_of(Kind::RoleActivation, activation.as_ref()));
        if let Some(activation) = &change.after {
            let is_ending = activation.metadata.deletion_timestamp.is_some() || activation.spec.deactivate;
            let priority = if is_ending { Priority::Closing } else { Priority::Normal };
            enqueuer.enqueue_object(Kind::RoleActivation, activation.as_ref(), priority);
        }
        let state = |activation: &RoleActivation| activation.status.as_ref().and_then(|status| status.state);
        if change.differs(state) {
            let namespace = activation.metadata.namespace.as_deref().unwrap_or_default();
            let eligibility = &activation.spec.eligibility;
            enqueuer.queues.add(Kind::RoleEligibility, namespace, eligibility, Priority::Normal);
            if let Some(user) = activation.status.as_ref().and_then(|status| status.user.as_ref()) {
                let scopes = overlapping(&enqueuer.caches, namespace);
                let others = find_in_namespaces(
                    &enqueuer.caches.activations,
                    ActivationBy::OpenUser,
                    &scopes,
                    &[user.clone()].into(),
                );
                enqueuer.enqueue_objects(Kind::RoleActivation, &others, Priority::Normal);
            }
        }
    }

    /// Enqueues the roles that count in a namespace that comes, goes or changes.
    fn namespaces(enqueuer: &Enqueuer, change: &Change<Namespace>) {
        let view = |namespace: &Namespace| {
            (is_there(namespace), namespace.labels().get(label::ACCESS_MODE).cloned())
        };
        if !change.differs(view) {
            return;
        }
        for namespace in change.versions() {
            let Some(labels) = labels_of(namespace) else { continue };
            enqueue_covering(enqueuer, &labels);
            // A namespace that is new takes no right away.
            if change.before.is_some() {
                revoke_covering(enqueuer, &labels);
            }
            if labels.workload.is_none() {
                enqueue_grants_in(enqueuer, &namespace.name_any());
            }
        }
    }

    /// Enqueues the roles that count in a namespace whose default-deny policy comes or goes: nobody gets in before that
    /// policy is there.
    fn network_policies<K: Indexed + Made>(enqueuer: &Enqueuer, change: &Change<K>) {
        let Some(policy) = change.latest() else { return };
        let is_new_or_gone = change.before.is_none() || change.after.is_none();
        if policy.meta().name.as_deref() != Some(child::DEFAULT_DENY) || !is_new_or_gone {
            return;
        }
        let namespace = policy.meta().namespace.as_deref().unwrap_or_default();
        if let Some(namespace) = enqueuer.caches.namespaces.get("", namespace)
            && let Some(labels) = labels_of(&namespace)
        {
            enqueue_covering(enqueuer, &labels);
            if labels.workload.is_none() {
                enqueue_grants_in(enqueuer, &namespace.name_any());
            }
        }
    }

    /// Enqueues the object that declares a grant, and the grant for the revocation worker, when an object with the name of
    /// the grant changes. Any other object may be one that somebody left behind.
    fn rbac<K: Indexed>(enqueuer: &Enqueuer, change: &Change<K>) {
        let Some(object) = change.latest() else { return };
        let name = object.meta().name.as_deref().unwrap_or_default();
        if let Some((kind, namespace, declared)) = parse_grant(name) {
            if may_count(&enqueuer.caches, object.as_ref()) {
                enqueuer.queues.add(kind, namespace, declared, Priority::Normal);
            }
            // A new object is as a rule one that the operator made for the grant, so the rights that somebody lost go
            // first.
            let is_made = change.before.is_none() && is_granted(&enqueuer.caches, kind, namespace, declared);
            let priority = if is_made { Priority::Normal } else { Priority::Closing };
            // An assignment may count in thousands of namespaces, so only this one is enqueued. A grant that ends does so
            // as a whole.
            let there = object.meta().namespace.as_deref().filter(|_| kind == Kind::RoleAssignment);
            enqueuer.queues.revocation.add(Key::new(there.unwrap_or_default(), name), priority);
        } else if name.starts_with(ROLE_BINDING) {
            let namespace = object.meta().namespace.as_deref().unwrap_or_default();
            enqueuer.queues.revocation.add(Key::new(namespace, name), Priority::Closing);
        } else if let Some(maker) = maker(object.as_ref()) {
            enqueue_activations_of(enqueuer, maker, change);
        }
    }

    /// Enqueues for the revocation worker everything that there is of rights, and everything that gives some.
    fn enqueue_all_revocations(enqueuer: &Enqueuer) {
        let caches = &enqueuer.caches;
        macro_rules! revoke_grants {
            ($($cache:ident: $kind:ident,)*) => {
                $(for object in caches.$cache.all() {
                    revoke(enqueuer, grant_of(Kind::$kind, object.as_ref()));
                })*
            };
        }
        revoke_grants!(assignments: RoleAssignment, eligibilities: RoleEligibility, activations: RoleActivation,);
        macro_rules! revoke_made {
            ($($cache:ident)*) => {
                $(for key in caches.$cache.all_keys() {
                    if is_of_grant(&key.name) {
                        revoke(enqueuer, key.name.into_string());
                    } else if key.name.starts_with(ROLE_BINDING) {
                        enqueuer.queues.revocation.add(key, Priority::Closing);
                    }
                })*
            };
        }
        revoke_made!(role_bindings roles cluster_roles cluster_role_bindings);
    }
}

impl Watches for RoleEligibility {}

impl Watches for RoleActivation {}

/// Whether an object is, or was, where the operator gives rights. An unknown namespace may have gone before the object
/// in it, and an object whose rights end waits until they are gone.
fn may_count<K: Resource>(caches: &Caches, object: &K) -> bool {
    object.meta().namespace.as_deref() == Some(&caches.system) || may_be_managed(caches, object)
}

/// Whether the object that declares a grant is there, and nobody is about to take it away.
fn is_granted(caches: &Caches, kind: Kind, namespace: &str, name: &str) -> bool {
    match kind {
        Kind::RoleAssignment => {
            caches.assignments.get(namespace, name).is_some_and(|one| is_kept(one.as_ref()))
        }
        Kind::RoleEligibility => {
            caches.eligibilities.get(namespace, name).is_some_and(|one| is_kept(one.as_ref()))
        }
        Kind::RoleActivation => {
            let activation = caches.activations.get(namespace, name);
            activation.is_some_and(|one| is_kept(one.as_ref()) && !one.spec.deactivate)
        }
        _ => false,
    }
}

fn is_kept<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}

fn revoke(enqueuer: &Enqueuer, grant: String) {
    enqueuer.queues.revocation.add(Key { namespace: "".into(), name: grant.into() }, Priority::Closing);
}

fn maker<K: Resource>(object: &K) -> Option<&str> {
    object.meta().annotations.as_ref()?.get(annotation::CREATED_BY).map(String::as_str)
}

/// The largest difference of the clocks by which an object was made and a role began or ended.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

/// Enqueues the activations of a person within which an object was made that comes or goes: an activation that is over
/// lists such objects as left behind.
fn enqueue_activations_of<K: Resource>(enqueuer: &Enqueuer, maker: &str, change: &Change<K>) {
    let Some(made) = change.latest().filter(|_| change.before.is_none() || change.after.is_none()) else {
        return;
    };
    let made = made.meta().creation_timestamp.as_ref().map(|at| at.0);
    let is_in = |activation: &RoleActivation| {
        let (Some(made), Some(status)) = (made, &activation.status) else { return true };
        let began =
            status.starts_at.as_ref().is_none_or(|at| at.0.saturating_sub(CLOCKS).is_ok_and(|at| at <= made));
        began
            && status.ends_at.as_ref().is_none_or(|at| at.0.saturating_add(CLOCKS).is_ok_and(|at| at >= made))
    };
    for activation in enqueuer.caches.activations.by(ActivationBy::User, maker) {
        if is_in(&activation) {
            enqueuer.enqueue_object(Kind::RoleActivation, activation.as_ref(), Priority::Normal);
        }
    }
}

fn enqueue_activations_by_maker<K: Gated>(enqueuer: &Enqueuer, change: &Change<K>) {
    if let Some(maker) = change.latest().and_then(|object| maker(object.as_ref())) {
        enqueue_activations_of(enqueuer, maker, change);
    }
}

/// Enqueues what is given in a namespace and the activations there that are not over, also for the revocation worker.
fn enqueue_grants_in(enqueuer: &Enqueuer, namespace: &str) {
    let caches = &enqueuer.caches;
    macro_rules! enqueue_each {
        ($($cache:ident.$found:ident($($argument:expr),*): $kind:ident,)*) => {
            $(for object in caches.$cache.$found($($argument),*) {
                enqueuer.enqueue_object(Kind::$kind, object.as_ref(), Priority::Normal);
                revoke(enqueuer, grant_of(Kind::$kind, object.as_ref()));
            })*
        };
    }
    enqueue_each!(
        assignments.in_namespace(namespace): RoleAssignment,
        eligibilities.in_namespace(namespace): RoleEligibility,
        activations.by(ActivationBy::OpenIn, namespace): RoleActivation,
    );
}

/// Returns the namespaces whose roles count in a namespace with these labels. Roles that count everywhere give rights
/// by bindings of their own only where pods run.
fn scopes_over(enqueuer: &Enqueuer, labels: &Labels<'_>) -> Vec<String> {
    let own = enqueuer.caches.communities.get("", labels.community).map(|community| namespace_of(&community));
    let control = labels.enclave.map(|enclave| enclave_namespace(labels.community, enclave));
    let system = labels.workload.map(|_| enqueuer.caches.system.to_string());
    own.into_iter().chain(control).chain(system).collect()
}

/// Enqueues what gives rights in a namespace with these labels. An eligibility gives only the right to ask, in its own
/// namespace.
fn enqueue_covering(enqueuer: &Enqueuer, labels: &Labels<'_>) {
    for namespace in scopes_over(enqueuer, labels) {
        let assignments = enqueuer.caches.assignments.in_namespace(&namespace);
        enqueuer.enqueue_objects(Kind::RoleAssignment, &assignments, Priority::Normal);
        let activations = active_in(enqueuer, &namespace);
        enqueuer.enqueue_objects(Kind::RoleActivation, &activations, Priority::Normal);
    }
}

fn revoke_covering(enqueuer: &Enqueuer, labels: &Labels<'_>) {
    for namespace in scopes_over(enqueuer, labels) {
        for assignment in enqueuer.caches.assignments.in_namespace(&namespace) {
            revoke(enqueuer, grant_of(Kind::RoleAssignment, assignment.as_ref()));
        }
        for activation in active_in(enqueuer, &namespace) {
            revoke(enqueuer, grant_of(Kind::RoleActivation, activation.as_ref()));
        }
    }
}

fn active_in(enqueuer: &Enqueuer, namespace: &str) -> Vec<std::sync::Arc<RoleActivation>> {
    enqueuer.caches.activations.by(ActivationBy::ActiveIn, namespace)
}

/// Enqueues what is given to the same principals where the roles of both count, and what they activate there.
fn enqueue_in_conflict(
    enqueuer: &Enqueuer,
    namespace: &str,
    granted: impl Iterator<Item = (Role, Vec<Principal>)>,
    priority: Priority,
) {
    let caches = &enqueuer.caches;
    let mut scopes = OverlappingScopes::with(caches, namespace);
    let prefixes = overlapping(caches, namespace);
    let (roles, principals): (BTreeSet<Role>, Vec<Vec<Principal>>) = granted.unzip();
    let conflicts = |with: Role| roles.iter().any(|role| role.conflicts_with(with));
    let lines = principals.iter().flatten().map(Principal::line).collect();
    let mut assignments =
        find_in_namespaces(&caches.assignments, GrantBy::WantedPrincipal, &prefixes, &lines);
    assignments.retain(|one| conflicts(one.spec.role) && scopes.overlap(one.as_ref()));
    enqueuer.enqueue_objects(Kind::RoleAssignment, &assignments, priority);
    let mut eligibilities =
        find_in_namespaces(&caches.eligibilities, GrantBy::WantedPrincipal, &prefixes, &lines);
    eligibilities.retain(|one| conflicts(one.spec.role) && scopes.overlap(one.as_ref()));
    enqueuer.enqueue_objects(Kind::RoleEligibility, &eligibilities, priority);
    let users = principals.iter().flatten().filter_map(Principal::username).collect();
    let mut activations = find_in_namespaces(&caches.activations, ActivationBy::OpenUser, &prefixes, &users);
    activations.retain(|one| scopes.overlap(one.as_ref()));
    enqueuer.enqueue_objects(Kind::RoleActivation, &activations, priority);
}

/// The namespaces whose roles count where those of one namespace do. An unknown scope may be anywhere.
struct OverlappingScopes<'a> {
    caches: &'a Caches,
    namespace: &'a str,
    parent: Parent,
    known: HashMap<String, bool>,
}

impl<'a> OverlappingScopes<'a> {
    fn with(caches: &'a Caches, namespace: &'a str) -> Self {
        Self { caches, namespace, parent: parent_of(caches, namespace), known: HashMap::new() }
    }

    fn overlap<K: Resource>(&mut self, granted: &K) -> bool {
        let other = granted.meta().namespace.as_deref().unwrap_or_default();
        if let Some(overlap) = self.known.get(other) {
            return *overlap;
        }
        let name = |community: &Community| community.metadata.name.clone();
        let overlap = self.namespace == other
            || match (&self.parent, &parent_of(self.caches, other)) {
                (Parent::Unmanaged, _) | (_, Parent::Unmanaged) => true,
                (Parent::Enclave(..), Parent::Enclave(..)) => false,
                (one, other) => {
                    one.community().map(|one| name(one)) == other.community().map(|other| name(other))
                }
            };
        self.known.insert(other.to_owned(), overlap);
        overlap
    }
}

#[cfg(test)]
mod tests;
