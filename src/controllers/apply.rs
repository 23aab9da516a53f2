//! Carries out a plan: its repairs, its writes, each with what has to be confirmed before it, and last the status.

use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use kube::{Api, Client, ResourceExt};
use tracing::debug;

use super::context::{CONCURRENCY, Context, Work};
use super::publish::publish;
use super::writer::{Writer, get_any};

use crate::api::ApprovalRequest;
use crate::api::approval_request::Target;
use crate::api::reading::Item;
use crate::cluster::writes::{
    ApiObject, WriteError, add_finalizer, confirmed, guarded_deletion, outcome, publish_status, read_answer,
    remove_finalizer, send_creation, send_deletion, send_replacement, write_child,
};
use crate::kinds::controller::Controller;
use crate::model::audit::records::enacted_status;
use crate::plan::child::Child;
use crate::plan::namespace::desired::is_owned;
use crate::plan::{Plan, Write};

/// The object that a write touched.
#[derive(Debug)]
enum Written<K> {
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

/// The part of a plan that was carried out.
pub(super) enum Carried {
    /// The object itself was written, so the observed version is old now. The rest is done with the object as it is by
    /// then.
    ObjectWritten,
    /// Everything was done. Delivered records may stay in the status for this time.
    Published { prune_after: Option<Duration> },
}

/// A reconciliation that did not succeed.
pub(super) struct Failed<S> {
    pub error: WriteError,
    /// The status that would be true but for the error.
    pub planned: Option<S>,
    /// When something ends that is to be closed.
    pub ends_in: Option<Duration>,
}

impl<S> From<WriteError> for Failed<S> {
    fn from(error: WriteError) -> Self {
        Self { error, planned: None, ends_in: None }
    }
}

/// Makes the writes of a plan and publishes its status.
pub(super) async fn carry_out<K: Controller>(
    object: &K,
    context: &Context,
    work: Work<'_>,
    plan: Plan<K::Status>,
    failure: Option<WriteError>,
    (since, now): (Instant, Timestamp),
) -> Result<Carried, Failed<K::Status>> {
    let Plan { repairs: _, writes, beside, status, events, requeue_at: _, waits_for_requests: _ } = plan;
    let records = status.as_ref().map(|status| object.records(status, now)).unwrap_or_default();
    for write in writes {
        // The records that become true with the end of the object are recorded first.
        if write == Write::RemoveFinalizer && !records.is_empty() {
            break;
        }
        debug!(kind = %K::kind(&()), name = object.name_any(), ?write, "writing");
        // The rules of the object go with its finalizer.
        let applying =
            (write == Write::RemoveFinalizer).then(|| context.writer.before_applying(object)).flatten();
        match apply_write(&context.writer, object, write, since).await? {
            Written::Another => {}
            Written::Namespace(namespace) => {
                context.enqueuer.take_in_written(*namespace, since);
            }
            Written::Child(child) => context.enqueuer.take_in_child(child, since),
            Written::Request(request) => {
                if request.status.as_ref().is_some_and(|status| status.enacted_at.is_some()) {
                    context.metrics.count_enactment(&K::kind(&()));
                }
                context.enqueuer.take_in_written(*request, since);
            }
            // The observed version is old now. The rest is done with the object as it is by then.
            Written::TheObjectItself(after) => {
                if let Some(after) = after {
                    context.enqueuer.take_in_written(*after, since);
                }
                if let Some(applying) = applying {
                    applying.is_gone();
                }
                return failure.map_or(Ok(Carried::ObjectWritten), |error| Err(error.into()));
            }
        }
    }
    // A status that says that all is well is not published while a repair fails.
    if let Some(error) = failure {
        return Err(Failed { error, planned: status, ends_in: None });
    }
    let Some(status) = status.or_else(|| object.status().cloned()) else {
        return Ok(Carried::Published { prune_after: None });
    };
    let confirm = beside.into_iter().map(|write| apply_write(&context.writer, object, write, since));
    // Whoever acts on the status confirms the same, so what comes of it is not looked at here.
    let published = publish(object, context, work, status, records, events);
    let (published, _) = futures::join!(published, futures::future::join_all(confirm));
    Ok(Carried::Published { prune_after: published? })
}

/// Makes repairs, several at a time as long as they are of one sort: what closes is done before anything
/// opens. Returns the first failure.
pub(super) async fn repair_all<K: Controller>(
    object: &K,
    context: &Context,
    repairs: Vec<Write>,
    since: Instant,
) -> Option<WriteError> {
    let mut repairs = repairs.into_iter().peekable();
    let mut failure = None;
    while let Some(first) = repairs.next() {
        let sort = first.sort();
        let more = std::iter::from_fn(|| repairs.next_if(|next| next.sort() == sort));
        let results: Vec<_> = futures::stream::iter(std::iter::once(first).chain(more))
            .map(|repair| {
                debug!(kind = %K::kind(&()), name = object.name_any(), ?repair, "repairing");
                repair_one(object, context, repair, since)
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        failure = failure.or(results.into_iter().find_map(Result::err));
    }
    failure
}

async fn repair_one<K: Controller>(
    object: &K,
    context: &Context,
    repair: Write,
    since: Instant,
) -> Result<(), WriteError> {
    match apply_write(&context.writer, object, repair, since).await? {
        Written::Namespace(namespace) => {
            context.enqueuer.take_in_written(*namespace, since);
        }
        Written::Child(child) => context.enqueuer.take_in_child(child, since),
        Written::TheObjectItself(_) | Written::Request(_) | Written::Another => {}
    }
    Ok(())
}

/// Makes one write on behalf of `object`. What has to be confirmed for it is read at `since` or later.
///
/// # Errors
/// [`WriteError::Conflict`] when the world moved on, [`WriteError::Failed`] otherwise.
async fn apply_write<K: ApiObject>(
    writer: &Writer,
    object: &K,
    write: Write,
    since: Instant,
) -> Result<Written<K>, WriteError> {
    let client = &writer.client;
    match write {
        Write::AddFinalizer => {
            Ok(Written::TheObjectItself(add_finalizer(client, object).await?.map(Box::new)))
        }
        Write::RemoveFinalizer => {
            Ok(Written::TheObjectItself(remove_finalizer(client, object).await?.map(Box::new)))
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
            continue_if(live.is_none_or(|namespace| !is_owned(&namespace.read().0, &owner_uid)))
        }
        Write::ConfirmRules(origin) => {
            let confirmation = writer.confirm_rules(&origin, since).await;
            continue_if(confirmed(confirmation, "look at the approval rules again")?)
        }
        Write::ConfirmPolicies { fingerprint, by } => {
            let confirmation = writer.confirm_policies(&fingerprint, by, since).await;
            continue_if(confirmed(confirmation, "look at the admission policies again")?)
        }
        Write::CreateRequest(request) => {
            let result = send_creation(client, request.as_ref()).await;
            let answer = outcome(result, "create the ApprovalRequest")?;
            Ok(read_answer(&answer).map_or(Written::Another, |made| Written::Request(Box::new(made))))
        }
        Write::MarkEnacted { request, at } => {
            let mut status = enacted_status(&request, at);
            (writer.prune_delivered)(&request.uid().unwrap_or_default(), &mut status.audit);
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
    continue_if(!is_there)
}

fn continue_if<K>(as_assumed: bool) -> Result<Written<K>, WriteError> {
    if as_assumed { Ok(Written::Another) } else { Err(WriteError::Conflict) }
}
