//! What the tests that need privileges share.

pub mod sandbox;
