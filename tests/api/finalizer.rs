//! The operator's finalizer is there from the start where the operator looks after something, and nowhere
//! else; and what is declared without a rule takes no more writes than it has to.

use enclave_operator::api::names::{FINALIZER, label, purpose};
use enclave_operator::api::{Enclave, EnclaveWorkload, Kind, State};
use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::{User, eventually, wait_gone, writes_by};
use crate::world::{
    SOON, WORLD, World, active_community, assert_refused, enclave, enclaves, kind_api, namespaced, object,
    on_a_runtime, patch, wait_for_enclave, wait_for_state,
};

const OPERATOR: &str = "system:serviceaccount:enclave-system:enclave-operator";
const OTHERS: &str = "example.test/others";

/// A valid spec of every kind that people declare.
fn spec_of(kind: Kind) -> Value {
    let anybody = json!([{"kind": "Group", "name": "anybody"}]);
    match kind {
        Kind::Community | Kind::Enclave | Kind::EnclaveWorkload => json!({}),
        Kind::CommunityEndpoint => {
            json!({"destination": {"cidrs": [{"cidr": "198.51.100.0/24"}]}, "ports": [{"port": 443}]})
        }
        Kind::TransitHub => json!({"cidrs": [{"cidr": "10.20.0.0/16"}]}),
        Kind::EnclaveEndpoint => json!({"workload": "db", "ports": [{"port": 5432}]}),
        Kind::EnclaveConnection => json!({
            "source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": "out"}},
        }),
        Kind::RoleAssignment => json!({"role": "enclave-reader", "principals": anybody}),
        Kind::RoleEligibility => {
            json!({"role": "enclave-reader", "principals": anybody, "activation": {"maxDuration": "1h"}})
        }
        Kind::RoleActivation => json!({"eligibility": "anything", "duration": "1h"}),
        Kind::ApprovalRequest => unreachable!("requests are the operator's"),
    }
}

fn declared() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::ApprovalRequest)
}

fn manifest(kind: Kind, name: &str) -> DynamicObject {
    object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": kind.name(),
        "metadata": {"name": name}, "spec": spec_of(kind),
    }))
}

/// A namespace as the operator makes it, without anything that it belongs to.
fn make_namespace(operator: &User, name: &str, purpose: &str) {
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {label::PURPOSE: purpose, label::OWNER_UID: "nobody"}}});
    operator.kubectl_with_input(&["create", "-f", "-"], &made.to_string()).expect_success();
}

/// What belongs to whom here is not known to anybody, so the operator would not make any of it active.
#[test]
fn what_is_declared_carries_the_finalizer_from_the_start() {
    let world = World::without_operator();
    world.install();
    let operator = on_a_runtime(async || world.operator().await);
    make_namespace(&operator, "com", purpose::COMMUNITY);
    make_namespace(&operator, "con", purpose::CONTROL);
    on_a_runtime(async || {
        let administrator = world.administrator();
        let stamped = [FINALIZER.to_owned()];
        for kind in declared() {
            let places = match kind {
                Kind::Community => vec![("", true)],
                Kind::RoleAssignment | Kind::RoleEligibility | Kind::RoleActivation => {
                    vec![("com", true), ("con", true), ("enclave-system", true), ("default", false)]
                }
                _ => vec![("com", true), ("con", true), ("enclave-system", false), ("default", false)],
            };
            for (namespace, is_stamped) in places {
                let api = kind_api(&administrator, kind, namespace);
                let expected: &[String] = if is_stamped { &stamped } else { &[] };
                let dry = PostParams { dry_run: true, ..PostParams::default() };
                let what = format!("{kind} in {namespace:?}");
                // A role cannot be given elsewhere.
                let made = match api.create(&dry, &manifest(kind, "a")).await {
                    Err(kube::Error::Api(status)) if status.message.contains("cannot be given") => continue,
                    made => made.unwrap(),
                };
                assert_eq!(made.finalizers(), expected, "{what}, dry");
                assert!(api.get_opt("a").await.unwrap().is_none(), "{what} is only tried");
                let made = api.create(&PostParams::default(), &manifest(kind, "a")).await.unwrap();
                assert_eq!(made.finalizers(), expected, "{what}");
                if !matches!(kind, Kind::Community | Kind::Enclave | Kind::EnclaveWorkload) {
                    let mut unnamed = manifest(kind, "");
                    (unnamed.metadata.name, unnamed.metadata.generate_name) = (None, Some("b-".into()));
                    let made = api.create(&PostParams::default(), &unnamed).await.unwrap();
                    assert_eq!(made.finalizers(), expected, "{what}, unnamed");
                }
                // Others may add theirs, but to an activation.
                let mut theirs = manifest(kind, "c");
                theirs.metadata.finalizers = Some(vec![OTHERS.into()]);
                let apply = PatchParams::apply("others");
                let applied = api.patch("c", &apply, &Patch::Apply(&theirs)).await;
                if kind == Kind::RoleActivation {
                    assert_refused(applied, "a finalizer would keep this activation");
                } else {
                    let both: Vec<String> =
                        [OTHERS.to_owned()].into_iter().chain(expected.to_vec()).collect();
                    assert_eq!(applied.unwrap().finalizers(), both, "{what}, applied");
                    let again = api.patch("c", &apply, &Patch::Apply(&theirs)).await.unwrap();
                    assert_eq!(again.finalizers(), both, "{what}, applied again");
                }
            }
        }
    });
    replaced_objects_keep_it(&world, &operator);
    what_is_deleted_meanwhile_goes_when_there_is_an_operator(&world);
}

