//! Rights of people, for the three kinds that give them: who has which, and which changes concern them.

pub mod observe;
pub mod watches;
