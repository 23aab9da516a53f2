//! Real packets: Pods are played by network namespaces of this machine, a real agent enforces the
//! NetworkPolicies of a test's control plane between them, and TCP connections show what passes.
//! There is no UDP, no DNS and no Service.
//!
//! ```ignore
//! let lab = Lab::start(&world.plane).await?;
//! let api = lab.pod("acme-shop-web", "api", &[("app", "api")], &[]).await;
//! let db = lab.pod("acme-ledger-main", "db", &[("app", "db")], &[("sql", 5432)]).await;
//!
//! lab.settle().await;
//! assert!(!lab.can_connect(&api, &db, 5432));
//! vote(&bob, "acme-shop", &request, Verdict::Approved, None).await?;
//! lab.eventually_open(&api, &db, 5432).await;
//! patch(&connections, "to-ledger", json!({"spec": {"enabled": false}})).await?;
//! lab.eventually_closed(&api, &db, 5432).await;
//! ```
//!
//! "Closed" alone may mean that nothing has happened yet. So for what must stay closed, first wait
//! until the operator has written its policies, then [`Lab::settle`], then assert that
//! [`Lab::can_connect`] answers no.
//!
//! The node is a network namespace too, and none of them has a name. The machine's own network is
//! not touched, labs do not see each other, and nothing is left behind, see [`netns`].
//!
//! Measured on two busy cores: a policy is in force 0.05 to 0.3 seconds after the API server's
//! answer, [`Lab::settle`] takes 0.1 to 0.3 seconds, a Pod as long, a lab 0.6 seconds.

mod agent;
mod error;
mod netns;
mod sockets;
mod wires;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use self::agent::Agent;
pub use self::error::LabError;
use self::netns::Netns;
use self::sockets::Server;
use self::wires::NODE_ADDRESS;
use crate::support::{ControlPlane, PretendedPod, eventually};

/// From a change of an object to its effect, the operator's share included.
const LIMIT: Duration = Duration::from_secs(30);

/// Pods get addresses from here, one after the other.
const POD_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 0);

/// A node on which a policy agent runs, and hosts that are wired to it. One per control plane.
pub struct Lab<'a> {
    plane: &'a ControlPlane,
    agent: Agent,
    /// The agent's way to the API server.
    _relay: Server,
    node: Netns,
    hosts: AtomicU16,
}

/// What has an address in the lab: a Pod, or somebody outside the cluster.
pub struct Host {
    name: String,
    address: Ipv4Addr,
    servers: Vec<(u16, Server)>,
    namespace: Netns,
}

impl<'a> Lab<'a> {
    /// Starts the agent. Needs root; it fails, never skips, when something is missing.
    pub async fn start(plane: &'a ControlPlane) -> Result<Self, LabError> {
        let node = wires::make_node()?;
        let port = plane.administrator().cluster_url.port_u16().unwrap_or(443);
        let relay = Server::relay(&node, port)?;
        let hosts = AtomicU16::new(2);
        let agent = Agent::start(plane, &node, next_address(&hosts).1).await?;
        let lab = Self { plane, agent, _relay: relay, node, hosts };
        lab.settle().await;
        Ok(lab)
    }

    /// Makes a Pod that listens at its ports, given by name and number. When this returns, all
    /// policies apply to it. The namespace must exist.
    ///
    /// # Panics
    /// If that fails.
    pub async fn pod(
        &self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        ports: &[(&str, u16)],
    ) -> Host {
        let (number, address) = next_address(&self.hosts);
        let numbers: Vec<u16> = ports.iter().map(|&(_, port)| port).collect();
        let host = self.wire(number, format!("{namespace}/{name}"), address, &numbers);
        let node_address = NODE_ADDRESS;
        let pod = PretendedPod { namespace, name, labels, ports, address, node_address };
        pod.create(self.plane.administrator_user().client()).await;
        self.settle().await;
        host
    }

    /// Makes a host outside the cluster that listens at these ports.
    ///
    /// # Panics
    /// If that fails, for example because another host has the address.
    pub fn outsider(&self, address: Ipv4Addr, ports: &[u16]) -> Host {
        let (number, _) = next_address(&self.hosts);
        self.wire(number, address.to_string(), address, ports)
    }

    /// Waits until the policies, Pods and labels that the API server holds now are in force.
    /// Connections that are open stay so.
    ///
    /// # Panics
    /// If the agent does not get there.
    pub async fn settle(&self) {
        self.agent.settle(self.plane.administrator_user().client(), &self.node).await;
    }

    /// Whether a new connection is made and carries data. If not, it is the policies that forbid it: the node itself, which every agent lets through, gets an answer.
    ///
    /// # Panics
    /// If nobody listens at the port, or not even the node gets an answer.
    pub fn can_connect(&self, from: &Host, to: &Host, port: u16) -> bool {
        let listens = to.servers.iter().any(|&(number, _)| number == port);
        assert!(listens, "{to} does not listen at port {port}: that it is closed would mean nothing");
        let address = SocketAddrV4::new(to.address, port);
        if sockets::is_greeted_by(&from.namespace, address, &to.name) {
            return true;
        }
        let answers = sockets::is_greeted_by(&self.node, address, &to.name);
        assert!(answers, "{to} does not even answer its own node at port {port}");
        false
    }

    /// Waits until new connections are possible, and returns how long that took.
    ///
    /// # Panics
    /// If it takes too long.
    pub async fn eventually_open(&self, from: &Host, to: &Host, port: u16) -> Duration {
        let start = Instant::now();
        eventually(&format!("{from} reaches {to} at port {port}"), LIMIT, async || {
            self.can_connect(from, to, port).then_some(())
        })
        .await;
        start.elapsed()
    }

    /// Waits until no new connection is possible, and returns how long that took.
    ///
    /// # Panics
    /// If it takes too long.
    pub async fn eventually_closed(&self, from: &Host, to: &Host, port: u16) -> Duration {
        let start = Instant::now();
        eventually(&format!("{from} does not reach {to} at port {port}"), LIMIT, async || {
            (!self.can_connect(from, to, port)).then_some(())
        })
        .await;
        start.elapsed()
    }

    /// The node's network namespace as `/proc/PID/ns/net` shows it.
    pub fn identity(&self) -> String {
        self.node.identity().unwrap()
    }

    fn wire(&self, number: u16, name: String, address: Ipv4Addr, ports: &[u16]) -> Host {
        let wired = wires::make_host(&self.node, number, address).and_then(|namespace| {
            let serve =
                |&port| Ok((port, Server::greet(&namespace, SocketAddrV4::new(address, port), &name)?));
            let servers = ports.iter().map(serve).collect::<Result<_, LabError>>()?;
            Ok((servers, namespace))
        });
        let (servers, namespace) =
            wired.unwrap_or_else(|error| panic!("failed to make the host {name}: {error:?}"));
        Host { name, address, servers, namespace }
    }
}

impl Host {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// A number that no host has, and the Pod address that belongs to it.
fn next_address(hosts: &AtomicU16) -> (u16, Ipv4Addr) {
    let number = hosts.fetch_add(1, Ordering::Relaxed);
    (number, Ipv4Addr::from(u32::from(POD_NETWORK) + u32::from(number)))
}
