//! How much a namespace may use, and what containers get that do not say it themselves.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::Write;
use super::metadata::{child_metadata, has_metadata, merge_metadata};
use crate::api::names::child;
use crate::model::quantity::are_equal;

/// Limits and requests of containers that have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerLimits {
    pub limits: BTreeMap<String, Quantity>,
    pub requests: BTreeMap<String, Quantity>,
}

/// The writes that bring the quota of a namespace to what it should be; empty for none.
#[must_use]
pub fn plan_quota(
    namespace: &str,
    hard: &BTreeMap<String, Quantity>,
    live: Option<&ResourceQuota>,
) -> Option<Write> {
    let wanted = ResourceQuota {
        metadata: child_metadata(namespace, child::QUOTA),
        spec: Some(ResourceQuotaSpec { hard: Some(hard.clone()), ..ResourceQuotaSpec::default() }),
        status: None,
    };
    let Some(live) = live else {
        return (!hard.is_empty()).then(|| Write::CreateResourceQuota(Box::new(wanted)));
    };
    if hard.is_empty() {
        let (namespace, uid) = (namespace.to_owned(), live.uid().unwrap_or_default());
        return Some(Write::DeleteResourceQuota { namespace, name: live.name_any(), uid });
    }
    let as_wanted = live.spec.as_ref().is_some_and(|spec| {
        let ResourceQuotaSpec { hard: live, scope_selector, scopes } = spec;
        are_equal(live.as_ref(), Some(hard)) && scope_selector.is_none() && scopes.is_none()
    });
    if has_metadata(&live.metadata, &wanted.metadata) && as_wanted {
        return None;
    }
    Some(Write::ReplaceResourceQuota(Box::new(ResourceQuota {
        metadata: merge_metadata(&live.metadata, wanted.metadata),
        ..wanted
    })))
}

/// The writes that bring the defaults for containers of a namespace to what they should be.
#[must_use]
pub fn plan_container_defaults(
    namespace: &str,
    limits: Option<&ContainerLimits>,
    live: Option<&LimitRange>,
) -> Option<Write> {
    let Some(ContainerLimits { limits, requests }) = limits else {
        return live.map(|live| Write::DeleteLimitRange {
            namespace: namespace.to_owned(),
            name: live.name_any(),
            uid: live.uid().unwrap_or_default(),
        });
    };
    let some = |amounts: &BTreeMap<String, Quantity>| (!amounts.is_empty()).then(|| amounts.clone());
    let wanted = LimitRange {
        metadata: child_metadata(namespace, child::CONTAINER_DEFAULTS),
        spec: Some(LimitRangeSpec {
            limits: vec![LimitRangeItem {
                type_: "Container".into(),
                default: some(limits),
                default_request: some(requests),
                ..LimitRangeItem::default()
            }],
        }),
    };
    let Some(live) = live else { return Some(Write::CreateLimitRange(Box::new(wanted))) };
    let items = live.spec.as_ref().map_or(&[][..], |spec| &spec.limits);
    let as_wanted = matches!(items, [LimitRangeItem {
        type_,
        default,
        default_request,
        max: None,
        max_limit_request_ratio: None,
        min: None,
    }] if type_ == "Container"
        && are_equal(default.as_ref(), some(limits).as_ref())
        && are_equal(default_request.as_ref(), some(requests).as_ref()));
    if has_metadata(&live.metadata, &wanted.metadata) && as_wanted {
        return None;
    }
    Some(Write::ReplaceLimitRange(Box::new(LimitRange {
        metadata: merge_metadata(&live.metadata, wanted.metadata),
        ..wanted
    })))
}
