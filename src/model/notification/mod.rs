//! Notifications: what people are told of ApprovalRequests.

pub mod message;
