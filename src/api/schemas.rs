//! Schemas that cannot be derived, or that would be derived without bounds.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Returns the schema of a point in time that the operator writes.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 40})
}

/// Returns the schema of a point in time that people write. The format alone accepts texts that nobody can
/// read as a time; CEL has no `self` for such a text, so the rule fails and the API server reports it.
pub fn wanted_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "date-time",
        "maxLength": 40,
        "x-kubernetes-validations": [{
            "rule": "self >= timestamp('0001-01-01T00:00:00Z')",
            "message": "must be a point in time such as 2027-01-31T18:00:00Z",
        }],
    })
}

/// Returns the schema of standard conditions (metav1.Condition), one per type.
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
                    "description": "Generation (`metadata.generation`) that the condition was set for."
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "maxLength": 40,
                    "description": "Time at which the status of the condition changed last."
                },
                "reason": {
                    "type": "string", "maxLength": 1024, "minLength": 1,
                    "description": "Reason for the status of the condition, as one word for programs.",
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {
                    "type": "string", "maxLength": 32768,
                    "description": "Explanation of the status, and what to do next, for people."
                }
            }
        }
    })
}
