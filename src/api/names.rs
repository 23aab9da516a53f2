//! Names on objects in the cluster: labels, annotations, the finalizer, condition types, reasons, the field
//! manager. Policies, controllers, tests and the chart take them from here.

/// API group of all kinds.
pub const GROUP: &str = "enclave-operator.io";
/// Served version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// Prefix of the labels and annotations of the operator and its policies. On namespaces only the operator may
/// write labels and annotations with this prefix.
pub const PREFIX: &str = "enclave-operator.io/";

/// Annotation with everybody who changed the spec since all of it was last applied, newline separated, in the
/// order of their first changes. The API server stamps it (admission policy), and starts a new list with the
/// first change after all of a spec was applied.
pub const REQUESTED_BY: &str = "enclave-operator.io/requested-by";
/// Annotation of a RoleActivation with the groups of the person who asks, newline separated; stamped by the
/// API server.
pub const REQUESTED_GROUPS: &str = "enclave-operator.io/requested-groups";
/// Annotation of a RoleActivation with the claim that the person who asks logged in with multi-factor
/// authentication; stamped by the API server.
pub const REQUESTED_MFA: &str = "enclave-operator.io/requested-mfa";
/// Annotation of a RoleActivation with the id of the credential of the person who asks; stamped by the API
/// server.
pub const REQUESTED_CREDENTIAL_ID: &str = "enclave-operator.io/requested-credential-id";
/// Annotation with the generation of the spec that the last change recorded in [`REQUESTED_BY`] made, stamped
/// together with it. When it is not the object's generation, somebody changed the spec while no policy was in
/// force.
pub const REQUESTED_GENERATION: &str = "enclave-operator.io/requested-generation";

/// Annotation with the person for whom a GitOps account makes a change. Both are requesters of the change.
/// Accounts that hold [`REQUEST_ON_BEHALF_VERB`] write it.
pub const ON_BEHALF_OF: &str = "enclave-operator.io/on-behalf-of";

/// Finalizer of objects that own something that garbage collection cannot remove, and of objects that have
/// audit records to deliver.
pub const FINALIZER: &str = "enclave-operator.io/teardown";

/// Name of the service account, of the field manager and of the reporter of Events.
pub const OPERATOR: &str = "enclave-operator";

/// Verb that a principal must hold, by a grant of its own, to decide an ApprovalRequest.
pub const APPROVE_VERB: &str = "approve";
/// Verb that an account must hold, by a grant of its own, to name the person for whom it makes a change.
pub const REQUEST_ON_BEHALF_VERB: &str = "request-on-behalf";
/// Verb that no role ever grants: an account that is allowed it holds a wildcard.
pub const NEVER_GRANTED_VERB: &str = "never-granted";

/// Labels of namespaces and objects that the operator makes.
pub mod label {
    /// Label with the value `enclave-operator` on everything that the operator makes.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// UID of the Community, Enclave or EnclaveWorkload that a namespace belongs to. Ownership is
    /// this label and nothing else: names can be guessed, UIDs are given by the API server.
    pub const OWNER_UID: &str = "enclave-operator.io/owner-uid";
    /// Purpose of a namespace: one of [`super::purpose`].
    pub const PURPOSE: &str = "enclave-operator.io/purpose";
    /// Name of the Community that a namespace belongs to.
    pub const COMMUNITY: &str = "enclave-operator.io/community";
    /// Name of the Enclave that a namespace belongs to.
    pub const ENCLAVE: &str = "enclave-operator.io/enclave";
    /// Name of the EnclaveWorkload that a namespace belongs to.
    pub const WORKLOAD: &str = "enclave-operator.io/workload";
    /// Label that Kubernetes puts on every namespace, with its name; nobody can change it.
    pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
    /// Label of the operator's admission policies and bindings, by which the operator watches only those.
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
    /// Prefix of the labels by which a namespace says which pods it admits (Kubernetes' own).
    pub const POD_SECURITY: &str = "pod-security.kubernetes.io/";
    /// Pod security level that a namespace enforces (Kubernetes' own label).
    pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";
    /// Label of the namespace of a workload in which everything that guards it existed. No pod is admitted in
    /// a namespace without this label.
    pub const GUARDED: &str = "enclave-operator.io/guarded";
    /// Access to the namespace of a workload: one of [`super::access`]. The lock reads it.
    pub const ACCESS_MODE: &str = "enclave-operator.io/access-mode";
}

