//! Asks for each known socket of one namespace, in batches, each answer matched by its number.

use super::{
    known::{Found, Known},
    scratch::{ReadCounters, Scratch, Seen, Step},
    world::World,
};
use crate::{
    netlink::{
        inet_diag::{InetDiagMsg, LOOK_UP_BYTES, SOCK_DIAG_BY_FAMILY, SocketKind, States, look_up},
        message::{Message, Messages, NLMSG_ERROR, error_code},
        receive_batch::BATCH_MAX,
    },
    rows::Rows,
};

/// How often unanswered look-ups are sent before the namespace is walked instead. The kernel answers
/// within the send; an answer is only missing when the receive buffer was full.
const SENDS_MAX: u32 = 4;

const _: () = assert!(BATCH_MAX <= 64, "one bit a look-up");

/// The look-ups of one namespace under way.
#[derive(Debug)]
pub struct LookUps {
    /// Sequence number of the look-up of the first socket.
    base_sequence: u32,
    /// The batch: the sockets from here,
    start: usize,
    /// that many,
    length: usize,
    /// one bit for each that is not answered yet.
    unanswered: u64,
    sends: u32,
    waits_for_replies: bool,
    /// Every look-up was answered.
    pub complete: bool,
    /// What was a request when it was seen last, which nothing counts, and is counted now. Whether the
    /// kernel's counts, read before, have it already is not known.
    pub turned: Found,
    /// What had gone, by what it was when it was seen last.
    pub gone: Found,
}

/// Where replies go.
struct Taking<'a> {
    states: States,
    counters: &'a mut ReadCounters,
    seen: &'a mut Seen,
    rows: &'a mut Rows,
}

impl LookUps {
    /// Look-ups of so many sockets.
    pub fn new(sockets: usize, scratch: &mut Scratch) -> LookUps {
        LookUps {
            base_sequence: scratch.next_sequence(u32::try_from(sockets).unwrap_or(u32::MAX)),
            start: 0,
            length: 0,
            unanswered: 0,
            sends: 0,
            waits_for_replies: false,
            complete: false,
            turned: Found::default(),
            gone: Found::default(),
        }
    }

    /// Sends a batch, or takes what replies there are.
    pub fn step<W: World>(
        &mut self,
        world: &mut W,
        socket: &W::Socket,
        sockets: &[Known],
        scratch: &mut Scratch,
        rows: &mut Rows,
    ) -> Step {
        if self.unanswered == 0 {
            self.start += self.length;
            self.length = BATCH_MAX.min(sockets.len() - self.start);
            if self.length == 0 {
                self.complete = true;
                return Step::Done;
            }
            self.unanswered = u64::MAX >> (64 - self.length);
            self.sends = 0;
            self.waits_for_replies = false;
        }
        match self.waits_for_replies {
            false => self.send(world, socket, sockets, scratch),
            true => self.receive(world, socket, sockets, scratch, rows),
        }
    }

    fn send<W: World>(
        &mut self,
        world: &mut W,
        socket: &W::Socket,
        sockets: &[Known],
        scratch: &mut Scratch,
    ) -> Step {
        if self.sends == SENDS_MAX {
            return Step::Done;
        }
        scratch.requests.clear();
        scratch.requests.reserve(BATCH_MAX * LOOK_UP_BYTES);
        let batch = self.start..self.start + self.length;
        for (number, known) in batch.clone().zip(&sockets[batch]) {
            if self.unanswered >> (number - self.start) & 1 == 1 {
                #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
                let sequence = self.base_sequence.wrapping_add(number as u32);
                let ext = scratch.options.idiag_ext;
                scratch
                    .requests
                    .extend(look_up(known.family, &known.id, ext, sequence));
            }
        }
        match world.send(socket, &scratch.requests) {
            Ok(()) => {
                let asked = u64::from(self.unanswered.count_ones());
                let counters = &mut scratch.counters;
                counters.look_ups += asked;
                counters.look_ups_repeated += if self.sends > 0 { asked } else { 0 };
                self.sends += 1;
                self.waits_for_replies = true;
                Step::More
            }
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Step::More,
            Err(_) => Step::Done,
        }
    }

    fn receive<W: World>(
        &mut self,
        world: &mut W,
        socket: &W::Socket,
        sockets: &[Known],
        scratch: &mut Scratch,
        rows: &mut Rows,
    ) -> Step {
        let Scratch {
            replies,
            options,
            counters,
            seen,
            ..
        } = scratch;
        match world.receive_batch(socket, replies) {
            Ok(length) => {
                counters.received_bytes += length as u64;
                let mut taking = Taking {
                    states: options.states,
                    counters,
                    seen,
                    rows,
                };
                let mut datagrams = replies.datagrams();
                match datagrams.try_for_each(|datagram| self.datagram(datagram?, sockets, &mut taking)) {
                    Some(()) => Step::More,
                    None => Step::Done,
                }
            }
            Err(error) => match error.raw_os_error() {
                // All answers that there are were read: what has none is asked for again.
                Some(libc::EAGAIN) => {
                    self.waits_for_replies = false;
                    Step::More
                }
                Some(libc::EINTR) => Step::More,
                Some(libc::ENOBUFS) => {
                    counters.overrun += 1;
                    Step::More
                }
                _ => Step::Done,
            },
        }
    }

    /// Goes through one datagram; `None` when look-ups cannot settle this namespace.
    fn datagram(&mut self, datagram: &[u8], sockets: &[Known], taking: &mut Taking<'_>) -> Option<()> {
        for message in Messages::new(datagram) {
            let Ok(message) = message else {
                taking.counters.malformed += 1;
                return None;
            };
            let number = message.sequence.wrapping_sub(self.base_sequence) as usize;
            let in_batch = number.wrapping_sub(self.start);
            if in_batch >= self.length || self.unanswered >> in_batch & 1 == 0 {
                taking.counters.unexpected += 1;
                continue;
            }
            self.answer(&message, &sockets[number], taking)?;
            self.unanswered &= !(1 << in_batch);
        }
        Some(())
    }

    fn answer(&mut self, message: &Message<'_>, known: &Known, taking: &mut Taking<'_>) -> Option<()> {
        match message.message_type {
            SOCK_DIAG_BY_FAMILY => {
                let reply = InetDiagMsg::new(message.payload)?;
                if reply.id() != known.id || reply.family() != known.family {
                    // The kernel compares cookies; another socket's answer settles nothing.
                    taking.counters.unexpected += 1;
                    return None;
                }
                if known.kind == SocketKind::Request {
                    self.turned.add(reply.kind());
                }
                taking
                    .seen
                    .take(&reply, taking.states, taking.counters, taking.rows);
                Some(())
            }
            NLMSG_ERROR if error_code(message.payload) == Some(libc::ENOENT) => {
                taking.counters.look_ups_gone += 1;
                self.gone.add(known.kind);
                Some(())
            }
            // Anything else says nothing about the socket.
            _ => None,
        }
    }
}
