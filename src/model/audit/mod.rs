//! Audit records: which facts a new status makes true, and the CloudEvents that tell them.

pub mod cloud_event;
pub mod facts;
