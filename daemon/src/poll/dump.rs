//! The dump of one namespace: requests, replies, and what can go wrong between them.

use super::world::World;
use crate::{
    netlink::{
        inet_diag::{
            AF_INET, AF_INET6, InetDiagMsg, SOCK_DIAG_BY_FAMILY, States, TCPDIAG_GETSOCK, dump_both_families,
            dump_one_family,
        },
        message::{
            Messages, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, done_error,
            error_code,
        },
    },
    rows::Rows,
};
use std::{
    collections::HashSet,
    io,
    time::{Duration, Instant},
};

/// Bytes of a receive. The kernel fills a dump's datagram up to what the reader asks for, 32 KiB
/// at most; a larger buffer measured no gain.
pub const RECEIVE_BYTES: usize = 32 * 1024;

/// How often a dump is made for one namespace in one poll before what was read has to do. An
/// interrupted one is repeated because it may have missed sockets; if two more tries are
/// interrupted as well, the namespace changes faster than it can be read.
const DUMP_ATTEMPTS_MAX: u32 = 3;

/// A dump goes on, datagram by datagram, at a place in a hash chain. Sockets that were put in front
/// of it meanwhile shift the chain, so that the end of one datagram comes again at the start
/// of the next. So many sockets back it is looked for: chains are a few sockets long.
const REPEATED_SOCKETS_MAX: usize = 64;

/// Counts of what happened in dumps. All of it since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpCounters {
    /// Dumps begun, repeated ones included.
    pub dumps: u64,
    /// Dumps made again after one that was not complete.
    pub repeated: u64,
    /// Dumps that changed under the reader (NLM_F_DUMP_INTR).
    pub interrupted: u64,
    /// Datagrams that the kernel dropped for want of receive buffer (ENOBUFS, NLMSG_OVERRUN).
    pub overrun: u64,
    /// Datagrams cut off because they were longer than [`RECEIVE_BYTES`].
    pub truncated: u64,
    /// Dumps that ended with an error, inside NLMSG_DONE or as NLMSG_ERROR.
    pub failed: u64,
    /// Namespaces given up after `--timeout`; the rows read until then were kept.
    pub timed_out: u64,
    /// Namespaces that stayed incomplete for another reason; the rows read were kept.
    pub incomplete: u64,
    /// Messages that are no netlink messages, or replies too short.
    pub malformed: u64,
    /// Replies to some earlier request, or of an unknown type; passed over.
    pub unexpected: u64,
    /// Sockets that a dump returned again; one row was made of them.
    pub duplicates: u64,
    /// Sockets whose state is not among `--states`.
    pub filtered: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Sockets read, filtered ones included, duplicates not.
    pub sockets: u64,
}

/// Which request is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Both,
    Family(u8),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to read, at once.
    More,
    /// Nothing to read now; the socket will tell.
    Blocked,
    /// The namespace is done.
    Done,
}

/// What a dump is told, the same for all namespaces.
#[derive(Clone, Copy, Debug)]
pub struct DumpOptions {
    /// Attributes to ask for, as `idiag_ext`.
    pub idiag_ext: u8,
    /// States that become rows.
    pub states: States,
}

/// Memory of the dumps, born once and used by one after the other.
#[derive(Debug)]
pub struct Scratch {
    buffer: Vec<u8>,
    /// Cookies of the sockets of the current namespace that were read, in order.
    cookies: Vec<u64>,
    /// The same as a set, while a repeated dump must not make a second row of them.
    seen: HashSet<u64>,
    sequence: u32,
    /// The kernel refuses a dump of both families at once; found out once.
    both_refused: bool,
    /// Counts of all dumps so far.
    pub counters: DumpCounters,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            buffer: vec![0; RECEIVE_BYTES],
            cookies: Vec::new(),
            seen: HashSet::new(),
            sequence: 0,
            both_refused: false,
            counters: DumpCounters::default(),
        }
    }
}

/// The dump of one namespace under way.
#[derive(Debug)]
pub struct Dump<S> {
    socket: S,
    deadline: Instant,
    request: Request,
    sent: bool,
    attempt: u32,
    /// Something was missed since the request went out: repeat.
    incomplete: bool,
}

