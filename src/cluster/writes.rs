//! Guarded writes: each succeeds only on the version that was observed.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{DynamicObject, Request};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::confirm::Confirmations;
use super::fence::is_refused;
use crate::admission::{Policies, PolicyIdentity};
use crate::api::approval_request::Target;
use crate::api::names::{FINALIZER, OPERATOR, label};
use crate::api::reading::{AnyKind, Item, Readable};
use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, Kind, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use crate::model::facts::enacted_status;
use crate::model::scope::RulesOrigin;
use crate::plan::child::{Child, Verb};
use crate::plan::place::is_owned;
use crate::plan::{ConfirmBy, Write};

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
pub trait Served: Readable + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
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

/// What a write touched.
#[derive(Debug)]
pub enum Written<K> {
    /// The reconciled object itself, so that the observed version is old now; as it is by then, unless it is
    /// being deleted.
    TheObjectItself(Option<Box<K>>),
    /// A request about it; as it is by then.
    Request(Box<ApprovalRequest>),
    /// Something else, or nothing.
    Another,
}

/// Makes writes, and the reads that have to precede some of them.
pub struct Writer {
    pub client: Client,
    /// The admission policies that the watches know.
    known_policies: Box<dyn Fn() -> Policies + Send + Sync>,
    confirmations: Confirmations<Confirmed, String>,
    /// When the votes of a request were counted last, by its UID; of the latest requests.
    counted: Mutex<VecDeque<(String, Instant)>>,
}

/// What is read once more before something takes effect.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Confirmed {
    /// The fingerprint of the admission policies, each read by itself.
    PoliciesOneByOne,
    /// The same, read as lists.
    PoliciesListed,
    /// UID and digest of what is applied of an object that carries rules.
    Rules(Kind, Option<String>, String),
}

impl Writer {
    /// Writes with this client. `known_policies` are the admission policies that the watches know.
    #[must_use]
    pub fn new(client: Client, known_policies: impl Fn() -> Policies + Send + Sync + 'static) -> Self {
        let known_policies = Box::new(known_policies);
        Self { client, known_policies, confirmations: Confirmations::default(), counted: Mutex::default() }
    }

    async fn confirm_policies<K>(
        &self,
        witness: &str,
        by: ConfirmBy,
        since: Instant,
    ) -> Result<Written<K>, WriteError> {
        let one_by_one = || get_policies(&self.client, (self.known_policies)());
        let listed = || async { list_policies(&self.client).await.map(|live| live.fingerprint()) };
        let live = match by {
            ConfirmBy::Get => self.confirmations.read(Confirmed::PoliciesOneByOne, since, one_by_one).await,
            ConfirmBy::CountingVotes(request) => {
                self.note_votes(request, since);
                self.confirmations.read(Confirmed::PoliciesOneByOne, since, one_by_one).await
            }
            ConfirmBy::VotesCounted(request) => {
                let since = self.votes_counted(&request).unwrap_or(since);
                self.confirmations.read(Confirmed::PoliciesOneByOne, since, one_by_one).await
            }
            ConfirmBy::List => self.confirmations.read(Confirmed::PoliciesListed, since, listed).await,
        };
        go_on_if(confirmed(live, "look at the admission policies again")? == witness)
    }

    /// The votes of a request, all that had been seen at that time, are being counted.
    fn note_votes(&self, request: String, at: Instant) {
        const MOST: usize = 1024;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|(known, _)| *known != request);
        if counted.len() == MOST {
            counted.pop_front();
        }
        counted.push_back((request, at));
    }

    /// When the votes of a request were counted last, if it is known.
    fn votes_counted(&self, request: &str) -> Option<Instant> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.iter().find(|(known, _)| known == request).map(|(_, at)| *at)
    }

    async fn confirm_rules<K>(&self, origin: &RulesOrigin, since: Instant) -> Result<Written<K>, WriteError> {
        let RulesOrigin { kind, namespace, name, uid, digest } = origin;
        let read = || async {
            let live = get_any(&self.client, *kind, namespace.as_deref(), name).await?;
            let describe = |live: AnyKind| {
                let uid = live.meta().uid.clone().unwrap_or_default();
                describe_rules(&uid, &live.applied_digest().unwrap_or_default())
            };
            Ok(live.map(describe).unwrap_or_default())
        };
        let what = Confirmed::Rules(*kind, namespace.clone(), name.clone());
        let live = self.confirmations.read(what, since, read);
        go_on_if(confirmed(live.await, "look at the approval rules again")? == describe_rules(uid, digest))
    }
}

fn describe_rules(uid: &str, digest: &str) -> String {
    format!("{uid} {digest}")
}

