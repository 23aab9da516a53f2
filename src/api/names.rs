//! Every name that stands on objects in the cluster: labels, annotations, finalizer, condition
//! types, reasons, field manager. Policies, controllers, tests and the chart read them from here.

/// API group of all kinds.
pub const GROUP: &str = "enclave-operator.io";
/// Served version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// Prefix of every label and annotation that only the operator and its policies may write.
pub const PREFIX: &str = "enclave-operator.io/";

/// Everybody who changed the spec since it was last applied, newline separated, in the order in
/// which they did. Stamped by the API server (admission policy), which starts a new list with the first
/// change after all of a spec was applied.
pub const REQUESTED_BY: &str = "enclave-operator.io/requested-by";
/// On a RoleActivation: the groups of whoever asks, newline separated; stamped by the API server.
pub const REQUESTED_GROUPS: &str = "enclave-operator.io/requested-groups";
/// On a RoleActivation: the claim that says that whoever asks logged in with more than a password; stamped
/// by the API server.
pub const REQUESTED_MFA: &str = "enclave-operator.io/requested-mfa";
/// On a RoleActivation: the credential with which it was asked for; stamped by the API server.
pub const REQUESTED_CREDENTIAL_ID: &str = "enclave-operator.io/requested-credential-id";
/// The generation of the spec that the last name in [`REQUESTED_BY`] made, stamped with it. When
/// it is not the object's generation, somebody changed the spec while no policy was watching.
pub const REQUESTED_GENERATION: &str = "enclave-operator.io/requested-generation";

/// The person for whom a GitOps account makes a change; both count as its requesters. Written by
/// accounts that hold [`REQUEST_ON_BEHALF_VERB`].
pub const ON_BEHALF_OF: &str = "enclave-operator.io/on-behalf-of";

/// Finalizer of what owns something that garbage collection cannot remove for it, and of what has records that
/// are to be told.
pub const FINALIZER: &str = "enclave-operator.io/teardown";

/// Name of the service account, the field manager and the reporter of Events.
pub const OPERATOR: &str = "enclave-operator";

/// The verb that a principal must hold, by a grant of its own, to decide an ApprovalRequest.
pub const APPROVE_VERB: &str = "approve";
/// The verb that an account must hold, by a grant of its own, to name the person for whom it makes
/// a change.
pub const REQUEST_ON_BEHALF_VERB: &str = "request-on-behalf";
/// A verb that no role ever grants: who is allowed it holds a wildcard.
pub const NEVER_GRANTED_VERB: &str = "never-granted";

/// Labels of namespaces and objects that the operator makes.
pub mod label {
    /// `enclave-operator`, on everything that the operator makes.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// UID of the Community, Enclave or EnclaveWorkload that a namespace belongs to. Ownership is
    /// this label and nothing else: names can be guessed, UIDs are given by the API server.
    pub const OWNER_UID: &str = "enclave-operator.io/owner-uid";
    /// Which part a namespace plays: [`super::purpose`].
    pub const PURPOSE: &str = "enclave-operator.io/purpose";
    /// Name of the Community that a namespace belongs to.
    pub const COMMUNITY: &str = "enclave-operator.io/community";
    /// Name of the Enclave that a namespace belongs to.
    pub const ENCLAVE: &str = "enclave-operator.io/enclave";
    /// Name of the EnclaveWorkload that a namespace belongs to.
    pub const WORKLOAD: &str = "enclave-operator.io/workload";
    /// Label that Kubernetes puts on every namespace, with its name; nobody can change it.
    pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
    /// Marks the operator's admission policies and bindings, so that it can watch just those.
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
    /// What the labels begin with by which a namespace says which pods it admits (Kubernetes' own).
    pub const POD_SECURITY: &str = "pod-security.kubernetes.io/";
    /// Pod security level that a namespace enforces (Kubernetes' own label).
    pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";
    /// On the namespace of a workload: everything that guards it was there. No pod is admitted before, and
    /// none ever in a namespace without it.
    pub const GUARDED: &str = "enclave-operator.io/guarded";
    /// Who gets into the namespace of a workload: [`super::access`]. The lock reads it.
    pub const ACCESS_MODE: &str = "enclave-operator.io/access-mode";
}

/// Values of [`label::ACCESS_MODE`], as `spec.accessMode` has them.
pub mod access {
    /// Everybody with a role in the Enclave or the Community, and whoever is bound there.
    pub const STANDARD: &str = "Standard";
    /// Only those whom the workload lists: the lock refuses bindings that the operator did not make.
    pub const ISOLATED: &str = "Isolated";
}

