//! An operator that dies in the middle of enacting an approved change, and somebody who rejects or withdraws
//! the change at that very moment: no request is Pending whose change is in force, and what is in force was
//! approved.

use std::collections::BTreeMap;

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::role_activation::ActivationState;
use enclave_operator::api::{ApprovalRequest, Kind, State};
use enclave_operator::model::naming::grant;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use serde_json::{Value, json};

use crate::mortal::{Life, live};
use crate::network::{Story, make, required, to_the_ledger};
use crate::roles::{Place, user, wait_for_activation};
use crate::support::{User, eventually, wait_until};
use crate::world::{
    SOON, Watched, World, communities, on_a_runtime, operator_settings, patch, requests, vote, wait_for_hold,
    wait_for_state, wait_until_applied, wait_until_told,
};

/// What happens while the operator is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// A second approver rejects.
    Rejected,
    /// Who asked takes it back.
    Withdrawn,
}

/// More writes than an enactment has.
const MOST_WRITES: usize = 16;

/// Changes of one kind that wait for an approval.
trait Changes: Sync {
    /// Whether what was approved is put into force though whoever asked has taken it back since.
    const ENACTED_ALL_THE_SAME: bool = true;

    /// Where they and their requests are.
    fn namespace(&self) -> String;
    /// Makes one that waits, and returns its request.
    async fn hold(&self, name: &str) -> String;
    /// Whoever asked takes it back.
    async fn take_back(&self, name: &str);
    /// The request by which what is in force was approved.
    async fn in_force_by(&self, name: &str) -> Option<String>;
    /// Whether it has its effect in the cluster.
    async fn is_open(&self, name: &str) -> bool;
    /// Whether the operator has seen the latest of it, and nothing is on its way.
    async fn is_settled(&self, name: &str) -> bool;
}

/// Connections that are to be opened again.
struct Connections<'a>(Story<'a>);

impl Changes for Connections<'_> {
    fn namespace(&self) -> String {
        self.0.control("payments")
    }

    async fn hold(&self, name: &str) -> String {
        let api = self.0.connections();
        make(&api, "EnclaveConnection", name, to_the_ledger()).await;
        wait_for_state(&api, name, State::Connected).await;
        self.take_back(name).await;
        wait_for_state(&api, name, State::Inactive).await;
        patch(&api, name, json!({"spec": {"enabled": true}})).await.unwrap();
        wait_for_hold(&api, name).await
    }

    async fn take_back(&self, name: &str) {
        patch(&self.0.connections(), name, json!({"spec": {"enabled": false}})).await.unwrap();
    }

    async fn in_force_by(&self, name: &str) -> Option<String> {
        in_force_by(&self.0.connections(), name).await
    }

    async fn is_open(&self, name: &str) -> bool {
        let namespace = self.0.pods_of("payments", "api");
        let policy = format!("connection.{}.{name}.egress", self.namespace());
        self.0.policies(&namespace).await.contains(&policy)
    }

    async fn is_settled(&self, name: &str) -> bool {
        is_settled(&self.0.connections(), name).await
    }
}

/// Roles that are to be given to somebody else, too.
struct Assignments<'a>(Place<'a>);

impl Assignments<'_> {
    fn api(&self) -> Api<enclave_operator::api::RoleAssignment> {
        Place::assignments(&self.0.world.alice(), &self.namespace())
    }

    async fn give(&self, name: &str, principals: &[&str]) {
        let principals: Vec<Value> =
            principals.iter().map(|name| json!({"kind": "User", "name": name})).collect();
        patch(&self.api(), name, json!({"spec": {"principals": principals}})).await.unwrap();
    }
}

impl Changes for Assignments<'_> {
    fn namespace(&self) -> String {
        self.0.control("payments")
    }

    async fn hold(&self, name: &str) -> String {
        self.give(name, &["frank", "grace"]).await;
        wait_for_hold(&self.api(), name).await
    }

    async fn take_back(&self, name: &str) {
        self.give(name, &["frank"]).await;
    }

    async fn in_force_by(&self, name: &str) -> Option<String> {
        in_force_by(&self.api(), name).await
    }

    async fn is_open(&self, name: &str) -> bool {
        bound(self.0.world, Kind::RoleAssignment, &self.namespace(), name).await.contains(&"grace".to_owned())
    }

    async fn is_settled(&self, name: &str) -> bool {
        is_settled(&self.api(), name).await
    }
}