/// Makes one write on behalf of `object`. What has to be confirmed for it is read at `since` or later.
///
/// # Errors
/// [`WriteError::Outdated`] when the world moved on, [`WriteError::Failed`] otherwise.
pub async fn apply_write<K: Served>(
    writer: &Writer,
    object: &K,
    write: Write,
    since: Instant,
) -> Result<Written<K>, WriteError> {
    let client = &writer.client;
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
            let result = send_deletion(client, &object.api(client), &object.name_any(), &parameters).await;
            outcome(result, "delete the object").map(|_| Written::TheObjectItself(None))
        }
        Write::ConfirmTargetGone(target) => confirm_gone(client, &target).await,
        Write::ConfirmNamespaceGone { name, owner_uid } => {
            let api: Api<Item<Namespace>> = Api::all(client.clone());
            let live = confirmed(api.get_opt(&name).await, "look whether the namespace is gone")?;
            go_on_if(live.is_none_or(|namespace| !is_owned(&namespace.read().0, &owner_uid)))
        }
        Write::ConfirmRules(origin) => writer.confirm_rules(&origin, since).await,
        Write::ConfirmPolicies { witness, by } => writer.confirm_policies(&witness, by, since).await,
        Write::CreateRequest(request) => {
            let result = send_creation(client, &request.api(client), request.as_ref()).await;
            outcome(result, "create the ApprovalRequest").map(|_| Written::Another)
        }
        Write::MarkEnacted { request, at } => {
            let status = Some(enacted_status(&request, at));
            let enacted = ApprovalRequest { status, ..ApprovalRequest::clone(&request) };
            let written = publish_status(client, request.as_ref(), &enacted).await?;
            Ok(written.map_or(Written::Another, |request| Written::Request(Box::new(request))))
        }
        Write::CreateNamespace(namespace) => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = send_creation(client, &api, namespace.as_ref()).await;
            outcome(result, "create the namespace").map(|_| Written::Another)
        }
        Write::ReplaceNamespace(namespace) => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = send_replacement(client, &api, namespace.as_ref()).await;
            outcome(result, "put the namespace back").map(|_| Written::Another)
        }
        Write::DeleteNamespace { name, uid } => {
            let api: Api<Namespace> = Api::all(client.clone());
            let result = send_deletion(client, &api, &name, &guarded_deletion(Some(uid), None)).await;
            outcome(result, "delete the namespace").map(|_| Written::Another)
        }
        Write::Child(verb, child) => write_child(client, verb, child).await.map(|()| Written::Another),
    }
}

/// Makes, puts back or takes away something.
///
/// # Errors
/// As [`apply_write`].
pub async fn write_child(client: &Client, verb: Verb, child: Child) -> Result<(), WriteError> {
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
pub async fn publish_status<K: Served>(
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

/// The JSON merge patch (RFC 7396) that makes one value of another; `None` when they are equal.
fn changes(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return Some(after.clone()) };
    let changed = after.iter().filter_map(|(key, value)| {
        let change = before.get(key).map_or_else(|| Some(value.clone()), |before| changes(before, value));
        Some((key.clone(), change?))
    });
    let removed = before.keys().filter(|key| !after.contains_key(*key));
    Some(Value::Object(changed.chain(removed.map(|key| (key.clone(), Value::Null))).collect()))
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

async fn get_any(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<AnyKind>, kube::Error> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource()),
        None => Api::all_with(client.clone(), &kind.resource()),
    };
    let request = request_of(&api).get(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    match client.request(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        found => found.map(Some),
    }
}

async fn list_policies(client: &Client) -> Result<Policies, kube::Error> {
    let (mutating, mutating_bindings, validating, validating_bindings) =
        futures::try_join!(list_all(client), list_all(client), list_all(client), list_all(client))?;
    Ok(Policies { mutating, mutating_bindings, validating, validating_bindings })
}

async fn list_all<K>(client: &Client) -> Result<Vec<K>, kube::Error>
where
    K: Readable + Debug + 'static,
{
    let parameters = ListParams::default().labels(&format!("{}={OPERATOR}", label::PART_OF));
    let api: Api<Item<K>> = Api::all(client.clone());
    Ok(api.list(&parameters).await?.items.into_iter().map(|item| item.read().0).collect())
}

/// The fingerprint of the admission policies that the watches know, each read anew. One of that name that the
/// watches do not know yet is not among them, and makes no difference to those that must be there.
async fn get_policies(client: &Client, known: Policies) -> Result<String, kube::Error> {
    async fn get_all<K>(client: &Client, known: &[K]) -> Result<Vec<PolicyIdentity>, kube::Error>
    where
        K: Readable + 'static,
    {
        let api: Api<Item<K>> = Api::all(client.clone());
        let reads = known.iter().map(|policy| {
            let (api, name) = (api.clone(), policy.name_any());
            async move { api.get_opt(&name).await }
        });
        let found = futures::future::try_join_all(reads).await?;
        Ok(found.iter().flatten().filter_map(PolicyIdentity::of).collect())
    }
    let Policies { mutating, mutating_bindings, validating, validating_bindings } = known;
    let (mutating, mutating_bindings, validating, validating_bindings) = futures::try_join!(
        get_all(client, &mutating),
        get_all(client, &mutating_bindings),
        get_all(client, &validating),
        get_all(client, &validating_bindings),
    )?;
    Ok(PolicyIdentity::fingerprint([mutating, mutating_bindings, validating, validating_bindings].concat()))
}

fn confirmed<T>(result: Result<T, kube::Error>, what: &'static str) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Failed { what: what.into(), source })
}

fn go_on_if<K>(as_assumed: bool) -> Result<Written<K>, WriteError> {
    if as_assumed { Ok(Written::Another) } else { Err(WriteError::Outdated) }
}

fn api_of<K>(client: &Client, child: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &child.namespace().unwrap_or_default())
}

async fn write_one<K>(client: &Client, api: &Api<K>, verb: Verb, child: &K) -> Result<(), WriteError>
where
    K: Resource<DynamicType = ()> + Serialize,
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
    outcome(result, format!("{doing} {} {place}{name}", K::kind(&()))).map(drop)
}

async fn patch_metadata<K: Served>(
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
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(WriteError::Outdated),
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
        assert!(matches!(outcome::<()>(Err(gone), "try"), Err(WriteError::Outdated)));
    }
}
