//! The simulated kernel: namespaces and their sockets, which come and go by themselves; a clock that moves
//! by what is asked; and the truth about who lived when.
//!
//! Between any two calls of the daemon the world may change, as it does on a real machine. Every change has
//! a number, so that "lived through the whole poll" is a comparison of numbers.

use super::{
    bug::Bug,
    random::{Random, mix},
    simulated::{ESTABLISHED, LISTEN, Socket},
    violation::{Invariant, Violation},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use xtcp2::{
    namespaces::Counts,
    netlink::inet_diag::{AF_INET, AF_INET6, SocketKind},
};

/// What kind of machine a seed makes, and how much happens there.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub namespaces_max: u64,
    pub sockets_max: usize,
    /// Of 1,000 calls, so many meet a world that has just changed.
    pub churn_per_mille: u64,
    /// Of 1,000 answers, so many go wrong.
    pub faults_per_mille: u64,
    /// Before 5.14: no SO_NETNS_COOKIE.
    pub has_cookies: bool,
    /// Dumps both address families at once.
    pub dumps_both: bool,
    /// Files of /proc/net can be read.
    pub says_counts: bool,
    /// What the thread is charged for a receive, the least of all calls, and for a walk.
    pub receive_charge: Duration,
    pub walk_charge: Duration,
    /// Bytes of the path of a namespace: what makes rows long.
    pub path_bytes: usize,
}

impl Profile {
    pub fn of(random: &mut Random) -> Profile {
        Profile {
            namespaces_max: random.between(1, 6),
            sockets_max: random.of(&[5, 20, 80, 160]),
            churn_per_mille: random.of(&[0, 5, 50, 200]),
            faults_per_mille: random.of(&[0, 0, 5, 30, 100]),
            has_cookies: !random.happens(100),
            dumps_both: !random.happens(100),
            says_counts: !random.happens(50),
            receive_charge: Duration::from_micros(random.between(400, 1500)),
            walk_charge: Duration::from_micros(random.of(&[100, 1000, 5000])),
            path_bytes: random.of(&[20, 20, 20, 1500]),
        }
    }
}

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

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Namespace(u64),
    /// A file that a namespace will be mounted on, perhaps.
    PlainFile,
    OtherNamespace,
}

#[derive(Debug)]
pub struct Kernel {
    pub random: Random,
    pub profile: Profile,
    pub bug: Option<Bug>,
    started: Instant,
    elapsed: Duration,
    realtime_ns: i64,
    cpu: Duration,
    /// Number of the last change.
    pub change: u64,
    pub home: u64,
    /// Where the daemon's thread is.
    pub thread_in: u64,
    pub namespaces: BTreeMap<u64, Namespace>,
    pub paths: BTreeMap<String, Place>,
    pub lives: BTreeMap<u64, Life>,
    /// Of the poll under way: the change it began behind, the namespaces of which something was kept back or
    /// refused, and those that could not be visited.
    pub poll_began: u64,
    pub faulted: BTreeSet<u64>,
    pub failed_visits: BTreeSet<u64>,
    pub visited: BTreeSet<u64>,
    named_all_along: BTreeSet<u64>,
    free_inodes: Vec<u64>,
    next_inode: u64,
    next_cookie: u64,
    names: u64,
    /// Nothing changes and nothing fails any more.
    pub calm: bool,
    pub violation: Option<Violation>,
}

impl Kernel {
    pub fn new(mut random: Random, profile: Profile, bug: Option<Bug>) -> Kernel {
        // Cookies of two halves, too.
        let next_cookie = random.of(&[1, u64::from(u32::MAX) - 20, 1 << 40]);
        let mut kernel = Kernel {
            random,
            profile,
            bug,
            started: Instant::now(),
            elapsed: Duration::ZERO,
            realtime_ns: 1_795_469_636_000_000_000,
            cpu: Duration::ZERO,
            change: 1,
            home: 0,
            thread_in: 0,
            namespaces: BTreeMap::new(),
            paths: BTreeMap::new(),
            lives: BTreeMap::new(),
            poll_began: 0,
            faulted: BTreeSet::new(),
            failed_visits: BTreeSet::new(),
            visited: BTreeSet::new(),
            named_all_along: BTreeSet::new(),
            free_inodes: Vec::new(),
            next_inode: 4_026_531_840,
            next_cookie,
            names: 0,
            calm: false,
            violation: None,
        };
        kernel.home = kernel.add_namespace();
        kernel.thread_in = kernel.home;
        let changes = kernel.random.below(4 * profile.sockets_max as u64 + 1);
        kernel.changes(changes);
        kernel
    }

    pub fn now(&self) -> Instant {
        self.started + self.elapsed
    }

    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    pub fn realtime_ns(&self) -> i64 {
        self.realtime_ns
    }

    pub fn cpu(&self) -> Duration {
        self.cpu
    }

