//! One connection at a time to one receiver: resolve, connect, and begin again after a failure.
//!
//! A round goes through all addresses of the receiver. When all have failed, or a connection was
//! lost, the next round waits for the backoff and resolves a name anew; if that fails, the addresses
//! known before are tried. Nothing here blocks: the look-up is a child (see `resolve`), connecting is
//! an event, and each step has a time-out.

use super::{
    Destination, HostPort, Options,
    backoff::Backoff,
    queue::Queue,
    registration::Registration,
    resolve::{LOOKUP_TIMEOUT, Lookup},
    socket::{Connecting, Socket},
};
use crate::epoll::{Epoll, Event, Interest};
use nix::sys::socket::SockType;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long one address may take to accept: two retransmitted SYNs (after 1 and 3 s) and some.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Target {
    Address,
    Name(HostPort),
    Path(PathBuf),
}

#[derive(Debug)]
enum State {
    /// Nothing is under way; `begin` starts a round.
    Resting,
    Waiting {
        until: Instant,
    },
    Resolving {
        lookup: Lookup,
        until: Instant,
    },
    Connecting {
        socket: Socket,
        until: Instant,
    },
    Connected {
        socket: Socket,
    },
}

/// What an event or a deadline meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that concerns the owner.
    None,
    /// A new connection: everything sent before is history.
    Connected,
    /// The event is the connection's own: read, write.
    Io,
}

/// The connection and the way to it.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    target: Target,
    kind: SockType,
    resolver: PathBuf,
    addresses: Vec<SocketAddr>,
    /// The address that the round tries next.
    next_address: usize,
    resolve_due: bool,
    last_error: String,
    backoff: Backoff,
    registration: Registration,
    state: State,
    was_connected: bool,
}

impl Link {
    pub fn to_host(name: String, host: &HostPort, kind: SockType, options: &Options) -> Link {
        match host.host.parse::<IpAddr>() {
            Ok(ip) => {
                let addresses = vec![SocketAddr::new(ip, host.port)];
                Link::new(name, Target::Address, addresses, kind, options)
            }
            Err(_) => Link::new(name, Target::Name(host.clone()), Vec::new(), kind, options),
        }
    }

    pub fn to_path(destination: &Destination, path: PathBuf, kind: SockType, options: &Options) -> Link {
        let name = destination.to_string();
        Link::new(name, Target::Path(path), Vec::new(), kind, options)
    }

