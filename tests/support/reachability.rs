//! Which connections policies let through, as values that a test can compare.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde::Deserialize;

/// Everything that can be reached in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reachability {
    flows: Vec<Flow>,
}

/// New connections from one peer to another. A workload's connections to itself are no flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub from: Peer,
    pub to: Peer,
    pub traffic: Traffic,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A Pod, or the controller that owns it.
    Workload { namespace: String, name: String },
    /// Addresses outside the cluster.
    Addresses(Vec<RangeInclusive<Ipv4Addr>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    Everything,
    Ports(BTreeMap<Protocol, Vec<RangeInclusive<u16>>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("the analyser did not answer with a list of connections: {0}")]
    Json(String),
    #[error("failed to understand the peer {0:?}")]
    Peer(String),
    #[error("failed to understand the traffic {0:?}")]
    Traffic(String),
}

impl Reachability {
    /// Reads what `netpolicy list -o json` prints.
    pub fn parse(json: &str) -> Result<Self, ParseError> {
        let listed: Vec<Listed> =
            serde_json::from_str(json).map_err(|error| ParseError::Json(error.to_string()))?;
        let flows = listed.iter().map(Listed::read).collect::<Result<_, _>>()?;
        Ok(Self { flows })
    }

    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Whether a connection is let through. A peer is a workload, written `namespace/name`, or an
    /// address outside the cluster. A workload that does not exist reaches nothing: compare
    /// [`Reachability::touching`] with the whole list where that could hide a mistake.
    pub fn allows(&self, from: &str, to: &str, protocol: Protocol, port: u16) -> bool {
        self.flows
            .iter()
            .any(|flow| flow.from.is(from) && flow.to.is(to) && flow.traffic.contains(protocol, port))
    }

    /// All flows from, to and inside a namespace in words, sorted, for example
    /// `shop/api → ledger/db TCP 5432`.
    pub fn touching(&self, namespace: &str) -> Vec<String> {
        let mut flows: Vec<String> = self
            .flows
            .iter()
            .filter(|flow| flow.from.is_in(namespace) || flow.to.is_in(namespace))
            .map(Flow::to_string)
            .collect();
        flows.sort();
        flows
    }
}

impl Peer {
    fn is(&self, peer: &str) -> bool {
        match self {
            Self::Workload { namespace, name } => peer.split_once('/') == Some((namespace, name)),
            Self::Addresses(ranges) => peer
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| ranges.iter().any(|range| range.contains(&address))),
        }
    }

    fn is_in(&self, wanted: &str) -> bool {
        matches!(self, Self::Workload { namespace, .. } if namespace == wanted)
    }

    /// `namespace/name[Kind]`, or ranges such as `10.0.0.0-10.0.0.255`.
    fn read(text: &str) -> Result<Self, ParseError> {
        let misread = || ParseError::Peer(text.to_owned());
        if let Some((namespace, name)) = text.split_once('/') {
            let (name, _) = name.split_once('[').ok_or_else(misread)?;
            return Ok(Self::Workload { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        let range = |text: &str| {
            let (first, last) = text.trim().split_once('-')?;
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        text.split(',').map(range).collect::<Option<_>>().map(Self::Addresses).ok_or_else(misread)
    }
}

impl Traffic {
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Ports(ports) => {
                ports.get(&protocol).is_some_and(|ranges| ranges.iter().any(|range| range.contains(&port)))
            }
        }
    }

    /// `All Connections`, or for example `TCP 80,8000-8080,UDP 53`.
    fn read(text: &str) -> Result<Self, ParseError> {
        let misread = || ParseError::Traffic(text.to_owned());
        if text == "All Connections" {
            return Ok(Self::Everything);
        }
        let mut ports: BTreeMap<Protocol, Vec<_>> = BTreeMap::new();
        let mut current = None;
        for part in text.split(',') {
            let range = match part.split_once(' ') {
                Some((protocol, range)) => {
                    current = Some(Protocol::read(protocol).ok_or_else(misread)?);
                    range
                }
                None => part,
            };
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let range = first.parse().map_err(|_| misread())?..=last.parse().map_err(|_| misread())?;
            ports.entry(current.ok_or_else(misread)?).or_default().push(range);
        }
        Ok(Self::Ports(ports))
    }
}

impl Protocol {
    fn read(text: &str) -> Option<Self> {
        match text {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    src: String,
    dst: String,
    conn: String,
}

impl Listed {
    fn read(&self) -> Result<Flow, ParseError> {
        Ok(Flow {
            from: Peer::read(&self.src)?,
            to: Peer::read(&self.dst)?,
            traffic: Traffic::read(&self.conn)?,
        })
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} → {} {}", self.from, self.to, self.traffic)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, name } => write!(formatter, "{namespace}/{name}"),
            Self::Addresses(ranges) => formatter.write_str(&joined(ranges)),
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => formatter.write_str("everything"),
            Self::Ports(ports) => {
                let ports: Vec<String> =
                    ports.iter().map(|(protocol, ranges)| format!("{protocol} {}", joined(ranges))).collect();
                formatter.write_str(&ports.join(" "))
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

fn joined<T: PartialEq + fmt::Display>(ranges: &[RangeInclusive<T>]) -> String {
    let range = |range: &RangeInclusive<T>| {
        if range.start() == range.end() {
            range.start().to_string()
        } else {
            format!("{}-{}", range.start(), range.end())
        }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}
