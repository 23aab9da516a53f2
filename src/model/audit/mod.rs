//! Audit records that a new status makes true, and the CloudEvents that are delivered for them.

pub mod cloud_event;
pub mod records;
