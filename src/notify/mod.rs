//! Notifications of people: who is notified, where a Community wants messages to go, and the delivery.
//!
//! The words of a message are `model::notification`'s, the protocols those of `sinks`. Only `audit` imports this folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{RoleRef, Subject};
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use tracing::warn;

use crate::api::common::{Principal, PrincipalKind};
use crate::api::community::Channel;
use crate::api::names::child;
use crate::api::{ApprovalRequest, Community, Role};
use crate::kinds::caches::Caches;
use crate::kinds::index::ClusterBindingBy;
use crate::kinds::outbox::Event;
use crate::kinds::parent::parent_of;
use crate::model::naming::namespace_of;
use crate::model::notification::message::{Notification, write_notification};
use crate::model::rbac::roles::cluster_role;
use crate::sinks::{
    DeliveryError, HttpSettings, HttpSink, Message, SlackSettings, SlackSink, SmtpSettings, SmtpSink, Token,
};

/// The outcome of a delivery that did not fail.
pub enum Delivery {
    Taken,
    /// There is nobody to deliver to, or the delivery makes no sense any more.
    GivenUp,
}

/// The name of the Secret in errors.
const SETTINGS: &str = "the notifications of the Community";

/// The Community around what an event is about.
#[must_use]
pub fn community_of(caches: &Caches, event: &Event) -> Option<Arc<Community>> {
    parent_of(caches, &event.object.namespace).community().cloned()
}

/// Delivers an event to people by one channel.
///
/// # Errors
/// When it was not delivered, or not for certain.
pub async fn send(
    client: &Client,
    caches: &Caches,
    channel: Channel,
    event: &Event,
    ca: Option<&Path>,
) -> Result<Delivery, DeliveryError> {
    let (Some(community), Some(request)) = (community_of(caches, event), request_of(caches, event)) else {
        // The request or its Community went meanwhile, so there is nothing to decide.
        return Ok(Delivery::GivenUp);
    };
    let settings = read_settings(client, &namespace_of(&community)).await?;
    let ca = ca.map(Path::to_path_buf);
    let done = |()| Delivery::Taken;
    if channel == Channel::CloudEvents {
        let token = settings.get("cloudevents-token").map(|token| Token::Value(token.as_str().into()));
        let url = required(&settings, "cloudevents-url")?.into();
        return HttpSink::new(HttpSettings { url, token, ca })?.deliver(&event.event).await.map(done);
    }
    let Some(notification) = notification(caches, &request, event) else { return Ok(Delivery::GivenUp) };
    match channel {
        Channel::CloudEvents => Ok(Delivery::GivenUp),
        Channel::Slack => {
            let url = required(&settings, "slack-url")?.into();
            let to: Vec<String> = notification.to.iter().map(ToString::to_string).collect();
            let text = format!("For: {}\n{}", to.join(", "), notification.text);
            SlackSink::new(&SlackSettings { url, ca })?
                .deliver(&Message::new(&notification.subject, &text))
                .await
                .map(done)
        }
        Channel::Email => {
            let to = addresses(&notification.to, &settings)?;
            if to.is_empty() {
                let names: Vec<String> = notification.to.iter().map(ToString::to_string).collect();
                warn!(community = community.metadata.name, ?names, "nobody's mail address is known");
                return Ok(Delivery::GivenUp);
            }
            let (url, from) =
                (required(&settings, "smtp-url")?.into(), required(&settings, "smtp-from")?.to_owned());
            let message = Message::new(&notification.subject, &notification.text);
            SmtpSink::new(&SmtpSettings { url, from, to, ca })?.deliver(&message).await.map(done)
        }
    }
}

fn request_of(caches: &Caches, event: &Event) -> Option<Arc<ApprovalRequest>> {
    let object = &event.object;
    caches.requests.get(&object.namespace, &object.name)
}

fn notification(caches: &Caches, request: &ApprovalRequest, event: &Event) -> Option<Notification> {
    let waiting = &request.status.as_ref()?.audit.waiting;
    let record = waiting.iter().find(|record| record.number == event.id.1)?;
    write_notification(request, record, &approvers(caches, request.metadata.namespace.as_deref()?))
}

