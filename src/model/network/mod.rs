//! Connectivity: which workloads can reach which endpoints, and how that is told in words.

pub mod reach;
pub mod together;
pub mod traffic;
