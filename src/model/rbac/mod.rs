//! Access of people: roles, the rights that they consist of, activations, and maintenance.

pub mod access;
pub mod activation;
pub mod grants;
pub mod maintenance;
pub mod roles;
