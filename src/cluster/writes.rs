//! Guarded writes: each succeeds only on the version that was observed.

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Instant;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fence::is_refused;
use super::writer::{Writer, get_any};
use crate::api::approval_request::Target;
use crate::api::entry::changes;
use crate::api::names::{FINALIZER, OPERATOR};
use crate::api::reading::{Item, MOST_FINALIZERS, Readable};
use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use crate::model::audit::facts::enacted_status;
use crate::plan::Write;
use crate::plan::child::{Child, Verb};
use crate::plan::namespace::desired::is_owned;

/// A write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object is not what was observed any more. Not a failure: the watch tells the news, and
    /// the object is looked at again.
    #[error("the object changed in the meantime")]
    Conflict,
    /// It was not sent, or its answer came too late, because this process does not hold the lease now. Whoever leads
    /// does it; that can be this process again.
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
            Self::Conflict | Self::NotLeading => self.to_string(),
        }
    }

    /// A bounded word for logs and metrics.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::NotLeading => "NotLeading",
            Self::Failed { .. } => "WriteFailed",
        }
    }
}

/// A kind that is reconciled: how to reach its objects.
pub trait ApiObject: Readable + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The API in which this object lives.
    fn api(&self, client: &Client) -> Api<Self>;
}

impl ApiObject for Community {
    fn api(&self, client: &Client) -> Api<Self> {
        Api::all(client.clone())
    }
}

