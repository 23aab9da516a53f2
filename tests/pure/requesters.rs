//! Nobody who contributed to what waits is ever missing from its requesters: random histories of edits by
//! several people, closings, votes, edits back, references that are replaced, objects and statuses from a
//! backup, statuses of older versions, and an operator that is behind or away.
//!
//! The cluster is `sim`. The books know only which content
//! is in force and who wrote what, never generations or stamps.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::approvals::{Approvals, Operation};
use enclave_operator::api::common::ChangeReason;
use enclave_operator::api::names::FINALIZER;
use enclave_operator::api::{
    ApprovalRequest, CommunitySpec, Content, EnclaveConnection, EnclaveConnectionSpec, EnclaveEndpoint,
    EnclaveEndpointSpec, EnclaveSpec, EnclaveWorkload, EnclaveWorkloadSpec, Kind,
};
use enclave_operator::kinds::controller::Controller;
use enclave_operator::model::approval::applied::applied_spec;
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::model::digest::digest;
use enclave_operator::plan::Write;
use enclave_operator_testing::sim::stamp::{self, CONDITION, Part, names_of};
use enclave_operator_testing::sim::{Action, Hands, Key, Server, Stored, cast, is_open, required};
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
    UnstampedEdit { description: u8 },
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
        1 => (0..3_u8).prop_map(|description| Step::UnstampedEdit { description }),
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
    /// The watch of connections is behind.
    cluster: Server,
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
        let mut cluster = Server::new(Timestamp::from_second(1_000_000).unwrap());
        found(&mut cluster);
        hold(&mut cluster, true);
        cluster.fall_behind::<EnclaveConnection>();
        let spec: EnclaveConnectionSpec = serde_json::from_value(json!({
            "source": {"workloads": ["api"]},
            "destination": {"enclaveEndpoint": {"enclave": "ledger", "name": "db"}},
        }))
        .unwrap();
        let mut connection = EnclaveConnection::new("out", spec);
        connection.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        stamp::stamp(None, &mut connection, &["alice"], condition);
        cluster.add(connection, "acme-payments");
        cluster.catch_up();
        let (authors, backups, authors_of, began) = (["alice"].into(), Vec::new(), BTreeMap::new(), 0);
        let mut world = Self { condition, cluster, backups, authors, authors_of, began };
        world.note_version();
        world
    }

    fn live(&self) -> &EnclaveConnection {
        &self.cluster.connections[&key()]
    }

    fn applied(&self) -> Option<EnclaveConnectionSpec> {
        applied_spec(self.live()).unwrap()
    }

    /// Changes something without anybody but the API server knowing.
    fn change(&mut self, change: impl FnOnce(&mut EnclaveConnection)) {
        let mut connection = self.live().clone();
        change(&mut connection);
        self.cluster.put(connection);
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
            Step::UnstampedEdit { description } => {
                let spec = self.described(*description);
                if spec != self.live().spec {
                    self.change(|connection| {
                        connection.spec = spec;
                        *connection.metadata.generation.as_mut().unwrap() += 1;
                    });
                    self.note_version();
                }
            }
            Step::Vote { person, approves } => self.vote(PEOPLE[*person], *approves),
            Step::Rules { hold } => self::hold(&mut self.cluster, *hold),
            Step::ReplaceEndpoint => replace_endpoint(&mut self.cluster),
            Step::Observe => self.cluster.catch_up(),
            Step::Operate => return self.operate().map(drop),
            Step::Settle => return self.settle(),
            Step::BackUp => self.backups.push((self.live().clone(), self.authors.clone())),
            Step::RestoreObject { which } => {
                let Some((object, authors)) = self.backups.get(*which).cloned() else { return Ok(()) };
                self.cluster.remove::<EnclaveConnection>(&key());
                self.cluster.create(object).unwrap();
                self.authors = authors;
                self.note_version();
            }
            Step::RestoreStatus { which } => {
                let Some((object, _)) = self.backups.get(*which).cloned() else { return Ok(()) };
                if object.uid() == self.live().uid() {
                    self.change(|connection| connection.status = object.status);
                }
            }
            Step::OlderStatus => {
                if self.applied().is_some() {
                    self.change(|connection| {
                        connection.gate_mut().applied.as_mut().unwrap().complete_for = None;
                    });
                }
            }
            Step::Narrow => {
                if let Some(before) = self.applied() {
                    let spec = Content::of_spec(&EnclaveConnectionSpec { enabled: false, ..before }).unwrap();
                    self.change(|connection| {
                        let applied = connection.gate_mut().applied.as_mut().unwrap();
                        applied.digest = digest(&spec).unwrap();
                        applied.spec = spec;
                        applied.complete_for = None;
                    });
                }
            }
        }
        Ok(())
    }

    fn described(&self, description: u8) -> EnclaveConnectionSpec {
        EnclaveConnectionSpec { description: Some(description.to_string()), ..self.live().spec.clone() }
    }

    fn edit(&mut self, people: &[&'static str], spec: EnclaveConnectionSpec) -> Result<(), Missing> {
        if spec == self.live().spec {
            return Ok(());
        }
        if !self.does_anything_wait() {
            self.authors.clear();
        }
        self.authors.extend(people);
        let stored = self.live().clone();
        let mut edited = EnclaveConnection { spec, ..stored.clone() };
        stamp::stamp(Some(&stored), &mut edited, people, self.condition);
        self.cluster.put(edited);
        self.note_version();
        let (before, after) = (names_of(&stored), names_of(self.live()));
        self.began += usize::from(before.iter().any(|name| !after.contains(name)));
        self.assert_named(&after, &self.authors, "the annotation")
    }

    /// Whether something is not in force of the latest spec, or is recorded not to be.
    fn does_anything_wait(&self) -> bool {
        let wanted = EnclaveConnection::without_change_reason(&self.live().spec);
        self.applied() != Some(wanted) || self.live().gate().is_some_and(|gate| gate.pending.is_some())
    }

    fn vote(&mut self, person: &str, approves: bool) {
        let open = self.cluster.requests.values().rev().find(|request| is_open(request));
        let Some(mut request) = open.cloned() else { return };
        if request.spec.requesters.iter().any(|requester| requester == person) {
            return;
        }
        let verdict = if approves { Verdict::Approved } else { Verdict::Rejected };
        let digest = request.spec.change.digest.clone();
        cast(&mut request, person, verdict, digest, &[]);
        self.cluster.put(request);
    }

    fn settle(&mut self) -> Result<(), Missing> {
        for _ in 0..40 {
            self.cluster.catch_up();
            if !self.operate()? {
                return Ok(());
            }
        }
        panic!("the operator does not come to rest: {:#?}", self.live());
    }

    /// One pass over what was seen. Returns whether anything was written.
    fn operate(&mut self) -> Result<bool, Missing> {
        let mut hands = Hands::steady();
        for key in self.cluster.requests.keys().cloned().collect::<Vec<_>>() {
            self.look_at::<ApprovalRequest>(&key, &mut hands)?;
        }
        self.look_at::<EnclaveConnection>(&key(), &mut hands)?;
        Ok(!hands.writes.is_empty())
    }

    fn look_at<K: Controller + Stored>(&mut self, key: &Key, hands: &mut Hands) -> Result<(), Missing> {
        let (object, plan) = self.cluster.plan::<K>(key, self.cluster.now, SignedDuration::MAX).unwrap();
        let mut named = Vec::new();
        let _ = self.cluster.carry_out(object.as_ref(), plan, hands, &mut |action| match action {
            Action::Asked(request) => named.push(request.clone()),
            Action::Tries(write) => {
                assert!(is_expected(K::KIND, write), "nothing else is written here: {write:?}");
            }
            Action::Enacted(_) | Action::Published { .. } | Action::Gone(_) => {}
        });
        named.iter().try_for_each(|request| {
            let version = (request.spec.target.uid.clone(), request.spec.target.generation);
            self.assert_named(&request.spec.requesters, &self.authors_of[&version], &request.name_any())
        })
    }

    fn note_version(&mut self) {
        let version = (self.live().uid().unwrap(), self.live().metadata.generation.unwrap());
        self.authors_of.insert(version, self.authors.clone());
    }

    fn assert_named(&self, names: &[String], authors: &People, what: &str) -> Result<(), Missing> {
        match authors.iter().find(|author| !names.iter().any(|name| name == *author)) {
            Some(author) => {
                Err(Missing(format!("{what} does not name {author}: {names:?}\n{:#?}", self.live())))
            }
            None => Ok(()),
        }
    }
}

