//! Roles: who holds them, where, and when they end.

mod activations;
mod actor;
mod assignments;
mod golden;
pub mod life;
mod matrix;

use std::fmt::Debug;

use enclave_operator::api::{EnclaveWorkload, RoleActivation, RoleAssignment, RoleEligibility, State};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::{User, wait_until};
use crate::world::{
    SOON, WORLD, World, active_community, enclave, enclaves, namespaced, object, wait_for_enclave,
    wait_for_state,
};

/// A Community with the Enclaves "payments" and "ledger", each with a workload "api".
pub struct Place<'a> {
    pub world: &'a World,
    pub community: String,
}

impl Place<'static> {
    pub async fn make(community: &str, spec: &Value) -> Self {
        Self::make_in(&WORLD, community, spec).await
    }
}

impl<'a> Place<'a> {
    pub async fn make_in(world: &'a World, community: &str, spec: &Value) -> Self {
        let place = Self { world, community: community.to_owned() };
        active_community(place.world, community, spec).await;
        let api = enclaves(&place.world.alice(), community);
        for name in ["payments", "ledger"] {
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
            wait_for_enclave(&api, name, State::Active).await;
            place.make_workload(name, "api", &json!({})).await;
        }
        place
    }

    pub async fn make_workload(&self, enclave: &str, name: &str, spec: &Value) {
        let api: Api<EnclaveWorkload> = namespaced(self.world.alice().client(), &self.control(enclave));
        make(&api, "EnclaveWorkload", name, spec).await.unwrap();
        wait_for_state(&api, name, State::Active).await;
    }

    pub fn control(&self, enclave: &str) -> String {
        format!("{}-{enclave}", self.community)
    }

    pub fn pods(&self, enclave: &str) -> String {
        format!("{}-{enclave}-api", self.community)
    }

    pub fn user(&self, name: &str, groups: &[&str]) -> User {
        self.world.plane.user(&format!("{name}-{}", self.community), groups)
    }

    pub fn assignments(user: &User, namespace: &str) -> Api<RoleAssignment> {
        namespaced(user.client(), namespace)
    }

    pub fn eligibilities(user: &User, namespace: &str) -> Api<RoleEligibility> {
        namespaced(user.client(), namespace)
    }

    pub fn activations(user: &User, namespace: &str) -> Api<RoleActivation> {
        namespaced(user.client(), namespace)
    }

    /// Alice gives a role, and it is in force.
    pub async fn assign(
        &self,
        namespace: &str,
        name: &str,
        role: &str,
        principals: &[Value],
    ) -> Api<RoleAssignment> {
        let api = Self::assignments(&self.world.alice(), namespace);
        let spec = json!({"role": role, "principals": principals});
        make(&api, "RoleAssignment", name, &spec).await.unwrap();
        wait_for_state(&api, name, State::Active).await;
        api
    }
}

pub async fn make<K>(api: &Api<K>, kind: &str, name: &str, spec: &Value) -> Result<K, kube::Error>
where
    K: Clone + Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let wanted = object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    }));
    api.create(&PostParams::default(), &wanted).await
}

/// Waits until an activation is active, and its role bound everywhere.
pub async fn wait_until_bound(api: &Api<RoleActivation>, name: &str) {
    wait_until(api.clone(), name, SOON, "it is bound everywhere", |activation: &RoleActivation| {
        let conditions = activation.status.iter().flat_map(|status| &status.conditions);
        conditions.filter(|one| one.type_ == "Ready").any(|one| one.status == "True")
    })
    .await;
}

/// Waits until an activation is in a state.
pub async fn wait_for_activation(api: &Api<RoleActivation>, name: &str, state: &str) -> RoleActivation {
    wait_until(api.clone(), name, SOON, &format!("{name} is {state}"), |activation: &RoleActivation| {
        let known = activation.status.as_ref().and_then(|status| status.state);
        known.is_some_and(|known| known.to_string() == state)
    })
    .await
}

/// Prints a figure, whether or not the test is captured.
pub fn tell(figure: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let mut output = std::io::stderr();
    writeln!(output, "roles: {figure}").unwrap();
}

pub fn user(user: &User) -> Value {
    json!({"kind": "User", "name": user.name()})
}

pub fn group(name: &str) -> Value {
    json!({"kind": "Group", "name": name})
}
