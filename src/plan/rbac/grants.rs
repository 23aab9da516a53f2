//! Rights as RBAC has them: what has to be taken away, and what has to be made.
//!
//! Everything that is made for a grant has the name of the grant. So an object with such a name that no grant
//! explains is over, and nothing has to be remembered to take it away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::common::Principal;
use crate::api::names::annotation;
use crate::model::lists::in_both;
use crate::model::rbac::grants::{Grant, Right};
use crate::plan::Write;
use crate::plan::child::{Child, Verb, free_metadata, is_free};
use crate::plan::metadata::{child_metadata, has_metadata};
use crate::plan::rbac::bindings::{cluster_role_ref, role_ref, subject};

/// RBAC objects by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    pub roles: Vec<Arc<Role>>,
    pub role_bindings: Vec<Arc<RoleBinding>>,
    pub cluster_roles: Vec<Arc<ClusterRole>>,
    pub cluster_role_bindings: Vec<Arc<ClusterRoleBinding>>,
}

impl Objects {
    /// The ends of those that end by themselves, as they are written on them.
    #[must_use]
    pub fn ends(&self) -> Vec<Timestamp> {
        let Self { roles, role_bindings, cluster_roles, cluster_role_bindings } = self;
        let roles = roles.iter().map(|role| role.meta());
        let bindings = role_bindings.iter().map(|binding| binding.meta());
        let cluster_roles = cluster_roles.iter().map(|role| role.meta());
        let cluster_bindings = cluster_role_bindings.iter().map(|binding| binding.meta());
        roles.chain(bindings).chain(cluster_roles).chain(cluster_bindings).filter_map(end_of).collect()
    }
}

fn end_of(live: &ObjectMeta) -> Option<Timestamp> {
    live.annotations.as_ref()?.get(annotation::EXPIRES_AT)?.parse().ok()
}

/// The writes that take rights away and give them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessPlan {
    /// Writes that take rights away.
    pub closes: Vec<Write>,
    /// Writes that give rights.
    pub opens: Vec<Write>,
}

/// The observed state of rights, which is compared with the grants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RbacState {
    /// The objects that carry the name of a grant, or one that only the operator's may have.
    pub live: Objects,
    /// Names of grants whose rights are not known now. The objects that were made for them stay; where principals
    /// are named, for these only.
    pub unknown: BTreeMap<String, Option<BTreeSet<Principal>>>,
    /// Namespaces in which nothing is opened: not everything that guards them is there.
    pub without_default_deny: BTreeSet<String>,
}

/// Compares the rights that there are with those that there should be.
#[must_use]
pub fn plan_access(grants: &[Grant], rbac_state: &RbacState, now: Timestamp) -> AccessPlan {
    // A grant that is over gives nothing, whatever end is written on the objects that were made for it: that may
    // be an older one, and objects that are taken away must not be made again.
    let is_current = |grant: &&Grant| grant.ends_at.is_none_or(|end| end > now);
    let wanted = build_objects(grants.iter().filter(is_current));
    let mut plan = AccessPlan::default();
    plan.compare(&wanted.cluster_role_bindings, &rbac_state.live.cluster_role_bindings, rbac_state, now);
    plan.compare(&wanted.role_bindings, &rbac_state.live.role_bindings, rbac_state, now);
    plan.compare(&wanted.cluster_roles, &rbac_state.live.cluster_roles, rbac_state, now);
    plan.compare(&wanted.roles, &rbac_state.live.roles, rbac_state, now);
    // A role has to be there before it is bound. All other writes that give rights are made beside those of the
    // roles.
    plan.opens.sort_by_key(|open| matches!(open, Write::Child(_, child) if child.binds_made_role()));
    plan
}