fn key() -> Key {
    ("acme-payments".to_owned(), "out".to_owned())
}

/// A Community with two Enclaves: from a workload in one leads a connection to an endpoint of the other.
fn found(cluster: &mut Server) {
    cluster.add_community("acme");
    for name in ["ledger", "payments"] {
        let enclave = cluster.add_enclave("acme", name);
        cluster.put_into_force(enclave, &EnclaveSpec::default(), Timestamp::UNIX_EPOCH);
    }
    let workload = EnclaveWorkload::new("api", EnclaveWorkloadSpec::default());
    let workload = cluster.add(workload, "acme-payments");
    cluster.put_into_force(workload, &EnclaveWorkloadSpec::default(), Timestamp::UNIX_EPOCH);
    replace_endpoint(cluster);
}

/// Another endpoint of the same name.
fn replace_endpoint(cluster: &mut Server) {
    let spec = json!({"workload": "api", "ports": [{"protocol": "TCP", "port": 5432}]});
    let spec: EnclaveEndpointSpec = serde_json::from_value(spec).unwrap();
    cluster.remove::<EnclaveEndpoint>(&("acme-ledger".to_owned(), "db".to_owned()));
    let endpoint = cluster.add(EnclaveEndpoint::new("db", spec.clone()), "acme-ledger");
    cluster.put_into_force(endpoint, &spec, Timestamp::UNIX_EPOCH);
}

