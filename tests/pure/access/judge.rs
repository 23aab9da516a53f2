//! What the oracle says to what the operator does.

use std::collections::BTreeSet;

use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::gate::Applied;
use enclave_operator::api::names::annotation;
use enclave_operator::api::{
    ActivationState, ApprovalRequest, ApprovalRequestStatus, RoleActivationStatus, RoleAssignmentSpec,
    RoleEligibilitySpec,
};
use enclave_operator_testing::sim::{Server, Trust};
use jiff::Timestamp;
use kube::ResourceExt;

use super::books::{Ask, Books, GiftKind, Poll, Terms};
use super::rights::Rights;
use super::words::{terms_of_assignment, terms_of_eligibility};

impl Books {
    /// Something else counts of an assignment or an eligibility. `seen` is what was known when that was
    /// planned.
    pub fn note_applied(&mut self, seen: &Self, uid: &str, applied: &Applied) {
        let gift = &seen.gifts[uid];
        let terms: Terms = match gift.kind {
            GiftKind::Assignment => {
                terms_of_assignment(&applied.spec.to_spec::<RoleAssignmentSpec>().unwrap())
            }
            GiftKind::Eligibility => {
                terms_of_eligibility(&applied.spec.to_spec::<RoleEligibilitySpec>().unwrap())
            }
        };
        let (latest, wanted) = gift.latest();
        let before = gift.in_force.as_ref().map(|(generation, _, terms)| (*generation, terms));
        let closes = before.is_some_and(|(generation, before)| {
            let closed = before.closed_by(wanted);
            closed != *before && terms == closed && [generation, latest].contains(&applied.generation)
        });
        if !closes {
            assert_eq!(seen.trust, Trust::Intact, "{} was given while no policy watched", gift.name);
            assert_eq!(terms, gift.versions[&applied.generation], "nobody asked for this");
            assert!(before.is_none_or(|(before, _)| before < applied.generation), "never backwards");
            if let Some((name, poll)) = seen.poll_about(uid, applied.generation) {
                assert_eq!(applied.approval_request.as_ref(), Some(name));
                assert!(poll.decided == Some(RequestState::Approved) && poll.has_quorum(), "{poll:?}");
            } else {
                assert_eq!(applied.generation, latest);
                assert_eq!(seen.needed_to_change(gift), None, "{} needs an approval", gift.name);
            }
        }
        let gift = self.gifts.get_mut(uid).unwrap();
        gift.in_force = Some((applied.generation, applied.approval_request.clone(), terms));
    }

    /// A request is made.
    pub fn note_request(&mut self, seen: &Self, request: &ApprovalRequest) {
        let target = &request.spec.target;
        let (askers, needed, expires) = if let Some(ask) = seen.asks.get(&target.uid) {
            let (_, terms) = seen.eligible(ask).expect("only who is eligible can ask");
            assert!(Self::meets(ask, &terms), "nothing to decide about");
            let needed = seen.needed_to_activate(ask, &terms);
            (ask.asker.into_iter().collect(), needed, seen.expiry(ask.namespace, true))
        } else {
            let gift = &seen.gifts[&target.uid];
            (gift.authors.clone(), seen.needed_to_change(gift), seen.expiry(gift.namespace, false))
        };
        assert_eq!(seen.trust, Trust::Intact, "asked while no policy watched");
        let minimum = needed.expect("nobody has to approve this");
        assert_eq!(usize::try_from(request.spec.policy.minimum_approvers).unwrap(), minimum);
        assert_eq!(request.spec.expires_at.0.as_second(), expires.as_second());
        let requesters: BTreeSet<&str> = request.spec.requesters.iter().map(String::as_str).collect();
        assert_eq!((&requesters, requesters.len()), (&askers, request.spec.requesters.len()));
        let poll = Poll {
            about: (target.uid.clone(), target.generation),
            askers,
            minimum,
            expires: Timestamp::from_second(expires.as_second()).unwrap(),
            yes: [].into(),
            no: [].into(),
            forged_no: false,
            decided: None,
            done: false,
            doubtful: false,
        };
        assert!(self.polls.insert(request.name_any(), poll).is_none(), "asked twice");
    }

