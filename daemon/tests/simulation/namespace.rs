//! A simulated network namespace, and the lives of its sockets.

use super::simulated::Socket;
use std::collections::BTreeMap;
use xtcp2::{namespaces::Counts, netlink::inet_diag::SocketKind};

/// One socket, from its first moment to its last.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub netns: u64,
    pub inode: u64,
    pub state: u8,
    pub kind: SocketKind,
    /// The change that made it, as anything.
    pub born: u64,
    /// The change that made it what it is: a request becomes a socket.
    pub since: u64,
    /// The change that ended it.
    pub died: Option<u64>,
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    pub cookie: u64,
    pub inode: u64,
    pub born: u64,
    pub died: Option<u64>,
    /// In the order of the hash table.
    pub sockets: BTreeMap<u64, Socket>,
    /// ActiveOpens and PassiveOpens.
    pub opens: u64,
}

impl Namespace {
    pub fn counts(&self) -> Counts {
        let count = |kind| self.sockets.values().filter(|socket| socket.kind == kind).count() as u64;
        Counts {
            full: count(SocketKind::Full),
            time_wait: count(SocketKind::TimeWait),
        }
    }

    /// The kernel goes by the addresses, and compares the cookie of what it found.
    pub fn look_up(&self, family: u8, id: &[u8]) -> Option<&Socket> {
        let interface = u32::from_ne_bytes(id[36..40].try_into().unwrap());
        let ports = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
        let ports = (ports(0), ports(2));
        let found = self.sockets.values().find(|socket| {
            socket.ports == ports
                && socket.family == family
                && (socket.interface == 0 || socket.interface == interface)
        })?;
        (found.cookie.to_ne_bytes() == id[40..48]).then_some(found)
    }
}
