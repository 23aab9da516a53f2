//! The pure core against an oracle: random edits, votes, rule changes, clock steps, drift and
//! crashes; after every step what is applied must be explained by what people did, and a cluster
//! left alone must come to rest.
//!
//! The cluster is simulated in memory: admission stamps, guarded writes, and an operator that is
//! cut off after any write. The oracle knows nothing of requests' policies or requesters as the
//! operator records them; it keeps its own books.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enclave_operator::api::approval_request::{Decision, RequestState, Verdict};
use enclave_operator::api::approvals::{ApprovalRule, Approvals, Operation, RulePolicy};
use enclave_operator::api::common::{Principal, PrincipalKind};
use enclave_operator::api::entry::Entry;
use enclave_operator::api::gate::Applied;
use enclave_operator::api::names::{FINALIZER, REQUESTED_BY, label, purpose};
use enclave_operator::api::{
    ApprovalRequest, Community, CommunitySpec, Content, Enclave, EnclaveSpec, Kind, Time,
};
use enclave_operator::kinds::approval_request::plan::{ObservedRequest, plan_approval_request};
use enclave_operator::kinds::enclave::plan::{Children, ObservedEnclave, plan_enclave};
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::model::approval::policy_status::{Integrity, PolicyStatus};
use enclave_operator::model::approval::request::TargetView;
use enclave_operator::model::digest::digest;
use enclave_operator::plan::Write;
use enclave_operator::plan::child::{Child, Verb};
use enclave_operator::plan::declared::{ObservedGated, Parent};
use enclave_operator::plan::namespace::desired::ObservedNamespace;
use enclave_operator_testing::sim::stamp;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use proptest::prelude::*;

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn groups_of(person: &str) -> &'static [&'static str] {
    match person {
        "bob" => &["cyber-team"],
        "carol" => &["cyber-team", "legal"],
        _ => &[],
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody sets the Enclave's description, and whether its own rules hold updates.
    Edit { person: usize, description: u8, own_rule: bool },
    /// Somebody edits while the admission policies are away: nothing is stamped, but the old stamps
    /// may be forged.
    UnwitnessedEdit { person: usize, description: u8 },
    /// Somebody votes on one of the latest requests; `lawful` votes pass admission, others are put
    /// there by whatever means.
    Vote { person: usize, latest: usize, verdict: Verdict, lawful: bool },
    /// The Community's applied rules change.
    Rules { creation: Option<u8>, update: Option<u8>, group: Option<bool> },
    /// Time passes.
    Clock { minutes: u16 },
    /// Somebody deletes what the operator made.
    Drift { what: u8 },
    /// The admission policies go away, or come back: first they settle, then they count.
    Integrity { intact: bool },
    /// The operator works, and dies after so many writes.
    Operator { writes: usize },
    /// The operator works until there is nothing to do.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let person = 0..PEOPLE.len();
    let verdict = prop_oneof![4 => Just(Verdict::Approved), 1 => Just(Verdict::Rejected)];
    prop_oneof![
        4 => (person.clone(), 0..3_u8, any::<bool>())
            .prop_map(|(person, description, own_rule)| Step::Edit { person, description, own_rule }),
        1 => (person.clone(), 0..3_u8)
            .prop_map(|(person, description)| Step::UnwitnessedEdit { person, description }),
        8 => (person, 0..2_usize, verdict, prop::bool::weighted(0.9))
            .prop_map(|(person, latest, verdict, lawful)| Step::Vote { person, latest, verdict, lawful }),
        1 => (prop::option::of(0..3_u8), prop::option::of(0..3_u8), prop::option::of(any::<bool>()))
            .prop_map(|(creation, update, group)| Step::Rules { creation, update, group }),
        1 => (1..90_u16).prop_map(|minutes| Step::Clock { minutes }),
        1 => (0..3_u8).prop_map(|what| Step::Drift { what }),
        1 => any::<bool>().prop_map(|intact| Step::Integrity { intact }),
        6 => (0..4_usize).prop_map(|writes| Step::Operator { writes }),
        6 => Just(Step::Settle),
    ]
}

/// What the oracle remembers of one generation of the spec.
#[derive(Clone, Debug)]
struct Proposed {
    content: Content,
    /// Everybody who really edited since something was last applied.
    contributors: BTreeSet<&'static str>,
    witnessed: bool,
}

/// What the oracle remembers of a request when it was made.
#[derive(Clone, Debug)]
struct Asked {
    minimum: usize,
    groups: BTreeSet<String>,
    expires: Timestamp,
}

struct World {
    now: Timestamp,
    community: Community,
    enclave: Enclave,
    place: ObservedNamespace,
    requests: BTreeMap<String, ApprovalRequest>,
    integrity: Integrity,
    /// Another number whenever the admission policies were away.
    witness: u32,
    // The oracle's books.
    proposed: BTreeMap<i64, Proposed>,
    contributors: BTreeSet<&'static str>,
    asked: BTreeMap<String, Asked>,
    lawful_approvals: BTreeMap<String, BTreeSet<&'static str>>,
    final_states: BTreeMap<String, RequestState>,
}

impl World {
    fn new() -> Self {
        let mut community = Community::new("acme", CommunitySpec::default());
        community.metadata.uid = Some("community".into());
        let mut world = Self {
            now: Timestamp::from_second(1_000_000).unwrap(),
            community,
            enclave: Enclave::new("payments", EnclaveSpec::default()),
            place: ObservedNamespace::default(),
            requests: BTreeMap::new(),
            integrity: Integrity::Intact,
            witness: 0,
            proposed: BTreeMap::new(),
            contributors: BTreeSet::new(),
            asked: BTreeMap::new(),
            lawful_approvals: BTreeMap::new(),
            final_states: BTreeMap::new(),
        };
        world.apply_rules(Some(1), Some(2), Some(true));
        world.enclave.metadata.namespace = Some("acme".into());
        world.enclave.metadata.uid = Some("enclave".into());
        world.enclave.metadata.generation = Some(0);
        world.edit("alice", EnclaveSpec::default(), Witness::Stamped);
        world
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Edit { person, description, own_rule } => {
                let approvals = if *own_rule { rules(None, Some(1), None) } else { Approvals::default() };
                let spec = EnclaveSpec {
                    description: Some(description.to_string()),
                    approvals,
                    ..EnclaveSpec::default()
                };
                self.edit(PEOPLE[*person], spec, Witness::Stamped);
            }
            Step::UnwitnessedEdit { person, description } => {
                let spec =
                    EnclaveSpec { description: Some(description.to_string()), ..EnclaveSpec::default() };
                self.edit(PEOPLE[*person], spec, Witness::Forged);
            }
            Step::Vote { person, latest, verdict, lawful } => {
                self.vote(PEOPLE[*person], *latest, *verdict, *lawful);
            }
            Step::Rules { creation, update, group } => self.apply_rules(*creation, *update, *group),
            Step::Clock { minutes } => self.now += SignedDuration::from_mins(i64::from(*minutes)),
            Step::Drift { what: 0 } => self.place.policies.clear(),
            Step::Drift { what: 1 } => self.place.quota = None,
            Step::Drift { .. } => self.place = ObservedNamespace::default(),
            Step::Integrity { intact: true } => match self.integrity {
                Integrity::Intact => {}
                Integrity::Broken(_) => {
                    self.integrity = Integrity::Propagating;
                    self.witness += 1;
                }
                // By itself, and the operator looks at everything in the meantime.
                Integrity::Propagating => {
                    self.settle();
                    self.integrity = Integrity::Intact;
                }
            },
            Step::Integrity { intact: false } => {
                self.integrity = Integrity::Broken("missing".into());
                self.witness += 1;
                // Nobody can tell the votes on requests that are not put into force from forged ones
                // any more, and an approval that was recorded but not enacted is undone.
                let applied = self.enclave.status.as_ref().and_then(|status| status.gate.applied.as_ref());
                let in_force = applied.and_then(|applied| applied.approval_request.clone());
                self.lawful_approvals.retain(|name, _| Some(name) == in_force.as_ref());
                self.final_states.retain(|name, state| {
                    *state != RequestState::Approved || Some(name) == in_force.as_ref()
                });
            }
            Step::Operator { writes } => {
                self.operate(*writes);
            }
            Step::Settle => self.settle(),
        }
    }

    /// What the API server does with a write of the spec: only a difference counts.
    fn edit(&mut self, person: &'static str, spec: EnclaveSpec, witness: Witness) {
        let generation = self.enclave.metadata.generation.unwrap();
        if generation > 0 && self.enclave.spec == spec {
            return;
        }
        let stored = self.enclave.clone();
        self.enclave.spec = spec;
        let generation = generation + 1;
        match witness {
            Witness::Stamped => {
                if self.is_latest_in_force() {
                    self.contributors.clear();
                }
                self.contributors.insert(person);
                let stored = Some(&stored).filter(|_| generation > 1);
                stamp::stamp(stored, &mut self.enclave, &[person], &stamp::CONDITION);
            }
            Witness::Forged => {
                self.contributors.clear();
                self.enclave.metadata.generation = Some(generation);
                self.enclave.annotations_mut().insert(REQUESTED_BY.into(), "mallory".into());
            }
        }
        let content = Content::of_spec(&Enclave::without_change_reason(&self.enclave.spec)).unwrap();
        // While no policy watches, who edited is lost, and who had edited before can be forged away:
        // who can take policies away is out of reach. The latest edit, though, must be witnessed.
        let witnessed = matches!(witness, Witness::Stamped);
        self.proposed
            .insert(generation, Proposed { content, contributors: self.contributors.clone(), witnessed });
    }

    /// Whether what was proposed last is what is applied, before it is edited again.
    fn is_latest_in_force(&self) -> bool {
        let applied = self.enclave.status.as_ref().and_then(|status| status.gate.applied.as_ref());
        self.proposed.last_key_value().zip(applied).is_some_and(|((generation, latest), applied)| {
            *generation == applied.generation && latest.content == applied.spec
        })
    }

    fn vote(&mut self, person: &'static str, latest: usize, verdict: Verdict, lawful: bool) {
        let Some(name) = self.requests.keys().rev().nth(latest).cloned() else { return };
        let request = self.requests.get_mut(&name).unwrap();
        let Some(status) = request.status.as_mut() else { return };
        if status.state != Some(RequestState::Pending) {
            return;
        }
        let forgeable = self.integrity != Integrity::Intact;
        if forgeable && !lawful {
            // Who looks, or guesses, knows what the policies are going to be.
            let restored = self.witness + u32::from(self.integrity != Integrity::Propagating);
            status.witness = Some(restored.to_string());
        }
        let refused = request.spec.requesters.iter().any(|requester| requester == person);
        if lawful && refused {
            return;
        }
        status.decisions.retain(|decision| decision.approver != person);
        status.decisions.push(Entry::from(Decision {
            approver: person.into(),
            verdict,
            // Without policies a vote says whatever its forger likes; with them it can at most be one
            // for another content.
            digest: if lawful || forgeable {
                request.spec.change.digest.clone()
            } else {
                "sha256:other".into()
            },
            comment: None,
            groups: groups_of(person).iter().map(|group| (*group).to_owned()).collect(),
            mfa: None,
            credential_id: None,
            observed_at: None,
        }));
        let approvals = self.lawful_approvals.entry(name).or_default();
        if lawful && !forgeable && verdict == Verdict::Approved {
            approvals.insert(person);
        } else {
            approvals.remove(person);
        }
    }

    fn apply_rules(&mut self, creation: Option<u8>, update: Option<u8>, group: Option<bool>) {
        let spec = CommunitySpec { approvals: rules(creation, update, group), ..CommunitySpec::default() };
        let content = Content::of_spec(&spec).unwrap();
        self.community.spec = spec;
        let status = self.community.status.get_or_insert_default();
        status.gate.applied = Some(Applied {
            generation: 1,
            complete_for: None,
            digest: digest(&content).unwrap(),
            spec: content,
            change: None,
            approval_request: None,
            at: Time(self.now),
            references: Vec::new(),
        });
    }

    /// One pass of both controllers, cut off after so many writes. Returns whether anything was
    /// written.
    fn operate(&mut self, mut writes: usize) -> bool {
        let mut wrote = false;
        for name in self.requests.keys().cloned().collect::<Vec<_>>() {
            let request = self.requests[&name].clone();
            let observed = ObservedRequest {
                target: self.view(&request),
                request: Arc::new(request.clone()),
                policies: PolicyStatus {
                    integrity: self.integrity.clone(),
                    witness: self.witness.to_string(),
                },
                retain_for: SignedDuration::MAX,
            };
            let plan = plan_approval_request(&observed, self.now);
            if let Some(status) = plan.status.filter(|status| request.status.as_ref() != Some(status)) {
                if writes == 0 {
                    return wrote;
                }
                writes -= 1;
                wrote = true;
                self.requests.get_mut(&name).unwrap().status = Some(status);
                self.check_finality();
            }
        }
        let observed = ObservedEnclave {
            declared: ObservedGated {
                object: Arc::new(self.enclave.clone()),
                parent: Parent::Community(Arc::new(self.community.clone())),
                requests: self.requests.values().cloned().map(Arc::new).collect(),
                knows_all_requests: true,
                policies: PolicyStatus {
                    integrity: self.integrity.clone(),
                    witness: self.witness.to_string(),
                },
            },
            place: self.place.clone(),
            children: Children::default(),
            of_others: enclave_operator::plan::lock::OfOthers::default(),
            workloads: Vec::new(),
        };
        let plan = plan_enclave(&observed, self.now);
        for write in plan.repairs.into_iter().chain(plan.writes) {
            if writes == 0 {
                return wrote;
            }
            writes -= 1;
            wrote = true;
            if self.write(write) == Touched::TheEnclave {
                return wrote;
            }
        }
        if let Some(status) = plan.status.filter(|status| self.enclave.status.as_ref() != Some(status)) {
            if writes == 0 {
                return wrote;
            }
            wrote = true;
            let before = self.enclave.status.as_ref().and_then(|status| status.gate.applied.clone());
            let after = status.gate.applied.clone();
            self.enclave.status = Some(status);
            if before != after {
                self.check_enactment(before.as_ref(), &after.expect("what is applied never goes away"));
            }
        }
        wrote
    }

    fn write(&mut self, write: Write) -> Touched {
        match write {
            Write::AddFinalizer => {
                self.enclave.finalizers_mut().push(FINALIZER.into());
                return Touched::TheEnclave;
            }
            Write::CreateRequest(request) => {
                let name = request.name_any();
                let policy = &request.spec.policy;
                // What was asked for is taken down from the rules, not from the request.
                let asked = self.ask(request.spec.expires_at.0);
                assert_eq!(usize::try_from(policy.minimum_approvers).unwrap(), asked.minimum);
                self.asked.insert(name.clone(), asked);
                let twice = self.requests.insert(name.clone(), *request);
                assert!(twice.is_none(), "request {name} was made twice");
            }
            Write::MarkEnacted { request, at } => {
                let request = self.requests.get_mut(&request.name_any()).unwrap();
                request.status.as_mut().unwrap().enacted_at = Some(Time(at));
            }
            Write::CreateNamespace(namespace) => {
                assert_eq!(namespace.labels()[label::PURPOSE], purpose::CONTROL);
                self.place.namespace = Some(Arc::new(*namespace));
            }
            Write::ReplaceNamespace(namespace) => self.place.namespace = Some(Arc::new(*namespace)),
            Write::Child(Verb::Create | Verb::Replace, Child::NetworkPolicy(policy)) => {
                self.place.policies = vec![Arc::new(*policy)];
            }
            Write::Child(Verb::Create | Verb::Replace, Child::ResourceQuota(quota)) => {
                self.place.quota = Some(Arc::new(*quota));
            }
            // The simulated caches are never behind.
            Write::ConfirmRules(_) | Write::ConfirmPolicies { .. } => {}
            Write::RemoveFinalizer
            | Write::Child(..)
            | Write::ConfirmNamespaceGone { .. }
            | Write::DeleteSelf
            | Write::ConfirmTargetGone(_)
            | Write::DeleteNamespace { .. } => panic!("nothing is deleted in this world: {write:?}"),
        }
        Touched::Another
    }

    fn view(&self, request: &ApprovalRequest) -> TargetView {
        let applied = self.enclave.status.as_ref().and_then(|status| status.gate.applied.as_ref());
        if applied.and_then(|applied| applied.approval_request.as_ref()) == Some(&request.name_any()) {
            return TargetView::PutIntoForce;
        }
        let latest = Content::of_spec(&Enclave::without_change_reason(&self.enclave.spec)).unwrap();
        if applied.is_some_and(|applied| applied.spec == latest) {
            TargetView::EditedBack
        } else if self.enclave.metadata.generation == Some(request.spec.target.generation) {
            TargetView::Proposed
        } else {
            TargetView::EditedAgain
        }
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            if !self.operate(usize::MAX) {
                self.check_rest();
                return;
            }
        }
        panic!("the operator does not come to rest: {:#?}", self.enclave);
    }

    /// What the rules in force ask for the latest spec, computed the plain way.
    fn needed(&self) -> Option<(usize, BTreeSet<String>)> {
        let applied = self.enclave.status.as_ref().and_then(|status| status.gate.applied.as_ref());
        let before: Option<EnclaveSpec> = applied.map(|applied| applied.spec.to_spec().unwrap());
        let operation = if before.is_some() { Operation::EnclaveUpdate } else { Operation::EnclaveCreation };
        let mut required: Vec<&ApprovalRule> = Vec::new();
        let mine = before.as_ref().map(|spec| &spec.approvals);
        for scope in [Some(&self.community.spec.approvals), mine].into_iter().flatten() {
            required.extend(scope.rules.iter().filter(|rule| rule.operation == operation));
        }
        if let Some(mine) = mine.filter(|mine| **mine != self.enclave.spec.approvals) {
            required.extend(&mine.rules);
        }
        if !required.iter().any(|rule| rule.policy == RulePolicy::Required) {
            return None;
        }
        let minimum = required.iter().map(|rule| rule.minimum_approvers.unwrap_or(1).max(1)).max().unwrap();
        let groups = required
            .iter()
            .flat_map(|rule| &rule.mandatory_approvers)
            .map(|group| group.name.clone())
            .collect();
        Some((usize::try_from(minimum).unwrap(), groups))
    }

    fn ask(&self, expires: Timestamp) -> Asked {
        let (minimum, groups) = self.needed().expect("a request is made only when a rule asks for it");
        Asked { minimum, groups, expires }
    }

    /// Invariants 1, 2 and 8.
    fn check_enactment(&self, before: Option<&Applied>, after: &Applied) {
        assert_eq!(self.integrity, Integrity::Intact, "enacted while the policies were not intact");
        let proposed = &self.proposed[&after.generation];
        assert_eq!(after.spec, proposed.content, "what is enacted is what was proposed");
        assert_eq!(after.digest, digest(&proposed.content).unwrap());
        assert!(before.is_none_or(|before| before.generation < after.generation), "never backwards");
        let Some(name) = &after.approval_request else { return };
        assert!(proposed.witnessed, "nobody witnessed who asked for this");
        let asked = &self.asked[name];
        let decided = self.requests[name].status.as_ref().unwrap().decided_at.as_ref().unwrap().0;
        assert!(decided < asked.expires, "decided after it had expired");
        let contributors = &proposed.contributors;
        let votes = self.lawful_approvals.get(name).cloned().unwrap_or_default();
        let votes: Vec<&str> = votes.into_iter().filter(|voter| !contributors.contains(voter)).collect();
        assert!(votes.len() >= asked.minimum, "{votes:?} are not {} people", asked.minimum);
        for group in &asked.groups {
            assert!(
                votes.iter().any(|voter| groups_of(voter).contains(&group.as_str())),
                "nobody of {group} approved"
            );
        }
    }

    /// A decided request never changes again.
    fn check_finality(&mut self) {
        for (name, request) in &self.requests {
            let state = request.status.as_ref().and_then(|status| status.state);
            if let Some(known) = self.final_states.get(name) {
                assert_eq!(state, Some(*known), "{name} changed after it was decided");
            } else if let Some(state) = state.filter(|state| *state != RequestState::Pending) {
                self.final_states.insert(name.clone(), state);
            }
        }
    }

    /// Invariants 3 and 10: at rest everything applied is there, and nothing that is in force
    /// needed an approval that it does not have.
    fn check_rest(&self) {
        let gate = &self.enclave.status.as_ref().unwrap().gate;
        if gate.applied.is_some() {
            assert!(self.place.namespace.is_some() && self.place.policies.len() == 1);
            assert!(self.place.quota.is_some());
        }
        let latest = Content::of_spec(&Enclave::without_change_reason(&self.enclave.spec)).unwrap();
        let in_force = gate.applied.as_ref().is_some_and(|applied| applied.spec == latest);
        assert_eq!(in_force, gate.pending.is_none(), "{gate:#?}");
        for request in self.requests.values() {
            assert_eq!(request.spec.target.kind, Kind::Enclave);
            let pending = request.status.as_ref().unwrap().state == Some(RequestState::Pending);
            let current = request.spec.target.generation == self.enclave.metadata.generation.unwrap();
            assert!(!pending || (current && !in_force), "a request for an old edit is still open");
        }
    }
}

