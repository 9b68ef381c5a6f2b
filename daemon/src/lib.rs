//! xtcp2: every TCP socket of every network namespace of a Linux host, one row each, from one
//! thread.
//!
//! Data goes one way, and each arrow is a module boundary:
//! `namespaces` (who is there) -> `poll` (what to ask) -> `netlink` (ask, read) -> `record`
//! (kernel bytes -> one encoded row) -> `envelope` (rows -> one message) -> `output` (deliver, or
//! keep). docs/architecture.md has the picture.

pub mod config;
pub mod envelope;
pub mod epoll;
pub mod format;
pub mod netlink;
pub mod output;
pub mod record;
pub mod schema;
