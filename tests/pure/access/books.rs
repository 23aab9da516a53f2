//! The oracle's books: what people did and what became of it, and what follows from that. Nothing here
//! asks the operator's code.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator::api::ActivationState;
use enclave_operator::api::approval_request::RequestState;
use enclave_operator_testing::sim::{SYSTEM, Trust};
use jiff::{SignedDuration, Timestamp};

use super::rights::{Rights, Room};

/// How many have to approve a change of who has roles, and an activation, by one scope.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    pub change: Option<usize>,
    pub activation: Option<usize>,
}

/// How long requests stay open in Communities, and where no rules are.
pub const HOURS_UNTIL_EXPIRY: i64 = 4;
const HOURS_UNTIL_LAPSE: i64 = 24;
const HOURS_BY_DEFAULT: i64 = 168;

/// A version of an assignment or an eligibility; an assignment has only people.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub people: BTreeSet<String>,
    pub starts: Option<Timestamp>,
    pub ends: Option<Timestamp>,
    pub minutes: i64,
    pub says_why: bool,
    pub ticket: bool,
    pub mfa: bool,
    pub votes: Option<usize>,
}

impl Terms {
    /// These, as far as others do not take something away.
    pub fn closed_by(&self, wanted: &Self) -> Self {
        Self {
            people: self.people.intersection(&wanted.people).cloned().collect(),
            ends: [self.ends, wanted.ends].into_iter().flatten().min(),
            minutes: self.minutes.min(wanted.minutes),
            ..self.clone()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiftKind {
    Assignment,
    Eligibility,
}

/// An assignment or an eligibility.
#[derive(Clone, Debug)]
pub struct Gift {
    pub kind: GiftKind,
    pub namespace: &'static str,
    pub name: String,
    pub role: &'static str,
    pub workload: Option<&'static str>,
    /// By generation.
    pub versions: BTreeMap<i64, Terms>,
    /// Who edited it since it was last in force.
    pub authors: BTreeSet<&'static str>,
    /// What was put into force: which version, by which request, and how much of it is left.
    pub in_force: Option<(i64, Option<String>, Terms)>,
    pub leaving: bool,
}

impl Gift {
    pub fn latest(&self) -> (i64, &Terms) {
        let (generation, terms) = self.versions.last_key_value().unwrap();
        (*generation, terms)
    }

    /// What counts now.
    pub fn counts(&self) -> Option<Terms> {
        let (_, _, terms) = self.in_force.as_ref().filter(|_| !self.leaving)?;
        Some(terms.closed_by(self.latest().1))
    }

    pub fn own_name(&self) -> String {
        let short = if self.kind == GiftKind::Assignment { "rasg" } else { "relig" };
        format!("enclave-operator:{short}:{}:{}", self.namespace, self.name)
    }
}

/// An activation.
#[derive(Clone, Debug)]
pub struct Ask {
    pub namespace: &'static str,
    pub name: String,
    pub eligibility: String,
    /// `None` when no policy stamped who asked.
    pub asker: Option<&'static str>,
    pub minutes: i64,
    pub says_why: bool,
    pub ticket: bool,
    pub mfa: bool,
    pub starts: Option<Timestamp>,
    pub given_back: bool,
    /// UID of the eligibility that was meant, from when something became of it.
    pub meant: Option<String>,
    pub state: Option<ActivationState>,
    /// Since when it is held, and until when.
    pub held: Option<(Timestamp, Timestamp)>,
}

impl Ask {
    pub fn own_name(&self) -> String {
        format!("enclave-operator:ract:{}:{}", self.namespace, self.name)
    }
}

/// A request for approval.
#[derive(Clone, Debug)]
pub struct Poll {
    /// UID and generation of what it is about.
    pub about: (String, i64),
    pub askers: BTreeSet<&'static str>,
    pub minimum: usize,
    pub expires: Timestamp,
    /// Who approved and who rejected, under which policies.
    pub yes: BTreeSet<&'static str>,
    pub no: BTreeSet<&'static str>,
    /// Somebody wrote a rejection while no policy watched. It may close.
    pub forged_no: bool,
    pub decided: Option<RequestState>,
    /// It is written down that it is in force.
    pub done: bool,
    /// The policies went away while it was in force and nobody had written that down.
    pub doubtful: bool,
}

impl Poll {
    pub fn has_quorum(&self) -> bool {
        self.no.is_empty() && self.yes.difference(&self.askers).count() >= self.minimum
    }
}

#[derive(Clone, Debug)]
pub struct Books {
    /// The operator's idea of the time.
    pub now: Timestamp,
    pub trust: Trust,
    pub rules: BTreeMap<&'static str, Rules>,
    pub rooms: BTreeMap<&'static str, Room>,
    /// By UID; what is gone is not in it.
    pub gifts: BTreeMap<String, Gift>,
    pub asks: BTreeMap<String, Ask>,
    /// By name; all that there ever were.
    pub polls: BTreeMap<String, Poll>,
}

pub fn groups_of(person: &str) -> &'static [&'static str] {
    match person {
        "alice" => &["red"],
        "bob" => &["red", "blue"],
        "carol" => &["blue"],
        _ => &[],
    }
}

fn names(people: &BTreeSet<String>, person: &str) -> bool {
    people.contains(&format!("User:{person}"))
        || groups_of(person).iter().any(|group| people.contains(&format!("Group:{group}")))
        || person == "system:serviceaccount:ci:robot" && people.contains("ServiceAccount:ci/robot")
}

impl Books {
    fn rules_around(&self, namespace: &str) -> Vec<Rules> {
        let scopes: &[&str] = match namespace {
            SYSTEM => &[],
            "acme" => &["acme"],
            "acme-pay" => &["acme", "acme-pay"],
            "other" => &["other"],
            _ => panic!("nothing is given in {namespace}"),
        };
        scopes.iter().map(|scope| self.rules[scope]).collect()
    }

    /// How many have to approve a change of a gift.
    pub fn needed_to_change(&self, gift: &Gift) -> Option<usize> {
        let needed = self.rules_around(gift.namespace).into_iter().filter_map(|rules| rules.change).max();
        needed.map(|votes| votes.max(1))
    }

    /// How many have to approve an activation, under these terms.
    pub fn needed_to_activate(&self, ask: &Ask, terms: &Terms) -> Option<usize> {
        let rules = self.rules_around(ask.namespace).into_iter().filter_map(|rules| rules.activation);
        rules.chain(terms.votes).max().map(|votes| votes.max(1))
    }

    /// When a request that is made now expires.
    pub fn expiry(&self, namespace: &str, is_activation: bool) -> Timestamp {
        let hours = if namespace == SYSTEM { HOURS_BY_DEFAULT } else { HOURS_UNTIL_EXPIRY };
        self.now
            + SignedDuration::from_hours(if is_activation { hours.min(HOURS_UNTIL_LAPSE) } else { hours })
    }

    /// The terms under which somebody may hold what was asked for; `None` when nobody may (any more).
    pub fn eligible(&self, ask: &Ask) -> Option<(&str, Terms)> {
        let (uid, gift) = self.gifts.iter().find(|(_, gift)| {
            gift.kind == GiftKind::Eligibility
                && gift.namespace == ask.namespace
                && gift.name == ask.eligibility
        })?;
        let terms = gift.counts()?;
        let is_meant = ask.meant.as_ref().is_none_or(|meant| meant == uid);
        let is_over = terms.ends.is_some_and(|end| end <= self.now);
        (is_meant && !is_over && names(&terms.people, ask.asker?)).then_some((uid, terms))
    }

    /// Whether it may wait: the eligibility is there, and not in force yet.
    pub fn awaits(&self, ask: &Ask) -> bool {
        let is_it = |gift: &Gift| {
            gift.kind == GiftKind::Eligibility
                && gift.namespace == ask.namespace
                && gift.name == ask.eligibility
        };
        ask.state.is_none() && self.gifts.values().any(|gift| is_it(gift) && gift.counts().is_none())
    }

    /// Whether an activation meets the terms.
    pub fn meets(ask: &Ask, terms: &Terms) -> bool {
        ask.minutes <= terms.minutes
            && (ask.says_why || !terms.says_why)
            && (ask.ticket || !terms.ticket)
            && (ask.mfa || !terms.mfa)
            && ask.starts.zip(terms.ends).is_none_or(|(start, end)| start < end)
    }

    /// When it may begin at the earliest.
    pub fn start(ask: &Ask, terms: &Terms) -> Option<Timestamp> {
        ask.starts.max(terms.starts)
    }

    /// When something ends that began at that time.
    pub fn end(ask: &Ask, terms: &Terms, start: Timestamp) -> Timestamp {
        let end = start + SignedDuration::from_mins(ask.minutes.min(terms.minutes));
        terms.ends.map_or(end, |last| end.min(last))
    }

    /// Until when somebody holds the role of an activation, and the terms; `None` when nobody does.
    pub fn holds(&self, ask: &Ask) -> Option<(Timestamp, Terms)> {
        let (start, end) = ask.held.filter(|_| ask.state == Some(ActivationState::Active))?;
        let (_, terms) = self.eligible(ask).filter(|_| !ask.given_back)?;
        let end = end.min(Self::end(ask, &terms, start));
        (end > self.now).then_some((end, terms))
    }

    pub fn poll_about(&self, uid: &str, generation: i64) -> Option<(&String, &Poll)> {
        self.polls.iter().find(|(_, poll)| poll.about.0 == uid && poll.about.1 == generation)
    }

    /// All rights that somebody should have now, and when those end by themselves that do, by their names.
    pub fn explained(&self) -> (Rights, BTreeMap<String, Timestamp>) {
        let (mut rights, mut ends) = (Rights::default(), BTreeMap::new());
        for gift in self.gifts.values() {
            let Some(terms) = gift.counts() else { continue };
            let (name, at) = (gift.own_name(), gift.namespace);
            match gift.kind {
                GiftKind::Assignment => {
                    rights.add((at, &name), gift.role, None, &terms.people, &self.rooms);
                }
                GiftKind::Eligibility if terms.ends.is_some_and(|end| end <= self.now) => {}
                GiftKind::Eligibility => {
                    rights.bind(at, &name, "ClusterRole/enclave-operator:eligible", &terms.people);
                    ends.extend(terms.ends.map(|end| (name, end)));
                }
            }
        }
        for ask in self.asks.values() {
            let Some((end, _)) = self.holds(ask) else { continue };
            let gift = self.gifts.values().find(|gift| {
                gift.kind == GiftKind::Eligibility
                    && (gift.namespace, &gift.name) == (ask.namespace, &ask.eligibility)
            });
            let (gift, name) = (gift.unwrap(), ask.own_name());
            let person = [format!("User:{}", ask.asker.unwrap())].into();
            rights.add((ask.namespace, &name), gift.role, gift.workload, &person, &self.rooms);
            ends.insert(name, end);
        }
        (rights, ends)
    }

    /// The admission policies went away: nobody can tell votes from forged ones any more, unless what they
    /// released is in force.
    pub fn forget_votes(&mut self) {
        let in_force: BTreeSet<&String> =
            self.gifts.values().filter_map(|gift| gift.in_force.as_ref()?.1.as_ref()).collect();
        for (name, poll) in &mut self.polls {
            let asked = self.asks.get(&poll.about.0);
            let is_held = asked.is_some_and(|ask| ask.held.is_some());
            if poll.done || in_force.contains(name) || is_held {
                poll.doubtful = !poll.done;
                continue;
            }
            poll.forged_no |= !poll.no.is_empty();
            poll.yes.clear();
            poll.no.clear();
            if poll.decided == Some(RequestState::Approved) {
                poll.decided = None;
            }
        }
    }
}
