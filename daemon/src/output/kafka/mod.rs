//! `kafka:host:port[,host:port]`: one Kafka message an envelope, its identity as the key.
//!
//! librdkafka does the protocol, in threads of its own: two, and one for each bootstrap
//! address and each broker of the metadata. Its events come to our loop through an eventfd. A client that
//! is given up ends in one more thread, so that the loop need not wait for them; the next one begins when
//! it is gone.
//!
//! Delivered means acknowledged by all replicas in sync. Within one producer, idempotence keeps a
//! message that librdkafka sends again from being in the topic twice. It ends with the producer: what
//! was not acknowledged when a process ended, or when a broker's error was fatal, is sent again by the
//! next producer, byte for byte, and its key tells a reader that it is the same.
//!
//! librdkafka holds some megabytes; what does not fit waits in our queue. Nothing times out.

mod connection;
mod reach;
mod reports;
mod settings;

pub use reach::{Reached, Unreached, reach};
pub use settings::{Property, Settings};

use super::{
    Credentials, DropReason, HostPort, Options, backoff::Backoff, queue::Queue, registration::Registration,
};
use crate::{
    epoll::{Epoll, Event, Interest},
    setting_error::SettingError,
    sys::kafka_brokers,
};
use connection::{Connection, Disposal};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{BaseRecord, Producer},
};
use reports::Report;
use std::time::Instant;

/// Handed over before the loop gets its turn again: some milliseconds of copying, and of reading from
/// the spool.
const BYTES_PER_TURN: usize = 4 << 20;

/// A producer of one topic.
pub(super) struct Kafka {
    name: String,
    brokers: Vec<HostPort>,
    settings: Settings,
    credentials: Credentials,
    connection: Option<Connection>,
    /// Of the connection before.
    disposal: Option<Disposal>,
    registration: Registration,
    backoff: Backoff,
    /// Nothing is handed over before then.
    retry_at: Option<Instant>,
    /// The turn ended, and more can be handed over in the next one.
    more_at: Option<Instant>,
    /// SIGHUP came, and the files have not been read since.
    renewal_due: bool,
    rejection_logged: bool,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Kafka {
    pub fn new(name: String, brokers: &[HostPort], options: &Options) -> Result<Kafka, SettingError> {
        Ok(Kafka {
            name,
            brokers: brokers.to_vec(),
            connection: Some(Connection::open(brokers, &options.kafka, &options.credentials)?),
            settings: options.kafka.clone(),
            credentials: options.credentials.clone(),
            disposal: None,
            registration: Registration::default(),
            backoff: Backoff::new(options.seed),
            retry_at: None,
            more_at: None,
            renewal_due: false,
            rejection_logged: false,
        })
    }

    pub fn message_bytes_max(&self) -> usize {
        self.settings.message_bytes_max()
    }

    pub fn begin(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.connection.is_none() {
            let disposal = self.disposal.as_ref();
            self.retry_at = disposal.and_then(|disposal| disposal.look_again_at(now));
            if self.retry_at.is_some() {
                return;
            }
            match Connection::open(&self.brokers, &self.settings, &self.credentials) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => return self.failed(&error.to_string(), queue, now),
            }
        }
        if let Some(connection) = &self.connection
            && let Err(error) = self.registration.enter(epoll, &connection.wake, Interest::READ)
        {
            return self.failed(&error.to_string(), queue, now);
        }
        self.hand_over(queue, now);
    }

    pub fn offered(&mut self, queue: &mut Queue, now: Instant) {
        if self.retry_at.is_none() {
            self.hand_over(queue, now);
        }
    }

    pub fn ready(&mut self, event: &Event, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.registration.is_current(event) {
            self.serve(queue, epoll, now);
        }
    }

