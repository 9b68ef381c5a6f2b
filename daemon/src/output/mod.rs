//! Delivers messages, or keeps them until it can.

mod destination;

pub use destination::{Destination, EXPECTED as DESTINATION_EXPECTED, HostPort, HttpUrl};