/// `kubectl replace -f` of the manifest as it was applied first.
fn replaced_objects_keep_it(world: &World, operator: &User) {
    let administrator = world.plane.administrator_user();
    for kind in declared() {
        let namespace = if kind == Kind::Community { "" } else { "con" };
        let replace = |user: &User| {
            let arguments = ["replace", "-f", "-", "-o", "jsonpath={.metadata.finalizers}"];
            let namespace: &[&str] = if namespace.is_empty() { &[] } else { &["-n", namespace] };
            let text = serde_json::to_string(&manifest(kind, "a")).unwrap();
            user.kubectl_with_input(&[&arguments[..], namespace].concat(), &text)
        };
        assert_eq!(replace(administrator).expect_success(), format!("[\"{FINALIZER}\"]"), "{kind}");
        // It is put back only on what had it.
        let stripped = on_a_runtime(async || {
            let theirs = kind_api(&operator.client(), kind, namespace);
            patch(&theirs, "a", json!({"metadata": {"finalizers": null}})).await.unwrap()
        });
        assert!(stripped.finalizers().is_empty(), "the operator takes it off {kind}");
        assert_eq!(replace(administrator).expect_success(), "", "{kind}");
        let back = json!({"metadata": {"finalizers": [FINALIZER]}});
        on_a_runtime(async || {
            patch(&kind_api(&operator.client(), kind, namespace), "a", back).await.unwrap();
        });
    }
}

/// Without an operator what carries it stays, whichever way it is deleted, and nobody else takes it off.
fn what_is_deleted_meanwhile_goes_when_there_is_an_operator(world: &World) {
    on_a_runtime(async || {
        let administrator = world.administrator();
        let mut leaving = Vec::new();
        for kind in declared() {
            let namespace = if kind == Kind::Community { "" } else { "con" };
            let api = kind_api(&administrator, kind, namespace);
            api.delete("a", &DeleteParams::foreground()).await.unwrap();
            let left = eventually("only the operator's finalizer is left", SOON, async || {
                let left = api.get("a").await.unwrap();
                (left.metadata.deletion_timestamp.is_some() && left.finalizers() == [FINALIZER])
                    .then_some(left)
            })
            .await;
            let strip = json!({"metadata": {"finalizers": null}});
            assert_refused(patch(&api, "a", strip).await, "only the operator removes the finalizer");
            // A label changes nothing about that.
            let label = json!({"metadata": {"labels": {"seen": "leaving"}}});
            assert_eq!(patch(&api, "a", label).await.unwrap().finalizers(), left.finalizers());
            // What others put there they take off themselves.
            if kind != Kind::RoleActivation {
                let theirs = json!({"metadata": {"finalizers": [FINALIZER]}});
                patch(&api, "c", theirs).await.unwrap();
                api.delete("c", &DeleteParams::background()).await.unwrap();
            }
            leaving.push((kind, api));
        }
        for namespace in ["com", "con"] {
            for kind in [Kind::EnclaveEndpoint, Kind::RoleActivation] {
                let api = kind_api(&administrator, kind, namespace);
                api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
            }
        }
        world.start_operator("late");
        for (kind, api) in leaving {
            for name in ["a", "c"] {
                wait_gone(api.clone(), name, SOON, &format!("{kind} {name} goes")).await;
            }
        }
        // Nor does anything keep the namespaces around it.
        let all = kind_api(&administrator, Kind::RoleActivation, "con");
        eventually("the others are gone", SOON, async || {
            all.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
        })
        .await;
    });
}

