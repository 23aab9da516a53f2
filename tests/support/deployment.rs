//! The operator's process as its Deployment describes it. There is no node that would run Pods, so
//! tests and the demo start it themselves.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar};
use kube::{Api, Client};

use super::helm::{NAMESPACE, RELEASE};
use super::user::User;

/// What the Deployment says about the process.
#[derive(Debug, Clone)]
pub struct OperatorProcess {
    container: Container,
}

impl OperatorProcess {
    /// # Panics
    /// If the chart is not installed.
    pub async fn read(administrator: Client) -> Self {
        let deployments: Api<Deployment> = Api::namespaced(administrator, NAMESPACE);
        let deployment = deployments.get(RELEASE).await.expect("the chart is installed");
        let pod = deployment.spec.template.spec.expect("it has a template");
        let [container] = <[Container; 1]>::try_from(pod.containers).expect("it has one container");
        Self { container }
    }

    /// The process of one Pod. Its name is `identity`; what it listens on is free.
    ///
    /// # Panics
    /// If a variable comes from somewhere else than the Pod itself.
    pub fn command(&self, program: &Path, account: &User, identity: &str) -> Command {
        let mut command = account.command(program);
        command.args(self.container.args.iter().flatten());
        for variable in self.container.env.iter().flatten() {
            command.env(&variable.name, value(variable, identity));
        }
        command.env("ENCLAVE_OPERATOR_LISTEN", "127.0.0.1:0");
        command
    }
}

fn value(variable: &EnvVar, identity: &str) -> String {
    if let Some(value) = &variable.value {
        return value.clone();
    }
    let field = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
    match field.map(|field| field.field_path.as_str()) {
        Some("metadata.name") => identity.to_owned(),
        Some("metadata.namespace") => NAMESPACE.to_owned(),
        other => panic!("nobody knows the value of {}: {other:?}", variable.name),
    }
}