/// Whether the rules in force hold connections until somebody approves.
fn hold(cluster: &mut Server, holds: bool) {
    let rules = [Operation::ConnectionCreation, Operation::ConnectionUpdate];
    let rules = rules.map(|operation| required(operation, None));
    let approvals =
        Approvals { rules: if holds { rules.into() } else { Vec::new() }, ..Approvals::default() };
    let spec = CommunitySpec { approvals, ..CommunitySpec::default() };
    let community = cluster.communities.values().next().unwrap().clone();
    cluster.put_into_force(community, &spec, Timestamp::UNIX_EPOCH);
}

/// The connection itself is never deleted, and nothing is made for it.
fn is_expected(kind: Kind, write: &Write) -> bool {
    match write {
        Write::AddFinalizer
        | Write::CreateRequest(_)
        | Write::MarkEnacted { .. }
        | Write::ConfirmPolicies { .. }
        | Write::ConfirmRules(_) => true,
        Write::ConfirmTargetGone(_) | Write::DeleteSelf | Write::RemoveFinalizer => {
            kind == Kind::ApprovalRequest
        }
        _ => false,
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
    use Part::{Complete, Generation, NothingPending, Stamped};
    for weaker in [
        &[Generation, Complete, Stamped],
        &[NothingPending, Complete, Stamped],
        &[NothingPending, Generation, Stamped],
    ] {
        assert!(explore(weaker, 20_000).is_err(), "{weaker:?} is as good");
    }
}

/// An object that is made again from a backup of when the operator was behind: of the spec something waits
/// that the status does not know of. Two parts of the condition tell, so either may fail.
#[test]
fn what_comes_from_a_backup_is_not_taken_for_what_was_applied_here() {
    use Part::{Complete, Generation, NothingPending, Stamped};
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
    assert_eq!(outcome(&[NothingPending, Generation, Stamped]), Ok(()));
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
    assert_eq!(names_of(world.live()), ["bob"], "what alice asked for is in force");
    world.take(&edit(2, 2)).unwrap();
    world.take(&Step::Settle).unwrap();
    let request = world.cluster.requests.values().last().unwrap();
    assert_eq!(request.spec.requesters, ["bob", "carol"]);
}

/// What closes is recorded at once. Only when that is all of the change nothing waits, and an approved
/// request that was enacted before is not enacted again.
#[test]
fn a_closing_is_complete_only_when_nothing_else_was_changed() {
    let mut world = World::new(&CONDITION);
    let uid = world.live().uid();
    let mut take = |steps: &[Step]| {
        for step in steps {
            world.take(step).unwrap();
        }
        let applied = world.live().gate().unwrap().applied.clone().unwrap();
        (applied.generation, applied.complete_for, world.applied().unwrap().enabled)
    };
    let edit = |description, enabled| Step::Edit { person: 1, behalf: None, description, enabled, words: 0 };
    let approve = [Step::Settle, Step::Vote { person: 3, approves: true }, Step::Settle];
    assert_eq!(take(&approve), (1, uid.clone(), true));
    assert_eq!(take(&[edit(1, false), Step::Settle]), (1, None, false));
    assert_eq!(take(&[Step::Settle]), (1, None, false), "the request for generation 1 is not enacted again");
    assert_eq!(take(&approve), (2, uid.clone(), false));
    assert_eq!(take(&[edit(1, true)]), (2, uid.clone(), false));
    assert_eq!(take(&approve), (3, uid.clone(), true));
    assert_eq!(take(&[edit(1, false), Step::Settle]), (4, uid, false));
}