/// Values of [`label::ACCESS_MODE`], as `spec.accessMode` has them.
pub mod access {
    /// Principals with a role in the Enclave or the Community have access, and principals that are bound in
    /// the namespace.
    pub const STANDARD: &str = "Standard";
    /// Only the principals that the workload lists have access: the lock refuses bindings that the operator
    /// did not make.
    pub const ISOLATED: &str = "Isolated";
}

/// Values of [`label::PURPOSE`].
pub mod purpose {
    /// Namespace of a Community: Enclaves, CommunityEndpoints, TransitHubs, requests.
    pub const COMMUNITY: &str = "community";
    /// Control namespace of an Enclave: workloads, endpoints, connections, requests.
    pub const CONTROL: &str = "control";
    /// Namespace of an EnclaveWorkload: pods.
    pub const WORKLOAD: &str = "workload";
}

/// Annotations that the operator writes on managed namespaces, for policies to read, and on the objects that
/// it makes there.
pub mod annotation {
    /// Annotation of a namespace with the operations that may be held there, space separated. The warning
    /// policy reads it.
    pub const HELD_OPERATIONS: &str = "enclave-operator.io/held-operations";
    /// Annotation of a namespace with the principals that may manage additional objects of the kinds that the
    /// lock guards, newline separated, each as `User:<name>` or `Group:<name>`. It exists as long as the
    /// maintenance.
    pub const MAINTENANCE_GENERAL: &str = "enclave-operator.io/maintenance-general";
    /// Annotation of a namespace with the principals that may also change the objects of the operator, in the
    /// form of [`MAINTENANCE_GENERAL`].
    pub const MAINTENANCE_ADVANCED: &str = "enclave-operator.io/maintenance-advanced";
    /// Annotation of service accounts, roles and bindings, and of RoleAssignments, RoleEligibilities and
    /// EnclaveWorkloads, in managed namespaces, with the user who made them; stamped by the API server.
    pub const CREATED_BY: &str = "enclave-operator.io/created-by";
    /// Annotation of roles and bindings that end by themselves, with the time of their end, in RFC 3339.
    pub const EXPIRES_AT: &str = "enclave-operator.io/expires-at";
    /// Annotation of the objects that the operator makes in a namespace, with the digest of the content that
    /// it wrote last. By the digest it tells changes of others from changes of what it wants itself.
    pub const CONTENT: &str = "enclave-operator.io/content";
}

/// Names of the objects that the operator makes in managed namespaces.
pub mod child {
    /// NetworkPolicy that denies all ingress and egress, in every managed namespace.
    pub const DEFAULT_DENY: &str = "enclave-operator-default-deny";
    /// NetworkPolicy that lets pods of a workload resolve names.
    pub const DNS: &str = "enclave-operator-dns";
    /// NetworkPolicy that lets pods of a workload reach each other, and those of the Enclave's other
    /// workloads where that is allowed.
    pub const INSIDE: &str = "enclave-operator-inside";
    /// ResourceQuota with the limits of a workload; it allows no pod in namespaces where no pod runs.
    pub const QUOTA: &str = "enclave-operator-quota";
    /// LimitRange with the limits and requests of containers of a workload that set none themselves.
    pub const CONTAINER_DEFAULTS: &str = "enclave-operator-container-defaults";
    /// Secret with the settings of notifications, which people write in the namespace of a Community.
    pub const NOTIFICATIONS: &str = "enclave-operator-notifications";
    /// NetworkPolicies with a fixed name, which are those above.
    pub const POLICIES: [&str; 3] = [DEFAULT_DENY, DNS, INSIDE];
}

/// Condition types.
pub mod condition {
    /// Condition that is true when the latest spec is in force: approved, or not in need of an approval, and
    /// enforced.
    pub const READY: &str = "Ready";
    /// Condition that is true when the latest spec has the approvals that the rules ask for.
    pub const APPROVED: &str = "Approved";
    /// Condition that is true when the content that was applied last exists in the cluster exactly as
    /// planned.
    pub const ENFORCED: &str = "Enforced";
    /// Condition of a Community that is true when the API server runs the admission policies that the
    /// operator was built with.
    pub const PROTECTED: &str = "Protected";
    /// Condition of a Community and an Enclave that is true when only objects of the operator guard the
    /// namespaces, and nobody else may change them.
    pub const LOCKED: &str = "Locked";
    /// Condition that is true when a principal that has the role also has one that approves the same changes,
    /// or makes them; absent otherwise.
    pub const CONFLICTING_DUTIES: &str = "ConflictingDuties";
    /// Condition of an ApprovalRequest that is true when the request is decided.
    pub const DECIDED: &str = "Decided";
    /// Condition that is true while reconciliation goes on by itself; absent otherwise (kstatus).
    pub const RECONCILING: &str = "Reconciling";
    /// Condition that is true while reconciliation cannot go on until somebody does something; absent
    /// otherwise (kstatus).
    pub const STALLED: &str = "Stalled";

