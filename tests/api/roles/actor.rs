//! Somebody who holds one role in one scope: what the authorizer says of it, and what it comes to.

use std::time::{Duration, Instant};

use enclave_operator::api::Kind;
use enclave_operator::api::role_assignment::Role;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;

use super::golden::{Cell, Scope};
use super::*;
use crate::support::eventually;
use crate::world::{kind_api, right};

const SYSTEM: &str = "enclave-system";
/// What is not there by then does not come.
const ENOUGH: Duration = Duration::from_secs(10);

/// A question to the authorizer, and its answer by the tables.
pub struct Question {
    pub right: ResourceAttributes,
    pub allowed: bool,
}

impl Question {
    pub fn new(cell: &Cell, verb: &str, kind: Kind, namespace: &str, name: Option<&str>) -> Self {
        let (resource, bare) = match verb.split_once('/') {
            Some((subresource, bare)) => (format!("{}/{subresource}", kind.plural()), bare),
            None => (kind.plural().to_owned(), verb),
        };
        let about = right(bare, &resource, namespace);
        let right = ResourceAttributes { name: name.map(ToOwned::to_owned), ..about };
        Self { right, allowed: cell.allows(verb, name) }
    }

    /// About the namespace of a workload, by the ClusterRole of Kubernetes that somebody should have there.
    pub fn in_workload(cluster_role: &str, namespace: &str) -> Vec<Self> {
        let asked = [
            ("get", "", "pods", &["admin", "edit", "view"][..]),
            ("create", "", "pods", &["admin", "edit"]),
            ("delete", "", "pods", &["admin", "edit"]),
            ("get", "", "secrets", &["admin", "edit"]),
            ("create", "rbac.authorization.k8s.io", "rolebindings", &["admin"]),
        ];
        assert!(["admin", "edit", "view", "–"].contains(&cluster_role), "no cell is {cluster_role:?}");
        asked
            .into_iter()
            .map(|(verb, group, resource, holders)| Self {
                right: ResourceAttributes { group: Some(group.into()), ..right(verb, resource, namespace) },
                allowed: holders.contains(&cluster_role),
            })
            .collect()
    }
}

/// Somebody who holds one role in one scope.
pub struct Actor {
    pub role: Role,
    pub scope: Scope,
    pub user: User,
    client: Client,
}

impl Actor {
    pub async fn may(&self, right: &ResourceAttributes) -> bool {
        let mut review = SelfSubjectAccessReview::default();
        review.spec.resource_attributes = Some(right.clone());
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await.unwrap();
        review.status.unwrap().allowed
    }

    /// Asks everything, and returns where the answer is another. What is to be allowed may take a moment;
    /// what is not to be allowed is asked when all that is in force.
    pub async fn ask(&self, questions: Vec<Question>) -> Vec<String> {
        let (mut missing, refused): (Vec<_>, Vec<_>) =
            questions.into_iter().partition(|question| question.allowed);
        let start = Instant::now();
        eventually("the role is in force", SOON, async || {
            for question in std::mem::take(&mut missing) {
                if !self.may(&question.right).await {
                    missing.push(question);
                }
            }
            (missing.is_empty() || start.elapsed() > ENOUGH).then_some(())
        })
        .await;
        let mut wrong: Vec<String> = missing.iter().map(|it| self.describe("may not", &it.right)).collect();
        for question in refused {
            if self.may(&question.right).await {
                wrong.push(self.describe("may", &question.right));
            }
        }
        wrong
    }

    fn describe(&self, what: &str, right: &ResourceAttributes) -> String {
        let ResourceAttributes { verb, resource, subresource, namespace, name, .. } = right;
        let [verb, resource, subresource, namespace, name] =
            [verb, resource, subresource, namespace, name].map(|it| it.as_deref().unwrap_or_default());
        let Self { role, scope, .. } = self;
        format!("{role} at {scope:?} scope {what} {verb} {resource}/{subresource} {namespace}/{name}")
    }

