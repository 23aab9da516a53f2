//! A story in which the operator does everything that it can do.

use std::collections::BTreeSet;
use std::fmt::Debug;

use enclave_operator::admission::Installation;
use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::names::{GROUP, VERSION};
use enclave_operator::api::{ApprovalRequest, Community, Kind};
use enclave_operator::model::naming;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{right, rights};
use crate::handover::credential_of;
use crate::network::{install_cilium_definition, required};
use crate::support::{Process, Sink, User, Write, eventually, requests_by, wait_gone, wait_until};
use crate::world::{SOON, World, kind_api, namespaced, object, on_a_runtime, patch, vote, wait_for_hold};

/// The Community, and its namespace.
const HOME: &str = "rights";
/// Its Enclave.
const ENCLAVE: &str = "rights-e";
/// The end of what the API server answers then.
const TERMINATED: &str = "because it is being terminated";
/// What waits for an approval as soon as it is made or changed.
const HELD: [&str; 9] = [
    "TransitHubUpdate",
    "CommunityEndpointUpdate",
    "EnclaveCreation",
    "EnclaveUpdate",
    "WorkloadUpdate",
    "EnclaveEndpointUpdate",
    "ConnectionCreation",
    "RoleChange",
    "RoleActivation",
];

pub struct Story<'a> {
    world: &'a World,
    /// That of the operator's process: tests use its account too.
    credential: String,
}

impl<'a> Story<'a> {
    pub fn start(world: &'a World) -> (Self, Process) {
        let (account, credential) = on_a_runtime(async || {
            install_cilium_definition(world.administrator()).await;
            let account = world.operator().await;
            let credential = credential_of(&account).await;
            (account, credential)
        });
        let settings = [("ENCLAVE_OPERATOR_RETAIN_REQUESTS_FOR", "1s")];
        (Self { world, credential }, world.spawn_operator_with(&account, "rights", &settings))
    }

    /// What the operator has used until now.
    ///
    /// # Panics
    /// When it was refused something.
    pub fn used(&self) -> BTreeSet<String> {
        let all = requests_by(&self.world.plane.audit_log(), &Installation::default().operator_username());
        let its = all
            .iter()
            .filter(|request| request.credential == self.credential && !request.resource.is_empty());
        // Nothing can be made in a namespace that goes, whoever may. The operator hears of it a little later.
        let is_refused = |request: &&Write| request.code == 403 && !request.message.ends_with(TERMINATED);
        let (refused, answered): (Vec<_>, Vec<_>) = its.partition(is_refused);
        assert!(refused.is_empty(), "the operator lacks rights: {refused:#?}");
        let right_of = |request: &&_| {
            let Write { verb, group, resource, subresource, .. } = *request;
            right(verb, group, resource, subresource)
        };
        answered.iter().map(right_of).collect()
    }

    async fn until_used(&self, rights: &[&str]) {
        eventually(&format!("the operator uses {rights:?}"), SOON, async || {
            let used = self.used();
            rights.iter().all(|right| used.contains(*right)).then_some(())
        })
        .await;
    }

    /// Returns the rights that stand in roles that the operator wrote.
    pub async fn play(&self, sink: &Sink) -> BTreeSet<String> {
        let nina = self.world.plane.user("nina", &[]);
        self.declare_all(&nina).await;
        self.change_all().await;
        let standing = self.propose_and_give_up(&nina, sink).await;
        self.take_back_all().await;
        standing
    }

