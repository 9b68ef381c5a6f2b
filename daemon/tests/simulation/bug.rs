//! Bugs that are planted in the adaptors, to see that the simulation can fail: one for each invariant at
//! least.

use super::violation::Invariant;

/// A bug of the daemon, as it would look from outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A socket is passed over when replies are read.
    SkipSocket,
    /// A socket that was read already makes a row again.
    DoubleRow,
    /// setns into a namespace is left out.
    StayHome,
    /// A reply of an earlier request is taken for one of this.
    StaleReply,
    /// setns home is left out.
    StayAway,
    /// A message that finds no room is lost without being counted.
    UncountedDrop,
    /// A message is taken for delivered that the receiver did not get.
    FalseDelivery,
    /// A message is cut short on its way.
    TornMessage,
    /// Two messages change places on their way.
    Overtaken,
    /// The queue in memory grows past its bound.
    QueuePastBound,
    /// The spool grows past its bound.
    SpoolPastBound,
    /// Copies of messages on disk stay in memory when those are delivered.
    CopiesStay,
    /// Messages are handed over when the next ones are made.
    HandedOverLate,
    /// Sockets that polls before found stay known.
    NeverForgotten,
    /// The room of known sockets that are gone is kept.
    RoomKept,
    /// A message is lost before anybody counted it.
    LostMessage,
    /// Polls count from 1 again.
    PollSequenceRestarts,
    /// The spool does not wait for the disk.
    UnsyncedSpool,
    /// The loop does not wake up for a reply.
    LostWakeup,
    /// What waits is not sent again when the receiver is back.
    NoReconnect,
}

impl Bug {
    /// Every bug, and the invariant that it breaks.
    pub const ALL: [(Bug, Invariant); 20] = [
        (Bug::SkipSocket, Invariant::RowForEachSocket),
        (Bug::StayHome, Invariant::RowForEachSocket),
        (Bug::DoubleRow, Invariant::NoSecondRow),
        (Bug::StaleReply, Invariant::RowsAreTrue),
        (Bug::LostWakeup, Invariant::NoFalseAlarm),
        (Bug::UncountedDrop, Invariant::BooksBalance),
        (Bug::FalseDelivery, Invariant::DeliveredIsThere),
        (Bug::TornMessage, Invariant::DeliveredIsThere),
        (Bug::Overtaken, Invariant::Order),
        (Bug::QueuePastBound, Invariant::Bounds),
        (Bug::SpoolPastBound, Invariant::Bounds),
        (Bug::CopiesStay, Invariant::Bounds),
        (Bug::HandedOverLate, Invariant::Bounds),
        (Bug::NeverForgotten, Invariant::Bounds),
        (Bug::RoomKept, Invariant::Bounds),
        (Bug::StayAway, Invariant::AtHome),
        (Bug::LostMessage, Invariant::CountersWithoutGaps),
        (Bug::PollSequenceRestarts, Invariant::PollSequenceGrows),
        (Bug::UnsyncedSpool, Invariant::SpoolKeeps),
        (Bug::NoReconnect, Invariant::Progress),
    ];
}
