//! The sockets that are known in each namespace, so that they can be asked for one by one.

use crate::netlink::inet_diag::{InetDiagMsg, SOCKET_ID_BYTES, SocketKind};
use std::collections::{HashMap, HashSet};

/// A socket that was found alive, and what is needed to find it again.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Ports, addresses, interface, cookie.
    pub id: [u8; SOCKET_ID_BYTES],
    /// Address family.
    pub family: u8,
    /// What it was when it was found last.
    pub kind: SocketKind,
}

/// Where in the id the index of the interface stands, behind ports and addresses, and the cookie.
const INTERFACE_AT: usize = 36;
const COOKIE_AT: usize = 40;
const _: () = assert!(COOKIE_AT + size_of::<u64>() == SOCKET_ID_BYTES);

/// A bound of the memory of the table, bytes a socket.
const KNOWN_BYTES_MAX: usize = 96;
const _: () = assert!(size_of::<Known>() <= KNOWN_BYTES_MAX);

impl Known {
    /// What a reply says.
    pub fn new(reply: &InetDiagMsg<'_>) -> Known {
        Known {
            id: reply.id(),
            family: reply.family(),
            kind: reply.kind(),
        }
    }

    /// All of the id but the interface and the cookie.
    fn addresses(&self) -> &[u8] {
        &self.id[..INTERFACE_AT]
    }

    fn is_bound_to_interface(&self) -> bool {
        self.id[INTERFACE_AT..COOKIE_AT] != [0; COOKIE_AT - INTERFACE_AT]
    }

    /// The socket's cookie.
    pub fn cookie(&self) -> u64 {
        let [.., c0, c1, c2, c3, c4, c5, c6, c7] = self.id;
        let half = |bytes| u64::from(u32::from_ne_bytes(bytes));
        half([c0, c1, c2, c3]) | half([c4, c5, c6, c7]) << 32
    }
}

/// Whether two of the sockets differ in nothing but the interface that they are bound to. The kernel
/// goes by the addresses first: it may find the one, and refuse it for its cookie, where the other was
/// asked for.
pub fn is_ambiguous(sockets: &[Known]) -> bool {
    if !sockets.iter().any(Known::is_bound_to_interface) {
        return false;
    }
    let mut addresses = HashSet::with_capacity(sockets.len());
    !sockets
        .iter()
        .all(|socket| addresses.insert((socket.family, socket.addresses())))
}

/// How many sockets of each kind were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Full sockets, listeners too.
    pub full: u64,
    /// Sockets in TIME_WAIT.
    pub time_wait: u64,
}

impl Found {
    /// Counts one.
    pub fn add(&mut self, kind: SocketKind) {
        match kind {
            SocketKind::Full => self.full += 1,
            SocketKind::TimeWait => self.time_wait += 1,
            SocketKind::Request => {}
        }
    }
}

/// What is remembered of a namespace from poll to poll.
#[derive(Debug)]
pub struct Namespace {
    /// All its sockets but the listeners.
    pub sockets: Vec<Known>,
    /// Cookies of the listeners, sorted.
    pub listeners: Vec<u64>,
    /// Two of the sockets differ in nothing but the interface that they are bound to: a look-up of one
    /// may find the other.
    pub is_ambiguous: bool,
    /// How many there were of each kind when it was read last.
    pub found: Found,
    /// Connections opened in it, as the kernel counted them just before it was read last.
    pub opens: Option<u64>,
    /// What the planner learned.
    pub history: super::plan::History,
    /// The poll that read it last.
    pub last_poll: u64,
}

/// Namespaces by their cookie.
#[derive(Debug, Default)]
pub struct KnownNamespaces {
    namespaces: HashMap<u64, Namespace>,
}

impl KnownNamespaces {
    /// Takes a namespace out, to be read.
    pub fn take(&mut self, cookie: u64) -> Option<Namespace> {
        self.namespaces.remove(&cookie)
    }

    /// Puts a namespace in that was read completely.
    pub fn put(&mut self, cookie: u64, namespace: Namespace) {
        self.namespaces.insert(cookie, namespace);
    }

    /// Forgets namespaces that the poll of that number did not read: they have gone.
    pub fn keep_only(&mut self, poll: u64) {
        self.namespaces.retain(|_, namespace| namespace.last_poll == poll);
        // A burst of namespaces leaves no empty room behind.
        if self.namespaces.capacity() > 4 * self.namespaces.len().max(16) {
            self.namespaces.shrink_to_fit();
        }
    }

    /// Forgets everything: the next poll walks.
    pub fn clear(&mut self) {
        *self = KnownNamespaces::default();
    }

    /// Sockets known.
    pub fn socket_count(&self) -> usize {
        self.namespaces
            .values()
            .map(|namespace| namespace.sockets.len() + namespace.listeners.len())
            .sum()
    }

    /// Bytes that the sockets take.
    pub fn socket_bytes(&self) -> usize {
        let bytes = |namespace: &Namespace| {
            namespace.sockets.capacity() * size_of::<Known>()
                + namespace.listeners.capacity() * size_of::<u64>()
        };
        self.namespaces.values().map(bytes).sum()
    }
}
