//! Whether a cluster can be reached and has the topic, for `xtcp2 check`. Waits, unlike everything else
//! of an output.

use super::Settings;
use crate::output::{Credentials, HostPort};
use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    producer::{BaseProducer, Producer, ProducerContext},
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// What a cluster said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Brokers that it names.
    pub brokers: usize,
    /// Partitions of the topic; `None` when there is no such topic.
    pub partitions: Option<usize>,
}

/// Why a cluster was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreached {
    /// The settings can never work.
    Never(String),
    /// Not within the time.
    Now(String),
}

/// Keeps the last error, and prints nothing.
#[derive(Default)]
struct LastError(Mutex<Option<String>>);

impl ClientContext for LastError {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, reason: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ProducerContext for LastError {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

/// Asks the cluster for the topic. Makes no topic and sends nothing.
///
/// # Errors
/// When the settings are wrong, or nobody answers within `timeout`.
pub fn reach(brokers: &[HostPort], settings: &Settings, timeout: Duration) -> Result<Reached, Unreached> {
    let config = settings
        .client_config(brokers, &Credentials::default())
        .map_err(|error| Unreached::Never(error.to_string()))?;
    let producer = BaseProducer::from_config_and_context(&config, LastError::default())
        .map_err(|error| Unreached::Never(super::without_value(error)))?;
    let metadata = producer.client().fetch_metadata(Some(&settings.topic), timeout);
    // The errors, if there were any, wait in the queue.
    producer.poll(Duration::ZERO);
    let metadata = metadata.map_err(|error| {
        let last = &producer.context().0;
        let reason = last.lock().unwrap_or_else(PoisonError::into_inner).take();
        Unreached::Now(reason.unwrap_or_else(|| super::without_value(error)))
    })?;
    let topic = metadata
        .topics()
        .iter()
        .find(|topic| topic.name() == settings.topic);
    Ok(Reached {
        brokers: metadata.brokers().len(),
        partitions: topic
            .filter(|topic| topic.error().is_none())
            .map(|topic| topic.partitions().len()),
    })
}
