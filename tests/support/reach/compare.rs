//! Asks the books and the analyser about every pair of peers, every protocol and every port.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use enclave_operator::api::common::{IpBlock, LabelOperator, LabelSelector, Protocol as ApiProtocol};

use super::books::{Books, Opening, Side};
use crate::{Peer, Protocol, Reachability, Traffic};

/// A Pod as policies see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodLabels {
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// Which halves of the policies the analyser was shown. A half that is too wide hides behind the
/// other one, so each is looked at by itself too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Both,
    OnlyEgress,
    OnlyIngress,
}

/// The outcome.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Where the two differ, in words.
    pub differences: Vec<String>,
    /// How many pairs of peers were compared.
    pub pairs: usize,
    /// How often both were asked whether something passes.
    pub questions: usize,
    /// How many pairs reach each other because of a connection.
    pub connected: usize,
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// What may pass from one peer to another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ports {
    All,
    Some(Vec<(Protocol, u32, u32)>),
}

/// Compares what the analyser found with the books, for all pairs of which at least one is in one of
/// these namespaces.
pub fn compare(
    books: &Books,
    pods: &[PodLabels],
    found: &Reachability,
    view: View,
    in_scope: impl Fn(&str) -> bool,
) -> Comparison {
    let peers = Peers::of(books, pods, found);
    let (analysed, mut differences) = peers.index(found, &in_scope);
    let nothing = Ports::Some(Vec::new());
    let mut comparison = Comparison::default();
    let scope: Vec<bool> = pods.iter().map(|pod| in_scope(&pod.namespace)).collect();
    let is_in_scope = |peer: usize| scope.get(peer).copied().unwrap_or_default();
    for from in 0..peers.count() {
        for to in 0..peers.count() {
            if from == to || !(is_in_scope(from) || is_in_scope(to)) {
                continue;
            }
            let out = if view == View::OnlyIngress { Ports::All } else { peers.egress(from, to) };
            let into = if view == View::OnlyEgress { Ports::All } else { peers.ingress(from, to) };
            let analysed = analysed.get(&(from, to)).unwrap_or(&nothing);
            comparison.pairs += 1;
            let mut is_connected = false;
            for protocol in PROTOCOLS {
                let ranges = split(protocol, [&out, &into, analysed]);
                for range in ranges {
                    let port = *range.start();
                    let wanted = out.contains(protocol, port) && into.contains(protocol, port);
                    is_connected |= wanted;
                    comparison.questions += 1;
                    if wanted != analysed.contains(protocol, port) {
                        let verdict = if wanted { "too narrow" } else { "too wide" };
                        let ends = format!("{} -> {}", peers.name(from), peers.name(to));
                        let ports = format!("{protocol} {}-{}", range.start(), range.end());
                        differences.push(format!("{verdict}: {ends} {ports}"));
                    }
                }
            }
            let because_of_a_connection = is_connected && !peers.opened(from, to).is_empty();
            comparison.connected += usize::from(because_of_a_connection);
        }
    }
    comparison.differences = differences;
    comparison
}

/// All ports, cut where one of these changes its mind.
fn split(protocol: Protocol, all: [&Ports; 3]) -> Vec<RangeInclusive<u32>> {
    let mut starts = BTreeSet::from([1]);
    for ports in all {
        if let Ports::Some(ranges) = ports {
            let mine = ranges.iter().filter(|(of, ..)| *of == protocol);
            starts.extend(mine.flat_map(|(_, first, last)| [*first, last + 1]));
        }
    }
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([65535]);
    starts.iter().zip(ends).filter(|(start, end)| *start <= end).map(|(start, end)| *start..=end).collect()
}

impl Ports {
    fn contains(&self, protocol: Protocol, port: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some(ranges) => {
                ranges.iter().any(|(of, first, last)| *of == protocol && (first..=last).contains(&&port))
            }
        }
    }
}

/// Everybody who could reach or be reached: the Pods, and after them the addresses outside, cut where
/// a block begins or ends.
struct Peers<'a> {
    books: &'a Books,
    pods: &'a [PodLabels],
    addresses: Vec<RangeInclusive<u32>>,
    /// For each opening, whether a peer is on its sides.
    sides: Vec<(Vec<bool>, Vec<bool>)>,
}