    /// The status of a request changes.
    pub fn note_decision(&mut self, seen: &Self, name: &str, after: &ApprovalRequestStatus) {
        use RequestState::{Approved, Expired, Pending, Rejected, Superseded, Withdrawn};
        let poll = &seen.polls[name];
        let state = after.state.filter(|state| *state != Pending);
        let (uid, generation) = &poll.about;
        let gift = seen.gifts.get(uid);
        // What is not in force any more, and is not known to have been, is as doubtful as its votes.
        let in_force = gift.and_then(|gift| gift.in_force.as_ref()?.1.as_deref()) == Some(name)
            || seen.asks.get(uid).is_some_and(|ask| ask.held.is_some());
        let is_doubted = poll.doubtful && !poll.done && !in_force;
        if let Some(decided) = poll.decided.filter(|_| !is_doubted) {
            assert_eq!(state, Some(decided), "{name} was decided already");
            return;
        }
        match state {
            None | Some(Pending) => {}
            Some(Approved) => {
                assert_eq!(seen.trust, Trust::Intact, "approved while no policy watched");
                assert!(poll.has_quorum() && seen.now < poll.expires, "{poll:?}");
            }
            Some(Rejected) => assert!(!poll.no.is_empty() || poll.forged_no, "nobody rejected {name}"),
            Some(Expired) => assert!(seen.now >= poll.expires && !poll_rejected(poll)),
            Some(Superseded) => assert!(gift.is_some_and(|gift| gift.latest().0 > *generation)),
            Some(Withdrawn) => {
                let is_over = |state: ActivationState| state.is_final();
                let is_asked = |ask: &Ask| !ask.given_back && !ask.state.is_some_and(is_over);
                let asked = seen.asks.get(uid).is_some_and(is_asked);
                let is_back = gift.is_none_or(|gift| {
                    gift.leaving || gift.in_force.as_ref().is_some_and(|one| one.2 == *gift.latest().1)
                });
                assert!(is_back && !asked, "{name} still counts");
            }
        }
        let poll = self.polls.get_mut(name).unwrap();
        poll.decided = state;
        if is_doubted {
            (poll.yes, poll.no) = Default::default();
        }
    }

    /// The status of an activation changes.
    pub fn note_activation(&mut self, seen: &Self, uid: &str, after: &RoleActivationStatus) {
        use ActivationState::{
            Active, Deactivated, Expired, Lapsed, PendingApproval, Refused, Rejected, Revoked, Scheduled,
        };
        let ask = &seen.asks[uid];
        let eligible = seen.eligible(ask);
        let poll = self.poll_about(uid, 1).map(|(_, poll)| poll);
        assert!(after.user.as_deref() == ask.asker, "{:?} is bound for {:?}", after.user, ask.asker);
        let meant = ask.meant.clone().or_else(|| after.eligibility_uid.clone());
        assert_eq!(after.eligibility_uid.is_some(), meant.is_some(), "what was meant is forgotten");
        assert_eq!(meant.as_ref(), after.eligibility_uid.as_ref(), "something else is meant");
        let period =
            after.starts_at.as_ref().zip(after.ends_at.as_ref()).map(|(start, end)| (start.0, end.0));
        if ask.state.is_some_and(ActivationState::is_final) {
            assert_eq!(after.state, ask.state, "{} was over", ask.name);
        } else if let Some(state) = after.state.filter(|state| Some(*state) != ask.state) {
            let fits = eligible.as_ref().filter(|(_, terms)| Self::meets(ask, terms));
            match state {
                PendingApproval => assert!(fits.is_some() && poll.is_some(), "{ask:?}"),
                Scheduled | Active => {
                    let (_, terms) = fits.expect("not eligible");
                    let starts = Self::start(ask, terms).is_none_or(|start| start <= seen.now);
                    assert_eq!(starts, state == Active, "{} at {}", ask.name, seen.now);
                    assert!(!ask.given_back && ask.state != Some(Active));
                    match poll {
                        Some(poll) => {
                            assert_eq!(poll.decided, Some(RequestState::Approved), "{}", ask.name);
                            assert!(poll.has_quorum(), "without the votes: {poll:?}");
                        }
                        None => assert_eq!(seen.needed_to_activate(ask, terms), None, "without approval"),
                    }
                    if state == Active {
                        assert_eq!(seen.trust, Trust::Intact, "activated while no policy watched");
                        let (start, end) = period.unwrap();
                        assert_eq!(start.as_second(), seen.now.as_second());
                        assert_eq!(end, Self::end(ask, terms, start), "{}", ask.name);
                    }
                }
                Expired => {
                    assert!(ask.held.is_some_and(|(_, end)| end <= seen.now), "{} is not over", ask.name);
                }
                Deactivated => assert!(ask.given_back, "nobody gave {} back", ask.name),
                // Who asked while no policy watched is not believed.
                Refused if seen.trust != Trust::Intact => assert!(ask.state.is_none(), "{ask:?}"),
                Refused => assert!(ask.state.is_none() && fits.is_none(), "{ask:?} fits {fits:?}"),
                Revoked if ask.state == Some(Active) => {
                    assert!(eligible.is_none(), "{} is eligible", ask.name);
                }
                Revoked => assert!(ask.state.is_some() && fits.is_none(), "{ask:?} fits {fits:?}"),
                Rejected => assert_eq!(poll.unwrap().decided, Some(RequestState::Rejected)),
                Lapsed => assert_eq!(poll.unwrap().decided, Some(RequestState::Expired)),
            }
        } else if let (Some(Active), Some((start, end))) = (ask.state, ask.held) {
            let (_, terms) = eligible.expect("revoked otherwise");
            assert_eq!(period, Some((start, end.min(Self::end(ask, &terms, start)))), "{}", ask.name);
        }
        let ask = self.asks.get_mut(uid).unwrap();
        (ask.state, ask.meant) = (after.state, meant);
        ask.held = period.or(ask.held);
    }

