//! Nobody who contributed to what waits is ever missing from its requesters: random histories of edits by
//! several people, closings, votes, edits back, references that are replaced, objects and statuses from a
//! backup, statuses of older versions, and an operator that is behind or away.
//!
//! The operator's part is the real one, in memory; admission is `stamp`. The books know only which content
//! is in force and who wrote what, never generations or stamps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enclave_operator::api::approval_request::{Decision, RequestState, Verdict};
use enclave_operator::api::approvals::{ApprovalRule, Approvals, Operation, RulePolicy};
use enclave_operator::api::common::ChangeReason;
use enclave_operator::api::entry::Entry;
use enclave_operator::api::gate::Reference;
use enclave_operator::api::names::FINALIZER;
use enclave_operator::api::{ApprovalRequest, Content, EnclaveConnection, EnclaveConnectionSpec, Kind};
use enclave_operator::kinds::approval_request::plan::{ObservedRequest, plan_approval_request};
use enclave_operator::model::approval::applied::applied_spec;
use enclave_operator::model::approval::change::EvaluationInput;
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::model::approval::policy_status::{Integrity, PolicyStatus};
use enclave_operator::model::approval::request::TargetView;
use enclave_operator::model::approval::scope::{InheritedPolicy, RulesOrigin, ScopeRules};
use enclave_operator::model::digest::digest;
use enclave_operator::plan::Write;
use enclave_operator::plan::gate::plan_gate;
use enclave_operator_testing::sim::stamp::{self, CONDITION, Part, names_of};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use serde_json::json;

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody changes what the connection is for, opens or closes it, and says why; for somebody else too.
    Edit { person: usize, behalf: Option<usize>, description: u8, enabled: bool, words: u8 },
    /// Somebody edits while the policies are away: nothing is stamped.
    UnwitnessedEdit { description: u8 },
    /// Somebody decides the latest request.
    Vote { person: usize, approves: bool },
    /// The rules come to hold changes, or do not any more.
    Rules { hold: bool },
    /// The endpoint is deleted and made again.
    ReplaceEndpoint,
    /// The operator's caches catch up.
    Observe,
    /// The operator works on what its caches have.
    Operate,
    /// Both, until there is nothing to do.
    Settle,
    /// A backup is made of everything.
    BackUp,
    /// The object is made again from a backup, with annotations and status, while the policies are away.
    RestoreObject { which: usize },
    /// Only the status of this very object is put back.
    RestoreStatus { which: usize },
    /// The status is written by a version that did not say of what it is complete.
    OlderStatus,
    /// What is applied is closed although the spec does not say so, as by a version that cannot read all
    /// of the spec.
    Narrow,
}

fn step() -> impl Strategy<Value = Step> {
    let person = 0..PEOPLE.len();
    prop_oneof![
        8 => (person.clone(), prop::option::weighted(0.1, person.clone()), 0..3_u8, any::<bool>(), 0..3_u8).prop_map(
            |(person, behalf, description, enabled, words)| Step::Edit { person, behalf, description, enabled, words }
        ),
        1 => (0..3_u8).prop_map(|description| Step::UnwitnessedEdit { description }),
        4 => (person, prop::bool::weighted(0.8)).prop_map(|(person, approves)| Step::Vote { person, approves }),
        1 => any::<bool>().prop_map(|hold| Step::Rules { hold }),
        1 => Just(Step::ReplaceEndpoint),
        4 => Just(Step::Observe),
        4 => Just(Step::Operate),
        5 => Just(Step::Settle),
        2 => Just(Step::BackUp),
        1 => (0..4_usize).prop_map(|which| Step::RestoreObject { which }),
        1 => (0..4_usize).prop_map(|which| Step::RestoreStatus { which }),
        1 => Just(Step::OlderStatus),
        1 => Just(Step::Narrow),
    ]
}

type People = BTreeSet<&'static str>;

