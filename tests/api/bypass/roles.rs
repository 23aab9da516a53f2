//! Attacks on roles: to get one that nobody gave, more of it, or for longer.

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::names::{FINALIZER, REQUESTED_BY, REQUESTED_GROUPS};
use enclave_operator::api::{RoleActivation, RoleAssignment, RoleEligibility, State};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, ListParams, Patch, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Defence::{Check, Stamp, Validation};
use super::lock::active_workload;
use super::{
    LOCK, Run, VERIFY_ACTIVATION, VERIFY_GRANTS, bites, bites_each, keeps_its_finalizer, play, remove,
    restore, start_operator, stop_operator, until_accepted, until_refused,
};
use crate::roles::{group, make, user, wait_for_activation};
use crate::support::{User, eventually, wait_until};
use crate::world::{
    SOON, World, assert_refused, condition, may, namespaced, object, patch, requests, right, vote,
    wait_for_access, wait_for_hold, wait_for_state,
};

const STAMP_ACTIVATION: &str = "enclave-operator-stamp-activation";

/// The Enclave "e" of a Community with a workload "web", in which somebody is eligible.
struct Place {
    world: &'static World,
    control: String,
    pods: String,
}

impl Place {
    async fn make(world: &'static World, community: &str) -> Self {
        let pods = active_workload(world, community, json!({})).await;
        Self { world, control: format!("{community}-e"), pods }
    }

    fn person(&self, name: &str, groups: &[&str]) -> User {
        self.world.plane.user(&format!("{name}-{}", self.control), groups)
    }

    fn eligibilities(&self) -> Api<RoleEligibility> {
        namespaced(self.world.alice().client(), &self.control)
    }

    fn activations(&self, user: &User) -> Api<RoleActivation> {
        namespaced(user.client(), &self.control)
    }