    /// One of each, and all are in force.
    async fn declare_all(&self, nina: &User) {
        let community = json!({"fqdnBackend": "Cilium", "notifications": {"channels": ["Slack"]}});
        self.declare(Kind::Community, "", HOME, community).await;
        self.declare(Kind::TransitHub, HOME, "hub", hub()).await;
        self.declare(Kind::CommunityEndpoint, HOME, "net", net(443)).await;
        self.declare(Kind::CommunityEndpoint, HOME, "names", names(443)).await;
        self.declare(Kind::Enclave, HOME, "e", json!({})).await;
        self.declare(Kind::EnclaveWorkload, ENCLAVE, "w", limited("1")).await;
        self.declare(Kind::EnclaveEndpoint, ENCLAVE, "endpoint", endpoint()).await;
        for name in ["net", "names"] {
            self.declare(Kind::EnclaveConnection, ENCLAVE, name, connection(name)).await;
        }
        let olga = [json!({"kind": "User", "name": "olga"})];
        self.declare(Kind::RoleAssignment, HOME, "owner", role("community-owner", &olga)).await;
        self.declare(Kind::RoleAssignment, ENCLAVE, "owner", role("enclave-owner", &olga)).await;
        let paul = [json!({"kind": "User", "name": "paul"})];
        self.declare(Kind::RoleAssignment, ENCLAVE, "approver", role("enclave-approver", &paul)).await;
        self.declare(Kind::RoleEligibility, ENCLAVE, "ninas", eligibility(nina)).await;
        for (kind, namespace, name) in [
            (Kind::Community, "", HOME),
            (Kind::TransitHub, HOME, "hub"),
            (Kind::EnclaveWorkload, ENCLAVE, "w"),
            (Kind::EnclaveEndpoint, ENCLAVE, "endpoint"),
            (Kind::EnclaveConnection, ENCLAVE, "net"),
            (Kind::EnclaveConnection, ENCLAVE, "names"),
            (Kind::RoleAssignment, HOME, "owner"),
            (Kind::RoleAssignment, ENCLAVE, "owner"),
            (Kind::RoleAssignment, ENCLAVE, "approver"),
            (Kind::RoleEligibility, ENCLAVE, "ninas"),
        ] {
            self.wait_for_state(kind, namespace, name, &["Active", "Connected"]).await;
        }
        self.activate(nina, "over").await;
        self.wait_for_state(Kind::RoleActivation, ENCLAVE, "over", &["Active"]).await;
    }

    /// What was made follows what is declared, and what others changed is put back.
    async fn change_all(&self) {
        self.edit(Kind::CommunityEndpoint, HOME, "net", net(8443)).await;
        self.edit(Kind::CommunityEndpoint, HOME, "names", names(8443)).await;
        self.edit(Kind::EnclaveWorkload, ENCLAVE, "w", limited("2")).await;
        let both = ["olga", "oskar"].map(|name| json!({"kind": "User", "name": name}));
        self.edit(Kind::RoleAssignment, HOME, "owner", json!({"principals": both})).await;
        let roles: Api<ClusterRole> = Api::all(self.client());
        let name = naming::grant(Kind::RoleAssignment, HOME, "owner");
        patch(&roles, &name, json!({"rules": []})).await.unwrap();
        let rbac = ["clusterroles", "clusterrolebindings", "rolebindings"]
            .map(|resource| format!("update {resource}.rbac.authorization.k8s.io"));
        self.until_used(&[
            "update networkpolicies.networking.k8s.io",
            "update ciliumnetworkpolicies.cilium.io",
            "update resourcequotas",
            "update limitranges",
            &rbac[0],
            &rbac[1],
            &rbac[2],
        ])
        .await;
        let none = json!({"quota": null, "containerDefaults": null});
        self.edit(Kind::EnclaveWorkload, ENCLAVE, "w", none).await;
        self.edit(Kind::RoleActivation, ENCLAVE, "over", json!({"deactivate": true})).await;
        self.until_used(&[
            "delete resourcequotas",
            "delete limitranges",
            "delete roleactivations.enclave-operator.io",
        ])
        .await;
    }

