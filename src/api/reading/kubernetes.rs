//! Kinds of Kubernetes itself. The fields that the operator compares are read as a whole or not at all: a
//! policy or a binding that lost an entry could not be told from another one.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lenient::{fields_of, read, read_whole};
use super::parts::{Parts, Readable};
use crate::api::CiliumNetworkPolicy;
use crate::api::cilium::CiliumNetworkPolicySpec;

/// Value that stands for subjects and rules that cannot be read. It equals nothing that anybody would write.
const UNREADABLE: &str = "unreadable";

impl Parts {
    /// Takes the text of a field; `None` when the field is absent.
    pub(super) fn take(&mut self, field: &str) -> Option<Box<serde_json::value::RawValue>> {
        let at = self.fields.iter().position(|(name, _)| *name == field)?;
        let (_, raw) = self.fields.swap_remove(at);
        (raw.get().trim() != "null").then_some(raw)
    }

    /// Reads a field as a whole, or returns the substitute for a field that cannot be read.
    fn whole_or<T: DeserializeOwned>(
        &mut self,
        field: &str,
        unreadable: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let raw = self.take(field)?;
        read_whole(field, &raw).map_or_else(
            |unread| {
                self.unread.push(unread);
                unreadable()
            },
            Some,
        )
    }

    /// Reads a field as a whole; `None` when it cannot be read.
    fn whole<T: DeserializeOwned>(&mut self, field: &str) -> Option<T> {
        self.whole_or(field, || None)
    }

    /// Reads the parts of a field that can be read.
    fn partly<T: DeserializeOwned>(&mut self, field: &str) -> Option<T> {
        let raw = self.take(field)?;
        if let Ok(whole) = serde_json::from_str(raw.get()) {
            return Some(whole);
        }
        let fields = fields_of(field, &raw, &mut self.unread)?;
        read(field, Value::Object(fields), &|_, _| None, &mut self.unread)
    }

    fn subjects(&mut self) -> Option<Vec<Subject>> {
        let nobody = Subject { kind: UNREADABLE.into(), name: UNREADABLE.into(), ..Subject::default() };
        self.whole_or("subjects", || Some(vec![nobody]))
    }

    fn rules(&mut self) -> Option<Vec<PolicyRule>> {
        let nothing = PolicyRule { verbs: vec![UNREADABLE.into()], ..PolicyRule::default() };
        self.whole_or("rules", || Some(vec![nothing]))
    }
}

impl Readable for Namespace {
    const FIELDS: &'static [&'static str] = &["spec", "status"];

    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        Self { metadata, spec: parts.partly("spec"), status: parts.partly("status") }
    }
}

impl Readable for ServiceAccount {
    const FIELDS: &'static [&'static str] = &[];

    fn assemble(metadata: ObjectMeta, _: &mut Parts) -> Self {
        Self { metadata, ..Self::default() }
    }
}

impl Readable for RoleBinding {
    const FIELDS: &'static [&'static str] = &["roleRef", "subjects"];

    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        let role_ref = parts.whole("roleRef").unwrap_or_default();
        Self { metadata, role_ref, subjects: parts.subjects() }
    }
}

impl Readable for ClusterRoleBinding {
    const FIELDS: &'static [&'static str] = &["roleRef", "subjects"];

    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        let role_ref = parts.whole("roleRef").unwrap_or_default();
        Self { metadata, role_ref, subjects: parts.subjects() }
    }
}

impl Readable for Role {
    const FIELDS: &'static [&'static str] = &["rules"];

    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        Self { metadata, rules: parts.rules() }
    }
}

impl Readable for ClusterRole {
    const FIELDS: &'static [&'static str] = &["aggregationRule", "rules"];

    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        let aggregation_rule = parts.whole_or("aggregationRule", || Some(AggregationRule::default()));
        Self { metadata, aggregation_rule, rules: parts.rules() }
    }
}

/// The holder of a Lease counts, whatever its times are, so the spec is read in parts.
impl Readable for Lease {
    const FIELDS: &'static [&'static str] = &["spec"];

    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        Self { metadata, spec: parts.partly("spec") }
    }
}

/// Only the status of a definition is read, which says whether the definition is served: nothing else of it
/// is used, and it may be large.
impl Readable for CustomResourceDefinition {
    const FIELDS: &'static [&'static str] = &["status"];

    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        Self { metadata, status: parts.partly("status"), ..Self::default() }
    }
}

impl Readable for CiliumNetworkPolicy {
    const FIELDS: &'static [&'static str] = &["spec", "specs"];

    /// Cilium allows the traffic of `spec` and of `specs`. The operator writes no `specs`, so a policy that
    /// has some is not what the operator wrote.
    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
        let nothing = || CiliumNetworkPolicySpec { rules: serde_json::Map::new() };
        let mut spec: CiliumNetworkPolicySpec = parts.whole("spec").unwrap_or_else(nothing);
        if parts.take("specs").is_some() {
            spec.rules.insert("specs".to_owned(), UNREADABLE.into());
        }
        Self { metadata, spec }
    }
}

/// Implements [`Readable`] for kinds that are compared by their spec.
macro_rules! compared_by_spec {
    ($keeps_last_change:literal: $($kind:ident $(. $or_default:ident)?),* $(,)?) => {
        $(impl Readable for $kind {
            const FIELDS: &'static [&'static str] = &["spec"];
            const KEEPS_LAST_CHANGE: bool = $keeps_last_change;

            // Some of these kinds have a status, which nobody reads.
            #[allow(clippy::needless_update)]
            fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
                Self { metadata, spec: parts.whole("spec")$(.$or_default())?, ..Self::default() }
            }
        })*
    };
}
compared_by_spec!(false: NetworkPolicy, ResourceQuota, LimitRange);
// What was changed a moment ago does not count yet ([`crate::admission::propagation`]).
compared_by_spec!(
    true:
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding.unwrap_or_default,
);
