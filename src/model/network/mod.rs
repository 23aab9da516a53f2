//! Connectivity: which workloads can reach which endpoints, and the description of that in words.

pub mod connectivity;
pub mod intra_enclave;
pub mod traffic_summary;
