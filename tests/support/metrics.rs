//! What the operator measures, for tests of what reads it and of what makes it.

/// The names, without their prefix. One that is not here would never fire an alert nor draw anything;
/// `api::metrics` finds all of them at a running operator.
pub const METRICS: [&str; 13] = [
    "active_activations",
    "admission_policies_intact",
    "api_writes_total",
    "deliveries_total",
    "enactments_total",
    "audit_outbox_pending",
    "leader",
    "oldest_pending_request_timestamp_seconds",
    "overdue_revocations",
    "pending_requests",
    "reconciliations_total",
    "request_decision_seconds_bucket",
    "unreadable_objects",
];
