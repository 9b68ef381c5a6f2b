//! The kernel's sock_diag interface: wire formats, and the socket they travel on.

pub mod inet_diag;
pub mod message;
pub mod receive_batch;
