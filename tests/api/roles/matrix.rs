//! What every role may do, held against the tables in `matrix.md`, which nothing in the operator knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Instant;

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::role_assignment::Role;
use enclave_operator::api::{CommunityEndpoint, EnclaveConnection, EnclaveEndpoint, Kind, TransitHub};
use futures::future::{join, join_all};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::core::{DynamicObject, ObjectMeta};

use super::actor::{Actor, Question, appoint};
use super::golden::{Cell, OTHER, OWN, REQUESTS, SECTIONS, Scope, Table, VERBS, WORKLOADS, golden};
use super::*;
use crate::support::eventually;
use crate::world::{
    assert_refused, kind_api, patch, requests, right, vote, wait_for_hold, wait_for_request,
    wait_for_request_state,
};

/// A role in the whole cluster changes the namespaces of every test, so not in the cluster that they share.
static APART: LazyLock<World> = LazyLock::new(World::start);

/// An object of a kind, as somebody would write it, and the Enclave that it belongs to.
struct Sample {
    kind: Kind,
    community: &'static str,
    enclave: Option<&'static str>,
    object: DynamicObject,
}

impl Sample {
    /// Whether its kind stands in the namespace of a Community as well as in those of Enclaves.
    fn is_of_both(&self) -> bool {
        matches!(self.kind, Kind::EnclaveConnection | Kind::ApprovalRequest)
    }

    fn questions(&self, cell: &Cell) -> Vec<Question> {
        let namespace = self.object.metadata.namespace.as_deref().unwrap_or_default();
        let names = [None, self.object.metadata.name.as_deref()];
        let ask = |name| VERBS.map(|verb| Question::new(cell, verb, self.kind, namespace, name));
        names.into_iter().flat_map(ask).collect()
    }
}

/// One object of each kind wherever that kind can stand, and where workloads run.
async fn furnish(community: &'static str) -> (Place<'static>, Vec<Sample>) {
    let place = Place::make_in(&APART, community, &json!({})).await;
    let (alice, erin) = (place.world.alice().client(), place.world.erin().client());
    let outside = json!([{"cidr": "198.51.100.0/24"}]);
    let hubs: Api<TransitHub> = namespaced(alice.clone(), community);
    make(&hubs, "TransitHub", "hub", &json!({"cidrs": outside})).await.unwrap();
    let spec = json!({"destination": {"cidrs": outside}, "ports": [{"port": 443}]});
    let shared: Api<CommunityEndpoint> = namespaced(alice.clone(), community);
    make(&shared, "CommunityEndpoint", "cards", &spec).await.unwrap();
    for enclave in ["payments", "ledger"] {
        let endpoints: Api<EnclaveEndpoint> = namespaced(erin.clone(), &place.control(enclave));
        let mut spec = json!({"workload": "api", "ports": [{"port": 5432}]});
        make(&endpoints, "EnclaveEndpoint", "open", &spec).await.unwrap();
        spec["approvals"] = json!({"rules": [{"operation": "ConnectionCreation", "policy": "Required"}]});
        make(&endpoints, "EnclaveEndpoint", "guarded", &spec).await.unwrap();
        let shut = json!({"accessMode": "Isolated", "principals": {"view": [group("auditors")]}});
        place.make_workload(enclave, "vault", &shut).await;
    }
    let mut there = vec![
        (Kind::Community, None, String::new(), community.to_owned()),
        (Kind::CommunityEndpoint, None, community.to_owned(), "cards".to_owned()),
        (Kind::TransitHub, None, community.to_owned(), "hub".to_owned()),
    ];
    let (api, hub) = (json!({"workloads": ["api"]}), json!({"transitHub": {"name": "hub"}}));
    for (enclave, source, other) in
        [(Some("payments"), &api, "ledger"), (Some("ledger"), &api, "payments"), (None, &hub, "payments")]
    {
        let namespace = enclave.map_or(community.to_owned(), |enclave| place.control(enclave));
        let connections: Api<EnclaveConnection> = namespaced(alice.clone(), &namespace);
        let destination = json!({"enclaveEndpoint": {"enclave": other, "name": "guarded"}});
        let spec = json!({"source": source, "destination": destination});
        make(&connections, "EnclaveConnection", "held", &spec).await.unwrap();
        let request = wait_for_hold(&connections, "held").await;
        there.push((Kind::EnclaveConnection, enclave, namespace.clone(), "held".to_owned()));
        there.push((Kind::ApprovalRequest, enclave, namespace, request));
    }
    for enclave in ["payments", "ledger"] {
        let control = place.control(enclave);
        there.push((Kind::Enclave, Some(enclave), community.to_owned(), enclave.to_owned()));
        there.push((Kind::EnclaveWorkload, Some(enclave), control.clone(), "api".to_owned()));
        there.push((Kind::EnclaveEndpoint, Some(enclave), control, "open".to_owned()));
    }
    let administrator = APART.administrator();
    let mut samples = Vec::new();
    for (kind, enclave, namespace, name) in there {
        let mut object = kind_api(&administrator, kind, &namespace).get(&name).await.unwrap();
        object.data = json!({"spec": object.data["spec"]});
        object.metadata = ObjectMeta {
            name: object.metadata.name,
            namespace: object.metadata.namespace,
            ..ObjectMeta::default()
        };
        samples.push(Sample { kind, community, enclave, object });
    }
    (place, samples)
}