/// Returns the people who hold the role of an approver in a namespace, by bindings of the role itself.
fn approvers(caches: &Caches, namespace: &str) -> BTreeSet<Principal> {
    let role = cluster_role(Role::EnclaveApprover);
    let is_it = |reference: &RoleRef| reference.kind == "ClusterRole" && reference.name == role;
    let mut approvers = BTreeSet::new();
    for binding in caches.role_bindings.in_namespace(namespace) {
        if is_it(&binding.role_ref) {
            approvers.extend(binding.subjects.iter().flatten().filter_map(principal));
        }
    }
    for binding in caches.cluster_role_bindings.by(ClusterBindingBy::Role, &role) {
        if is_it(&binding.role_ref) {
            approvers.extend(binding.subjects.iter().flatten().filter_map(principal));
        }
    }
    approvers
}

/// Service accounts are not people.
fn principal(subject: &Subject) -> Option<Principal> {
    let kind = match subject.kind.as_str() {
        "User" => PrincipalKind::User,
        "Group" => PrincipalKind::Group,
        _ => return None,
    };
    Some(Principal { kind, name: subject.name.clone(), namespace: None })
}

/// The part of a Secret that is read, whatever else is in it.
#[derive(Deserialize)]
struct SecretData {
    #[serde(default)]
    data: Option<BTreeMap<String, ByteString>>,
}

async fn read_settings(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>, DeliveryError> {
    let unreachable = |error: kube::Error| DeliveryError::Unreachable {
        to: "the API server".to_owned(),
        advice: "the Secret with the notifications of a Community could not be read",
        source: Box::new(error),
    };
    let request = Request::new(Secret::url_path(&(), Some(namespace)));
    let request = request.get(child::NOTIFICATIONS, &GetParams::default());
    let request = request.map_err(|error| unreachable(kube::Error::BuildRequest(error)))?;
    let secret: SecretData = match client.request(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let problem =
                format!("make the Secret {namespace}/{}, or take the channel off", child::NOTIFICATIONS);
            return Err(misconfigured(problem));
        }
        found => found.map_err(unreachable)?,
    };
    let data = secret.data.unwrap_or_default().into_iter();
    Ok(data
        .filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?.trim().to_owned())))
        .collect())
}

fn required<'a>(settings: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str, DeliveryError> {
    settings
        .get(key)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| misconfigured(format!("the Secret {} has no {key}", child::NOTIFICATIONS)))
}

/// Returns the addresses to write to. A principal whose name is a mail address needs no entry.
fn addresses(
    to: &BTreeSet<Principal>,
    settings: &BTreeMap<String, String>,
) -> Result<Vec<String>, DeliveryError> {
    let known: BTreeMap<String, String> = match settings.get("addresses") {
        Some(text) => serde_yaml_ng::from_str(text)
            .map_err(|_| misconfigured("its addresses are no map from names to mail addresses".to_owned()))?,
        None => BTreeMap::new(),
    };
    let of = |principal: &Principal| {
        let own = principal.name.contains('@').then(|| principal.name.clone());
        known.get(&principal.name).cloned().or(own)
    };
    let found: BTreeSet<String> = to.iter().filter_map(of).collect();
    Ok(found.into_iter().collect())
}

fn misconfigured(problem: String) -> DeliveryError {
    DeliveryError::Misconfigured { to: SETTINGS.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(names: &[&str]) -> BTreeSet<Principal> {
        let person =
            |name: &&str| Principal { kind: PrincipalKind::User, name: (*name).into(), namespace: None };
        names.iter().map(person).collect()
    }

    fn settings(addresses: &str) -> BTreeMap<String, String> {
        [("addresses".to_owned(), addresses.to_owned())].into()
    }

    #[test]
    fn mail_goes_to_those_whose_address_is_known() {
        let known = settings("bob: bob@example.com\ncyber-team: cyber@example.com");
        let to = |names: &[&str]| addresses(&people(names), &known).map_err(|error| error.to_string());
        assert_eq!(to(&["bob", "carol"]).unwrap(), ["bob@example.com"]);
        assert_eq!(to(&["dave@example.org", "bob"]).unwrap(), ["bob@example.com", "dave@example.org"]);
        assert_eq!(to(&["carol"]).unwrap(), [""; 0], "who is not known is not written to");
        assert!(addresses(&people(&["bob"]), &settings("- a")).unwrap_err().to_string().contains("no map"));
    }
}