    fn new(
        name: String,
        target: Target,
        addresses: Vec<SocketAddr>,
        kind: SockType,
        options: &Options,
    ) -> Link {
        Link {
            name,
            resolve_due: matches!(target, Target::Name(_)),
            target,
            kind,
            resolver: options.resolver.clone(),
            addresses,
            next_address: 0,
            last_error: String::new(),
            backoff: Backoff::new(options.seed),
            registration: Registration::default(),
            state: State::Resting,
            was_connected: false,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn socket(&mut self) -> Option<&mut Socket> {
        match &mut self.state {
            State::Connected { socket } => Some(socket),
            _ => None,
        }
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    pub fn waits_for_room(&self) -> bool {
        self.registration.waits_for_room()
    }

    /// Starts a round, unless one is under way or waits for its time.
    pub fn begin(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) -> Change {
        match (&self.state, &self.target) {
            (State::Resting, Target::Name(host)) if self.resolve_due => {
                let started = Lookup::start(&self.resolver, &host.host, host.port);
                let entered = started.and_then(|lookup| {
                    self.registration.enter(epoll, &lookup, Interest::READ)?;
                    Ok(lookup)
                });
                match entered {
                    Ok(lookup) => {
                        let until = now + LOOKUP_TIMEOUT;
                        self.state = State::Resolving { lookup, until };
                        Change::None
                    }
                    Err(error) => self.resolved(Err(error.to_string()), queue, epoll, now),
                }
            }
            (State::Resting, _) => self.try_addresses(queue, epoll, now),
            _ => Change::None,
        }
    }

    pub fn ready(&mut self, event: &Event, queue: &mut Queue, epoll: &Epoll, now: Instant) -> Change {
        if !self.registration.is_current(event) {
            return Change::None;
        }
        match &mut self.state {
            State::Resolving { lookup, .. } => match lookup.read() {
                Some(answer) => self.resolved(answer, queue, epoll, now),
                None => Change::None,
            },
            State::Connecting { socket, .. } => match socket.connect_outcome() {
                Ok(()) if event.writable => self.connected(queue),
                Ok(()) => Change::None,
                Err(error) => self.address_failed(&error.to_string(), queue, epoll, now),
            },
            State::Connected { .. } => Change::Io,
            State::Resting | State::Waiting { .. } => Change::None,
        }
    }

    pub fn tick(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) -> Change {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Change::None;
        }
        match self.state {
            State::Waiting { .. } => {
                self.state = State::Resting;
                self.begin(queue, epoll, now)
            }
            State::Resolving { .. } => {
                let error = format!("name not resolved within {LOOKUP_TIMEOUT:?}");
                self.resolved(Err(error), queue, epoll, now)
            }
            State::Connecting { .. } => {
                let error = format!("not connected within {CONNECT_TIMEOUT:?}");
                self.address_failed(&error, queue, epoll, now)
            }
            State::Resting | State::Connected { .. } => Change::None,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } | State::Resolving { until, .. } | State::Connecting { until, .. } => {
                Some(until)
            }
            State::Resting | State::Connected { .. } => None,
        }
    }

    /// What the owner waits for on the connection.
    pub fn want(&mut self, epoll: &Epoll, interest: Interest) -> io::Result<()> {
        match &self.state {
            State::Connected { socket } => self.registration.want(epoll, socket, interest),
            _ => Ok(()),
        }
    }

    /// The connection, or a try at having one, failed: the next round comes after the backoff.
    pub fn lost(&mut self, error: &str, queue: &mut Queue, now: Instant) {
        let wait = self.failed(error, Duration::ZERO, queue);
        self.close(queue);
        self.resolve_due = matches!(self.target, Target::Name(_));
        self.state = State::Waiting { until: now + wait };
    }

    /// Closes without a failure; `begin` connects again.
    pub fn rest(&mut self, queue: &mut Queue) {
        self.close(queue);
    }

    /// Closes, and begins again from the name.
    pub fn restart(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) -> Change {
        self.close(queue);
        self.next_address = 0;
        self.resolve_due = matches!(self.target, Target::Name(_));
        self.begin(queue, epoll, now)
    }

    /// Something was delivered: the outage, if there was one, is over.
    pub fn settled(&mut self) {
        if !self.backoff.is_reset() {
            log::info!("output {}: delivering again", self.name);
            self.backoff.reset();
        }
    }

    /// Counts a failure and returns the wait before the next attempt: what the receiver `asked` for, if the
    /// backoff is not longer. An outage is logged when it begins and when it ends, not at each attempt.
    pub fn failed(&mut self, error: &str, asked: Duration, queue: &mut Queue) -> Duration {
        queue.counters.errors += 1;
        queue.last_error = Some(error.to_owned());
        let first = self.backoff.is_reset();
        let wait = self.backoff.next_wait().max(asked);
        if first {
            log::warn!("output {}: {error}; next try in {wait:?}", self.name);
        }
        wait
    }

    fn close(&mut self, queue: &mut Queue) {
        self.registration.leave();
        queue.counters.connected = false;
        self.state = State::Resting;
    }

    fn resolved(
        &mut self,
        answer: Result<Vec<SocketAddr>, String>,
        queue: &mut Queue,
        epoll: &Epoll,
        now: Instant,
    ) -> Change {
        self.close(queue);
        self.resolve_due = false;
        self.next_address = 0;
        match answer {
            Ok(addresses) => self.addresses = addresses,
            Err(error) => {
                self.last_error = format!("resolve: {error}");
                // With older addresses the round goes on, but the failure is not hidden.
                queue.counters.errors += u64::from(!self.addresses.is_empty());
            }
        }
        self.try_addresses(queue, epoll, now)
    }

    fn address_failed(&mut self, error: &str, queue: &mut Queue, epoll: &Epoll, now: Instant) -> Change {
        error.clone_into(&mut self.last_error);
        self.close(queue);
        self.try_addresses(queue, epoll, now)
    }

    fn try_addresses(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) -> Change {
        loop {
            let attempt = match &self.target {
                Target::Path(path) if self.next_address == 0 => Socket::connect_unix(path, self.kind),
                Target::Path(_) => break,
                Target::Address | Target::Name(_) => match self.addresses.get(self.next_address) {
                    Some(address) => Socket::connect_inet(*address, self.kind),
                    None => break,
                },
            };
            self.next_address += 1;
            let entered = attempt.and_then(|connecting| {
                let (socket, interest) = match &connecting {
                    Connecting::Done(socket) => (socket, Interest::READ),
                    Connecting::Started(socket) => (socket, Interest::WRITE),
                };
                self.registration.enter(epoll, socket, interest)?;
                Ok(connecting)
            });
            match entered {
                Ok(Connecting::Done(socket)) => {
                    self.state = State::Connected { socket };
                    return self.connected(queue);
                }
                Ok(Connecting::Started(socket)) => {
                    let until = now + CONNECT_TIMEOUT;
                    self.state = State::Connecting { socket, until };
                    return Change::None;
                }
                Err(error) => self.last_error = error.to_string(),
            }
        }
        self.next_address = 0;
        let error = std::mem::take(&mut self.last_error);
        self.lost(&error, queue, now);
        Change::None
    }

    fn connected(&mut self, queue: &mut Queue) -> Change {
        self.state = match std::mem::replace(&mut self.state, State::Resting) {
            State::Connecting { socket, .. } | State::Connected { socket } => State::Connected { socket },
            other => other,
        };
        // The next connection is tried at the address that worked.
        self.next_address = self.next_address.saturating_sub(1);
        queue.counters.connected = true;
        queue.counters.reconnects += u64::from(self.was_connected);
        self.was_connected = true;
        Change::Connected
    }
}