impl AccessPlan {
    fn compare<K: GrantObject>(
        &mut self,
        wanted: &[Arc<K>],
        live: &[Arc<K>],
        rbac_state: &RbacState,
        now: Timestamp,
    ) {
        let wanted: BTreeMap<_, &K> = wanted.iter().map(|wanted| (key(wanted), wanted.as_ref())).collect();
        let live = live.iter().map(|live| (key(live), live.as_ref()));
        // Objects of unknown grants stay, but no longer than until the end that is written on them.
        let is_unknown =
            |name: &String, live: &K| rbac_state.unknown.get(name).filter(|_| !is_over(live, now));
        let mut known: BTreeMap<_, &K> = BTreeMap::new();
        for (key, live) in live {
            match is_unknown(&key.1, live) {
                None => {
                    self.closes.extend(plan_narrowing(live, wanted.get(&key).copied(), now));
                    known.insert(key, live);
                }
                Some(Some(named)) => {
                    self.closes.extend(plan_narrowing(live, Some(&live.only_for(named)), now));
                }
                Some(None) => {}
            }
        }
        let live = known;
        let guarded = |namespace: &Option<String>| {
            !namespace.iter().any(|one| rbac_state.without_default_deny.contains(one))
        };
        for (key, wanted) in wanted.iter().filter(|((namespace, _), _)| guarded(namespace)) {
            self.opens.extend(plan_widening(live.get(key).copied(), *wanted));
        }
    }
}

fn key<K: Resource>(object: &Arc<K>) -> (Option<String>, String) {
    (object.namespace(), object.name_any())
}

/// Returns the write that takes away the unwanted part of an object, if there is one.
fn plan_narrowing<K: GrantObject>(live: &K, wanted: Option<&K>, now: Timestamp) -> Option<Write> {
    let is_being_deleted = live.meta().deletion_timestamp.is_some();
    let narrowed = wanted.filter(|_| !is_over(live, now)).and_then(|wanted| live.narrow(wanted));
    match narrowed {
        Some(narrowed) if narrowed.grants_same(live) => None,
        Some(mut narrowed) => {
            *narrowed.meta_mut() = live.meta().clone();
            Some(Write::child(Verb::Replace, narrowed))
        }
        None if !is_being_deleted => Some(Write::child(Verb::Delete, live.clone())),
        // A finalizer that somebody put on it does not keep it.
        None if !live.finalizers().is_empty() => {
            let mut freed = live.clone();
            *freed.meta_mut() = free_metadata(live.meta(), live.meta().clone());
            Some(Write::child(Verb::Replace, freed))
        }
        None => None,
    }
}

/// Returns the write that makes the wanted object or puts it back, if one is due.
fn plan_widening<K: GrantObject>(live: Option<&K>, wanted: &K) -> Option<Write> {
    let Some(live) = live else { return Some(Write::child(Verb::Create, wanted.clone())) };
    let has_all =
        live.grants_same(wanted) && has_metadata(live.meta(), wanted.meta()) && is_free(live.meta());
    // An object that is being deleted, or that no change makes the wanted one (it binds another role), has to be
    // gone first.
    if has_all || live.meta().deletion_timestamp.is_some() || live.narrow(wanted).is_none() {
        return None;
    }
    let mut widened = wanted.clone();
    *widened.meta_mut() = free_metadata(live.meta(), wanted.meta().clone());
    Some(Write::child(Verb::Replace, widened))
}

fn is_over<K: Resource>(live: &K, now: Timestamp) -> bool {
    end_of(live.meta()).is_some_and(|end| end <= now)
}

/// An object of RBAC that is part of a grant.
trait GrantObject: Resource<DynamicType = ()> + Clone + Into<Child> {
    /// Returns the part of it that is wanted too; `None` when that is nothing, or when no change leads to it.
    fn narrow(&self, wanted: &Self) -> Option<Self>;
    /// Whether both give the same.
    fn grants_same(&self, other: &Self) -> bool;
    /// Returns the object as it is, but for these principals only.
    #[must_use]
    fn only_for(&self, principals: &BTreeSet<Principal>) -> Self;
}

