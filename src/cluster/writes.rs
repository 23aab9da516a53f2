//! Guarded writes: each succeeds only on the version that was observed.

use std::borrow::Cow;
use std::fmt::Debug;

use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fence::is_refused;

use crate::api::entry::changes;
use crate::api::names::{FINALIZER, OPERATOR};
use crate::api::reading::{Item, MOST_FINALIZERS, Readable};
use crate::plan::child::{Child, Verb};

/// A write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object is not what was observed any more. This is no failure: the watch brings the news, and the
    /// object is looked at again.
    #[error("the object changed in the meantime")]
    Conflict,
    /// The write was not sent, or its answer came too late, because this process does not hold the lease now.
    /// Whoever leads does it; that can be this process again.
    #[error("this process does not lead now")]
    NotLeading,
    /// The API server refused, or could not be reached.
    #[error("failed to {what}")]
    Failed {
        /// The action that was tried, in words.
        what: Cow<'static, str>,
        /// The cause of the failure.
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

/// A kind whose objects are read and written.
pub trait ApiObject: Readable + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<K> ApiObject for K where
    K: Readable + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// Creates, replaces or deletes a child. Returns it as it is then, unless it was deleted.
///
/// # Errors
/// [`WriteError::Conflict`] when the world moved on, [`WriteError::Failed`] otherwise.
pub async fn write_child(client: &Client, verb: Verb, child: Child) -> Result<Option<Child>, WriteError> {
    match child {
        Child::NetworkPolicy(child) => write_one(client, verb, &*child).await,
        Child::CiliumNetworkPolicy(child) => write_one(client, verb, &*child).await,
        Child::ResourceQuota(child) => write_one(client, verb, &*child).await,
        Child::LimitRange(child) => write_one(client, verb, &*child).await,
        Child::Role(child) => write_one(client, verb, &*child).await,
        Child::RoleBinding(child) => write_one(client, verb, &*child).await,
        Child::ClusterRole(child) => write_one(client, verb, &*child).await,
        Child::ClusterRoleBinding(child) => write_one(client, verb, &*child).await,
    }
}

/// Writes what is new in the status of an object, on the version that was observed. What is stored there
/// besides, by a version that knows more, stays. Returns the object as it is then, if anything was new.
///
/// # Errors
/// [`WriteError::Conflict`] when the world moved on, [`WriteError::Failed`] otherwise.
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
    let request = request_of(before);
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
pub(crate) fn read_answer<K: Readable>(answer: &str) -> Option<K> {
    let item: Item<K> = serde_json::from_str(answer).ok()?;
    Some(item.read().0)
}

/// A request to where an object is.
fn request_of<K: Resource<DynamicType = ()>>(object: &K) -> Request {
    Request::new(K::url_path(&(), object.meta().namespace.as_deref()))
}

/// Makes an object. Returns the answer.
///
/// # Errors
/// As the API server answers.
pub async fn send_creation<K>(client: &Client, object: &K) -> Result<String, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let content = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    send(client, request_of(object).create(&post(), content)).await
}

/// Replaces an object on the version that it has. Returns the answer.
///
/// # Errors
/// As the API server answers.
pub async fn send_replacement<K>(client: &Client, object: &K) -> Result<String, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let content = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    send(client, request_of(object).replace(&object.name_any(), &post(), content)).await
}

/// Deletes an object, if it is still what the preconditions say.
///
/// # Errors
/// As the API server answers.
pub async fn send_deletion<K: Resource<DynamicType = ()>>(
    client: &Client,
    object: &K,
    parameters: &DeleteParams,
) -> Result<String, kube::Error> {
    send(client, request_of(object).delete(&object.name_any(), parameters)).await
}

pub(crate) fn confirmed<T>(result: Result<T, kube::Error>, what: &'static str) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Failed { what: what.into(), source })
}

async fn write_one<K>(client: &Client, verb: Verb, child: &K) -> Result<Option<Child>, WriteError>
where
    K: Resource<DynamicType = ()> + Serialize + Readable + Into<Child>,
{
    let name = child.name_any();
    let (result, doing) = match verb {
        Verb::Create => (send_creation(client, child).await, "create"),
        Verb::Replace => (send_replacement(client, child).await, "put back"),
        Verb::Delete => (send_deletion(client, child, &guarded_deletion(child.uid(), None)).await, "delete"),
    };
    let prefix = child.namespace().map(|namespace| namespace + "/").unwrap_or_default();
    match result {
        // Gone already.
        Err(kube::Error::Api(status)) if verb == Verb::Delete && status.code == 404 => Ok(None),
        result => {
            let answer = outcome(result, format!("{doing} {} {prefix}{name}", K::kind(&())))?;
            Ok(if verb == Verb::Delete { None } else { read_answer::<K>(&answer).map(Into::into) })
        }
    }
}

/// Puts the operator's finalizer on an object. Returns the object as it is then, unless it is being deleted.
pub(crate) async fn add_finalizer<K: ApiObject>(
    client: &Client,
    object: &K,
) -> Result<Option<K>, WriteError> {
    const WHAT: &str = "add the finalizer";
    let mut finalizers = all_finalizers(client, object, WHAT).await?;
    finalizers.push(FINALIZER.to_owned());
    patch_metadata(client, object, json!({"finalizers": finalizers}), WHAT).await
}

/// Takes the operator's finalizer off an object. Returns the object as it is then, unless it is gone.
pub(crate) async fn remove_finalizer<K: ApiObject>(
    client: &Client,
    object: &K,
) -> Result<Option<K>, WriteError> {
    const WHAT: &str = "remove the finalizer";
    let finalizers = all_finalizers(client, object, WHAT).await?;
    patch_metadata(client, object, json!({"finalizers": finalizers}), WHAT).await
}

/// All finalizers of an object but the operator's own. Of a great many only the first are known, so they are read
/// again: the list is written as a whole, on the version that was observed.
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
        let get = request_of(object).get(&object.name_any(), &GetParams::default());
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
) -> Result<Option<K>, WriteError> {
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("resourceVersion".into(), json!(object.resource_version()));
        fields.insert("uid".into(), json!(object.uid()));
    }
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let request = request_of(object).patch(&object.name_any(), &patching(), &patch);
    let answer = outcome(send(client, request).await, what)?;
    Ok(read_answer(&answer))
}

fn patching() -> PatchParams {
    PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() }
}

pub(crate) fn guarded_deletion(uid: Option<String>, resource_version: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version }),
        ..DeleteParams::background()
    }
}

pub(crate) fn outcome<T>(
    result: Result<T, kube::Error>,
    what: impl Into<Cow<'static, str>>,
) -> Result<T, WriteError> {
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

    /// A conflict needs no second attempt, but a write that was not sent does: access that is to be closed is
    /// still there.
    #[test]
    fn what_was_not_sent_is_not_taken_for_outdated() {
        let refused = kube::Error::Service(Box::new(NotLeading));
        assert!(matches!(outcome::<()>(Err(refused), "try"), Err(WriteError::NotLeading)));
        let gone = kube::Error::Api(Box::new(kube::core::Status { code: 404, ..Default::default() }));
        assert!(matches!(outcome::<()>(Err(gone), "try"), Err(WriteError::Conflict)));
    }
}