impl Actor {
    async fn hold_against(&self, tables: &BTreeMap<String, Table>, samples: &[Sample]) -> Vec<String> {
        let mut cells = Vec::new();
        for section in SECTIONS.iter().filter(|section| section.scope == self.scope) {
            let row = &tables[section.title][self.role.name()];
            let is_of = |sample: &&Sample| {
                section.places.iter().any(|(community, enclave)| match sample.enclave {
                    Some(of) => (sample.community, of) == (*community, *enclave),
                    None => sample.community == *community && (section.with_shared || !sample.is_of_both()),
                })
            };
            let here: Vec<&Sample> = samples.iter().filter(is_of).collect();
            let kinds: BTreeSet<&str> = here.iter().map(|sample| sample.kind.name()).collect();
            assert!(kinds.into_iter().eq(row.keys()), "a sample for each column of {:?}", section.title);
            cells.extend(here.into_iter().map(|sample| (Cell::read(&row[sample.kind.name()]), sample)));
        }
        let questions = cells.iter().flat_map(|(cell, sample)| sample.questions(cell)).collect();
        let mut wrong = self.ask(questions).await;
        for (cell, sample) in &cells {
            wrong.extend(self.act(cell, sample.kind, &sample.object).await);
        }
        wrong
    }

    /// What Kubernetes' own ClusterRoles allow in the namespace of a workload.
    async fn hold_workloads_against(&self, tables: &BTreeMap<String, Table>) -> Vec<String> {
        let row = &tables[WORKLOADS.0][self.role.name()];
        let mut wrong = Vec::new();
        for (community, enclave) in [(OWN, "payments"), (OWN, "ledger"), (OTHER, "payments")] {
            let is_reached = match self.scope {
                Scope::Cluster => true,
                Scope::Community => community == OWN,
                Scope::Enclave => (community, enclave) == (OWN, "payments"),
            };
            for (workload, mode) in [("api", "Standard"), ("vault", "Isolated")] {
                let cell = &row[if is_reached { mode } else { "out of scope" }];
                let namespace = format!("{community}-{enclave}-{workload}");
                wrong.extend(self.ask(Question::in_workload(cell, &namespace)).await);
                wrong.extend(self.act_in_workload(cell, &namespace).await);
            }
        }
        wrong
    }
}

