//! An operator that dies in the middle of enacting an approved change, and somebody who rejects or withdraws
//! the change at that very moment: no request is Pending whose change is in force, and what is in force was
//! approved.

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::{ApprovalRequest, EnclaveConnection, State};
use kube::Api;
use serde_json::json;

use crate::mortal::{Life, live};
use crate::network::{Story, make, required, to_the_ledger};
use crate::support::{eventually, wait_until};
use crate::world::{
    SOON, World, on_a_runtime, operator_settings, patch, requests, vote, wait_for_hold,
    wait_for_request_state, wait_for_state,
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
const MOST_WRITES: usize = 12;

#[test]
fn who_rejects_or_withdraws_while_the_operator_is_dead_never_meets_a_half_enacted_change() {
    let world = World::without_operator();
    world.install();
    world.start_operator("gaps");
    let cases = on_a_runtime(async || prepare(&world).await);
    world.kill_operator();

    let account = on_a_runtime(async || {
        world.plane.service_account("enclave-system", "enclave-operator").await.unwrap()
    });
    // The same identity as the one that was killed: it need not wait for its own lease.
    let settings = operator_settings("gaps");
    let mut outcomes = Vec::new();
    for meanwhile in [Meanwhile::Rejected, Meanwhile::Withdrawn] {
        for writes in 0..MOST_WRITES {
            let case = on_a_runtime(async || Case::begin(&cases, meanwhile, writes).await);
            let life = if writes == 0 {
                Life::Died
            } else {
                live(&account, &settings, writes, case.wait_until_enacted())
            };
            on_a_runtime(async || case.assert_nothing_is_half_done().await);
            if life == Life::Outlived {
                // There are no gaps behind this one.
                break;
            }
            let accepted = on_a_runtime(async || case.act(meanwhile).await);
            let life = live(&account, &settings, usize::MAX, case.wait_until_settled(meanwhile));
            assert_eq!(life, Life::Outlived);
            let state = on_a_runtime(async || case.assert_lawful(meanwhile, accepted).await);
            outcomes.push((meanwhile, writes, accepted, state));
        }
    }
    println!("{outcomes:#?}");
    // Before the decision was written, and after: both were met.
    for meanwhile in [Meanwhile::Rejected, Meanwhile::Withdrawn] {
        let of = |state| outcomes.iter().filter(|one| one.0 == meanwhile && one.3 == state).count();
        let never =
            if meanwhile == Meanwhile::Rejected { RequestState::Rejected } else { RequestState::Withdrawn };
        assert_eq!(of(never), 1, "only before the decision can it be taken back");
        assert!(of(RequestState::Approved) >= 3, "the operator died in so few gaps: {outcomes:#?}");
    }
}

struct Prepared<'a> {
    story: Story<'a>,
}

/// Connections that wait to be opened again, one for each case.
async fn prepare(world: &World) -> Prepared<'_> {
    let story = Story::begin_in(world, "gaps", required(&["ConnectionUpdate"])).await;
    let connections = story.connections();
    for meanwhile in [Meanwhile::Rejected, Meanwhile::Withdrawn] {
        for writes in 0..MOST_WRITES {
            let name = name_of(meanwhile, writes);
            make(&connections, "EnclaveConnection", &name, to_the_ledger()).await;
            wait_for_state(&connections, &name, State::Connected).await;
            patch(&connections, &name, json!({"spec": {"enabled": false}})).await.unwrap();
            wait_for_state(&connections, &name, State::Inactive).await;
            patch(&connections, &name, json!({"spec": {"enabled": true}})).await.unwrap();
            let request = wait_for_hold(&connections, &name).await;
            let bob = world.bob();
            wait_for_request_state(&bob, &story.control("payments"), &request, RequestState::Pending).await;
        }
    }
    Prepared { story }
}

fn name_of(meanwhile: Meanwhile, writes: usize) -> String {
    format!("{}-{writes}", format!("{meanwhile:?}").to_lowercase())
}

struct Case<'a> {
    story: &'a Story<'a>,
    name: String,
    request: String,
}

impl<'a> Case<'a> {
    /// The last vote is cast while there is no operator.
    async fn begin(prepared: &'a Prepared<'a>, meanwhile: Meanwhile, writes: usize) -> Self {
        let story = &prepared.story;
        let name = name_of(meanwhile, writes);
        let request = wait_for_hold(&story.connections(), &name).await;
        let bob = story.world.bob();
        vote(&bob, &story.control("payments"), &request, Verdict::Approved, None).await.unwrap();
        Self { story, name, request }
    }