    /// Does what a cell is about, without effect, and returns where that ends another way.
    pub async fn act(&self, cell: &Cell, kind: Kind, sample: &DynamicObject) -> Vec<String> {
        let namespace = sample.metadata.namespace.clone().unwrap_or_default();
        let api = kind_api(&self.client, kind, &namespace);
        let name = sample.metadata.name.as_deref().unwrap();
        let post = PostParams { dry_run: true, ..PostParams::default() };
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let edit = Patch::Merge(json!({"spec": {"change": {"justification": "to look whether I may"}}}));
        let decision = Patch::Merge(json!({"status": {"decision": "Rejected", "comment": "no"}}));
        let mut another = sample.clone();
        another.metadata.name = Some("another".into());
        let mut deeds = vec![
            ("get", Some(name), api.get(name).await.map(drop)),
            ("list", None, api.list(&ListParams::default()).await.map(drop)),
            ("create", None, api.create(&post, &another).await.map(drop)),
            ("patch", Some(name), api.patch(name, &dry, &edit).await.map(drop)),
            ("delete", Some(name), api.delete(name, &DeleteParams::default().dry_run()).await.map(drop)),
        ];
        if kind == Kind::ApprovalRequest {
            let voted = api.patch_status(name, &dry, &decision).await;
            deeds.push(("status/patch", Some(name), voted.map(drop)));
        }
        let is_as_told = |verb: &str, name: Option<&str>, outcome: &Result<(), kube::Error>| match outcome {
            Ok(()) => cell.allows(verb, name),
            Err(error) => !cell.allows(verb, name) && is_without_right(error),
        };
        let wrong = deeds.into_iter().filter(|(verb, name, outcome)| !is_as_told(verb, *name, outcome));
        let Self { role, scope, .. } = self;
        wrong
            .map(|(verb, _, outcome)| {
                format!("{role} at {scope:?} scope does {verb} {kind} {namespace}/{name}: {outcome:?}")
            })
            .collect()
    }

    /// The same in the namespace of a workload.
    pub async fn act_in_workload(&self, cluster_role: &str, namespace: &str) -> Vec<String> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let settings = object(json!({"metadata": {"name": "mine"}}));
        let view = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
        let colleague = object(json!({"metadata": {"name": "mine"}, "roleRef": view}));
        let all: Api<ConfigMap> = namespaced(self.client.clone(), namespace);
        let bindings: Api<RoleBinding> = namespaced(self.client.clone(), namespace);
        let deeds = [
            ("list", all.list(&ListParams::default()).await.map(drop), &["admin", "edit", "view"][..]),
            ("create", all.create(&dry, &settings).await.map(drop), &["admin", "edit"]),
            ("bind", bindings.create(&dry, &colleague).await.map(drop), &["admin"]),
        ];
        let wrong = deeds.into_iter().filter(|(_, outcome, holders)| {
            let is_refused = outcome.as_ref().is_err_and(is_without_right);
            is_refused == holders.contains(&cluster_role) || (!is_refused && outcome.is_err())
        });
        let Self { role, scope, .. } = self;
        wrong
            .map(|(deed, outcome, _)| {
                format!("{role} at {scope:?} scope does {deed} in {namespace}: {outcome:?}")
            })
            .collect()
    }
}

/// Gives a role to somebody who has nothing else.
pub async fn appoint(place: &Place<'_>, role: Role, scope: Scope) -> Actor {
    let name = format!("{role}-at-{scope:?}-scope").to_lowercase();
    let person = place.user(&name, &[]);
    let namespace = match scope {
        Scope::Cluster => SYSTEM.to_owned(),
        Scope::Community => place.community.clone(),
        Scope::Enclave => place.control("payments"),
    };
    place.assign(&namespace, &name, role.name(), &[user(&person)]).await;
    Actor { role, scope, client: person.client(), user: person }
}

/// Whether the authorizer refused, and not a policy.
fn is_without_right(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("\" cannot "))
}
