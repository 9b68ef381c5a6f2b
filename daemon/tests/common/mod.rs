//! What the tests share that need privileges, or the real program.

#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

pub mod host;
pub mod open_metrics;
pub mod program;
pub mod rows;
pub mod sandbox;
