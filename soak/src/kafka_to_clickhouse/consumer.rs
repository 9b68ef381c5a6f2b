//! Out of Kafka: one message after the other, each until it is stored, then its offset.

use super::{
    Options,
    envelope::{Place, Token, check},
    sink::{Outcome, Sink},
};
use rdkafka::{
    ClientConfig, ClientContext, Message, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::OwnedMessage,
};
use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use xtcp2::sys::kafka_brokers;

/// The first wait before the same message is tried again: a server that is merely restarted.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// No wait is longer: a server that is back is found within ten seconds.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Partitions of a member that was killed, or that left while no broker was there, are read by nobody for so
/// long: librdkafka's 45 s were seen as a stall. Three heartbeats; a member that is merely slow loses no
/// row by being taken for dead. Brokers take 6 s at the least.
const SESSION_TIMEOUT_MS: u32 = 10_000;
/// How often librdkafka says which brokers it has: without any it waits for us.
const STATISTICS_INTERVAL_MS: u32 = 5_000;
/// A signal is seen within this time.
const POLL_TIMEOUT: Duration = Duration::from_millis(200);

type Partition = (String, i32);

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages stored or put aside, and committed.
    pub messages: u64,
    /// Rows stored, as far as we know: those that ClickHouse dropped as repeats are counted too.
    pub rows: u64,
    /// Messages put aside.
    pub dead_letters: u64,
    /// Attempts that came to nothing.
    pub retries: u64,
    /// Messages without a key of xtcp2's.
    pub foreign_keys: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            messages,
            rows,
            dead_letters,
            retries,
            foreign_keys,
        } = self;
        write!(
            f,
            "{messages} messages, {rows} rows, {dead_letters} dead letters, {retries} retries, \
             {foreign_keys} without a key of xtcp2's"
        )
    }
}

/// The same while they grow. Only the thread of the [`Pump`] writes, the one of the metrics reads: each number
/// stands for itself, so nothing is ordered between them.
#[derive(Debug, Default)]
pub struct Counters {
    messages: AtomicU64,
    rows: AtomicU64,
    dead_letters: AtomicU64,
    retries: AtomicU64,
    foreign_keys: AtomicU64,
}

impl Counters {
    /// What happened so far.
    pub fn now(&self) -> Counts {
        Counts {
            messages: self.messages.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            foreign_keys: self.foreign_keys.load(Ordering::Relaxed),
        }
    }
}

/// Hears of rebalances. librdkafka calls it only inside our own calls of `poll`, in our thread; the mutex
/// is there because its type must be `Sync`.
#[derive(Debug, Default)]
struct Context {
    revoked: Mutex<Vec<Partition>>,
    /// librdkafka has no address left to connect to.
    has_forgotten_brokers: AtomicBool,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        log::warn!("Kafka: {error}: {reason}");
    }

    fn stats(&self, statistics: Statistics) {
        if kafka_brokers::are_forgotten(&statistics) {
            self.has_forgotten_brokers.store(true, Ordering::Relaxed);
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters of it comes as an error as well.
        log::debug!("librdkafka {level:?}: {facility}: {message}");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Context>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            // The next owner starts behind what is stored. If this fails it starts earlier, and repeats.
            commit(consumer, CommitMode::Sync);
            let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
            revoked.extend(
                partitions
                    .elements()
                    .iter()
                    .map(|one| (one.topic().to_owned(), one.partition())),
            );
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Context>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            // librdkafka keeps a pause of ours beyond the assignment it was made in. What comes of them while
            // a message is tried again is held.
            if let Err(error) = consumer.resume(partitions) {
                log::warn!("Kafka: resume: {error}");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            log::debug!("Kafka: commit: {error}");
        }
    }
}

/// What librdkafka is told: our choices, the operator's properties over them, and over these what the
/// promise rests on.
fn client_config(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string());
    for (name, value) in &options.kafka_properties {
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", &options.group);
    // An offset counts as done when we store it, after the INSERT; not when the message was handed to us.
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
    config
}

/// Commits the offsets stored so far.
fn commit(consumer: &BaseConsumer<Context>, mode: CommitMode) {
    match consumer.commit_consumer_state(mode) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        // Not lost: what is not committed comes again with the same token.
        Err(error) => log::warn!("Kafka: commit: {error}"),
    }
}

