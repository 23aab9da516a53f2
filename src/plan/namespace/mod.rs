//! A namespace that the operator owns, and what must be in it, compared with what is there.

pub mod desired;
pub mod diff;
pub mod enforce;
pub mod limits;
pub mod object;
