//! The client of the writes, and what is read once more, from the API server itself, before something takes effect.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use kube::api::{GetParams, ListParams};
use kube::core::{DynamicObject, ObjectList, Request};
use kube::{Api, Client, ResourceExt};

use crate::admission::{Policies, PolicyIdentity, protects_votes};
use crate::api::Kind;
use crate::api::audit::Audit;
use crate::api::names::{OPERATOR, label};
use crate::api::reading::{AnyKind, Item, Readable};
use crate::cluster::confirm::{Confirmations, RateLimit};
use crate::kinds::controller::Controller;
use crate::model::approval::scope::RulesOrigin;
use crate::plan::ConfirmBy;

/// Makes writes, and the reads that have to precede some of them.
pub struct Writer {
    pub client: Client,
    /// The admission policies that the watches know.
    known_policies: Box<dyn Fn() -> Policies + Send + Sync>,
    pub(super) prune_delivered: Box<PruneDelivered>,
    /// Each read by itself; whether those are among them that say who activates.
    policies: Confirmations<bool, String>,
    /// The same, read as lists.
    policy_lists: Confirmations<(), String>,
    rules: Confirmations<ScopeName, String>,
    known_rules: KnownRules,
    /// When the votes of a request were counted last ([`crate::model::approval::votes::describe_votes`]); of the latest
    /// ones.
    counted: Mutex<VecDeque<(String, Instant)>>,
}

/// Takes off the object with a UID the records that everybody has taken.
type PruneDelivered = dyn Fn(&str, &mut Audit) + Send + Sync;

/// Where an object is that carries rules.
type ScopeName = (Kind, Option<String>, String);

/// A list of the policies waits for the API server's caches anyway.
const LISTS: RateLimit = RateLimit { burst: 8, interval: Duration::from_millis(250) };

impl Writer {
    /// Writes with this client. `known_policies` are the admission policies that the watches know; `prune_delivered`
    /// takes off the object with a UID the records that everybody has taken.
    #[must_use]
    pub fn new(
        client: Client,
        known_policies: impl Fn() -> Policies + Send + Sync + 'static,
        prune_delivered: impl Fn(&str, &mut Audit) + Send + Sync + 'static,
    ) -> Self {
        Self {
            client,
            known_policies: Box::new(known_policies),
            prune_delivered: Box::new(prune_delivered),
            policies: Confirmations::with_cooldown(),
            policy_lists: Confirmations::at(LISTS),
            rules: Confirmations::at(RateLimit::FREE),
            known_rules: KnownRules::default(),
            counted: Mutex::default(),
        }
    }

    /// Whether the API server runs the admission policies with this fingerprint, as of a read that began at
    /// `since` or later.
    pub(super) async fn confirm_policies(
        &self,
        fingerprint: &str,
        by: ConfirmBy,
        since: Instant,
    ) -> Result<bool, kube::Error> {
        let (kind, since) = match by {
            ConfirmBy::Get(kind) => (kind, since),
            ConfirmBy::CountingVotes(kind, votes) => {
                self.note_votes(votes, since);
                (kind, since)
            }
            ConfirmBy::VotesCounted(kind, votes) => (kind, self.votes_counted(&votes).unwrap_or(since)),
            ConfirmBy::List => {
                let listed = self.policy_lists.read((), since, || list_policies(&self.client));
                return Ok(listed.await?.0 == fingerprint);
            }
        };
        let one_by_one = || get_policies(&self.client, kind, (self.known_policies)());
        let read = self.policies.read(kind == Kind::RoleActivation, since, one_by_one);
        Ok(read.await?.0 == fingerprint)
    }