/// Moves messages.
pub struct Pump {
    consumer: BaseConsumer<Context>,
    brokers: String,
    sink: Sink,
    /// Came while another one was being tried again; at most one a partition, since its partition is paused
    /// at once.
    held: VecDeque<OwnedMessage>,
    is_paused: bool,
    counters: Arc<Counters>,
}

impl Pump {
    /// Joins the group.
    ///
    /// # Errors
    /// When librdkafka does not take a property; brokers that are away are no error.
    pub fn open(options: &Options) -> KafkaResult<Pump> {
        let consumer: BaseConsumer<Context> =
            client_config(options).create_with_context(Context::default())?;
        consumer.subscribe(&[&options.topic])?;
        log::info!(
            "kafka-to-clickhouse: topic {} of {}, group {}, into {} at {}",
            options.topic,
            options.brokers,
            options.group,
            options.table,
            options.clickhouse_url
        );
        Ok(Pump {
            consumer,
            brokers: options.brokers.clone(),
            sink: Sink::new(options),
            held: VecDeque::new(),
            is_paused: false,
            counters: Arc::default(),
        })
    }

    /// What happens, for others to look at.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Goes on until `stop`, or until nothing came for `idle_max`.
    ///
    /// # Errors
    /// When librdkafka says that this consumer can never go on.
    pub fn run(&mut self, stop: &AtomicBool, idle_max: Option<Duration>) -> KafkaResult<()> {
        let mut last_message = Instant::now();
        let end = loop {
            if stop.load(Ordering::Acquire) {
                break Ok(());
            }
            match self.next() {
                Err(error) => break Err(error),
                Ok(Some(message)) => {
                    self.deliver(&message, stop);
                    last_message = Instant::now();
                }
                Ok(None) if idle_max.is_some_and(|idle_max| last_message.elapsed() >= idle_max) => {
                    break Ok(());
                }
                Ok(None) => {}
            }
        };
        commit(&self.consumer, CommitMode::Sync);
        end
    }

    fn next(&mut self) -> KafkaResult<Option<OwnedMessage>> {
        if !self.held.is_empty() {
            // The group hears of us between any two INSERTs.
            self.serve(Duration::ZERO)?;
        }
        if let Some(message) = self.held.pop_front() {
            return Ok(Some(message));
        }
        if mem::take(&mut self.is_paused) {
            self.consumer.resume(&self.consumer.assignment()?)?;
        }
        let message = self.poll(POLL_TIMEOUT)?;
        // Nothing is in hand that could have been of a revoked partition.
        self.take_revoked();
        Ok(message)
    }

