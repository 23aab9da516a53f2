//! A cluster with the operator in it, and people who use it.

use std::fmt::Debug;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::{ApprovalRequest, Community, Enclave, Kind, State};
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::runtime::Settings;
use enclave_operator::runtime::settings::{AuditSettings, InstallationSettings};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::helm::{CHART, NAMESPACE, RELEASE};
use crate::{
    ControlPlane, OperatorProcess, Process, User, eventually, operator_program, wait_for_policies, wait_until,
};

/// Nothing that the operator does takes longer, however slow the machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The cluster that most tests share. Each test uses a Community of its own.
pub static WORLD: LazyLock<World> = LazyLock::new(World::start);

pub struct World {
    pub plane: ControlPlane,
    operator: Mutex<Option<Process>>,
}

impl World {
    /// A control plane with everything installed and the operator running.
    pub fn start() -> Self {
        let world = Self::without_operator();
        world.install();
        world.start_operator("operator-1");
        world
    }

    /// A control plane where nothing is installed.
    pub fn without_operator() -> Self {
        Self::on(ControlPlane::start().unwrap())
    }

    /// As [`World::without_operator`], on a control plane that is not the usual one.
    pub fn on(plane: ControlPlane) -> Self {
        Self { plane, operator: Mutex::new(None) }
    }

    /// What an administrator does once: the chart, and who holds which role.
    pub fn install(&self) {
        self.apply_chart("install");
        self.give_roles();
    }

    /// `install` or `upgrade`. No node is there to run Pods, and Pods that wait would disturb the analyser:
    /// the process is started by [`World::spawn_operator`].
    pub fn apply_chart(&self, verb: &str) {
        let administrator = self.plane.administrator_user();
        let namespace: &[&str] = if verb == "install" { &["--create-namespace"] } else { &[] };
        let arguments = [&[verb, RELEASE, CHART, "--set", "replicas=0"], namespace].concat();
        administrator.helm(&arguments).expect_success();
        administrator
            .kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"])
            .expect_success();
    }

    /// Gives roles to groups, and waits until everything that was installed is effective.
    pub fn give_roles(&self) {
        let administrator = self.plane.administrator_user();
        for (role, group) in [
            ("community-owner", "owners"),
            ("enclave-owner", "enclave-owners"),
            ("enclave-approver", "approvers"),
            ("enclave-reader", "readers"),
        ] {
            let role = format!("--clusterrole=enclave-operator:{role}");
            administrator
                .kubectl(&["create", "clusterrolebinding", group, &role, &format!("--group={group}")])
                .expect_success();
        }
        on_a_runtime(async || {
            wait_for_access(&self.alice(), "create", "communities", "", true).await;
            wait_for_access(&self.bob(), "approve", "approvalrequests", "", true).await;
            self.wait_for_policies().await;
        });
    }

