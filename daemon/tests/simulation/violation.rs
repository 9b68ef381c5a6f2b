//! What must always hold, by what it looks like when it does not.

use std::fmt;
use xtcp2::output::Identity;

/// An invariant that was broken. Its kind says which one, its text where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// A socket that lived through a whole poll has a row in it, unless its namespace was counted as failed.
    RowForEachSocket,
    /// No socket has two rows in one poll.
    NoSecondRow,
    /// A row is of a socket that lived in that namespace while the poll ran, and says so.
    RowsAreTrue,
    /// Only what went wrong is counted as gone wrong.
    NoFalseAlarm,
    /// Rows made + recovered = delivered + queued + dropped.
    BooksBalance,
    /// What is counted as delivered is with the receiver, byte for byte.
    DeliveredIsThere,
    /// Queues and memory are within their bounds.
    Bounds,
    /// The thread is in its own network namespace, but for the two setns of a visit.
    AtHome,
    /// `record_counter` goes on by one from row to row, envelopes by one from message to message.
    CountersWithoutGaps,
    /// The number of a poll is one more than that of the poll before.
    PollSequenceGrows,
    /// What the spool took is there after a kill or a power cut.
    SpoolKeeps,
    /// Polls end, and what can be delivered is delivered.
    Progress,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

/// Fails when the invariant does not hold.
pub fn hold(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Result<(), Violation> {
    match holds {
        true => Ok(()),
        false => Err(Violation {
            invariant,
            what: what(),
        }),
    }
}

/// A message, shortly.
pub fn named(identity: Identity) -> String {
    format!("message {identity}")
}
