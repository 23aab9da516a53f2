//! Guarded writes: each succeeds only on the version that was observed.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::fence::is_refused;
use crate::admission::Policies;
use crate::api::approval_request::Target;
use crate::api::names::{FINALIZER, OPERATOR, label};
use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, Kind, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use crate::model::facts::enacted_status;
use crate::model::scope::RulesOrigin;
use crate::plan::Write;
use crate::plan::child::{Child, Verb};
use crate::plan::place::is_owned;

/// A write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object is not what was observed any more. Not a failure: the watch tells the news, and
    /// the object is looked at again.
    #[error("the object changed in the meantime")]
    Outdated,
    /// It was not sent, because this process does not hold the lease now. Whoever leads does it; that can
    /// be this process again.
    #[error("this process does not lead now")]
    NotLeading,
    /// The API server refused, or could not be reached.
    #[error("failed to {what}")]
    Failed {
        /// What was tried.
        what: Cow<'static, str>,
        /// Why not.
        #[source]
        source: kube::Error,
    },
}

impl WriteError {
    /// The error for people: what was tried, and the API server's words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Failed { what, source: kube::Error::Api(status) } => {
                format!("failed to {what}: {}", status.message)
            }
            Self::Failed { what, source } => format!("failed to {what}: {source}"),
            Self::Outdated | Self::NotLeading => self.to_string(),
        }
    }

    /// A bounded word for logs and metrics.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Outdated => "Outdated",
            Self::NotLeading => "NotLeading",
            Self::Failed { .. } => "WriteFailed",
        }
    }
}

/// A kind that is reconciled: how to reach its objects.
pub trait Served:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The API in which this object lives.
    fn api(&self, client: &Client) -> Api<Self>;
}

impl Served for Community {
    fn api(&self, client: &Client) -> Api<Self> {
        Api::all(client.clone())
    }
}

/// Kinds that live in namespaces.
macro_rules! namespaced {
    ($($kind:ty),*) => {
        $(impl Served for $kind {
            fn api(&self, client: &Client) -> Api<Self> {
                Api::namespaced(client.clone(), &self.namespace().unwrap_or_default())
            }
        })*
    };
}
namespaced!(
    Enclave,
    CommunityEndpoint,
    TransitHub,
    EnclaveWorkload,
    EnclaveEndpoint,
    EnclaveConnection,
    ApprovalRequest,
    RoleAssignment,
    RoleEligibility,
    RoleActivation
);

/// Whether a write touched the reconciled object itself, so that the observed version is old now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    TheObjectItself,
    Another,
}

/// Makes one write on behalf of `object`.
///
/// # Errors
/// [`WriteError::Outdated`] when the world moved on, [`WriteError::Failed`] otherwise.
pub async fn apply_write<K: Served>(
    client: &Client,
    object: &K,
    write: Write,
) -> Result<Touched, WriteError> {
    match write {
        Write::AddFinalizer => {
            let finalizers: Vec<&str> =
                object.finalizers().iter().map(String::as_str).chain([FINALIZER]).collect();
            patch_metadata(client, object, json!({"finalizers": finalizers}), "add the finalizer").await
        }
        Write::RemoveFinalizer => {
            let finalizers: Vec<&String> =
                object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
            patch_metadata(client, object, json!({"finalizers": finalizers}), "remove the finalizer").await
        }
        Write::DeleteSelf => {
            let parameters = guarded_deletion(object.uid(), object.resource_version());
            let result = object.api(client).delete(&object.name_any(), &parameters).await;
            outcome(result, "delete the object").map(|()| Touched::TheObjectItself)
        }
        Write::ConfirmTargetGone(target) => confirm_gone(client, &target).await,
        Write::ConfirmNamespaceGone { name, owner_uid } => {
            let api: Api<Namespace> = Api::all(client.clone());
            let live = confirmed(api.get_opt(&name).await, "look whether the namespace is gone")?;
            go_on_if(live.is_none_or(|namespace| !is_owned(&namespace, &owner_uid)))
        }
        Write::ConfirmRules(origin) => confirm_rules(client, &origin).await,
        Write::ConfirmPolicies { witness } => {
            let live = confirmed(list_policies(client).await, "look at the admission policies again")?;
            go_on_if(live.fingerprint() == witness)
        }
        Write::CreateRequest(request) => {
            let result = request.api(client).create(&post(), &request).await;
            outcome(result, "create the ApprovalRequest").map(|()| Touched::Another)
        }
        Write::MarkEnacted { request, at } => {
            let status = Some(enacted_status(&request, at));
            let request = ApprovalRequest { status, ..ApprovalRequest::clone(&request) };
            publish_status(client, &request).await.map(|()| Touched::Another)
        }
        Write::CreateNamespace(namespace) => {
            let api: Api<Namespace> = Api::all(client.clone());
            outcome(api.create(&post(), &namespace).await, "create the namespace").map(|()| Touched::Another)
        }
        Write::ReplaceNamespace(namespace) => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = api.replace(&namespace.name_any(), &post(), &namespace).await;
            outcome(result, "put the namespace back").map(|()| Touched::Another)
        }
        Write::DeleteNamespace { name, uid } => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = api.delete(&name, &guarded_deletion(Some(uid), None)).await;
            outcome(result, "delete the namespace").map(|()| Touched::Another)
        }
        Write::Child(verb, child) => write_child(client, verb, child).await,
    }
}