    /// Lets these activate a role, and waits until one of them may ask for it.
    async fn let_activate(&self, name: &str, who: &[Value], first: &User, more: Value) {
        let mut spec =
            json!({"role": "enclave-contributor", "principals": who, "activation": {"maxDuration": "1h"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        make(&self.eligibilities(), "RoleEligibility", name, &spec).await.unwrap();
        wait_for_state(&self.eligibilities(), name, State::Active).await;
        wait_for_access(first, "create", "roleactivations", &self.control, true).await;
    }

    /// Asks for an activation.
    async fn ask(&self, who: &User, name: &str, eligibility: &str, duration: &str) {
        let spec = json!({"eligibility": eligibility, "duration": duration});
        make(&self.activations(who), "RoleActivation", name, &spec).await.unwrap();
    }

    async fn assert_refused(&self, who: &User, name: &str, reason: &str) {
        let refused = wait_for_activation(&self.activations(who), name, "Refused").await.status.unwrap();
        assert_eq!(refused.conditions[0].reason, reason, "{}", refused.conditions[0].message);
        assert!(!may(who, &right("create", "pods", &self.pods)).await);
    }
}

#[tokio::test]
async fn d01_activate_what_somebody_else_is_eligible_for_or_for_longer_than_allowed() {
    play(async |world| {
        let place = Place::make(world, "d01").await;
        let (nina, karl) = (place.person("nina", &[]), place.person("karl", &[]));
        place.let_activate("ninas", &[user(&nina)], &nina, json!({})).await;
        place.let_activate("karls", &[user(&karl)], &karl, json!({})).await;
        place.ask(&karl, "not-his", "ninas", "1h").await;
        place.assert_refused(&karl, "not-his", "NotEligible").await;
        place.ask(&nina, "too-long", "ninas", "61m").await;
        place.assert_refused(&nina, "too-long", "TooLong").await;
        place.ask(&nina, "nowhere", "nobodys", "1h").await;
        place.assert_refused(&nina, "nowhere", "NotEligible").await;
        // What it is refused for is nothing that can be mended in it.
        let longer = patch(&place.activations(&nina), "too-long", json!({"spec": {"duration": "1h"}})).await;
        assert_refused(longer, "an activation cannot be changed, only deactivated");
    })
    .await;
}

#[tokio::test]
async fn d02_claim_a_group_or_to_be_somebody_else() {
    play(async |world| {
        let place = Place::make(world, "d02").await;
        let (nina, mallory) = (place.person("nina", &["on-call"]), place.person("mallory", &[]));
        place.let_activate("on-call", &[group("on-call")], &nina, json!({})).await;
        place.let_activate("mallorys", &[user(&mallory)], &mallory, json!({})).await;
        let api = place.activations(&mallory);
        let claims = json!({REQUESTED_BY: nina.name(), REQUESTED_GROUPS: "on-call"});
        let claimed: RoleActivation = object(json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": "RoleActivation",
            "metadata": {"name": "claimed", "annotations": claims},
            "spec": {"eligibility": "on-call", "duration": "1h"},
        }));
        let claim = async |run: Run| {
            let made = api.create(&run.post(), &claimed).await?;
            Ok::<_, kube::Error>(made.annotations()[REQUESTED_BY].clone())
        };
        assert_eq!(claim(Run::ForReal).await.unwrap(), mallory.name());
        place.assert_refused(&mallory, "claimed", "NotEligible").await;
        // Nor afterwards.
        let edit = Patch::Merge(json!({"metadata": {"annotations": claims}}));
        let later = api.patch("claimed", &Run::Dry.patch(), &edit).await;
        assert_eq!(later.unwrap().annotations()[REQUESTED_BY], mallory.name());
        api.delete("claimed", &DeleteParams::default()).await.unwrap_err();
        namespaced::<RoleActivation>(world.alice().client(), &place.control)
            .delete("claimed", &DeleteParams::default())
            .await
            .unwrap();

        // Two policies have to fail before it is believed.
        let words = "do not say who you are";
        remove(world, &[Stamp(STAMP_ACTIVATION)]).await;
        until_refused(words, async || claim(Run::Dry).await).await;
        remove(world, &[Check(VERIFY_ACTIVATION)]).await;
        assert_eq!(until_accepted(async || claim(Run::Dry).await).await, nina.name());
        // And what was written then is not believed when they are back either.
        assert_eq!(claim(Run::ForReal).await.unwrap(), nina.name());
        place.assert_refused(&mallory, "claimed", "AdmissionPoliciesNotIntact").await;
        restore(world).await;
        place.assert_refused(&mallory, "claimed", "AdmissionPoliciesNotIntact").await;
        namespaced::<RoleActivation>(world.alice().client(), &place.control)
            .delete("claimed", &DeleteParams::default())
            .await
            .unwrap();
        eventually("it is overwritten again", SOON, async || {
            (claim(Run::Dry).await.ok().as_deref() == Some(mallory.name())).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn d03_approve_ones_own_activation_or_change_it_after_the_approval() {
    play(async |world| {
        let place = Place::make(world, "d03").await;
        // She approves as well, which nobody but a condition says here.
        let nina = place.person("nina", &["approvers"]);
        let approval = json!({"maxDuration": "1h", "approval": {"policy": "Required"}});
        place.let_activate("ninas", &[user(&nina)], &nina, json!({ "activation": approval })).await;
        place.ask(&nina, "mine", "ninas", "30m").await;
        let api = place.activations(&nina);
        let pending = wait_for_activation(&api, "mine", "PendingApproval").await.status.unwrap();
        let request = pending.approval_request.unwrap();
        eventually("the request is open", SOON, async || {
            let request = requests(&nina, &place.control).get(&request).await.unwrap();
            request.status.and_then(|status| status.state)
        })
        .await;
        let own = vote(&nina, &place.control, &request, Verdict::Approved, None).await;
        assert_refused(own, "you contributed to this change");
        vote(&world.bob(), &place.control, &request, Verdict::Approved, None).await.unwrap();
        let active = wait_for_activation(&api, "mine", "Active").await.status.unwrap();
        let longer = patch(&api, "mine", json!({"spec": {"duration": "1h"}})).await;
        assert_refused(longer, "an activation cannot be changed, only deactivated");
        let status = json!({"status": {"endsAt": "2099-01-01T00:00:00Z"}});
        let forged = api.patch_status("mine", &Run::ForReal.patch(), &Patch::Merge(status)).await;
        assert_refused(forged, "roleactivations");
        let asked_for = active.ends_at.unwrap().0.duration_since(active.starts_at.unwrap().0);
        assert_eq!(asked_for, SignedDuration::from_mins(30));
        // Her colleague cannot end it for her.
        let karl = place.person("karl", &[]);
        place.let_activate("karls", &[user(&karl)], &karl, json!({})).await;
        wait_for_access(&karl, "patch", "roleactivations", &place.control, true).await;
        let karls = place.activations(&karl);
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0"}]);
        let words = "would let the garbage collector delete this activation";
        bites(world, &[Validation(VERIFY_ACTIVATION, words)], words, async |run| {
            let edit = json!({"metadata": {"ownerReferences": owner}});
            karls.patch("mine", &run.patch(), &Patch::Merge(edit)).await
        })
        .await;
        let words = "a finalizer would keep this activation";
        bites(world, &[Validation(VERIFY_ACTIVATION, words)], words, async |run| {
            let edit = json!({"metadata": {"finalizers": [FINALIZER, "example.test/keep"]}});
            karls.patch("mine", &run.patch(), &Patch::Merge(edit)).await
        })
        .await;
        // Without it the activation could go before anybody was told that it ended.
        keeps_its_finalizer(world, VERIFY_ACTIVATION, async |run| {
            let edit = json!({"metadata": {"finalizers": null}});
            karls.patch("mine", &run.patch(), &Patch::Merge(edit)).await
        })
        .await;
        let words = "this role is held by nina";
        bites(world, &[Validation(VERIFY_ACTIVATION, "nobody else gives it back")], words, async |run| {
            karls.patch("mine", &run.patch(), &Patch::Merge(json!({"spec": {"deactivate": true}}))).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn d04_give_a_role_that_one_may_not_give_or_where_it_cannot_be_given() {
    play(async |world| {
        let place = Place::make(world, "d04").await;
        let olga = place.person("olga", &[]);
        let assignments: Api<RoleAssignment> = namespaced(world.alice().client(), &place.control);
        let owner = json!({"role": "enclave-owner", "principals": [user(&olga)]});
        make(&assignments, "RoleAssignment", "owners", &owner).await.unwrap();
        wait_for_access(&olga, "create", "roleassignments", &place.control, true).await;
        let hers: Api<RoleAssignment> = namespaced(olga.client(), &place.control);
        let give = |name: &str, role: &str| -> RoleAssignment {
            object(json!({
                "apiVersion": "enclave-operator.io/v1alpha1", "kind": "RoleAssignment", "metadata": {"name": name},
                "spec": {"role": role, "principals": [user(&olga)]},
            }))
        };
        // A Community's role in an Enclave.
        let outside = "in the control namespace of an Enclave only enclave roles can";
        bites(world, &[Check(VERIFY_GRANTS)], outside, async |run| {
            hers.create(&run.post(), &give("mine", "community-owner")).await
        })
        .await;

        // A right to write assignments is no right to give roles.
        let mia = place.person("mia", &[]);
        let administrator = world.plane.administrator_user();
        let rule = ["create", "role", "givers", "-n", &place.control, "--verb=create,update,patch,get"];
        let resources = "--resource=roleassignments.enclave-operator.io,roleeligibilities.enclave-operator.io";
        administrator.kubectl(&[&rule[..], &[resources]].concat()).expect_success();
        let who = format!("--user={}", mia.name());
        let bind = ["create", "rolebinding", "givers", "-n", &place.control, "--role=givers", &who];
        administrator.kubectl(&bind).expect_success();
        wait_for_access(&mia, "create", "roleeligibilities", &place.control, true).await;
        let words = "needs the verb bind on the ClusterRole enclave-operator:enclave-reader";
        let theirs: Api<RoleAssignment> = namespaced(mia.client(), &place.control);
        bites(world, &[Check(VERIFY_GRANTS)], words, async |run| {
            theirs.create(&run.post(), &give("hers", "enclave-reader")).await
        })
        .await;
        // Neither by an eligibility, nor by adding herself to one, nor by making it looser.
        let eligible = json!({"role": "enclave-reader", "principals": [user(&olga)], "activation": {"maxDuration": "1h"}});
        let offered: Api<RoleEligibility> = namespaced(mia.client(), &place.control);
        assert_refused(make(&offered, "RoleEligibility", "hers", &eligible).await, words);
        make(&place.eligibilities(), "RoleEligibility", "readers", &eligible).await.unwrap();
        for edit in [
            json!({"principals": [user(&olga), user(&mia)]}),
            json!({"activation": {"maxDuration": "24h"}}),
            json!({"endsAt": "2099-01-01T00:00:00Z"}),
        ] {
            assert_refused(patch(&offered, "readers", json!({ "spec": edit })).await, words);
        }
        patch(&offered, "readers", json!({"spec": {"description": "of Mia's"}})).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn d05_make_oneself_an_approver() {
    play(async |world| {
        let rules = json!({"rules": [
            {"operation": "RoleChange", "policy": "Required"}, {"operation": "WorkloadUpdate", "policy": "Required"}]});
        crate::world::active_community(world, "d05", &json!({"conflictingDuties": "Refuse"})).await;
        super::objects::active_enclave(world, "d05").await;
        let (olga, control) = (world.plane.user("olga-d05", &[]), "d05-e");
        let assignments: Api<RoleAssignment> = namespaced(world.alice().client(), control);
        let spec = json!({"role": "enclave-owner", "principals": [user(&olga)]});
        make(&assignments, "RoleAssignment", "owners", &spec).await.unwrap();
        wait_for_access(&olga, "create", "roleassignments", control, true).await;

        // Refused as a conflict of duties, whether assigned or to be activated.
        let hers: Api<RoleAssignment> = namespaced(olga.client(), control);
        let spec = json!({"role": "enclave-approver", "principals": [user(&olga)]});
        make(&hers, "RoleAssignment", "mine", &spec).await.unwrap();
        let is_refused = |reason: &str| reason == "ConflictingDuties";
        wait_until(hers.clone(), "mine", SOON, "it is a conflict", |one: &RoleAssignment| {
            one.status.as_ref().is_some_and(|status| is_refused(&condition(&status.gate, "Ready").reason))
        })
        .await;
        assert!(!may(&olga, &right("approve", "approvalrequests", control)).await);

        // A service account is the same by either of its names.
        let bot = json!({"kind": "ServiceAccount", "name": "bot", "namespace": control});
        let spec = json!({"role": "enclave-contributor", "principals": [bot]});
        make(&assignments, "RoleAssignment", "bots", &spec).await.unwrap();
        wait_for_state(&assignments, "bots", State::Active).await;
        let bot = json!({"kind": "User", "name": format!("system:serviceaccount:{control}:bot")});
        make(&assignments, "RoleAssignment", "same", &json!({"role": "enclave-approver", "principals": [bot]}))
            .await
            .unwrap();
        wait_until(assignments.clone(), "same", SOON, "it is a conflict", |one: &RoleAssignment| {
            one.status.as_ref().is_some_and(|status| is_refused(&condition(&status.gate, "Ready").reason))
        })
        .await;

        // Nor by an activation, for which a group is eligible.
        let olga_too = world.plane.user("olga-d05", &["d05-team"]);
        let eligibilities: Api<RoleEligibility> = namespaced(world.alice().client(), control);
        let conditions = json!({"maxDuration": "1h"});
        let spec = json!({"role": "enclave-approver", "principals": [group("d05-team")], "activation": conditions});
        make(&eligibilities, "RoleEligibility", "team", &spec).await.unwrap();
        wait_for_state(&eligibilities, "team", State::Active).await;
        wait_for_access(&olga_too, "create", "roleactivations", control, true).await;
        let activations: Api<RoleActivation> = namespaced(olga_too.client(), control);
        let asked = json!({"eligibility": "team", "duration": "30m"});
        make(&activations, "RoleActivation", "mine", &asked).await.unwrap();
        let refused = wait_for_activation(&activations, "mine", "Refused").await.status.unwrap();
        assert_eq!(refused.conditions[0].reason, "ConflictingDuties", "{}", refused.conditions[0].message);

        // And held, where the rules hold it; she cannot release it herself.
        let communities = crate::world::communities(&world.alice());
        patch(&communities, "d05", json!({"spec": {"approvals": rules, "conflictingDuties": "Warn"}})).await.unwrap();
        let request = wait_for_hold(&hers, "mine").await;
        assert!(!may(&olga, &right("approve", "approvalrequests", control)).await);
        let own = vote(&olga, control, &request, Verdict::Approved, None).await;
        assert_refused(own, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn d06_keep_a_binding_by_changing_it_or_by_one_of_ones_own() {
    play(async |world| {
        let place = Place::make(world, "d06").await;
        let nina = place.person("nina", &[]);
        let role = json!({"role": "enclave-owner"});
        place.let_activate("ninas", &[user(&nina)], &nina, role).await;
        place.ask(&nina, "mine", "ninas", "1h").await;
        wait_for_access(&nina, "create", "rolebindings", &place.pods, true).await;
        let bindings: Api<RoleBinding> = namespaced(nina.client(), &place.pods);
        let name = format!("enclave-operator:ract:{}:mine", place.control);
        let words = "and nobody else changes them";
        let edits = [
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}),
            json!({"metadata": {"annotations": {"enclave-operator.io/expires-at": "2099-01-01T00:00:00Z"}}}),
            json!({"metadata": {"finalizers": ["example.test/keep"]}}),
            json!({"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "all"}]}),
        ];
        bites_each(world, &[Validation(LOCK, words)], words, &edits, async |edit, run| {
            bindings.patch(&name, &run.patch(), &Patch::Merge(edit)).await
        })
        .await;

        // Kubernetes itself lets nobody give more than they hold.
        let more = json!({"metadata": {"name": "more"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": nina.name()}]});
        let refused = bindings.create(&PostParams::default(), &object(more)).await;
        assert_refused(refused, "attempting to grant RBAC permissions not currently held");

        // A copy of her own is hers to make, as an admin of that namespace; it is told, and outlives nothing
        // in silence.
        let copy = json!({"metadata": {"name": "copy"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": nina.name()}]});
        bindings.create(&PostParams::default(), &object(copy)).await.unwrap();
        // So is a role that she gives herself for good, as an owner of the Enclave.
        wait_for_access(&nina, "create", "roleassignments", &place.control, true).await;
        let given: Api<RoleAssignment> = namespaced(nina.client(), &place.control);
        let spec = json!({"role": "enclave-reader", "principals": [user(&nina)]});
        make(&given, "RoleAssignment", "for-good", &spec).await.unwrap();
        patch(&place.activations(&nina), "mine", json!({"spec": {"deactivate": true}})).await.unwrap();
        wait_for_access(&nina, "create", "rolebindings", &place.pods, false).await;
        let all: Api<RoleActivation> = namespaced(world.alice().client(), &place.control);
        let left = [
            format!("RoleAssignment {}/for-good", place.control),
            format!("RoleBinding {}/copy", place.pods),
        ];
        wait_until(all, "mine", SOON, "it is told what is left", |activation: &RoleActivation| {
            activation.status.as_ref().is_some_and(|status| status.created_during_activation == left)
        })
        .await;
        let told = format!("{}/copy: ClusterRole view for User {}", place.pods, nina.name());
        let enclaves = crate::world::enclaves(&world.alice(), "d06");
        let is_standing_grant = |enclave: &enclave_operator::api::Enclave| {
            enclave.status.as_ref().is_some_and(|status| status.standing_grants == [told.clone()])
        };
        wait_until(enclaves, "e", SOON, "it is a standing grant", is_standing_grant).await;
    })
    .await;
}

#[tokio::test]
async fn d07_outlast_an_operator_that_is_down() {
    play(async |world| {
        let place = Place::make(world, "d07").await;
        let (nina, karl) = (place.person("nina", &[]), place.person("karl", &[]));
        let end = Timestamp::now() + SignedDuration::from_secs(9);
        place.let_activate("ninas", &[user(&nina)], &nina, json!({"endsAt": end.to_string()})).await;
        place.let_activate("karls", &[user(&karl)], &karl, json!({})).await;
        place.ask(&nina, "mine", "ninas", "1h").await;
        place.ask(&karl, "his", "karls", "1h").await;
        for person in [&nina, &karl] {
            wait_for_access(person, "create", "pods", &place.pods, true).await;
        }
        stop_operator(world);
        // While nobody closes anything: one ends, and of the other the eligibility goes.
        patch(&place.eligibilities(), "karls", json!({"spec": {"principals": [user(&nina)]}})).await.unwrap();
        eventually("its time is over", SOON, async || (Timestamp::now() > end).then_some(())).await;
        let bindings: Api<RoleBinding> = namespaced(world.administrator(), &place.pods);
        assert_eq!(bindings.list(&ListParams::default()).await.unwrap().items.len(), 2);
        assert!(may(&nina, &right("create", "pods", &place.pods)).await, "only the operator closes");
        start_operator(world);
        for person in [&nina, &karl] {
            wait_for_access(person, "create", "pods", &place.pods, false).await;
        }
        let all: Api<RoleActivation> = namespaced(world.alice().client(), &place.control);
        wait_for_activation(&all, "mine", "Expired").await;
        wait_for_activation(&all, "his", "Revoked").await;
    })
    .await;
}

#[tokio::test]
async fn d08_an_approval_for_somebody_who_is_not_eligible_any_more() {
    play(async |world| {
        let place = Place::make(world, "d08").await;
        let (nina, karl) = (place.person("nina", &[]), place.person("karl", &[]));
        let approval = json!({"maxDuration": "1h", "approval": {"policy": "Required"}});
        place.let_activate("ninas", &[user(&nina)], &nina, json!({ "activation": approval })).await;
        place.ask(&nina, "mine", "ninas", "30m").await;
        let all: Api<RoleActivation> = namespaced(world.alice().client(), &place.control);
        let pending = wait_for_activation(&all, "mine", "PendingApproval").await.status.unwrap();
        patch(&place.eligibilities(), "ninas", json!({"spec": {"principals": [user(&karl)]}})).await.unwrap();
        wait_for_activation(&all, "mine", "Revoked").await;
        let request = pending.approval_request.unwrap();
        eventually("the request is withdrawn", SOON, async || {
            let request = requests(&world.alice(), &place.control).get(&request).await.unwrap();
            request.status.filter(|status| status.decided_at.is_some())
        })
        .await;
        let late = vote(&world.bob(), &place.control, &request, Verdict::Approved, None).await;
        assert_refused(late, "only a Pending request can be decided");
        assert!(!may(&nina, &right("create", "pods", &place.pods)).await);
    })
    .await;
}
