//! What is there before anything happens, and how it looks to the operator: Communities, Enclaves and
//! their namespaces.

use enclave_operator::api::approvals::{Approvals, Operation};
use enclave_operator::api::enclave_workload::AccessMode;
use enclave_operator::api::names::{child, label, purpose};
use enclave_operator::api::{
    Community, CommunitySpec, Enclave, EnclaveSpec, EnclaveWorkload, EnclaveWorkloadSpec,
};
use enclave_operator_testing::sim::{SYSTEM, Server, owned_namespace, required};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use serde_json::json;

use super::books::{HOURS_UNTIL_EXPIRY, Rules};
use super::rights::Room;

const fn room(
    community: &'static str,
    enclave: Option<&'static str>,
    workload: Option<&'static str>,
) -> Room {
    let (stays, guarded, isolated, labelled_isolated) = (true, true, false, false);
    Room { community, enclave, workload, stays, guarded, isolated, labelled_isolated }
}

/// All namespaces that there can be. The first two never change, and neither does the last.
pub const ROOMS: [(&str, Room); 9] = [
    ("acme", room("acme", None, None)),
    ("other", room("other", None, None)),
    ("acme-ops", room("acme", Some("ops"), None)),
    ("acme-ops-job", room("acme", Some("ops"), Some("job"))),
    ("acme-pay-api", room("acme", Some("pay"), Some("api"))),
    ("acme-pay-db", room("acme", Some("pay"), Some("db"))),
    ("other-x", room("other", Some("x"), None)),
    ("other-x-one", room("other", Some("x"), Some("one"))),
    ("acme-pay", room("acme", Some("pay"), None)),
];

pub fn found(server: &mut Server) {
    let system = json!({"metadata": {"name": SYSTEM}});
    server.create(serde_json::from_value::<Namespace>(system).unwrap()).unwrap();
    for name in ["acme", "other"] {
        server.add(Community::new(name, CommunitySpec::default()), "");
    }
    for (name, room) in ROOMS {
        let control = |enclave| format!("{}-{enclave}", room.community);
        if let (Some(enclave), None) = (room.enclave, room.workload) {
            server.add(Enclave::new(enclave, EnclaveSpec::default()), room.community);
        }
        make_room(server, name, &room);
        if let (Some(enclave), Some(workload)) = (room.enclave, room.workload) {
            let mut workload = EnclaveWorkload::new(workload, EnclaveWorkloadSpec::default());
            workload.metadata.namespace = Some(control(enclave));
            // The control namespace of one comes last.
            workload.metadata.uid = Some(format!("uid-{name}"));
            server.put(workload);
            isolate(server, &room);
        }
    }
}

/// A namespace as the operator makes it.
pub fn make_room(server: &mut Server, name: &str, room: &Room) {
    let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let (part, owner) = match (room.enclave, room.workload) {
        (None, _) => (purpose::COMMUNITY, server.communities[&key("", room.community)].uid()),
        (Some(enclave), None) => (purpose::CONTROL, server.enclaves[&key(room.community, enclave)].uid()),
        (Some(_), Some(_)) => (purpose::WORKLOAD, Some(format!("uid-{name}"))),
    };
    let mut labels = vec![(label::PURPOSE, part), (label::COMMUNITY, room.community)];
    labels.extend(room.enclave.map(|enclave| (label::ENCLAVE, enclave)));
    labels.extend(room.workload.map(|workload| (label::WORKLOAD, workload)));
    server.create_namespace(owned_namespace(name, &owner.unwrap(), &labels)).unwrap();
    guard(server, name, true);
}

/// Whether what denies everything is there.
pub fn guard(server: &mut Server, name: &str, guarded: bool) {
    let key = (name.to_owned(), child::DEFAULT_DENY.to_owned());
    if guarded {
        let policy = json!({"metadata": {"namespace": key.0, "name": key.1}});
        server.put(serde_json::from_value::<NetworkPolicy>(policy).unwrap());
    } else {
        server.remove::<NetworkPolicy>(&key);
    }
}

pub fn isolate(server: &mut Server, room: &Room) {
    let (enclave, workload) = (room.enclave.unwrap(), room.workload.unwrap());
    let key = (format!("{}-{enclave}", room.community), workload.to_owned());
    let access_mode = if room.isolated { AccessMode::Isolated } else { AccessMode::Standard };
    let spec = EnclaveWorkloadSpec { access_mode, ..EnclaveWorkloadSpec::default() };
    let workload = server.workloads[&key].clone();
    server.put_into_force(workload, &spec, Timestamp::UNIX_EPOCH);
}

pub fn set_rules(server: &mut Server, scope: usize, rules: Rules, now: Timestamp) {
    let rule = |operation, votes: Option<usize>| votes.map(|votes| required(operation, Some(votes)));
    let rules =
        [rule(Operation::RoleChange, rules.change), rule(Operation::RoleActivation, rules.activation)];
    let approvals = Approvals {
        rules: rules.into_iter().flatten().collect(),
        expire_after: Some(format!("{HOURS_UNTIL_EXPIRY}h").parse().unwrap()),
        ..Approvals::default()
    };
    if scope == 1 {
        let enclave = server.enclaves[&("acme".to_owned(), "pay".to_owned())].clone();
        server.put_into_force(enclave, &EnclaveSpec { approvals, ..EnclaveSpec::default() }, now);
    } else {
        let name = if scope == 0 { "acme" } else { "other" };
        let community = server.communities[&(String::new(), name.to_owned())].clone();
        server.put_into_force(community, &CommunitySpec { approvals, ..CommunitySpec::default() }, now);
    }
}
