//! The spool's journal, as the daemon's crate reads it.
//!
//! This stands in for `xtcp2::spool::journal`, entry for entry, until that is there: then this file is
//! `pub use xtcp2::spool::journal::{Entry, EventKind, read};`.

use std::{io, path::Path};
use xtcp2::output::Identity;

/// What happened to a message.
#[allow(dead_code, reason = "made by the reader of journals, which is not there yet")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It is durable in the spool.
    Produced,
    /// The daemon gave it up for good.
    Dropped,
}

/// One event of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: EventKind,
    /// To whom.
    pub identity: Identity,
    /// Poll of its rows.
    pub poll_sequence: u64,
    /// `record_counter` of its first row.
    pub first_record_counter: u64,
    /// Rows of it.
    pub rows: u32,
    /// When it was written down, nanoseconds since 1970.
    pub time_ns: i64,
}

/// All entries of all instances, in order.
///
/// # Errors
/// Always, in this build.
pub fn read(_spool_dir: &Path) -> io::Result<Vec<Entry>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this build reads no journal yet",
    ))
}