/// Kinds that live in namespaces.
macro_rules! namespaced {
    ($($kind:ty),*) => {
        $(impl ApiObject for $kind {
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

/// What a write touched.
#[derive(Debug)]
pub enum Written<K> {
    /// The reconciled object itself, so that the observed version is old now; as it is by then, unless it is
    /// being deleted.
    TheObjectItself(Option<Box<K>>),
    /// A request about it; as it is by then.
    Request(Box<ApprovalRequest>),
    /// A namespace; as it is by then.
    Namespace(Box<Namespace>),
    /// Something in a namespace; as it is by then.
    Child(Child),
    /// Something else, or nothing.
    Another,
}

/// Makes one write on behalf of `object`. What has to be confirmed for it is read at `since` or later.
///
/// # Errors
/// [`WriteError::Conflict`] when the world moved on, [`WriteError::Failed`] otherwise.
pub async fn apply_write<K: ApiObject>(
    writer: &Writer,
    object: &K,
    write: Write,
    since: Instant,
) -> Result<Written<K>, WriteError> {
    let client = &writer.client;
    match write {
        Write::AddFinalizer => {
            const WHAT: &str = "add the finalizer";
            let mut finalizers = all_finalizers(client, object, WHAT).await?;
            finalizers.push(FINALIZER.to_owned());
            patch_metadata(client, object, json!({"finalizers": finalizers}), WHAT).await
        }
        Write::RemoveFinalizer => {
            const WHAT: &str = "remove the finalizer";
            let finalizers = all_finalizers(client, object, WHAT).await?;
            patch_metadata(client, object, json!({"finalizers": finalizers}), WHAT).await
        }
        Write::DeleteSelf => {
            let parameters = guarded_deletion(object.uid(), object.resource_version());
            let result = send_deletion(client, &object.api(client), &object.name_any(), &parameters).await;
            outcome(result, "delete the object").map(|_| Written::TheObjectItself(None))
        }
        Write::ConfirmTargetGone(target) => confirm_gone(client, &target).await,
        Write::ConfirmNamespaceGone { name, owner_uid } => {
            let api: Api<Item<Namespace>> = Api::all(client.clone());
            let live = confirmed(api.get_opt(&name).await, "look whether the namespace is gone")?;
            go_on_if(live.is_none_or(|namespace| !is_owned(&namespace.read().0, &owner_uid)))
        }
        Write::ConfirmRules(origin) => {
            let confirmation = writer.confirm_rules(&origin, since).await;
            go_on_if(confirmed(confirmation, "look at the approval rules again")?)
        }
        Write::ConfirmPolicies { witness, by } => {
            let confirmation = writer.confirm_policies(&witness, by, since).await;
            go_on_if(confirmed(confirmation, "look at the admission policies again")?)
        }
        Write::CreateRequest(request) => {
            let result = send_creation(client, &request.api(client), request.as_ref()).await;
            let answer = outcome(result, "create the ApprovalRequest")?;
            Ok(read_answer(&answer).map_or(Written::Another, |made| Written::Request(Box::new(made))))
        }
        Write::MarkEnacted { request, at } => {
            let mut status = enacted_status(&request, at);
            (writer.settle)(&request.uid().unwrap_or_default(), &mut status.audit);
            let enacted = ApprovalRequest { status: Some(status), ..ApprovalRequest::clone(&request) };
            let written = publish_status(client, request.as_ref(), &enacted).await?;
            Ok(written.map_or(Written::Another, |request| Written::Request(Box::new(request))))
        }
        Write::CreateNamespace(namespace) => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = send_creation(client, &api, namespace.as_ref()).await;
            Ok(namespace_in(&outcome(result, "create the namespace")?))
        }
        Write::ReplaceNamespace(namespace) => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = send_replacement(client, &api, namespace.as_ref()).await;
            Ok(namespace_in(&outcome(result, "put the namespace back")?))
        }
        Write::DeleteNamespace { name, uid } => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = send_deletion(client, &api, &name, &guarded_deletion(Some(uid), None)).await;
            outcome(result, "delete the namespace").map(|_| Written::Another)
        }
        Write::Child(verb, child) => {
            write_child(client, verb, child).await.map(|made| made.map_or(Written::Another, Written::Child))
        }
    }
}

fn namespace_in<K>(answer: &str) -> Written<K> {
    read_answer(answer).map_or(Written::Another, |namespace| Written::Namespace(Box::new(namespace)))
}

/// Makes, puts back or takes away something. Returns it as it is then, unless it was taken away.
///
/// # Errors
/// As [`apply_write`].
pub async fn write_child(client: &Client, verb: Verb, child: Child) -> Result<Option<Child>, WriteError> {
    match child {
        Child::NetworkPolicy(child) => write_one(client, &api_of(client, &*child), verb, &*child).await,
        Child::CiliumNetworkPolicy(child) => write_one(client, &api_of(client, &*child), verb, &*child).await,
        Child::ResourceQuota(child) => write_one(client, &api_of(client, &*child), verb, &*child).await,
        Child::LimitRange(child) => write_one(client, &api_of(client, &*child), verb, &*child).await,
        Child::Role(child) => write_one(client, &api_of(client, &*child), verb, &*child).await,
        Child::RoleBinding(child) => write_one(client, &api_of(client, &*child), verb, &*child).await,
        Child::ClusterRole(child) => write_one(client, &Api::all(client.clone()), verb, &*child).await,
        Child::ClusterRoleBinding(child) => write_one(client, &Api::all(client.clone()), verb, &*child).await,
    }
}

/// Writes what is new in the status of an object, on the version that was observed. What is stored there
/// besides, by a version that knows more, stays. Returns the object as it is then, if anything was new.
///
/// # Errors
/// As [`apply_write`].
pub async fn publish_status<K: ApiObject>(
    client: &Client,
    before: &K,
    after: &K,
) -> Result<Option<K>, WriteError> {
    const WHAT: &str = "write the status";
    let status = |object: &K| -> Result<Value, kube::Error> {
        let mut object = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
        Ok(object.get_mut("status").map(Value::take).unwrap_or_default())
    };
    let changes = status(before).and_then(|before| Ok(changes(&before, &status(after)?)));
    let Some(changes) = changes.map_err(|source| WriteError::Failed { what: WHAT.into(), source })? else {
        return Ok(None);
    };
    let metadata = json!({"resourceVersion": before.resource_version(), "uid": before.uid()});
    let patch = Patch::Merge(json!({"metadata": metadata, "status": changes}));
    let request = request_of(&before.api(client));
    let request = request.patch_subresource("status", &before.name_any(), &patching(), &patch);
    outcome(send(client, request).await, WHAT).map(|answer| read_answer(&answer))
}

/// Sends a request. Whatever is in the answer, the write succeeded.
async fn send(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<String, kube::Error> {
    client.request_text(request.map_err(kube::Error::BuildRequest)?).await
}

/// The object in an answer.
fn read_answer<K: Readable>(answer: &str) -> Option<K> {
    let item: Item<K> = serde_json::from_str(answer).ok()?;
    Some(item.read().0)
}

fn request_of<K: Resource>(api: &Api<K>) -> Request {
    Request::new(api.resource_url())
}

async fn send_creation<K>(client: &Client, api: &Api<K>, object: &K) -> Result<String, kube::Error>
where
    K: Resource + Serialize,
{
    let content = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    send(client, request_of(api).create(&post(), content)).await
}

async fn send_replacement<K>(client: &Client, api: &Api<K>, object: &K) -> Result<String, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let content = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    send(client, request_of(api).replace(&object.name_any(), &post(), content)).await
}

async fn send_deletion<K: Resource>(
    client: &Client,
    api: &Api<K>,
    name: &str,
    parameters: &DeleteParams,
) -> Result<String, kube::Error> {
    send(client, request_of(api).delete(name, parameters)).await
}

async fn confirm_gone<K>(client: &Client, target: &Target) -> Result<Written<K>, WriteError> {
    let what = "look whether the target of a request is gone";
    let live = get_any(client, target.kind, target.namespace.as_deref(), &target.name).await;
    let live = confirmed(live, what)?;
    let is_there = live.is_some_and(|object| {
        let metadata = object.meta();
        metadata.uid.as_ref() == Some(&target.uid) && metadata.deletion_timestamp.is_none()
    });
    go_on_if(!is_there)
}

fn confirmed<T>(result: Result<T, kube::Error>, what: &'static str) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Failed { what: what.into(), source })
}

fn go_on_if<K>(as_assumed: bool) -> Result<Written<K>, WriteError> {
    if as_assumed { Ok(Written::Another) } else { Err(WriteError::Conflict) }
}

fn api_of<K>(client: &Client, child: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &child.namespace().unwrap_or_default())
}

