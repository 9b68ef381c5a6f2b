//! What happened to the messages that were offered. At any time
//! offered + recovered = delivered + still queued + dropped, in messages and in rows.

/// Messages, and what was in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of them, without what a transport puts around them.
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, rows: u32, bytes: u64) {
        self.messages += 1;
        self.rows += u64::from(rows);
        self.bytes += bytes;
    }

    pub(super) fn subtract(&mut self, rows: u32, bytes: u64) {
        self.messages -= 1;
        self.rows -= u64::from(rows);
        self.bytes -= bytes;
    }
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// The queue, or the spool, was at its bound and this was the oldest message not yet begun.
    QueueFull = 0,
    /// Larger than the queue's or the spool's bound, or than the receiver takes.
    TooLarge = 1,
    /// The output can never be written again: its reader went away for good.
    WriteError = 2,
    /// Still queued when the daemon ended.
    Shutdown = 3,
    /// The receiver refused it and would refuse it again (HTTP 400, 413, 415, 422, 431).
    Rejected = 4,
    /// Its record in the spool is not what was written.
    Damaged = 5,
    /// The disk failed to read its record in the spool, again and again (docs/spool.md says how often).
    Unreadable = 6,
}

impl DropReason {
    /// Each reason and its name, as metrics label it.
    pub const NAMES: [(DropReason, &str); 7] = [
        (DropReason::QueueFull, "queue_full"),
        (DropReason::TooLarge, "too_large"),
        (DropReason::WriteError, "write_error"),
        (DropReason::Shutdown, "shutdown"),
        (DropReason::Rejected, "rejected"),
        (DropReason::Damaged, "damaged"),
        (DropReason::Unreadable, "unreadable"),
    ];
}

/// Counts since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Found in the spool at the start: of earlier instances.
    pub recovered: Tally,
    /// Accepted by the kernel (file, pipe, datagram, stream), or answered 2xx (HTTP).
    pub delivered: Tally,
    /// Transmissions that were broken off, or refused for now, and begun again.
    pub retried: u64,
    /// Failed attempts to resolve, connect, write or be answered.
    pub errors: u64,
    /// Connections made after the first one.
    pub reconnects: u64,
    /// Failed messages that may have arrived all the same: the answer was lost, so they were sent again.
    pub possibly_persisted: u64,
    /// Brokers of the Kafka cluster that are known, and connected to.
    pub brokers: u64,
    /// Brokers that are connected to.
    pub brokers_up: u64,
    /// Whether there is a connection or an open file right now.
    pub connected: bool,
    dropped: [Tally; DropReason::NAMES.len()],
}

impl Counters {
    /// What was given up for this reason.
    pub fn dropped(&self, reason: DropReason) -> Tally {
        self.dropped[reason as usize]
    }

    /// What was given up for any reason.
    pub fn dropped_total(&self) -> Tally {
        self.dropped.iter().fold(Tally::default(), |sum, tally| Tally {
            messages: sum.messages + tally.messages,
            rows: sum.rows + tally.rows,
            bytes: sum.bytes + tally.bytes,
        })
    }

    pub(super) fn drop(&mut self, rows: u32, bytes: u64, reason: DropReason) {
        self.dropped[reason as usize].add(rows, bytes);
    }
}
