//! Attacks on the approvals, each by the ordinary user who would try it, and each with its
//! negative control: with the one defence removed the same attack succeeds, so the test is known
//! to bite. `docs/bypasses.md` is the list.
//!
//! The tests change the live admission policies, so they have a cluster of their own and take
//! turns.

mod identity;
mod lock;
mod network;
mod objects;
mod requests;
mod roles;
mod rules;
mod votes;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use enclave_operator::admission::{Installation, build_optional_policies, build_policies};
use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::names::{FINALIZER, condition as conditions};
use enclave_operator::api::{ApprovalRequest, Community, State};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::{User, eventually, wait_until};
use crate::world::{
    SOON, World, active_community, assert_refused, communities, community, enclave, enclaves, object,
    on_a_runtime, requests, wait_for_community, wait_for_request, write_status_of,
};

const VERIFY_VOTE: &str = "enclave-operator-verify-vote";
const VERIFY_REQUESTER: &str = "enclave-operator-verify-requester";
const STAMP_REQUESTER: &str = "enclave-operator-stamp-requester";
const STAMP_FINALIZER: &str = "enclave-operator-stamp-finalizer";
const OPERATOR_ONLY: &str = "enclave-operator-operator-only";
const NAMESPACE_LABELS: &str = "enclave-operator-namespace-labels";
const VERIFY_ACTIVATION: &str = "enclave-operator-verify-activation";
const VERIFY_GRANTS: &str = "enclave-operator-verify-grants";
const LOCK: &str = "enclave-operator-lock";
const DELETION_GUARD: &str = "enclave-operator-deletion-guard";

/// A Community that only shows whether the policies are intact.
const SENTINEL: &str = "sentinel";

static BYPASS: LazyLock<World> = LazyLock::new(start);
static TURN: Mutex<()> = Mutex::const_new(());
static OPERATOR_IS_DOWN: AtomicBool = AtomicBool::new(false);

fn start() -> World {
    let world = World::start();
    world
        .plane
        .administrator_user()
        .kubectl_with_input(&["apply", "-f", "-"], &grants().to_string())
        .expect_success();
    on_a_runtime(async || {
        let api = communities(&world.alice());
        api.create(&PostParams::default(), &community(SENTINEL, &json!({}))).await.unwrap();
        wait_for_community(&api, SENTINEL, State::Active).await;
    });
    world
}

/// Who else may do what, beside the roles of the World: more than anybody should have, so that
/// only the defence under test is in the way. No right here comes from a wildcard, but that of the
/// group "wildcards".
fn grants() -> Value {
    let own = |resources: &[&str], verbs: &[&str]| json!([{"apiGroups": ["enclave-operator.io"], "resources": resources, "verbs": verbs}]);
    let everything = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    let mut items = Vec::new();
    let roles = [
        (
            "meddlers",
            own(
                &[
                    "approvalrequests",
                    "communities",
                    "enclaves",
                    "approvalrequests/status",
                    "communities/status",
                    "enclaves/status",
                ],
                &everything,
            ),
        ),
        (
            "status-writers",
            own(&["approvalrequests", "approvalrequests/status"], &["get", "update", "patch"]),
        ),
        ("speakers", own(&["enclaves"], &["request-on-behalf"])),
        ("wildcards", own(&["*"], &["*"])),
        (
            "impersonators",
            json!([{"apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"]}]),
        ),
        (
            "namespace-admins",
            json!([
                {"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": everything},
                {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": everything}
            ]),
        ),
    ];
    for (name, rules) in roles {
        items.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules,
        }));
        items.push(bound_group(name, name, name));
    }
    for (group, role) in [
        ("contributors", "community-contributor"),
        ("wildcards", "enclave-approver"),
        ("wildcards", "community-owner"),
    ] {
        items.push(bound_group(&format!("{group}-{role}"), group, &format!("enclave-operator:{role}")));
    }
    items.push(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "default"},
    }));
    items.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "enclave-operator:enclave-approver"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "robot"}],
    }));
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn bound_group(name: &str, group: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    })
}

