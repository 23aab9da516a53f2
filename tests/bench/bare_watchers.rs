//! B2 and B3: watchers without any logic.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::cilium;
use enclave_operator::api::names::{OPERATOR, label};
use enclave_operator::api::{
    ApprovalRequest, CiliumNetworkPolicy, Community, CommunityEndpoint, Enclave, EnclaveConnection,
    EnclaveEndpoint, EnclaveWorkload, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, join_all};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Store, store};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector as reflect};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::create::Creator;
use crate::load::Load;
use crate::sightings::Key;

/// The argument that makes this program hold what the operator watches.
pub const HOLD: &str = "hold-everything";
/// What it prints when it holds all of it.
pub const HOLDING: &str = "holding everything";

/// B3: holds the kinds that the operator watches, by the same selectors (`kinds::caches`), as the client library
/// reads them, for ever.
pub async fn hold() {
    let client = Client::try_default().await.expect("KUBECONFIG says where the API server is");
    let mut ready: Vec<BoxFuture<'static, ()>> = Vec::new();
    let mut held: Vec<BoxFuture<'static, ()>> = Vec::new();
    macro_rules! hold {
        ($($kind:ty)*, $config:expr) => {
            $({
                let (kept, filled) = hold_one::<$kind>(client.clone(), $config);
                held.push(kept);
                ready.push(filled);
            })*
        };
    }
    let all = Config::default;
    hold! {
        Community Enclave CommunityEndpoint TransitHub EnclaveWorkload EnclaveEndpoint EnclaveConnection
        ApprovalRequest RoleAssignment RoleEligibility RoleActivation
        Namespace NetworkPolicy ResourceQuota LimitRange RoleBinding Role ClusterRole ClusterRoleBinding,
        all()
    }
    hold!(ServiceAccount, all().fields("metadata.name!=default"));
    let definition = format!("metadata.name={}", cilium::DEFINITION);
    hold!(CustomResourceDefinition, all().fields(&definition));
    let ours = format!("{}={OPERATOR}", label::PART_OF);
    hold! {
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding ValidatingAdmissionPolicy
        ValidatingAdmissionPolicyBinding,
        all().labels(&ours)
    }
    // A watch of something that is not served would ask again and again.
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = definitions.list(&ListParams::default().fields(&definition)).await.expect("it may be asked");
    if !found.items.is_empty() {
        hold!(CiliumNetworkPolicy, all());
    }
    let telling = async {
        join_all(ready).await;
        println!("{HOLDING}");
    };
    tokio::join!(telling, join_all(held));
}

fn hold_one<K>(client: Client, config: Config) -> (BoxFuture<'static, ()>, BoxFuture<'static, ()>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer): (Store<K>, Writer<K>) = store();
    let events = watcher(Api::<K>::all(client), config).default_backoff();
    let kept = reflect(writer, events).for_each(async |_| ()).boxed();
    let filled = async move { reader.wait_until_ready().await.expect("the watch goes on") }.boxed();
    (kept, filled)
}

/// B2: writes the two policies of a connection as soon as it sees an approval of it. It runs until it is
/// dropped.
pub struct PolicyWriter(JoinHandle<()>);

impl PolicyWriter {
    /// Begins once everything that there is was seen.
    pub async fn start(writer: Creator, load: Load) -> Self {
        let (seen, has_seen) = oneshot::channel();
        let task = tokio::spawn(write_policies(writer, load, seen));
        has_seen.await.expect("the watch begins");
        Self(task)
    }
}

impl Drop for PolicyWriter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn write_policies(writer: Creator, load: Load, seen: oneshot::Sender<()>) {
    let numbers: Arc<BTreeMap<Key, (usize, usize)>> = Arc::new(connection_numbers(&load));
    let requests: Api<ApprovalRequest> = Api::all(writer.client.clone());
    let mut events = std::pin::pin!(watcher(requests, Config::default()));
    let mut seen = Some(seen);
    while let Some(event) = events.next().await {
        match event.expect("the watch works") {
            Event::InitDone => drop(seen.take().map(|seen| seen.send(()))),
            Event::Apply(request) if is_approved(&request) => {
                let target = &request.spec.target;
                let key = (target.namespace.clone().unwrap_or_default(), target.name.clone());
                let Some(&(number, which)) = numbers.get(&key) else { continue };
                let (writer, policies) = (writer.clone(), load.policies(number, which));
                tokio::spawn(
                    async move { join_all(policies.iter().map(|policy| writer.create(policy))).await },
                );
            }
            _ => {}
        }
    }
}

/// Which connection of the load has which name.
pub fn connection_numbers(load: &Load) -> BTreeMap<Key, (usize, usize)> {
    let all = (0..load.enclaves).flat_map(|number| (0..load.connections).map(move |which| (number, which)));
    all.map(|(number, which)| {
        let connection: EnclaveConnection = load.connection(number, which);
        ((connection.namespace().unwrap_or_default(), connection.name_any()), (number, which))
    })
    .collect()
}

fn is_approved(request: &ApprovalRequest) -> bool {
    let votes = request.status.as_ref().map(|status| status.decisions.as_slice()).unwrap_or_default();
    votes.iter().any(|vote| vote.verdict == Verdict::Approved)
}
