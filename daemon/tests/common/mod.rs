//! What integration tests share. Each takes the modules it needs.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

pub mod captures;
pub mod host;
pub mod namespace;
pub mod open_metrics;
pub mod poll;
<<<<<<< HEAD
pub mod row;
=======
pub mod program;
pub mod rows;
>>>>>>> main
pub mod sandbox;
pub mod scenes;
pub mod ss;
