//! What an installation consists of: CRDs, admission policies, roles, and the operator's own
//! account with exactly the rights that it uses.

pub mod rbac;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::core::ObjectMeta;
use serde::Serialize;

use crate::admission::{Installation, PolicyError, build_policies};
use crate::api::{crds, names};

/// Manifests cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error(transparent)]
    Policies(#[from] PolicyError),
    #[error("failed to write a manifest as YAML")]
    Yaml(#[from] serde_yaml_ng::Error),
}

/// The CRDs as files: name and YAML.
///
/// # Errors
/// When one cannot be written as YAML, which a test excludes.
pub fn crd_files() -> Result<Vec<(String, String)>, ManifestError> {
    crds::all()
        .iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.metadata.name.as_deref().unwrap_or_default());
            Ok((name, serde_yaml_ng::to_string(crd)?))
        })
        .collect()
}

/// Everything that must be in a cluster before the operator starts, as one YAML stream in an order
/// in which `kubectl apply` succeeds.
///
/// # Errors
/// When one cannot be written as YAML, which a test excludes.
pub fn manifests(installation: &Installation) -> Result<String, ManifestError> {
    let policies = build_policies(installation)?;
    let mut documents = Vec::new();
    for (_, crd) in crd_files()? {
        documents.push(crd);
    }
    write_all(&mut documents, &[namespace(installation)])?;
    write_all(&mut documents, &[service_account(installation)])?;
    write_all(&mut documents, &rbac::user_roles())?;
    write_all(&mut documents, &[rbac::operator_cluster_role()])?;
    write_all(&mut documents, &[rbac::operator_cluster_role_binding(installation)])?;
    write_all(&mut documents, &[rbac::operator_role(installation)])?;
    write_all(&mut documents, &[rbac::operator_role_binding(installation)])?;
    write_all(&mut documents, &policies.mutating)?;
    write_all(&mut documents, &policies.validating)?;
    write_all(&mut documents, &policies.mutating_bindings)?;
    write_all(&mut documents, &policies.validating_bindings)?;
    Ok(documents.iter().fold(String::new(), |stream, document| stream + "---\n" + document))
}

fn write_all<K: Serialize>(documents: &mut Vec<String>, objects: &[K]) -> Result<(), ManifestError> {
    for object in objects {
        documents.push(serde_yaml_ng::to_string(object)?);
    }
    Ok(())
}

fn namespace(installation: &Installation) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(installation.namespace.clone()),
            labels: Some(
                [
                    (names::label::PART_OF.to_owned(), names::OPERATOR.to_owned()),
                    (names::label::POD_SECURITY_ENFORCE.to_owned(), "restricted".to_owned()),
                ]
                .into(),
            ),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

fn service_account(installation: &Installation) -> ServiceAccount {
    ServiceAccount {
        metadata: rbac::metadata(&installation.service_account, Some(&installation.namespace)),
        ..ServiceAccount::default()
    }
}
