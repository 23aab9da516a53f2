//! Rights of people, for the three kinds that give them (RoleAssignment, RoleEligibility, RoleActivation).
//!
//! The rights of a role follow from one matrix (`model::rbac::roles`) and the scope that its namespace is
//! (`model::rbac::grants::rights_of_role`): a ClusterRole in each control namespace, one of Kubernetes' own in the
//! namespace of each workload, and rules limited by `resourceNames` for the one Enclave, the one Community and the open
//! requests about that Enclave. A `Grant` is a set of such rights with principals and an end. An assignment is a grant;
//! so is an activation while it is active; an eligibility is the grant of the right to ask.
//!
//! `plan::rbac::grants::plan_access` compares grants with the RBAC objects that there are. Everything that is made for
//! a grant has its name. So an object that is over is found without memory: it carries such a name, and no grant
//! explains it. Two workers carry out the plan. The controller of an object makes what opens, as a repair, and only
//! where default-deny has been seen. `controllers::revocation` removes what closes. It has a workqueue of grants: all
//! of them before the controllers start, then each one when a change could explain less of it, and when it ends.
//! Revocation never waits for a reconciliation, and costs what changed.

pub mod index;
pub mod observe;
pub mod watches;
