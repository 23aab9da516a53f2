use crate::api::approval_request::RequestState;
use crate::cluster::cache::Key;
use crate::cluster::workqueue::Priority;
use crate::kinds::enqueue::Enqueuer;
use crate::kinds::listing::on_namespace;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::api::approval_request::Decision;
use crate::api::common::{Principal, PrincipalKind};
use crate::api::gate::Reference;
use crate::api::names::FINALIZER;
use crate::api::{Kind, RecordType, Time};
use crate::cluster::cache::Indexed;
use crate::kinds::approval_request::index::RequestBy;
use crate::model::approval::request::tests::with_votes;
use crate::model::audit::records::append;
use crate::model::audit::records::tests::a_record;

fn object<K: DeserializeOwned>(namespace: Option<&str>, name: &str, more: Value) -> K {
    let mut object = more;
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("{namespace:?}/{name}"));
    object["metadata"]["resourceVersion"] = json!("7");
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    serde_json::from_value(object).unwrap()
}

fn namespace(name: &str, is_ours: bool) -> Namespace {
    let labels = if is_ours { json!({ label::OWNER_UID: "u" }) } else { json!({}) };
    object(None, name, json!({"metadata": {"labels": labels}}))
}

/// Takes one object of each kind in a namespace, without any mark of the operator's. Returns how many are kept.
fn fill(enqueuer: &Enqueuer, namespace: &str) -> usize {
    let caches = &enqueuer.caches;
    let bind =
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    let kept = [
        is_kept::<NetworkPolicy>(caches, &object(Some(namespace), "o", json!({"spec": {}}))),
        is_kept::<ResourceQuota>(caches, &object(Some(namespace), "o", json!({}))),
        is_kept::<LimitRange>(caches, &object(Some(namespace), "o", json!({}))),
        is_kept::<RoleBinding>(caches, &object(Some(namespace), "o", bind)),
        is_kept::<Role>(caches, &object(Some(namespace), "o", json!({}))),
        is_kept::<ServiceAccount>(caches, &object(Some(namespace), "o", json!({}))),
    ];
    kept.into_iter().filter(|kept| *kept).count()
}

fn is_kept<K: Relevant>(caches: &Caches, object: &K) -> bool {
    K::is_relevant(caches, object)
}

#[test]
fn of_what_is_in_namespaces_of_others_nothing_is_kept() {
    let enqueuer = Enqueuer::detached();
    let caches = &enqueuer.caches;
    caches.namespaces.apply(Arc::new(namespace("theirs", false).kept(caches)));
    caches.namespaces.apply(Arc::new(namespace("ours", true).kept(caches)));
    assert_eq!(fill(&enqueuer, "theirs"), 0);
    // A Role and a ServiceAccount of people matter when it is known who made them.
    assert_eq!(fill(&enqueuer, "ours"), 4);
    assert_eq!(fill(&enqueuer, "unknown"), 4, "its namespace may be one of the operator's");
    let mark = json!({"metadata": {"annotations": {annotation::CREATED_BY: "alice"}}});
    assert!(is_kept::<Role>(caches, &object(Some("ours"), "r", mark.clone())));
    assert!(is_kept::<ServiceAccount>(caches, &object(Some("ours"), "s", mark.clone())));
    assert!(!is_kept::<ServiceAccount>(caches, &object(Some("theirs"), "s", mark)));
    // An object with the name of a grant gives rights wherever it is.
    let name = format!("{ROLE_BINDING}rasg:acme:x");
    let bind =
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    assert!(is_kept::<RoleBinding>(caches, &object(Some("theirs"), &name, bind)));
    assert!(is_kept::<Role>(caches, &object(Some("theirs"), &name, json!({}))));
    let theirs = caches.namespaces.get("", "theirs").unwrap();
    assert_eq!((theirs.metadata.labels.as_ref(), theirs.metadata.uid.is_some()), (None, true));
}

fn k8s_time() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH)
}

/// People do not fill the memory of the operator with names that only the operator's may have, or with long lists of
/// whom they let in.
#[test]
fn of_bindings_of_others_little_is_kept() {
    let enqueuer = Enqueuer::detached();
    let caches = &enqueuer.caches;
    caches.namespaces.apply(Arc::new(namespace("theirs", false).kept(caches)));
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let binding = |namespace: &str, name: &str, length: usize| -> RoleBinding {
        let subject = json!({"kind": "User", "name": "u".repeat(length)});
        object(Some(namespace), name, json!({"roleRef": role, "subjects": vec![subject; 1000]}))
    };
    assert!(!is_kept(caches, &binding("theirs", &format!("{ROLE_BINDING}x"), 8)));
    let kept = |length| binding("ours", "o", length).kept(caches).subjects.unwrap();
    let longest = |length| kept(length).iter().map(|one| one.name.chars().count()).max();
    assert_eq!((kept(8).len(), kept(8)[100].name.as_str()), (101, "900 more"));
    assert_eq!((longest(8), longest(128), longest(100_000)), (Some(8), Some(128), Some(129)));
    let mut held = binding("ours", "o", 640);
    held.metadata.deletion_timestamp = Some(k8s_time());
    assert_eq!(held.clone().kept(caches).subjects.unwrap().len(), 101, "nothing keeps it");
    held.metadata.finalizers = Some(vec!["example.test/keep".into()]);
    assert_eq!(held.clone().kept(caches), held, "it is written back as it is");
}

