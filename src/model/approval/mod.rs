//! Approval: what is held, who decides about it, and what comes into force.
//!
//! [`gated`] says what a kind brings along to be held, [`change`] what becomes of a spec that differs from what is
//! applied, [`approval_policy`] how rules are merged, [`target`] how the target of a request relates to it, [`request`] and
//! [`votes`] how an ApprovalRequest is decided, [`policy_status`] whether the admission policies can be believed.

pub mod applied;
pub mod approval_policy;
pub mod change;
pub mod diff;
pub mod gated;
pub mod impact;
pub mod kept;
pub mod policy_status;
pub mod proposal;
pub mod request;
pub mod scope;
pub mod target;
pub mod votes;
