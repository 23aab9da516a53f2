//! Schemas that cannot be derived, or not with the bounds that an API server deserves.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A point in time, RFC 3339 with at most nanoseconds: what the API server would take beyond that,
/// clients cannot read.
pub const TIME_PATTERN: &str =
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-5][0-9])$";

/// A point in time.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 40, "pattern": TIME_PATTERN})
}

/// Standard conditions (metav1.Condition), one per type.
pub fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the observed state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 316, "minLength": 1,
                    "description": "Name of the condition in CamelCase.",
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether the condition holds."
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation that the condition was set for."
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "maxLength": 40,
                    "description": "When the status of the condition changed last."
                },
                "reason": {
                    "type": "string", "maxLength": 1024, "minLength": 1,
                    "description": "Why, as one word for programs.",
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {
                    "type": "string", "maxLength": 32768,
                    "description": "Why, and what to do next, for people."
                }
            }
        }
    })
}
