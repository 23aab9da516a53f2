//! Objects of others that are not kept: those in namespaces that are not the operator's, unless they carry a name
//! or a mark of the operator.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, Subject};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::caches::Caches;
use crate::kinds::approval_request::index::LIVE_REQUESTS;

use crate::api::approval_request::{self, ApprovalRequestSpec, EffectivePolicy, Impact};
use crate::api::names::{
    REQUESTED_BY, REQUESTED_GENERATION, REQUESTED_GROUPS, REQUESTED_MFA, annotation, label,
};
use crate::api::{
    ApprovalRequest, ApprovalRequestStatus, CiliumNetworkPolicy, Content, Role as RoleName, RoleActivation,
};
use crate::model::approval::request::is_settled;
use crate::model::naming::{ROLE_BINDING, is_of_grant};
use crate::model::rbac::roles::cluster_role;
use crate::plan::child::is_kept_from_going;

/// A kind of which only what concerns the operator is kept.
pub trait Relevant: Sized {
    /// Whether something is not kept at all. Its watch begins when the namespaces are known then.
    const IS_FILTERED: bool = false;

    /// Selects what has to be known before anything is done, where there may be much more: that is read afterwards
    /// ([`super::backfill`]).
    const FIRST: Option<&'static str> = None;

    /// So long changes wait for each other while they follow closely: where others may change much, and a change as a
    /// rule closes nothing.
    const WINDOW: Duration = Duration::ZERO;

    /// Whether an object is kept.
    fn is_relevant(_caches: &Caches, _object: &Self) -> bool {
        true
    }

    /// Returns the part of an object that is kept.
    #[must_use]
    fn kept(self, _caches: &Caches) -> Self {
        self
    }
}

/// Much longer than an event takes, and much shorter than anybody waits for a namespace.
const WHERE_OTHERS_CHANGE_MUCH: Duration = Duration::from_millis(25);

/// Of the metadata that people write into what they declare, as much as they like, the operator reads only these
/// annotations, most of which are stamped, and no labels. It writes none of it.
const READ: &[&str] = &[REQUESTED_BY, REQUESTED_GENERATION, annotation::CREATED_BY];

/// Of an activation it reads who asks, too.
const READ_OF_ACTIVATIONS: &[&str] = &[REQUESTED_GROUPS, REQUESTED_MFA];

/// Keeps of what people declare what is read of it.
pub(super) fn keep_declared(metadata: &mut ObjectMeta) {
    keep_annotations(metadata, |name| READ.contains(&name));
}

impl Relevant for RoleActivation {
    fn kept(mut self, _: &Caches) -> Self {
        keep_annotations(&mut self.metadata, |name| {
            READ.contains(&name) || READ_OF_ACTIVATIONS.contains(&name)
        });
        self
    }
}

/// Keeps these annotations, and no labels.
fn keep_annotations(metadata: &mut ObjectMeta, is_kept: impl Fn(&str) -> bool) {
    metadata.labels = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| is_kept(name));
    }
}

macro_rules! all_relevant {
    ($($kind:ty),*) => {
        $(impl Relevant for $kind {})*
    };
}

all_relevant!(
    CustomResourceDefinition,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding
);

/// Requests are kept for long, and of one that is decided nobody reads any more what it was about.
impl Relevant for ApprovalRequest {
    const FIRST: Option<&'static str> = Some(LIVE_REQUESTS);

    fn kept(self, _: &Caches) -> Self {
        if is_settled(&self) { without_content(self) } else { self }
    }
}

/// A request without what those who decide need of it. What is left says what became of which generation.
fn without_content(request: ApprovalRequest) -> ApprovalRequest {
    let ApprovalRequest { metadata, spec, status } = request;
    let spec = ApprovalRequestSpec {
        requesters: Vec::new(),
        justification: None,
        ticket: None,
        impact: Impact::default(),
        change: approval_request::Change { before: None, after: Content::empty(), ..spec.change },
        policy: EffectivePolicy { mandatory_approvers: Vec::new(), ..spec.policy },
        ..spec
    };
    let status = status.map(|status| ApprovalRequestStatus { decisions: Vec::new(), ..status });
    let metadata = ObjectMeta { labels: None, annotations: None, ..metadata };
    ApprovalRequest { metadata, spec, status }
}

/// Whether a namespace was made by the operator.
#[must_use]
pub fn is_managed(namespace: &Namespace) -> bool {
    namespace.labels().contains_key(label::OWNER_UID)
}

/// Whether an object may be in a namespace of the operator. A namespace that is not known yet may be one:
/// its watch can be behind. What turns out to be in another one is dropped when the namespace is seen.
pub(super) fn may_be_managed<K: Resource>(caches: &Caches, object: &K) -> bool {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    caches.namespaces.get("", namespace).is_none_or(|namespace| is_managed(&namespace))
}

