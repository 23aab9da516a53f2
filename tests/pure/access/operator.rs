//! The operator: it observes and plans as in a cluster, and its writes go to the API server in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use enclave_operator::api::names::FINALIZER;
use enclave_operator::api::{
    ActivationState, ApprovalRequest, Kind, RoleActivation, RoleAssignment, RoleEligibility, Time,
};
use enclave_operator::cluster::cache::Key as Marked;
use enclave_operator::cluster::workqueue::{Outcome, Priority};
use enclave_operator::controllers::revocation::{Due, plan_revocation};
use enclave_operator::kinds::controller::{Controller, ReconcileInput};
use enclave_operator::model::approval::policy_status::{Integrity, PolicyStatus};
use enclave_operator::model::approval::scope::RulesOrigin;
use enclave_operator::plan::child::{Child, Verb};
use enclave_operator::plan::{Plan, Write};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::books::{Books, Trust};
use super::server::{Key, Outdated, Server, Stored, key_of};
use super::world::World;

/// How long what is over is kept.
const RETAINED: SignedDuration = SignedDuration::from_hours(6);
/// Everything is at rest after so many rounds in which everything is looked at once.
const MOST_ROUNDS: usize = 10;

/// The operator died.
pub struct Dead;

/// What the operator gets done.
pub struct Hands {
    /// How many writes until it dies.
    pub left: usize,
    /// Which of the next writes fail, bit by bit.
    pub faults: u32,
    /// For whom they were made.
    pub writes: Vec<String>,
}

impl Hands {
    pub const fn steady() -> Self {
        Self { left: usize::MAX, faults: 0, writes: Vec::new() }
    }

    fn write(
        &mut self,
        whom: &str,
        write: impl FnOnce() -> Result<(), Outdated>,
    ) -> Result<Result<(), Outdated>, Dead> {
        self.left = self.left.checked_sub(1).ok_or(Dead)?;
        self.writes.push(whom.to_owned());
        let fails = self.faults & 1 == 1;
        self.faults >>= 1;
        Ok(if fails { Err(Outdated) } else { write() })
    }
}

/// Something that the operator looks at.
#[derive(Clone, Debug)]
pub enum Job {
    Assignment(Key),
    Eligibility(Key),
    Activation(Key),
    Request(Key),
    Closing,
}

/// A kind that is looked at.
pub trait Watched: Controller + Stored {
    fn note(books: &mut Books, seen: &Books, before: &Self, after: &Self);
    fn gone(books: &mut Books, uid: &str);
}

macro_rules! watched_gift {
    ($($kind:ident)*) => {
        $(impl Watched for $kind {
            fn note(books: &mut Books, seen: &Books, before: &Self, after: &Self) {
                let applied = |gift: &Self| gift.status.as_ref().and_then(|status| status.gate.applied.clone());
                if let Some(after) = applied(after).filter(|after| applied(before).as_ref() != Some(after)) {
                    books.note_applied(seen, before.metadata.uid.as_ref().unwrap(), &after);
                }
            }
            fn gone(books: &mut Books, uid: &str) {
                books.gifts.remove(uid);
            }
        })*
    };
}
watched_gift!(RoleAssignment RoleEligibility);

impl Watched for RoleActivation {
    fn note(books: &mut Books, seen: &Books, before: &Self, after: &Self) {
        books.note_activation(seen, before.metadata.uid.as_ref().unwrap(), after.status.as_ref().unwrap());
    }
    fn gone(books: &mut Books, uid: &str) {
        let ask = books.asks.remove(uid);
        assert!(ask.is_none_or(|ask| ask.state.is_some_and(ActivationState::is_final)), "{uid} was not over");
    }
}

impl Watched for ApprovalRequest {
    fn note(books: &mut Books, seen: &Books, before: &Self, after: &Self) {
        books.note_decision(seen, &before.name_any(), after.status.as_ref().unwrap());
    }
    fn gone(_: &mut Books, _: &str) {}
}

