//! What people do about roles: each deed goes to the API server and into the books.

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::names::{FINALIZER, REQUESTED_BY, REQUESTED_GROUPS, REQUESTED_MFA};
use enclave_operator::api::{
    ActivationState, ApprovalRequest, RoleActivation, RoleActivationSpec, RoleAssignment, RoleEligibility,
    Time,
};
use enclave_operator::model::approval::gated::Gated;
use enclave_operator_testing::sim::stamp::{self, CONDITION};
use enclave_operator_testing::sim::{Hands, Key, SYSTEM, Server, Stored, Trust, cast, is_open, key_of};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::books::{Ask, Gift, GiftKind, Terms, groups_of};
use super::history::{AskDraft, Draft};
use super::operator::Job;
use super::words::{PRINCIPALS, assignment_of, eligibility_of, terms_of_people};
use super::world::World;

pub const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "system:serviceaccount:ci:robot"];
const ROLES: [&str; 7] = [
    "enclave-owner",
    "enclave-contributor",
    "enclave-reader",
    "enclave-approver",
    "community-owner",
    "community-contributor",
    "community-reader",
];
/// Assignments, and then as many eligibilities.
const GIVEN_IN: [&str; 8] = [SYSTEM, "acme", "acme-pay", "acme-pay", SYSTEM, "acme", "acme-pay", "other"];

impl World {
    pub fn give(&mut self, slot: usize, by: &'static str, draft: &Draft) {
        let kind = if slot < 4 { GiftKind::Assignment } else { GiftKind::Eligibility };
        let (namespace, name) = (GIVEN_IN[slot], format!("g{slot}"));
        let minutes = |minutes: i64| self.in_minutes(minutes);
        let people: Vec<_> =
            PRINCIPALS.iter().enumerate().filter(|(bit, _)| draft.people >> bit & 1 == 1).collect();
        let people = people.into_iter().map(|(_, who)| (*who).to_owned()).collect();
        let terms = match kind {
            GiftKind::Assignment => Terms { people, ..terms_of_people(&[]) },
            GiftKind::Eligibility => Terms {
                people,
                starts: draft.starts.map(minutes),
                ends: draft.ends.map(|end| minutes(end + draft.starts.map_or(0, |start| start + 21))),
                minutes: draft.minutes,
                says_why: draft.says_why,
                ticket: draft.ticket,
                mfa: draft.mfa,
                votes: draft.votes,
            },
        };
        let known = self.books.gifts.iter_mut().find(|(_, gift)| gift.name == name);
        if let Some((_, gift)) = known {
            let (generation, latest) = gift.latest();
            if gift.leaving || *latest == terms {
                return;
            }
            if gift
                .in_force
                .as_ref()
                .is_some_and(|(known, _, counts)| (*known, counts) == (generation, latest))
            {
                gift.authors.clear();
            }
            gift.versions.insert(generation + 1, terms);
            gift.authors.insert(by);
        } else {
            let role = ROLES[if namespace == "acme-pay" { draft.role % 4 } else { draft.role }];
            let can_be_limited = kind == GiftKind::Eligibility && ROLES[..3].contains(&role);
            let workload = draft.workload.filter(|_| can_be_limited).map(|one| ["api", "db", "one"][one]);
            let (versions, authors) = ([(1, terms)].into(), [by].into());
            let (in_force, leaving) = (None, false);
            let gift = Gift {
                kind,
                namespace,
                name: name.clone(),
                role,
                workload,
                versions,
                authors,
                in_force,
                leaving,
            };
            let uid = match kind {
                GiftKind::Assignment => {
                    let spec = assignment_of(&gift, gift.latest().1);
                    self.server.add(RoleAssignment::new(&name, spec), namespace).uid()
                }
                GiftKind::Eligibility => {
                    let spec = eligibility_of(&gift, gift.latest().1);
                    self.server.add(RoleEligibility::new(&name, spec), namespace).uid()
                }
            };
            self.books.gifts.insert(uid.unwrap(), gift);
        }
        let gift = self.books.gifts.values().find(|gift| gift.name == name).unwrap();
        let (key, (_, terms)) = ((namespace.to_owned(), name), gift.latest());
        if kind == GiftKind::Assignment {
            let object =
                RoleAssignment { spec: assignment_of(gift, terms), ..self.server.assignments[&key].clone() };
            stamp(&mut self.server, object, by);
        } else {
            let object = RoleEligibility {
                spec: eligibility_of(gift, terms),
                ..self.server.eligibilities[&key].clone()
            };
            stamp(&mut self.server, object, by);
        }
    }

    pub fn withdraw(&mut self, slot: usize) {
        let key = (GIVEN_IN[slot].to_owned(), format!("g{slot}"));
        let Some(uid) =
            self.books.gifts.iter().find(|(_, gift)| gift.name == key.1).map(|(uid, _)| uid.clone())
        else {
            return;
        };
        let is_kept = if slot < 4 {
            withdraw::<RoleAssignment>(&mut self.server, &key)
        } else {
            withdraw::<RoleEligibility>(&mut self.server, &key)
        };
        if is_kept {
            self.books.gifts.get_mut(&uid).unwrap().leaving = true;
        } else {
            self.books.gifts.remove(&uid);
        }
    }

    /// Only the eligibility itself is looked at, so that all of it happens at once for all others.
    pub fn give_again(&mut self, slot: usize, by: &'static str, draft: &Draft) {
        let key = (GIVEN_IN[slot].to_owned(), format!("g{slot}"));
        self.withdraw(slot);
        self.look_at_eligibility(&key);
        self.give(slot, by, draft);
        self.look_at_eligibility(&key);
    }

