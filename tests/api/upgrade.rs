//! An upgrade and a rollback with objects in every state: what is in force stays so, what waits goes on.

use std::collections::BTreeMap;

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::{Enclave, EnclaveConnection, Kind, State};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Role, RoleBinding};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lock::{maintenance, open_policy, until_admitted};
use crate::network::{Story, make, required, to_the_ledger};
use crate::roles::{self, Place, wait_for_activation};
use crate::support::helm::{CHART, RELEASE, copy_chart};
use crate::support::{Process, eventually, wait_until, writes_by};
use crate::trouble::{wait_for_log, wait_for_metric};
use crate::world::{
    SOON, World, active_community, communities, enclave, enclaves, hold_everything, kind_api, namespaced,
    on_a_runtime, patch, vote, wait_for_access, wait_for_enclave, wait_for_request, wait_for_state,
    wait_until_applied,
};

const OPERATOR: &str = "system:serviceaccount:enclave-system:enclave-operator";
const STATES: &str = "states";

/// Every state of what is held, and of activations, that lasts.
async fn declare_every_state(world: &World) {
    let (alice, bob, administrator) = (world.alice(), world.bob(), world.plane.administrator_user());
    let mut rules = hold_everything();
    rules["rules"].as_array_mut().unwrap().push(json!({"operation": "RoleActivation", "policy": "Required"}));
    active_community(world, STATES, &json!({ "approvals": rules })).await;
    let api = enclaves(&alice, STATES);
    for name in ["active", "edited", "rejected", "pending"] {
        api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, STATES, name).await;
        if name != "pending" {
            vote(&bob, STATES, &request, Verdict::Approved, None).await.unwrap();
            wait_for_enclave(&api, name, State::Active).await;
        }
    }
    patch(&api, "edited", json!({"spec": {"description": "waits"}})).await.unwrap();
    wait_for_request(&alice, STATES, "edited").await;
    patch(&api, "rejected", json!({"spec": {"description": "no"}})).await.unwrap();
    let request = wait_for_request(&alice, STATES, "rejected").await;
    vote(&bob, STATES, &request, Verdict::Rejected, Some("no")).await.unwrap();
    wait_for_enclave(&api, "rejected", State::Rejected).await;

    // Traffic: open, closed, asked for.
    let story = Story::begin_in(world, "net", required(&["ConnectionUpdate"])).await;
    let connections = story.connections();
    for name in ["open", "closed"] {
        make(&connections, "EnclaveConnection", name, to_the_ledger()).await;
        wait_for_state(&connections, name, State::Connected).await;
    }
    patch(&connections, "closed", json!({"spec": {"enabled": false}})).await.unwrap();
    wait_for_state(&connections, "closed", State::Inactive).await;
    patch(
        &communities(&alice),
        "net",
        json!({"spec": {"maintenance":
        maintenance("General", &json!({"kind": "User", "name": administrator.name()}), 3600)}}),
    )
    .await
    .unwrap();
    wait_until_applied(&communities(&alice), "net").await;
    let policies: Api<NetworkPolicy> = namespaced(administrator.client(), "net-payments");
    until_admitted(async || policies.create(&PostParams::default(), &open_policy("debug")).await).await;
    let shows = |enclave: &Enclave| {
        enclave
            .status
            .as_ref()
            .is_some_and(|status| status.unmanaged_resources == ["NetworkPolicy net-payments/debug"])
    };
    wait_until(enclaves(&alice, "net"), "payments", SOON, "it shows what others made", shows).await;

    // Roles: held, to be decided, later, given back.
    let place = Place::make_in(world, "jit", &json!({})).await;
    let (nina, control) = (place.user("nina", &[]), place.control("payments"));
    place.assign(&control, "owners", "enclave-owner", &[roles::group("jit-owners")]).await;
    let eligibilities = Place::eligibilities(&alice, &control);
    for (name, approval) in [("free", "NotRequired"), ("held", "Required")] {
        let spec = json!({"role": "enclave-reader", "principals": [roles::user(&nina)],
            "activation": {"maxDuration": "8h", "approval": {"policy": approval}}});
        roles::make(&eligibilities, "RoleEligibility", name, &spec).await.unwrap();
        wait_for_state(&eligibilities, name, State::Active).await;
    }
    wait_for_access(&nina, "create", "roleactivations", &control, true).await;
    let activations = Place::activations(&nina, &control);
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    for (name, spec, state) in [
        ("active", json!({"eligibility": "free", "duration": "4h"}), "Active"),
        ("pending", json!({"eligibility": "held", "duration": "4h"}), "PendingApproval"),
        ("later", json!({"eligibility": "free", "duration": "1h", "startsAt": later}), "Scheduled"),
        ("refused", json!({"eligibility": "free", "duration": "20h"}), "Refused"),
    ] {
        roles::make(&activations, "RoleActivation", name, &spec).await.unwrap();
        wait_for_activation(&activations, name, state).await;
    }
    roles::wait_until_bound(&activations, "active").await;
}

