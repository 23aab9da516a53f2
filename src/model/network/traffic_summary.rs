//! Traffic in words, for those who decide: the packets that may pass, and what a change opens and closes.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api::common::{IpBlock, LabelSelector, NamespacedPods};
use crate::model::approval::applied::EvaluationError;
use crate::model::approval::scope::NotReady;
use crate::model::network::connectivity::{
    Connectivity, Destination, DestinationEnd, Flow, Peer, ResolvedConnection, SourceEnd, Sources, resolve,
};

/// Describes the packets that may pass: one line for each pair of ends.
#[must_use]
pub fn describe_flow(flow: &Flow) -> BTreeSet<String> {
    let Flow { from, to, ports } = flow;
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let from: Vec<String> = match from {
        Sources::Workloads(namespaces) => namespaces.clone(),
        Sources::Outside(peers) => peers.iter().map(describe_peer).collect(),
    };
    let to: Vec<String> = match to {
        Destination::Workload(pods) => vec![describe_pods(pods)],
        Destination::Outside(peers) => peers.iter().map(describe_peer).collect(),
        Destination::Names { names, dns: _ } => names.clone(),
    };
    from.iter()
        .flat_map(|from| to.iter().map(move |to| (from, to)))
        .map(|(from, to)| format!("{from} -> {to}: {ports}"))
        .collect()
}

fn describe_peer(peer: &Peer) -> String {
    match peer {
        Peer::Block(IpBlock { cidr, except }) if except.is_empty() => cidr.clone(),
        Peer::Block(IpBlock { cidr, except }) => format!("{cidr} except {}", join_some(except)),
        Peer::Pods(pods) => describe_pods(pods),
    }
}

fn describe_pods(pods: &NamespacedPods) -> String {
    let NamespacedPods { namespace, pod_selector: LabelSelector { match_labels, match_expressions } } = pods;
    let labels = match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    let expressions = match_expressions.iter().map(|one| {
        let values = one.values.join(",");
        if values.is_empty() {
            format!("{} {:?}", one.key, one.operator)
        } else {
            format!("{} {:?} ({values})", one.key, one.operator)
        }
    });
    let selector = join_some(&labels.chain(expressions).collect::<Vec<_>>());
    if selector.is_empty() { namespace.clone() } else { format!("{namespace} ({selector})") }
}

/// Joins as many words as leave room for the ports, which come after them in the line and are never cut off.
fn join_some(words: &[String]) -> String {
    const LONGEST: usize = 300;
    let mut length = 0;
    let fits = |word: &&String| {
        length += word.chars().count() + 2;
        length <= LONGEST
    };
    let shown: Vec<&str> = words.iter().take_while(fits).map(String::as_str).collect();
    match words.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")).trim_start().to_owned(),
    }
}

/// Describes what a change opens and closes: the difference between the packets that may pass through these
/// connections before and after it, as if the change were in force. Connections that cannot open yet, but will
/// by themselves, are described too.
///
/// # Errors
/// When what is applied of one of the objects cannot be read.
pub fn compare(
    before: &[ResolvedConnection],
    after: &[ResolvedConnection],
    now: Timestamp,
) -> Result<(Vec<String>, Vec<String>), EvaluationError> {
    let describe = |connections: &[ResolvedConnection]| -> Result<BTreeSet<String>, EvaluationError> {
        let mut lines = BTreeSet::new();
        for resolved in connections {
            match resolve(resolved, now)? {
                Connectivity::Open { flow, missing } => {
                    lines.extend(describe_flow(&flow));
                    lines.extend(missing.map(|missing| describe_later(resolved, &missing)));
                }
                Connectivity::Unavailable(missing) => {
                    lines.insert(describe_later(resolved, &missing));
                }
                Connectivity::Disabled(_) | Connectivity::NotApplied => {}
            }
        }
        Ok(lines)
    };
    let (before, after) = (describe(before)?, describe(after)?);
    Ok((after.difference(&before).cloned().collect(), before.difference(&after).cloned().collect()))
}

fn describe_later(resolved: &ResolvedConnection, missing: &NotReady) -> String {
    let from = match &resolved.source {
        SourceEnd::Workloads(workloads) => {
            workloads.iter().map(|end| end.name.as_str()).collect::<Vec<_>>().join(", ")
        }
        SourceEnd::TransitHub { name, .. } => name.clone(),
    };
    let (DestinationEnd::Enclave { name: to, .. } | DestinationEnd::Community { name: to, .. }) =
        &resolved.destination;
    format!("{from} -> {to}, as soon as it can (now: {})", missing.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_in_a_line_leaves_room_for_the_ports() {
        let words: Vec<String> = (0..64).map(|n| format!("label-{n}={}", "x".repeat(40))).collect();
        let shown = join_some(&words);
        assert!(shown.len() < 330 && shown.ends_with("and 58 more"), "{shown}");
        assert_eq!(join_some(&words[..2]), words[..2].join(", "));
        assert_eq!(join_some(&["y".repeat(400)]), "and 1 more");
    }
}
