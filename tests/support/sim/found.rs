//! What is there before anything happens.

use enclave_operator::api::approvals::{ApprovalRule, Operation, RulePolicy};
use enclave_operator::api::names::{label, purpose};
use enclave_operator::api::{Community, CommunitySpec, Enclave, EnclaveSpec};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use super::server::{Server, Stored, key_of};

impl Server {
    /// Creates something, and returns how it is stored.
    ///
    /// # Panics
    /// If it cannot be created.
    pub fn add<K: Stored>(&mut self, object: K, namespace: &str) -> K {
        let mut object = object;
        object.meta_mut().namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        let key = key_of(&object);
        self.create(object).unwrap();
        self.get::<K>(&key).unwrap().clone()
    }

    /// Creates a Community and its namespace.
    pub fn add_community(&mut self, name: &str) -> Community {
        let community = self.add(Community::new(name, CommunitySpec::default()), "");
        let labels = [(label::PURPOSE, purpose::COMMUNITY), (label::COMMUNITY, name)];
        self.create_namespace(owned_namespace(name, &community.uid().unwrap(), &labels)).unwrap();
        community
    }

    /// Creates an Enclave and its control namespace.
    pub fn add_enclave(&mut self, community: &str, name: &str) -> Enclave {
        let enclave = self.add(Enclave::new(name, EnclaveSpec::default()), community);
        let labels =
            [(label::PURPOSE, purpose::CONTROL), (label::COMMUNITY, community), (label::ENCLAVE, name)];
        let control = owned_namespace(&format!("{community}-{name}"), &enclave.uid().unwrap(), &labels);
        self.create_namespace(control).unwrap();
        enclave
    }
}

/// A namespace that the operator made for an object, with labels that say what it is for.
pub fn owned_namespace(name: &str, owner_uid: &str, labels: &[(&str, &str)]) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    for (label, value) in labels.iter().chain(&[(label::OWNER_UID, owner_uid)]) {
        namespace.labels_mut().insert((*label).to_owned(), (*value).to_owned());
    }
    namespace
}

/// So many have to approve an operation, or however many a rule asks for that does not say.
pub fn required(operation: Operation, votes: Option<usize>) -> ApprovalRule {
    ApprovalRule {
        operation,
        policy: RulePolicy::Required,
        minimum_approvers: votes.map(|votes| i32::try_from(votes).unwrap()),
        mandatory_approvers: Vec::new(),
    }
}