    /// These votes of a request are being counted, which had been seen at that time.
    fn note_votes(&self, votes: String, at: Instant) {
        const MOST: usize = 1024;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|(known, _)| *known != votes);
        if counted.len() == MOST {
            counted.pop_front();
        }
        counted.push_back((votes, at));
    }

    /// When these votes of a request were counted last, if it was a moment ago.
    fn votes_counted(&self, votes: &str) -> Option<Instant> {
        const LONGEST_AGE: Duration = Duration::from_secs(5);
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let at = counted.iter().find(|(known, _)| known == votes).map(|(_, at)| *at);
        at.filter(|at| at.elapsed() < LONGEST_AGE)
    }

    /// Whether what is applied of an object that carries rules is still what they were read from.
    ///
    /// Only the process that leads writes what is applied. So what was read from the API server once since it leads
    /// stays true until it writes that itself ([`Writer::before_applying`]).
    pub(super) async fn confirm_rules(
        &self,
        origin: &RulesOrigin,
        since: Instant,
    ) -> Result<bool, kube::Error> {
        let RulesOrigin { kind, namespace, name, uid, digest } = origin;
        let (scope, expected) = ((*kind, namespace.clone(), name.clone()), describe_rules(uid, digest));
        if self.known_rules.are(&scope, &expected) {
            return Ok(true);
        }
        let read = || async {
            let live = get_any(&self.client, *kind, namespace.as_deref(), name).await?;
            let describe = |live: AnyKind| {
                let uid = live.meta().uid.clone().unwrap_or_default();
                describe_rules(&uid, &live.applied_digest().unwrap_or_default())
            };
            Ok::<_, kube::Error>(live.map(describe).unwrap_or_default())
        };
        // A read that began before the latest write of them proves nothing any more.
        let since = self.known_rules.written_at(&scope).map_or(since, |at| at.max(since));
        let (live, began) = self.rules.read(scope.clone(), since, read).await?;
        let is_equal = live == expected;
        self.known_rules.note(scope, live, began);
        Ok(is_equal)
    }

    /// To be called before what is applied of an object is written, or its finalizer is removed. Until the
    /// answer is known to the caches, which is said with [`Applying::is_known`], its rules are read anew each
    /// time.
    ///
    /// `None` for an object of a kind that carries no approval rules.
    #[must_use]
    pub(super) fn before_applying<K: Controller>(&self, object: &K) -> Option<Applying<'_>> {
        let name = object.meta().name.clone().unwrap_or_default();
        let scope = (K::KIND, object.meta().namespace.clone(), name);
        K::KIND.carries_rules().then(|| {
            self.known_rules.begin(&scope);
            Applying { rules: &self.known_rules, scope }
        })
    }
}

/// A write of what is applied of an object, while it is under way.
pub struct Applying<'a> {
    rules: &'a KnownRules,
    scope: ScopeName,
}

impl Applying<'_> {
    /// The write succeeded and the caches have its answer. Without this call nobody knows what is applied.
    pub fn is_known(self) {
        self.rules.end(&self.scope);
    }

    /// The object is gone with its finalizer.
    pub fn is_gone(self) {
        self.rules.forget(&self.scope);
    }
}

/// The applied content of objects that carry rules, as it was read since this process leads.
#[derive(Default)]
struct KnownRules {
    shared: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    rules: HashMap<ScopeName, String>,
    /// Those that are being written, or of which it is not known whether they were.
    uncertain: HashSet<ScopeName>,
    /// When the latest write of each began, or its answer was known.
    written: HashMap<ScopeName, Instant>,
}

impl KnownRules {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are(&self, scope: &ScopeName, expected: &str) -> bool {
        self.lock().rules.get(scope).is_some_and(|known| known == expected)
    }

    fn written_at(&self, scope: &ScopeName) -> Option<Instant> {
        self.lock().written.get(scope).copied()
    }

    fn note(&self, scope: ScopeName, rules: String, began: Instant) {
        let mut known = self.lock();
        let is_latest = known.written.get(&scope).is_none_or(|written| began > *written);
        if is_latest && !known.uncertain.contains(&scope) && !rules.is_empty() {
            known.rules.insert(scope, rules);
        }
    }

    fn begin(&self, scope: &ScopeName) {
        let mut known = self.lock();
        known.rules.remove(scope);
        known.uncertain.insert(scope.clone());
        known.written.insert(scope.clone(), Instant::now());
    }

    fn end(&self, scope: &ScopeName) {
        let mut known = self.lock();
        known.uncertain.remove(scope);
        known.written.insert(scope.clone(), Instant::now());
    }

    /// Another object in its place has another UID.
    fn forget(&self, scope: &ScopeName) {
        let mut known = self.lock();
        known.rules.remove(scope);
        known.uncertain.remove(scope);
        known.written.remove(scope);
    }
}

fn describe_rules(uid: &str, digest: &str) -> String {
    format!("{uid} {digest}")
}

pub(super) async fn get_any(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<AnyKind>, kube::Error> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource()),
        None => Api::all_with(client.clone(), &kind.resource()),
    };
    let request = Request::new(api.resource_url())
        .get(name, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    match client.request(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        found => found.map(Some),
    }
}

/// The fingerprint of all admission policies of this installation.
async fn list_policies(client: &Client) -> Result<String, kube::Error> {
    let all = futures::try_join!(
        list_all::<MutatingAdmissionPolicy>(client),
        list_all::<MutatingAdmissionPolicyBinding>(client),
        list_all::<ValidatingAdmissionPolicy>(client),
        list_all::<ValidatingAdmissionPolicyBinding>(client),
    )?;
    Ok(fingerprint(all))
}