    async fn request(&self) -> ApprovalRequest {
        let requests = requests(&self.story.world.bob(), &self.story.control("payments"));
        requests.get(&self.request).await.unwrap()
    }

    async fn connection(&self) -> EnclaveConnection {
        self.story.connections().get(&self.name).await.unwrap()
    }

    async fn wait_until_enacted(&self) {
        self.wait_for_request(|request| request.status.as_ref().unwrap().enacted_at.is_some()).await;
        wait_for_state(&self.story.connections(), &self.name, State::Connected).await;
    }

    async fn wait_for_request(&self, is_so: impl Fn(&ApprovalRequest) -> bool + Send) {
        let api: Api<ApprovalRequest> = requests(&self.story.world.bob(), &self.story.control("payments"));
        wait_until(api, &self.request, SOON, "the request is settled", is_so).await;
    }

    /// Whether its policies exist.
    async fn is_open(&self) -> bool {
        let namespace = self.story.pods_of("payments", "api");
        let policy = format!("connection.{}.{}.egress", self.story.control("payments"), self.name);
        self.story.policies(&namespace).await.contains(&policy)
    }

    async fn assert_nothing_is_half_done(&self) {
        let (request, connection) = (self.request().await, self.connection().await);
        let state = request.status.unwrap().state;
        let applied = connection.status.unwrap().gate.applied.unwrap();
        let is_in_force = applied.approval_request.as_ref() == Some(&self.request);
        assert!(!is_in_force || state == Some(RequestState::Approved), "{}: {state:?}", self.name);
        assert!(is_in_force || !self.is_open().await, "{} is open and not in force", self.name);
    }

    /// Returns whether the API server let it pass.
    async fn act(&self, meanwhile: Meanwhile) -> bool {
        let control = self.story.control("payments");
        match meanwhile {
            Meanwhile::Rejected => {
                let carol = self.story.world.carol();
                vote(&carol, &control, &self.request, Verdict::Rejected, Some("no")).await.is_ok()
            }
            Meanwhile::Withdrawn => {
                let back = json!({"spec": {"enabled": false}});
                patch(&self.story.connections(), &self.name, back).await.unwrap();
                true
            }
        }
    }

    async fn wait_until_settled(&self, meanwhile: Meanwhile) {
        self.wait_for_request(|request| {
            let status = request.status.as_ref().unwrap();
            match status.state {
                Some(RequestState::Pending) | None => false,
                Some(RequestState::Approved) => status.enacted_at.is_some(),
                Some(_) => true,
            }
        })
        .await;
        let ends_open = self.request().await.status.unwrap().state == Some(RequestState::Approved)
            && meanwhile == Meanwhile::Rejected;
        let what = format!("{} is as it is meant to be", self.name);
        eventually(&what, SOON, async || {
            let connection = self.connection().await;
            let gate = connection.status.unwrap().gate;
            let seen = gate.observed_generation == connection.metadata.generation;
            let is_settled = seen && gate.state != Some(State::Approved);
            (is_settled && self.is_open().await == ends_open).then_some(())
        })
        .await;
    }

    /// What came of it, which is said in the state of its request.
    async fn assert_lawful(&self, meanwhile: Meanwhile, accepted: bool) -> RequestState {
        self.assert_nothing_is_half_done().await;
        let (request, connection) = (self.request().await, self.connection().await);
        let state = request.status.unwrap().state.unwrap();
        let gate = connection.status.unwrap().gate;
        let applied = gate.applied.unwrap();
        let was_enacted = applied.approval_request.as_ref() == Some(&self.request);
        match (meanwhile, accepted) {
            (Meanwhile::Rejected, true) => assert_eq!(state, RequestState::Rejected, "{}", self.name),
            (Meanwhile::Rejected, false) => {
                assert_eq!((state, was_enacted), (RequestState::Approved, true), "{}", self.name);
                assert_eq!(gate.state, Some(State::Connected), "{}", self.name);
            }
            (Meanwhile::Withdrawn, _) => {
                assert!(!self.is_open().await, "{} is closed", self.name);
                assert!(gate.pending.is_none(), "{}: nothing waits", self.name);
            }
        }
        state
    }
}