/// Implements `GrantObject` for a kind of binding. The role of a binding cannot be changed.
macro_rules! binds {
    ($kind:ident) => {
        impl GrantObject for $kind {
            fn narrow(&self, wanted: &Self) -> Option<Self> {
                let subjects = in_both(
                    self.subjects.as_deref().unwrap_or_default(),
                    wanted.subjects.as_deref().unwrap_or_default(),
                );
                let is_of_role = self.role_ref == wanted.role_ref && !subjects.is_empty();
                is_of_role.then(|| Self { subjects: Some(subjects), ..self.clone() })
            }

            fn grants_same(&self, other: &Self) -> bool {
                self.role_ref == other.role_ref && self.subjects == other.subjects
            }

            fn only_for(&self, principals: &BTreeSet<Principal>) -> Self {
                let named: Vec<Subject> = principals.iter().map(subject).collect();
                Self {
                    subjects: Some(in_both(self.subjects.as_deref().unwrap_or_default(), &named)),
                    ..self.clone()
                }
            }
        }
    };
}
binds!(RoleBinding);
binds!(ClusterRoleBinding);

impl GrantObject for Role {
    fn narrow(&self, wanted: &Self) -> Option<Self> {
        Some(Self {
            rules: Some(in_both(
                self.rules.as_deref().unwrap_or_default(),
                wanted.rules.as_deref().unwrap_or_default(),
            )),
            ..self.clone()
        })
    }

    fn grants_same(&self, other: &Self) -> bool {
        self.rules == other.rules
    }

    /// Returns the Role as it is: a Role says what may be done, not who may do it.
    fn only_for(&self, _: &BTreeSet<Principal>) -> Self {
        self.clone()
    }
}

impl GrantObject for ClusterRole {
    /// Returns `None` for a ClusterRole that gathers the rules of others, which would not stay as it is written.
    fn narrow(&self, wanted: &Self) -> Option<Self> {
        let rules =
            in_both(self.rules.as_deref().unwrap_or_default(), wanted.rules.as_deref().unwrap_or_default());
        self.aggregation_rule.is_none().then(|| Self { rules: Some(rules), ..self.clone() })
    }

    fn grants_same(&self, other: &Self) -> bool {
        self.rules == other.rules && self.aggregation_rule == other.aggregation_rule
    }

    /// Returns the ClusterRole as it is, for the same reason as a Role.
    fn only_for(&self, _: &BTreeSet<Principal>) -> Self {
        self.clone()
    }
}

/// The objects that the rights of these grants consist of.
#[must_use]
pub fn build_objects<'a>(grants: impl IntoIterator<Item = &'a Grant>) -> Objects {
    let mut objects = Objects::default();
    for Grant { name, rights, principals, ends_at } in grants {
        if principals.is_empty() {
            continue;
        }
        let subjects: Vec<Subject> = principals.iter().map(subject).collect();
        let metadata = |namespace: Option<&str>| {
            let mut metadata = child_metadata(namespace.unwrap_or_default(), name);
            metadata.namespace = namespace.map(ToOwned::to_owned);
            metadata.annotations =
                ends_at.map(|end| [(annotation::EXPIRES_AT.to_owned(), end.to_string())].into());
            metadata
        };
        let mut bind_in = |namespace: &str, role_ref| {
            let metadata = metadata(Some(namespace));
            objects.role_bindings.push(Arc::new(RoleBinding {
                metadata,
                role_ref,
                subjects: Some(subjects.clone()),
            }));
        };
        let mut bind_everywhere = |role_ref: RoleRef| {
            objects.cluster_role_bindings.push(Arc::new(ClusterRoleBinding {
                metadata: metadata(None),
                role_ref,
                subjects: Some(subjects.clone()),
            }));
        };
        for right in rights {
            match right {
                Right::In { namespace, cluster_role } => bind_in(namespace, cluster_role_ref(cluster_role)),
                Right::Everywhere { cluster_role } => bind_everywhere(cluster_role_ref(cluster_role)),
                Right::LimitedIn { namespace, rules } => {
                    let metadata: ObjectMeta = metadata(Some(namespace));
                    let rules: Option<Vec<PolicyRule>> = Some(rules.clone());
                    objects.roles.push(Arc::new(Role { metadata, rules }));
                    bind_in(namespace, role_ref(name));
                }
                Right::LimitedEverywhere { rules } => {
                    objects.cluster_roles.push(Arc::new(ClusterRole {
                        metadata: metadata(None),
                        rules: Some(rules.clone()),
                        ..ClusterRole::default()
                    }));
                    bind_everywhere(cluster_role_ref(name));
                }
            }
        }
    }
    objects
}
