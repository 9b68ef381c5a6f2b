//! Memory of the reads, born once and used for one namespace after the other; and what happened in
//! all of them.

use super::{
    PollOptions,
    known::{Found, Known},
};
use crate::{
    netlink::{
        inet_diag::{InetDiagMsg, States, TCP_LISTEN},
        receive_batch::ReceiveBatch,
    },
    rows::Rows,
};
use std::collections::HashSet;

/// Bytes of a receive. The kernel fills a dump's datagram up to what the reader asks for, 32 KiB
/// at most; a larger buffer measured no gain.
pub const RECEIVE_BYTES: usize = 32 * 1024;

/// Counts of what happened while namespaces were read. All of it since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounters {
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
    /// Look-ups of known sockets.
    pub look_ups: u64,
    /// Of those, the ones whose socket had gone.
    pub look_ups_gone: u64,
    /// Look-ups made again since no answer came.
    pub look_ups_repeated: u64,
    /// Namespaces skipped since the kernel counts no TCP socket in them.
    pub skips: u64,
    /// Namespaces read by look-ups alone.
    pub look_ups_sufficed: u64,
    /// Namespaces walked after look-ups that were not enough.
    pub walks_after_look_ups: u64,
    /// Namespaces walked at once.
    pub walks: u64,
    /// Sockets read, filtered ones included, duplicates not.
    pub sockets: u64,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do, at once.
    More,
    /// Nothing to read now; the socket will tell.
    Blocked,
    /// That was the last step.
    Done,
}

/// What was read of the current namespace.
#[derive(Debug, Default)]
pub struct Seen {
    /// Cookies of the sockets of the current walk or round of look-ups, in order.
    pub cookies: Vec<u64>,
    /// Cookies of earlier ones in this poll: their rows are made.
    pub rows_made: HashSet<u64>,
    /// Cookies of the listeners that the current walk, or dump of listeners, found.
    pub listeners: Vec<u64>,
    /// How many of which kind the current walk, or dump of listeners and look-ups, found.
    pub found: Found,
    /// All but the listeners, for look-ups in the next poll.
    pub sockets: Vec<Known>,
    /// The current walk was made before and was not complete.
    pub is_repeat: bool,
}

impl Seen {
    /// Another namespace.
    fn clear(&mut self) {
        self.cookies.clear();
        self.rows_made.clear();
        self.listeners.clear();
        self.found = Found::default();
        self.sockets.clear();
        self.is_repeat = false;
    }

    /// A walk begins, of a namespace of which something may have been read already.
    pub fn begin_walk(&mut self) {
        self.rows_made.extend(self.cookies.drain(..));
        self.listeners.clear();
        self.found = Found::default();
        self.sockets.clear();
    }

    /// Takes a reply in that the current walk, or round of look-ups, did not have before, and makes
    /// its row unless that was done earlier in this poll.
    #[inline]
    pub fn take(
        &mut self,
        reply: &InetDiagMsg<'_>,
        states: States,
        counters: &mut ReadCounters,
        rows: &mut Rows,
    ) {
        let known = Known::new(reply);
        self.found.add(known.kind);
        match reply.state() == TCP_LISTEN {
            true => self.listeners.push(known.cookie()),
            false => self.sockets.push(known),
        }
        self.cookies.push(known.cookie());
        if !self.rows_made.is_empty() && self.rows_made.contains(&known.cookie()) {
            // After look-ups a walk meets what was looked up: that is as it should be.
            counters.duplicates += u64::from(self.is_repeat);
            return;
        }
        counters.sockets += 1;
        match states.contains(reply.state()) {
            true => rows.push(reply),
            false => counters.filtered += 1,
        }
    }
}

/// What all reads share.
#[derive(Debug)]
pub struct Scratch {
    /// Settings.
    pub options: PollOptions,
    /// Where datagrams of dumps go.
    pub buffer: Vec<u8>,
    /// Where replies to look-ups go.
    pub replies: ReceiveBatch,
    /// Look-ups that go out together.
    pub requests: Vec<u8>,
    /// What was read of the current namespace.
    pub seen: Seen,
    /// Sequence number of the last request.
    pub sequence: u32,
    /// The kernel refuses a dump of both families at once; found out once.
    pub both_refused: bool,
    /// Counts of all reads so far.
    pub counters: ReadCounters,
}

impl Scratch {
    /// Empty memory.
    pub fn new(options: PollOptions) -> Scratch {
        Scratch {
            options,
            buffer: vec![0; RECEIVE_BYTES],
            replies: ReceiveBatch::new(),
            requests: Vec::new(),
            seen: Seen::default(),
            sequence: 0,
            both_refused: false,
            counters: ReadCounters::default(),
        }
    }

    /// Another namespace is read.
    pub fn begin(&mut self) {
        self.seen.clear();
    }

    /// The first of `count` sequence numbers that were not used before.
    pub fn next_sequence(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        first
    }
}
