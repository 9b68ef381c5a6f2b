//! What happened to the messages that were offered. At any time
//! offered = delivered + still queued + dropped, in messages and in rows.

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
    pub(super) fn add(&mut self, message: &super::Message) {
        self.messages += 1;
        self.rows += u64::from(message.rows);
        self.bytes += message.bytes.len() as u64;
    }

    pub(super) fn subtract(&mut self, message: &super::Message) {
        self.messages -= 1;
        self.rows -= u64::from(message.rows);
        self.bytes -= message.bytes.len() as u64;
    }
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// The queue was at its bound and this was the oldest message not yet begun.
    QueueFull = 0,
    /// Larger than the queue's bound, or than a datagram may be.
    TooLarge = 1,
    /// The output can never be written again: its reader went away for good.
    WriteError = 2,
    /// Still queued when the daemon ended.
    Shutdown = 3,
    /// The receiver refused it and would refuse it again (an HTTP 4xx).
    Rejected = 4,
}

impl DropReason {
    /// Each reason and its name, as metrics label it.
    pub const NAMES: [(DropReason, &str); 5] = [
        (DropReason::QueueFull, "queue_full"),
        (DropReason::TooLarge, "too_large"),
        (DropReason::WriteError, "write_error"),
        (DropReason::Shutdown, "shutdown"),
        (DropReason::Rejected, "rejected"),
    ];
}

/// Counts since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
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

    pub(super) fn drop(&mut self, message: &super::Message, reason: DropReason) {
        self.dropped[reason as usize].add(message);
    }
}