    pub fn tick(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.retry_at = None;
        match self.connection {
            Some(_) => self.hand_over(queue, now),
            None => self.begin(queue, epoll, now),
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at.or(self.more_at)
    }

    /// A new producer, with secrets as they are in their files now; librdkafka resolves names by itself.
    pub fn reopen(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        self.renewal_due = true;
        match self.may_renew(queue) {
            true => self.renew(queue, epoll, now),
            false => log::info!(
                "output {}: messages are on their way; after them a new producer begins, with secrets as they \
                 are in their files then",
                self.name
            ),
        }
    }

    /// Messages that are on their way might be in the topic twice, for nothing. Those of a client that no
    /// broker lets in are on their way for ever, and it may be the secrets that it is not let in for.
    fn may_renew(&self, queue: &Queue) -> bool {
        let in_flight = self
            .connection
            .as_ref()
            .map_or(0, |c| c.producer.in_flight_count());
        self.renewal_due && (in_flight == 0 || queue.counters.brokers_up == 0)
    }

    fn renew(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        self.end(queue, epoll);
        self.retry_at = None;
        self.begin(queue, epoll, now);
    }

    /// Ends the producer; what it had not delivered waits again.
    pub fn end(&mut self, queue: &mut Queue, epoll: &Epoll) {
        if let Some(connection) = &self.connection {
            connection.leave(epoll);
        }
        self.take_back(queue);
    }

    /// As [`Kafka::end`], when the loop is over.
    pub fn take_back(&mut self, queue: &mut Queue) {
        self.registration.leave();
        self.more_at = None;
        self.renewal_due = false;
        let Some(connection) = self.connection.take() else {
            return;
        };
        let (reports, disposal) = connection.end();
        self.disposal = Some(disposal);
        for report in reports {
            self.account(&report, queue);
        }
        queue.counters.connected = false;
        // What it did not say in time, it never will: nothing is known of those messages.
        queue.counters.possibly_persisted += queue.retry_all_begun();
    }

    /// Before the process ends: see [`Disposal::wait`].
    pub fn wait_for_disposal(&self) {
        if let Some(disposal) = &self.disposal {
            disposal.wait();
        }
    }

    fn serve(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let Some(connection) = &self.connection else {
            return;
        };
        let (reports, fatal) = (connection.serve(), connection.fatal_error());
        let mut failure = None;
        for report in reports {
            failure = self.account(&report, queue).or(failure);
        }
        if let Some(reason) = fatal {
            // The client is of no use any more: what it has is handed to the next one.
            self.end(queue, epoll);
            return self.failed(&reason, queue, now);
        }
        if let Some(error) = failure {
            self.failed(&error, queue, now);
        }
        match self.may_renew(queue) {
            true => self.renew(queue, epoll, now),
            false => self.offered(queue, now),
        }
    }

    /// Puts a report into the books. Returns what is to be waited for before the next attempt.
    fn account(&mut self, report: &Report, queue: &mut Queue) -> Option<String> {
        match report {
            Report::Delivered(ticket) => {
                queue.delivered(*ticket);
                queue.counters.connected = true;
                self.rejection_logged = false;
                if !self.backoff.is_reset() {
                    log::info!("output {}: delivering again", self.name);
                    self.backoff.reset();
                }
                None
            }
            Report::Failed {
                ticket,
                code,
                possibly_persisted,
            } => {
                queue.counters.possibly_persisted += u64::from(*possibly_persisted);
                match verdict(*code) {
                    Verdict::Drop(reason) => {
                        if !std::mem::replace(&mut self.rejection_logged, true) {
                            log::error!("output {}: {code}; messages it refuses are dropped", self.name);
                        }
                        queue.dropped(*ticket, reason);
                        None
                    }
                    Verdict::GivenBack => {
                        queue.retry(*ticket);
                        None
                    }
                    Verdict::Again => {
                        queue.retry(*ticket);
                        Some(code.to_string())
                    }
                }
            }
            Report::Error { code, reason } => {
                queue.counters.errors += 1;
                queue.last_error = Some(reason.clone());
                if *code == Code::AllBrokersDown {
                    queue.counters.connected = false;
                }
                // librdkafka goes on by itself; only the log is to know, once in an outage.
                if self.backoff.is_reset() {
                    self.backoff.next_wait();
                    log::warn!("output {}: {reason}", self.name);
                }
                None
            }
            Report::Brokers { known, up } => {
                queue.counters.brokers = *known;
                queue.counters.brokers_up = *up;
                queue.counters.connected = *up > 0;
                None
            }
            Report::BrokersForgotten => {
                if let Some(connection) = &self.connection {
                    log::warn!(
                        "output {}: librdkafka has forgotten every broker; it is given the addresses again",
                        self.name
                    );
                    kafka_brokers::add(connection.producer.client(), &settings::addresses(&self.brokers));
                }
                None
            }
        }
    }

    /// Gives librdkafka what it has room for.
    fn hand_over(&mut self, queue: &mut Queue, now: Instant) {
        self.more_at = None;
        let Some(connection) = &self.connection else {
            return;
        };
        let mut budget = BYTES_PER_TURN;
        while let Some((ticket, message)) = queue.next_waiting() {
            if budget == 0 {
                self.more_at = Some(now);
                return;
            }
            budget = budget.saturating_sub(message.bytes.len());
            let key = message.identity.to_string();
            let record = BaseRecord::with_opaque_to(&self.settings.topic, ticket)
                .key(&key)
                .payload(&message.bytes);
            let sent = connection.producer.send(record).map_err(|(error, _)| error);
            match sent.map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Unknown)) {
                Ok(()) => queue.begun(ticket),
                // A delivery report makes room; without one on its way the message fits nowhere.
                Err(Code::QueueFull) if connection.producer.in_flight_count() > 0 => return,
                Err(Code::QueueFull) => queue.dropped(ticket, DropReason::TooLarge),
                Err(code) => match verdict(code) {
                    Verdict::Drop(reason) => queue.dropped(ticket, reason),
                    Verdict::GivenBack | Verdict::Again => return self.failed(&code.to_string(), queue, now),
                },
            }
        }
    }

    fn failed(&mut self, error: &str, queue: &mut Queue, now: Instant) {
        queue.counters.errors += 1;
        queue.last_error = Some(error.to_owned());
        let first = self.backoff.is_reset();
        let wait = self.backoff.next_wait();
        if first {
            log::warn!("output {}: {error}; next try in {wait:?}", self.name);
        }
        self.retry_at = Some(now + wait);
    }
}

