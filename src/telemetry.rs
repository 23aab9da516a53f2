//! The metrics of the process. Their names are for the alert rules and the dashboard in the chart too. What is in caches
//! is collected when somebody asks, so `kinds` is imported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use http::{Method, StatusCode};
use jiff::SignedDuration;
use kube::ResourceExt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::api::{ApprovalRequest, RecordType};
use crate::kinds::approval_request::index::RequestBy;
use crate::kinds::caches::Caches;
use crate::kinds::outbox::Outbox;
use crate::kinds::rbac::index::ActivationBy;

/// The metrics of this process. Object names are never labels.
#[derive(Clone)]
pub struct Metrics {
    /// 1 while this process holds the lease, else 0.
    pub leader: Gauge<i64, AtomicI64>,
    /// 1 while the API server runs the admission policies that the operator was built with, else 0; -1 while
    /// that is not known.
    pub policies_intact: Gauge<i64, AtomicI64>,
    /// The number of objects that give rights that nothing explains any more.
    pub overdue_revocations: Gauge<i64, AtomicI64>,
    decisions: Family<DecisionLabels, Histogram, fn() -> Histogram>,
    enactments: Family<KindLabels, Counter<u64, AtomicU64>>,
    reconciliations: Family<ReconciliationLabels, Counter<u64, AtomicU64>>,
    writes: Family<WriteLabels, Counter<u64, AtomicU64>>,
    deliveries: Family<DeliveryLabels, Counter<u64, AtomicU64>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DecisionLabels {
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReconciliationLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RoleLabels {
    role: String,
}

/// The resource and the verb of a write, and what became of it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    resource: String,
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeliveryLabels {
    sink: &'static str,
    outcome: &'static str,
}

/// The outcome of a reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything planned was done.
    Done,
    /// The admission policies were not compared yet.
    Waiting,
    /// The world moved on meanwhile; the reconciliation is tried again.
    Conflict,
    /// Something could not be written.
    Failed,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}

impl WriteLabels {
    /// Finds what a request writes, by its method and path: `/api/v1/…` or `/apis/GROUP/VERSION/…`.
    fn of(method: &Method, path: &str) -> Self {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "other",
        };
        let mut parts = path.trim_matches('/').split('/');
        let skipped = if parts.next() == Some("api") { 1 } else { 2 };
        let rest: Vec<&str> = parts.skip(skipped).collect();
        let (resource, subresource) = match rest.as_slice() {
            ["namespaces", _, resource, _, subresource, ..] => (*resource, Some(*subresource)),
            ["namespaces", _, resource, ..] => (*resource, None),
            [resource, _, subresource, ..] => (*resource, Some(*subresource)),
            [resource, ..] => (*resource, None),
            [] => ("", None),
        };
        let resource = subresource
            .map_or_else(|| resource.to_owned(), |subresource| format!("{resource}/{subresource}"));
        Self { resource, verb, outcome: "" }
    }
}

/// A decision takes from seconds to a week.
fn decision_times() -> Histogram {
    Histogram::new([60.0, 600.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let policies_intact = Gauge::default();
        policies_intact.set(-1);
        Self {
            leader: Gauge::default(),
            policies_intact,
            overdue_revocations: Gauge::default(),
            decisions: Family::new_with_constructor(decision_times),
            enactments: Family::default(),
            reconciliations: Family::default(),
            writes: Family::default(),
            deliveries: Family::default(),
        }
    }
}

impl Metrics {
    /// Counts a request that left Pending, so long after it was made.
    pub fn count_decision(&self, outcome: RecordType, after: SignedDuration) {
        let labels = DecisionLabels { outcome: format!("{outcome:?}") };
        self.decisions.get_or_create(&labels).observe(after.as_secs_f64());
    }

    /// Counts a change of an object of this kind that was recorded as applied, or a role that was activated.
    pub fn count_enactment(&self, kind: &str) {
        self.enactments.get_or_create(&KindLabels { kind: kind.to_owned() }).inc();
    }

    /// Counts a reconciliation.
    pub fn count_reconciliation(&self, kind: &str, outcome: Outcome) {
        let labels = ReconciliationLabels { kind: kind.to_owned(), outcome: outcome.label() };
        self.reconciliations.get_or_create(&labels).inc();
    }

    /// Counts a write by the status of its answer; without one it could not be made.
    pub fn count_write(&self, method: &Method, path: &str, answer: Option<StatusCode>) {
        let outcome = match answer {
            Some(status) if status.is_success() => "done",
            // Not what was observed any more.
            Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND) => "outdated",
            Some(status) if status.is_client_error() => "refused",
            Some(_) | None => "failed",
        };
        self.writes.get_or_create(&WriteLabels { outcome, ..WriteLabels::of(method, path) }).inc();
    }

    /// Counts something that a sink was given, by what became of it: `delivered`, `failed` or `given_up`.
    pub fn count_delivery(&self, sink: &'static str, outcome: &'static str) {
        self.deliveries.get_or_create(&DeliveryLabels { sink, outcome }).inc();
    }

    /// All metrics, those that follow from what is in the caches too.
    #[must_use]
    pub fn registry(&self, caches: &Caches, outbox: &Arc<Outbox>) -> Registry {
        let Self {
            leader,
            policies_intact,
            overdue_revocations,
            decisions,
            enactments,
            reconciliations,
            writes,
            deliveries,
        } = self.clone();
        let mut registry = Registry::with_prefix("enclave_operator");
        registry.register("leader", "1 while this process holds the lease and writes", leader.clone());
        registry.register(
            "overdue_revocations",
            "Roles and bindings that are over and were still there when it was last looked; they are taken away at once",
            overdue_revocations,
        );
        registry.register_with_unit(
            "request_decision",
            "How long requests were Pending until they were decided",
            Unit::Seconds,
            decisions,
        );
        registry.register("enactments", "Changes that were put into force", enactments);
        registry.register("reconciliations", "Reconciliations, by how they ended", reconciliations);
        registry.register("api_writes", "Writes to the API server, by what became of them", writes);
        registry.register(
            "deliveries",
            "Audit records and notifications that were given to a sink",
            deliveries,
        );
        let (caches, outbox) = (caches.clone(), Arc::clone(outbox));
        registry.register_collector(Box::new(Cached { caches, outbox, policies_intact, leader }));
        registry
    }
}

