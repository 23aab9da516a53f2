//! A small cluster, and what happens around the roles in it: in the API server, and in the books.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use enclave_operator::api::names::{access, annotation, label};
use enclave_operator::cluster::cache::Key as Marked;
use enclave_operator::cluster::workqueue::Priority;
use enclave_operator_testing::sim::{Hands, Key, Server, Trust, key_of};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::json;

use super::books::{Books, Rules};
use super::cluster::{ROOMS, guard, isolate, make_room, set_rules};
use super::history::{Drift, Fate, Step};
use super::operator::Job;
use super::people::PEOPLE;
use super::tally::Tally;

/// What was planned and is done later.
pub type Planned = Box<dyn FnOnce(&mut World)>;

pub struct World {
    pub server: Server,
    pub books: Books,
    /// How far the operator is off.
    skew: SignedDuration,
    pub planned: Vec<Planned>,
    /// How much of it takes rights away.
    pub under_way: usize,
    /// What could not be taken away, and is tried again.
    pub again: Vec<Marked>,
    /// What ends, and is looked at again then.
    pub ending: BTreeSet<Marked>,
    /// When time began.
    pub origin: Instant,
    pub tally: Tally,
}

impl World {
    pub fn new() -> Self {
        let now = Timestamp::from_millisecond(1_000_000_500).unwrap();
        let books = Books {
            now,
            trust: Trust::Intact,
            rules: BTreeMap::new(),
            rooms: ROOMS.into_iter().collect(),
            gifts: BTreeMap::new(),
            asks: BTreeMap::new(),
            polls: BTreeMap::new(),
        };
        let (server, planned, skew) = (Server::new(now), Vec::new(), SignedDuration::ZERO);
        let (under_way, again, ending) = (0, Vec::new(), BTreeSet::new());
        let (origin, tally) = (Instant::now(), Tally::default());
        let mut world = Self { server, books, skew, planned, under_way, again, ending, origin, tally };
        super::cluster::found(&mut world.server);
        for scope in 0..3 {
            world.rule(scope, Rules::default());
        }
        world
    }

    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Give { gift, by, draft } => self.give(*gift, PEOPLE[*by], draft),
            Step::Take { gift } => self.withdraw(*gift),
            Step::Again { gift, by, draft } => self.give_again(*gift, PEOPLE[*by], draft),
            Step::Ask { slot, by, draft } => self.ask(*slot, PEOPLE[*by], draft),
            Step::GiveBack { slot } => self.give_back(*slot),
            Step::Drop { slot } => self.drop_ask(*slot),
            Step::Vote { latest, by, approves, lawful } => {
                self.vote(*latest, PEOPLE[*by], *approves, *lawful);
            }
            Step::Rules { scope, change, activation } => {
                self.rule(*scope, Rules { change: *change, activation: *activation });
            }
            Step::Room { room, what } => self.change_room(*room, *what),
            Step::Trust { better, alive } => self.trust(*better, *alive),
            Step::Pass { seconds } => {
                self.server.now += SignedDuration::from_millis(i64::from(*seconds) * 1000 + 337);
            }
            Step::Skew { seconds } => {
                self.skew = SignedDuration::from_secs(i64::from(*seconds));
                // What ends is looked at half-way to its end, again and again, so that no clock leads astray for long:
                // here at once.
                for key in std::mem::take(&mut self.ending) {
                    self.server.enqueuer.queues.revocation.add(key, Priority::Closing);
                }
            }
            Step::Drift { nth, what } => self.drift(*nth, *what),
            Step::Work { order, writes, faults } => {
                self.work(*order, &mut Hands { faults: *faults, ..Hands::until_death(*writes) });
            }
            Step::Plan { nth } => self.plan_one(*nth),
            Step::CarryOut { nth } => {
                if *nth < self.planned.len() {
                    self.planned.remove(*nth)(self);
                }
            }
            Step::Close { faults } => {
                let _ = self.close(&mut Hands { faults: *faults, ..Hands::steady() });
            }
            Step::Restart => self.restart(),
            Step::Settle { order } => self.settle(*order),
        }
        self.books.now = self.server.now + self.skew;
        self.tally.look_at(&self.books);
    }

    /// All that the operator knew is lost. The first thing that the next one does is to close.
    pub fn restart(&mut self) {
        self.planned.clear();
        self.under_way = 0;
        self.again.clear();
        self.ending.clear();
        self.server.relist();
        let _ = self.close(&mut Hands::steady());
    }

    fn rule(&mut self, scope: usize, rules: Rules) {
        self.books.rules.insert(["acme", "acme-pay", "other"][scope], rules);
        set_rules(&mut self.server, scope, rules, self.books.now);
    }

    fn trust(&mut self, better: bool, alive: bool) {
        let policies = &mut self.server.policies;
        match (better, policies.trust()) {
            (false, _) => {
                policies.spoil();
                self.books.forget_votes();
            }
            (true, Trust::Broken) => policies.restore(),
            // Nobody guessed what nobody saw.
            (true, Trust::Propagating) if !alive => {
                policies.settle_unseen();
                self.restart();
            }
            // By itself, and the operator looks at all requests in the meantime.
            (true, _) => {
                let requests: Vec<Key> = self.server.requests.keys().cloned().collect();
                for request in requests {
                    let _ = self.execute(&Job::Request(request), &mut Hands::steady());
                }
                self.server.policies.settle();
            }
        }
        self.books.trust = self.server.policies.trust();
    }

    fn change_room(&mut self, room: usize, what: Fate) {
        let changing = [2, 3, 4, 5, 6, 7].map(|index: usize| ROOMS[index].0);
        let name = changing[room % changing.len()];
        let room = self.books.rooms.get_mut(name).unwrap();
        let key = (String::new(), name.to_owned());
        let live = self.server.namespaces.get(&key).cloned();
        match (what, live) {
            (Fate::Comes, None) => {
                (room.stays, room.guarded, room.labelled_isolated) = (true, true, false);
                make_room(&mut self.server, name, room);
            }
            (Fate::Leaves, Some(mut live)) => {
                room.stays = false;
                live.metadata.deletion_timestamp = Some(Time(self.server.now));
                self.server.put(live);
            }
            (Fate::Goes, Some(_)) => {
                (room.stays, room.guarded) = (false, false);
                self.server.remove_namespace(name);
            }
            (Fate::Guarded | Fate::Bare, Some(_)) => {
                room.guarded = matches!(what, Fate::Guarded);
                guard(&mut self.server, name, room.guarded);
            }
            (Fate::Isolated | Fate::Open, _) if room.workload.is_some() => {
                room.isolated = matches!(what, Fate::Isolated);
                isolate(&mut self.server, room);
            }
            (Fate::IsolatedByLabel | Fate::OpenByLabel, Some(mut live)) if room.workload.is_some() => {
                room.labelled_isolated = matches!(what, Fate::IsolatedByLabel);
                let mode = if room.labelled_isolated { access::ISOLATED } else { access::STANDARD };
                Namespace::labels_mut(&mut live).insert(label::ACCESS_MODE.into(), mode.into());
                self.server.put(live);
            }
            _ => {}
        }
    }

    fn drift(&mut self, nth: usize, what: Drift) {
        let stranger = json!({"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"});
        let anything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        if matches!(what, Drift::WidenRole) {
            let role = self.server.roles.values().nth(nth % self.server.roles.len().max(1)).cloned();
            if let Some(mut role) = role {
                role.rules.get_or_insert_default().push(serde_json::from_value(anything).unwrap());
                self.server.put(role);
            }
            return;
        }
        let bindings = &self.server.role_bindings;
        let Some(mut binding) = bindings.values().nth(nth % bindings.len().max(1)).cloned() else { return };
        match what {
            Drift::Delete => self.server.remove::<k8s_openapi::api::rbac::v1::RoleBinding>(&key_of(&binding)),
            Drift::AddSubject => {
                binding.subjects.get_or_insert_default().push(serde_json::from_value(stranger).unwrap());
                self.server.put(binding);
            }
            Drift::RemoveEnd => {
                binding.annotations_mut().remove(annotation::EXPIRES_AT);
                self.server.put(binding);
            }
            // Under a name for which something is given, where it does not count.
            Drift::Forge => {
                binding.metadata.namespace =
                    Some(if nth.is_multiple_of(2) { "acme" } else { "other" }.to_owned());
                let _ = self.server.create(binding);
            }
            Drift::WidenRole => {}
        }
    }
}
