//! What librdkafka reports, collected while its queue is served.
//!
//! All of it is called from `BaseProducer::poll`, so from our own thread: librdkafka's threads only put
//! events into the queue. The lock is never contended; the trait wants one.

use crate::{
    output::queue::Ticket,
    sys::{kafka_brokers, kafka_queue},
};
use rdkafka::{
    ClientContext, Statistics,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, ProducerContext},
};
use std::sync::{Mutex, PoisonError};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Acknowledged by all replicas that are in sync.
    Delivered(Ticket),
    /// Not acknowledged, and librdkafka no longer tries.
    Failed {
        ticket: Ticket,
        code: RDKafkaErrorCode,
        /// It may be in the topic all the same.
        possibly_persisted: bool,
    },
    /// Something is wrong with a broker, the credentials or the client.
    Error { code: RDKafkaErrorCode, reason: String },
    /// How many brokers are known, and connected to.
    Brokers { known: u64, up: u64 },
    /// No address is left to connect to: it will not come back by itself.
    BrokersForgotten,
}

/// Takes the callbacks, hands out the reports.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Vec<Report>>);

impl Reports {
    fn push(&self, report: Report) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    }

    /// What happened since the last call, in its order.
    pub fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Failures of connections come as errors too, where an outage is logged once.
        let is_failure = matches!(facility, "FAIL" | "ERROR");
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                log::debug!("librdkafka: {facility}: {message}")
            }
            _ if is_failure => log::debug!("librdkafka: {facility}: {message}"),
            _ => log::warn!("librdkafka: {facility}: {message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        // Node -1 is a bootstrap address; a broker has its own entry once the metadata names it.
        let known = statistics.brokers.values().filter(|broker| broker.nodeid >= 0);
        let up = known.clone().filter(|broker| broker.state == "UP");
        self.push(Report::Brokers {
            known: known.count() as u64,
            up: up.count() as u64,
        });
        if kafka_brokers::are_forgotten(&statistics) {
            self.push(Report::BrokersForgotten);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let report = Report::Error {
            code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown),
            reason: reason.to_owned(),
        };
        // The crate rdkafka 0.39 tells each error twice: its client does, and its producer again.
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.last() != Some(&report) {
            reports.push(report);
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Ticket) {
        self.push(match result {
            Ok(_) => Report::Delivered(ticket),
            Err((error, message)) => Report::Failed {
                ticket,
                code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown),
                possibly_persisted: kafka_queue::is_possibly_persisted(message),
            },
        });
    }
}