/// Runs a test in its turn, and leaves the cluster intact however it ends.
async fn play(test: impl AsyncFnOnce(&'static World)) {
    let _turn = TURN.lock().await;
    let world: &'static World = &BYPASS;
    let outcome = AssertUnwindSafe(test(world)).catch_unwind().await;
    if let Err(panic) = outcome {
        start_operator(world);
        restore(world).await;
        resume_unwind(panic);
    }
}

/// Whether something is really done, or only as far as admission.
#[derive(Clone, Copy)]
enum Run {
    ForReal,
    Dry,
}

impl Run {
    const fn is_dry(self) -> bool {
        matches!(self, Self::Dry)
    }

    fn post(self) -> PostParams {
        PostParams { dry_run: self.is_dry(), ..PostParams::default() }
    }

    fn patch(self) -> PatchParams {
        PatchParams { dry_run: self.is_dry(), ..PatchParams::default() }
    }

    fn apply(self) -> PatchParams {
        PatchParams { dry_run: self.is_dry(), ..PatchParams::apply("somebody").force() }
    }

    fn delete(self) -> DeleteParams {
        DeleteParams { dry_run: self.is_dry(), ..DeleteParams::default() }
    }
}

/// What is in the way of an attack.
#[derive(Clone, Copy, Debug)]
enum Defence {
    /// The one validation of a policy whose words contain this.
    Validation(&'static str, &'static str),
    /// All of a policy that validates.
    Check(&'static str),
    /// All of a policy that stamps.
    Stamp(&'static str),
}

/// The attack is refused with these words; with the defences removed it gets through; and with
/// them back it is refused again.
async fn bites<T: Debug>(
    world: &World,
    defences: &[Defence],
    words: &str,
    attack: impl AsyncFn(Run) -> Result<T, kube::Error>,
) {
    bites_each(world, defences, words, &[()], async |(), run| attack(run).await).await;
}

/// As [`bites`], for several ways to do the same.
async fn bites_each<V, T: Debug>(
    world: &World,
    defences: &[Defence],
    words: &str,
    ways: &[V],
    attack: impl AsyncFn(&V, Run) -> Result<T, kube::Error>,
) {
    for way in ways {
        assert_refused(attack(way, Run::ForReal).await, words);
    }
    remove(world, defences).await;
    for way in ways {
        until_accepted(async || attack(way, Run::Dry).await).await;
    }
    restore(world).await;
    for way in ways {
        until_refused(words, async || attack(way, Run::Dry).await).await;
    }
}

/// An object keeps the operator's finalizer when somebody takes it off: it is put back, without the stamp
/// that is refused, and only without the check as well it goes.
async fn keeps_its_finalizer<K: Resource + Debug>(
    world: &World,
    check: &'static str,
    strip: impl AsyncFn(Run) -> Result<K, kube::Error>,
) {
    let is_there = |object: &K| object.meta().finalizers.iter().flatten().any(|name| name == FINALIZER);
    assert!(is_there(&strip(Run::ForReal).await.unwrap()));
    let stamps: Api<MutatingAdmissionPolicyBinding> = Api::all(world.administrator());
    stamps.delete(STAMP_FINALIZER, &DeleteParams::default()).await.unwrap();
    let words = "only the operator removes the finalizer";
    until_refused(words, async || strip(Run::Dry).await).await;
    // It guards nothing, so the operator does not mind.
    wait_for_protection(world, "True").await;
    remove(world, &[Defence::Validation(check, words)]).await;
    assert!(!is_there(&until_accepted(async || strip(Run::Dry).await).await));
    restore(world).await;
    eventually("it is put back again", SOON, async || strip(Run::Dry).await.ok().filter(is_there).map(drop))
        .await;
}

/// The API server takes a moment to run changed policies.
async fn until_accepted<T>(attempt: impl AsyncFn() -> Result<T, kube::Error>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "still refused: {error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

async fn until_refused<T: Debug>(words: &str, attempt: impl AsyncFn() -> Result<T, kube::Error>) {
    eventually(&format!("refused with {words:?}"), SOON, async || {
        attempt().await.err().filter(|error| error.to_string().contains(words)).map(drop)
    })
    .await;
}

/// Reads and writes until nobody wrote in between. (The API server itself writes the status of a
/// policy, after it has looked at its types.)
async fn until_nobody_interferes<T>(attempt: impl AsyncFn() -> Result<T, kube::Error>) -> T {
    eventually("nobody writes in between", SOON, async || match attempt().await {
        Err(kube::Error::Api(status)) if status.code == 409 => None,
        done => Some(done.unwrap()),
    })
    .await
}

/// Removes defences, and waits until the operator has noticed.
async fn remove(world: &World, defences: &[Defence]) {
    let client = world.administrator();
    for defence in defences {
        match defence {
            Defence::Validation(name, words) => {
                let api: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
                until_nobody_interferes(async || {
                    let mut policy = api.get(name).await?;
                    let validations = policy.spec.as_mut().unwrap().validations.as_mut().unwrap();
                    let all = validations.len();
                    validations.retain(|one| !one.message_expression.as_ref().unwrap().contains(words));
                    assert_eq!(validations.len(), all - 1, "{defence:?} is one");
                    api.replace(name, &PostParams::default(), &policy).await
                })
                .await;
            }
            Defence::Check(name) => {
                let api: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
                api.delete(name, &DeleteParams::default()).await.unwrap();
            }
            Defence::Stamp(name) => {
                let api: Api<MutatingAdmissionPolicyBinding> = Api::all(client.clone());
                api.delete(name, &DeleteParams::default()).await.unwrap();
            }
        }
    }
    wait_for_protection(world, "False").await;
}

/// Puts all policies back, and waits until the operator relies on them: by then the API server runs
/// them, so that the next attack meets them.
async fn restore(world: &World) {
    let wanted = build_policies(&Installation::default()).unwrap();
    let now = Timestamp::now();
    let changed = [
        put_back(world, &wanted.mutating, |live, wanted| live.spec == wanted.spec).await,
        put_back(world, &wanted.validating, |live, wanted| live.spec == wanted.spec).await,
        put_back(world, &wanted.mutating_bindings, |live, wanted| live.spec == wanted.spec).await,
        put_back(world, &wanted.validating_bindings, |live, wanted| live.spec == wanted.spec).await,
    ];
    let optional = build_optional_policies(&Installation::default()).unwrap();
    put_back(world, &optional.mutating_bindings, |live, wanted| live.spec == wanted.spec).await;
    // What was shown before the operator noticed does not count.
    let since = if changed.contains(&true) { now } else { Timestamp::MIN };
    wait_for_protection_since(world, "True", since).await;
    // A vote on an open request that has no fingerprint again yet would be void.
    let requests: Api<ApprovalRequest> = Api::all(world.administrator());
    eventually("open requests have their fingerprint", SOON, async || {
        let all = requests.list(&ListParams::default()).await.unwrap().items;
        let has_fingerprint = |request: &ApprovalRequest| {
            let status = request.status.as_ref();
            status.is_none_or(|status| {
                status.state != Some(RequestState::Pending) || status.policy_fingerprint.is_some()
            })
        };
        all.iter().all(has_fingerprint).then_some(())
    })
    .await;
}

/// Returns whether there was anything to do.
async fn put_back<K>(world: &World, wanted: &[K], same: impl Fn(&K, &K) -> bool) -> bool
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::all(world.administrator());
    let mut changed = false;
    for wanted in wanted {
        let name = wanted.name_any();
        changed |= until_nobody_interferes(async || match api.get_opt(&name).await? {
            None => api.create(&PostParams::default(), wanted).await.map(|_| true),
            Some(live) if same(&live, wanted) => Ok(false),
            Some(live) => {
                let mut wanted = wanted.clone();
                wanted.meta_mut().resource_version = live.resource_version();
                api.replace(&name, &PostParams::default(), &wanted).await.map(|_| true)
            }
        })
        .await;
    }
    changed
}

async fn wait_for_protection(world: &World, status: &str) {
    wait_for_protection_since(world, status, Timestamp::MIN).await;
}

/// Waits until the operator shows that the policies are intact ("True") or not, and that it has come to
/// this since then.
async fn wait_for_protection_since(world: &World, status: &str, since: Timestamp) {
    let what = format!("it shows Protected: {status} since {since}");
    wait_until(communities(&world.alice()), SENTINEL, SOON, &what, |community: &Community| {
        community.status.as_ref().is_some_and(|known| {
            known.gate.conditions.iter().any(|condition| {
                condition.type_ == conditions::PROTECTED
                    && condition.status == status
                    && condition.last_transition_time.0 >= since
            })
        })
    })
    .await;
}

/// Alice makes a Community with these rules and asks for an Enclave "e" in it. Returns the name of
/// the request.
async fn ask(world: &World, community: &str, rules: Value) -> String {
    active_community(world, community, &json!({ "approvals": rules })).await;
    let alice = world.alice();
    enclaves(&alice, community).create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
    wait_for_request(&alice, community, "e").await
}

/// Rules for one operation.
fn rule(operation: &str, minimum: i32) -> Value {
    json!({"rules": [{"operation": operation, "policy": "Required", "minimumApprovers": minimum}]})
}

/// Writes the status of a request as somebody who decides would.
async fn write_status(
    user: &User,
    namespace: &str,
    request: &str,
    status: Value,
    run: Run,
) -> Result<ApprovalRequest, kube::Error> {
    let patch = Patch::Merge(json!({ "status": status }));
    requests(user, namespace).patch_status(request, &run.patch(), &patch).await
}

async fn approve(
    user: &User,
    namespace: &str,
    request: &str,
    run: Run,
) -> Result<ApprovalRequest, kube::Error> {
    write_status(user, namespace, request, json!({"decision": "Approved"}), run).await
}

/// Waits until it is said what a request lacks.
async fn wait_for_missing(user: &User, namespace: &str, request: &str, missing: &str) -> ApprovalRequest {
    let what = format!("{request} lacks {missing:?}");
    wait_until(requests(user, namespace), request, SOON, &what, |request: &ApprovalRequest| {
        request.status.as_ref().and_then(|status| status.missing.as_deref()) == Some(missing)
    })
    .await
}

fn stop_operator(world: &World) {
    world.kill_operator();
    OPERATOR_IS_DOWN.store(true, Ordering::SeqCst);
}

fn start_operator(world: &World) {
    if OPERATOR_IS_DOWN.swap(false, Ordering::SeqCst) {
        world.start_operator("operator-1");
    }
}

/// The operator's own account, to do what only its logic would not.
async fn operator(world: &World) -> User {
    world.operator().await
}

/// Changes a status as the operator.
async fn write_as_operator<K>(api: &Api<K>, name: &str, change: impl Fn(&mut Value)) -> K
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    until_nobody_interferes(async || {
        let before = serde_json::to_value(api.get(name).await?).unwrap();
        let mut status = before["status"].clone();
        change(&mut status);
        write_status_of(api, name, &before, &status).await
    })
    .await
}

/// Records, as the operator, that a request is approved by the votes that it has.
async fn decide_as_operator(world: &World, namespace: &str, request: &str) {
    let api = requests(&operator(world).await, namespace);
    write_as_operator(&api, request, |status| {
        status["state"] = json!(RequestState::Approved);
        status["decidedAt"] = json!(Timestamp::now());
        status["missing"] = Value::Null;
    })
    .await;
}

/// Makes a request as the operator, with another spec and with the status of the original.
async fn copy_as_operator(
    world: &World,
    original: &ApprovalRequest,
    name: &str,
    change: impl Fn(&mut Value),
) -> String {
    let namespace = original.namespace().unwrap();
    let api = requests(&operator(world).await, &namespace);
    let mut copy = serde_json::to_value(original).unwrap();
    copy["metadata"] = json!({ "name": name });
    change(&mut copy["spec"]);
    api.create(&PostParams::default(), &object(copy.clone())).await.unwrap();
    write_as_operator(&api, name, |status| *status = copy["status"].clone()).await;
    name.to_owned()
}