struct World {
    /// The condition of the stamp, or less than that.
    condition: &'static [Part],
    now: Timestamp,
    live: EnclaveConnection,
    /// The object as the operator knows it.
    seen: EnclaveConnection,
    requests: BTreeMap<String, ApprovalRequest>,
    hold: bool,
    endpoint: u32,
    /// Of the last write, and of the last object.
    number: u32,
    backups: Vec<(EnclaveConnection, People)>,
    /// Who contributed to the latest spec since all of it was in force.
    authors: People,
    /// The same for each version that there was.
    authors_of: BTreeMap<(String, i64), People>,
    /// How often a new list began although somebody had been on the one before.
    began: usize,
}

/// Somebody is missing from the requesters.
#[derive(Debug, PartialEq, Eq)]
struct Missing(String);

impl World {
    fn new(condition: &'static [Part]) -> Self {
        let spec: EnclaveConnectionSpec = serde_json::from_value(json!({
            "source": {"workloads": ["api"]},
            "destination": {"enclaveEndpoint": {"enclave": "ledger", "name": "db"}},
        }))
        .unwrap();
        let mut live = EnclaveConnection::new("out", spec);
        live.metadata.namespace = Some("acme-payments".into());
        live.metadata.uid = Some("object-1".into());
        live.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        stamp::stamp(None, &mut live, &["alice"], condition);
        let mut world = Self {
            condition,
            now: Timestamp::from_second(1_000_000).unwrap(),
            seen: live.clone(),
            live,
            requests: BTreeMap::new(),
            hold: true,
            endpoint: 1,
            number: 1,
            backups: Vec::new(),
            authors: ["alice"].into(),
            authors_of: BTreeMap::new(),
            began: 0,
        };
        world.written();
        world.note_version();
        world
    }

    fn take(&mut self, step: &Step) -> Result<(), Missing> {
        match step {
            Step::Edit { person, behalf, description, enabled, words } => {
                let people: Vec<_> =
                    std::iter::once(person).chain(behalf).map(|person| PEOPLE[*person]).collect();
                let change = ChangeReason { justification: Some(format!("because {words}")), ticket: None };
                let spec = EnclaveConnectionSpec {
                    enabled: *enabled,
                    change: (*words > 0).then_some(change),
                    ..self.described(*description)
                };
                return self.edit(&people, spec);
            }
            Step::UnwitnessedEdit { description } => {
                let spec = self.described(*description);
                if spec != self.live.spec {
                    self.live.spec = spec;
                    *self.live.metadata.generation.as_mut().unwrap() += 1;
                    self.written();
                    self.note_version();
                }
            }
            Step::Vote { person, approves } => self.vote(PEOPLE[*person], *approves),
            Step::Rules { hold } => self.hold = *hold,
            Step::ReplaceEndpoint => self.endpoint += 1,
            Step::Observe => self.seen = self.live.clone(),
            Step::Operate => return self.operate().map(drop),
            Step::Settle => return self.settle(),
            Step::BackUp => self.backups.push((self.live.clone(), self.authors.clone())),
            Step::RestoreObject { which } => {
                let Some((object, authors)) = self.backups.get(*which).cloned() else { return Ok(()) };
                self.number += 1;
                self.live = object;
                self.live.metadata.uid = Some(format!("object-{}", self.number));
                self.live.metadata.generation = Some(1);
                self.authors = authors;
                self.written();
                self.note_version();
            }
            Step::RestoreStatus { which } => {
                let Some((object, _)) = self.backups.get(*which) else { return Ok(()) };
                if object.uid() == self.live.uid() {
                    self.live.status = object.status.clone();
                    self.written();
                }
            }
            Step::OlderStatus => {
                if let Some(applied) = &mut self.live.gate_mut().applied {
                    applied.complete_for = None;
                    self.written();
                }
            }
            Step::Narrow => {
                if let Some(before) = applied_spec(&self.live).unwrap() {
                    let spec = Content::of_spec(&EnclaveConnectionSpec { enabled: false, ..before }).unwrap();
                    let applied = self.live.gate_mut().applied.as_mut().unwrap();
                    applied.digest = digest(&spec).unwrap();
                    applied.spec = spec;
                    applied.complete_for = None;
                    self.written();
                }
            }
        }
        Ok(())
    }

