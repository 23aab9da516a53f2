//! The comparison can fail: one policy at a time is taken away, made wider or made narrower, and each
//! time it says so. The same when an object changes and the policies do not.

use enclave_operator::api::community::Dns;
use enclave_operator::api::enclave::WorkloadCommunication::{Allowed, Isolated};
use enclave_operator::api::names::child;
use enclave_operator::api::{CommunityEndpointSpec, EnclaveEndpointSpec, TransitHubSpec};
use enclave_operator::model::approval::gated::Gated;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::judge::Judge;
use super::operator::{converge, empty_cluster};
use super::population::populate;
use super::reach::{Objects, Snapshots};
use super::scene::{
    Bound, CommunityScene, ConnectionScene, EnclaveScene, From, Life, Moment, Scene, Thing, To, WorkloadScene,
};

const WIDE: &str = "too wide";
const NARROW: &str = "too narrow";

#[test]
fn a_policy_that_is_missing_too_wide_or_too_narrow_is_found() {
    let judge = Judge::new();
    let objects = example();
    judge.compare(&objects).unwrap_or_else(|found| panic!("{found}"));
    let mut tried = 0;
    for position in 0..objects.network_policies.len() {
        let policy = &objects.network_policies[position];
        let name = format!("{}/{}", policy.namespace().unwrap(), policy.name_any());
        let mut without = objects.clone();
        without.network_policies.remove(position);
        let outcome = judge.compare(&without);
        let has_room = |one: &NetworkPolicy| {
            one.name_any() == child::INTRA_ENCLAVE && one.namespace() == policy.namespace()
        };
        match (policy.name_any() == child::DEFAULT_DENY, objects.network_policies.iter().any(has_room)) {
            // What lets the Pods of a workload reach each other shuts everybody else out too.
            (true, true) => outcome.map(drop).unwrap(),
            (true, false) => assert_found(outcome, WIDE, &format!("{name} taken away")),
            (false, _) => assert_found(outcome, NARROW, &format!("{name} taken away")),
        }
        for (how, verdict, spoilt) in spoil(policy) {
            let mut with = objects.clone();
            with.network_policies[position] = spoilt;
            assert_found(judge.compare(&with), verdict, &format!("{name} with {how}"));
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} policies were spoilt");
}

#[test]
fn an_object_that_changes_without_its_policies_is_found() {
    let judge = Judge::new();
    let check = |verdict: &str, how: &str, change: &dyn Fn(&mut Objects)| {
        let mut objects = example();
        change(&mut objects);
        assert_found(judge.compare(&objects), verdict, how);
    };
    check(WIDE, "a connection disabled", &|objects| objects.connections[0].spec.enabled = false);
    check(WIDE, "no more communication", &|objects| {
        let spec = objects.enclaves[1].spec.clone();
        set_applied(&mut objects.enclaves[0], &spec);
    });
    check(NARROW, "another port", &|objects| {
        let mut spec = objects.endpoints[0].spec.clone();
        spec.ports[0].port += 1;
        set_applied(&mut objects.endpoints[0], &spec);
    });
    check(NARROW, "a longer list of blocks", &|objects| {
        let mut spec = objects.transit_hubs[0].spec.clone();
        spec.cidrs.push(serde_json::from_value(json!({"cidr": "10.30.0.0/16"})).unwrap());
        set_applied(&mut objects.transit_hubs[0], &spec);
    });
}

/// See `reach::snapshot`: the analyser alone is wrong about this in every second or third try.
#[test]
fn ports_of_several_policies_add_up() {
    let read = |value: Value| serde_json::from_value(value).unwrap();
    let policy = |name: &str, ports: Value| -> NetworkPolicy {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "w"},
            "spec": {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "egress": [{"ports": ports, "to": [{"ipBlock": {"cidr": "198.51.100.64/26"}}]}],
            },
        }))
        .unwrap()
    };
    let mut objects = Objects::default();
    objects.namespaces.push(read(json!({"metadata": {"name": "w"}})));
    populate(&mut objects);
    let policies = [
        policy("range", json!([{"port": 80, "endPort": 90, "protocol": "TCP"}])),
        policy("ends", json!([{"port": 80, "protocol": "TCP"}, {"port": 65535, "protocol": "TCP"}])),
    ];
    let snapshots = Snapshots::new();
    for _ in 0..10 {
        let found = snapshots.analyse(&objects.namespaces, &objects.pods, &policies).unwrap();
        let expected: Vec<String> =
            (0..2).map(|pod| format!("w/pod-{pod} → 198.51.100.64-198.51.100.127 TCP 80-90,65535")).collect();
        assert_eq!(found.touching("w"), expected);
    }
}

fn set_applied<K: Gated>(object: &mut K, spec: &K::Spec) {
    let applied = object.gate_mut().applied.as_mut().unwrap();
    applied.spec = enclave_operator::api::Content::of_spec(spec).unwrap();
}

#[track_caller]
fn assert_found<T>(outcome: Result<T, String>, verdict: &str, how: &str) {
    match outcome {
        Ok(_) => panic!("nothing was found: {how}"),
        Err(found) => assert!(found.contains(verdict), "{how}: nothing was {verdict}:{found}"),
    }
}

