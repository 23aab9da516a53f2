//! A namespace that the operator owns, and what must be in it, compared with what is there.

pub mod enforce;
pub mod limits;
pub mod object;
pub mod place;
pub mod survey;
