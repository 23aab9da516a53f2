use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Resource;
use serde_json::{Value, json};

use super::*;

use crate::api::enclave_connection::ConnectionDestination;
use crate::api::names::{FINALIZER, child, label};
use crate::api::reading::{Item, Readable};
use crate::model::approval::policy_status::{Integrity, PolicyStatus};
use crate::plan::child::{Child, Verb};
use crate::plan::gated::ObservedGated;
use crate::plan::metadata::child_metadata;
use crate::plan::namespace::desired::ObservedNamespace;
use crate::plan::policies::build_connection;
use crate::plan::rbac::bindings::cluster_role_ref;

/// An object with one spec applied and another one declared.
fn read<K: Readable>(name: &str, namespace: Option<&str>, applied: &Value, spec: &Value) -> Arc<K> {
    let object = json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": name, "generation": 1, "finalizers": [FINALIZER],
        },
        "spec": spec,
        "status": {"state": "Active", "applied": {
            "generation": 1, "digest": "d", "spec": applied, "at": "2026-01-01T00:00:00Z",
        }},
    });
    Arc::new(serde_json::from_str::<Item<K>>(&object.to_string()).unwrap().read().0)
}

/// The applied contents of the three objects, each with a spec that is the same.
struct Scene {
    community: Value,
    enclave: Value,
    workload: Value,
}

impl Scene {
    fn observe(&self, live_namespace: ObservedNamespace) -> ObservedWorkload {
        self.observe_edited(&self.enclave, &self.workload, live_namespace)
    }

    fn observe_edited(
        &self,
        enclave: &Value,
        workload: &Value,
        live_namespace: ObservedNamespace,
    ) -> ObservedWorkload {
        let community = read::<Community>("acme", None, &self.community, &self.community);
        let enclave = read::<Enclave>("payments", Some("acme"), &self.enclave, enclave);
        ObservedWorkload {
            declared: ObservedGated {
                object: read("api", Some("acme-payments"), &self.workload, workload),
                parent: Parent::Enclave(community, enclave),
                requests: Vec::new(),
                knows_all_requests: true,
                policies: PolicyStatus { integrity: Integrity::Intact, fingerprint: String::new() },
            },
            live_namespace,
            enclave_namespaces: ["api", "web"].map(|name| format!("acme-payments-{name}")).into(),
            connections: Vec::new(),
        }
    }
}

fn put<K: Resource>(live: &mut Vec<Arc<K>>, child: K, verb: Verb) {
    live.retain(|live| live.meta().name != child.meta().name);
    live.extend((verb != Verb::Delete).then(|| Arc::new(child)));
}