/// Makes, puts back or takes away something.
///
/// # Errors
/// As [`apply_write`].
pub async fn write_child(client: &Client, verb: Verb, child: Child) -> Result<Touched, WriteError> {
    match child {
        Child::NetworkPolicy(child) => write_one(&api_of(client, &*child), verb, &*child).await,
        Child::CiliumNetworkPolicy(child) => write_one(&api_of(client, &*child), verb, &*child).await,
        Child::ResourceQuota(child) => write_one(&api_of(client, &*child), verb, &*child).await,
        Child::LimitRange(child) => write_one(&api_of(client, &*child), verb, &*child).await,
        Child::Role(child) => write_one(&api_of(client, &*child), verb, &*child).await,
        Child::RoleBinding(child) => write_one(&api_of(client, &*child), verb, &*child).await,
        Child::ClusterRole(child) => write_one(&Api::all(client.clone()), verb, &*child).await,
        Child::ClusterRoleBinding(child) => write_one(&Api::all(client.clone()), verb, &*child).await,
    }
}

/// Replaces the status of an object, on the version that was observed.
///
/// # Errors
/// As [`apply_write`].
pub async fn publish_status<K: Served>(client: &Client, object: &K) -> Result<(), WriteError> {
    let result = object.api(client).replace_status(&object.name_any(), &post(), object).await;
    outcome(result, "write the status")
}

async fn confirm_gone(client: &Client, target: &Target) -> Result<Touched, WriteError> {
    let api = dynamic(client, target.kind, target.namespace.as_deref());
    let what = "look whether the target of a request is gone";
    let live = confirmed(api.get_metadata_opt(&target.name).await, what)?;
    let is_there = live.is_some_and(|object| {
        object.metadata.uid.as_ref() == Some(&target.uid) && object.metadata.deletion_timestamp.is_none()
    });
    go_on_if(!is_there)
}

async fn confirm_rules(client: &Client, origin: &RulesOrigin) -> Result<Touched, WriteError> {
    let RulesOrigin { kind, namespace, name, uid, digest } = origin;
    let api = dynamic(client, *kind, namespace.as_deref());
    let live = confirmed(api.get_opt(name).await, "look at the approval rules again")?;
    go_on_if(live.is_some_and(|live| {
        let applied = live.data.pointer("/status/applied/digest").and_then(|digest| digest.as_str());
        live.metadata.uid.as_ref() == Some(uid) && applied == Some(digest)
    }))
}

fn dynamic(client: &Client, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource()),
        None => Api::all_with(client.clone(), &kind.resource()),
    }
}

async fn list_policies(client: &Client) -> Result<Policies, kube::Error> {
    let parameters = ListParams::default().labels(&format!("{}={OPERATOR}", label::PART_OF));
    Ok(Policies {
        mutating: Api::all(client.clone()).list(&parameters).await?.items,
        mutating_bindings: Api::all(client.clone()).list(&parameters).await?.items,
        validating: Api::all(client.clone()).list(&parameters).await?.items,
        validating_bindings: Api::all(client.clone()).list(&parameters).await?.items,
    })
}

fn confirmed<T>(result: Result<T, kube::Error>, what: &'static str) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Failed { what: what.into(), source })
}

fn go_on_if(as_assumed: bool) -> Result<Touched, WriteError> {
    if as_assumed { Ok(Touched::Another) } else { Err(WriteError::Outdated) }
}

fn api_of<K>(client: &Client, child: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &child.namespace().unwrap_or_default())
}

async fn write_one<K>(api: &Api<K>, verb: Verb, child: &K) -> Result<Touched, WriteError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let name = child.name_any();
    let (result, doing) = match verb {
        Verb::Create => (api.create(&post(), child).await.map(drop), "create"),
        Verb::Replace => (api.replace(&name, &post(), child).await.map(drop), "put back"),
        Verb::Delete => (api.delete(&name, &guarded_deletion(child.uid(), None)).await.map(drop), "delete"),
    };
    let place = child.namespace().map(|namespace| namespace + "/").unwrap_or_default();
    outcome(result, format!("{doing} {} {place}{name}", K::kind(&()))).map(|()| Touched::Another)
}

async fn patch_metadata<K: Served>(
    client: &Client,
    object: &K,
    mut metadata: serde_json::Value,
    what: &'static str,
) -> Result<Touched, WriteError> {
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("resourceVersion".into(), json!(object.resource_version()));
        fields.insert("uid".into(), json!(object.uid()));
    }
    let parameters = PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    outcome(object.api(client).patch(&object.name_any(), &parameters, &patch).await, what)
        .map(|()| Touched::TheObjectItself)
}

fn post() -> PostParams {
    PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() }
}

fn guarded_deletion(uid: Option<String>, resource_version: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version }),
        ..DeleteParams::background()
    }
}

fn outcome<T>(result: Result<T, kube::Error>, what: impl Into<Cow<'static, str>>) -> Result<(), WriteError> {
    match result {
        Ok(_) => Ok(()),
        // 404: it is gone. 409: it exists already, or is another version or another object.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(WriteError::Outdated),
        Err(error) if is_refused(&error) => Err(WriteError::NotLeading),
        Err(source) => Err(WriteError::Failed { what: what.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fence::NotLeading;

    /// What is outdated needs no second attempt, but what was not sent does: access that is to be closed
    /// is still there.
    #[test]
    fn what_was_not_sent_is_not_taken_for_outdated() {
        let refused = kube::Error::Service(Box::new(NotLeading));
        assert!(matches!(outcome::<()>(Err(refused), "try"), Err(WriteError::NotLeading)));
        let gone = kube::Error::Api(Box::new(kube::core::Status { code: 404, ..Default::default() }));
        assert!(matches!(outcome::<()>(Err(gone), "try"), Err(WriteError::Outdated)));
    }
}