async fn write_one<K>(
    client: &Client,
    api: &Api<K>,
    verb: Verb,
    child: &K,
) -> Result<Option<Child>, WriteError>
where
    K: Resource<DynamicType = ()> + Serialize + Readable + Into<Child>,
{
    let name = child.name_any();
    let (result, doing) = match verb {
        Verb::Create => (send_creation(client, api, child).await, "create"),
        Verb::Replace => (send_replacement(client, api, child).await, "put back"),
        Verb::Delete => {
            (send_deletion(client, api, &name, &guarded_deletion(child.uid(), None)).await, "delete")
        }
    };
    let place = child.namespace().map(|namespace| namespace + "/").unwrap_or_default();
    match result {
        // Gone already.
        Err(kube::Error::Api(status)) if verb == Verb::Delete && status.code == 404 => Ok(None),
        result => {
            let answer = outcome(result, format!("{doing} {} {place}{name}", K::kind(&())))?;
            Ok(if verb == Verb::Delete { None } else { read_answer::<K>(&answer).map(Into::into) })
        }
    }
}

/// All finalizers of an object but the operator's own. Of a great many only the first are known, so they are read again:
/// the list is written as a whole, on the version that was observed.
async fn all_finalizers<K: ApiObject>(
    client: &Client,
    object: &K,
    what: &'static str,
) -> Result<Vec<String>, WriteError> {
    #[derive(Deserialize)]
    struct Live {
        metadata: Finalizers,
    }
    #[derive(Deserialize)]
    struct Finalizers {
        #[serde(default)]
        finalizers: Vec<String>,
    }
    let mut finalizers = object.finalizers().to_vec();
    if finalizers.len() >= MOST_FINALIZERS {
        let get = request_of(&object.api(client)).get(&object.name_any(), &GetParams::default());
        let answer = outcome(send(client, get).await, what)?;
        let live: Live = confirmed(serde_json::from_str(&answer).map_err(kube::Error::SerdeError), what)?;
        finalizers = live.metadata.finalizers;
    }
    finalizers.retain(|name| name != FINALIZER);
    Ok(finalizers)
}

async fn patch_metadata<K: ApiObject>(
    client: &Client,
    object: &K,
    mut metadata: Value,
    what: &'static str,
) -> Result<Written<K>, WriteError> {
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("resourceVersion".into(), json!(object.resource_version()));
        fields.insert("uid".into(), json!(object.uid()));
    }
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let request = request_of(&object.api(client)).patch(&object.name_any(), &patching(), &patch);
    let answer = outcome(send(client, request).await, what)?;
    Ok(Written::TheObjectItself(read_answer(&answer).map(Box::new)))
}

fn patching() -> PatchParams {
    PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() }
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

fn outcome<T>(result: Result<T, kube::Error>, what: impl Into<Cow<'static, str>>) -> Result<T, WriteError> {
    match result {
        Ok(answer) => Ok(answer),
        // 404: it is gone. 409: it exists already, or is another version or another object.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(WriteError::Conflict),
        Err(error) if is_refused(&error) => Err(WriteError::NotLeading),
        Err(source) => Err(WriteError::Failed { what: what.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fence::NotLeading;

    /// Applied as RFC 7396 has it, the changes lead from one status to the other and touch nothing else.
    #[test]
    fn a_status_is_written_as_what_changes() {
        let (before, after) = (
            json!({"a": 1, "gone": 2, "deep": {"same": [1], "b": 1, "gone": {}}, "list": [1, 2]}),
            json!({"a": 1, "new": {"x": 1}, "deep": {"same": [1], "b": 2}, "list": [2]}),
        );
        let patch = json!({
            "gone": null, "new": {"x": 1}, "deep": {"b": 2, "gone": null}, "list": [2],
        });
        assert_eq!(changes(&before, &after), Some(patch));
        assert_eq!(changes(&after, &after), None);
        assert_eq!(changes(&Value::Null, &after), Some(after));
    }

    /// What is outdated needs no second attempt, but what was not sent does: access that is to be closed
    /// is still there.
    #[test]
    fn what_was_not_sent_is_not_taken_for_outdated() {
        let refused = kube::Error::Service(Box::new(NotLeading));
        assert!(matches!(outcome::<()>(Err(refused), "try"), Err(WriteError::NotLeading)));
        let gone = kube::Error::Api(Box::new(kube::core::Status { code: 404, ..Default::default() }));
        assert!(matches!(outcome::<()>(Err(gone), "try"), Err(WriteError::Conflict)));
    }
}
