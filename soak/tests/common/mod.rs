//! What integration tests share.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

pub mod double;
pub mod running;
pub mod stub;
pub mod topic;
