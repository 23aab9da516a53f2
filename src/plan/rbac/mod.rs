//! Rights as RBAC objects, compared with those that there are.

pub mod bindings;
pub mod grants;
pub mod role_scope;