/// Does what a plan asks for, as the API server would, until it asks for nothing.
fn carry_out(mut observed: ObservedWorkload) -> ObservedNamespace {
    for _ in 0..10 {
        let repairs = plan_workload(&observed, Timestamp::UNIX_EPOCH).repairs;
        if repairs.is_empty() {
            return observed.live_namespace;
        }
        for write in repairs {
            match write {
                Write::CreateNamespace(namespace) | Write::ReplaceNamespace(namespace) => {
                    observed.live_namespace.namespace = Some(Arc::new(*namespace));
                }
                Write::Child(verb, Child::NetworkPolicy(child)) => {
                    put(&mut observed.live_namespace.policies, *child, verb);
                }
                Write::Child(verb, Child::CiliumNetworkPolicy(child)) => {
                    put(&mut observed.live_namespace.cilium_policies, *child, verb);
                }
                Write::Child(verb, Child::RoleBinding(child)) => {
                    put(&mut observed.live_namespace.bindings, *child, verb);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("it never comes to rest")
}

/// Returns who gets in and by which binding, the access mode, and the number of namespaces that are reached inside the
/// Enclave.
fn summary(live_namespace: &ObservedNamespace) -> (Vec<String>, String, usize) {
    let mut bound: Vec<String> = Vec::new();
    for binding in &live_namespace.bindings {
        let name = binding.name_any();
        let role = name.rsplit(['.', ':']).next().unwrap_or_default();
        bound.extend(binding.subjects.iter().flatten().map(|one| format!("{role} {}", one.name)));
    }
    bound.sort();
    let mode = live_namespace.namespace.as_deref().unwrap().labels()[label::ACCESS_MODE].clone();
    let intra_enclave =
        live_namespace.policies.iter().find(|policy| policy.name_any() == child::INTRA_ENCLAVE).unwrap();
    let text = serde_json::to_string(&intra_enclave.spec.as_ref().unwrap().egress).unwrap();
    (bound, mode, text.matches("acme-payments-").count())
}

fn binding(name: &str, user: &str) -> Arc<RoleBinding> {
    let subject = json!({"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"});
    Arc::new(RoleBinding {
        metadata: child_metadata("acme-payments-api", name),
        role_ref: cluster_role_ref("edit"),
        subjects: Some(vec![serde_json::from_value(subject).unwrap()]),
    })
}

/// After a rollback: nobody keeps access, and nothing stays open between workloads, because a newer version's words
/// stand in what is applied. What is only proposed is not in force.
#[test]
fn what_is_taken_away_of_a_workload_goes_whatever_is_applied_around_it() {
    let plain = || Scene {
        community: json!({}),
        enclave: json!({"network": {"workloadCommunication": "Allowed"}}),
        workload: json!({}),
    };
    let users = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({"kind": "User", "name": name})).collect()
    };
    let isolated = |names: &[&str]| json!({"accessMode": "Isolated", "principals": {"edit": users(names)}});
    let newer_rules = json!({"rules": [{"operation": "JobRun", "policy": "Required"}]});
    let with = |value: &Value, field: &str, more: Value| {
        let mut value = value.clone();
        value[field] = more;
        value
    };
    let rules = |value: &Value| with(value, "approvals", newer_rules.clone());
    let sealed = |value: &Value| with(value, "podSecurity", json!("Sealed"));
    let break_one = |scene: &mut Scene, index: usize| match index {
        0 => scene.community = rules(&scene.community),
        1 => scene.enclave = rules(&scene.enclave),
        _ => scene.workload = sealed(&scene.workload),
    };
    for index in 0..3 {
        let open = Scene { workload: isolated(&["ann", "eve"]), ..plain() };
        let made = carry_out(open.observe(ObservedNamespace::default()));
        let everybody = vec!["edit ann".to_owned(), "edit eve".to_owned()];
        assert_eq!(summary(&made), (everybody.clone(), access::ISOLATED.to_owned(), 2));
        let mut newer = Scene { workload: isolated(&["ann", "eve"]), ..plain() };
        break_one(&mut newer, index);
        let same = carry_out(newer.observe(made.clone()));
        assert_eq!(summary(&same), summary(&made), "{index}: nobody took anything back");
        let edited = |enclave: &Value, workload: &Value| {
            summary(&carry_out(newer.observe_edited(enclave, workload, made.clone())))
        };
        let keep = |workload: &Value| if index == 2 { sealed(workload) } else { workload.clone() };
        assert_eq!(edited(&newer.enclave, &keep(&isolated(&["ann"]))).0, ["edit ann"], "{index}");
        let proposed = edited(&newer.enclave, &keep(&isolated(&["bob"]))).0;
        let expected = if index == 2 { Vec::new() } else { everybody.clone() };
        assert_eq!(proposed, expected, "{index}: nobody new, and what is held takes nobody out");
        let standard = json!({"accessMode": "Standard"});
        let proposed = edited(&newer.enclave, &keep(&standard));
        assert_eq!(proposed, summary(&made), "{index}: what opens waits");
        if index < 2 {
            let mut other = made.clone();
            for binding in &mut other.bindings {
                Arc::make_mut(binding).subjects.iter_mut().flatten().for_each(|one| one.name += "-2");
            }
            let healed = carry_out(newer.observe_edited(&newer.enclave, &standard, other));
            assert_eq!(summary(&healed), summary(&made), "{index}: what is applied is put back");
        }
        let shared = with(&isolated(&["ann"]), "accessMode", json!("Shared"));
        assert_eq!(edited(&newer.enclave, &shared).0, ["edit ann"], "{index}");
        let shared = json!({"accessMode": "Shared"});
        assert_eq!(edited(&newer.enclave, &shared).0, everybody, "{index}: what a newer version may mean");
        assert_eq!(edited(&newer.enclave, &json!("odd")).0, everybody, "{index}: nothing of it is read");
        if index < 2 {
            let network = |network: Value| with(&newer.enclave, "network", network);
            let reached = |network: Value| edited(&network, &newer.workload).2;
            let expected = if index == 1 { 1 } else { 2 };
            for isolated_network in [json!({"workloadCommunication": "Isolated"}), json!({})] {
                assert_eq!(
                    reached(network(isolated_network)),
                    expected,
                    "{index}: what is held is not in force"
                );
            }
            let malformed = with(&network(json!({})), "description", json!(7));
            assert_eq!(reached(malformed), 1, "{index}: beside what cannot be read");
            for malformed in [json!({"workloadCommunication": "Some"}), json!(7)] {
                assert_eq!(reached(network(malformed)), 2, "{index}: as it is applied");
            }
            assert_eq!(reached(json!(7)), 2, "{index}: as it is applied");
        }

        let standard = plain();
        let mut made = carry_out(standard.observe(ObservedNamespace::default()));
        made.bindings.push(binding("helper", "hal"));
        let mut newer = plain();
        break_one(&mut newer, index);
        let same = carry_out(newer.observe(made.clone()));
        assert_eq!(summary(&same), (vec!["helper hal".to_owned()], access::STANDARD.to_owned(), 2));
        let workload = keep(&isolated(&["ann"]));
        let shut = summary(&carry_out(newer.observe_edited(&newer.enclave, &workload, made.clone())));
        if index == 2 {
            assert_eq!(shut, (vec![], access::ISOLATED.to_owned(), 2), "only who was let in");
        } else {
            assert_eq!(shut, summary(&made), "{index}: what is held is not in force");
            let malformed = with(&workload, "quota", json!("much"));
            let shut = summary(&carry_out(newer.observe_edited(&newer.enclave, &malformed, made)));
            assert_eq!(shut, (vec![], access::ISOLATED.to_owned(), 2), "{index}: beside what cannot be read");
        }
    }
}

/// A connection from the workload `api` to the workload `db` of another Enclave, with what is applied of it and of its
/// endpoint.
fn resolved(connection: &Value, endpoint: &Value, enabled: bool) -> ResolvedConnection {
    let end = |name: &str, control: &str| WorkloadEnd {
        name: name.to_owned(),
        workload: Some(read(name, Some(control), &json!({}), &json!({}))),
        namespace: Some(format!("{control}-{name}")),
    };
    let reference = json!({"enclaveEndpoint": {"enclave": "ledger", "name": "db"}});
    let spec = json!({"source": {"workloads": ["api"]}, "destination": reference, "enabled": enabled});
    let known = json!({"workload": "db", "ports": [{"port": 5432}]});
    ResolvedConnection {
        connection: read("out", Some("acme-payments"), connection, &spec),
        source: SourceEnd::Workloads(vec![end("api", "acme-payments")]),
        destination: DestinationEnd::Enclave {
            name: "ledger/db".to_owned(),
            enclave: None,
            endpoint: Some(read("db", Some("acme-ledger"), endpoint, &known)),
            workload: Some(end("db", "acme-ledger")),
        },
    }
}

/// After a rollback: while only a newer version knows a part of a connection, or of where it leads, its policy stays as
/// it is, and nothing wider takes its place. A connection that is plainly closed is closed.
#[test]
fn a_policy_of_what_a_newer_version_knows_stays_as_it_is_until_it_is_closed() {
    let scene = Scene { community: json!({}), enclave: json!({}), workload: json!({}) };
    let reference = json!({"enclaveEndpoint": {"enclave": "ledger", "name": "db"}});
    let connection = |source: Value| json!({"source": source, "destination": reference});
    let known = connection(json!({"workloads": ["api"]}));
    let endpoint =
        |selector: Value| json!({"workload": "db", "ports": [{"port": 5432}], "podSelector": selector});
    let observe = |resolved: ResolvedConnection, live_namespace: ObservedNamespace| ObservedWorkload {
        connections: vec![resolved],
        ..scene.observe(live_namespace)
    };
    let made = carry_out(observe(resolved(&known, &endpoint(json!({})), true), ObservedNamespace::default()));
    let name = "connection.acme-payments.out.egress";
    let policy = |live_namespace: &ObservedNamespace| {
        live_namespace.policies.iter().find(|one| one.name_any() == name).cloned()
    };
    assert!(policy(&made).is_some());
    let mut narrower = connection(json!({"workloads": ["api"]}));
    narrower["hours"] = json!("9-17");
    for (connection, endpoint) in [
        (connection(json!({"jobs": ["nightly"]})), endpoint(json!({}))),
        (json!({"source": {"workloads": ["api"]}, "destination": {"group": "all"}}), endpoint(json!({}))),
        (narrower, endpoint(json!({}))),
        (known.clone(), endpoint(json!({"matchNames": ["db-0"]}))),
    ] {
        let mut live_namespace = made.clone();
        let live = live_namespace.policies.iter_mut().find(|one| one.name_any() == name).unwrap();
        // As the newer version wrote it.
        Arc::make_mut(live).spec.as_mut().unwrap().egress = Some(Vec::new());
        let before = policy(&live_namespace);
        let kept = carry_out(observe(resolved(&connection, &endpoint, true), live_namespace.clone()));
        assert_eq!(policy(&kept).unwrap().spec, before.unwrap().spec, "{connection} {endpoint}");
        let shut = carry_out(observe(resolved(&connection, &endpoint, false), live_namespace));
        assert_eq!(policy(&shut), None, "{connection} {endpoint}");
    }
}

/// Whoever offers an endpoint takes it back at once, whatever a newer version wrote into what leads to it.
#[test]
fn a_connection_that_cannot_be_read_goes_with_the_endpoint_that_it_leads_to() {
    let scene = Scene { community: json!({}), enclave: json!({}), workload: json!({}) };
    let reference = json!({"enclaveEndpoint": {"enclave": "ledger", "name": "db"}});
    let known = json!({"source": {"workloads": ["api"]}, "destination": reference});
    let mut newer = known.clone();
    newer["hours"] = json!("9-17");
    let endpoint = json!({"workload": "db", "ports": [{"port": 5432}]});
    let observe = |resolved: ResolvedConnection, live_namespace: ObservedNamespace| ObservedWorkload {
        connections: vec![resolved],
        ..scene.observe(live_namespace)
    };
    let made = carry_out(observe(resolved(&known, &endpoint, true), ObservedNamespace::default()));
    let is_open = |connection: &Value, change: &dyn Fn(&mut ResolvedConnection)| {
        let mut resolved = resolved(connection, &endpoint, true);
        change(&mut resolved);
        carry_out(observe(resolved, made.clone()))
            .policies
            .iter()
            .any(|one| one.name_any().ends_with(".egress"))
    };
    let offered = |resolved: &mut ResolvedConnection, applied: Option<Value>| {
        let DestinationEnd::Enclave { endpoint: offered, .. } = &mut resolved.destination else { return };
        *offered = applied.map(|applied| read("db", Some("acme-ledger"), &applied, &endpoint));
    };
    let with = |field: &str, value: Value| {
        let mut endpoint = endpoint.clone();
        endpoint[field] = value;
        endpoint
    };
    for connection in [&known, &newer] {
        assert!(is_open(connection, &|_| {}), "{connection}");
        assert!(!is_open(connection, &|resolved| offered(resolved, None)), "{connection}: deleted");
        assert!(!is_open(connection, &|resolved| offered(resolved, Some(with("retire", json!(true))))));
        let unreadable = with("podSelector", json!({"matchNames": ["db-0"]}));
        assert!(is_open(connection, &|resolved| offered(resolved, Some(unreadable.clone()))), "{connection}");
        let mut retired = unreadable.clone();
        retired["retire"] = json!(true);
        assert!(!is_open(connection, &|resolved| offered(resolved, Some(retired.clone()))), "{connection}");
        let replaced = |resolved: &mut ResolvedConnection| {
            let connection = Arc::make_mut(&mut resolved.connection);
            let applied = connection.status.as_mut().and_then(|status| status.gate.applied.as_mut());
            let reference = json!({
                "kind": "EnclaveEndpoint", "namespace": "acme-ledger", "name": "db", "uid": "old", "digest": "d",
            });
            applied.unwrap().references = vec![serde_json::from_value(reference).unwrap()];
        };
        assert!(!is_open(connection, &replaced), "{connection}: made again");
    }
    let revised = |resolved: &mut ResolvedConnection| {
        let mut applied = newer.clone();
        applied["destination"]["enclaveEndpoint"]["revision"] = json!("b");
        resolved.connection = read("out", Some("acme-payments"), &applied, &applied);
        offered(resolved, None);
    };
    assert!(is_open(&newer, &revised));
    // Where it leads only a newer version knows, so nobody here can tell whether that is gone.
    let unknown = |resolved: &mut ResolvedConnection| {
        Arc::make_mut(&mut resolved.connection).spec.destination = ConnectionDestination::default();
        offered(resolved, None);
    };
    assert!(is_open(&newer, &unknown));
}

/// The readable part of a connection and its ends is in force, whatever cannot be read around the workload.
#[test]
fn a_policy_of_a_connection_lets_through_no_more_than_the_connection_while_the_community_cannot_be_read() {
    use crate::api::community::Dns;
    use crate::model::network::connectivity::NamesBackend;

    let scene = Scene { community: json!({}), enclave: json!({}), workload: json!({}) };
    let newer = Scene {
        community: json!({"approvals": {"rules": [{"operation": "JobRun", "policy": "Required"}]}}),
        enclave: json!({}),
        workload: json!({}),
    };
    let observe = |scene: &Scene, resolved: ResolvedConnection, live_namespace: ObservedNamespace| {
        ObservedWorkload { connections: vec![resolved], ..scene.observe(live_namespace) }
    };
    let reference = json!({"enclaveEndpoint": {"enclave": "ledger", "name": "db"}});
    let connection = json!({"source": {"workloads": ["api"]}, "destination": reference});
    let to_port =
        |port: u16| resolved(&connection, &json!({"workload": "db", "ports": [{"port": port}]}), true);
    let to_name = |name: &str| {
        let spec = json!({"destination": {"fqdns": [name]}, "ports": [{"port": 443}]});
        let destination = DestinationEnd::Community {
            name: "web".to_owned(),
            endpoint: Some(read("web", Some("acme"), &spec, &spec)),
            hub: None,
            managed: None,
            names: NamesBackend::Cilium(Dns::default()),
        };
        ResolvedConnection { destination, ..to_port(1) }
    };
    for (before, now) in [(to_port(1), to_port(2)), (to_name("*.example.com"), to_name("a.example.com"))] {
        let summary = |live_namespace: &ObservedNamespace| {
            let policies = live_namespace.policies.iter().map(|one| (one.name_any(), json!(one.spec)));
            let to_names = live_namespace.cilium_policies.iter().map(|one| (one.name_any(), json!(one.spec)));
            let all = policies.chain(to_names);
            all.filter(|(name, _)| name.starts_with("connection.")).collect::<Vec<_>>()
        };
        let made = carry_out(observe(&scene, before.clone(), ObservedNamespace::default()));
        let narrower = carry_out(observe(&scene, now.clone(), made.clone()));
        assert_ne!(summary(&made), summary(&narrower));
        assert_eq!(summary(&carry_out(observe(&newer, before.clone(), made.clone()))), summary(&made));
        assert_eq!(summary(&carry_out(observe(&newer, now.clone(), made.clone()))), summary(&narrower));
        let bare = carry_out(ObservedWorkload { connections: Vec::new(), ..scene.observe(made) });
        assert_eq!(summary(&carry_out(observe(&newer, now, bare.clone()))), summary(&bare), "none is made");
    }
}

#[test]
fn no_policy_is_built_of_nobody() {
    use crate::api::common::{LabelSelector, NamespacedPods};
    use crate::model::network::connectivity::{Destination, Flow, Sources};

    let pods = || NamespacedPods { namespace: "a".to_owned(), pod_selector: LabelSelector::default() };
    let built = |from, to| build_connection("a", ("n", "c"), &Flow { from, to, ports: Vec::new() }).len();
    let workloads =
        |names: &[&str]| Sources::Workloads(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(built(workloads(&["b"]), Destination::Workload(pods())), 1);
    assert_eq!(built(workloads(&[]), Destination::Workload(pods())), 0);
    assert_eq!(built(Sources::Outside(Vec::new()), Destination::Workload(pods())), 0);
    assert_eq!(built(workloads(&["a"]), Destination::Outside(Vec::new())), 0);
}