impl<S> Dump<S> {
    /// A dump through `socket`, to be given up at `deadline`.
    pub fn new(socket: S, deadline: Instant, scratch: &mut Scratch) -> Dump<S> {
        scratch.cookies.clear();
        scratch.seen.clear();
        let request = if scratch.both_refused {
            Request::Family(AF_INET)
        } else {
            Request::Both
        };
        Dump {
            socket,
            deadline,
            request,
            sent: false,
            attempt: 1,
            incomplete: false,
        }
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// When the namespace is given up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives the namespace so much longer.
    pub fn postpone(&mut self, by: Duration) {
        self.deadline += by;
    }

    /// Sends a request or reads one datagram.
    pub fn step<W: World<Socket = S>>(
        &mut self,
        world: &mut W,
        options: &DumpOptions,
        scratch: &mut Scratch,
        rows: &mut Rows,
    ) -> Step {
        if world.now() >= self.deadline {
            scratch.counters.timed_out += 1;
            return Step::Done;
        }
        if !self.sent {
            return self.send(world, options, scratch);
        }
        match world.receive(&self.socket, &mut scratch.buffer) {
            Ok(length) => {
                scratch.counters.received_bytes += length as u64;
                if length > scratch.buffer.len() {
                    scratch.counters.truncated += 1;
                    self.incomplete = true;
                }
                self.read(length.min(scratch.buffer.len()), options, scratch, rows)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Step::Blocked,
                Some(libc::EINTR) => Step::More,
                Some(libc::ENOBUFS) => {
                    // The dump goes on, but a part of it is lost.
                    scratch.counters.overrun += 1;
                    self.incomplete = true;
                    Step::More
                }
                errno => self.failed(errno.unwrap_or(libc::EIO), scratch),
            },
        }
    }

    fn send<W: World<Socket = S>>(
        &mut self,
        world: &mut W,
        options: &DumpOptions,
        scratch: &mut Scratch,
    ) -> Step {
        // A number of its own tells the replies to this request from late ones to another.
        scratch.sequence = scratch.sequence.wrapping_add(1);
        let (ext, sequence) = (options.idiag_ext, scratch.sequence);
        let sent = match self.request {
            Request::Both => world.send(&self.socket, &dump_both_families(ext, States::ALL, sequence)),
            Request::Family(family) => {
                world.send(&self.socket, &dump_one_family(family, ext, States::ALL, sequence))
            }
        };
        match sent {
            Ok(()) => {
                scratch.counters.dumps += 1;
                self.sent = true;
                self.incomplete = false;
                Step::More
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Step::Blocked,
                Some(libc::EINTR) => Step::More,
                errno => self.failed(errno.unwrap_or(libc::EIO), scratch),
            },
        }
    }

    /// Goes through one datagram.
    fn read(&mut self, length: usize, options: &DumpOptions, scratch: &mut Scratch, rows: &mut Rows) -> Step {
        let Scratch {
            buffer,
            cookies,
            seen,
            counters,
            sequence,
            ..
        } = scratch;
        let before = cookies.len();
        let mut may_repeat = before > 0;
        let mut end = None;
        for message in Messages::new(&buffer[..length]) {
            let Ok(message) = message else {
                counters.malformed += 1;
                self.incomplete = true;
                break;
            };
            if message.sequence != *sequence {
                counters.unexpected += 1;
                continue;
            }
            if message.flags & NLM_F_DUMP_INTR != 0 && !self.incomplete {
                counters.interrupted += 1;
                self.incomplete = true;
            }
            match message.message_type {
                TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => {
                    let Some(reply) = InetDiagMsg::new(message.payload) else {
                        counters.malformed += 1;
                        continue;
                    };
                    let cookie = reply.cookie();
                    if may_repeat {
                        let recent = before.saturating_sub(REPEATED_SOCKETS_MAX);
                        may_repeat = cookies[recent..before].contains(&cookie);
                    }
                    if may_repeat || seen.contains(&cookie) {
                        counters.duplicates += 1;
                        continue;
                    }
                    cookies.push(cookie);
                    counters.sockets += 1;
                    if options.states.contains(reply.state()) {
                        rows.push(&reply);
                    } else {
                        counters.filtered += 1;
                    }
                }
                NLMSG_DONE => end = Some(done_error(message.payload)),
                NLMSG_ERROR => end = Some(error_code(message.payload)),
                NLMSG_OVERRUN => {
                    counters.overrun += 1;
                    self.incomplete = true;
                }
                NLMSG_NOOP => {}
                _ => counters.unexpected += 1,
            }
        }
        match end {
            None => Step::More,
            Some(None) => self.ended(scratch),
            Some(Some(errno)) => self.failed(errno, scratch),
        }
    }

    /// The kernel says that the dump is over.
    fn ended(&mut self, scratch: &mut Scratch) -> Step {
        if self.incomplete {
            return self.repeat(scratch);
        }
        match self.request {
            Request::Family(AF_INET) => {
                self.request = Request::Family(AF_INET6);
                self.sent = false;
                // Tries are counted for each family.
                self.attempt = 1;
                Step::More
            }
            Request::Both | Request::Family(_) => Step::Done,
        }
    }

    fn failed(&mut self, errno: i32, scratch: &mut Scratch) -> Step {
        let refused = matches!(
            errno,
            libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT
        );
        if self.request == Request::Both && refused && scratch.cookies.is_empty() {
            log::warn!(
                "the kernel refuses a dump of both address families at once ({}); two dumps a namespace from now on",
                io::Error::from_raw_os_error(errno)
            );
            scratch.both_refused = true;
            self.request = Request::Family(AF_INET);
            self.sent = false;
            return Step::More;
        }
        scratch.counters.failed += 1;
        match errno {
            libc::EINTR | libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => self.repeat(scratch),
            _ => {
                scratch.counters.incomplete += 1;
                log::warn!(
                    "dump of a namespace failed: {}",
                    io::Error::from_raw_os_error(errno)
                );
                Step::Done
            }
        }
    }

    /// Makes the dump again, without a second row for what was read already.
    fn repeat(&mut self, scratch: &mut Scratch) -> Step {
        if self.attempt == DUMP_ATTEMPTS_MAX {
            scratch.counters.incomplete += 1;
            return Step::Done;
        }
        self.attempt += 1;
        self.sent = false;
        scratch.counters.repeated += 1;
        scratch.seen.extend(&scratch.cookies);
        Step::More
    }
}