/// State, what is applied and which request it waits for, of every object.
async fn states(world: &World) -> BTreeMap<String, Value> {
    let told = |(kind, object): (Kind, DynamicObject)| {
        let shown = &object.data["status"];
        let told = json!([
            object.metadata.generation,
            shown["state"],
            shown["applied"]["digest"],
            shown["pending"]["approvalRequest"],
            shown["endsAt"],
            shown["unmanagedResources"],
        ]);
        (format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any()), told)
    };
    all_objects(world).await.into_iter().map(told).collect()
}

/// Which version of everything that guards or gives rights is there.
async fn children(world: &World) -> BTreeMap<String, String> {
    async fn add<K>(world: &World, all: &mut BTreeMap<String, String>)
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        for object in Api::<K>::all(world.administrator()).list(&ListParams::default()).await.unwrap() {
            let key =
                format!("{} {}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any());
            if !key.contains("enclave-operator") || key.contains("enclave-system") {
                continue;
            }
            all.insert(key, object.resource_version().unwrap_or_default());
        }
    }
    let mut all = BTreeMap::new();
    add::<NetworkPolicy>(world, &mut all).await;
    add::<RoleBinding>(world, &mut all).await;
    add::<Role>(world, &mut all).await;
    let spec = |quota: ResourceQuota| json!(quota.spec).to_string();
    for quota in Api::<ResourceQuota>::all(world.administrator()).list(&ListParams::default()).await.unwrap()
    {
        all.insert(format!("ResourceQuota {}", quota.namespace().unwrap_or_default()), spec(quota));
    }
    for binding in
        Api::<ClusterRoleBinding>::all(world.administrator()).list(&ListParams::default()).await.unwrap()
    {
        if binding.name_any().contains(":ract:") || binding.name_any().contains(":rasg:") {
            all.insert(binding.name_any(), binding.resource_version().unwrap_or_default());
        }
    }
    for namespace in Api::<Namespace>::all(world.administrator()).list(&ListParams::default()).await.unwrap()
    {
        all.insert(namespace.name_any(), namespace.uid().unwrap_or_default());
    }
    all
}

/// Fields of a status that an earlier version had under other names.
const RENAMED: [(&str, &str); 3] = [
    ("policyFingerprint", "witness"),
    ("createdDuringActivation", "leftBehind"),
    ("unmanagedResources", "leftovers"),
];

/// A copy of the chart with the names that the earlier version had, in CustomResourceDefinitions and policies.
fn copy_earlier_chart() -> TempDir {
    let earlier = tempfile::tempdir().unwrap();
    copy_chart(earlier.path());
    let mut renamed = 0;
    for folder in ["templates/crds", "templates/policies"] {
        for file in std::fs::read_dir(earlier.path().join(folder)).unwrap() {
            let path = file.unwrap().path();
            let mut text = std::fs::read_to_string(&path).unwrap();
            for (now, before) in RENAMED {
                renamed += text.matches(now).count();
                text = text.replace(now, before);
            }
            std::fs::write(&path, text).unwrap();
        }
    }
    assert!(renamed > 4, "{renamed}");
    earlier
}

/// Leaves every status as the earlier version had it. Its definitions are installed.
async fn write_earlier_names(world: &World, stored: &[(Kind, DynamicObject)]) {
    let operator = world.operator().await;
    let mut written = 0;
    for (kind, object) in stored {
        let values = RENAMED.map(|(now, before)| (before, object.data["status"][now].clone()));
        let status: BTreeMap<&str, Value> =
            values.into_iter().filter(|(_, value)| !value.is_null()).collect();
        if status.is_empty() {
            continue;
        }
        let api = kind_api(&operator.client(), *kind, object.namespace().as_deref().unwrap_or_default());
        let patch = Patch::Merge(json!({ "status": status }));
        let after = api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await.unwrap();
        for (before, value) in &status {
            assert_eq!(&after.data["status"][before], value);
        }
        for (now, _) in RENAMED {
            assert_eq!(after.data["status"][now], Value::Null, "{kind} {}", object.name_any());
        }
        written += 1;
    }
    assert!(written > 5, "{written}");
}

async fn all_objects(world: &World) -> Vec<(Kind, DynamicObject)> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let found = kind_api(&world.administrator(), kind, "").list(&ListParams::default()).await.unwrap();
        all.extend(found.into_iter().map(|object| (kind, object)));
    }
    all
}

fn start(world: &World, identity: &str) -> Process {
    let operator = world.spawn_operator(identity);
    on_a_runtime(async || wait_for_log(&operator, "leading, reconciling").await);
    operator
}

/// What is in force and what waits, and what that made.
type Seen = (BTreeMap<String, Value>, BTreeMap<String, String>);

/// All of it but what belongs to the connection that is closed and opened meanwhile.
async fn look(world: &World) -> Seen {
    let (mut objects, mut made) = (states(world).await, children(world).await);
    objects.retain(|key, _| !key.contains("net-payments/open") && !key.contains("econ-open"));
    made.retain(|key, _| !key.contains("connection.net-payments.open"));
    (objects, made)
}

