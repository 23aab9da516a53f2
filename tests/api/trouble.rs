//! What goes wrong around the operator: it says so, loses nothing, and goes on by itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::names::condition as conditions;
use enclave_operator::api::{ApprovalRequest, Community, Enclave, State};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource};
use serde_json::json;

use crate::reading::{change, odd_metadata, wait_to_see};
use crate::support::{Process, eventually, wait_until, writes_by};
use crate::world::{
    SOON, World, active_community, assert_refused, communities, community, condition, enclave, enclaves,
    hold_everything, on_a_runtime, patch, requests, vote, wait_for_enclave, wait_for_request,
};

#[test]
fn an_operator_without_anything_installed_says_what_is_missing_and_goes_on_when_it_is_there() {
    let world = World::without_operator();
    let administrator = world.plane.administrator_user();
    // Only its account is there, and how it is started: no CRD, no policy, no right.
    world.apply_chart("install");
    for kinds in [
        "clusterroles,clusterrolebindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings",
        "validatingadmissionpolicies,validatingadmissionpolicybindings,crds",
    ] {
        let label = "app.kubernetes.io/part-of=enclave-operator";
        administrator.kubectl(&["delete", kinds, "--selector", label]).expect_success();
    }
    let operator = world.spawn_operator("early");
    on_a_runtime(async || wait_for_log(&operator, "lacks the right to list and watch").await);

    administrator
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "all",
            "--clusterrole=cluster-admin",
            "--serviceaccount=enclave-system:enclave-operator",
        ])
        .expect_success();
    on_a_runtime(async || wait_for_log(&operator, "is not installed; install the chart").await);

    world.apply_chart("upgrade");
    world.give_roles();
    administrator.kubectl(&["delete", "clusterrolebinding", "all"]).expect_success();
    on_a_runtime(async || {
        active_community(&world, "late", &json!({})).await;
    });
}

#[test]
fn without_its_policies_the_operator_enacts_nothing_and_resumes_when_they_are_back() {
    let world = World::without_operator();
    world.install();
    let operator = world.spawn_operator("guarded");
    on_a_runtime(async || {
        wait_for_metric(&operator, "enclave_operator_admission_policies_intact 1").await;
        let (alice, bob) = (world.alice(), world.bob());
        active_community(&world, "guarded", &json!({ "approvals": hold_everything() })).await;
        active_community(&world, "free", &json!({})).await;
        let api = enclaves(&alice, "guarded");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, "guarded", "e").await;

        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.administrator());
        let name = "enclave-operator-verify-vote";
        let mut removed = bindings.get(name).await.unwrap();
        bindings.delete(name, &DeleteParams::default()).await.unwrap();

        // What needs no approval is not enacted either: without the policies nobody knows.
        let free = enclaves(&alice, "free");
        free.create(&PostParams::default(), &enclave("f", &json!({}))).await.unwrap();
        let held = wait_for_enclave(&free, "f", State::Pending).await.status.unwrap().gate;
        wait_for_metric(&operator, "enclave_operator_admission_policies_intact 0").await;
        wait_until(communities(&alice), "guarded", SOON, "it shows it", |community: &Community| {
            community
                .status
                .as_ref()
                .is_some_and(|status| condition(&status.gate, conditions::PROTECTED).status == "False")
        })
        .await;
        let approved = condition(&held, conditions::APPROVED);
        assert_eq!(approved.reason, "AdmissionPoliciesNotIntact");
        assert!(approved.message.contains(&format!("ValidatingAdmissionPolicyBinding {name} is missing")));
        // A vote cast now could be anybody's.
        vote(&bob, "guarded", &request, Verdict::Approved, None).await.unwrap();
        let told = wait_until(api.clone(), "e", SOON, "the hold says why", |enclave: &Enclave| {
            enclave.status.as_ref().is_some_and(|status| {
                condition(&status.gate, conditions::APPROVED).message.contains("no vote is believed")
            })
        })
        .await;
        assert!(told.status.unwrap().gate.applied.is_none());

        removed.meta_mut().resource_version = None;
        removed.meta_mut().uid = None;
        bindings.create(&PostParams::default(), &removed).await.unwrap();
        wait_for_enclave(&free, "f", State::Active).await;
        wait_until(
            requests(&bob, "guarded"),
            &request,
            SOON,
            "the vote is void",
            |request: &ApprovalRequest| {
                request.status.as_ref().is_some_and(|status| {
                    status.decisions.is_empty() && status.missing.as_deref() == Some("1 more approval")
                })
            },
        )
        .await;
        vote(&bob, "guarded", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;

        let told = world.plane.administrator_user().kubectl(&["get", "events", "-A"]).expect_success();
        assert!(told.contains("nothing new is enacted: ValidatingAdmissionPolicyBinding"), "{told}");
        assert!(told.contains("the admission policies are as installed again"), "{told}");
    });
}

