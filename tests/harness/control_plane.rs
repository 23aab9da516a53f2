//! The control plane that the other tests stand on does what they expect of it, and leaves
//! nothing behind.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use enclave_operator_testing::policies::make_namespace;
use enclave_operator_testing::world::object;
use enclave_operator_testing::{
    ControlPlane, ControlPlaneError, Settings, User, eventually, wait_gone, wait_until, writes_by,
};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::{PLANE, administrator};

const WITHIN: Duration = Duration::from_secs(30);

fn config_map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}}))
}

/// Gives a group the cluster role `edit` in a namespace.
async fn let_edit(namespace: &str, group: &str) {
    let binding: RoleBinding = object(json!({
        "metadata": {"name": group},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    }));
    let api: Api<RoleBinding> = Api::namespaced(administrator(), namespace);
    api.create(&PostParams::default(), &binding).await.unwrap();
}

/// The API server learns of new bindings by a watch.
async fn wait_for_rights(user: &User, namespace: &str) {
    let api: Api<ConfigMap> = Api::namespaced(user.client(), namespace);
    eventually("the user has the rights of his group", WITHIN, async || {
        api.list(&ListParams::default()).await.ok()
    })
    .await;
}

fn status_code<T>(answer: kube::Result<T>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
        Ok(_) => 200,
    }
}

#[tokio::test]
async fn a_user_without_rights_is_refused() {
    let mallory = PLANE.user("mallory", &["nobodies"]);
    let api: Api<ConfigMap> = Api::namespaced(mallory.client(), "default");
    assert_eq!(status_code(api.list(&ListParams::default()).await), 403);
}

#[tokio::test]
async fn each_group_of_a_user_counts() {
    make_namespace(administrator(), "groups").await;
    let_edit("groups", "editors").await;
    let alice = PLANE.user("alice", &["readers", "editors", "writers"]);
    wait_for_rights(&alice, "groups").await;

    let api: Api<ConfigMap> = Api::namespaced(alice.client(), "groups");
    api.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let elsewhere: Api<ConfigMap> = Api::namespaced(alice.client(), "default");
    assert_eq!(status_code(elsewhere.list(&ListParams::default()).await), 403);

    let review = who_is(&alice).await;
    assert_eq!(review["groups"], json!(["readers", "editors", "writers", "system:authenticated"]));
}

#[tokio::test]
async fn a_service_account_logs_in_by_token() {
    make_namespace(administrator(), "accounts").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(administrator(), "accounts");
    let account = object(json!({"metadata": {"name": "robot"}}));
    accounts.create(&PostParams::default(), &account).await.unwrap();

    let robot = PLANE.service_account("accounts", "robot").await.unwrap();
    assert_eq!(robot.name(), "system:serviceaccount:accounts:robot");
    assert_eq!(who_is(&robot).await["username"], robot.name());

    let missing = PLANE.service_account("accounts", "nobody").await;
    assert!(matches!(missing, Err(ControlPlaneError::Api(_))));
}

/// What the API server makes of a user.
async fn who_is(user: &User) -> Value {
    let api: Api<SelfSubjectReview> = Api::all(user.client());
    let review = object(json!({}));
    let answer = api.create(&PostParams::default(), &review).await.unwrap();
    serde_json::to_value(answer.status.unwrap().user_info).unwrap()
}

#[tokio::test]
async fn kubectl_works_for_users() {
    make_namespace(administrator(), "kubectl").await;
    let_edit("kubectl", "kubectl-users").await;
    let alice = PLANE.user("kubectl-alice", &["kubectl-users"]);
    wait_for_rights(&alice, "kubectl").await;

    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
    let applied =
        alice.kubectl_with_input(&["apply", "--namespace=kubectl", "-f", "-"], manifest).expect_success();
    assert_eq!(applied, "configmap/a created\n");

    let refused = alice.kubectl(&["get", "nodes"]).expect_failure();
    assert!(refused.contains("User \"kubectl-alice\" cannot list resource \"nodes\""));
}

#[tokio::test]
async fn the_audit_log_tells_who_wrote_what() {
    make_namespace(administrator(), "audit").await;
    let_edit("audit", "auditors").await;
    let alice = PLANE.user("audit-alice", &["auditors"]);
    wait_for_rights(&alice, "audit").await;

    let own: Api<ConfigMap> = Api::namespaced(alice.client(), "audit");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    own.create(&dry, &config_map("a")).await.unwrap();
    own.create(&PostParams::default(), &config_map("a")).await.unwrap();
    own.get("a").await.unwrap();
    let foreign: Api<ConfigMap> = Api::namespaced(alice.client(), "default");
    let answer = foreign.create(&PostParams::default(), &config_map("a")).await;
    assert_eq!(status_code(answer), 403);

    let writes = eventually("three writes are in the audit log", WITHIN, async || {
        let writes = writes_by(&PLANE.audit_log(), alice.name(), None);
        (writes.len() >= 3).then_some(writes)
    })
    .await;
    let seen: Vec<_> =
        writes.iter().map(|write| (write.namespace.as_str(), write.code, write.accepted())).collect();
    assert_eq!(seen, [("audit", 201, false), ("audit", 201, true), ("default", 403, false)]);
    assert_eq!(writes[1].verb, "create");
    assert_eq!(writes[1].resource, "configmaps");
    assert_eq!(writes_by(&PLANE.audit_log(), alice.name(), Some(writes[2].at)).len(), 1);
}