/// Roles that somebody wants to hold for a while.
struct Activations<'a> {
    place: &'a Place<'a>,
    nina: User,
}

impl Activations<'_> {
    fn api(&self) -> Api<enclave_operator::api::RoleActivation> {
        Place::activations(&self.nina, &self.namespace())
    }
}

impl Changes for Activations<'_> {
    const ENACTED_ALL_THE_SAME: bool = false;

    fn namespace(&self) -> String {
        self.place.control("payments")
    }

    async fn hold(&self, name: &str) -> String {
        let spec = json!({"eligibility": "repairs", "duration": "1h"});
        make(&self.api(), "RoleActivation", name, spec).await;
        let pending = wait_for_activation(&self.api(), name, "PendingApproval").await;
        pending.status.unwrap().approval_request.unwrap()
    }

    async fn take_back(&self, name: &str) {
        patch(&self.api(), name, json!({"spec": {"deactivate": true}})).await.unwrap();
    }

    async fn in_force_by(&self, name: &str) -> Option<String> {
        let status = self.api().get(name).await.unwrap().status.unwrap();
        status.approval_request.filter(|_| status.state == Some(ActivationState::Active))
    }

    async fn is_open(&self, name: &str) -> bool {
        !bound(self.place.world, Kind::RoleActivation, &self.namespace(), name).await.is_empty()
    }

    async fn is_settled(&self, name: &str) -> bool {
        let activation = self.api().get(name).await.unwrap();
        let status = activation.status.unwrap();
        status.observed_generation == activation.metadata.generation
            && status.state != Some(ActivationState::PendingApproval)
    }
}

async fn in_force_by<K: Watched>(api: &Api<K>, name: &str) -> Option<String> {
    api.get(name).await.unwrap().gate()?.applied.clone()?.approval_request
}

async fn is_settled<K: Watched>(api: &Api<K>, name: &str) -> bool {
    let object = api.get(name).await.unwrap();
    let gate = object.gate().cloned().unwrap_or_default();
    gate.observed_generation == object.meta().generation && gate.state != Some(State::Approved)
}

/// Whom a grant binds in the namespace in which it is declared.
async fn bound(world: &World, kind: Kind, namespace: &str, name: &str) -> Vec<String> {
    let bindings: Api<RoleBinding> = Api::namespaced(world.administrator(), namespace);
    let binding = bindings.get_opt(&grant(kind, namespace, name)).await.unwrap();
    let subjects = binding.and_then(|binding| binding.subjects).unwrap_or_default();
    subjects.into_iter().map(|subject| subject.name).collect()
}

#[test]
fn who_rejects_or_withdraws_while_the_operator_is_dead_never_meets_a_half_enacted_change() {
    let world = World::without_operator();
    world.install();
    world.start_operator("gaps");
    let connections = on_a_runtime(async || {
        Held::all(Connections(Story::begin_in(&world, "gaps", required(&["ConnectionUpdate"])).await)).await
    });
    let assignments = on_a_runtime(async || Held::all(prepare_assignments(&world).await).await);
    let place = &assignments.changes.0;
    let activations = on_a_runtime(async || Held::all(prepare_activations(place).await).await);
    // The first write of each life is about the vote.
    on_a_runtime(async || wait_until_told(&world).await);
    world.kill_operator();

    let operator = on_a_runtime(async || world.operator().await);
    connections.play(&world, &operator);
    assignments.play(&world, &operator);
    activations.play(&world, &operator);
}

/// Roles that are in force, and from now on nobody gives more without an approval.
async fn prepare_assignments(world: &World) -> Assignments<'_> {
    let assignments = Assignments(Place::make_in(world, "gaproles", &json!({})).await);
    let given = [json!({"kind": "User", "name": "frank"})];
    for name in names() {
        assignments.0.assign(&assignments.namespace(), &name, "enclave-reader", &given).await;
    }
    let communities = communities(&world.alice());
    let rules = json!({"spec": {"approvals": required(&["RoleChange"])}});
    patch(&communities, "gaproles", rules).await.unwrap();
    wait_until_applied(&communities, "gaproles").await;
    assignments
}

