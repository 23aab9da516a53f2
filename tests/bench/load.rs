//! The objects that people declare. The operator and the baselines get the same ones from here.

use enclave_operator::api::common::{LabelSelector, NamespacedPods, Port, Protocol};
use enclave_operator::api::{
    Community, Enclave, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, RoleAssignment, RoleEligibility,
};
use enclave_operator::model::naming::{enclave_namespace, workload_namespace};
use enclave_operator::model::network::connectivity::{Destination, Flow, Sources};
use enclave_operator::plan::policies::build_connection;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Connections that each Enclave has to others.
pub const CONNECTIONS: usize = 5;
/// The workload of each Enclave.
pub const WORKLOAD: &str = "app";
/// The endpoint of each Enclave.
pub const ENDPOINT: &str = "api";
const PORT: i32 = 8080;

/// A Community with enclaves in it, each with a workload, an endpoint and connections to others.
#[derive(Clone, Debug)]
pub struct Load {
    pub community: &'static str,
    pub enclaves: usize,
    /// From each Enclave.
    pub connections: usize,
}

impl Load {
    /// The Enclave with this number.
    pub fn enclave_name(number: usize) -> String {
        format!("e{number:05}")
    }

    /// The number of the Enclave with this name.
    pub fn enclave_number(name: &str) -> usize {
        name.trim_start_matches('e').parse().expect("the name is one of these")
    }

    pub fn control(&self, number: usize) -> String {
        enclave_namespace(self.community, &Self::enclave_name(number))
    }

    pub fn pods(&self, number: usize) -> String {
        workload_namespace(self.community, &Self::enclave_name(number), WORKLOAD)
    }

    pub fn community(&self, rules: &Value) -> Community {
        ours("Community", "", self.community, &json!({ "approvals": rules }))
    }

    pub fn enclave(&self, number: usize) -> Enclave {
        ours("Enclave", self.community, &Self::enclave_name(number), &json!({}))
    }

    pub fn workload(&self, number: usize) -> EnclaveWorkload {
        ours("EnclaveWorkload", &self.control(number), WORKLOAD, &json!({}))
    }

    pub fn endpoint(&self, number: usize) -> EnclaveEndpoint {
        let spec = json!({
            "workload": WORKLOAD,
            "podSelector": {"matchLabels": {"app": ENDPOINT}},
            "ports": [{"protocol": "TCP", "port": PORT}],
        });
        ours("EnclaveEndpoint", &self.control(number), ENDPOINT, &spec)
    }

    /// The connections of an Enclave, each to another one.
    pub fn connections(&self, number: usize) -> Vec<EnclaveConnection> {
        (0..self.connections).map(|which| self.connection(number, which)).collect()
    }

    pub fn connection(&self, number: usize, which: usize) -> EnclaveConnection {
        let spec = json!({
            "source": {"workloads": [WORKLOAD]},
            "destination": {"enclaveEndpoint": {
                "enclave": Self::enclave_name(self.destination(number, which)), "name": ENDPOINT,
            }},
        });
        ours("EnclaveConnection", &self.control(number), &format!("c{which}"), &spec)
    }

    /// Where a connection leads: past the Enclave itself, so that no policy lets a workload reach itself.
    fn destination(&self, number: usize, which: usize) -> usize {
        (number + 1 + which % (self.enclaves - 1)) % self.enclaves
    }

    /// The two policies that a connection needs, as the operator builds them.
    pub fn policies(&self, number: usize, which: usize) -> Vec<NetworkPolicy> {
        let (from, to) = (self.pods(number), self.pods(self.destination(number, which)));
        let flow = Flow {
            from: Sources::Workloads(vec![from.clone()]),
            to: Destination::Workload(NamespacedPods {
                namespace: to.clone(),
                pod_selector: LabelSelector {
                    match_labels: [("app".to_owned(), ENDPOINT.to_owned())].into(),
                    match_expressions: Vec::new(),
                },
            }),
            ports: vec![Port { protocol: Protocol::Tcp, port: PORT, end_port: None }],
        };
        let (declared_in, name) = (self.control(number), format!("c{which}"));
        let build = |namespace| build_connection(namespace, (&declared_in, &name), &flow);
        [build(from.as_str()), build(to.as_str())].concat()
    }
}

/// A role for one person in a namespace.
pub fn assignment(namespace: &str, number: usize) -> RoleAssignment {
    let spec = json!({
        "role": "enclave-reader", "principals": [{"kind": "User", "name": person(number)}],
    });
    ours("RoleAssignment", namespace, &format!("a{number:05}"), &spec)
}

/// The person whom [`assignment`] gives a role.
pub fn person(number: usize) -> String {
    format!("person-{number:05}")
}

/// A role that one person may activate.
pub fn eligibility(namespace: &str, number: usize) -> RoleEligibility {
    let spec = json!({
        "role": "enclave-reader", "principals": [{"kind": "User", "name": person(number)}],
        "activation": {"maxDuration": "1h"},
    });
    ours("RoleEligibility", namespace, &format!("el{number:05}"), &spec)
}

/// Rules under which a connection waits for one approval.
pub fn hold_connections() -> Value {
    json!({"rules": [{"operation": "ConnectionCreation", "policy": "Required"}]})
}

fn ours<K: DeserializeOwned>(kind: &str, namespace: &str, name: &str, spec: &Value) -> K {
    let mut metadata = json!({ "name": name });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    let object = json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
    });
    serde_json::from_value(object).expect("the JSON is an object of this kind")
}
