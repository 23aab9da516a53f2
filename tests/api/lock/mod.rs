//! The lock on the operator's namespaces: whom it stops from what, whom maintenance lets through and for
//! how long, and what goes on under it.

mod ends;
mod guarded;
mod life;
mod maintenance;
pub mod matrix;

use std::fmt::Debug;

use enclave_operator::api::names::{annotation, condition as condition_type};
use enclave_operator::api::{Enclave, EnclaveWorkload, State};
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::{User, eventually, wait_until};
use crate::world::{
    SOON, WORLD, World, active_community, condition, enclave, enclaves, namespaced, object, patch,
    wait_for_enclave, wait_for_state,
};

pub const DENY: &str = "enclave-operator-default-deny";

/// A Community with an Enclave "payments" with the workload "api", in whose namespace a group of its own
/// may write everything that the lock guards, as far as RBAC goes.
pub struct Place {
    pub world: &'static World,
    pub community: String,
}

impl Place {
    pub async fn make(community: &str, rules: &Value) -> Self {
        let place = Self { world: &WORLD, community: community.to_owned() };
        active_community(place.world, community, &json!({ "approvals": rules })).await;
        let api = place.enclaves();
        api.create(&PostParams::default(), &enclave("payments", &json!({}))).await.unwrap();
        wait_for_enclave(&api, "payments", State::Active).await;
        place
            .make_workload(
                "api",
                &json!({"quota": {"count/configmaps": 4}, "containerDefaults": {"limits": {"cpu": "1"}}}),
            )
            .await;
        place.let_write(&place.pods());
        place
    }

    pub async fn make_workload(&self, name: &str, spec: &Value) {
        let workload: EnclaveWorkload = object(json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": "EnclaveWorkload",
            "metadata": {"name": name}, "spec": spec,
        }));
        self.workloads().create(&PostParams::default(), &workload).await.unwrap();
        wait_for_state(&self.workloads(), name, State::Active).await;
    }

    /// Lets the group "writers" do everything in a namespace that RBAC knows.
    pub fn let_write(&self, namespace: &str) {
        let group = format!("--group={}", self.writers());
        let arguments =
            ["create", "rolebinding", "writers", "-n", namespace, "--clusterrole=cluster-admin", &group];
        self.world.plane.administrator_user().kubectl(&arguments).expect_success();
    }

    pub fn writers(&self) -> String {
        format!("{}-writers", self.community)
    }

    /// A namespace admin by RoleBinding.
    pub fn tina(&self) -> User {
        self.world.plane.user("tina", &[&self.writers()])
    }

    /// Another one.
    pub fn theo(&self) -> User {
        self.world.plane.user("theo", &[&self.writers(), "theos"])
    }

    pub fn pods(&self) -> String {
        format!("{}-payments-api", self.community)
    }

    pub fn control(&self) -> String {
        format!("{}-payments", self.community)
    }

    pub fn enclaves(&self) -> Api<Enclave> {
        enclaves(&self.world.alice(), &self.community)
    }

    pub fn workloads(&self) -> Api<EnclaveWorkload> {
        namespaced(self.world.erin().client(), &self.control())
    }

    pub fn policies(&self, user: &User) -> Api<NetworkPolicy> {
        namespaced(user.client(), &self.pods())
    }

    /// Edits spec.maintenance of the Enclave.
    pub async fn maintain(&self, maintenance: Value) {
        patch(&self.enclaves(), "payments", json!({"spec": {"maintenance": maintenance}})).await.unwrap();
    }

    /// Waits until these are the exceptions on a namespace.
    pub async fn wait_for_exceptions(&self, namespace: &str, general: Option<&str>, advanced: Option<&str>) {
        let namespaces: Api<Namespace> = Api::all(self.world.administrator());
        let what = format!("in {namespace} maintenance is {general:?} and {advanced:?}");
        wait_until(namespaces, namespace, SOON, &what, |namespace: &Namespace| {
            let annotations = namespace.annotations();
            let is = |key: &str, wanted: Option<&str>| annotations.get(key).map(String::as_str) == wanted;
            is(annotation::MAINTENANCE_GENERAL, general) && is(annotation::MAINTENANCE_ADVANCED, advanced)
        })
        .await;
    }

    /// Waits until the Enclave says how its lock is, and what is left in it.
    pub async fn wait_for_lock(&self, reason: &str, leftovers: &[&str]) -> Enclave {
        let what = format!("the lock is {reason} with {leftovers:?}");
        wait_until(self.enclaves(), "payments", SOON, &what, |enclave: &Enclave| {
            enclave.status.as_ref().is_some_and(|status| {
                status.unmanaged_resources == leftovers
                    && status.gate.conditions.iter().any(|condition| {
                        condition.type_ == condition_type::LOCKED && condition.reason == reason
                    })
            })
        })
        .await
    }
}

/// Maintenance for one principal, for so many seconds.
pub fn maintenance(mode: &str, principal: &Value, lasts: i64) -> Value {
    json!({"mode": mode, "justification": "Networking", "principals": [principal], "expiresAt": in_seconds(lasts)})
}

pub fn in_seconds(seconds: i64) -> String {
    let end = Timestamp::now() + SignedDuration::from_secs(seconds);
    end.round(Unit::Second).unwrap().to_string()
}

pub fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

/// A policy that opens everything.
pub fn open_policy(name: &str) -> NetworkPolicy {
    object(json!({
        "metadata": {"name": name},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]},
    }))
}

/// The API server hears of a change of a namespace a moment after it happened.
pub async fn until_admitted<T>(attempt: impl AsyncFn() -> Result<T, kube::Error>) -> T {
    let what = "it is admitted";
    eventually(what, SOON, async || match attempt().await {
        Ok(done) => Some(done),
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

pub async fn until_refused<T: Debug>(because: &str, attempt: impl AsyncFn() -> Result<T, kube::Error>) {
    eventually(&format!("it is refused because of {because:?}"), SOON, async || {
        attempt().await.err().filter(|error| error.to_string().contains(because)).map(drop)
    })
    .await;
}