/// What can be wrong with a policy that opens something.
fn spoil(policy: &NetworkPolicy) -> Vec<(String, &'static str, NetworkPolicy)> {
    let mut spoilt = Vec::new();
    let mut add = |how: String, verdict, change: &dyn Fn(&mut Value) -> Option<()>| {
        let mut changed = serde_json::to_value(policy).unwrap();
        if change(&mut changed).is_some() {
            spoilt.push((how, verdict, read(changed)));
        }
    };
    let nobody = json!({"matchLabels": {"app": "nobody"}});
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let rule = format!("/spec/{direction}/0");
        let first = format!("{rule}/{peers}/0");
        let named = |what: &str| format!("{what} ({direction})");
        add(named("any peer"), WIDE, &|policy| remove(policy, &rule, peers));
        add(named("any port"), WIDE, &|policy| remove(policy, &rule, "ports"));
        add(named("one port more"), WIDE, &|policy| {
            let port = policy.pointer_mut(&format!("{rule}/ports/0"))?;
            let last = port.get("endPort").unwrap_or(&port["port"]).as_i64()?;
            port["endPort"] = json!(last + 1);
            Some(())
        });
        add(named("another port"), NARROW, &|policy| {
            set(policy, &format!("{rule}/ports"), json!([{"port": 7}]))
        });
        add(named("one peer less"), NARROW, &|policy| {
            let all = policy.pointer_mut(&format!("{rule}/{peers}"))?.as_array_mut()?;
            (all.len() > 1).then(|| drop(all.pop()))
        });
        add(named("any namespace"), WIDE, &|policy| {
            set(policy, &format!("{first}/namespaceSelector"), json!({}))
        });
        add(named("another namespace"), NARROW, &|policy| {
            set(policy, &format!("{first}/namespaceSelector"), nobody.clone())
        });
        add(named("any Pod there"), WIDE, &|policy| remove(policy, &first, "podSelector"));
        add(named("no exception"), WIDE, &|policy| remove(policy, &format!("{first}/ipBlock"), "except"));
        add(named("a smaller block"), NARROW, &|policy| {
            set(policy, &format!("{first}/ipBlock"), json!({"cidr": "198.51.100.1/32"}))
        });
    }
    if policy.name_any() != child::DEFAULT_DENY {
        add("no Pod here".into(), NARROW, &|policy| set(policy, "/spec/podSelector", nobody.clone()));
        add("any Pod here".into(), WIDE, &|policy| {
            let selected = policy.pointer("/spec/podSelector")?.as_object()?;
            if selected.is_empty() { None } else { set(policy, "/spec/podSelector", json!({})) }
        });
    }
    spoilt
}

fn set(value: &mut Value, pointer: &str, to: Value) -> Option<()> {
    *value.pointer_mut(pointer)? = to;
    Some(())
}

fn remove(value: &mut Value, pointer: &str, field: &str) -> Option<()> {
    value.pointer_mut(pointer)?.as_object_mut()?.remove(field).map(drop)
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Connections of all sorts, no two of which open the same.
fn example() -> Objects {
    let scene = Scene { communities: vec![community()], drift: Vec::new() };
    let mut objects = converge(&mut empty_cluster(), &scene.objects(Moment::Now), Moment::Now.time());
    populate(&mut objects);
    objects
}

fn community() -> CommunityScene {
    let outside = |destination: Value, port: u16| {
        Thing::applied(read::<CommunityEndpointSpec>(
            json!({"destination": destination, "ports": [{"port": port}]}),
        ))
    };
    let blocks = json!({"cidrs": [{"cidr": "198.51.100.0/24", "except": ["198.51.100.128/25"]}]});
    let service = json!({"service": {"namespace": "shop", "podSelector": {"matchLabels": {"app": "db"}}}});
    let hub = read::<TransitHubSpec>(json!({
        "cidrs": [{"cidr": "10.20.0.0/16"}],
        "gateway": {"namespace": "vpn", "podSelector": {"matchLabels": {"app": "web"}}},
    }));
    CommunityScene {
        name: "c",
        namespace: None,
        life: Life::Applied,
        dns: (Dns::default(), Dns::default()),
        enclaves: vec![
            EnclaveScene {
                life: Life::Applied,
                communication: (Allowed, Allowed),
                workloads: vec![workload(), workload()],
                endpoints: Vec::new(),
                connections: vec![
                    connection(From::Workloads(vec![0, 1]), To::Enclave(1, 0)),
                    connection(From::Workloads(vec![0]), To::Community(0)),
                ],
            },
            EnclaveScene {
                life: Life::Applied,
                communication: (Isolated, Isolated),
                workloads: vec![workload()],
                endpoints: vec![Thing::applied(read::<EnclaveEndpointSpec>(json!({
                    "workload": "w",
                    "podSelector": {
                        "matchLabels": {"app": "db"},
                        "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}],
                    },
                    "ports": [{"port": 5432}, {"protocol": "SCTP", "port": 100, "endPort": 200}],
                })))],
                connections: vec![
                    connection(From::Workloads(vec![0]), To::Community(1)),
                    connection(From::Workloads(vec![0]), To::Community(2)),
                ],
            },
        ],
        hubs: vec![Thing::applied(hub)],
        endpoints: vec![
            outside(blocks, 443),
            outside(service, 8443),
            outside(json!({"transitHub": {"name": "one"}}), 22),
        ],
        connections: vec![connection(From::Hub(0), To::Enclave(1, 0))],
    }
}

const fn workload() -> WorkloadScene {
    WorkloadScene { life: Life::Applied, is_taken: false }
}

const fn connection(from: From, to: To) -> ConnectionScene {
    let (life, lasts, bound) = (Life::Applied, false, Bound::Same);
    ConnectionScene { life, from, to, enabled: (true, true), ends: (None, None), lasts, bound }
}