/// The metrics that follow from the caches, computed when they are asked for.
struct Cached {
    caches: Caches,
    outbox: Arc<Outbox>,
    policies_intact: Gauge<i64, AtomicI64>,
    leader: Gauge<i64, AtomicI64>,
}

impl std::fmt::Debug for Cached {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cached")
    }
}

impl Collector for Cached {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let requests = &self.caches.requests;
        let mut pending: BTreeMap<String, (i64, f64)> = BTreeMap::new();
        for (kind, count) in requests.values(RequestBy::PendingKind) {
            let made = |request: &Arc<ApprovalRequest>| {
                request.creation_timestamp().map_or(f64::MAX, |at| at.0.as_duration().as_secs_f64())
            };
            let oldest = requests.by(RequestBy::PendingKind, &kind).iter().map(made).fold(f64::MAX, f64::min);
            pending.insert(kind.into(), (i64::try_from(count).unwrap_or(i64::MAX), oldest));
        }
        let active = self.caches.activations.values(ActivationBy::ActiveRole).into_iter();
        let active: BTreeMap<String, i64> =
            active.map(|(role, count)| (role.into(), i64::try_from(count).unwrap_or(i64::MAX))).collect();
        // A process that does not lead, or has not compared the policies yet, does not say that they are not intact.
        let intact = self.policies_intact.get();
        if self.leader.get() == 1 && intact >= 0 {
            let gauge = encoder.encode_descriptor(
                "admission_policies_intact",
                "1 while the API server runs the admission policies that the operator was built with; otherwise nothing new is enacted; reported by the replica that leads",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(intact).encode(gauge)?;
        }
        let unreadable = self.caches.unreadable.by_kind().into_iter();
        let unreadable =
            unreadable.map(|(kind, count)| (KindLabels { kind }, i64::try_from(count).unwrap_or(i64::MAX)));
        encode_gauges(
            &mut encoder,
            "unreadable_objects",
            "Objects of which a field cannot be read, by kind, up to 100000 of each; the log names 1000 of them",
            unreadable,
        )?;
        let audit_outbox_pending = i64::try_from(self.outbox.count(&self.caches)).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor(
            "audit_outbox_pending",
            "Audit records that not every sink of the audit stream has accepted yet",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(audit_outbox_pending).encode(gauge)?;
        let counts = pending.iter().map(|(kind, (count, _))| (KindLabels { kind: kind.clone() }, *count));
        encode_gauges(
            &mut encoder,
            "pending_requests",
            "ApprovalRequests that are undecided, by the kind of their target",
            counts,
        )?;
        let oldest = pending.iter().map(|(kind, (_, oldest))| (KindLabels { kind: kind.clone() }, *oldest));
        encode_gauges(
            &mut encoder,
            "oldest_pending_request_timestamp_seconds",
            "When the oldest undecided ApprovalRequest was made, in seconds since 1970",
            oldest,
        )?;
        let active = active.into_iter().map(|(role, count)| (RoleLabels { role }, count));
        encode_gauges(&mut encoder, "active_activations", "RoleActivations that give a role now", active)
    }
}

fn encode_gauges<L, N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, N)>,
) -> Result<(), std::fmt::Error>
where
    L: EncodeLabelSet,
    N: prometheus_client::encoding::EncodeGaugeValue + Copy,
{
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_known_by_its_path() {
        for (method, path, verb, resource) in [
            (Method::POST, "/api/v1/namespaces", "create", "namespaces"),
            (Method::DELETE, "/api/v1/namespaces/acme", "delete", "namespaces"),
            (Method::PUT, "/api/v1/namespaces/acme/resourcequotas/q", "update", "resourcequotas"),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/acme/events", "create", "events"),
            (
                Method::PUT,
                "/apis/enclave-operator.io/v1alpha1/namespaces/acme/enclaves/payments/status",
                "update",
                "enclaves/status",
            ),
            (
                Method::PUT,
                "/apis/enclave-operator.io/v1alpha1/communities/acme/status",
                "update",
                "communities/status",
            ),
            (Method::PATCH, "/apis/enclave-operator.io/v1alpha1/communities/acme", "patch", "communities"),
        ] {
            let labels = WriteLabels::of(&method, path);
            assert_eq!((labels.verb, labels.resource.as_str()), (verb, resource), "{path}");
        }
    }

    #[test]
    fn a_write_counts_by_what_became_of_it() {
        let metrics = Metrics::default();
        let (method, path) = (Method::PUT, "/api/v1/namespaces/acme");
        for (answer, outcome) in [
            (Some(StatusCode::OK), "done"),
            (Some(StatusCode::CONFLICT), "outdated"),
            (Some(StatusCode::FORBIDDEN), "refused"),
            (Some(StatusCode::INTERNAL_SERVER_ERROR), "failed"),
            (None, "failed"),
        ] {
            let labels = WriteLabels { outcome, ..WriteLabels::of(&method, path) };
            let before = metrics.writes.get_or_create(&labels).get();
            metrics.count_write(&method, path, answer);
            assert_eq!(metrics.writes.get_or_create(&labels).get(), before + 1, "{outcome}");
        }
    }
}