fn has_name<K: Resource>(object: &K, is_ours: impl Fn(&str) -> bool) -> bool {
    object.meta().name.as_deref().is_some_and(is_ours)
}

fn has_maker<K: Resource>(object: &K) -> bool {
    object.meta().annotations.as_ref().is_some_and(|all| all.contains_key(annotation::CREATED_BY))
}

/// Others have nothing of these kinds that matters.
macro_rules! in_managed_namespaces {
    ($($kind:ty),*) => {
        $(impl Relevant for $kind {
            const IS_FILTERED: bool = true;

            fn is_relevant(caches: &Caches, object: &Self) -> bool {
                may_be_managed(caches, object)
            }
        })*
    };
}

in_managed_namespaces!(NetworkPolicy, CiliumNetworkPolicy, ResourceQuota, LimitRange);

impl Relevant for RoleBinding {
    const IS_FILTERED: bool = true;

    fn is_relevant(caches: &Caches, object: &Self) -> bool {
        has_name(object, is_of_grant)
            || object.metadata.namespace.as_deref() == Some(&caches.system)
            || may_be_managed(caches, object)
    }

    /// Those of others are only ever shown and taken away. One that a finalizer keeps is written back without it, and
    /// then as it is: what would change anything else needs the rights that it gives.
    fn kept(mut self, _: &Caches) -> Self {
        let is_of_others = !has_name(&self, |name| name.starts_with(ROLE_BINDING));
        if is_of_others && !is_kept_from_going(&self) {
            keep_annotations(&mut self.metadata, |name| name == annotation::CREATED_BY);
            if let Some(subjects) = &mut self.subjects {
                shorten(subjects);
            }
        }
        self
    }
}

/// Keeps the first subjects, with names that are not too long, and says how many more there are.
fn shorten(subjects: &mut Vec<Subject>) {
    /// Of subjects.
    const MOST: usize = 100;
    /// Of characters in a name.
    const LONGEST: usize = 128;
    let cut = |text: &mut String| {
        if let Some((at, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(at);
            text.push('…');
            text.shrink_to_fit();
        }
    };
    let more = subjects.len().saturating_sub(MOST);
    subjects.truncate(MOST);
    for subject in &mut *subjects {
        cut(&mut subject.kind);
        cut(&mut subject.name);
        subject.namespace.iter_mut().chain(&mut subject.api_group).for_each(cut);
    }
    if more > 0 {
        subjects.push(Subject { kind: "and".into(), name: format!("{more} more"), ..Subject::default() });
    }
    subjects.shrink_to_fit();
}

impl Relevant for Role {
    const IS_FILTERED: bool = true;

    fn is_relevant(caches: &Caches, object: &Self) -> bool {
        has_name(object, is_of_grant)
            || ((has_name(object, |name| name.starts_with(ROLE_BINDING)) || has_maker(object))
                && may_be_managed(caches, object))
    }

    /// Of one of others only who made it and when is looked at.
    fn kept(mut self, _: &Caches) -> Self {
        if !has_name(&self, |name| name.starts_with(ROLE_BINDING)) {
            keep_annotations(&mut self.metadata, |name| name == annotation::CREATED_BY);
            self.rules = None;
        }
        self
    }
}

/// Only who made it and when is looked at. Kubernetes makes a ServiceAccount `default` in every namespace,
/// whoever's that is, and makes it again when it is deleted: one that somebody makes in its place gives nobody
/// more.
impl Relevant for ServiceAccount {
    const IS_FILTERED: bool = true;
    const WINDOW: Duration = WHERE_OTHERS_CHANGE_MUCH;

    fn is_relevant(caches: &Caches, object: &Self) -> bool {
        has_maker(object) && may_be_managed(caches, object) && !has_name(object, |name| name == "default")
    }

    fn kept(mut self, _: &Caches) -> Self {
        keep_annotations(&mut self.metadata, |name| name == annotation::CREATED_BY);
        self
    }
}

impl Relevant for ClusterRole {
    const IS_FILTERED: bool = true;

    fn is_relevant(_: &Caches, object: &Self) -> bool {
        has_name(object, is_of_grant)
    }
}

impl Relevant for ClusterRoleBinding {
    const IS_FILTERED: bool = true;

    fn is_relevant(_: &Caches, object: &Self) -> bool {
        has_name(object, is_of_grant) || object.role_ref.name == cluster_role(RoleName::EnclaveApprover)
    }
}

/// Of others only is known that it exists: its name may be wanted.
impl Relevant for Namespace {
    const WINDOW: Duration = WHERE_OTHERS_CHANGE_MUCH;

    fn kept(self, _: &Caches) -> Self {
        if is_managed(&self) || self.metadata.deletion_timestamp.is_some() {
            return self;
        }
        let ObjectMeta { name, uid, resource_version, .. } = self.metadata;
        Self {
            metadata: ObjectMeta { name, uid, resource_version, ..ObjectMeta::default() },
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