    /// All condition types that this version writes.
    pub const ALL: [&str; 9] =
        [READY, APPROVED, ENFORCED, PROTECTED, LOCKED, CONFLICTING_DUTIES, DECIDED, RECONCILING, STALLED];
}

/// Reasons of conditions, which are reasons of Events too.
pub mod reason {
    pub const ACTIVE: &str = "Active";
    pub const NO_APPROVAL_NEEDED: &str = "NoApprovalNeeded";
    pub const APPROVAL_PENDING: &str = "ApprovalPending";
    pub const APPROVED: &str = "Approved";
    pub const REJECTED: &str = "Rejected";
    pub const EXPIRED: &str = "Expired";
    pub const SUPERSEDED: &str = "Superseded";
    pub const WITHDRAWN: &str = "Withdrawn";
    pub const ENFORCED: &str = "Enforced";
    pub const NOTHING_APPLIED: &str = "NothingApplied";
    pub const PROVISIONING: &str = "Provisioning";
    pub const NAMESPACE_CONFLICT: &str = "NamespaceConflict";
    pub const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
    pub const COMMUNITY_NOT_FOUND: &str = "CommunityNotFound";
    pub const COMMUNITY_NOT_ACTIVE: &str = "CommunityNotActive";
    pub const ENCLAVE_NOT_FOUND: &str = "EnclaveNotFound";
    pub const ENCLAVE_NOT_ACTIVE: &str = "EnclaveNotActive";
    pub const ENDPOINT_NOT_FOUND: &str = "EndpointNotFound";
    pub const ENDPOINT_NOT_ACTIVE: &str = "EndpointNotActive";
    pub const WORKLOAD_NOT_FOUND: &str = "WorkloadNotFound";
    pub const WORKLOAD_NOT_ACTIVE: &str = "WorkloadNotActive";
    pub const TRANSIT_HUB_NOT_FOUND: &str = "TransitHubNotFound";
    pub const TRANSIT_HUB_NOT_ACTIVE: &str = "TransitHubNotActive";
    pub const DESTINATION_NOT_ALLOWED: &str = "DestinationNotAllowed";
    pub const FQDN_BACKEND_MISSING: &str = "FQDNBackendMissing";
    pub const REFERENCE_REPLACED: &str = "ReferenceReplaced";
    pub const LIMIT_REACHED: &str = "LimitReached";
    pub const DISABLED: &str = "Disabled";
    pub const ENDED: &str = "Ended";
    pub const LOCKED: &str = "Locked";
    pub const MAINTENANCE_GENERAL: &str = "MaintenanceGeneral";
    pub const MAINTENANCE_ADVANCED: &str = "MaintenanceAdvanced";
    pub const UNMANAGED_RESOURCES: &str = "UnmanagedResources";
    pub const NOT_ELIGIBLE: &str = "NotEligible";
    pub const TOO_LONG: &str = "TooLong";
    pub const TICKET_MISSING: &str = "TicketMissing";
    pub const MFA_MISSING: &str = "MfaMissing";
    pub const SCHEDULED: &str = "Scheduled";
    pub const DEACTIVATED: &str = "Deactivated";
    pub const SCOPE_NOT_FOUND: &str = "ScopeNotFound";
    pub const CONFLICTING_DUTIES: &str = "ConflictingDuties";
    pub const POLICIES_INTACT: &str = "AdmissionPoliciesIntact";
    pub const POLICIES_PROPAGATING: &str = "AdmissionPoliciesPropagating";
    pub const POLICIES_NOT_INTACT: &str = "AdmissionPoliciesNotIntact";
    pub const REQUESTER_UNKNOWN: &str = "RequesterUnknown";
    pub const JUSTIFICATION_MISSING: &str = "JustificationMissing";
    pub const CHILDREN_EXIST: &str = "ChildrenExist";
    pub const TERMINATING: &str = "Terminating";
    pub const AUDIT_PENDING: &str = "AuditPending";
    pub const NOTIFICATION_FAILED: &str = "NotificationFailed";
    pub const DEGRADED: &str = "Degraded";
    pub const APPLIED_UNREADABLE: &str = "AppliedUnreadable";
    pub const SPEC_UNREADABLE: &str = "SpecUnreadable";
}