    /// Starts the operator as its own service account, the way its Deployment does.
    pub fn start_operator(&self, identity: &str) {
        let process = self.spawn_operator(identity);
        *self.operator.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    pub fn spawn_operator(&self, identity: &str) -> Process {
        let account = on_a_runtime(async || self.operator().await);
        self.spawn_operator_as(&account, identity)
    }

    pub fn spawn_operator_as(&self, account: &User, identity: &str) -> Process {
        self.spawn_operator_with(account, identity, &[])
    }

    /// With settings beside those that the Deployment gives.
    pub fn spawn_operator_with(&self, account: &User, identity: &str, settings: &[(&str, &str)]) -> Process {
        // Each time anew: an upgrade changes it.
        let process = on_a_runtime(async || OperatorProcess::read(self.administrator()).await);
        let mut command = process.command(&operator_program(), account, identity);
        command.envs(settings.iter().copied());
        command.env("RUST_LOG", "info,enclave_operator=debug");
        self.plane.spawn(command, identity).unwrap()
    }

    pub fn kill_operator(&self) {
        let process = self.operator.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.expect("the operator runs").kill();
    }

    pub fn administrator(&self) -> Client {
        self.plane.administrator_user().client()
    }

    /// Owns communities, and could approve: what she may not approve is her own.
    pub fn alice(&self) -> User {
        self.plane.user("alice", &["owners", "approvers"])
    }

    /// A colleague of Alice's with the same rights.
    pub fn anna(&self) -> User {
        self.plane.user("anna", &["owners", "approvers"])
    }

    /// Approves, and is in the cyber team.
    pub fn bob(&self) -> User {
        self.plane.user("bob", &["approvers", "cyber-team"])
    }

    /// Approves.
    pub fn carol(&self) -> User {
        self.plane.user("carol", &["approvers"])
    }

    /// Owns enclaves and what is in them.
    pub fn erin(&self) -> User {
        self.plane.user("erin", &["enclave-owners"])
    }

    /// Only reads.
    pub fn rita(&self) -> User {
        self.plane.user("rita", &["readers"])
    }

    /// The operator's own account, to do what only its logic would not do.
    pub async fn operator(&self) -> User {
        self.plane.service_account(NAMESPACE, RELEASE).await.unwrap()
    }

    /// The API server takes a moment to run new policies.
    pub async fn wait_for_policies(&self) {
        wait_for_policies(self.administrator(), SOON).await;
    }
}

/// Something that somebody may do, or may not.
pub fn right(verb: &str, resource: &str, namespace: &str) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let is_ours = Kind::ALL.iter().any(|kind| kind.plural() == resource);
    ResourceAttributes {
        group: match resource {
            "roles" | "rolebindings" => Some("rbac.authorization.k8s.io".to_owned()),
            _ => is_ours.then(|| "enclave-operator.io".to_owned()),
        },
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        resource: Some(resource.into()),
        subresource,
        verb: Some(verb.into()),
        ..ResourceAttributes::default()
    }
}

/// Whether somebody may do something, as the API server knows it now.
pub async fn may(user: &User, right: &ResourceAttributes) -> bool {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(user.client());
    let mut review = SelfSubjectAccessReview::default();
    review.spec.resource_attributes = Some(right.clone());
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    review.status.is_some_and(|status| status.allowed)
}

/// Waits until somebody may, or may not, do something in a namespace.
pub async fn wait_for_access(user: &User, verb: &str, resource: &str, namespace: &str, allowed: bool) {
    let right = right(verb, resource, namespace);
    let what = format!("{} may {verb} {resource} in {namespace}: {allowed}", user.name());
    eventually(&what, SOON, async || (may(user, &right).await == allowed).then_some(())).await;
}

/// For an operator that runs inside a test.
pub fn operator_settings(identity: &str) -> Settings {
    Settings {
        installation: InstallationSettings {
            namespace: "enclave-system".into(),
            service_account: "enclave-operator".into(),
            mfa_claim: "enclave-operator.io/acr".into(),
            mfa_values: vec!["mfa".into()],
            allow_wildcard_approvers: false,
        },
        identity: identity.into(),
        retain_requests_for: jiff::SignedDuration::MAX,
        listen: ([127, 0, 0, 1], 0).into(),
        audit: AuditSettings { audit_file: "/dev/null".into(), ..AuditSettings::default() },
    }
}

/// For work that needs a runtime where there is none, or another one.
pub fn on_a_runtime<T: Send, F: Future<Output = T>>(work: impl FnOnce() -> F + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { work().await })
        });
        worker.join().unwrap()
    })
}

/// An object from JSON; the type says which.
pub fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

pub fn communities(user: &User) -> Api<Community> {
    Api::all(user.client())
}

pub fn enclaves(user: &User, community: &str) -> Api<Enclave> {
    Api::namespaced(user.client(), community)
}

pub fn requests(user: &User, namespace: &str) -> Api<ApprovalRequest> {
    Api::namespaced(user.client(), namespace)
}

pub fn namespaced<K>(client: Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client, namespace)
}