#[test]
fn a_change_that_no_policy_stamped_is_not_believed() {
    let world = World::without_operator();
    world.install();
    on_a_runtime(async || {
        let bindings: Api<k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding> =
            Api::all(world.administrator());
        let verify: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.administrator());
        let stamp = "enclave-operator-stamp-requester";
        let check = "enclave-operator-verify-requester";
        let mut stamped = bindings.get(stamp).await.unwrap();
        let mut checked = verify.get(check).await.unwrap();

        // With only the stamping gone, the check refuses: two policies have to fail.
        bindings.delete(stamp, &DeleteParams::default()).await.unwrap();
        let communities = communities(&world.alice());
        let rules = json!({ "approvals": hold_everything() });
        eventually("an unstamped change is refused", SOON, async || {
            let unstamped = community("unstamped", &rules);
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            match communities.create(&dry_run, &unstamped).await {
                Ok(_) => None,
                refused => {
                    assert_refused(refused, "do not say who changed this object");
                    Some(())
                }
            }
        })
        .await;
        stamped.meta_mut().resource_version = None;
        bindings.create(&PostParams::default(), &stamped).await.unwrap();
        eventually("changes are stamped again", SOON, async || {
            let stamped = community("stamped", &rules);
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            communities.create(&dry_run, &stamped).await.ok()
        })
        .await;

        world.start_operator("policies");
        active_community(&world, "policies", &rules).await;
        world.kill_operator();

        // Both gone: the change gets in, with a forged author.
        bindings.delete(stamp, &DeleteParams::default()).await.unwrap();
        verify.delete(check, &DeleteParams::default()).await.unwrap();
        let api = enclaves(&world.alice(), "policies");
        let name = eventually("an unstamped change gets in", SOON, async || {
            static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let name = format!("e{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            let mut forged = enclave(&name, &json!({}));
            let author = ("enclave-operator.io/requested-by".to_owned(), "mallory".to_owned());
            forged.metadata.annotations = Some([author].into());
            let made = api.create(&PostParams::default(), &forged).await.ok()?;
            let generation =
                made.metadata.annotations?.get("enclave-operator.io/requested-generation").cloned();
            generation.is_none().then_some(name)
        })
        .await;
        stamped.meta_mut().resource_version = None;
        checked.meta_mut().resource_version = None;
        bindings.create(&PostParams::default(), &stamped).await.unwrap();
        verify.create(&PostParams::default(), &checked).await.unwrap();

        world.start_operator("policies");
        // First it waits until the policies, which are young, are effective.
        let held = wait_until(api, &name, SOON, "the hold says why", |enclave: &Enclave| {
            enclave.status.as_ref().is_some_and(|status| {
                condition(&status.gate, conditions::APPROVED).reason == "RequesterUnknown"
            })
        })
        .await;
        let gate = held.status.unwrap().gate;
        assert_eq!(gate.state, Some(State::Pending));
        assert!(gate.pending.unwrap().approval_request.is_none());
    });
}

