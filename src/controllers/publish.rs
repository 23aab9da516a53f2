//! Publishes what a reconciliation found: the status, what becomes true with it, and the Events.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use tracing::info;

use super::context::{Context, Work};

use crate::api::audit::{AuditRecord, RecordType};
use crate::api::names::{condition, reason};
use crate::cluster::writes::{ApiObject, WriteError, add_finalizer, publish_status};
use crate::kinds::controller::Controller;
use crate::model::approval::gated::has_finalizer;
use crate::model::audit::records::append;
use crate::plan::{PlannedEvent, Severity};
use crate::telemetry::Metrics;

/// Writes a status, with the audit records that become true with it, if it differs from the one before. The
/// finalizer is added before the first record is added, so that no object goes with undelivered records. Returns
/// how long delivered records may stay, if removing them is all there would be to write.
pub(super) async fn publish<K: Controller>(
    object: &K,
    context: &Context,
    Work { queue, key }: Work<'_>,
    status: K::Status,
    records: Vec<AuditRecord>,
    events: Vec<PlannedEvent>,
) -> Result<Option<Duration>, WriteError> {
    let sent = Instant::now();
    let status = with_foreign_conditions(object, status);
    let mut status = with_records(object, status, &records, context);
    if !K::audit_mut(&mut status).is_empty() && is_without_finalizer(object) {
        if let Some(after) = add_finalizer(&context.writer.client, object).await? {
            context.enqueuer.take_in_written(after, sent);
        }
        return Ok(None);
    }
    if object.status() == Some(&status) {
        return Ok(None);
    }
    if let Some(wait) = prune_after(object, &mut status, context) {
        return Ok(Some(wait));
    }
    let applying = (object.status().and_then(K::applied) != K::applied(&status))
        .then(|| context.writer.before_applying(object))
        .flatten();
    let only_shows =
        records.is_empty() && object.status().is_some_and(|before| K::only_shows(before, &status));
    let after = publish_status(&context.writer.client, object, &object.with_status(status)).await?;
    // Whatever the status concerns goes on at once, without waiting for the watch to bring it.
    if let Some(after) = after {
        let unmarked = queue.unmarked(key).filter(|_| only_shows);
        let is_new = context.enqueuer.take_in_written(after, sent);
        if let Some(added) = unmarked.filter(|_| is_new) {
            queue.clear_mark(key, added);
        }
        if let Some(applying) = applying {
            applying.is_known();
        }
    }
    count_records(object, &records, &context.metrics);
    for event in events {
        info!(
            kind = %K::kind(&()),
            namespace = object.namespace(),
            name = object.name_any(),
            reason = event.reason,
            message = event.message,
        );
        context.events.publish(object.object_ref(&()), event);
    }
    Ok(None)
}

/// Returns how long a status need not be written that differs only by delivered records, which are removed from it.
fn prune_after<K: Controller>(object: &K, status: &mut K::Status, context: &Context) -> Option<Duration> {
    // The finalizer of the object waits for their removal.
    if object.meta().deletion_timestamp.is_some() {
        return None;
    }
    let mut before = object.status()?.clone();
    let next = K::audit_mut(status).clone();
    let stored = std::mem::replace(K::audit_mut(&mut before), next.clone());
    let only_prunes = before == *status
        && stored.recorded == next.recorded
        && next.waiting.iter().all(|record| stored.waiting.contains(record));
    let wait = context.enqueuer.outbox.prune_after(&object.uid().unwrap_or_default(), &stored);
    (only_prunes && !wait.is_zero()).then_some(wait)
}

/// Nobody can put one on what is being deleted already.
fn is_without_finalizer<K: ApiObject>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none() && !has_finalizer(object)
}

/// A status with the conditions of types that only another version knows, after its own.
fn with_foreign_conditions<K: Controller>(object: &K, mut status: K::Status) -> K::Status {
    let before = object.status().map(K::conditions).unwrap_or_default();
    let is_foreign = |one: &&Condition| !condition::ALL.contains(&one.type_.as_str());
    // Where the plan left the status as it is, they are there.
    if !K::conditions(&status).iter().any(|one| is_foreign(&one)) {
        K::conditions_mut(&mut status).extend(before.iter().filter(is_foreign).cloned());
    }
    status
}

/// Returns a status with the records that become true with it, and without those that everybody has taken.
fn with_records<K: Controller>(
    object: &K,
    mut status: K::Status,
    records: &[AuditRecord],
    context: &Context,
) -> K::Status {
    let audit = K::audit_mut(&mut status);
    append(audit, records.iter().cloned());
    context.enqueuer.outbox.prune_delivered(&object.uid().unwrap_or_default(), audit);
    status
}

fn count_records<K: Controller>(object: &K, records: &[AuditRecord], metrics: &Metrics) {
    for record in records {
        let made = object.creation_timestamp().map_or(record.at.0, |at| at.0);
        match record.type_ {
            RecordType::Enacted | RecordType::Activated => metrics.count_enactment(&K::kind(&())),
            RecordType::Decided | RecordType::Expired | RecordType::Superseded | RecordType::Withdrawn => {
                metrics.count_decision(record.type_, record.at.0.duration_since(made));
            }
            _ => {}
        }
    }
}

/// Shows that reconciling fails again and again.
pub(super) async fn publish_degraded<K: Controller>(
    context: &Context,
    object: &K,
    work: Work<'_>,
    planned: Option<K::Status>,
    message: &str,
) {
    let now = context.clock.now();
    let Some(status) = object.degraded_status(planned, message, now) else { return };
    let event =
        PlannedEvent { severity: Severity::Warning, reason: reason::DEGRADED, message: message.to_owned() };
    // Whoever reconciles it again tries again to show it.
    let records = object.records(&status, now);
    let _ = publish(object, context, work, status, records, vec![event]).await;
}
