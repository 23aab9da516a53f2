//! What the operator looks at and in which order, and what the books are told of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use enclave_operator::api::{
    ActivationState, ApprovalRequest, RoleActivation, RoleAssignment, RoleEligibility,
};
use enclave_operator::cluster::cache::Key as Marked;
use enclave_operator::cluster::workqueue::{Outcome, Priority};
use enclave_operator::controllers::revocation::{Due, plan_revocation};
use enclave_operator::kinds::controller::Controller;
use enclave_operator::plan::child::{Child, Verb};
use enclave_operator::plan::{Plan, Write};
use enclave_operator_testing::sim::{Action, Dead, Hands, Key, Stored};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::books::Books;
use super::world::World;

/// How long what is over is kept.
const RETAINED: SignedDuration = SignedDuration::from_hours(6);
/// Everything is at rest after so many rounds in which everything is looked at once.
const MOST_ROUNDS: usize = 10;

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
                    let _ = world.carry_out(object.as_ref(), plan, &seen, &mut Hands::steady());
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
                        failed |= world.server.write_child(verb, child).is_err();
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
                    Some((object, plan, seen)) => self.carry_out(object.as_ref(), plan, &seen, hands),
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
                failed |= hands.write(&name, || self.server.write_child(verb, child))?.is_err();
            }
            all_done &= !failed;
            self.finish_closing(key, ends, failed);
        }
        if all_done && self.under_way == 0 {
            self.books.check_closed(&self.server);
        }
        Ok(())
    }

    fn plan<K: Watched>(&self, key: &Key) -> Option<(Arc<K>, Plan<K::Status>, Books)> {
        let (object, plan) = self.server.plan::<K>(key, self.books.now, RETAINED)?;
        Some((object, plan, self.books.clone()))
    }

    fn carry_out<K: Watched>(
        &mut self,
        object: &K,
        plan: Plan<K::Status>,
        seen: &Books,
        hands: &mut Hands,
    ) -> Result<(), Dead> {
        let Self { server, books, .. } = self;
        server.carry_out(object, plan, hands, &mut |action| match action {
            Action::Tries(Write::Child(_, child)) => {
                assert!(gives_rights(child), "{child:?} gives no rights");
                let room = child.metadata().namespace.as_deref().and_then(|room| seen.rooms.get(room));
                assert!(room.is_none_or(|room| room.guarded), "nobody gets in where nothing guards");
            }
            Action::Tries(
                write @ (Write::CreateNamespace(_)
                | Write::ReplaceNamespace(_)
                | Write::DeleteNamespace { .. }
                | Write::ConfirmNamespaceGone { .. }),
            ) => panic!("nothing of this world asks for {write:?}"),
            Action::Tries(_) => {}
            Action::Asked(request) => books.note_request(seen, request),
            Action::Enacted(request) => books.polls.get_mut(request).unwrap().done = true,
            Action::Published { before, after } => K::note(books, seen, before, after),
            Action::Gone(object) => K::gone(books, object.meta().uid.as_ref().unwrap()),
        })
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
        Write::Child(verb, child) if gives_rights(&child) => (verb, child),
        other => panic!("{other:?} does not close"),
    }
}

const fn gives_rights(child: &Child) -> bool {
    matches!(
        child,
        Child::RoleBinding(_) | Child::Role(_) | Child::ClusterRole(_) | Child::ClusterRoleBinding(_)
    )
}
