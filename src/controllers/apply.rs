//! Carries out the writes of a plan, each with what has to be confirmed before it.

use std::fmt::Debug;
use std::time::Instant;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::writer::{Writer, get_any};

use crate::api::ApprovalRequest;
use crate::api::approval_request::Target;
use crate::api::names::FINALIZER;
use crate::api::reading::Item;
use crate::cluster::writes::{
    ApiObject, WriteError, all_finalizers, confirmed, guarded_deletion, outcome, patch_metadata,
    publish_status, read_answer, send_creation, send_deletion, send_replacement, write_child,
};
use crate::model::audit::records::enacted_status;
use crate::plan::Write;
use crate::plan::child::Child;
use crate::plan::namespace::desired::is_owned;

/// The object that a write touched.
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
            let after = patch_metadata(client, object, json!({"finalizers": finalizers}), WHAT).await?;
            Ok(Written::TheObjectItself(after.map(Box::new)))
        }
        Write::RemoveFinalizer => {
            const WHAT: &str = "remove the finalizer";
            let finalizers = all_finalizers(client, object, WHAT).await?;
            let after = patch_metadata(client, object, json!({"finalizers": finalizers}), WHAT).await?;
            Ok(Written::TheObjectItself(after.map(Box::new)))
        }
        Write::DeleteSelf => {
            let parameters = guarded_deletion(object.uid(), object.resource_version());
            let result = send_deletion(client, object, &parameters).await;
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
        Write::ConfirmPolicies { fingerprint, by } => {
            let confirmation = writer.confirm_policies(&fingerprint, by, since).await;
            go_on_if(confirmed(confirmation, "look at the admission policies again")?)
        }
        Write::CreateRequest(request) => {
            let result = send_creation(client, request.as_ref()).await;
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
            let result = send_creation(client, namespace.as_ref()).await;
            Ok(namespace_in(&outcome(result, "create the namespace")?))
        }
        Write::ReplaceNamespace(namespace) => {
            let result = send_replacement(client, namespace.as_ref()).await;
            Ok(namespace_in(&outcome(result, "put the namespace back")?))
        }
        Write::DeleteNamespace { name, uid } => {
            let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
            let namespace = Namespace { metadata, ..Namespace::default() };
            let result = send_deletion(client, &namespace, &guarded_deletion(Some(uid), None)).await;
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

fn go_on_if<K>(as_assumed: bool) -> Result<Written<K>, WriteError> {
    if as_assumed { Ok(Written::Another) } else { Err(WriteError::Conflict) }
}
