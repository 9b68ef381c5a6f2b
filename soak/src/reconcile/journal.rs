//! What the spool's journal says was produced.

pub use xtcp2::spool::journal::{Entry, EventKind, read};