impl<'a> Peers<'a> {
    fn of(books: &'a Books, pods: &'a [PodLabels], found: &Reachability) -> Self {
        let mut cuts = BTreeSet::from([0]);
        let sides = books.openings.iter().flat_map(|opening| opening.from.iter().chain(&opening.to));
        for side in sides {
            if let Side::Block(IpBlock { cidr, except }) = side {
                for block in except.iter().chain([cidr]) {
                    let block = addresses_of(block);
                    cuts.extend([u64::from(*block.start()), u64::from(*block.end()) + 1]);
                }
            }
        }
        for peer in found.flows().iter().flat_map(|flow| [&flow.from, &flow.to]) {
            if let Peer::Addresses(ranges) = peer {
                let ends = ranges.iter().flat_map(|range| [number(*range.start()), number(*range.end()) + 1]);
                cuts.extend(ends);
            }
        }
        let ends = cuts.iter().skip(1).copied().chain([1 << 32]);
        let addresses = cuts.iter().zip(ends).filter(|(start, end)| *start < end);
        let addresses = addresses.map(|(start, end)| shorten(*start)..=shorten(end - 1)).collect();
        let mut peers = Self { books, pods, addresses, sides: Vec::new() };
        let both = |Opening { from, to, .. }: &Opening| (peers.on(from), peers.on(to));
        peers.sides = books.openings.iter().map(both).collect();
        peers
    }

    fn count(&self) -> usize {
        self.pods.len() + self.addresses.len()
    }

    fn name(&self, peer: usize) -> String {
        if let Some(PodLabels { namespace, name, labels }) = self.pods.get(peer) {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{namespace}/{name} ({})", labels.join(", "))
        } else {
            let range = &self.addresses[peer - self.pods.len()];
            format!("{}-{}", Ipv4Addr::from(*range.start()), Ipv4Addr::from(*range.end()))
        }
    }

    fn on(&self, sides: &[Side]) -> Vec<bool> {
        let is_on = |peer: usize| {
            sides.iter().any(|side| match (side, self.pods.get(peer)) {
                (Side::Pods { namespace, selector }, Some(pod)) => {
                    pod.namespace == *namespace && selects(selector, &pod.labels)
                }
                (Side::Block(block), None) => {
                    contains(block, *self.addresses[peer - self.pods.len()].start())
                }
                // The analyser never lets a block match a Pod.
                (Side::Block(_), Some(_)) | (Side::Pods { .. }, None) => false,
            })
        };
        (0..self.count()).map(is_on).collect()
    }

    /// Whether the operator decides about a peer.
    fn is_closed(&self, peer: usize) -> bool {
        self.pods.get(peer).is_some_and(|pod| self.books.managed.contains(&pod.namespace))
    }

    fn egress(&self, from: usize, to: usize) -> Ports {
        if !self.is_closed(from) {
            return Ports::All;
        }
        let Some(room) = self.books.rooms.get(&self.pods[from].namespace) else {
            return Ports::Some(Vec::new());
        };
        let target = self.pods.get(to);
        if target.is_some_and(|target| room.together.contains(&target.namespace)) {
            return Ports::All;
        }
        let mut ports = self.opened(from, to);
        let answers = |target: &PodLabels| {
            let has = |(key, value): (&String, &String)| target.labels.get(key) == Some(value);
            target.namespace == room.dns.namespace && room.dns.pod_labels.iter().all(has)
        };
        if target.is_some_and(answers) {
            let port = u32::try_from(room.dns.port).unwrap();
            ports.extend([(Protocol::Tcp, port, port), (Protocol::Udp, port, port)]);
        }
        Ports::Some(ports)
    }

    fn ingress(&self, from: usize, to: usize) -> Ports {
        if !self.is_closed(to) {
            return Ports::All;
        }
        let Some(room) = self.books.rooms.get(&self.pods[to].namespace) else {
            return Ports::Some(Vec::new());
        };
        if self.pods.get(from).is_some_and(|source| room.together.contains(&source.namespace)) {
            return Ports::All;
        }
        Ports::Some(self.opened(from, to))
    }