#[tokio::test]
async fn the_whole_matrix() {
    let tables = golden();
    let start = Instant::now();
    let ((place, mut samples), (_, others)) = join(Box::pin(furnish(OWN)), Box::pin(furnish(OTHER))).await;
    samples.extend(others);
    println!("both communities are there after {:?}", start.elapsed());
    let mut holders = Vec::new();
    for scope in [Scope::Cluster, Scope::Community, Scope::Enclave] {
        let section = SECTIONS.iter().find(|section| section.scope == scope).unwrap();
        let rows = &tables[section.title];
        let roles = Role::ALL.into_iter().filter(|role| rows.contains_key(role.name()));
        holders.extend(roles.map(|role| appoint(&place, role, scope)));
    }
    let actors = join_all(holders).await;
    println!("all roles are given after {:?}", start.elapsed());

    let wrong = join_all(actors.iter().map(async |actor| {
        let mut wrong = actor.hold_against(&tables, &samples).await;
        wrong.extend(actor.hold_workloads_against(&tables).await);
        wrong
    }));
    let wrong = wrong.await.concat();
    println!("everything is asked and done after {:?}", start.elapsed());
    assert!(wrong.is_empty(), "{} differ from the tables:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn who_has_a_role_in_an_enclave_sees_the_open_requests_about_it_and_no_others() {
    let rules = json!({"rules": [{"operation": "EnclaveUpdate", "policy": "Required"}]});
    let place = Place::make_in(&WORLD, "asked", &json!({ "approvals": rules })).await;
    let table = &golden()[REQUESTS.0];
    let of_enclave = Role::ALL.into_iter().filter(|role| table.contains_key(role.name()));
    let actors = join_all(of_enclave.map(|role| appoint(&place, role, Scope::Enclave))).await;
    let alice = place.world.alice();
    let api = enclaves(&alice, "asked");
    let [mine, theirs] = ["payments", "ledger"].map(async |enclave| {
        patch(&api, enclave, json!({"spec": {"description": "edited"}})).await.unwrap();
        wait_for_request(&alice, "asked", enclave).await
    });
    let (mine, theirs) = join(mine, theirs).await;
    let ask = async |about: &[(&str, &str)]| {
        let asked = actors.iter().map(async |actor| {
            let row = &table[actor.role.name()];
            let questions = about.iter().flat_map(|(column, request)| {
                let cell = Cell::read(&row[*column]);
                let kind = Kind::ApprovalRequest;
                let ask = |name| VERBS.map(|verb| Question::new(&cell, verb, kind, "asked", name));
                [None, Some(*request)].into_iter().flat_map(ask).collect::<Vec<_>>()
            });
            actor.ask(questions.collect()).await
        });
        let wrong = join_all(asked).await.concat();
        assert!(wrong.is_empty(), "{} differ from the table:\n{}", wrong.len(), wrong.join("\n"));
    };
    let [own, decided, another] = REQUESTS.1;
    ask(&[(own, &mine), (another, &theirs)]).await;

    for actor in &actors {
        let seen = requests(&actor.user, "asked").get(&mine).await.unwrap();
        assert_eq!(seen.spec.target.name, "payments");
        assert_refused(requests(&actor.user, "asked").get(&theirs).await, "cannot get");
        assert_refused(vote(&actor.user, "asked", &theirs, Verdict::Approved, None).await, "cannot patch");
        if actor.role != Role::EnclaveApprover {
            assert_refused(vote(&actor.user, "asked", &mine, Verdict::Approved, None).await, "cannot patch");
        }
    }
    let approver = actors.iter().find(|actor| actor.role == Role::EnclaveApprover).unwrap();
    vote(&approver.user, "asked", &mine, Verdict::Approved, None).await.unwrap();
    wait_for_request_state(&alice, "asked", &mine, RequestState::Approved).await;
    wait_for_enclave(&api, "payments", State::Active).await;

    // What is decided is out of reach, and so is still what is about the other Enclave.
    join_all(actors.iter().map(async |actor| {
        let named =
            ResourceAttributes { name: Some(mine.clone()), ..right("get", "approvalrequests", "asked") };
        eventually("it is out of reach", SOON, async || (!actor.may(&named).await).then_some(())).await;
    }))
    .await;
    ask(&[(decided, &mine), (another, &theirs)]).await;
}
