//! System calls that no crate of ours wraps safely: the only place besides `netlink` with unsafe code, one call and
//! one safe function each.
#![allow(unsafe_code)]

pub mod file_size_limit;
pub mod kafka_brokers;
pub mod kafka_queue;
pub mod netns_cookie;
pub mod random;
pub mod sampler;
pub mod socket_activation;
