//! Rights as RBAC objects, compared with those that there are.

pub mod bindings;
pub mod given;
pub mod grants;
