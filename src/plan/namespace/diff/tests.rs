use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicyIngressRule;

use kube::ResourceExt;

use super::*;
use crate::api::common::{Maintenance, MaintenanceMode, Principal, PrincipalKind};
use crate::api::gate::Applied;
use crate::api::names::{access, annotation, label};
use crate::api::{Content, Enclave, EnclaveSpec, Time};
use crate::model::approval::gated::Gated;
use crate::model::rbac::maintenance::Exceptions;
use crate::plan::enforcement::{Enforcement, WasEnforced};
use crate::plan::namespace::desired::WorkloadContents;
use crate::plan::namespace::enforce::enforce;
use crate::plan::namespace::limits::ContainerLimits;
use crate::plan::namespace::object::{Contents, build_namespace};

fn healed(desired: &DesiredNamespace, observed: &ObservedNamespace) -> NamespaceDiff {
    diff_namespace(desired, observed, Healing::Active)
}

fn desired(purpose: NamespacePurpose) -> DesiredNamespace {
    DesiredNamespace {
        namespace: "acme".into(),
        owner_uid: "uid".into(),
        community: "acme".into(),
        enclave: None,
        held_operations: vec!["EnclaveCreation".into()],
        exceptions: Exceptions::default(),
        bindings: Vec::new(),
        purpose,
    }
}

fn workload_purpose() -> NamespacePurpose {
    let amount = |text: &str| BTreeMap::from([("cpu".to_owned(), Quantity(text.into()))]);
    let opening = NetworkPolicy { metadata: child_metadata("acme", child::DNS), ..NetworkPolicy::default() };
    NamespacePurpose::Workload(Box::new(WorkloadContents {
        workload: "api".into(),
        pod_security: "restricted",
        access_mode: access::STANDARD,
        policies: vec![opening],
        cilium_policies: Vec::new(),
        unmade: BTreeSet::new(),
        quota: amount("1000m"),
        container_defaults: Some(ContainerLimits { limits: amount("1"), requests: amount("0.5") }),
    }))
}

impl ObservedNamespace {
    fn write(&mut self, verb: Verb, child: Child) {
        let there = verb != Verb::Delete;
        match child {
            Child::NetworkPolicy(child) => put(&mut self.policies, *child, there),
            Child::CiliumNetworkPolicy(child) => put(&mut self.cilium_policies, *child, there),
            Child::RoleBinding(child) => put(&mut self.bindings, *child, there),
            Child::ResourceQuota(child) => self.quota = there.then(|| Arc::new(*child)),
            Child::LimitRange(child) => self.container_defaults = there.then(|| Arc::new(*child)),
            Child::Role(_) | Child::ClusterRole(_) | Child::ClusterRoleBinding(_) => panic!("{child:?}"),
        }
    }
}

fn put<K: Resource>(live: &mut Vec<Arc<K>>, child: K, there: bool) {
    live.retain(|live| live.meta().name != child.meta().name);
    live.extend(there.then(|| Arc::new(child)));
}

