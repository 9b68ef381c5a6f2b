//! What integration tests share. Each takes the modules it needs.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

pub mod captures;
pub mod namespace;
pub mod poll;
pub mod row;
pub mod sandbox;
pub mod scenes;
pub mod ss;