/// What went wrong with a client, without the value of a property: it may be a secret.
fn without_value(error: KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, problem, name, _) => format!("property {name}: {problem}"),
        error => error.to_string(),
    }
}

/// What becomes of a message that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It would be refused again.
    Drop(DropReason),
    /// We took it back ourselves.
    GivenBack,
    /// After a while: the operator or the cluster can mend it.
    Again,
}

fn verdict(code: Code) -> Verdict {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Verdict::Drop(DropReason::TooLarge),
        Code::InvalidMessage | Code::InvalidRecord | Code::UnsupportedCompressionType => {
            Verdict::Drop(DropReason::Rejected)
        }
        Code::PurgeQueue | Code::PurgeInflight => Verdict::GivenBack,
        _ => Verdict::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::message;
    use rdkafka::mocking::MockCluster;
    use std::{thread, time::Duration};

    /// A broker that is being shut down makes librdkafka forget all of them at a bad moment only (docs in
    /// `sys::kafka_brokers`); a client that never knew one is in the same state.
    #[test]
    fn brokers_that_librdkafka_forgot_are_given_to_it_again() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("rows", 1, 1).unwrap();
        let mut options = Options::default();
        options.kafka.topic = "rows".to_owned();
        options.kafka.compression = "none".to_owned();
        let (epoll, mut queue) = (Epoll::new().unwrap(), Queue::new(1 << 20));
        let mut kafka = Kafka::new("kafka".to_owned(), &[], &options).unwrap();
        kafka.brokers = vec![cluster.bootstrap_servers().parse().unwrap()];
        kafka.begin(&mut queue, &epoll, Instant::now());
        queue.push(vec![message(1, 100)]);
        kafka.offered(&mut queue, Instant::now());
        let end = Instant::now() + Duration::from_secs(20);
        while queue.counters.delivered.messages == 0 {
            assert!(Instant::now() < end, "never delivered");
            kafka.serve(&mut queue, &epoll, Instant::now());
            thread::sleep(Duration::from_millis(10));
        }
    }
}
