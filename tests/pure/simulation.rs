//! The pure core against an oracle: random edits, votes, rule changes, clock steps, drift and
//! crashes; after every step what is applied must be explained by what people did, and a cluster
//! left alone must come to rest.
//!
//! The cluster is `sim`, with an operator that is cut off after any write. The oracle knows nothing of requests' policies or requesters as the
//! operator records them; it keeps its own books.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::approvals::{ApprovalRule, Approvals, Operation, RulePolicy};
use enclave_operator::api::common::{Principal, PrincipalKind};
use enclave_operator::api::gate::Applied;
use enclave_operator::api::names::{REQUESTED_BY, label, purpose};
use enclave_operator::api::{ApprovalRequest, Content, Enclave, EnclaveSpec, Kind};
use enclave_operator::kinds::controller::Controller;
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::model::digest::digest;
use enclave_operator::plan::Write;
use enclave_operator::plan::child::{Child, Verb};
use enclave_operator_testing::sim::{
    Action, Dead, Hands, Key, Server, Stored, Trust, cast, is_open, required, stamp,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::networking::v1::NetworkPolicy;
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
    UnstampedEdit { person: usize, description: u8 },
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
            .prop_map(|(person, description)| Step::UnstampedEdit { person, description }),
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
    stamped: bool,
}

/// What the oracle remembers of a request when it was made.
#[derive(Clone, Debug)]
struct Asked {
    minimum: usize,
    groups: BTreeSet<String>,
    expires: Timestamp,
}

struct World {
    cluster: Server,
    // The oracle's books.
    proposed: BTreeMap<i64, Proposed>,
    contributors: BTreeSet<&'static str>,
    asked: BTreeMap<String, Asked>,
    lawful_approvals: BTreeMap<String, BTreeSet<&'static str>>,
    final_states: BTreeMap<String, RequestState>,
}

/// The control namespace of the only Enclave.
const CONTROL: &str = "acme-payments";

impl World {
    fn new() -> Self {
        let mut cluster = Server::new(Timestamp::from_second(1_000_000).unwrap());
        cluster.add_community("acme");
        let mut enclave = Enclave::new("payments", EnclaveSpec::default());
        stamp::stamp(None, &mut enclave, &["alice"], &stamp::CONDITION);
        cluster.add(enclave, "acme");
        let mut world = Self {
            cluster,
            proposed: BTreeMap::new(),
            contributors: ["alice"].into(),
            asked: BTreeMap::new(),
            lawful_approvals: BTreeMap::new(),
            final_states: BTreeMap::new(),
        };
        world.note_proposal(Stamp::Real);
        world.apply_rules(Some(1), Some(2), Some(true));
        world
    }

    fn enclave(&self) -> &Enclave {
        &self.cluster.enclaves[&("acme".to_owned(), "payments".to_owned())]
    }

    fn applied(&self) -> Option<&Applied> {
        self.enclave().status.as_ref().and_then(|status| status.gate.applied.as_ref())
    }

