//! What integration tests share. Each takes the modules it needs.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

pub mod captures;
pub mod events;
pub mod host;
pub mod json_row;
pub mod load;
pub mod namespace;
pub mod open_metrics;
pub mod poll;
pub mod program;
pub mod rows;
pub mod sandbox;
pub mod scenes;
pub mod seen;
pub mod simulated;
pub mod ss;
