//! A dump: requests, replies, and what can go wrong between them.

use super::{
    scratch::{Scratch, Step},
    world::World,
};
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
use std::io;

/// How often a dump is made for one namespace in one poll before what was read has to do. An
/// interrupted one is repeated because it may have missed sockets; if two more tries are
/// interrupted as well, the namespace changes faster than it can be read.
const DUMP_ATTEMPTS_MAX: u32 = 3;

/// A dump goes on, datagram by datagram, at a place in a hash chain. Sockets that were put in front
/// of it meanwhile shift the chain, so that the end of one datagram comes again at the start
/// of the next. So many sockets back it is looked for: chains are a few sockets long.
const REPEATED_SOCKETS_MAX: usize = 64;

/// If more were put in front than were read of the chain before, some of those that are new stand before
/// the ones that come again. So many are looked past in each datagram.
const NEW_BEFORE_REPEATED_MAX: usize = 8;

/// Which request is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Both,
    Family(u8),
}

/// A dump under way.
#[derive(Debug)]
pub struct Dump {
    /// States asked for.
    states: States,
    request: Request,
    sent: bool,
    attempt: u32,
    /// Something was missed since the request went out: repeat.
    missed: bool,
    /// Something was missed of IPv4 at each try.
    missed_for_good: bool,
    /// The error with which both families at once were refused. That is a fact of the kernel only when a dump of one family
    /// works: where tcp_diag is not loaded yet, both kinds fail.
    refusal: Option<i32>,
    /// The dump ended, and nothing was missed.
    pub complete: bool,
}

impl Dump {
    /// A dump of the sockets in `states`.
    pub fn new(states: States, scratch: &mut Scratch) -> Dump {
        let request = match scratch.both_refused {
            true => Request::Family(AF_INET),
            false => Request::Both,
        };
        scratch.seen.begin_walk();
        Dump {
            states,
            request,
            sent: false,
            attempt: 1,
            missed: false,
            missed_for_good: false,
            refusal: None,
            complete: false,
        }
    }

    /// Sends a request or reads one datagram.
    pub fn step<W: World>(
        &mut self,
        world: &mut W,
        socket: &W::Socket,
        scratch: &mut Scratch,
        rows: &mut Rows,
    ) -> Step {
        if !self.sent {
            return self.send(world, socket, scratch);
        }
        match world.receive(socket, &mut scratch.buffer) {
            Ok(length) => {
                scratch.counters.received_bytes += length as u64;
                if length > scratch.buffer.len() {
                    scratch.counters.truncated += 1;
                    self.missed = true;
                }
                self.read(length.min(scratch.buffer.len()), scratch, rows)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Step::Blocked,
                Some(libc::EINTR) => Step::More,
                Some(libc::ENOBUFS) => {
                    // The dump goes on, but a part of it is lost.
                    scratch.counters.overrun += 1;
                    self.missed = true;
                    Step::More
                }
                errno => self.failed(errno.unwrap_or(libc::EIO), scratch),
            },
        }
    }

    fn send<W: World>(&mut self, world: &mut W, socket: &W::Socket, scratch: &mut Scratch) -> Step {
        // A number of its own tells the replies to this request from late ones to another.
        let (ext, sequence) = (scratch.options.idiag_ext, scratch.next_sequence(1));
        let sent = match self.request {
            Request::Both => world.send(socket, &dump_both_families(ext, self.states, sequence)),
            Request::Family(family) => {
                world.send(socket, &dump_one_family(family, ext, self.states, sequence))
            }
        };
        match sent {
            Ok(()) => {
                scratch.counters.dumps += 1;
                self.sent = true;
                self.missed = false;
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
    fn read(&mut self, length: usize, scratch: &mut Scratch, rows: &mut Rows) -> Step {
        let Scratch {
            buffer,
            seen,
            counters,
            options,
            sequence,
            ..
        } = scratch;
        let before = seen.cookies.len();
        let recent = before.saturating_sub(REPEATED_SOCKETS_MAX)..before;
        let mut new_sockets = 0;
        let mut end = None;
        for message in Messages::new(&buffer[..length]) {
            let Ok(message) = message else {
                counters.malformed += 1;
                self.missed = true;
                break;
            };
            if message.sequence != *sequence {
                counters.unexpected += 1;
                continue;
            }
            if message.flags & NLM_F_DUMP_INTR != 0 && !self.missed {
                counters.interrupted += 1;
                self.missed = true;
            }
            match message.message_type {
                TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => {
                    let Some(reply) = InetDiagMsg::new(message.payload) else {
                        counters.malformed += 1;
                        continue;
                    };
                    if new_sockets <= NEW_BEFORE_REPEATED_MAX
                        && seen.cookies[recent.clone()].contains(&reply.cookie())
                    {
                        counters.duplicates += 1;
                    } else {
                        new_sockets += 1;
                        seen.take(&reply, options.states, counters, rows);
                    }
                }
                NLMSG_DONE => end = Some(done_error(message.payload)),
                NLMSG_ERROR => end = Some(error_code(message.payload)),
                NLMSG_OVERRUN => {
                    counters.overrun += 1;
                    self.missed = true;
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
        if let Some(errno) = self.refusal.take() {
            log::warn!(
                "the kernel refuses a dump of both address families at once ({}); two dumps a namespace from now on",
                io::Error::from_raw_os_error(errno)
            );
            scratch.both_refused = true;
        }
        match self.missed {
            true => self.repeat(scratch),
            false => self.go_on(true),
        }
    }

    /// To the other family, if it was not asked for yet.
    fn go_on(&mut self, complete: bool) -> Step {
        if self.request == Request::Family(AF_INET) {
            self.missed_for_good = !complete;
            self.request = Request::Family(AF_INET6);
            self.sent = false;
            // Tries are counted for each family.
            self.attempt = 1;
            return Step::More;
        }
        self.complete = complete && !self.missed_for_good;
        Step::Done
    }

    fn failed(&mut self, errno: i32, scratch: &mut Scratch) -> Step {
        let refused = matches!(
            errno,
            libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT
        );
        if self.request == Request::Both && refused && scratch.seen.cookies.is_empty() {
            self.refusal = Some(errno);
            self.request = Request::Family(AF_INET);
            self.sent = false;
            return Step::More;
        }
        scratch.counters.failed += 1;
        match errno {
            libc::EINTR | libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => self.repeat(scratch),
            _ => {
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
            return self.go_on(false);
        }
        self.attempt += 1;
        self.sent = false;
        scratch.counters.repeated += 1;
        scratch.seen.begin_walk();
        scratch.seen.is_repeat = true;
        Step::More
    }
}