async fn prepare_activations<'a>(place: &'a Place<'a>) -> Activations<'a> {
    let nina = place.user("nina", &[]);
    let activations = Activations { place, nina };
    let namespace = activations.namespace();
    let eligibilities = Place::eligibilities(&place.world.alice(), &namespace);
    let spec = json!({
        "role": "enclave-contributor",
        "principals": [user(&activations.nina)],
        "activation": {"maxDuration": "8h", "approval": {"policy": "Required", "minimumApprovers": 1}},
    });
    make(&eligibilities, "RoleEligibility", "repairs", spec).await;
    let request = wait_for_hold(&eligibilities, "repairs").await;
    vote(&place.world.bob(), &namespace, &request, Verdict::Approved, None).await.unwrap();
    wait_for_state(&eligibilities, "repairs", State::Active).await;
    crate::world::wait_for_access(&activations.nina, "create", "roleactivations", &namespace, true).await;
    activations
}

fn names() -> impl Iterator<Item = String> {
    [Meanwhile::Rejected, Meanwhile::Withdrawn]
        .into_iter()
        .flat_map(|meanwhile| (0..MOST_WRITES).map(move |writes| name_of(meanwhile, writes)))
}

fn name_of(meanwhile: Meanwhile, writes: usize) -> String {
    format!("{}-{writes}", format!("{meanwhile:?}").to_lowercase())
}

/// Changes that wait, one for each case, with the requests for them by their names.
struct Held<C> {
    changes: C,
    requests: BTreeMap<String, String>,
}

impl<C: Changes> Held<C> {
    async fn all(changes: C) -> Self {
        let mut requests = BTreeMap::new();
        for name in names() {
            let request = changes.hold(&name).await;
            requests.insert(name, request);
        }
        Self { changes, requests }
    }

    /// The operator dies in each gap of an enactment, and each thing happens meanwhile.
    fn play(&self, world: &World, operator: &User) {
        // The same identity as the one that was killed: it need not wait for its own lease.
        let settings = operator_settings("gaps");
        let mut outcomes = Vec::new();
        for meanwhile in [Meanwhile::Rejected, Meanwhile::Withdrawn] {
            let mut outlived = false;
            for writes in 0..MOST_WRITES {
                let name = name_of(meanwhile, writes);
                let request = self.requests[&name].clone();
                let case = Case { world, changes: &self.changes, name, request };
                // The last vote is cast while there is no operator.
                on_a_runtime(async || case.vote(&world.bob(), Verdict::Approved, None).await.unwrap());
                let life = if writes == 0 {
                    Life::Died
                } else {
                    live(operator, &settings, writes, case.wait_until_enacted())
                };
                on_a_runtime(async || case.assert_nothing_is_half_done().await);
                if life == Life::Outlived {
                    // There are no gaps behind this one.
                    outlived = true;
                    break;
                }
                let accepted = on_a_runtime(async || case.act(meanwhile).await);
                let life = live(operator, &settings, usize::MAX, case.wait_until_settled(meanwhile));
                assert_eq!(life, Life::Outlived);
                let state = on_a_runtime(async || case.assert_lawful(meanwhile, accepted).await);
                outcomes.push((meanwhile, writes, accepted, state));
            }
            assert!(outlived, "an enactment has more writes than {MOST_WRITES}");
        }
        println!("{outcomes:#?}");
        // Before the decision was written, and after: both were met. Of what came before, some is still to be told.
        for meanwhile in [Meanwhile::Rejected, Meanwhile::Withdrawn] {
            let of = |state| outcomes.iter().filter(|one| one.0 == meanwhile && one.3 == state).count();
            let never = if meanwhile == Meanwhile::Rejected {
                RequestState::Rejected
            } else {
                RequestState::Withdrawn
            };
            assert!(of(never) >= 1, "before the decision it can be taken back: {outcomes:#?}");
            assert!(of(RequestState::Approved) >= 3, "the operator died in so few gaps: {outcomes:#?}");
        }
    }
}

