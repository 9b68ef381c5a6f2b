//! xtcp2: every TCP socket of every network namespace of a Linux host, one row each, from one
//! thread.
//!
//! Data goes one way, and each arrow is a module boundary:
//! `namespaces` (who is there) -> `poll` (what to ask) -> `netlink` (ask, read) -> `record`
//! (kernel bytes -> one encoded row) -> `envelope` (rows -> one message) -> `output` (deliver, or
//! keep). docs/architecture.md has the picture.

pub mod admin;
pub mod capture;
pub mod check;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod envelope;
pub mod epoll;
pub mod format;
pub mod kernel;
pub mod logger;
pub mod metrics;
pub mod namespaces;
pub mod netlink;
pub mod notify;
pub mod output;
pub mod pipeline;
pub mod poll;
pub mod record;
pub mod replay;
pub mod rows;
pub mod schedule;
pub mod schema;
pub mod setting_error;
pub mod settings_file;
pub mod spool;
pub mod sys;
pub mod version;
