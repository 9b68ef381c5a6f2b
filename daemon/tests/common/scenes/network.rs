//! Two namespaces with a cable between them, and the ways to lose packets on it.

use super::super::namespace::Namespace;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU8, Ordering},
};

/// Hardware addresses: of the two ends, and of nobody. What is sent to that is lost without a word.
const CLIENT: &str = "02:00:00:00:00:01";
const SERVER: &str = "02:00:00:00:00:02";
const NOBODY: &str = "02:00:00:00:00:ff";
/// Addresses that each end has, so that one connection can lose packets while others do not.
const ADDRESSES: u8 = 80;
const BACKLOG: i32 = 64;

/// An end of the cable, which the client or the server of a connection is at.
#[derive(Clone)]
pub struct End {
    pub namespace: Namespace,
    interface: &'static str,
    subnet_host: u8,
    peer_hardware: &'static str,
}

/// The sandbox's own namespace, and two with a cable between them.
pub struct Network {
    pub own: Namespace,
    pub client: End,
    pub server: End,
    next: AtomicU8,
}

/// One connection's two addresses. No other connection has them.
#[derive(Clone, Copy)]
pub struct Pair {
    pub client: IpAddr,
    pub server: IpAddr,
}

impl Network {
    pub fn new() -> Network {
        let end = |name, interface, subnet_host, peer_hardware| End {
            namespace: Namespace::add(name),
            interface,
            subnet_host,
            peer_hardware,
        };
        let network = Network {
            own: Namespace::own(),
            client: end("blue", "to-green", 1, SERVER),
            server: end("green", "to-blue", 2, CLIENT),
            next: AtomicU8::new(1),
        };
        network.own.ip("link set lo up");
        network.client.namespace.ip(&format!(
            "link add to-green address {CLIENT} type veth peer name to-blue address {SERVER} netns green"
        ));
        for end in [&network.client, &network.server] {
            end.namespace
                .ip(&format!("link set lo up\nlink set {} up", end.interface));
            // A SYN that is not answered would otherwise make the listener doubt its peers.
            end.namespace.sysctl("net/ipv4/tcp_syncookies", "0");
            let interface = end.interface;
            let mut lines = String::new();
            for n in 1..=ADDRESSES {
                lines += &format!("addr add {}/16 dev {interface}\n", end.address(n, false));
                lines += &format!("addr add {}/64 dev {interface} nodad\n", end.address(n, true));
            }
            end.namespace.ip(&lines);
        }
        network
    }

    /// Two addresses that no connection has yet.
    pub fn pair(&self, v6: bool) -> Pair {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(n <= ADDRESSES, "more connections than addresses");
        Pair {
            client: self.client.address(n, v6),
            server: self.server.address(n, v6),
        }
    }
}

impl End {
    fn address(&self, n: u8, v6: bool) -> IpAddr {
        let host = self.subnet_host;
        match v6 {
            false => Ipv4Addr::new(10, 77, host, n).into(),
            true => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, host.into(), n.into()).into(),
        }
    }

    /// From now on all that this end sends to `peer` is lost.
    pub fn lose(&self, peer: IpAddr) {
        self.send_to_hardware(peer, NOBODY);
    }

    /// From now on what this end sends to `peer` arrives, without a question to it before.
    pub fn reach(&self, peer: IpAddr) {
        self.send_to_hardware(peer, self.peer_hardware);
    }

    fn send_to_hardware(&self, peer: IpAddr, hardware: &str) {
        let interface = self.interface;
        self.namespace.ip(&format!(
            "neigh replace {peer} lladdr {hardware} dev {interface} nud permanent"
        ));
    }

    /// A socket of this end. Calls on it may come from any namespace.
    pub fn socket(&self, v6: bool) -> Socket {
        self.namespace.enter(|| socket(v6))
    }

    /// A socket that is bound to `address` and listens.
    pub fn listen(&self, address: SocketAddr) -> Socket {
        let socket = self.socket(address.is_ipv6());
        listen(&socket, address);
        socket
    }
}

/// A TCP socket of the calling thread's namespace.
pub fn socket(v6: bool) -> Socket {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap()
}

pub fn listen(socket: &Socket, address: SocketAddr) {
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(BACKLOG).unwrap();
}

/// Connects `client` from the one address of the pair to a listener at the other; the server's
/// socket.
pub fn connect(network: &Network, client: &Socket, pair: Pair) -> Socket {
    let listener = network.server.listen((pair.server, 80).into());
    connect_to(client, &listener, pair)
}

/// Connects `client` to a listener of the caller's.
pub fn connect_to(client: &Socket, listener: &Socket, pair: Pair) -> Socket {
    client
        .bind(&SockAddr::from(SocketAddr::from((pair.client, 0))))
        .unwrap();
    client.connect(&listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap().0
}

/// An established connection of v4 or v6: the client's socket and the server's.
pub fn connection(network: &Network, v6: bool) -> (Socket, Socket, Pair) {
    let pair = network.pair(v6);
    let client = network.client.socket(v6);
    let server = connect(network, &client, pair);
    (client, server, pair)
}

/// Some requests and answers, so that round trips, rates and windows have been measured.
pub fn talk(mut client: &Socket, mut server: &Socket) {
    let mut buffer = vec![0; 20_000];
    for size in [1, 100, 20_000, 3000, 20_000, 500] {
        client.write_all(&buffer[..size]).unwrap();
        server.read_exact(&mut buffer[..size]).unwrap();
        server.write_all(&buffer[..size / 2 + 1]).unwrap();
        client.read_exact(&mut buffer[..size / 2 + 1]).unwrap();
    }
}

/// Connects without waiting for the answer.
pub fn start_connecting(client: &Socket, address: SocketAddr) {
    client.set_nonblocking(true).unwrap();
    let error = client.connect(&address.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EINPROGRESS), "{error}");
}
