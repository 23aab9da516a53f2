//! How hosts are wired: each by a link of its own to the node, which forwards between them. So
//! every packet is routed and meets the agent's rules, as it does for most network plugins; a
//! bridge would need a kernel module to show them its packets.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::error::LabError;
use super::netns::Netns;
use crate::support::poll;

/// The node's address, by which Pods say that they run there. It is reserved for documentation.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What every host takes for its router: the node's end of its link.
const ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The two ends of every link know each other, so nobody has to ask: a question that is lost would
/// be asked again only after a second.
const NODE_MAC: &str = "02:00:00:00:00:01";
const HOST_MAC: &str = "02:00:00:00:00:02";

const CARRIER_LIMIT: Duration = Duration::from_secs(10);

/// A namespace that is a node without hosts.
pub fn make_node() -> Result<Netns, LabError> {
    let node = Netns::new()?;
    node.ip(&format!("link set lo up\naddr add {NODE_ADDRESS}/32 dev lo\n"))?;
    // A node forwards; and it says no each time, not only once a second, which spares the client
    // that asks again from waiting in vain.
    for (setting, value) in [("ip_forward", "1"), ("icmp_ratelimit", "0")] {
        node.enter(|| std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), value))?
            .map_err(|source| LabError::Setting { setting, source })?;
    }
    Ok(node)
}

/// A namespace that is a host with this address, wired to the node. The number must be free.
pub fn make_host(node: &Netns, number: u16, address: Ipv4Addr) -> Result<Netns, LabError> {
    let host = Netns::new()?;
    node.ip(&format!(
        "link add host{number} address {NODE_MAC} type veth peer name eth0 address {HOST_MAC} netns {}\n\
         addr add {ROUTER}/32 dev host{number}\n\
         link set host{number} up\n\
         neigh add {address} lladdr {HOST_MAC} dev host{number}\n\
         route add {address}/32 dev host{number}\n",
        host.path()
    ))?;
    host.ip(&format!(
        "link set lo up\n\
         addr add {address}/32 dev eth0\n\
         link set eth0 up\n\
         neigh add {ROUTER} lladdr {NODE_MAC} dev eth0\n\
         route add {ROUTER} dev eth0 scope link\n\
         route add default via {ROUTER}\n"
    ))?;
    poll(CARRIER_LIMIT, || reaches_router(&host).then_some(())).ok_or(LabError::Silence(address))?;
    Ok(host)
}

/// A new link may lose packets until the kernel has noticed that both its ends are up. The router
/// answers when it refuses a connection, as nobody listens there.
fn reaches_router(host: &Netns) -> bool {
    let router = SocketAddr::from((ROUTER, 9));
    let answer = host.enter(|| TcpStream::connect_timeout(&router, Duration::from_millis(50)));
    matches!(answer, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
}