    /// Nobody does anything for so long.
    pub fn pass(&mut self, time: Duration) {
        self.elapsed += time;
        self.realtime_ns += i64::try_from(time.as_nanos()).unwrap();
    }

    /// The thread works for so long.
    pub fn charge(&mut self, cpu: Duration) {
        self.cpu += cpu;
        self.pass(cpu);
    }

    /// Somebody sets the clock.
    pub fn set_realtime(&mut self, realtime_ns: i64) {
        self.realtime_ns = realtime_ns;
    }

    /// Whether an answer goes wrong.
    pub fn fails(&mut self, per_mille: u64) -> bool {
        !self.calm
            && self
                .random
                .happens(self.profile.faults_per_mille * per_mille / 1000)
    }

    /// A namespace was not told all of; it may be counted for that.
    pub fn kept_back(&mut self, netns: u64) {
        self.faulted.insert(netns);
    }

    pub fn violate(&mut self, invariant: Invariant, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    /// The daemon asks something: where it is, and what happens meanwhile.
    pub fn asked(&mut self, what: &str) {
        if self.thread_in != self.home {
            let (there, home) = (self.thread_in, self.home);
            self.violate(
                Invariant::AtHome,
                format!("{what} from namespace {there}, home is {home}"),
            );
        }
        self.live();
    }

    /// What happens by itself between two calls.
    pub fn live(&mut self) {
        if !self.calm && self.random.happens(self.profile.churn_per_mille) {
            let changes = self.random.between(1, 3);
            self.changes(changes);
        }
    }

    pub fn changes(&mut self, count: u64) {
        for _ in 0..count {
            self.change += 1;
            match self.random.below(24) {
                0 => self.come_or_go(),
                1 => self.rename(),
                _ => {
                    let alive: Vec<u64> = self.alive().collect();
                    let netns = self.random.of(&alive);
                    self.change_sockets(netns);
                }
            }
        }
    }

    fn alive(&self) -> impl Iterator<Item = u64> {
        let alive = |namespace: &&Namespace| namespace.died.is_none();
        self.namespaces
            .values()
            .filter(alive)
            .map(|namespace| namespace.cookie)
    }

    /// Whether a path led to it when the poll began and does so still.
    pub fn is_named(&self, netns: u64) -> bool {
        netns == self.home || self.named_all_along.contains(&netns)
    }

    /// A poll begins.
    pub fn poll_begins(&mut self) {
        self.poll_began = self.change;
        self.faulted.clear();
        self.failed_visits.clear();
        self.visited.clear();
        let named = |place: &Place| match place {
            Place::Namespace(netns) => Some(*netns),
            Place::PlainFile | Place::OtherNamespace => None,
        };
        self.named_all_along = self.paths.values().filter_map(named).collect();
    }

    fn new_cookie(&mut self) -> u64 {
        self.next_cookie += self.random.between(1, 3);
        self.next_cookie
    }

    fn add_namespace(&mut self) -> u64 {
        let cookie = self.new_cookie();
        // The kernel gives the inode of a deleted namespace out again at once.
        let inode = self.free_inodes.pop().unwrap_or_else(|| {
            self.next_inode += 1;
            self.next_inode
        });
        let namespace = Namespace {
            cookie,
            inode,
            born: self.change,
            died: None,
            sockets: BTreeMap::new(),
            opens: 0,
        };
        self.namespaces.insert(cookie, namespace);
        cookie
    }

    fn new_path(&mut self) -> String {
        self.names += 1;
        let number = self.names;
        let pad = self.profile.path_bytes;
        format!("/run/netns/{number:0pad$}")
    }

    fn come_or_go(&mut self) {
        let named: Vec<u64> = self.alive().filter(|cookie| *cookie != self.home).collect();
        let has_room = (named.len() as u64) < self.profile.namespaces_max;
        if has_room && (named.is_empty() || self.random.happens(600)) {
            let cookie = self.add_namespace();
            let path = self.new_path();
            self.paths.insert(path, Place::Namespace(cookie));
        } else if !named.is_empty() {
            let cookie = self.random.of(&named);
            self.remove_namespace(cookie);
        }
    }

    fn remove_namespace(&mut self, cookie: u64) {
        let change = self.change;
        self.paths.retain(|_, place| *place != Place::Namespace(cookie));
        let namespace = self.namespaces.get_mut(&cookie).unwrap();
        namespace.died = Some(change);
        let sockets = std::mem::take(&mut namespace.sockets);
        let inode = namespace.inode;
        for socket in sockets.values() {
            self.lives.get_mut(&socket.cookie).unwrap().died = Some(change);
        }
        self.free_inodes.push(inode);
        // Whoever reads it right now is told that it is gone.
        self.kept_back(cookie);
    }

    /// Names come, go, and are made before there is anything behind them.
    fn rename(&mut self) {
        let paths: Vec<String> = self.paths.keys().cloned().collect();
        let alive: Vec<u64> = self.alive().collect();
        let place = match self.random.below(4) {
            0 => Place::PlainFile,
            1 if self.random.happens(200) => Place::OtherNamespace,
            _ => Place::Namespace(self.random.of(&alive)),
        };
        let plain = self.paths.iter().find(|(_, place)| **place == Place::PlainFile);
        let plain = plain.map(|(path, _)| path.clone());
        match (plain, self.random.below(3)) {
            (Some(path), 0) => {
                self.paths.insert(path, place);
            }
            (Some(path), 1) => {
                self.paths.remove(&path);
            }
            _ if paths.len() < 10 => {
                let path = self.new_path();
                self.paths.insert(path, place);
            }
            _ => {}
        }
    }

    fn insert(&mut self, netns: u64, socket: Socket) {
        let change = self.change;
        let namespace = self.namespaces.get_mut(&netns).unwrap();
        namespace.sockets.insert(mix(socket.cookie), socket);
        let life = Life {
            netns,
            inode: namespace.inode,
            state: socket.state,
            kind: socket.kind,
            born: change,
            since: change,
            died: None,
        };
        match self.lives.get_mut(&socket.cookie) {
            // A request that became a socket has been there before.
            Some(before) => {
                *before = Life {
                    born: before.born,
                    ..life
                }
            }
            None => {
                self.lives.insert(socket.cookie, life);
            }
        }
    }

    fn remove(&mut self, netns: u64, cookie: u64) {
        let namespace = self.namespaces.get_mut(&netns).unwrap();
        namespace.sockets.remove(&mix(cookie));
        self.lives.get_mut(&cookie).unwrap().died = Some(self.change);
    }

    fn opened(&mut self, netns: u64) {
        self.namespaces.get_mut(&netns).unwrap().opens += 1;
    }

    /// One that is in this state.
    fn any(&mut self, netns: u64, kind: SocketKind, listens: bool) -> Option<Socket> {
        let sockets = self.namespaces[&netns].sockets.values();
        let matching: Vec<Socket> = sockets
            .filter(|socket| socket.kind == kind && (socket.state == LISTEN) == listens)
            .copied()
            .collect();
        (!matching.is_empty()).then(|| self.random.of(&matching))
    }

    fn any_established(&mut self, netns: u64) -> Option<Socket> {
        self.any(netns, SocketKind::Full, false)
    }

    fn change_sockets(&mut self, netns: u64) {
        let is_full = self.namespaces[&netns].sockets.len() >= self.profile.sockets_max;
        match self.random.below(16) {
            0..=5 if !is_full => self.open(netns),
            0..=7 => {
                let listens = self.random.happens(200);
                if let Some(socket) = self.any(netns, SocketKind::Full, listens) {
                    self.remove(netns, socket.cookie);
                }
            }
            8 | 9 => {
                if let Some(socket) = self.any_established(netns) {
                    self.remove(netns, socket.cookie);
                    let cookie = self.new_cookie();
                    let (ports, family) = (socket.ports, socket.family);
                    self.insert(
                        netns,
                        Socket {
                            ports,
                            family,
                            ..Socket::time_wait(cookie)
                        },
                    );
                }
            }
            10 => {
                if let Some(socket) = self.any(netns, SocketKind::TimeWait, false) {
                    self.remove(netns, socket.cookie);
                }
            }
            11 if !is_full => {
                let cookie = self.new_cookie();
                self.insert(netns, Socket::request(cookie));
            }
            12 | 13 => {
                if let Some(request) = self.any(netns, SocketKind::Request, false) {
                    if self.random.happens(700) {
                        self.opened(netns);
                        let (state, kind) = (ESTABLISHED, SocketKind::Full);
                        self.insert(
                            netns,
                            Socket {
                                state,
                                kind,
                                ..request
                            },
                        );
                    } else {
                        self.remove(netns, request.cookie);
                    }
                }
            }
            // The same addresses and ports at once again.
            14 => {
                if let Some(socket) = self.any_established(netns) {
                    self.remove(netns, socket.cookie);
                    let cookie = self.new_cookie();
                    self.insert(netns, Socket { cookie, ..socket });
                    self.opened(netns);
                }
            }
            // Or with another interface, beside it.
            15 if !is_full => {
                if let Some(socket) = self.any_established(netns)
                    && self.random.happens(200)
                {
                    let (cookie, interface) = (self.new_cookie(), socket.interface + 1);
                    self.insert(
                        netns,
                        Socket {
                            cookie,
                            interface,
                            ..socket
                        },
                    );
                    self.opened(netns);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, netns: u64) {
        let cookie = self.new_cookie();
        let family = self.random.of(&[AF_INET, AF_INET6]);
        let listens = self.random.happens(150);
        let socket = match listens {
            true => Socket::listener(cookie),
            false => Socket::established(cookie),
        };
        self.insert(netns, Socket { family, ..socket });
        if !listens {
            self.opened(netns);
        }
    }
}
