//! The sockets that are known in each namespace, so that they can be asked for one by one.

use crate::netlink::inet_diag::{InetDiagMsg, SOCKET_ID_BYTES, SocketKind};
use std::collections::HashMap;

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

    /// The socket's cookie.
    pub fn cookie(&self) -> u64 {
        let [.., c0, c1, c2, c3, c4, c5, c6, c7] = self.id;
        let half = |bytes| u64::from(u32::from_ne_bytes(bytes));
        half([c0, c1, c2, c3]) | half([c4, c5, c6, c7]) << 32
    }
}

/// How many sockets of each kind were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Full sockets, listeners too.
    pub full: u64,
    /// Of those, listeners.
    pub listeners: u64,
    /// Sockets in TIME_WAIT.
    pub time_wait: u64,
}

impl Found {
    /// Counts one.
    pub fn add(&mut self, kind: SocketKind, is_listener: bool) {
        match kind {
            SocketKind::Full => self.full += 1,
            SocketKind::TimeWait => self.time_wait += 1,
            SocketKind::Request => {}
        }
        self.listeners += u64::from(is_listener);
    }
}

/// What is remembered of a namespace from poll to poll.
#[derive(Debug)]
pub struct Namespace {
    /// All its sockets but the listeners.
    pub sockets: Vec<Known>,
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
            .map(|namespace| namespace.sockets.len())
            .sum()
    }

    /// Bytes that the sockets take.
    pub fn socket_bytes(&self) -> usize {
        let capacity: usize = self
            .namespaces
            .values()
            .map(|namespace| namespace.sockets.capacity())
            .sum();
        capacity * size_of::<Known>()
    }
}