    fn request(&self, name: &str) -> &ApprovalRequest {
        self.cluster.requests.values().find(|request| request.name_any() == name).unwrap()
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
                self.edit(PEOPLE[*person], spec, Stamp::Real);
            }
            Step::UnstampedEdit { person, description } => {
                let spec =
                    EnclaveSpec { description: Some(description.to_string()), ..EnclaveSpec::default() };
                self.edit(PEOPLE[*person], spec, Stamp::Forged);
            }
            Step::Vote { person, latest, verdict, lawful } => {
                self.vote(PEOPLE[*person], *latest, *verdict, *lawful);
            }
            Step::Rules { creation, update, group } => self.apply_rules(*creation, *update, *group),
            Step::Clock { minutes } => self.cluster.now += SignedDuration::from_mins(i64::from(*minutes)),
            Step::Drift { what: 0 } => self.remove_from_control::<NetworkPolicy>(),
            Step::Drift { what: 1 } => self.remove_from_control::<ResourceQuota>(),
            Step::Drift { .. } => self.cluster.remove_namespace(CONTROL),
            Step::Integrity { intact: true } => match self.cluster.policies.trust() {
                Trust::Intact => {}
                Trust::Broken => self.cluster.policies.restore(),
                // By itself, and the operator looks at everything in the meantime.
                Trust::Propagating => {
                    self.settle();
                    self.cluster.policies.settle();
                }
            },
            Step::Integrity { intact: false } => {
                self.cluster.policies.spoil();
                // Nobody can tell the votes on requests that are not put into force from forged ones
                // any more, and an approval that was recorded but not enacted is undone.
                let in_force = self.applied().and_then(|applied| applied.approval_request.clone());
                self.lawful_approvals.retain(|name, _| Some(name) == in_force.as_ref());
                self.final_states.retain(|name, state| {
                    *state != RequestState::Approved || Some(name) == in_force.as_ref()
                });
            }
            Step::Operator { writes } => {
                if self.operate(&mut Hands::until_death(*writes)).is_err() {
                    self.cluster.relist();
                }
            }
            Step::Settle => self.settle(),
        }
    }

    fn remove_from_control<K: Stored>(&mut self) {
        let keys = K::shelf(&self.cluster).keys().filter(|(namespace, _)| namespace == CONTROL);
        for key in keys.cloned().collect::<Vec<_>>() {
            self.cluster.remove::<K>(&key);
        }
    }

    /// What the API server does with a write of the spec: only a difference counts.
    fn edit(&mut self, person: &'static str, spec: EnclaveSpec, kind: Stamp) {
        let stored = self.enclave().clone();
        if stored.spec == spec {
            return;
        }
        let mut enclave = Enclave { spec, ..stored.clone() };
        match kind {
            Stamp::Real => {
                if self.is_latest_in_force() {
                    self.contributors.clear();
                }
                self.contributors.insert(person);
                stamp::stamp(Some(&stored), &mut enclave, &[person], &stamp::CONDITION);
            }
            Stamp::Forged => {
                self.contributors.clear();
                *enclave.metadata.generation.as_mut().unwrap() += 1;
                enclave.annotations_mut().insert(REQUESTED_BY.into(), "mallory".into());
            }
        }
        self.cluster.put(enclave);
        self.note_proposal(kind);
    }

    fn note_proposal(&mut self, kind: Stamp) {
        let content = Content::of_spec(&Enclave::without_change_reason(&self.enclave().spec)).unwrap();
        // While no policy watches, who edited is lost, and who had edited before can be forged away:
        // who can take policies away is out of reach. The latest edit, though, must be stamped.
        let stamped = matches!(kind, Stamp::Real);
        let proposed = Proposed { content, contributors: self.contributors.clone(), stamped };
        self.proposed.insert(self.enclave().metadata.generation.unwrap(), proposed);
    }

    /// Whether what was proposed last is what is applied, before it is edited again.
    fn is_latest_in_force(&self) -> bool {
        self.proposed.last_key_value().zip(self.applied()).is_some_and(|((generation, latest), applied)| {
            *generation == applied.generation && latest.content == applied.spec
        })
    }

    fn vote(&mut self, person: &'static str, latest: usize, verdict: Verdict, lawful: bool) {
        let Some(mut request) = self.cluster.requests.values().rev().nth(latest).cloned() else { return };
        let refused = lawful && request.spec.requesters.iter().any(|requester| requester == person);
        if !is_open(&request) || refused {
            return;
        }
        let forgeable = self.cluster.policies.trust() != Trust::Intact;
        if forgeable && !lawful {
            // Who looks, or guesses, knows what the policies are going to be.
            request.status.as_mut().unwrap().policy_fingerprint =
                Some(self.cluster.policies.coming_fingerprint());
        }
        // Without policies a vote says whatever its forger likes; with them it can at most be one
        // for another content.
        let digest =
            if lawful || forgeable { request.spec.change.digest.clone() } else { "sha256:other".into() };
        cast(&mut request, person, verdict, digest, groups_of(person));
        let name = request.name_any();
        self.cluster.put(request);
        let approvals = self.lawful_approvals.entry(name).or_default();
        if lawful && !forgeable && verdict == Verdict::Approved {
            approvals.insert(person);
        } else {
            approvals.remove(person);
        }
    }

    fn apply_rules(&mut self, creation: Option<u8>, update: Option<u8>, group: Option<bool>) {
        let mut community = self.cluster.communities.values().next().unwrap().clone();
        community.spec.approvals = rules(creation, update, group);
        let (spec, now) = (community.spec.clone(), self.cluster.now);
        self.cluster.put_into_force(community, &spec, now);
    }

    /// One pass of both controllers, as far as the operator gets.
    fn operate(&mut self, hands: &mut Hands) -> Result<(), Dead> {
        for key in self.cluster.requests.keys().cloned().collect::<Vec<_>>() {
            self.look_at::<ApprovalRequest>(&key, hands)?;
        }
        self.look_at::<Enclave>(&("acme".to_owned(), "payments".to_owned()), hands)
    }

    fn look_at<K: Controller + Stored>(&mut self, key: &Key, hands: &mut Hands) -> Result<(), Dead> {
        let (object, plan) = self.cluster.plan::<K>(key, self.cluster.now, SignedDuration::MAX).unwrap();
        // What has to be asked for is taken down from the rules, not from the request.
        let (needed, mut enacted, mut is_decided) = (self.needed(), None, false);
        let Self { cluster, asked, .. } = self;
        let outcome = cluster.carry_out(object.as_ref(), plan, hands, &mut |action| match action {
            Action::Tries(write) => assert!(!deletes(write), "nothing is deleted in this world: {write:?}"),
            Action::Asked(request) => {
                let (minimum, groups) =
                    needed.clone().expect("a request is made only when a rule asks for it");
                assert_eq!(usize::try_from(request.spec.policy.minimum_approvers).unwrap(), minimum);
                let one = Asked { minimum, groups, expires: request.spec.expires_at.0 };
                let twice = asked.insert(request.name_any(), one);
                assert!(twice.is_none(), "{} was made twice", request.name_any());
            }
            Action::Published { before, after } => {
                is_decided = K::KIND == Kind::ApprovalRequest;
                let applied = |object: &K| object.status().and_then(K::applied).cloned();
                let (before, after) = (applied(before), applied(after));
                if before != after {
                    enacted = Some((before, after.expect("what is applied never goes away")));
                }
            }
            Action::Enacted(_) | Action::Gone(_) => {}
        });
        assert_eq!(hands.refused, 0, "the caches are never behind in this world");
        if let Some((before, after)) = enacted {
            self.check_enactment(before.as_ref(), &after);
        }
        if is_decided {
            self.check_finality();
        }
        outcome
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            let mut hands = Hands::steady();
            let _ = self.operate(&mut hands);
            if hands.writes.is_empty() {
                self.check_rest();
                return;
            }
        }
        panic!("the operator does not come to rest: {:#?}", self.enclave());
    }

    /// What the rules in force ask for the latest spec, computed the plain way.
    fn needed(&self) -> Option<(usize, BTreeSet<String>)> {
        let before: Option<EnclaveSpec> = self.applied().map(|applied| applied.spec.to_spec().unwrap());
        let community = self.cluster.communities.values().next().unwrap();
        let operation = if before.is_some() { Operation::EnclaveUpdate } else { Operation::EnclaveCreation };
        let mut required: Vec<&ApprovalRule> = Vec::new();
        let mine = before.as_ref().map(|spec| &spec.approvals);
        for scope in [Some(&community.spec.approvals), mine].into_iter().flatten() {
            required.extend(scope.rules.iter().filter(|rule| rule.operation == operation));
        }
        if let Some(mine) = mine.filter(|mine| **mine != self.enclave().spec.approvals) {
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

    /// Invariants 1, 2 and 8.
    fn check_enactment(&self, before: Option<&Applied>, after: &Applied) {
        assert_eq!(
            self.cluster.policies.trust(),
            Trust::Intact,
            "enacted while the policies were not intact"
        );
        let proposed = &self.proposed[&after.generation];
        assert_eq!(after.spec, proposed.content, "what is enacted is what was proposed");
        assert_eq!(after.digest, digest(&proposed.content).unwrap());
        assert!(before.is_none_or(|before| before.generation < after.generation), "never backwards");
        let Some(name) = &after.approval_request else { return };
        assert!(proposed.stamped, "no policy stamped who asked for this");
        let asked = &self.asked[name];
        let decided = self.request(name).status.as_ref().unwrap().decided_at.as_ref().unwrap().0;
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
        for request in self.cluster.requests.values() {
            let name = &request.name_any();
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
        let gate = &self.enclave().status.as_ref().unwrap().gate;
        if gate.applied.is_some() {
            let control = (String::new(), CONTROL.to_owned());
            let labels = self.cluster.namespaces[&control].labels();
            assert_eq!(labels[label::PURPOSE], purpose::CONTROL);
            assert_eq!((self.cluster.network_policies.len(), self.cluster.quotas.len()), (1, 1));
        }
        let latest = Content::of_spec(&Enclave::without_change_reason(&self.enclave().spec)).unwrap();
        let in_force = gate.applied.as_ref().is_some_and(|applied| applied.spec == latest);
        assert_eq!(in_force, gate.pending.is_none(), "{gate:#?}");
        for request in self.cluster.requests.values() {
            assert_eq!(request.spec.target.kind, Kind::Enclave);
            let pending = request.status.as_ref().unwrap().state == Some(RequestState::Pending);
            let current = request.spec.target.generation == self.enclave().metadata.generation.unwrap();
            assert!(!pending || (current && !in_force), "a request for an old edit is still open");
        }
    }
}

#[derive(Clone, Copy)]
enum Stamp {
    Real,
    Forged,
}

/// Whether the operator would take away what nobody retired.
fn deletes(write: &Write) -> bool {
    match write {
        Write::AddFinalizer
        | Write::CreateRequest(_)
        | Write::MarkEnacted { .. }
        | Write::CreateNamespace(_)
        | Write::ReplaceNamespace(_)
        | Write::ConfirmRules(_)
        | Write::ConfirmPolicies { .. } => false,
        Write::Child(verb, child) => {
            *verb == Verb::Delete || !matches!(child, Child::NetworkPolicy(_) | Child::ResourceQuota(_))
        }
        Write::RemoveFinalizer
        | Write::ConfirmNamespaceGone { .. }
        | Write::DeleteSelf
        | Write::ConfirmTargetGone(_)
        | Write::DeleteNamespace { .. } => true,
    }
}

fn rules(creation: Option<u8>, update: Option<u8>, group: Option<bool>) -> Approvals {
    let rule = |operation, minimum: Option<u8>| {
        let mandatory = group.map(|legal| Principal {
            kind: PrincipalKind::Group,
            name: if legal { "legal" } else { "cyber-team" }.into(),
            namespace: None,
        });
        let mandatory_approvers: Vec<_> = mandatory.into_iter().collect();
        minimum.map(|minimum| ApprovalRule {
            mandatory_approvers,
            ..required(operation, Some(usize::from(minimum)))
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
    assert!(world.applied().is_none(), "legal is missing");
    world.vote("carol", 0, Verdict::Approved, true);
    world.settle();
    assert!(world.applied().unwrap().approval_request.is_some());
}

/// Neither while they are away nor while they settle, even by somebody who knows what is going to be
/// the fingerprint.
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
        while world.cluster.policies.trust() != Trust::Intact {
            world.take(&back);
        }
        world.settle();
        assert!(world.applied().is_none());
        world.vote("carol", 0, Verdict::Approved, true);
        world.settle();
        assert!(world.applied().is_some());
    }
}
