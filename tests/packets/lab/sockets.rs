//! The traffic: servers that say who they are, clients that listen to them, and the way from the
//! node to the API server. All of it blocks, in threads: a connection on one machine takes less
//! than a millisecond.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::error::LabError;
use super::netns::Netns;

/// Long enough for the kernel to ask once more, after a second. Agents that refuse answer at once.
const ANSWER_LIMIT: Duration = Duration::from_millis(2500);

/// A socket that accepts connections until this is dropped.
#[derive(Debug)]
pub struct Server(Arc<TcpListener>);

impl Server {
    /// Says `name` to everybody who connects.
    pub fn greet(namespace: &Netns, address: SocketAddrV4, name: &str) -> Result<Self, LabError> {
        let name = name.to_owned();
        Self::start(namespace, address, move |mut client| {
            // Whether the client is still there is for the client to say.
            let _ = client.write_all(name.as_bytes());
        })
    }

    /// Gives processes in a namespace, at the loopback address of their own, a port of this
    /// process' loopback address: namespaces do not share it.
    pub fn relay(namespace: &Netns, port: u16) -> Result<Self, LabError> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Self::start(namespace, address, move |client| {
            // The client notices when it is closed, and tries again.
            let Ok(server) = TcpStream::connect(address) else { return };
            for (from, to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))] {
                if let (Ok(from), Ok(to)) = (from, to) {
                    thread::spawn(move || pump(&from, &to));
                }
            }
        })
    }

    fn start(
        namespace: &Netns,
        address: SocketAddrV4,
        serve: impl Fn(TcpStream) + Send + 'static,
    ) -> Result<Self, LabError> {
        let listener = namespace.enter(|| TcpListener::bind(address))?.map_err(LabError::Listen)?;
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        thread::spawn(move || {
            while let Ok((client, _)) = accepting.accept() {
                serve(client);
            }
        });
        Ok(Self(listener))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Makes `accept` fail, with which the thread ends and lets go of the namespace.
        let _ = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Both);
    }
}

/// Copies until the one side ends, then ends the other.
fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    // How it ended, both sides learn from their socket.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Makes a new connection from a namespace and listens for the name. A refusal and silence both
/// are an answer: no.
///
/// # Panics
/// If the connection fails in another way, or if somebody else answers.
pub fn is_greeted_by(namespace: &Netns, address: SocketAddrV4, name: &str) -> bool {
    let connect = || TcpStream::connect_timeout(&SocketAddr::V4(address), ANSWER_LIMIT);
    let stream = namespace.enter(connect).expect("a namespace that was made can be entered");
    match stream.and_then(listen) {
        Ok(greeting) => {
            assert_eq!(greeting, name, "somebody else answers at {address}");
            true
        }
        Err(error) => {
            let blocked = [
                ErrorKind::ConnectionRefused,
                ErrorKind::ConnectionReset,
                ErrorKind::HostUnreachable,
                ErrorKind::TimedOut,
                // So ends a read that lasts too long.
                ErrorKind::WouldBlock,
            ];
            assert!(blocked.contains(&error.kind()), "failed to connect to {name} at {address}: {error}");
            false
        }
    }
}

fn listen(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting)?;
    Ok(greeting)
}