/// The objects of a kind, in a namespace unless it has none.
pub fn kind_api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    match namespace {
        "" => Api::all_with(client.clone(), &kind.resource()),
        namespace => Api::namespaced_with(client.clone(), namespace, &kind.resource()),
    }
}

/// Waits until no object has records any more that were told, or are to be told.
pub async fn wait_until_told(world: &World) {
    wait_until_told_within(world, SOON).await;
}

/// As [`wait_until_told`].
pub async fn wait_until_told_within(world: &World, limit: Duration) {
    let client = world.administrator();
    eventually("no record waits on any object", limit, async || {
        for kind in Kind::ALL {
            for object in kind_api(&client, kind, "").list(&ListParams::default()).await.ok()? {
                let waiting = object.data.pointer("/status/audit/waiting").and_then(Value::as_array);
                if waiting.is_some_and(|waiting| !waiting.is_empty()) {
                    return None;
                }
            }
        }
        Some(())
    })
    .await;
}

/// A Community as a user writes it.
pub fn community(name: &str, spec: &Value) -> Community {
    object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": "Community",
        "metadata": {"name": name}, "spec": spec,
    }))
}

/// An Enclave as a user writes it.
pub fn enclave(name: &str, spec: &Value) -> Enclave {
    object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": "Enclave",
        "metadata": {"name": name}, "spec": spec,
    }))
}

/// Rules that hold everything that can be held for Communities and Enclaves until one person
/// approves it.
pub fn hold_everything() -> Value {
    let operations =
        ["EnclaveCreation", "EnclaveUpdate", "EnclaveDeletion", "EnclaveMaintenance", "CommunityUpdate"];
    let rules: Vec<Value> =
        operations.iter().map(|operation| json!({"operation": operation, "policy": "Required"})).collect();
    json!({ "rules": rules })
}

/// Alice makes a Community and waits until it is Active.
pub async fn active_community(world: &World, name: &str, spec: &Value) -> Community {
    let api = communities(&world.alice());
    api.create(&PostParams::default(), &community(name, spec)).await.unwrap();
    wait_for_community(&api, name, State::Active).await
}

pub async fn wait_for_community(api: &Api<Community>, name: &str, state: State) -> Community {
    wait_for_state(api, name, state).await
}

pub async fn wait_for_enclave(api: &Api<Enclave>, name: &str, state: State) -> Enclave {
    wait_for_state(api, name, state).await
}

/// Waits until the latest spec of an object is in a state.
pub async fn wait_for_state<K: Watched>(api: &Api<K>, name: &str, state: State) -> K {
    wait_until(api.clone(), name, SOON, &format!("{} {name} is {state}", K::KIND), |object: &K| {
        object.gate().is_some_and(|gate| {
            gate.state == Some(state) && gate.observed_generation == object.meta().generation
        })
    })
    .await
}

/// Waits until the latest spec of an Enclave is held by an open request, and returns its name.
pub async fn wait_for_request(user: &User, community: &str, name: &str) -> String {
    let request = wait_for_hold(&enclaves(user, community), name).await;
    wait_for_request_state(user, community, &request, RequestState::Pending).await;
    request
}

/// Waits until the latest spec of an object is held by a request that can be decided, and returns its
/// name.
pub async fn wait_for_hold<K: Watched>(api: &Api<K>, name: &str) -> String {
    let what = format!("{} {name} has a request", K::KIND);
    let object = wait_until(api.clone(), name, SOON, &what, |object: &K| {
        object.gate().and_then(|gate| gate.pending.as_ref()).is_some_and(|pending| {
            Some(pending.generation) == object.meta().generation && pending.approval_request.is_some()
        })
    })
    .await;
    let request = object.gate().unwrap().pending.as_ref().unwrap().approval_request.clone().unwrap();
    // Just made, it cannot be decided yet.
    let requests: Api<ApprovalRequest> =
        Api::namespaced(api.clone().into_client(), &object.request_namespace());
    wait_until(requests, &request, SOON, "the request is open", |request: &ApprovalRequest| {
        request.status.as_ref().is_some_and(|status| status.state.is_some())
    })
    .await;
    request
}