    /// The closing worker is through: nothing is left that nothing explains.
    pub fn check_closed(&self, server: &Server) {
        let (explained, live) = (self.explained().0, Rights::live(server));
        let (ties, rules) = live.beyond(&explained);
        assert!(ties.is_empty() && rules.is_empty(), "nothing explains at {} {ties:#?} {rules:#?}", self.now);
    }

    /// Everybody is through: nothing is missing, and nothing waits without a reason.
    pub fn check_rest(&self, server: &Server) {
        self.check_closed(server);
        let (explained, ends) = self.explained();
        let (explained, live) = (explained.without_bare(&self.rooms), Rights::live(server));
        let (ties, rules) = explained.beyond(&live);
        assert!(ties.is_empty() && rules.is_empty(), "missing at {}: {ties:#?} {rules:#?}", self.now);
        for ((namespace, name), binding) in &server.role_bindings {
            let end = binding.annotations().get(annotation::EXPIRES_AT).map(|end| end.parse().unwrap());
            let bare = self.rooms.get(namespace.as_str()).is_some_and(|room| !room.guarded);
            assert!(
                bare || end.as_ref() == ends.get(name),
                "{name} ends at {end:?}, not {:?}",
                ends.get(name)
            );
        }
        for (name, poll) in self.polls.iter().filter(|(_, poll)| poll.decided.is_none()) {
            let is_open = server.requests.keys().any(|(_, open)| open == name);
            let ripe = poll_rejected(poll)
                || self.now >= poll.expires
                || poll.has_quorum() && self.trust == Trust::Intact;
            assert!(!is_open || !ripe, "{name} should be decided: {poll:?}");
        }
        self.gifts.iter().for_each(|(uid, gift)| {
            assert!(!gift.leaving, "{} should be gone", gift.name);
            let (latest, wanted) = gift.latest();
            let in_force = gift.in_force.as_ref().is_some_and(|(_, _, terms)| terms == wanted);
            if in_force || self.trust != Trust::Intact {
                return;
            }
            let decided = self.poll_about(uid, latest).expect("nobody was asked").1.decided;
            assert_ne!(decided, Some(RequestState::Approved), "{} is approved and waits", gift.name);
        });
        for (uid, ask) in &self.asks {
            self.check_ask_at_rest(uid, ask);
        }
    }

    fn check_ask_at_rest(&self, uid: &str, ask: &Ask) {
        use ActivationState::{Active, PendingApproval, Scheduled};
        let is_over = ask.state.is_some_and(ActivationState::is_final);
        if is_over {
            return;
        }
        assert!(!ask.given_back, "{} was given back", ask.name);
        if ask.asker.is_none() {
            assert_eq!(ask.state, None, "no policy stamped who asked for {}", ask.name);
            return;
        }
        if self.awaits(ask) {
            return;
        }
        let (_, terms) = self.eligible(ask).unwrap_or_else(|| panic!("{} lost what it needs", ask.name));
        if ask.state == Some(Active) {
            assert!(self.holds(ask).is_some(), "{} is over", ask.name);
            return;
        }
        assert!(Self::meets(ask, &terms), "{} does not fit", ask.name);
        if self.trust != Trust::Intact {
            return;
        }
        let expected = match self.poll_about(uid, 1) {
            Some((_, poll)) if poll.decided.is_none() => PendingApproval,
            Some((_, poll)) if poll.decided != Some(RequestState::Approved) => {
                panic!("{} was decided and waits: {poll:?}", ask.name)
            }
            None if self.needed_to_activate(ask, &terms).is_some() => panic!("nobody was asked"),
            _ if Self::start(ask, &terms).is_some_and(|start| start > self.now) => Scheduled,
            _ => Active,
        };
        assert_eq!(ask.state, Some(expected), "{}", ask.name);
    }
}

fn poll_rejected(poll: &Poll) -> bool {
    !poll.no.is_empty()
}
