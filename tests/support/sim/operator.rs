//! The operator, which observes and plans as in a cluster. Its writes go to the API server in memory.

use std::sync::Arc;

use enclave_operator::api::names::FINALIZER;
use enclave_operator::api::{ApprovalRequest, Time};
use enclave_operator::kinds::controller::{Controller, ReconcileInput};
use enclave_operator::model::approval::scope::RulesOrigin;
use enclave_operator::plan::child::{Child, Verb};
use enclave_operator::plan::namespace::desired::is_owned;
use enclave_operator::plan::{Plan, Write};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use super::server::{Key, Outdated, Server, Stored, key_of};

/// The operator died.
pub struct Dead;

/// The writes that the operator gets done.
pub struct Hands {
    /// How many writes until it dies.
    pub left: usize,
    /// Which of the next writes fail, bit by bit.
    pub faults: u32,
    /// For whom they were made.
    pub writes: Vec<String>,
    /// How many writes and confirmations the API server refused.
    pub refused: usize,
}

/// A step of the operator, for the books of a test.
pub enum Action<'a, K> {
    /// A write or a confirmation that is about to be sent.
    Tries(&'a Write),
    /// A request for approval was made.
    Asked(&'a ApprovalRequest),
    /// The request of this name was marked as enacted.
    Enacted(&'a str),
    /// A status was written.
    Published { before: &'a K, after: &'a K },
    /// The object is gone, or is being deleted.
    Gone(&'a K),
}

impl Hands {
    pub const fn steady() -> Self {
        Self::until_death(usize::MAX)
    }

    pub const fn until_death(left: usize) -> Self {
        Self { left, faults: 0, writes: Vec::new(), refused: 0 }
    }

    pub fn write(
        &mut self,
        whom: &str,
        write: impl FnOnce() -> Result<(), Outdated>,
    ) -> Result<Result<(), Outdated>, Dead> {
        self.left = self.left.checked_sub(1).ok_or(Dead)?;
        self.writes.push(whom.to_owned());
        let fails = self.faults & 1 == 1;
        self.faults >>= 1;
        let done = if fails { Err(Outdated) } else { write() };
        self.refused += usize::from(done.is_err());
        Ok(done)
    }
}

impl Server {
    /// Plans an object as the operator knows it; `None` when it knows none.
    pub fn plan<K: Controller + Stored>(
        &self,
        key: &Key,
        now: Timestamp,
        retain_requests_for: SignedDuration,
    ) -> Option<(Arc<K>, Plan<K::Status>)> {
        let (caches, policy_status) = (&self.enqueuer.caches, self.policies.status());
        let object = K::cache(caches).get(&key.0, &key.1)?;
        let known = ReconcileInput { caches, policy_status, retain_requests_for, now };
        let plan = K::plan(Arc::clone(&object), known);
        Some((object, plan))
    }

    /// Carries out a plan, as `reconcile_once` does.
    pub fn carry_out<K: Controller + Stored>(
        &mut self,
        object: &K,
        plan: Plan<K::Status>,
        hands: &mut Hands,
        tell: &mut impl FnMut(Action<'_, K>),
    ) -> Result<(), Dead> {
        let mut failed = false;
        for repair in plan.repairs {
            failed |= hands.write(&object.name_any(), || self.make(object, repair, tell))?.is_err();
        }
        for write in plan.writes {
            let is_check = matches!(
                write,
                Write::ConfirmPolicies { .. }
                    | Write::ConfirmRules(_)
                    | Write::ConfirmTargetGone(_)
                    | Write::ConfirmNamespaceGone { .. }
            );
            let on_itself = matches!(write, Write::AddFinalizer | Write::RemoveFinalizer | Write::DeleteSelf);
            let done = if is_check {
                self.make(object, write, tell).inspect_err(|_| hands.refused += 1)
            } else {
                hands.write(&object.name_any(), || self.make(object, write, tell))?
            };
            if done.is_err() || on_itself {
                return Ok(());
            }
        }
        let status = plan.status.filter(|status| object.status() != Some(status));
        if let Some(status) = status.filter(|_| !failed) {
            let _ = hands.write(&object.name_any(), || {
                let before = self.confirm(object)?;
                self.put(before.with_status(status));
                tell(Action::Published {
                    before: &before,
                    after: self.get(&key_of(object)).ok_or(Outdated)?,
                });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes one write, unless what it is about is not what was observed any more.
    pub fn make<K: Stored>(
        &mut self,
        object: &K,
        write: Write,
        tell: &mut impl FnMut(Action<'_, K>),
    ) -> Result<(), Outdated> {
        tell(Action::Tries(&write));
        match write {
            Write::AddFinalizer => {
                let mut live = self.confirm(object)?;
                live.finalizers_mut().push(FINALIZER.into());
                self.put(live);
            }
            Write::RemoveFinalizer => {
                self.confirm(object)?;
                self.remove::<K>(&key_of(object));
                tell(Action::Gone(object));
            }
            Write::DeleteSelf => {
                self.confirm(object)?;
                self.delete(object)?;
                tell(Action::Gone(object));
            }
            Write::CreateRequest(request) => {
                self.create(ApprovalRequest::clone(&request))?;
                tell(Action::Asked(&request));
            }
            Write::MarkEnacted { request, at } => {
                let mut live = self.confirm(request.as_ref())?;
                live.status.as_mut().unwrap().enacted_at = Some(Time(at));
                self.put(live);
                tell(Action::Enacted(&request.name_any()));
            }
            Write::ConfirmPolicies { fingerprint, .. } => {
                go_on_if(fingerprint == self.policies.fingerprint())?;
            }
            Write::ConfirmRules(RulesOrigin { kind, namespace, name, uid, digest }) => {
                let live = self.look_up(kind, &(namespace.unwrap_or_default(), name));
                go_on_if(live.is_some_and(|(meta, applied)| {
                    meta.uid == Some(uid) && applied.is_some_and(|applied| applied.digest == digest)
                }))?;
            }
            Write::ConfirmTargetGone(target) => {
                let key = (target.namespace.unwrap_or_default(), target.name);
                go_on_if(self.look_up(target.kind, &key).is_none_or(|(meta, _)| {
                    meta.uid.as_ref() != Some(&target.uid) || meta.deletion_timestamp.is_some()
                }))?;
            }
            Write::ConfirmNamespaceGone { name, owner_uid } => {
                let live = self.get::<Namespace>(&(String::new(), name));
                go_on_if(live.is_none_or(|live| !is_owned(live, &owner_uid)))?;
            }
            Write::CreateNamespace(namespace) => self.create_namespace(*namespace)?,
            Write::ReplaceNamespace(namespace) => self.replace(*namespace)?,
            Write::DeleteNamespace { name, uid } => {
                let live = self.get::<Namespace>(&(String::new(), name.clone()));
                go_on_if(live.is_some_and(|live| live.uid() == Some(uid)))?;
                self.remove_namespace(&name);
            }
            Write::Child(verb, child) => self.write_child(verb, child)?,
        }
        Ok(())
    }

    /// Creates, replaces or deletes what is made for an object.
    pub fn write_child(&mut self, verb: Verb, child: Child) -> Result<(), Outdated> {
        match child {
            Child::NetworkPolicy(child) => self.write_one(verb, *child),
            Child::ResourceQuota(child) => self.write_one(verb, *child),
            Child::LimitRange(child) => self.write_one(verb, *child),
            Child::RoleBinding(child) => self.write_one(verb, *child),
            Child::Role(child) => self.write_one(verb, *child),
            Child::ClusterRole(child) => self.write_one(verb, *child),
            Child::ClusterRoleBinding(child) => self.write_one(verb, *child),
            Child::CiliumNetworkPolicy(_) => panic!("Cilium is not installed"),
        }
    }

    fn write_one<K: Stored>(&mut self, verb: Verb, child: K) -> Result<(), Outdated> {
        match verb {
            Verb::Create => self.create(child),
            Verb::Replace => self.replace(child),
            Verb::Delete => self.delete(&child),
        }
    }
}

fn go_on_if(as_assumed: bool) -> Result<(), Outdated> {
    if as_assumed { Ok(()) } else { Err(Outdated) }
}
