//! Notifications to people about ApprovalRequests.

pub mod message;