/// One change, approved while there is no operator.
struct Case<'a, C> {
    world: &'a World,
    changes: &'a C,
    name: String,
    request: String,
}

impl<C: Changes> Case<'_, C> {
    async fn vote(
        &self,
        approver: &User,
        verdict: Verdict,
        comment: Option<&str>,
    ) -> Result<ApprovalRequest, kube::Error> {
        vote(approver, &self.changes.namespace(), &self.request, verdict, comment).await
    }

    async fn request(&self) -> ApprovalRequest {
        requests(&self.world.bob(), &self.changes.namespace()).get(&self.request).await.unwrap()
    }

    async fn wait_until_enacted(&self) {
        self.wait_for_request(|request| request.status.as_ref().unwrap().enacted_at.is_some()).await;
        self.wait_until_settled_as(true).await;
    }

    async fn wait_for_request(&self, is_so: impl Fn(&ApprovalRequest) -> bool + Send) {
        let api = requests(&self.world.bob(), &self.changes.namespace());
        wait_until(api, &self.request, SOON, "the request is settled", is_so).await;
    }

    async fn wait_until_settled_as(&self, open: bool) {
        eventually(&format!("{} is as it is meant to be", self.name), SOON, async || {
            let is_settled = self.changes.is_settled(&self.name).await;
            (is_settled && self.changes.is_open(&self.name).await == open).then_some(())
        })
        .await;
    }

    async fn is_in_force(&self) -> bool {
        self.changes.in_force_by(&self.name).await.as_ref() == Some(&self.request)
    }

    async fn assert_nothing_is_half_done(&self) {
        let state = self.request().await.status.unwrap().state;
        let is_in_force = self.is_in_force().await;
        assert!(!is_in_force || state == Some(RequestState::Approved), "{}: {state:?}", self.name);
        let is_open = self.changes.is_open(&self.name).await;
        assert!(is_in_force || !is_open, "{} is open and not in force", self.name);
    }

    /// Returns whether the API server let it pass.
    async fn act(&self, meanwhile: Meanwhile) -> bool {
        match meanwhile {
            Meanwhile::Rejected => {
                self.vote(&self.world.carol(), Verdict::Rejected, Some("no")).await.is_ok()
            }
            Meanwhile::Withdrawn => {
                self.changes.take_back(&self.name).await;
                true
            }
        }
    }

    async fn wait_until_settled(&self, meanwhile: Meanwhile) {
        self.wait_for_request(|request| {
            let status = request.status.as_ref().unwrap();
            match status.state {
                Some(RequestState::Pending) | None => false,
                Some(RequestState::Approved)
                    if meanwhile == Meanwhile::Withdrawn && !C::ENACTED_ALL_THE_SAME =>
                {
                    true
                }
                Some(RequestState::Approved) => status.enacted_at.is_some(),
                Some(_) => true,
            }
        })
        .await;
        let ends_open = self.request().await.status.unwrap().state == Some(RequestState::Approved)
            && meanwhile == Meanwhile::Rejected;
        self.wait_until_settled_as(ends_open).await;
    }

    /// What came of it, which is said in the state of its request.
    async fn assert_lawful(&self, meanwhile: Meanwhile, accepted: bool) -> RequestState {
        self.assert_nothing_is_half_done().await;
        let state = self.request().await.status.unwrap().state.unwrap();
        match (meanwhile, accepted) {
            (Meanwhile::Rejected, true) => assert_eq!(state, RequestState::Rejected, "{}", self.name),
            (Meanwhile::Rejected, false) => {
                assert_eq!(
                    (state, self.is_in_force().await),
                    (RequestState::Approved, true),
                    "{}",
                    self.name
                );
                assert!(self.changes.is_open(&self.name).await, "{} is open", self.name);
            }
            (Meanwhile::Withdrawn, _) => {
                assert!(!self.changes.is_open(&self.name).await, "{} is closed", self.name);
            }
        }
        state
    }
}
