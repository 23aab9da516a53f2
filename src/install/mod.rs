//! The parts of an installation: CRDs, admission policies, roles, and the operator's own
//! account with exactly the rights that it uses. The chart installs it; what of the chart follows
//! from this program is generated here. Imported are `admission`, `model` and `api`.

pub mod chart;
pub mod rbac;

use crate::api::crds;
use crate::model::audit::cloud_event::EventData;

/// A file cannot be generated.
#[derive(Debug, thiserror::Error)]
#[error("failed to write an object as YAML")]
pub struct GenerateError(#[from] serde_yaml_ng::Error);

/// The schema of the `data` of audit events, as a file.
#[must_use]
pub fn audit_schema() -> String {
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    format!("{:#}\n", settings.into_generator().into_root_schema_for::<EventData>().as_value())
}

/// The CRDs as files: name and YAML.
///
/// # Errors
/// When one cannot be written as YAML, which a test excludes.
pub fn crd_files() -> Result<Vec<(String, String)>, GenerateError> {
    crds::all()
        .iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.metadata.name.as_deref().unwrap_or_default());
            Ok((name, serde_yaml_ng::to_string(crd)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_schema_of_events_asks_for_no_field_that_an_event_leaves_out() {
        let schema: Value = serde_json::from_str(&audit_schema()).unwrap();
        let data = serde_json::to_value(EventData::default()).unwrap();
        let required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(required.contains(&"object"), "{required:?}");
        let missing: Vec<_> = required.iter().filter(|field| data.get(*field).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
