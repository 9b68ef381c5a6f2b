//! Random things that happen to sockets, in namespaces of the sandbox.

use super::{namespace::Namespace, scenes::set_option};
use nix::{
    libc,
    mount::{MntFlags, umount2},
    sched::{CloneFlags, setns},
    sys::socket::{setsockopt, sockopt},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    os::unix::fs::MetadataExt,
    thread::sleep,
    time::Duration,
};

/// Sockets held in one namespace; when there are more, some are closed first.
const SOCKETS_MAX: usize = 150;
const LISTENERS_MAX: usize = 12;
/// The kernel takes a namespace down in the background; only then is its inode given out again.
const INODE_ATTEMPTS: u32 = 20;
const INODE_EVERY: Duration = Duration::from_millis(10);

/// Numbers from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Less than `end` (splitmix64).
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ z >> 31) % u64::try_from(end).unwrap()).unwrap()
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

struct Listener {
    socket: Socket,
    address: SocketAddr,
    is_mptcp: bool,
}

/// A namespace that things happen in, and its sockets.
pub struct Place {
    name: String,
    namespace: Namespace,
    v6_only: bool,
    listeners: Vec<Listener>,
    sockets: Vec<Socket>,
    /// The place at the other end of a cable, and its ports that listen.
    neighbour: Option<(Ipv4Addr, Vec<u16>)>,
}

/// How often what happened.
pub type Tally = BTreeMap<&'static str, u64>;

impl Place {
    pub fn make(name: &str, random: &mut Random) -> Place {
        let namespace = Namespace::add(name);
        let v6_only = random.percent(20);
        namespace.ip("link set lo up");
        if v6_only {
            namespace.ip("addr del 127.0.0.1/8 dev lo");
        }
        // Client and server, without a cookie on either side.
        namespace.sysctl("net/ipv4/tcp_fastopen", "1031");
        if random.percent(30) {
            namespace.sysctl("net/ipv4/tcp_fin_timeout", "1");
            namespace.sysctl("net/ipv4/tcp_max_tw_buckets", "40");
            namespace.sysctl("net/ipv4/tcp_synack_retries", "1");
        }
        Place {
            name: name.to_owned(),
            namespace,
            v6_only,
            listeners: Vec::new(),
            sockets: Vec::new(),
            neighbour: None,
        }
    }

    /// Lays a cable from one place to another.
    pub fn join(&mut self, other: &mut Place, subnet: u8) {
        let address = |host| Ipv4Addr::new(10, 99, subnet, host);
        self.namespace.ip(&format!(
            "link add cable type veth peer name cable netns {}",
            other.name
        ));
        for (place, own, peer) in [(self, 1, 2), (other, 2, 1)] {
            place.namespace.ip(&format!(
                "addr add {}/24 dev cable\nlink set cable up",
                address(own)
            ));
            place.neighbour = Some((address(peer), Vec::new()));
        }
    }

    /// Ports that anybody can connect to over IPv4.
    pub fn ports(&self) -> Vec<u16> {
        let listeners = self.listeners.iter();
        listeners.map(|listener| listener.address.port()).collect()
    }

    /// What the neighbour listens at.
    pub fn set_neighbour_ports(&mut self, listening: Vec<u16>) {
        if let Some((_, ports)) = &mut self.neighbour {
            *ports = listening;
        }
    }

    /// Deletes the namespace and makes another under the same name, with the same inode if the kernel
    /// is soon done with the old one. What is returned must be kept for as long as the old one's
    /// sockets are to live.
    pub fn make_again(&mut self, random: &mut Random, tally: &mut Tally) -> Vec<Socket> {
        let path = self.namespace.path().unwrap().to_owned();
        let inode = fs::metadata(&path).unwrap().ino();
        let delete = || {
            umount2(&path, MntFlags::MNT_DETACH).unwrap();
            fs::remove_file(&path).unwrap();
        };
        delete();
        self.listeners.clear();
        let mut sockets = std::mem::take(&mut self.sockets);
        let outlives = random.percent(20);
        if outlives {
            *tally
                .entry("namespaces deleted with sockets in them")
                .or_default() += 1;
        } else {
            sockets.clear();
        }
        let attempts = if outlives { 1 } else { INODE_ATTEMPTS };
        for attempt in 1..=attempts {
            drop(Namespace::add(&self.name));
            if fs::metadata(&path).unwrap().ino() == inode {
                *tally
                    .entry("namespaces made again with the same inode")
                    .or_default() += 1;
            } else if attempt < attempts {
                delete();
                sleep(INODE_EVERY);
                continue;
            } else {
                *tally.entry("namespaces made again").or_default() += 1;
            }
            break;
        }
        self.namespace.ip("link set lo up");
        self.v6_only = false;
        self.namespace.sysctl("net/ipv4/tcp_fastopen", "1031");
        sockets
    }