    /// Changes of all kinds wait, people are told, and what was to be changed goes before it is approved.
    /// Returns what stands in roles meanwhile.
    async fn propose_and_give_up(&self, nina: &User, sink: &Sink) -> BTreeSet<String> {
        let secret: Secret = object(json!({
            "metadata": {"name": "enclave-operator-notifications"},
            "stringData": {"slack-url": sink.chat_url()},
        }));
        namespaced(self.client(), HOME).create(&PostParams::default(), &secret).await.unwrap();
        self.edit(Kind::Community, "", HOME, json!({ "approvals": required(&HELD) })).await;
        let dynamic = self.api(Kind::Community, "");
        wait_until(dynamic, HOME, SOON, "the rules are applied", |one| {
            let generation = one.data.pointer("/status/applied/generation").and_then(Value::as_i64);
            generation == one.metadata.generation
        })
        .await;
        let proposed = [
            (Kind::TransitHub, HOME, hub()),
            (Kind::CommunityEndpoint, HOME, net(1)),
            (Kind::Enclave, HOME, json!({})),
            (Kind::EnclaveWorkload, ENCLAVE, json!({})),
            (Kind::EnclaveEndpoint, ENCLAVE, endpoint()),
            (Kind::EnclaveConnection, ENCLAVE, connection("net")),
            (Kind::RoleAssignment, ENCLAVE, role("enclave-reader", &[crate::roles::user(nina)])),
            (Kind::RoleEligibility, ENCLAVE, eligibility(nina)),
        ];
        for (kind, namespace, spec) in &proposed {
            self.declare(*kind, namespace, "new", spec.clone()).await;
        }
        self.activate(nina, "new").await;
        self.edit(Kind::Enclave, HOME, "e", json!({"description": "edited"})).await;
        let requests: Api<ApprovalRequest> = Api::all(self.client());
        let open = async || requests.list(&ListParams::default()).await.unwrap().items;
        eventually("everything waits", SOON, async || {
            let open = open().await;
            let waits = |request: &&ApprovalRequest| {
                request.status.as_ref().is_some_and(|status| status.state.is_some())
            };
            (open.iter().filter(waits).count() == proposed.len() + 2).then_some(())
        })
        .await;
        self.until_used(&["get secrets", "update roles.rbac.authorization.k8s.io"]).await;
        // One role says who sees the open requests, another who decides about them.
        let standing = eventually("who decides reaches the open requests", SOON, async || {
            let standing = self.standing().await;
            standing.contains(&right("approve", GROUP, "approvalrequests", "")).then_some(standing)
        })
        .await;

        for (kind, namespace, _) in &proposed {
            self.delete(*kind, namespace, "new").await;
        }
        self.delete(Kind::RoleActivation, ENCLAVE, "new").await;
        self.edit(Kind::Enclave, HOME, "e", json!({"description": null})).await;
        eventually("no request is left", SOON, async || open().await.is_empty().then_some(())).await;
        standing
    }

    /// What can be retired is, and the rest is deleted.
    async fn take_back_all(&self) {
        for (namespace, name) in [(HOME, "owner"), (ENCLAVE, "owner"), (ENCLAVE, "approver")] {
            self.delete(Kind::RoleAssignment, namespace, name).await;
        }
        let all = [
            (Kind::EnclaveConnection, ENCLAVE, "net"),
            (Kind::EnclaveConnection, ENCLAVE, "names"),
            (Kind::EnclaveEndpoint, ENCLAVE, "endpoint"),
            (Kind::CommunityEndpoint, HOME, "net"),
            (Kind::TransitHub, HOME, "hub"),
            (Kind::EnclaveWorkload, ENCLAVE, "w"),
            (Kind::Enclave, HOME, "e"),
        ];
        for (kind, namespace, name) in all {
            self.edit(kind, namespace, name, json!({"retire": true})).await;
            wait_gone(self.api(kind, namespace), name, SOON, &format!("{kind} {name} goes")).await;
        }
        // With it the rules would go, so that is for somebody else to approve.
        self.edit(Kind::Community, "", HOME, json!({"retire": true})).await;
        let communities: Api<Community> = Api::all(self.client());
        let request = wait_for_hold(&communities, HOME).await;
        vote(&self.world.bob(), HOME, &request, Verdict::Approved, None).await.unwrap();
        wait_gone(communities, HOME, SOON, "the Community goes").await;
    }