    fn poll(&self, timeout: Duration) -> KafkaResult<Option<OwnedMessage>> {
        let polled = self.consumer.poll(timeout);
        let forgotten = &self.consumer.context().has_forgotten_brokers;
        if forgotten.swap(false, Ordering::Relaxed) {
            log::warn!("Kafka: librdkafka has forgotten every broker; it is given the addresses again");
            kafka_brokers::add(self.consumer.client(), &self.brokers);
        }
        match polled {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message.detach())),
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => Err(error),
            // A broker that is away, a topic that is not there yet: librdkafka goes on by itself.
            Some(Err(error)) => {
                log::warn!("Kafka: {error}");
                Ok(None)
            }
        }
    }

    /// Lets librdkafka work while a message is in hand. What comes is held.
    fn serve(&mut self, timeout: Duration) -> KafkaResult<Vec<Partition>> {
        if let Some(message) = self.poll(timeout)? {
            let mut partition = TopicPartitionList::new();
            partition.add_partition(message.topic(), message.partition());
            self.consumer.pause(&partition)?;
            self.is_paused = true;
            self.held.push_back(message);
        }
        let revoked = self.take_revoked();
        self.held.retain(|message| !is_of(message, &revoked));
        Ok(revoked)
    }

    fn take_revoked(&self) -> Vec<Partition> {
        let mut revoked = self
            .consumer
            .context()
            .revoked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *revoked)
    }

    /// Tries until the message is stored, here or among the dead letters, and then commits its offset. Gives
    /// up only on a message that is someone else's by now, and at the end.
    fn deliver(&mut self, message: &OwnedMessage, stop: &AtomicBool) {
        let place = Place {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        };
        let mut checked = check(&place, message.key(), message.payload());
        let mut wait = WAIT_MIN;
        loop {
            let payload = message.payload().unwrap_or_default();
            let outcome = match &checked {
                Ok(checked) => self.sink.insert(&checked.token.to_string(), payload),
                Err(error) => {
                    self.sink
                        .insert_dead_letter(&place, message.key().unwrap_or_default(), payload, error)
                }
            };
            match outcome {
                Outcome::Stored => break,
                Outcome::Poison(error) => {
                    checked = Err(error);
                    continue;
                }
                Outcome::Again(error) => {
                    self.counters.retries.fetch_add(1, Ordering::Relaxed);
                    if wait == WAIT_MIN {
                        log::warn!(
                            "ClickHouse: message {place}: {error}; it is tried again until it is stored"
                        );
                    }
                }
            }
            if !self.wait(wait, message, stop) {
                return;
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
        if wait > WAIT_MIN {
            log::info!("ClickHouse: message {place} is stored now");
        }
        self.counters.messages.fetch_add(1, Ordering::Relaxed);
        match checked {
            Ok(checked) => {
                self.counters.rows.fetch_add(checked.rows, Ordering::Relaxed);
                if let Token::Place(token) = checked.token {
                    self.counters.foreign_keys.fetch_add(1, Ordering::Relaxed);
                    log::debug!("message {place} has no key of xtcp2's: its token is {token}");
                }
            }
            Err(error) => {
                self.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
                log::error!("message {place} is among the dead letters now: {error}");
            }
        }
        match self
            .consumer
            .store_offset(place.topic, place.partition, place.offset)
        {
            Ok(()) => commit(&self.consumer, CommitMode::Async),
            // The partition is someone else's by now, who repeats the message with the same token.
            Err(error) => log::info!("Kafka: offset of message {place}: {error}"),
        }
    }

    /// Waits, with everything paused, while librdkafka keeps us in the group. Says whether the message is
    /// still ours to deliver.
    fn wait(&mut self, wait: Duration, message: &OwnedMessage, stop: &AtomicBool) -> bool {
        let end = Instant::now() + wait;
        loop {
            if stop.load(Ordering::Acquire) {
                return false;
            }
            if !self.is_paused {
                self.is_paused = self
                    .consumer
                    .assignment()
                    .and_then(|all| self.consumer.pause(&all))
                    .is_ok();
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.serve(left.min(POLL_TIMEOUT)) {
                Ok(revoked) if is_of(message, &revoked) => return false,
                Ok(_) => {}
                // Comes again where it can be returned.
                Err(error) => log::warn!("Kafka: {error}"),
            }
            if left.is_zero() {
                return true;
            }
        }
    }
}

fn is_of(message: &OwnedMessage, partitions: &[Partition]) -> bool {
    partitions
        .iter()
        .any(|(topic, partition)| (topic.as_str(), *partition) == (message.topic(), message.partition()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Parsed, parse};
    use rdkafka::{
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, Producer},
    };

    /// Nothing here takes longer.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn options(more: &str) -> Options {
        let line = format!("kafka-to-clickhouse --brokers b:1 --clickhouse http://h:1/a.b {more}");
        match parse(line.split_whitespace().map(Into::into)) {
            Ok(Parsed::Run(_, given)) => Options::parse(&given).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn config(more: &str) -> ClientConfig {
        client_config(&options(more))
    }

    /// A broker that is being shut down makes librdkafka forget all of them at a bad moment only (docs in
    /// `xtcp2::sys::kafka_brokers`); a client that never knew one is in the same state.
    #[test]
    fn brokers_that_librdkafka_forgot_are_given_to_it_again() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("xtcp", 1, 1).unwrap();
        let mut of_producer = ClientConfig::new();
        of_producer.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer: BaseProducer = of_producer.create().unwrap();
        producer
            .send(BaseRecord::<(), _>::to("xtcp").payload("row"))
            .unwrap();
        producer.flush(PATIENCE).unwrap();
        let nobody = Options {
            brokers: String::new(),
            ..options("")
        };
        let mut pump = Pump::open(&nobody).unwrap();
        pump.brokers = cluster.bootstrap_servers();
        let end = Instant::now() + PATIENCE;
        while pump.poll(POLL_TIMEOUT).unwrap().is_none() {
            assert!(Instant::now() < end, "the message never came");
        }
    }

    #[test]
    fn partitions_of_a_killed_member_do_not_wait_for_45_seconds() {
        assert_eq!(config("").get("session.timeout.ms"), Some("10000"));
        let set = config("--kafka-property session.timeout.ms=6000");
        assert_eq!(set.get("session.timeout.ms"), Some("6000"));
        assert_eq!(set.get("enable.auto.commit"), Some("false"));
    }
}