/// The fingerprint of the identities of each of the four kinds.
fn fingerprint<T>((a, b, c, d): (T, T, T, T)) -> String
where
    T: IntoIterator<Item = PolicyIdentity>,
{
    PolicyIdentity::fingerprint(a.into_iter().chain(b).chain(c).chain(d).collect())
}

/// Their metadata says which they are.
async fn list_all<K: Readable + 'static>(client: &Client) -> Result<Vec<PolicyIdentity>, kube::Error> {
    let parameters = ListParams::default().labels(&format!("{}={OPERATOR}", label::PART_OF));
    let request = Request::new(K::url_path(&(), None)).list_metadata(&parameters);
    let found: ObjectList<Item<K>> = client.request(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(found.items.iter().filter_map(PolicyIdentity::of).collect())
}

async fn get_identity<K: Readable + 'static>(
    client: &Client,
    name: &str,
) -> Result<Option<PolicyIdentity>, kube::Error> {
    let request = Request::new(K::url_path(&(), None)).get_metadata(name, &GetParams::default());
    match client.request::<Item<K>>(request.map_err(kube::Error::BuildRequest)?).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        found => found.map(|found| PolicyIdentity::of(&found)),
    }
}

/// The fingerprint of the admission policies that the watches know, of which those are read anew, each by
/// itself, that a vote on a change of this kind proves nothing without. One of that name that the watches do not
/// know yet is not among them, and makes no difference to those that must be there.
async fn get_policies(client: &Client, kind: Kind, known: Policies) -> Result<String, kube::Error> {
    async fn get_all<K>(client: &Client, kind: Kind, known: &[K]) -> Result<Vec<PolicyIdentity>, kube::Error>
    where
        K: Readable + 'static,
    {
        let (relevant, others): (Vec<&K>, Vec<&K>) =
            known.iter().partition(|policy| protects_votes(*policy, kind));
        let names: Vec<String> = relevant.into_iter().map(ResourceExt::name_any).collect();
        let reads = names.iter().map(|name| get_identity::<K>(client, name));
        let found = futures::future::try_join_all(reads).await?;
        let others = others.into_iter().filter_map(PolicyIdentity::of);
        Ok(found.into_iter().flatten().chain(others).collect())
    }
    let Policies { mutating, mutating_bindings, validating, validating_bindings } = known;
    let all = futures::try_join!(
        get_all(client, kind, &mutating),
        get_all(client, kind, &mutating_bindings),
        get_all(client, kind, &validating),
        get_all(client, kind, &validating_bindings),
    )?;
    Ok(fingerprint(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(name: &str) -> ScopeName {
        (Kind::Enclave, Some("acme".into()), name.into())
    }

    /// A read counts until what it found is written, and not when it may have been made before that.
    #[test]
    fn what_was_read_counts_until_it_is_written() {
        let known = KnownRules::default();
        let before = Instant::now();
        known.note(scope("a"), "old".into(), before);
        assert!(known.are(&scope("a"), "old") && !known.are(&scope("a"), "new"));
        assert!(!known.are(&scope("b"), "old"));

        known.begin(&scope("a"));
        assert!(!known.are(&scope("a"), "old"));
        // While it is written nothing that is read counts, nor afterwards what was read before.
        let meanwhile = Instant::now();
        known.note(scope("a"), "old".into(), meanwhile);
        assert!(!known.are(&scope("a"), "old"));
        known.end(&scope("a"));
        for early in [before, meanwhile] {
            known.note(scope("a"), "old".into(), early);
            assert!(!known.are(&scope("a"), "old"), "it was read before the write was done");
        }
        assert!(known.written_at(&scope("a")).unwrap() >= meanwhile, "such a read is not even shared");
        known.note(scope("a"), "new".into(), Instant::now() + Duration::from_millis(1));
        assert!(known.are(&scope("a"), "new"));
    }

    #[test]
    fn a_write_of_which_nobody_knows_the_end_leaves_it_uncertain() {
        let known = KnownRules::default();
        let later = || Instant::now() + Duration::from_millis(1);
        known.begin(&scope("a"));
        known.note(scope("a"), "old".into(), later());
        assert!(!known.are(&scope("a"), "old"));
        known.begin(&scope("a"));
        known.end(&scope("a"));
        known.note(scope("a"), "new".into(), later());
        assert!(known.are(&scope("a"), "new"));
    }
}