    /// What stands in the roles that the operator wrote.
    async fn standing(&self) -> BTreeSet<String> {
        let roles: Vec<Role> = list(Api::all(self.client())).await;
        let cluster_roles: Vec<ClusterRole> = list(Api::all(self.client())).await;
        let is_its = |name: &str| naming::is_of_grant(name);
        let of_roles = roles.into_iter().filter(|role| is_its(&role.name_any())).map(|role| role.rules);
        let of_cluster_roles =
            cluster_roles.into_iter().filter(|role| is_its(&role.name_any())).map(|role| role.rules);
        let written: Vec<PolicyRule> = of_roles.chain(of_cluster_roles).flatten().flatten().collect();
        rights(&written)
    }

    /// Nina asks for the role that she is eligible for, as soon as she may.
    async fn activate(&self, nina: &User, name: &str) {
        let api = kind_api(&nina.client(), Kind::RoleActivation, ENCLAVE);
        let wanted = wanted(Kind::RoleActivation, name, &json!({"eligibility": "ninas", "duration": "1h"}));
        eventually("she may activate", SOON, async || api.create(&PostParams::default(), &wanted).await.ok())
            .await;
    }

    /// Makes something as soon as its namespace is there.
    async fn declare(&self, kind: Kind, namespace: &str, name: &str, spec: Value) {
        let (api, wanted) = (self.api(kind, namespace), wanted(kind, name, &spec));
        eventually(&format!("there is a namespace {namespace}"), SOON, async || {
            match api.create(&PostParams::default(), &wanted).await {
                Err(kube::Error::Api(status)) if status.code == 404 => None,
                done => Some(done.unwrap()),
            }
        })
        .await;
    }

    async fn edit(&self, kind: Kind, namespace: &str, name: &str, spec: Value) {
        patch(&self.api(kind, namespace), name, json!({ "spec": spec })).await.unwrap();
    }

    async fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        self.api(kind, namespace).delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn wait_for_state(&self, kind: Kind, namespace: &str, name: &str, states: &[&str]) {
        let what = format!("{kind} {name} is one of {states:?}");
        wait_until(self.api(kind, namespace), name, SOON, &what, |one: &DynamicObject| {
            let state = one.data.pointer("/status/state").and_then(Value::as_str);
            state.is_some_and(|state| states.contains(&state))
        })
        .await;
    }

    fn client(&self) -> Client {
        self.world.administrator()
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        kind_api(&self.client(), kind, namespace)
    }
}

fn wanted(kind: Kind, name: &str, spec: &Value) -> DynamicObject {
    let api_version = format!("{GROUP}/{VERSION}");
    object(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

async fn list<K: Clone + Debug + DeserializeOwned>(api: Api<K>) -> Vec<K> {
    api.list(&ListParams::default()).await.unwrap().items
}

fn hub() -> Value {
    json!({"cidrs": [{"cidr": "10.20.0.0/16"}]})
}

fn net(port: u16) -> Value {
    json!({"destination": {"cidrs": [{"cidr": "198.51.100.0/24"}]}, "ports": [{"port": port}]})
}

fn names(port: u16) -> Value {
    json!({"destination": {"fqdns": ["api.example.com"]}, "ports": [{"port": port}]})
}

fn limited(cpu: &str) -> Value {
    json!({"quota": {"limits.cpu": cpu}, "containerDefaults": {"limits": {"cpu": cpu}}})
}

fn endpoint() -> Value {
    json!({"workload": "w", "podSelector": {"matchLabels": {"app": "w"}}, "ports": [{"port": 5432}]})
}

fn connection(to: &str) -> Value {
    json!({"source": {"workloads": ["w"]}, "destination": {"communityEndpoint": {"name": to}}})
}

fn role(role: &str, principals: &[Value]) -> Value {
    json!({"role": role, "principals": principals})
}

fn eligibility(nina: &User) -> Value {
    let activation = json!({"maxDuration": "8h"});
    let principals = [crate::roles::user(nina)];
    json!({"role": "enclave-contributor", "principals": principals, "activation": activation})
}
