//! Connectivity: which workloads can reach which endpoints, and how that is told in words.

pub mod connectivity;
pub mod intra_enclave;
pub mod traffic_summary;