/// A person who may write in a namespace of the operator's must not fill its memory.
#[test]
fn what_nobody_reads_is_not_kept() {
    let enqueuer = Enqueuer::detached();
    let caches = &enqueuer.caches;
    let annotated = |more: Value| {
        let mut object = more;
        object["metadata"]["annotations"] = json!({
            annotation::CREATED_BY: "alice",
            "filler": "x".repeat(1000),
            format!("{}filler", crate::api::names::PREFIX): "x".repeat(1000),
        });
        object["metadata"]["labels"] = json!({"filler": "x".repeat(1000)});
        object
    };
    let size = |object: Value| object.to_string().len();
    let account: ServiceAccount = object(Some("ours"), "s", annotated(json!({})));
    assert!(size(json!(account.kept(caches))) < 300);
    let role: Role = object(
        Some("ours"),
        "r",
        annotated(json!({"rules": [{"verbs": ["get"], "resources": ["x".repeat(1000)], "apiGroups": [""]}]})),
    );
    assert!(size(json!(role.kept(caches))) < 300);
    let bind =
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    let binding: RoleBinding = object(Some("ours"), "b", annotated(bind.clone()));
    assert!(size(json!(binding.kept(caches))) < 400);
    let own: RoleBinding = object(Some("ours"), &format!("{ROLE_BINDING}rasg:acme:x"), annotated(bind));
    assert!(size(json!(own.kept(caches))) > 1000, "it is written back");
    let spec = json!({"spec": {"eligibility": "e", "duration": "1h"}});
    let activation: RoleActivation = object(Some("ours"), "a", annotated(spec));
    let kept = activation.kept(caches).metadata;
    assert_eq!(kept.labels, None);
    assert_eq!(kept.annotations.unwrap().into_keys().collect::<Vec<_>>(), [annotation::CREATED_BY]);
}

/// A request with a large proposal. Every text that only approvers read says `filler`.
fn large_request(state: Option<RequestState>) -> ApprovalRequest {
    let filler = |length: usize| "filler ".repeat(length / 7);
    let content = |length: usize| serde_json::from_value(json!({"description": filler(length)})).unwrap();
    let ApprovalRequest { metadata, spec, status } =
        with_votes(&[("filler", approval_request::Verdict::Approved)]);
    let reference = Reference {
        kind: Kind::EnclaveEndpoint,
        namespace: "acme-ledger".into(),
        name: "postgres".into(),
        uid: "endpoint".into(),
        digest: "sha256:e".into(),
    };
    let approver = Principal { kind: PrincipalKind::User, name: filler(200), namespace: None };
    let spec = ApprovalRequestSpec {
        requesters: vec![filler(200)],
        justification: Some(filler(2000)),
        ticket: Some(filler(200)),
        change: approval_request::Change {
            before: Some(content(8000)),
            after: content(8000),
            references: vec![reference],
            ..spec.change
        },
        impact: Impact { changes: vec![filler(400)], opens: vec![filler(400)], closes: vec![filler(400)] },
        policy: EffectivePolicy { mandatory_approvers: vec![approver], ..spec.policy },
        ..spec
    };
    let time = |second| Time(Timestamp::from_second(second).unwrap());
    let status = status.map(|status| ApprovalRequestStatus {
        state,
        decisions: status
            .decisions
            .into_iter()
            .map(|vote| Decision { comment: Some(filler(2000)), ..vote.into_known() }.into())
            .collect(),
        decided_at: state.filter(|state| *state != RequestState::Pending).map(|_| time(7200)),
        enacted_at: (state == Some(RequestState::Approved)).then(|| time(7201)),
        ..status
    });
    let metadata = ObjectMeta {
        namespace: Some("acme".into()),
        uid: Some("u".into()),
        resource_version: Some("7".into()),
        creation_timestamp: Some(k8s_time()),
        finalizers: Some(vec![FINALIZER.into()]),
        labels: Some([("filler".into(), filler(100))].into()),
        annotations: Some([("filler".into(), filler(100))].into()),
        ..metadata
    };
    ApprovalRequest { metadata, spec, status }
}

