//! What came up in the worlds: what never happens is not proved.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Result};
use std::ops::AddAssign;

use enclave_operator::api::ActivationState;
use enclave_operator::api::approval_request::RequestState;

use super::books::Books;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub held: usize,
    pub with_votes: usize,
    pub two_at_once: usize,
    pub revoked: usize,
    pub expired: usize,
    pub given_by_votes: usize,
    pub closings: usize,
}

#[derive(Default)]
pub struct Tally {
    held: BTreeSet<String>,
    with_votes: BTreeSet<String>,
    two_at_once: usize,
    revoked: BTreeSet<String>,
    expired: BTreeSet<String>,
    given_by_votes: BTreeSet<String>,
    pub closings: usize,
}

impl Tally {
    pub fn look_at(&mut self, books: &Books) {
        let mut holders = BTreeSet::new();
        for (uid, ask) in books.asks.iter().filter(|(_, ask)| ask.held.is_some()) {
            self.held.insert(uid.clone());
            let approved = books
                .poll_about(uid, 1)
                .is_some_and(|(_, poll)| poll.decided == Some(RequestState::Approved));
            self.with_votes.extend(approved.then(|| uid.clone()));
            match ask.state {
                Some(ActivationState::Revoked) => self.revoked.extend([uid.clone()]),
                Some(ActivationState::Expired) => self.expired.extend([uid.clone()]),
                Some(ActivationState::Active) if !holders.insert((ask.asker, &ask.eligibility)) => {
                    self.two_at_once = 1;
                }
                _ => {}
            }
        }
        let by_votes = books
            .gifts
            .iter()
            .filter(|(_, gift)| gift.in_force.as_ref().is_some_and(|(_, request, _)| request.is_some()));
        self.given_by_votes.extend(by_votes.map(|(uid, _)| uid.clone()));
    }

    pub fn counts(&self) -> Counts {
        Counts {
            held: self.held.len(),
            with_votes: self.with_votes.len(),
            two_at_once: self.two_at_once,
            revoked: self.revoked.len(),
            expired: self.expired.len(),
            given_by_votes: self.given_by_votes.len(),
            closings: self.closings,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { held, with_votes, two_at_once, revoked, expired, given_by_votes, closings } = other;
        self.held += held;
        self.with_votes += with_votes;
        self.two_at_once += two_at_once;
        self.revoked += revoked;
        self.expired += expired;
        self.given_by_votes += given_by_votes;
        self.closings += closings;
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { held, with_votes, two_at_once, revoked, expired, given_by_votes, closings } = self;
        write!(
            f,
            "{held} activations held, {with_votes} of them approved, in {two_at_once} worlds one on top of another, {revoked} revoked, {expired} expired; {given_by_votes} approved changes of who has roles; {closings} closing writes"
        )
    }
}