    fn opened(&self, from: usize, to: usize) -> Vec<(Protocol, u32, u32)> {
        let openings = self.books.openings.iter().zip(&self.sides);
        let open = openings.filter(|(_, (sources, targets))| sources[from] && targets[to]);
        let ports = open.flat_map(|(opening, _)| &opening.ports);
        let read = ports.map(|port| {
            let (first, last) = (port.port, port.end_port.unwrap_or(port.port));
            let protocol = match port.protocol {
                ApiProtocol::Tcp => Protocol::Tcp,
                ApiProtocol::Udp => Protocol::Udp,
                ApiProtocol::Sctp => Protocol::Sctp,
            };
            (protocol, u32::try_from(first).unwrap(), u32::try_from(last).unwrap())
        });
        read.collect()
    }

    /// What the analyser found, by pair; and in words what it found of Pods that nobody knows.
    fn index(
        &self,
        found: &Reachability,
        in_scope: impl Fn(&str) -> bool,
    ) -> (HashMap<(usize, usize), Ports>, Vec<String>) {
        let pods: HashMap<(&str, &str), usize> = (self.pods.iter().enumerate())
            .map(|(index, pod)| ((pod.namespace.as_str(), pod.name.as_str()), index))
            .collect();
        let resolve = |peer: &Peer| -> Vec<usize> {
            match peer {
                Peer::Workload { namespace, name } => {
                    pods.get(&(namespace.as_str(), name.as_str())).copied().into_iter().collect()
                }
                Peer::Addresses(ranges) => (self.addresses.iter().enumerate())
                    .filter(|(_, one)| {
                        ranges.iter().any(|range| range.contains(&Ipv4Addr::from(*one.start())))
                    })
                    .map(|(index, _)| self.pods.len() + index)
                    .collect(),
            }
        };
        let is_in_scope = |peer: &Peer| match peer {
            Peer::Workload { namespace, .. } => in_scope(namespace),
            Peer::Addresses(_) => false,
        };
        let (mut table, mut unknown) = (HashMap::<_, Ports>::new(), Vec::new());
        for flow in found.flows() {
            let (sources, targets) = (resolve(&flow.from), resolve(&flow.to));
            if (sources.is_empty() || targets.is_empty())
                && (is_in_scope(&flow.from) || is_in_scope(&flow.to))
            {
                unknown.push(format!("unknown peer: {flow}"));
            }
            for from in &sources {
                for to in &targets {
                    let known = table.entry((*from, *to)).or_insert_with(|| Ports::Some(Vec::new()));
                    match (&flow.traffic, known) {
                        (Traffic::Everything, known) => *known = Ports::All,
                        (Traffic::Ports(ports), Ports::Some(known)) => {
                            known.extend(ports.iter().flat_map(|(protocol, ranges)| {
                                let widen = |range: &RangeInclusive<u16>| {
                                    (*protocol, u32::from(*range.start()), u32::from(*range.end()))
                                };
                                ranges.iter().map(widen)
                            }));
                        }
                        (Traffic::Ports(_), Ports::All) => {}
                    }
                }
            }
        }
        (table, unknown)
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let has = |(key, value)| labels.get(key) == Some(value);
    selector.match_labels.iter().all(has)
        && selector.match_expressions.iter().all(|one| {
            let value = labels.get(&one.key);
            match one.operator {
                LabelOperator::In => value.is_some_and(|value| one.values.contains(value)),
                LabelOperator::NotIn => value.is_none_or(|value| !one.values.contains(value)),
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        })
}

fn contains(IpBlock { cidr, except }: &IpBlock, address: u32) -> bool {
    addresses_of(cidr).contains(&address) && !except.iter().any(|one| addresses_of(one).contains(&address))
}

/// The analyser misreads blocks of IPv6 addresses, so there are none.
fn addresses_of(cidr: &str) -> RangeInclusive<u32> {
    let (address, prefix) = cidr.split_once('/').unwrap();
    let first = u32::from(address.parse::<Ipv4Addr>().unwrap());
    let rest = u32::MAX.checked_shr(prefix.parse().unwrap()).unwrap_or_default();
    first..=first | rest
}

fn number(address: Ipv4Addr) -> u64 {
    u64::from(u32::from(address))
}

fn shorten(address: u64) -> u32 {
    u32::try_from(address).unwrap()
}