impl World {
    fn jobs(&self) -> Vec<Job> {
        let server = &self.server;
        let jobs = server.assignments.keys().cloned().map(Job::Assignment);
        let jobs = jobs.chain(server.eligibilities.keys().cloned().map(Job::Eligibility));
        let jobs = jobs.chain(server.activations.keys().cloned().map(Job::Activation));
        jobs.chain(server.requests.keys().cloned().map(Job::Request)).chain([Job::Closing]).collect()
    }

    /// Looks at everything once, in some order.
    pub fn work(&mut self, mut order: u64, hands: &mut Hands) {
        let mut jobs = self.jobs();
        while !jobs.is_empty() {
            // As in SplitMix64.
            order = order.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (order ^ (order >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33;
            let job = jobs.swap_remove(usize::try_from(mixed).unwrap() % jobs.len());
            if self.execute(&job, hands).is_err() {
                self.restart();
                return;
            }
        }
    }

    pub fn plan_one(&mut self, nth: usize) {
        let jobs = self.jobs();
        let job = &jobs[nth % jobs.len()];
        macro_rules! plan {
            ($kind:ident, $key:expr) => {{
                let (object, plan, seen) = self.plan::<$kind>($key).unwrap();
                self.planned.push(Box::new(move |world| {
                    let _ = world.carry_out(&object, plan, &seen, &mut Hands::steady());
                }));
            }};
        }
        match job {
            Job::Assignment(key) => plan!(RoleAssignment, key),
            Job::Eligibility(key) => plan!(RoleEligibility, key),
            Job::Activation(key) => plan!(RoleActivation, key),
            Job::Request(key) => plan!(ApprovalRequest, key),
            Job::Closing => {
                let Some((key, Due { closes, ends })) = self.plan_closing() else { return };
                self.under_way += 1;
                self.planned.push(Box::new(move |world| {
                    let mut failed = false;
                    for (verb, child) in closes.into_iter().map(closing) {
                        failed |= world.write_child(verb, child).is_err();
                    }
                    world.under_way -= 1;
                    world.finish_closing(key, ends, failed);
                }));
            }
        }
    }

    pub fn execute(&mut self, job: &Job, hands: &mut Hands) -> Result<(), Dead> {
        macro_rules! reconcile {
            ($kind:ident, $key:expr) => {
                match self.plan::<$kind>($key) {
                    Some((object, plan, seen)) => self.carry_out(&object, plan, &seen, hands),
                    None => Ok(()),
                }
            };
        }
        match job {
            Job::Assignment(key) => reconcile!(RoleAssignment, key),
            Job::Eligibility(key) => reconcile!(RoleEligibility, key),
            Job::Activation(key) => reconcile!(RoleActivation, key),
            Job::Request(key) => reconcile!(ApprovalRequest, key),
            Job::Closing => self.close(hands),
        }
    }

    /// What is to be looked at next, by what changed and what ended, and what it takes away.
    fn plan_closing(&self) -> Option<(Marked, Due)> {
        let key = self.server.enqueuer.queues.revocation.take(Priority::Low, self.instant())?;
        let due = plan_revocation(&self.server.enqueuer.caches, &key, self.books.now);
        Some((key, due))
    }

    fn finish_closing(&mut self, key: Marked, ends: Option<Timestamp>, failed: bool) {
        let ends_in =
            ends.map(|end| Duration::try_from(end.duration_since(self.books.now)).unwrap_or_default());
        if ends_in.is_some() {
            self.ending.insert(key.clone());
        }
        let outcome = match ends_in {
            Some(wait) if !failed => Outcome::RequeueAfter(wait, Priority::Closing),
            None if !failed => Outcome::Done,
            ends_in => Outcome::Failed { ends_in },
        };
        self.server.enqueuer.queues.revocation.finish(&key, outcome, self.instant());
        self.again.extend(failed.then_some(key));
    }

    /// The operator's time, as its queues count it. Clocks may be set back, and a queue never hears of a time before
    /// it began.
    fn instant(&self) -> Instant {
        let passed = self.books.now.duration_since(Timestamp::UNIX_EPOCH);
        self.origin + Duration::try_from(passed).unwrap()
    }

    /// What the closing worker does at a time; if nothing goes wrong and nothing is under way, nothing is left to be
    /// closed.
    pub fn close(&mut self, hands: &mut Hands) -> Result<(), Dead> {
        // What failed is tried again after a while.
        for key in std::mem::take(&mut self.again) {
            self.server.enqueuer.queues.revocation.add(key, Priority::Closing);
        }
        let mut all_done = true;
        while let Some((key, Due { closes, ends })) = self.plan_closing() {
            let mut failed = false;
            for write in closes {
                self.tally.closings += 1;
                let (verb, child) = closing(write);
                let name = child.metadata().name.clone().unwrap();
                failed |= hands.write(&name, || self.write_child(verb, child))?.is_err();
            }
            all_done &= !failed;
            self.finish_closing(key, ends, failed);
        }
        if all_done && self.under_way == 0 {
            self.books.check_closed(&self.server);
        }
        Ok(())
    }

    fn plan<K: Watched>(&self, key: &Key) -> Option<(K, Plan<K::Status>, Books)> {
        let object = self.server.get::<K>(key)?.clone();
        let integrity = match self.books.trust {
            Trust::Intact => Integrity::Intact,
            Trust::Propagating => Integrity::Propagating,
            Trust::Broken => Integrity::Broken("missing".into()),
        };
        let policy_status = PolicyStatus { integrity, witness: self.witness.to_string() };
        let (caches, now) = (&self.server.enqueuer.caches, self.books.now);
        let known = ReconcileInput { caches, policy_status, retain_requests_for: RETAINED, now };
        let plan = K::plan(Arc::new(object.clone()), known);
        Some((object, plan, self.books.clone()))
    }

    /// As `reconcile_once` does.
    fn carry_out<K: Watched>(
        &mut self,
        object: &K,
        plan: Plan<K::Status>,
        seen: &Books,
        hands: &mut Hands,
    ) -> Result<(), Dead> {
        let mut failed = false;
        for repair in plan.repairs {
            failed |= hands.write(&object.name_any(), || self.write(object, repair, seen))?.is_err();
        }
        for write in plan.writes {
            let is_check = matches!(
                write,
                Write::ConfirmPolicies { .. } | Write::ConfirmRules(_) | Write::ConfirmTargetGone(_)
            );
            let on_itself = matches!(write, Write::AddFinalizer | Write::RemoveFinalizer | Write::DeleteSelf);
            let done = if is_check {
                self.write(object, write, seen)
            } else {
                hands.write(&object.name_any(), || self.write(object, write, seen))?
            };
            if done.is_err() || on_itself {
                return Ok(());
            }
        }
        let status = plan.status.filter(|status| object.status() != Some(status));
        if let Some(status) = status.filter(|_| !failed) {
            let object = object.with_status(status);
            let _ = hands.write(&object.name_any(), || {
                let before = self.server.confirm(&object)?;
                self.server.replace(object.clone())?;
                let after = self.server.get::<K>(&key_of(&object)).unwrap();
                K::note(&mut self.books, seen, &before, after);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn write<K: Watched>(&mut self, object: &K, write: Write, seen: &Books) -> Result<(), Outdated> {
        match write {
            Write::AddFinalizer => self.patch(object, |live| live.finalizers_mut().push(FINALIZER.into())),
            Write::RemoveFinalizer => {
                self.server.confirm(object)?;
                self.server.remove::<K>(&key_of(object));
                K::gone(&mut self.books, object.meta().uid.as_ref().unwrap());
                Ok(())
            }
            Write::DeleteSelf => {
                self.server.confirm(object)?;
                self.server.delete(object)?;
                K::gone(&mut self.books, object.meta().uid.as_ref().unwrap());
                Ok(())
            }
            Write::CreateRequest(request) => {
                self.server.create(ApprovalRequest::clone(&request))?;
                self.books.note_request(seen, &request);
                Ok(())
            }
            Write::MarkEnacted { request, at } => {
                let mut live = self.server.confirm(request.as_ref())?;
                live.status.as_mut().unwrap().enacted_at = Some(Time(at));
                self.books.polls.get_mut(&live.name_any()).unwrap().done = true;
                self.server.replace(live)
            }
            Write::ConfirmPolicies { witness, .. } => go_on_if(witness == self.witness.to_string()),
            Write::ConfirmRules(origin) => go_on_if(is_current(&self.server, &origin)),
            Write::ConfirmTargetGone(target) => {
                let key = (target.namespace.unwrap_or_default(), target.name);
                let meta = match target.kind {
                    Kind::RoleAssignment => self.server.assignments.get(&key).map(|one| &one.metadata),
                    Kind::RoleEligibility => self.server.eligibilities.get(&key).map(|one| &one.metadata),
                    _ => self.server.activations.get(&key).map(|one| &one.metadata),
                };
                go_on_if(meta.is_none_or(|meta| {
                    meta.uid.as_ref() != Some(&target.uid) || meta.deletion_timestamp.is_some()
                }))
            }
            Write::Child(verb, child) => {
                let room = child.metadata().namespace.as_deref().and_then(|room| seen.rooms.get(room));
                assert!(room.is_none_or(|room| room.guarded), "nobody gets in where nothing guards");
                self.write_child(verb, child)
            }
            other => panic!("nothing of this world asks for {other:?}"),
        }
    }

    fn patch<K: Stored>(&mut self, object: &K, change: impl FnOnce(&mut K)) -> Result<(), Outdated> {
        let mut live = self.server.confirm(object)?;
        change(&mut live);
        self.server.replace(live)
    }

    fn write_child(&mut self, verb: Verb, child: Child) -> Result<(), Outdated> {
        match child {
            Child::RoleBinding(child) => write_one(&mut self.server, verb, *child),
            Child::Role(child) => write_one(&mut self.server, verb, *child),
            Child::ClusterRole(child) => write_one(&mut self.server, verb, *child),
            Child::ClusterRoleBinding(child) => write_one(&mut self.server, verb, *child),
            other => panic!("{other:?} gives no rights"),
        }
    }

    /// Lets the operator work until there is nothing to do, and another one find nothing to do.
    pub fn settle(&mut self, order: u64) {
        for plan in std::mem::take(&mut self.planned) {
            plan(self);
        }
        for round in 0..=MOST_ROUNDS {
            let mut hands = Hands::steady();
            self.work(order.wrapping_add(round as u64), &mut hands);
            if hands.writes.is_empty() {
                break;
            }
            assert!(round < MOST_ROUNDS, "the operator does not come to rest: {:?}", hands.writes);
        }
        self.books.check_rest(&self.server);
        self.restart();
        let mut hands = Hands::steady();
        self.work(!order, &mut hands);
        assert!(hands.writes.is_empty(), "written after a restart: {:?}", hands.writes);
    }
}

fn closing(write: Write) -> (Verb, Child) {
    match write {
        Write::Child(verb, child) => (verb, child),
        other => panic!("{other:?} does not close"),
    }
}

fn write_one<K: Stored>(server: &mut Server, verb: Verb, child: K) -> Result<(), Outdated> {
    match verb {
        Verb::Create => server.create(child),
        Verb::Replace => server.replace(child),
        Verb::Delete => server.delete(&child),
    }
}

fn is_current(server: &Server, origin: &RulesOrigin) -> bool {
    let key = (origin.namespace.clone().unwrap_or_default(), origin.name.clone());
    let gate = match origin.kind {
        Kind::Community => server.communities[&key].status.as_ref().map(|status| &status.gate),
        _ => server.enclaves[&key].status.as_ref().map(|status| &status.gate),
    };
    gate.unwrap().applied.as_ref().unwrap().digest == origin.digest
}

fn go_on_if(as_assumed: bool) -> Result<(), Outdated> {
    if as_assumed { Ok(()) } else { Err(Outdated) }
}
