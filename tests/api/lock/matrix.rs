//! Every kind that the lock guards, every way to write it, and everybody who is not the operator.

use kube::api::{DeleteParams, Patch, PatchParams};

use enclave_operator::api::RoleAssignment;

use super::*;
use crate::network::make;
use crate::world::assert_refused;

/// A kind that the lock guards.
pub struct Guarded {
    resource: ApiResource,
    /// What would open it.
    edit: Value,
    /// What the refusal says to do instead.
    instead: &'static str,
}

impl Guarded {
    fn new(
        group: &str,
        version: &str,
        [kind, plural]: [&str; 2],
        edit: Value,
        instead: &'static str,
    ) -> Self {
        let kind = GroupVersionKind::gvk(group, version, kind);
        Self { resource: ApiResource::from_gvk_with_plural(&kind, plural), edit, instead }
    }

    pub fn cilium() -> Self {
        let kind = ["CiliumNetworkPolicy", "ciliumnetworkpolicies"];
        let edit = json!({"spec": {"egress": [{"toEntities": ["world"]}]}});
        Self::new("cilium.io", "v2", kind, edit, "traffic is opened by an EnclaveConnection")
    }

    /// Those that the API server itself serves, each with the name of one of the operator's.
    fn built_in() -> [(&'static str, Self); 5] {
        let rbac = "rbac.authorization.k8s.io";
        let everybody = json!([{"apiGroup": rbac, "kind": "Group", "name": "system:authenticated"}]);
        let everything = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]);
        let limits = json!([{"type": "Container", "default": {"cpu": "9"}}]);
        let access = "access is given by the Enclave and the Community";
        [
            (
                DENY,
                Self::new(
                    "networking.k8s.io",
                    "v1",
                    ["NetworkPolicy", "networkpolicies"],
                    json!({"spec": {"ingress": [{}]}}),
                    "traffic is opened by an EnclaveConnection",
                ),
            ),
            (
                "enclave-operator-quota",
                Self::new(
                    "",
                    "v1",
                    ["ResourceQuota", "resourcequotas"],
                    json!({"spec": {"hard": {"count/configmaps": "999"}}}),
                    "spec.quota of its EnclaveWorkload",
                ),
            ),
            (
                "enclave-operator-container-defaults",
                Self::new(
                    "",
                    "v1",
                    ["LimitRange", "limitranges"],
                    json!({"spec": {"limits": limits}}),
                    "spec.containerDefaults of their EnclaveWorkload",
                ),
            ),
            (
                "enclave-operator:rasg:guarded-payments:team",
                Self::new(rbac, "v1", ["Role", "roles"], json!({"rules": everything}), access),
            ),
            (
                "enclave-operator:listed:view",
                Self::new(
                    rbac,
                    "v1",
                    ["RoleBinding", "rolebindings"],
                    json!({"subjects": everybody}),
                    access,
                ),
            ),
        ]
    }
}

/// Writes something of the operator's in every way that there is, and sees it refused.
pub async fn assert_locked(person: &User, namespace: &str, name: &str, guarded: &Guarded) {
    let Guarded { resource, edit, instead } = guarded;
    let api: Api<DynamicObject> = Api::namespaced_with(person.client(), namespace, resource);
    let before = api.get(name).await.unwrap();
    let (post, none) = (PostParams::default(), DeleteParams::default());

    let mut edited = serde_json::to_value(&before).unwrap();
    if resource.plural == "resourcequotas" {
        // The API server itself counts in its status, so the version is old soon.
        edited["metadata"]["resourceVersion"] = Value::Null;
    }
    for (key, value) in edit.as_object().unwrap() {
        edited[key] = value.clone();
    }
    // A second one of the same name is refused before the API server sees that there is one.
    let mut another = edited.clone();
    another["metadata"] = json!({"name": name});
    let mut applied = edit.clone();
    applied["apiVersion"] = json!(resource.api_version);
    applied["kind"] = json!(resource.kind);
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0"}]);
    let patches = [
        ("patch", PatchParams::default(), Patch::Merge(edit.clone())),
        ("apply", PatchParams::apply("somebody").force(), Patch::Apply(applied)),
        ("unlabel", PatchParams::default(), Patch::Merge(json!({"metadata": {"labels": null}}))),
        ("own", PatchParams::default(), Patch::Merge(json!({"metadata": {"ownerReferences": owner}}))),
    ];

    let mut attempts = vec![
        ("create", api.create(&post, &object(another)).await.map(drop)),
        ("update", api.replace(name, &post, &object(edited)).await.map(drop)),
        ("delete", api.delete(name, &none).await.map(drop)),
    ];
    for (verb, parameters, patch) in patches {
        attempts.push((verb, api.patch(name, &parameters, &patch).await.map(drop)));
    }
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    attempts.push(("deletecollection", api.delete_collection(&none, &named).await.map(drop)));

    for (verb, outcome) in attempts {
        let refused = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        println!("{} {verb} {}: {refused}", person.name(), resource.plural);
        assert!(refused.contains(instead), "it does not say {instead:?}");
        assert_refused(outcome, "and nobody else changes them");
    }
    let after = api.get(name).await.unwrap();
    assert_eq!((&after.data["spec"], after.metadata.uid), (&before.data["spec"], before.metadata.uid));
}

/// Gives a role in the Enclave: for that a Role is made in the Community's namespace.
async fn make_role(place: &Place) {
    let assignments: Api<RoleAssignment> = namespaced(place.world.alice().client(), &place.control());
    let spec = json!({"role": "enclave-owner", "principals": [user("rita")]});
    make(&assignments, "RoleAssignment", "team", spec).await;
    wait_for_state(&assignments, "team", State::Active).await;
}

/// Cilium's kind is tried where Cilium is made believe to be installed, among the tests of the network.
#[tokio::test]
async fn nobody_but_the_operator_writes_what_guards_a_namespace() {
    let place = Place::make("guarded", &json!({})).await;
    make_role(&place).await;
    // Into an isolated workload they get by a ClusterRoleBinding only.
    let listed = json!({"accessMode": "Isolated", "principals": {"view": [user("rita")]}});
    place.make_workload("vault", &listed).await;
    let vault = format!("{}-vault", place.control());
    let (cluster, writers) = (&place.world.plane, place.writers());
    let everywhere = ["create", "clusterrolebinding", "guarded", "--clusterrole=cluster-admin"];
    let group = format!("--group={writers}");
    cluster.administrator_user().kubectl(&[&everywhere[..], &[group.as_str()]].concat()).expect_success();
    let people = [
        place.tina(),
        cluster.user("erin", &["enclave-owners", &writers]),
        cluster.user("alice", &["owners", &writers]),
        cluster.administrator_user().clone(),
    ];
    for (name, guarded) in Guarded::built_in() {
        let namespace = match guarded.resource.plural.as_str() {
            "rolebindings" => &vault,
            "roles" => &place.community,
            _ => &place.pods(),
        };
        for person in &people {
            assert_locked(person, namespace, name, &guarded).await;
        }
    }
}