#[test]
fn an_api_server_that_goes_away_and_comes_back_loses_nothing() {
    let world = World::without_operator();
    world.install();
    world.start_operator("patient");
    let request = on_a_runtime(async || {
        active_community(&world, "patient", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&world.alice(), "patient");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        wait_for_request(&world.alice(), "patient", "e").await
    });
    world.plane.kill_api_server();
    world.plane.start_api_server().unwrap();
    on_a_runtime(async || {
        vote(&world.bob(), "patient", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&enclaves(&world.alice(), "patient"), "e", State::Active).await;
    });
}

#[test]
fn a_repair_that_cannot_succeed_is_shown_and_does_not_make_a_storm() {
    let world = World::without_operator();
    world.install();
    world.start_operator("calm");
    on_a_runtime(async || {
        let alice = world.alice();
        active_community(&world, "calm", &json!({})).await;
        let api = enclaves(&alice, "calm");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;

        // A quota keeps the operator from making its policy again. (Nobody but its own account gets that
        // far.)
        let administrator = world.plane.administrator_user();
        let operator = world.operator().await;
        let none = "--hard=count/networkpolicies.networking.k8s.io=0";
        operator.kubectl(&["create", "quota", "none", "-n", "calm-e", none]).expect_success();
        eventually("the quota counts", SOON, async || {
            let seen = administrator.kubectl(&["get", "quota", "none", "-n", "calm-e", "-o", "yaml"]);
            seen.stdout.contains("used:").then_some(())
        })
        .await;
        let policy =
            ["delete", "networkpolicy", "enclave-operator-default-deny", "-n", "calm-e", "--wait=false"];
        operator.kubectl(&policy).expect_success();
        let degraded = wait_for_enclave(&api, "e", State::Degraded).await;
        let gate = degraded.status.unwrap().gate;
        assert!(condition(&gate, conditions::READY).message.contains("exceeded quota"));
        assert_eq!(condition(&gate, conditions::ENFORCED).status, "False");

        // It stays Degraded, whatever else happens to it, and is not written again and again.
        let since = Timestamp::now();
        for label in ["one", "two", "three"] {
            let touch = json!({"metadata": {"labels": {"touched": label}}});
            patch(&api, "e", touch).await.unwrap();
        }
        wait_until(api.clone(), "e", SOON, "the last touch is there", |enclave: &Enclave| {
            enclave.metadata.labels.as_ref().is_some_and(|labels| labels["touched"] == "three")
        })
        .await;
        assert_eq!(api.get("e").await.unwrap().status.unwrap().gate.state, Some(State::Degraded));

        operator.kubectl(&["delete", "quota", "none", "-n", "calm-e", "--wait=false"]).expect_success();
        let is_active = |enclave: &Enclave| {
            enclave.status.as_ref().is_some_and(|status| status.gate.state == Some(State::Active))
        };
        wait_until(api, "e", 2 * SOON, "it is tried again", is_active).await;
        let operator = "system:serviceaccount:enclave-system:enclave-operator";
        let mut writes = writes_by(&world.plane.audit_log(), operator, Some(since));
        writes.retain(|write| write.resource == "enclaves");
        assert!(writes.len() < 10, "{} writes to the status: {writes:#?}", writes.len());
    });
}

#[test]
fn an_api_server_that_is_away_for_longer_than_the_lease_finds_the_operator_again() {
    let world = World::without_operator();
    world.install();
    let operator = world.spawn_operator("stubborn");
    on_a_runtime(async || wait_for_log(&operator, "leading, reconciling").await);
    world.plane.kill_api_server();
    on_a_runtime(async || wait_for_log(&operator, "waiting for it again").await);
    world.plane.start_api_server().unwrap();
    on_a_runtime(async || {
        active_community(&world, "stubborn", &json!({})).await;
    });
}