    /// Lets so many things happen. The calling thread goes to the namespace and comes back to `home`.
    pub fn events(&mut self, count: usize, random: &mut Random, tally: &mut Tally, home: &File) {
        let there = File::open(self.namespace.path().unwrap()).unwrap();
        setns(&there, CloneFlags::CLONE_NEWNET).unwrap();
        let mut happened = 0;
        // What does not apply happens as something else.
        for _ in 0..1000 + count * 20 {
            if let Some(what) = self.event(random) {
                *tally.entry(what).or_default() += 1;
                happened += 1;
            }
            if happened == count {
                break;
            }
        }
        setns(home, CloneFlags::CLONE_NEWNET).unwrap();
        assert_eq!(happened, count);
    }

    fn event(&mut self, random: &mut Random) -> Option<&'static str> {
        if self.sockets.len() >= SOCKETS_MAX {
            return self.close(random);
        }
        match random.below(100) {
            0..3 => self.listen(random),
            3..5 => {
                let victim = self.any_listener(random)?;
                self.listeners.swap_remove(victim);
                Some("listener closes")
            }
            5 => {
                // Its cookie leaves the table and comes back.
                let listener = &self.listeners[self.any_listener(random)?];
                listener.socket.shutdown(Shutdown::Both).ok()?;
                (random.percent(50) && listener.socket.listen(5).is_ok())
                    .then_some("listener stops and listens again")
                    .or(Some("listener stops"))
            }
            6..9 => self.connect_to_neighbour(random),
            9..34 => self.connect(random),
            34..54 => {
                let listener = self.any_listener(random)?;
                let (socket, _) = self.listeners[listener].socket.accept().ok()?;
                socket.set_nonblocking(true).ok()?;
                self.sockets.push(socket);
                Some("accept")
            }
            54..72 => self.close(random),
            72..78 => {
                let socket = self.any_socket(random)?;
                self.sockets[socket].shutdown(Shutdown::Write).ok()?;
                Some("half-close")
            }
            78..88 => {
                let socket = self.any_socket(random)?;
                self.sockets[socket]
                    .send_with_flags(b"x", libc::MSG_NOSIGNAL)
                    .ok()?;
                Some("a byte is sent")
            }
            88..90 => {
                let socket = self.any_socket(random)?;
                let sent = (0..20)
                    .map_while(|_| {
                        self.sockets[socket]
                            .send_with_flags(&[0; 65_536], libc::MSG_NOSIGNAL)
                            .ok()
                    })
                    .count();
                (sent > 0).then_some("more is sent than anybody reads")
            }
            90..92 => self.self_connect(),
            92..95 => self.repair(random),
            // Their namespace is walked for as long as they live.
            95 if random.percent(10) => self.same_addresses(random),
            95 => self.connect_to_neighbour(random),
            96 => {
                let socket = self.socket(false, None)?;
                socket.bind(&loopback(false, 0)).ok()?;
                self.sockets.push(socket);
                Some("bound, not connected")
            }
            97 => {
                // Only what talks IPv4 can be turned.
                let family = libc::AF_INET.to_ne_bytes();
                self.sockets
                    .iter()
                    .any(|socket| {
                        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM, &family).is_ok()
                    })
                    .then_some("IPv6 socket becomes an IPv4 one")
            }
            _ => self.fast_open(random),
        }
    }

    fn any_listener(&self, random: &mut Random) -> Option<usize> {
        (!self.listeners.is_empty()).then(|| random.below(self.listeners.len()))
    }

    fn any_socket(&self, random: &mut Random) -> Option<usize> {
        (!self.sockets.is_empty()).then(|| random.below(self.sockets.len()))
    }

    fn socket(&self, v6: bool, protocol: Option<Protocol>) -> Option<Socket> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::STREAM, protocol).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    }

    fn listen(&mut self, random: &mut Random) -> Option<&'static str> {
        if self.listeners.len() >= LISTENERS_MAX {
            return None;
        }
        let v6 = self.v6_only || random.percent(50);
        let is_mptcp = random.percent(15);
        let socket = self.socket(v6, is_mptcp.then_some(Protocol::MPTCP))?;
        if v6 && (self.v6_only || random.percent(30)) {
            socket.set_only_v6(true).ok()?;
        }
        let mut what = if is_mptcp { "MPTCP listener" } else { "listener" };
        let mut port = 0;
        if random.percent(30) {
            what = "REUSEPORT listener";
            socket.set_reuse_port(true).ok()?;
            port = self
                .any_listener(random)
                .map_or(0, |other| self.listeners[other].address.port());
        }
        if !is_mptcp {
            if random.percent(30) {
                let queue = 5u32.to_ne_bytes();
                set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &queue).ok()?;
            }
            // With it, requests stay requests until their first byte comes.
            if random.percent(30) {
                what = "listener that accepts on data";
                let seconds = 3u32.to_ne_bytes();
                set_option(&socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds).ok()?;
            }
            if random.percent(15) {
                socket.bind_device(Some(b"lo")).ok()?;
            }
        }
        let any: SocketAddr = match v6 {
            true => (Ipv6Addr::UNSPECIFIED, port).into(),
            false => (Ipv4Addr::UNSPECIFIED, port).into(),
        };
        socket.bind(&any.into()).ok()?;
        // Where few are accepted, clients stay in SYN_SENT.
        socket.listen([0, 2, 100][random.below(3)]).ok()?;
        let address = socket.local_addr().ok()?.as_socket()?;
        self.listeners.push(Listener {
            socket,
            address,
            is_mptcp,
        });
        Some(what)
    }

    fn connect(&mut self, random: &mut Random) -> Option<&'static str> {
        let listener = &self.listeners[self.any_listener(random)?];
        let port = listener.address.port();
        let is_v6 = listener.address.is_ipv6();
        let is_mapped = is_v6 && !self.v6_only && random.percent(40);
        let protocol = (listener.is_mptcp && random.percent(80)).then_some(Protocol::MPTCP);
        let socket = self.socket(is_v6, protocol)?;
        let mut what = match (is_mapped, protocol) {
            (_, Some(_)) => "MPTCP connect",
            (true, _) => "v4-mapped connect",
            (false, _) if is_v6 => "v6 connect",
            _ => "v4 connect",
        };
        if protocol.is_none() && random.percent(15) {
            what = "connect of a socket bound to an interface";
            socket.bind_device(Some(b"lo")).ok()?;
        }
        if protocol.is_none() && random.percent(15) {
            what = "connect that waits for the first byte";
            setsockopt(&socket, sockopt::TcpFastOpenConnect, &true).ok()?;
        }
        let address = match is_mapped {
            true => SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port)).into(),
            false => loopback(is_v6, port),
        };
        match socket.connect(&address) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return None,
            _ => {}
        }
        self.sockets.push(socket);
        Some(what)
    }

    /// The other end is in another namespace: there, a request may be all that is new.
    fn connect_to_neighbour(&mut self, random: &mut Random) -> Option<&'static str> {
        let (address, ports) = self.neighbour.as_ref()?;
        let port = *ports.get(random.below(ports.len().max(1)))?;
        let socket = self.socket(false, None)?;
        match socket.connect(&SocketAddr::from((*address, port)).into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return None,
            _ => {}
        }
        self.sockets.push(socket);
        Some("connect to another namespace")
    }

    fn close(&mut self, random: &mut Random) -> Option<&'static str> {
        let victim = self.any_socket(random)?;
        let socket = self.sockets.swap_remove(victim);
        if random.percent(30) {
            socket.set_linger(Some(Duration::ZERO)).ok()?;
            return Some("reset");
        }
        Some("close")
    }

    fn self_connect(&mut self) -> Option<&'static str> {
        let socket = self.socket(self.v6_only, None)?;
        socket.bind(&loopback(self.v6_only, 0)).ok()?;
        let own = socket.local_addr().ok()?;
        socket.connect(&own).ok();
        self.sockets.push(socket);
        Some("connect to itself")
    }

    /// A socket that is established without a packet, which no counter of opens shows.
    fn repaired(&self, port: u16, peer_port: u16, interface: Option<&[u8]>) -> Option<Socket> {
        let socket = self.socket(self.v6_only, None)?;
        setsockopt(&socket, sockopt::TcpRepair, &1).ok()?;
        socket.bind_device(interface).ok()?;
        socket.bind(&loopback(self.v6_only, port)).ok()?;
        socket.connect(&loopback(self.v6_only, peer_port)).ok()?;
        Some(socket)
    }

    fn repair(&mut self, random: &mut Random) -> Option<&'static str> {
        let peer_port = u16::try_from(10_000 + random.below(20_000)).ok()?;
        let socket = self.repaired(0, peer_port, None)?;
        self.sockets.push(socket);
        Some("repaired socket")
    }

    /// Two that differ in nothing but the interface.
    fn same_addresses(&mut self, random: &mut Random) -> Option<&'static str> {
        let port = u16::try_from(30_000 + random.below(2000)).ok()?;
        let peer_port = u16::try_from(10_000 + random.below(20_000)).ok()?;
        let mut interfaces = [Some(&b"lo"[..]), None];
        if random.percent(50) {
            interfaces.reverse();
        }
        for interface in interfaces {
            let socket = self.repaired(port, peer_port, interface)?;
            self.sockets.push(socket);
        }
        Some("two sockets with the same addresses")
    }

    /// A byte in the SYN.
    fn fast_open(&mut self, random: &mut Random) -> Option<&'static str> {
        let listener = &self.listeners[self.any_listener(random)?];
        let socket = self.socket(listener.address.is_ipv6(), None)?;
        let address = loopback(listener.address.is_ipv6(), listener.address.port());
        let sent = socket.send_to_with_flags(b"x", &address, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL);
        match sent {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return None,
            _ => {}
        }
        self.sockets.push(socket);
        Some("fast open")
    }
}

fn loopback(v6: bool, port: u16) -> SockAddr {
    match v6 {
        true => SocketAddr::from((Ipv6Addr::LOCALHOST, port)).into(),
        false => SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(),
    }
}