    fn described(&self, description: u8) -> EnclaveConnectionSpec {
        EnclaveConnectionSpec { description: Some(description.to_string()), ..self.live.spec.clone() }
    }

    fn edit(&mut self, people: &[&'static str], spec: EnclaveConnectionSpec) -> Result<(), Missing> {
        if spec == self.live.spec {
            return Ok(());
        }
        if !self.does_anything_wait() {
            self.authors.clear();
        }
        self.authors.extend(people);
        let stored = self.live.clone();
        self.live.spec = spec;
        stamp::stamp(Some(&stored), &mut self.live, people, self.condition);
        self.written();
        self.note_version();
        let (before, after) = (names_of(&stored), names_of(&self.live));
        self.began += usize::from(before.iter().any(|name| !after.contains(name)));
        self.assert_named(&after, &self.authors, "the annotation")
    }

    /// Whether something is not in force of the latest spec, or is recorded not to be.
    fn does_anything_wait(&self) -> bool {
        let wanted = EnclaveConnection::without_change_reason(&self.live.spec);
        applied_spec(&self.live).unwrap() != Some(wanted)
            || self.live.gate().is_some_and(|gate| gate.pending.is_some())
    }

    fn vote(&mut self, person: &str, approves: bool) {
        let is_open = |request: &&mut ApprovalRequest| {
            request.status.as_ref().is_some_and(|status| status.state == Some(RequestState::Pending))
        };
        let Some(request) = self.requests.values_mut().rev().find(is_open) else { return };
        if request.spec.requesters.iter().any(|requester| requester == person) {
            return;
        }
        let digest = request.spec.change.digest.clone();
        let status = request.status.as_mut().unwrap();
        status.decisions.push(Entry::from(Decision {
            approver: person.into(),
            verdict: if approves { Verdict::Approved } else { Verdict::Rejected },
            digest,
            comment: None,
            groups: Vec::new(),
            mfa: None,
            credential_id: None,
            observed_at: None,
        }));
    }

    fn settle(&mut self) -> Result<(), Missing> {
        for _ in 0..40 {
            self.seen = self.live.clone();
            if !self.operate()? {
                return Ok(());
            }
        }
        panic!("the operator does not come to rest: {:#?}", self.live);
    }

    /// One pass over what was seen. Returns whether anything was written.
    fn operate(&mut self) -> Result<bool, Missing> {
        let mut wrote = self.decide();
        let object = self.seen.clone();
        let about: Vec<Arc<ApprovalRequest>> = self
            .requests
            .values()
            .filter(|request| Some(&request.spec.target.uid) == object.uid().as_ref())
            .cloned()
            .map(Arc::new)
            .collect();
        let input = EvaluationInput {
            requests: about.iter().map(AsRef::as_ref).collect(),
            knows_all_requests: true,
            inherited_policy: Ok(self.rules()),
            references: Some(vec![self.reference()]),
            policies: &PolicyStatus { integrity: Integrity::Intact, witness: "guard".into() },
            now: self.now,
        };
        let gate = plan_gate(&object, &about, &input).unwrap();
        for write in gate.writes {
            match write {
                Write::CreateRequest(request) => {
                    let version = (request.spec.target.uid.clone(), request.spec.target.generation);
                    let authors = &self.authors_of[&version];
                    self.assert_named(&request.spec.requesters, authors, &request.name_any())?;
                    wrote |= self.requests.insert(request.name_any(), *request).is_none();
                }
                Write::MarkEnacted { request, at } => {
                    let request = self.requests.get_mut(&request.name_any()).unwrap();
                    let at = enclave_operator::api::Time(at);
                    request.status.as_mut().unwrap().enacted_at = Some(at);
                    wrote = true;
                }
                Write::ConfirmPolicies { .. } | Write::ConfirmRules(_) => {}
                other => panic!("nothing else is written here: {other:?}"),
            }
        }
        let is_current = self.live.metadata.resource_version == object.metadata.resource_version;
        let stored = self.live.gate().cloned().unwrap_or_default();
        if is_current && (&stored.applied, &stored.pending) != (&gate.applied, &gate.pending) {
            let status = self.live.gate_mut();
            (status.applied, status.pending) = (gate.applied, gate.pending);
            self.written();
            wrote = true;
        }
        Ok(wrote)
    }

    fn decide(&mut self) -> bool {
        let mut wrote = false;
        for name in self.requests.keys().cloned().collect::<Vec<_>>() {
            let request = self.requests[&name].clone();
            let observed = ObservedRequest {
                target: self.view(&request),
                request: Arc::new(request.clone()),
                policies: PolicyStatus { integrity: Integrity::Intact, witness: "guard".into() },
                retain_for: SignedDuration::MAX,
            };
            let plan = plan_approval_request(&observed, self.now);
            if let Some(status) = plan.status.filter(|status| request.status.as_ref() != Some(status)) {
                self.requests.get_mut(&name).unwrap().status = Some(status);
                wrote = true;
            }
        }
        wrote
    }

    fn view(&self, request: &ApprovalRequest) -> TargetView {
        if self.seen.uid().as_ref() != Some(&request.spec.target.uid) {
            return TargetView::Gone;
        }
        let applied = self.seen.gate().and_then(|gate| gate.applied.as_ref());
        if applied.and_then(|applied| applied.approval_request.as_ref()) == Some(&request.name_any()) {
            return TargetView::PutIntoForce;
        }
        let wanted = EnclaveConnection::without_change_reason(&self.seen.spec);
        let is_replaced = Reference::find_changed(&request.spec.change.references, &[self.reference()]);
        match self.seen.metadata.generation {
            generation if generation < Some(request.spec.target.generation) => TargetView::Behind,
            _ if is_replaced.is_some() => TargetView::ReferenceChanged,
            generation if generation == Some(request.spec.target.generation) => TargetView::Proposed,
            _ if applied_spec(&self.seen).unwrap() == Some(wanted) => TargetView::EditedBack,
            _ => TargetView::EditedAgain,
        }
    }

    fn rules(&self) -> InheritedPolicy {
        let rule = |operation| ApprovalRule {
            operation,
            policy: RulePolicy::Required,
            minimum_approvers: None,
            mandatory_approvers: Vec::new(),
        };
        let rules = [Operation::ConnectionCreation, Operation::ConnectionUpdate].map(rule);
        let approvals =
            Approvals { rules: if self.hold { rules.into() } else { Vec::new() }, ..Approvals::default() };
        let origin = RulesOrigin {
            kind: Kind::Community,
            namespace: None,
            name: "acme".into(),
            uid: "acme".into(),
            digest: String::new(),
        };
        InheritedPolicy { scopes: vec![ScopeRules { approvals, origin }], ..InheritedPolicy::none() }
    }

    fn reference(&self) -> Reference {
        Reference {
            kind: Kind::EnclaveEndpoint,
            namespace: "acme-ledger".into(),
            name: "db".into(),
            uid: format!("endpoint-{}", self.endpoint),
            digest: String::new(),
        }
    }

    fn written(&mut self) {
        self.number += 1;
        self.live.metadata.resource_version = Some(self.number.to_string());
    }

    fn note_version(&mut self) {
        let version = (self.live.uid().unwrap(), self.live.metadata.generation.unwrap());
        self.authors_of.insert(version, self.authors.clone());
    }

    fn assert_named(&self, names: &[String], authors: &People, what: &str) -> Result<(), Missing> {
        match authors.iter().find(|author| !names.iter().any(|name| name == *author)) {
            Some(author) => {
                Err(Missing(format!("{what} does not name {author}: {names:?}\n{:#?}", self.live)))
            }
            None => Ok(()),
        }
    }
}

/// Lets random histories happen. Returns how often a new list began, or where somebody was missing.
fn explore(condition: &'static [Part], cases: u32) -> Result<usize, String> {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let began = std::cell::Cell::new(0);
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 1..40), |steps| {
        let mut world = World::new(condition);
        for step in &steps {
            world.take(step).map_err(|Missing(what)| TestCaseError::fail(what))?;
        }
        began.set(began.get() + world.began);
        Ok(())
    });
    match result {
        Ok(()) => Ok(began.get()),
        Err(TestError::Fail(what, steps)) => Err(format!("{what}\nafter {steps:#?}")),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn nobody_who_contributed_to_what_waits_is_missing_from_its_requesters() {
    let began = explore(&CONDITION, 2000).unwrap_or_else(|why| panic!("{why}"));
    assert!(began > 100, "lists hardly ever begin anew, so nothing was shown");
}

/// Negative controls: the same histories find somebody who is missing when a part of the condition is.
#[test]
fn without_one_part_of_the_condition_somebody_is_missing() {
    use Part::{Complete, Generation, NothingPending, Witnessed};
    for weaker in [
        &[Generation, Complete, Witnessed],
        &[NothingPending, Complete, Witnessed],
        &[NothingPending, Generation, Witnessed],
    ] {
        assert!(explore(weaker, 20_000).is_err(), "{weaker:?} is as good");
    }
}

/// An object that is made again from a backup of when the operator was behind: of the spec something waits
/// that the status does not know of. Two parts of the condition tell, so either may fail.
#[test]
fn what_comes_from_a_backup_is_not_taken_for_what_was_applied_here() {
    use Part::{Complete, Generation, NothingPending, Witnessed};
    let edit =
        |person, description| Step::Edit { person, behalf: None, description, enabled: true, words: 0 };
    let history = [
        Step::Rules { hold: false },
        Step::Settle,
        Step::Rules { hold: true },
        edit(1, 1),
        Step::BackUp,
        Step::RestoreObject { which: 0 },
        edit(2, 2),
    ];
    let outcome = |condition| {
        let mut world = World::new(condition);
        history.iter().try_for_each(|step| world.take(step))
    };
    assert_eq!(outcome(&[NothingPending, Generation, Complete]), Ok(()));
    assert_eq!(outcome(&[NothingPending, Generation, Witnessed]), Ok(()));
    assert!(outcome(&[NothingPending, Generation]).is_err());
}

/// The trivial edit of a colleague launders nothing, whether the operator is there or not.
#[test]
fn w9_an_edit_while_the_operator_is_away() {
    let edit =
        |person, description| Step::Edit { person, behalf: None, description, enabled: true, words: 0 };
    let mut world = World::new(&CONDITION);
    for step in [Step::Settle, Step::Vote { person: 3, approves: true }, Step::Settle] {
        world.take(&step).unwrap();
    }
    assert!(!world.does_anything_wait());
    world.take(&edit(1, 1)).unwrap();
    assert_eq!(names_of(&world.live), ["bob"], "what alice asked for is in force");
    world.take(&edit(2, 2)).unwrap();
    world.take(&Step::Settle).unwrap();
    let request = world.requests.values().last().unwrap();
    assert_eq!(request.spec.requesters, ["bob", "carol"]);
}

/// What closes is recorded at once. Only when that is all of the change nothing waits, and an approved
/// request that was enacted before is not enacted again.
#[test]
fn a_closing_is_complete_only_when_nothing_else_was_changed() {
    let mut world = World::new(&CONDITION);
    let mut take = |steps: &[Step]| {
        for step in steps {
            world.take(step).unwrap();
        }
        let applied = world.live.gate().unwrap().applied.clone().unwrap();
        (applied.generation, applied.complete_for, applied_spec(&world.live).unwrap().unwrap().enabled)
    };
    let edit = |description, enabled| Step::Edit { person: 1, behalf: None, description, enabled, words: 0 };
    let approve = [Step::Settle, Step::Vote { person: 3, approves: true }, Step::Settle];
    let uid = Some("object-1".to_owned());
    assert_eq!(take(&approve), (1, uid.clone(), true));
    assert_eq!(take(&[edit(1, false), Step::Settle]), (1, None, false));
    assert_eq!(take(&[Step::Settle]), (1, None, false), "the request for generation 1 is not enacted again");
    assert_eq!(take(&approve), (2, uid.clone(), false));
    assert_eq!(take(&[edit(1, true)]), (2, uid.clone(), false));
    assert_eq!(take(&approve), (3, uid.clone(), true));
    assert_eq!(take(&[edit(1, false), Step::Settle]), (4, uid, false));
}
