//! Brokers that librdkafka has forgotten, given to it again: what the crate rdkafka 0.39 does not wrap.
//!
//! A broker that is being shut down may answer that the cluster has no brokers at all. librdkafka 2.10 and
//! later then removes every broker it knows, and may never look at its bootstrap addresses again: it stays
//! alone until the process ends (confluentinc/librdkafka#5301). Seen here with a consumer, after a restart
//! of the only broker; `metadata.recovery.strategy=none` does not help, as the brokers are removed first.

use rdkafka::{ClientContext, Statistics, bindings::rd_kafka_brokers_add, client::Client};
use std::ffi::CString;

/// Whether these statistics are of a client that has no address left to connect to.
pub fn are_forgotten(statistics: &Statistics) -> bool {
    // Others are its own: logical ones have no address unless a real one lends it.
    let is_real = |source: &str| matches!(source, "configured" | "learned");
    !statistics.brokers.values().any(|broker| is_real(&broker.source))
}

/// Gives `client` the addresses, `host:port[,host:port]`, again. Those that it has are left as they are.
/// Returns how many were new to it.
pub fn add<C: ClientContext>(client: &Client<C>, addresses: &str) -> usize {
    let Ok(addresses) = CString::new(addresses) else {
        return 0;
    };
    // SAFETY: `client` is borrowed, so its handle is alive; the call copies the text, which ends with a zero.
    let added = unsafe { rd_kafka_brokers_add(client.native_ptr(), addresses.as_ptr()) };
    usize::try_from(added).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Broker;

    #[test]
    fn a_client_without_an_address_is_told_from_one_whose_brokers_are_away() {
        let with = |sources: &[&str]| {
            let broker = |source: &&str| Broker {
                source: (*source).to_owned(),
                nodeid: -1,
                state: "DOWN".to_owned(),
                ..Broker::default()
            };
            let brokers = sources
                .iter()
                .map(|source| ((*source).to_owned(), broker(source)));
            Statistics {
                brokers: brokers.collect(),
                ..Statistics::default()
            }
        };
        assert!(are_forgotten(&with(&[])));
        assert!(are_forgotten(&with(&["logical", "internal"])));
        assert!(!are_forgotten(&with(&["configured"])));
        assert!(!are_forgotten(&with(&["logical", "learned"])));
    }
}