#[tokio::test]
async fn namespaces_and_what_is_owned_go_away() {
    make_namespace(administrator(), "going").await;
    let maps: Api<ConfigMap> = Api::namespaced(administrator(), "default");
    let owner = maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    let mut dependent = config_map("owned");
    dependent.metadata.owner_references = object(json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid,
    }]));
    maps.create(&PostParams::default(), &dependent).await.unwrap();

    let namespaces: Api<Namespace> = Api::all(administrator());
    let delete = DeleteParams::default();
    namespaces.delete("going", &delete).await.unwrap();
    maps.delete("owner", &delete).await.unwrap();
    wait_gone(maps, "owned", WITHIN, "what is owned goes with its owner").await;
    wait_gone(namespaces, "going", WITHIN, "the namespace goes").await;
}

#[tokio::test]
#[should_panic(expected = "not within 200ms: it becomes green; the last state of waited-for:\n\
                           apiVersion: v1\nkind: ConfigMap\ndata:\n  colour: red\n")]
async fn waiting_in_vain_shows_the_last_state() {
    let api: Api<ConfigMap> = Api::namespaced(administrator(), "default");
    let mut map = config_map("waited-for");
    map.data = object(json!({"colour": "red"}));
    api.create(&PostParams::default(), &map).await.unwrap();
    wait_until(api, "waited-for", Duration::from_millis(200), "it becomes green", |map| {
        map.data.as_ref().is_some_and(|data| data["colour"] == "green")
    })
    .await;
}

#[tokio::test]
async fn the_api_server_comes_back_with_its_data_and_ends_on_drop() {
    let plane = ControlPlane::start().unwrap();
    let trace = Trace::of(&plane);
    let client = plane.administrator_user().client();
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    api.create(&PostParams::default(), &config_map("kept")).await.unwrap();

    plane.stop_api_server();
    assert!(api.get("kept").await.is_err());
    plane.start_api_server().unwrap();
    api.get("kept").await.unwrap();

    plane.kill_api_server();
    assert!(api.get("kept").await.is_err());
    plane.start_api_server().unwrap();
    api.get("kept").await.unwrap();

    assert!(!trace.processes().is_empty());
    drop(plane);
    assert_eq!(trace.processes(), Vec::<String>::new());
    assert!(!trace.folder.exists());
}

#[tokio::test]
async fn nothing_is_left_of_a_process_that_was_killed() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control_plane::holder", "--ignored", "--nocapture"])
        .env(HOLDER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let folder = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("holding ").map(PathBuf::from))
        .expect("the holder starts a control plane");
    let trace = Trace::in_folder(&folder);
    // etcd, API server, controller manager, the process that was added, leader and guard
    assert_eq!(trace.processes().len(), 6, "{:#?}", trace.processes());

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("all processes end", WITHIN, async || trace.processes().is_empty().then_some(())).await;
    assert!(!folder.exists());
}

const HOLDER: &str = "HOLD_A_CONTROL_PLANE";

#[test]
#[ignore = "another test starts and kills it"]
fn holder() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let plane = ControlPlane::start().unwrap();
    let mut added = Command::new("sleep");
    added.arg("1000");
    let _added = plane.spawn(added, "added").unwrap();
    println!("\nholding {}", plane.folder().display());
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn a_detached_control_plane_goes_on_until_it_is_stopped() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("detached");
    let plane = ControlPlane::start_in(&folder).unwrap();
    let administrator = plane.administrator_user().clone();
    let trace = Trace::of(&plane);
    plane.detach().unwrap();

    administrator.kubectl(&["get", "nodes"]).expect_success();
    let again = ControlPlane::start_in(&folder);
    assert!(matches!(again, Err(ControlPlaneError::Running(_))));

    ControlPlane::stop_detached(&folder).unwrap();
    assert_eq!(trace.processes(), Vec::<String>::new());
    assert!(!folder.exists());
    ControlPlane::stop_detached(&folder).unwrap();

    let foreign = ControlPlane::stop_detached(parent.path());
    assert!(matches!(foreign, Err(ControlPlaneError::ForeignFolder(_))));
    assert!(parent.path().exists());
}

#[test]
fn a_failed_start_tells_why_and_leaves_nothing() {
    let settings =
        Settings { api_server_flags: vec!["--no-such-flag={folder}".to_owned()], ..Settings::default() };
    let error = ControlPlane::start_with(settings).unwrap_err();
    let ControlPlaneError::NotReady { component, log, tail, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(component, "kube-apiserver");
    assert!(tail.contains("unknown flag: --no-such-flag"), "{tail}");
    assert!(!Path::new(&log).parent().unwrap().exists());
}

/// What a control plane may leave behind.
struct Trace {
    folder: PathBuf,
    group: String,
}

impl Trace {
    fn of(plane: &ControlPlane) -> Self {
        Self::in_folder(plane.folder())
    }

    fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            group: std::fs::read_to_string(folder.join("process-group")).unwrap(),
        }
    }

    /// The command lines of its processes that are alive, its guard among them.
    fn processes(&self) -> Vec<String> {
        let listing = Command::new("ps")
            .args(["-ww", "-A", "-o", "pgid=", "-o", "stat=", "-o", "args="])
            .output()
            .unwrap();
        let guard = format!("guard {}", self.group);
        String::from_utf8(listing.stdout)
            .unwrap()
            .lines()
            .filter(|line| {
                let mut fields = line.split_whitespace();
                let in_group = fields.next() == Some(&self.group);
                let is_dead = fields.next().is_none_or(|state| state.starts_with('Z'));
                !is_dead && (in_group || line.contains(&guard))
            })
            .map(str::to_owned)
            .collect()
    }
}