#[derive(Clone, Copy)]
enum Witness {
    Stamped,
    Forged,
}

#[derive(PartialEq, Eq)]
enum Touched {
    TheEnclave,
    Another,
}

fn rules(creation: Option<u8>, update: Option<u8>, group: Option<bool>) -> Approvals {
    let rule = |operation, minimum: Option<u8>| {
        minimum.map(|minimum| ApprovalRule {
            operation,
            policy: RulePolicy::Required,
            minimum_approvers: Some(i32::from(minimum)),
            mandatory_approvers: group
                .map(|legal| Principal {
                    kind: PrincipalKind::Group,
                    name: if legal { "legal" } else { "cyber-team" }.into(),
                    namespace: None,
                })
                .into_iter()
                .collect(),
        })
    };
    let rules = [rule(Operation::EnclaveCreation, creation), rule(Operation::EnclaveUpdate, update)];
    Approvals {
        rules: rules.into_iter().flatten().collect(),
        expire_after: Some("60m".parse().unwrap()),
        ..Approvals::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_only_what_others_approved_is_enacted(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        for _ in 0..2 {
            world.take(&Step::Integrity { intact: true });
        }
        world.settle();
    }
}

/// The oracle sees something: in many random worlds changes do get enacted with approvals.
#[test]
fn approvals_do_happen_in_this_world() {
    let mut world = World::new();
    world.settle();
    world.vote("bob", 0, Verdict::Approved, true);
    world.settle();
    assert!(world.enclave.status.as_ref().unwrap().gate.applied.is_none(), "legal is missing");
    world.vote("carol", 0, Verdict::Approved, true);
    world.settle();
    let applied = world.enclave.status.as_ref().unwrap().gate.applied.clone().unwrap();
    assert!(applied.approval_request.is_some());
}

/// Neither while they are away nor while they settle, even by somebody who knows what is going to be
/// the witness.
#[test]
fn what_is_forged_until_the_policies_count_again_is_void() {
    let [away, back] = [false, true].map(|intact| Step::Integrity { intact });
    for steps_before_the_forgery in [&[&away][..], &[&away, &back]] {
        let mut world = World::new();
        world.settle();
        for step in steps_before_the_forgery {
            world.take(step);
        }
        world.vote("carol", 0, Verdict::Approved, false);
        while world.integrity != Integrity::Intact {
            world.take(&back);
        }
        world.settle();
        assert!(world.enclave.status.as_ref().unwrap().gate.applied.is_none());
        world.vote("carol", 0, Verdict::Approved, true);
        world.settle();
        assert!(world.enclave.status.as_ref().unwrap().gate.applied.is_some());
    }
}