    fn look_at_eligibility(&mut self, key: &Key) {
        for job in [Job::Closing, Job::Eligibility(key.clone())].iter().cycle().take(6) {
            let _ = self.execute(job, &mut Hands::steady());
        }
    }

    pub fn ask(&mut self, slot: usize, by: &'static str, draft: &AskDraft) {
        let (namespace, name) = (GIVEN_IN[4 + slot % 4], format!("a{slot}"));
        if let Some(ask) = self.books.asks.values().find(|ask| ask.name == name) {
            if !ask.state.is_some_and(ActivationState::is_final) {
                return;
            }
            self.drop_ask(slot);
        }
        let starts = draft.starts.map(|minutes| self.in_minutes(minutes));
        let eligibility = format!("g{}", 4 + slot % 4);
        let said = |says: bool| says.then(|| "because".to_owned());
        let spec = RoleActivationSpec {
            eligibility: eligibility.clone(),
            duration: format!("{}m", draft.minutes).parse().unwrap(),
            justification: said(draft.says_why),
            ticket: said(draft.ticket),
            starts_at: starts.map(Time),
            deactivate: false,
            unreadable: None,
        };
        let mut activation = RoleActivation::new(&name, spec);
        let stamped = draft.stamped || self.books.trust == Trust::Intact;
        if stamped {
            let stamps = activation.annotations_mut();
            stamps.insert(REQUESTED_BY.into(), by.into());
            stamps.insert(REQUESTED_GROUPS.into(), groups_of(by).join("\n"));
            if draft.mfa {
                stamps.insert(REQUESTED_MFA.into(), "otp".into());
            }
        }
        let uid = self.server.add(activation, namespace).uid().unwrap();
        let ask = Ask {
            namespace,
            name,
            eligibility,
            asker: stamped.then_some(by),
            minutes: draft.minutes,
            says_why: draft.says_why,
            ticket: draft.ticket,
            mfa: draft.mfa,
            starts,
            given_back: false,
            meant: None,
            state: None,
            held: None,
        };
        self.books.asks.insert(uid, ask);
    }

    pub fn give_back(&mut self, slot: usize) {
        let name = format!("a{slot}");
        let Some(ask) = self.books.asks.values_mut().find(|ask| ask.name == name) else { return };
        ask.given_back = true;
        let mut activation = self.server.activations[&(ask.namespace.to_owned(), name)].clone();
        if !activation.spec.deactivate {
            activation.spec.deactivate = true;
            activation.metadata.generation = Some(2);
            self.server.put(activation);
        }
    }

    pub fn drop_ask(&mut self, slot: usize) {
        let name = format!("a{slot}");
        let Some(uid) = self.books.asks.iter().find(|(_, ask)| ask.name == name).map(|(uid, _)| uid.clone())
        else {
            return;
        };
        let ask = self.books.asks.remove(&uid).unwrap();
        self.server.remove::<RoleActivation>(&(ask.namespace.to_owned(), name));
    }

    /// `lawful` votes pass admission, others are put there by whatever means.
    pub fn vote(&mut self, latest: usize, by: &'static str, approves: bool, lawful: bool) {
        let open: Vec<&ApprovalRequest> =
            self.server.requests.values().filter(|request| is_open(request)).collect();
        if open.is_empty() || by.contains(':') {
            return;
        }
        let mut request = open[latest % open.len()].clone();
        let poll = self.books.polls.get_mut(&request.name_any()).unwrap();
        let (mut by, mut digest) = (by, request.spec.change.digest.clone());
        let guarded = self.books.trust == Trust::Intact;
        if lawful && poll.askers.contains(by) {
            return;
        }
        if !lawful && guarded {
            // For themselves, or for something else.
            match poll.askers.first().filter(|_| approves) {
                Some(asker) => by = asker,
                None => digest = "sha256:other".into(),
            }
        } else if !lawful {
            request.status.as_mut().unwrap().policy_fingerprint =
                Some(self.server.policies.coming_fingerprint());
        }
        let verdict = if approves { Verdict::Approved } else { Verdict::Rejected };
        cast(&mut request, by, verdict, digest, &[]);
        poll.yes.remove(by);
        poll.no.remove(by);
        // What is cast before the operator wrote down who guards it is void.
        let bears = request.status.as_ref().and_then(|status| status.policy_fingerprint.clone());
        if lawful && guarded && bears == Some(self.server.policies.fingerprint()) {
            if approves { &mut poll.yes } else { &mut poll.no }.insert(by);
        } else if lawful || !guarded {
            poll.forged_no |= !approves;
        }
        self.server.put(request);
    }

    /// In whole seconds, as people write it.
    fn in_minutes(&self, minutes: i64) -> Timestamp {
        Timestamp::from_second(self.server.now.as_second()).unwrap() + SignedDuration::from_mins(minutes)
    }
}

/// What admission adds to an edit.
fn stamp<K: Stored + Gated>(server: &mut Server, mut object: K, by: &str) {
    let stored =
        server.get::<K>(&key_of(&object)).filter(|stored| stored.annotations().contains_key(REQUESTED_BY));
    stamp::stamp(stored.cloned().as_ref(), &mut object, &[by], &CONDITION);
    server.put(object);
}

/// Whether it is still there: what was in force is kept until its rights are gone.
fn withdraw<K: Stored>(server: &mut Server, key: &Key) -> bool {
    let object = server.get::<K>(key).unwrap().clone();
    assert!(object.finalizers().iter().all(|finalizer| finalizer == FINALIZER));
    server.delete(&object).unwrap();
    server.get::<K>(key).is_some()
}