#[test]
fn a_lease_that_cannot_be_renewed_ends_all_writes_until_it_can() {
    let world = World::without_operator();
    world.install();
    let operator = world.spawn_operator("refused");
    on_a_runtime(async || {
        wait_for_log(&operator, "leading, reconciling").await;
        active_community(&world, "before", &json!({})).await;
    });
    let administrator = world.plane.administrator_user();
    let get = ["get", "role", "enclave-operator", "-n", "enclave-system", "-o", "json"];
    let role = administrator.kubectl(&get).expect_success();
    administrator.kubectl(&["delete", "role", "enclave-operator", "-n", "enclave-system"]).expect_success();
    on_a_runtime(async || {
        wait_for_log(&operator, "waiting for it again").await;
    });
    let stopped = Timestamp::now();
    on_a_runtime(async || {
        wait_for_metric(&operator, "enclave_operator_leader 0").await;
        communities(&world.alice())
            .create(&PostParams::default(), &community("meanwhile", &json!({})))
            .await
            .unwrap();
    });
    let mut role: serde_json::Value = serde_json::from_str(&role).unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        role["metadata"].as_object_mut().unwrap().remove(field);
    }
    let account = "system:serviceaccount:enclave-system:enclave-operator";
    let writes = writes_by(&world.plane.audit_log(), account, Some(stopped));
    assert!(writes.iter().all(|write| write.resource == "leases"), "{writes:#?}");
    administrator.kubectl_with_input(&["apply", "-f", "-"], &role.to_string()).expect_success();
    on_a_runtime(async || {
        crate::world::wait_for_community(&communities(&world.alice()), "meanwhile", State::Active).await;
    });
}

/// Whoever may write leases beside the operator could otherwise end all closing for good.
#[test]
fn a_lease_that_a_typed_client_cannot_hold_is_renewed_and_taken() {
    let world = World::without_operator();
    world.install();
    let first = world.spawn_operator("renews");
    on_a_runtime(async || wait_for_log(&first, "leading, reconciling").await);
    let administrator = world.plane.administrator_user();
    let lease = ["lease", "enclave-operator", "-n", "enclave-system"];
    let odd = || {
        let mut odd = odd_metadata("coordination.k8s.io/v1", "x");
        odd["spec"] =
            json!({"renewTime": "9999-12-31T23:59:59.000000Z", "acquireTime": "0000-01-01T00:00:00.000000Z"});
        change(administrator, &lease, &odd);
    };
    odd();
    on_a_runtime(async || {
        let renewed = format!("{}-", Timestamp::now().strftime("%Y"));
        wait_to_see(administrator, &lease, "{.spec.renewTime}", &renewed).await;
        active_community(&world, "renewed", &json!({})).await;
        assert!(!first.log().contains("waiting for it again"), "it leads all the time");
    });
    first.kill();
    odd();
    let second = world.spawn_operator("takes");
    on_a_runtime(async || {
        wait_for_log(&second, "leading, reconciling").await;
        active_community(&world, "taken", &json!({})).await;
    });
}

#[test]
fn a_second_process_waits_and_takes_over() {
    let world = World::without_operator();
    world.install();
    let first = world.spawn_operator("first");
    on_a_runtime(async || wait_for_log(&first, "leading, reconciling").await);
    let second = world.spawn_operator("second");
    on_a_runtime(async || wait_for_log(&second, "another operator process holds the lease").await);
    on_a_runtime(async || {
        active_community(&world, "one", &json!({})).await;
    });
    assert!(!second.log().contains("leading"), "{}", second.log());

    let status = first.terminate(Duration::from_secs(10)).expect("it stops when asked to");
    assert!(status.success(), "{status}");
    on_a_runtime(async || {
        wait_for_log(&second, "leading, reconciling").await;
        active_community(&world, "two", &json!({})).await;
    });
}

pub async fn wait_for_metric(operator: &Process, line: &str) {
    eventually(&format!("the metrics say {line:?}"), SOON, async || {
        ask(operator, "/metrics")?.lines().any(|metric| metric == line).then_some(())
    })
    .await;
}

/// What an operator answers; nothing while it does not serve.
pub fn ask(operator: &Process, path: &str) -> Option<String> {
    let log = operator.log();
    // After a lost lease it serves anew.
    let serving = log.lines().rfind(|line| line.contains("serving /metrics"))?;
    let address = serving.split("address=").nth(1)?.split_whitespace().next()?;
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub async fn wait_for_log(process: &Process, text: &str) {
    eventually(&format!("the log says {text:?}"), SOON, async || process.log().contains(text).then_some(()))
        .await;
}