/// Values of [`label::PURPOSE`].
pub mod purpose {
    /// The namespace of a Community: enclaves, community endpoints, transit hubs, requests.
    pub const COMMUNITY: &str = "community";
    /// The control namespace of an Enclave: workloads, endpoints, connections, requests.
    pub const CONTROL: &str = "control";
    /// The namespace of an EnclaveWorkload: pods.
    pub const WORKLOAD: &str = "workload";
}

/// Annotations that the operator writes: on managed namespaces, for policies to read, and on what it
/// makes there.
pub mod annotation {
    /// On a namespace: operations that may be held here, space separated; the warning policy reads it.
    pub const HELD_OPERATIONS: &str = "enclave-operator.io/held-operations";
    /// On a namespace: who may manage additional objects of the kinds that the lock guards, newline
    /// separated, each as `User:<name>` or `Group:<name>`. There for as long as maintenance lasts.
    pub const MAINTENANCE_GENERAL: &str = "enclave-operator.io/maintenance-general";
    /// On a namespace: who may change what the operator manages too, written as above.
    pub const MAINTENANCE_ADVANCED: &str = "enclave-operator.io/maintenance-advanced";
    /// On service accounts, roles and bindings in managed namespaces: who made them; stamped by the API
    /// server.
    pub const CREATED_BY: &str = "enclave-operator.io/created-by";
    /// On roles and bindings that end by themselves: when. In RFC 3339.
    pub const EXPIRES_AT: &str = "enclave-operator.io/expires-at";
    /// On what the operator makes in a namespace: digest of the content that it wrote last. It tells
    /// what others changed from what the operator wants differently by now.
    pub const CONTENT: &str = "enclave-operator.io/content";
}

/// Names of the objects that the operator makes in managed namespaces.
pub mod child {
    /// NetworkPolicy that denies all ingress and egress; in every managed namespace.
    pub const DEFAULT_DENY: &str = "enclave-operator-default-deny";
    /// NetworkPolicy that lets pods of a workload resolve names.
    pub const DNS: &str = "enclave-operator-dns";
    /// NetworkPolicy that lets pods of a workload reach each other, and those of the Enclave's other
    /// workloads where that is allowed.
    pub const INSIDE: &str = "enclave-operator-inside";
    /// ResourceQuota: what a workload may use; no pod at all in namespaces where no pod runs.
    pub const QUOTA: &str = "enclave-operator-quota";
    /// LimitRange: what containers of a workload get that do not say it themselves.
    pub const CONTAINER_DEFAULTS: &str = "enclave-operator-container-defaults";
    /// Secret in the namespace of a Community that people write: where its notifications go.
    pub const NOTIFICATIONS: &str = "enclave-operator-notifications";
    /// The network policies above.
    pub const POLICIES: [&str; 3] = [DEFAULT_DENY, DNS, INSIDE];
}

/// Condition types, in the order in which they are shown.
pub mod condition {
    /// The latest spec is in force: approved (or nothing to approve) and enforced.
    pub const READY: &str = "Ready";
    /// The latest spec has the approvals that the rules ask for.
    pub const APPROVED: &str = "Approved";
    /// What was last applied exists in the cluster exactly as planned.
    pub const ENFORCED: &str = "Enforced";
    /// On a Community: the API server runs the admission policies that the operator was built with.
    pub const PROTECTED: &str = "Protected";
    /// On a Community and an Enclave: only what the operator made guards the namespaces, and nobody
    /// else may change that.
    pub const LOCKED: &str = "Locked";
    /// Somebody who has the role also has one by which the same changes are approved, or made; absent
    /// otherwise.
    pub const CONFLICTING_DUTIES: &str = "ConflictingDuties";
    /// An ApprovalRequest is decided.
    pub const DECIDED: &str = "Decided";
    /// Something is under way; absent otherwise (kstatus).
    pub const RECONCILING: &str = "Reconciling";
    /// It will not go on without somebody doing something; absent otherwise (kstatus).
    pub const STALLED: &str = "Stalled";

    /// All types that this version writes.
    pub const ALL: [&str; 9] =
        [READY, APPROVED, ENFORCED, PROTECTED, LOCKED, CONFLICTING_DUTIES, DECIDED, RECONCILING, STALLED];
}

/// Condition reasons, which are Event reasons too.
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