/// Tens of thousands of settled requests are kept for months.
#[test]
fn of_a_settled_request_only_what_became_of_which_generation_is_kept() {
    use RequestState::{Approved, Expired, Rejected, Superseded, Withdrawn};
    let enqueuer = Enqueuer::detached();
    let json = |request: &ApprovalRequest| serde_json::to_string(request).unwrap();
    let indexed = |request: &ApprovalRequest| {
        let mut values: Vec<(RequestBy, String)> = Vec::new();
        request.index(&mut |by, value| values.push((by, value.to_owned())));
        values
    };
    for state in [Approved, Rejected, Expired, Superseded, Withdrawn] {
        let whole = large_request(Some(state));
        assert!(json(&whole).len() > 20_000);
        let kept = whole.clone().kept(&enqueuer.caches);
        assert!(json(&kept).len() < 2000, "{state}: {}", json(&kept));
        assert!(!json(&kept).contains("filler"), "{state}: {}", json(&kept));
        assert_eq!(indexed(&kept), indexed(&whole), "{state} is found as before");
        // These fields are read to find out what became of a request: by its name, its generation, its end and its age.
        assert_eq!(kept.spec.target, whole.spec.target);
        assert_eq!(kept.spec.operations, whole.spec.operations);
        assert_eq!(kept.spec.change.digest, whole.spec.change.digest);
        assert_eq!(kept.spec.change.references, whole.spec.change.references);
        let mut status = whole.status.unwrap();
        status.decisions.clear();
        assert_eq!((status.decided_at.is_some(), status.enacted_at.is_some()), (true, state == Approved));
        assert_eq!(kept.status, Some(status));
        let metadata = ObjectMeta { labels: None, annotations: None, ..whole.metadata };
        assert_eq!(kept.metadata, metadata);
    }
}

#[test]
fn a_request_that_is_not_settled_is_kept_as_it_is() {
    use RequestState::{Approved, Pending, Rejected};
    type Case = (&'static str, Option<RequestState>, fn(&mut ApprovalRequest));
    let enqueuer = Enqueuer::detached();
    let take_mark = |request: &mut ApprovalRequest| request.status.as_mut().unwrap().enacted_at = None;
    let report = |request: &mut ApprovalRequest| {
        append(&mut request.status.as_mut().unwrap().audit, [a_record(RecordType::Decided)]);
    };
    let cases: [Case; 7] = [
        ("nobody has looked at it", None, |_| {}),
        ("it has no status", None, |request| request.status = None),
        ("it is undecided", Some(Pending), |_| {}),
        ("it is to be put into force", Some(Approved), take_mark),
        ("it was approved, which is to be told", Some(Approved), report),
        ("it was rejected, which is to be told", Some(Rejected), report),
        ("it is being deleted", Some(Rejected), |request| {
            request.metadata.deletion_timestamp = Some(k8s_time());
        }),
    ];
    for (why, state, edit) in cases {
        let mut request = large_request(state);
        edit(&mut request);
        assert_eq!(request.clone().kept(&enqueuer.caches), request, "{why}");
    }
}

#[test]
fn a_namespace_that_becomes_the_operators_is_listed_and_one_that_turns_out_to_be_of_others_is_dropped() {
    let enqueuer = Enqueuer::detached();
    enqueuer.unlisted.open();
    let caches = &enqueuer.caches;
    let see = |seen: Namespace| {
        let change = caches.namespaces.apply(Arc::new(seen)).unwrap();
        on_namespace(&enqueuer, &change);
    };
    let mut later = namespace("n", false);
    see(later.clone());
    later.metadata.labels = namespace("n", true).metadata.labels;
    later.metadata.resource_version = Some("8".into());
    see(later);
    assert_eq!(enqueuer.unlisted.take(Priority::Normal, Instant::now()), Some(Key::new("", "n")));
    caches.network_policies.apply(Arc::new(object(Some("late"), "o", json!({"spec": {}}))));
    see(namespace("late", false));
    assert_eq!(caches.network_policies.get("late", "o"), None);
    // The operator makes one in the place of one of others that went: what was reported of it before was dropped.
    on_namespace(&enqueuer, &caches.namespaces.remove(&namespace("late", false)).unwrap());
    see(namespace("late", true));
    assert_eq!(enqueuer.unlisted.take(Priority::Normal, Instant::now()), Some(Key::new("", "late")));
    // A namespace whose name nobody had before needs no list.
    see(namespace("new", true));
    assert_eq!(enqueuer.unlisted.take(Priority::Normal, Instant::now()), None);
}