/// Everything is as before, although another operator with other policies has looked at it.
async fn assert_unchanged(world: &World, before: &Seen, operator: &Process) {
    // New policies settle first; until then it says that it holds.
    wait_for_metric(operator, "enclave_operator_admission_policies_intact 1").await;
    eventually("every object is in its state", SOON, async || {
        (look(world).await.0 == before.0).then_some(())
    })
    .await;
    assert_eq!(look(world).await.1, before.1, "something that guards or gives rights was written");
}

#[test]
fn an_upgrade_and_a_rollback_change_nothing_that_is_in_force() {
    let world = World::without_operator();
    world.install();
    let earlier = start(&world, "earlier");
    let (before, stored) = on_a_runtime(async || {
        declare_every_state(&world).await;
        let seen = eventually("nothing is under way", SOON, async || {
            let seen = look(&world).await;
            let is_under_way = |(key, state): (&String, &Value)| {
                state[1] == "Approved" && !key.starts_with("ApprovalRequest")
            };
            (!seen.0.iter().any(is_under_way) && look(&world).await == seen).then_some(seen)
        })
        .await;
        (seen, all_objects(&world).await)
    });
    assert!(before.0.len() > 25, "{:#?}", before.0);

    // From an earlier version, which had other names for some fields.
    earlier.terminate(SOON);
    let administrator = world.plane.administrator_user();
    let upgrade = |chart: &str, settings: &str| {
        administrator.helm(&["upgrade", RELEASE, chart, "--set", settings]).expect_success();
    };
    upgrade(copy_earlier_chart().path().to_str().unwrap(), "replicas=0");
    on_a_runtime(async || write_earlier_names(&world, &stored).await);
    upgrade(CHART, "replicas=0");
    let first = start(&world, "first");
    on_a_runtime(async || assert_unchanged(&world, &before, &first).await);

    // The next version of the chart: a new field with a default, and policies with other settings.
    let next = tempfile::tempdir().unwrap();
    copy_chart(next.path());
    let crd = next.path().join("templates/crds/enclaves.yaml");
    let text = std::fs::read_to_string(&crd).unwrap();
    let at = "            properties:\n              approvals:\n";
    assert!(text.contains(at), "where the fields of an Enclave begin");
    let field = "            properties:\n              tier:\n                description: New.\n                type: string\n                default: standard\n              approvals:\n";
    std::fs::write(&crd, text.replacen(at, field, 1)).unwrap();
    let upgraded = Timestamp::now();
    upgrade(next.path().to_str().unwrap(), "replicas=0,mfa.values={mfa,otp}");
    // The old replica still runs under the new policies: it holds, and closes.
    on_a_runtime(async || {
        wait_for_metric(&first, "enclave_operator_admission_policies_intact 0").await;
        let open: Api<EnclaveConnection> = namespaced(world.erin().client(), "net-payments");
        patch(&open, "open", json!({"spec": {"enabled": false}})).await.unwrap();
        wait_for_state(&open, "open", State::Inactive).await;
        patch(&open, "open", json!({"spec": {"enabled": true}})).await.unwrap();
    });
    first.terminate(SOON);
    let second = start(&world, "second");
    on_a_runtime(async || {
        let story = Story { world: &world, community: "net".into() };
        story.approve(&story.connections(), "net-payments", "open").await;
        wait_for_state(&story.connections(), "open", State::Connected).await;
        assert_unchanged(&world, &before, &second).await;
    });
    let proposed = writes_by(&world.plane.audit_log(), OPERATOR, Some(upgraded));
    let proposed: Vec<_> = proposed
        .iter()
        .filter(|write| write.verb == "create" && write.resource == "approvalrequests")
        .filter(|write| write.namespace != "net-payments")
        .collect();
    assert!(proposed.is_empty(), "a new default is no change: {proposed:#?}");

    // Back to the names of the earlier version: without an operator of that version nothing is written, and what is in
    // force stays so, with all that guards it.
    second.terminate(SOON);
    administrator.helm(&["rollback", RELEASE, "2"]).expect_success();
    on_a_runtime(async || {
        let without_renamed = |seen: &Seen| {
            let mut states = seen.0.clone();
            for told in states.values_mut() {
                told[5] = Value::Null;
            }
            (states, seen.1.clone())
        };
        assert_eq!(without_renamed(&look(&world).await), without_renamed(&before));
    });

    // And to this one again: what waited goes on.
    administrator.helm(&["rollback", RELEASE, "1"]).expect_success();
    let third = start(&world, "third");
    on_a_runtime(async || {
        assert_unchanged(&world, &before, &third).await;
        let (alice, bob) = (world.alice(), world.bob());
        for name in ["pending", "edited"] {
            let request = wait_for_request(&alice, STATES, name).await;
            eventually("it can be decided", SOON, async || {
                vote(&bob, STATES, &request, Verdict::Approved, None).await.ok()
            })
            .await;
            wait_for_enclave(&enclaves(&alice, STATES), name, State::Active).await;
        }
    });
}