/// Waits until the latest spec is applied.
pub async fn wait_until_applied<K: Watched>(api: &Api<K>, name: &str) {
    wait_until(api.clone(), name, SOON, "the latest spec is applied", |object: &K| {
        let applied = object.gate().and_then(|gate| gate.applied.as_ref());
        applied.map(|applied| applied.generation) == object.meta().generation
    })
    .await;
}

/// A gated kind as tests watch it.
pub trait Watched: Gated + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<K: Gated + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static> Watched for K {}

pub async fn wait_for_request_state(
    user: &User,
    namespace: &str,
    name: &str,
    state: RequestState,
) -> ApprovalRequest {
    wait_until(
        requests(user, namespace),
        name,
        SOON,
        &format!("ApprovalRequest {name} is {state}"),
        |request: &ApprovalRequest| request.status.as_ref().and_then(|status| status.state) == Some(state),
    )
    .await
}

/// Waits until a request says that this is missing.
pub async fn wait_for_missing(user: &User, namespace: &str, name: &str, missing: &str) {
    let what = format!("ApprovalRequest {name} misses {missing:?}");
    wait_until(requests(user, namespace), name, SOON, &what, |request: &ApprovalRequest| {
        request.status.as_ref().and_then(|status| status.missing.as_deref()) == Some(missing)
    })
    .await;
}

/// Votes as people do: by patching the request's status.
pub async fn vote(
    user: &User,
    namespace: &str,
    request: &str,
    verdict: Verdict,
    comment: Option<&str>,
) -> Result<ApprovalRequest, kube::Error> {
    let mut status = json!({ "decision": verdict });
    if let Some(comment) = comment {
        status["comment"] = json!(comment);
    }
    patch_status(&requests(user, namespace), request, json!({ "status": status })).await
}

pub async fn patch_status<K>(api: &Api<K>, name: &str, patch: Value) -> Result<K, kube::Error>
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

pub async fn patch<K>(api: &Api<K>, name: &str, patch: Value) -> Result<K, kube::Error>
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// Writes a status on the version that was read, as the operator does: by what changes in it.
pub async fn write_status_of<K>(
    api: &Api<K>,
    name: &str,
    before: &Value,
    status: &Value,
) -> Result<K, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let version = &before["metadata"]["resourceVersion"];
    let changes = changes(&before["status"], status);
    let patch = json!({"metadata": {"resourceVersion": version}, "status": changes});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// The JSON merge patch that makes one value of another.
fn changes(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let there = after.iter().map(|(key, value)| {
        let known = before.get(key).unwrap_or(&Value::Null);
        (key.clone(), changes(known, value))
    });
    Value::Object(gone.chain(there).collect())
}

/// Changes what the operator manages, as only the operator's account can.
pub async fn change_as_operator<K>(world: &World, namespace: &str, name: &str, change: impl Fn(&mut K))
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let all: Api<K> = namespaced(world.administrator(), namespace);
    let theirs: Api<K> = namespaced(world.operator().await.client(), namespace);
    eventually("nobody writes in between", SOON, async || {
        let mut changed = all.get(name).await.unwrap();
        change(&mut changed);
        match theirs.replace(name, &PostParams::default(), &changed).await {
            Err(kube::Error::Api(status)) if status.code == 409 => None,
            done => Some(done.unwrap()),
        }
    })
    .await;
}

/// The API server refused, with words that contain this.
#[track_caller]
pub fn assert_refused<T: Debug>(result: Result<T, kube::Error>, because: &str) {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
            assert!(
                status.message.contains(because),
                "refused, but not because of {because:?}: {}",
                status.message
            );
        }
        other => panic!("not refused because of {because:?}: {other:?}"),
    }
}

/// The message of one condition.
pub fn condition<'a>(
    gate: &'a enclave_operator::api::GateStatus,
    type_: &str,
) -> &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
    gate.conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap_or_else(|| panic!("no condition {type_} in {:?}", gate.conditions))
}
