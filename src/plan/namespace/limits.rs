//! The quota of a namespace, and the limits and requests of containers that set none themselves.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::names::child;
use crate::model::quantity::are_equal;
use crate::plan::child::{Healing, Verb, due};
use crate::plan::metadata::child_metadata;
use crate::plan::{Write, write_due};

/// Limits and requests of containers that have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerLimits {
    pub limits: BTreeMap<String, Quantity>,
    pub requests: BTreeMap<String, Quantity>,
}

/// The write that brings the quota of a namespace to what it should be; `hard` is empty for no quota.
#[must_use]
pub fn plan_quota(
    namespace: &str,
    hard: &BTreeMap<String, Quantity>,
    live: Option<&ResourceQuota>,
    healing: Healing,
) -> Option<Write> {
    if hard.is_empty() {
        let over = live.filter(|_| healing == Healing::Active).cloned();
        return over.map(|live| Write::child(Verb::Delete, live));
    }
    let is_same = |live: &ResourceQuota| {
        live.spec.as_ref().is_some_and(|spec| {
            let ResourceQuotaSpec { hard: live, scope_selector, scopes } = spec;
            are_equal(live.as_ref(), Some(hard)) && scope_selector.is_none() && scopes.is_none()
        })
    };
    let wanted = |metadata| {
        let spec = ResourceQuotaSpec { hard: Some(hard.clone()), ..ResourceQuotaSpec::default() };
        ResourceQuota { metadata, spec: Some(spec), status: None }
    };
    write_due(due(live, &child_metadata(namespace, child::QUOTA), hard, is_same, healing), wanted)
}

/// The write that brings the defaults for containers of a namespace to what they should be.
#[must_use]
pub fn plan_container_defaults(
    namespace: &str,
    limits: Option<&ContainerLimits>,
    live: Option<&LimitRange>,
    healing: Healing,
) -> Option<Write> {
    let Some(ContainerLimits { limits, requests }) = limits else {
        let over = live.filter(|_| healing == Healing::Active).cloned();
        return over.map(|live| Write::child(Verb::Delete, live));
    };
    let some = |amounts: &BTreeMap<String, Quantity>| (!amounts.is_empty()).then(|| amounts.clone());
    let is_same = |live: &LimitRange| {
        let items = live.spec.as_ref().map_or(&[][..], |spec| &spec.limits);
        matches!(items, [LimitRangeItem {
            type_,
            default,
            default_request,
            max: None,
            max_limit_request_ratio: None,
            min: None,
        }] if type_ == "Container"
            && are_equal(default.as_ref(), some(limits).as_ref())
            && are_equal(default_request.as_ref(), some(requests).as_ref()))
    };
    let wanted = |metadata| {
        let item = LimitRangeItem {
            type_: "Container".into(),
            default: some(limits),
            default_request: some(requests),
            ..LimitRangeItem::default()
        };
        LimitRange { metadata, spec: Some(LimitRangeSpec { limits: vec![item] }) }
    };
    let metadata = child_metadata(namespace, child::CONTAINER_DEFAULTS);
    write_due(due(live, &metadata, &(limits, requests), is_same, healing), wanted)
}