#[tokio::test]
async fn what_nobody_has_to_approve_takes_few_writes() {
    let world = &*WORLD;
    let alice = world.alice();
    active_community(world, "few", &json!({})).await;
    let since = Timestamp::now();
    let api = enclaves(&alice, "few");
    let made: Enclave = api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
    assert_eq!(made.finalizers(), [FINALIZER]);
    wait_for_enclave(&api, "e", State::Active).await;
    let workloads: Api<EnclaveWorkload> = namespaced(world.erin().client(), "few-e");
    let workload = manifest(Kind::EnclaveWorkload, "w");
    let workload = serde_json::from_value(serde_json::to_value(workload).unwrap()).unwrap();
    workloads.create(&PostParams::default(), &workload).await.unwrap();
    wait_for_state(&workloads, "w", State::Active).await;
    let log = world.plane.audit_log();
    let by_operator = eventually("the last write is logged", SOON, async || {
        let mut writes = writes_by(&log, OPERATOR, Some(since));
        writes.retain(|write| write.namespace.starts_with("few") || write.name.starts_with("few"));
        let is_status = |resource: &str| {
            writes.iter().filter(|write| write.resource == resource && write.subresource == "status").count()
        };
        (is_status("enclaves") > 1 && is_status("enclaveworkloads") > 1).then_some(writes)
    })
    .await;
    // Its status only: nothing is put on it or taken off, and nothing is told.
    let about =
        |resource: &str| by_operator.iter().filter(|write| write.resource == resource).collect::<Vec<_>>();
    for resource in ["enclaves", "enclaveworkloads"] {
        let writes = about(resource);
        assert!(writes.iter().all(|write| write.subresource == "status"), "{writes:#?}");
        assert!(writes.len() <= 4, "{writes:#?}");
    }
    assert!(about("events").is_empty(), "{:#?}", about("events"));
}

/// Finalizers of others are theirs, however many there are.
#[test]
fn of_any_number_of_finalizers_the_operator_takes_its_own_off_and_no_other() {
    let world = &*WORLD;
    on_a_runtime(async || {
        let alice = world.alice();
        active_community(world, "crowded", &json!({})).await;
        let api: Api<DynamicObject> = kind_api(&alice.client(), Kind::TransitHub, "crowded");
        let others: Vec<String> = (0..40).map(|number| format!("{OTHERS}-{number}")).collect();
        let mut hub = manifest(Kind::TransitHub, "hub");
        hub.metadata.finalizers = Some(others.clone());
        let made = api.create(&PostParams::default(), &hub).await.unwrap();
        assert!(made.finalizers().iter().any(|name| name == FINALIZER));
        api.delete("hub", &DeleteParams::default()).await.unwrap();
        let left = eventually("the operator lets it go", SOON, async || {
            let hub = api.get("hub").await.unwrap();
            (!hub.finalizers().iter().any(|name| name == FINALIZER)).then(|| hub.finalizers().to_vec())
        })
        .await;
        assert_eq!(left, others);
        patch(&api, "hub", json!({"metadata": {"finalizers": null}})).await.unwrap();
        wait_gone(api, "hub", SOON, "the hub is gone").await;
    });
}