/// Does what a plan asks for, as the API server would.
fn carry_out(desired: &DesiredNamespace, observed: &mut ObservedNamespace) {
    while let NamespaceDiff::Differs(writes) = healed(desired, observed) {
        for write in writes {
            match write {
                Write::CreateNamespace(namespace) | Write::ReplaceNamespace(namespace) => {
                    observed.namespace = Some(Arc::new(*namespace));
                }
                Write::Child(verb, child) => observed.write(verb, child),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(healed(desired, observed), NamespaceDiff::AsPlanned);
}

fn made(purpose: NamespacePurpose) -> (DesiredNamespace, ObservedNamespace) {
    let (desired, mut observed) = (desired(purpose), ObservedNamespace::default());
    carry_out(&desired, &mut observed);
    (desired, observed)
}

fn change<T: Clone>(object: &mut Option<Arc<T>>, change: impl FnOnce(&mut T)) {
    change(Arc::make_mut(object.as_mut().unwrap()));
}

fn change_policy(observed: &mut ObservedNamespace, change: impl FnOnce(&mut NetworkPolicySpec)) {
    let policy = observed.policies.iter_mut().find(|policy| policy.name_any() == child::DEFAULT_DENY);
    change(Arc::make_mut(policy.unwrap()).spec.as_mut().unwrap());
}

#[test]
fn the_policy_that_denies_everything_is_the_first_thing_in_a_namespace() {
    for purpose in [NamespacePurpose::Community, NamespacePurpose::Control, workload_purpose()] {
        let desired = desired(purpose);
        let namespace = Some(Arc::new(build_namespace(&desired, Contents::InProgress)));
        let observed = ObservedNamespace { namespace, ..ObservedNamespace::default() };
        let NamespaceDiff::Differs(writes) = healed(&desired, &observed) else { panic!("nothing to do") };
        let deny = build_default_deny(&desired);
        assert!(matches!(&writes[0], Write::Child(Verb::Create, Child::NetworkPolicy(first))
            if first.name_any() == deny.name_any() && first.spec == deny.spec));
    }
}

#[test]
fn foreign_labels_and_policies_are_left_alone() {
    for purpose in [NamespacePurpose::Community, workload_purpose()] {
        let (desired, mut observed) = made(purpose);
        change(&mut observed.namespace, |namespace| {
            namespace.labels_mut().insert("team".into(), "blue".into());
        });
        let theirs = NetworkPolicy { metadata: child_metadata("acme", "theirs"), ..NetworkPolicy::default() };
        observed.policies.push(Arc::new(theirs));
        assert_eq!(healed(&desired, &observed), NamespaceDiff::AsPlanned);
    }
}

#[test]
fn a_namespace_of_somebody_else_is_never_touched() {
    let (desired, mut observed) = made(NamespacePurpose::Community);
    change(&mut observed.namespace, |namespace| {
        namespace.labels_mut().insert(label::OWNER_UID.into(), "other".into());
    });
    assert_eq!(healed(&desired, &observed), NamespaceDiff::Foreign);
}

#[test]
fn every_drift_is_put_back() {
    type Drift = fn(&mut ObservedNamespace);
    let drifts: [(&str, Drift); 7] = [
        ("kept policy", |observed| {
            let policy = Arc::make_mut(&mut observed.policies[0]);
            policy.metadata.finalizers = Some(vec!["somebody/keeps-it".into()]);
        }),
        ("maintenance that nobody asked for", |observed| {
            change(&mut observed.namespace, |namespace| {
                let key = annotation::MAINTENANCE_ADVANCED.into();
                namespace.annotations_mut().insert(key, "User:eve".into());
            });
        }),
        ("opened policy", |observed| {
            change_policy(observed, |spec| {
                spec.ingress = Some(vec![NetworkPolicyIngressRule::default()]);
            });
        }),
        ("narrowed policy", |observed| {
            change_policy(observed, |spec| spec.policy_types = Some(vec!["Ingress".into()]));
        }),
        ("removed policy", |observed| {
            observed.policies.retain(|policy| policy.name_any() != child::DEFAULT_DENY);
        }),
        ("raised quota", |observed| {
            change(&mut observed.quota, |quota| {
                quota.spec.as_mut().unwrap().hard = Some(BTreeMap::new());
            });
        }),
        ("pod security", |observed| {
            change(&mut observed.namespace, |namespace| {
                namespace.labels_mut().insert(label::POD_SECURITY_ENFORCE.into(), "privileged".into());
            });
        }),
    ];
    for purpose in [NamespacePurpose::Control, workload_purpose()] {
        for (name, drift) in drifts {
            let (desired, mut observed) = made(purpose.clone());
            drift(&mut observed);
            let NamespaceDiff::Differs(writes) = healed(&desired, &observed) else {
                panic!("{name} not seen")
            };
            assert_eq!(writes.len(), 1, "{name}");
        }
    }
}

#[test]
fn what_nothing_wants_any_more_is_taken_away_first() {
    let (mut desired, mut observed) = made(workload_purpose());
    desired.purpose = NamespacePurpose::Workload(Box::new(WorkloadContents {
        workload: "api".into(),
        pod_security: "baseline",
        ..WorkloadContents::default()
    }));
    let NamespaceDiff::Differs(writes) = healed(&desired, &observed) else { panic!("nothing to do") };
    assert!(
        matches!(&writes[0], Write::Child(Verb::Delete, child) if child.metadata().name.as_deref() == Some(child::DNS))
    );
    assert_eq!(writes.len(), 4);
    carry_out(&desired, &mut observed);
    assert!(observed.quota.is_none() && observed.container_defaults.is_none());
}

#[test]
fn the_same_amounts_in_other_words_are_no_drift() {
    let (desired, mut observed) = made(workload_purpose());
    change(&mut observed.quota, |quota| {
        let amount = BTreeMap::from([("cpu".to_owned(), Quantity("1".into()))]);
        quota.spec.as_mut().unwrap().hard = Some(amount);
    });
    change(&mut observed.container_defaults, |limits| {
        let amount = BTreeMap::from([("cpu".to_owned(), Quantity("500m".into()))]);
        limits.spec.as_mut().unwrap().limits[0].default_request = Some(amount);
    });
    assert_eq!(healed(&desired, &observed), NamespaceDiff::AsPlanned);
}

fn maintained(mode: MaintenanceMode) -> Exceptions {
    let maintenance = Maintenance {
        mode,
        justification: None,
        principals: vec![Principal { kind: PrincipalKind::User, name: "ann".into(), namespace: None }],
        expires_at: Some(Time(Timestamp::MAX)),
    };
    let spec = EnclaveSpec { maintenance, ..EnclaveSpec::default() };
    let mut enclave = Enclave::new("e", spec.clone());
    enclave.gate_mut().applied = Some(Applied {
        generation: 1,
        complete_for: None,
        digest: String::new(),
        spec: Content::of_spec(&spec).unwrap(),
        change: None,
        approval_request: None,
        at: Time(Timestamp::UNIX_EPOCH),
        references: Vec::new(),
    });
    Exceptions::of(&enclave, Timestamp::UNIX_EPOCH)
}

#[test]
fn maintenance_begins_last_and_ends_first() {
    let (mut desired, mut observed) = made(workload_purpose());
    desired.exceptions = maintained(MaintenanceMode::Advanced);
    // A drift is put back as long as the lock is shut.
    observed.policies.clear();
    let (enforcement, writes) = enforce(&desired, &observed, WasEnforced::Yes);
    assert_eq!((enforcement, writes.len()), (Enforcement::Complete, 3));
    assert!(matches!(&writes[2], Write::ReplaceNamespace(namespace)
        if namespace.annotations()[annotation::MAINTENANCE_ADVANCED] == "User:ann"));

    carry_out(&desired, &mut observed);
    desired.exceptions = Exceptions::default();
    observed.policies.clear();
    let (_, writes) = enforce(&desired, &observed, WasEnforced::Yes);
    assert!(matches!(&writes[0], Write::ReplaceNamespace(namespace)
        if !namespace.annotations().contains_key(annotation::MAINTENANCE_ADVANCED)));
    assert_eq!(writes.len(), 3);

    let nothing = ObservedNamespace::default();
    desired.exceptions = maintained(MaintenanceMode::Advanced);
    let (_, writes) = enforce(&desired, &nothing, WasEnforced::No);
    assert!(matches!(&writes[..], [Write::CreateNamespace(namespace)]
        if !namespace.annotations().contains_key(annotation::MAINTENANCE_ADVANCED)));
}

/// The namespace of a workload in which others changed everything, while maintenance is in force.
fn changed_under(mode: MaintenanceMode) -> (DesiredNamespace, ObservedNamespace) {
    let (mut desired, mut observed) = made(workload_purpose());
    desired.exceptions = maintained(mode);
    carry_out(&desired, &mut observed);
    change_policy(&mut observed, |spec| spec.ingress = Some(vec![NetworkPolicyIngressRule::default()]));
    observed.policies.retain(|policy| policy.name_any() != child::DNS);
    change(&mut observed.quota, |quota| quota.spec = None);
    observed.container_defaults = None;
    (desired, observed)
}

#[test]
fn what_is_changed_under_advanced_maintenance_stays_until_it_ends() {
    let (mut desired, observed) = changed_under(MaintenanceMode::Advanced);
    assert_eq!(enforce(&desired, &observed, WasEnforced::Yes), (Enforcement::Paused, Vec::new()));
    assert_eq!(enforce(&desired, &observed, WasEnforced::No).1.len(), 4, "what is new is made");
    desired.exceptions = Exceptions::default();
    assert_eq!(enforce(&desired, &observed, WasEnforced::Yes).1.len(), 5, "all of it, and the namespace");

    let (desired, observed) = changed_under(MaintenanceMode::General);
    assert_eq!(enforce(&desired, &observed, WasEnforced::Yes).1.len(), 4);
}

/// Whether it was shown to be in force before makes no difference: it would be shown otherwise by the next look.
#[test]
fn what_recovers_under_advanced_maintenance_is_left_alone_at_once() {
    let (mut desired, mut observed) = made(workload_purpose());
    desired.exceptions = maintained(MaintenanceMode::Advanced);
    carry_out(&desired, &mut observed);
    for was_enforced in [WasEnforced::Yes, WasEnforced::No] {
        assert_eq!(enforce(&desired, &observed, was_enforced), (Enforcement::Paused, Vec::new()));
    }
}

#[test]
fn maintenance_keeps_nothing_open_and_nothing_new_out() {
    let (mut desired, mut observed) = changed_under(MaintenanceMode::Advanced);
    let open =
        |name: &str| NetworkPolicy { metadata: child_metadata("acme", name), ..NetworkPolicy::default() };
    let mut over = open("connection.a.over.egress");
    over.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH).into());
    over.metadata.finalizers = Some(vec!["somebody/keeps-it".into()]);
    observed.policies.extend([open("connection.a.closed.egress"), over].map(Arc::new));
    if let NamespacePurpose::Workload(contents) = &mut desired.purpose {
        contents.policies.extend([open("connection.a.new.egress"), open("connection.a.gone.egress")]);
        contents.unmade.insert("connection.a.new.egress".into());
        contents.quota.insert("pods".into(), Quantity("1".into()));
    }
    let (_, writes) = enforce(&desired, &observed, WasEnforced::Yes);
    assert!(
        matches!(&writes[..], [
        Write::Child(Verb::Delete, Child::NetworkPolicy(closed)),
        Write::Child(Verb::Replace, Child::NetworkPolicy(over)),
        Write::Child(Verb::Create, Child::NetworkPolicy(new)),
        Write::Child(Verb::Replace, Child::ResourceQuota(_)),
    ] if closed.name_any() == "connection.a.closed.egress"
        && over.name_any() == "connection.a.over.egress" && over.finalizers().is_empty()
        && new.name_any() == "connection.a.new.egress"),
        "{writes:#?}"
    );
}
