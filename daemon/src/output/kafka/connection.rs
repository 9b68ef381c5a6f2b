//! One client of librdkafka, from its beginning to its end.

use super::{
    Settings,
    reports::{Report, Reports},
};
use crate::{
    epoll::Epoll,
    output::{Credentials, HostPort},
    setting_error::SettingError,
    sys::kafka_queue::MainQueue,
};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rdkafka::{
    config::FromClientConfigAndContext,
    producer::{BaseProducer, Producer, PurgeConfig},
};
use std::{
    io,
    mem::ManuallyDrop,
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread,
    time::{Duration, Instant},
};

/// How long the end of a client may take to say what became of its messages. It has them all in hand: this
/// is no wait for a broker, but its threads may be busy.
const PURGE_TIMEOUT: Duration = Duration::from_millis(500);
/// Waited for such reports at a time, all of it.
const PURGE_POLL: Duration = Duration::from_millis(5);
/// How long the next client waits for the one before to be gone, so that there are no threads of two of them: its
/// end takes milliseconds, but minutes inside a look-up of a name, and rows are not to wait for that.
const SUCCESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// Between looks whether it is gone.
const SUCCESSION_POLL: Duration = Duration::from_millis(10);
/// How long the process waits for the last client to be gone.
const DISPOSAL_TIMEOUT: Duration = Duration::from_millis(500);

/// A producer. The fields are dropped in this order: the queue before its client, and the descriptor,
/// which the client's threads write to, last.
pub(super) struct Connection {
    events: MainQueue,
    pub producer: BaseProducer<Reports>,
    pub wake: EventFd,
}

impl Connection {
    pub fn open(
        brokers: &[HostPort],
        settings: &Settings,
        credentials: &Credentials,
    ) -> Result<Connection, SettingError> {
        let config = settings.client_config(brokers, credentials)?;
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        // Readable from the start: what is in the queue before MainQueue::of makes it no longer empty, and
        // only that transition is told.
        let wake = EventFd::from_value_and_flags(1, flags).map_err(io::Error::from)?;
        let producer = BaseProducer::from_config_and_context(&config, Reports::default())
            .map_err(super::without_value)?;
        let events = MainQueue::of(producer.client(), &wake)
            .ok_or_else(|| "librdkafka has no event queue".to_owned())?;
        Ok(Connection {
            events,
            producer,
            wake,
        })
    }

    /// All that happened since the last call.
    pub fn serve(&self) -> Vec<Report> {
        // Before the queue: what comes behind it fires again.
        let _ = self.wake.read();
        let mut reports = Vec::new();
        while !self.events.is_empty() {
            // Serves one event, of which a delivery report may hold many messages.
            self.producer.poll(Duration::ZERO);
            reports.append(&mut self.producer.context().take());
        }
        reports
    }

    /// What made the client useless, if anything did. The event of it bears the code of its cause, like an
    /// error that passes.
    pub fn fatal_error(&self) -> Option<String> {
        self.producer.client().fatal_error().map(|(_, reason)| reason)
    }

    /// Takes the descriptor out of the loop: when the client ends, its threads go on writing to it for a while.
    pub fn leave(&self, epoll: &Epoll) {
        // It fails when it is not in there.
        let _ = epoll.delete(&self.wake);
    }

    /// Takes the messages back and gives the client up. The last that it reports may not be of all of them.
    ///
    /// What ends in a client are threads of librdkafka, of which one may be inside a look-up of a name for
    /// minutes. So that the loop need not wait, a thread that does nothing else waits for them.
    pub fn end(self) -> (Vec<Report>, Disposal) {
        let purge = PurgeConfig::default().queue().inflight();
        self.producer.purge(purge.non_blocking());
        let deadline = Instant::now() + PURGE_TIMEOUT;
        let mut reports = self.serve();
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(PURGE_POLL);
            reports.append(&mut self.producer.context().take());
        }
        let Connection {
            events,
            producer,
            wake,
        } = self;
        drop(events);
        // Where no thread can be made the client stays for ever, which costs less than a loop that stands.
        let client = ManuallyDrop::new((producer, wake));
        let (running, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("kafka-end".to_owned());
        let started = thread.spawn(move || {
            let _running: Sender<()> = running;
            drop(ManuallyDrop::into_inner(client));
        });
        if let Err(error) = started {
            log::error!("a client of Kafka that was given up stays in memory: start of a thread: {error}");
        }
        let disposal = Disposal {
            ended,
            begun: Instant::now(),
        };
        (reports, disposal)
    }
}

/// A client that is on its way out.
pub(super) struct Disposal {
    ended: Receiver<()>,
    begun: Instant,
}

impl Disposal {
    /// When to look again whether the next client may begin; `None`: now.
    pub fn look_again_at(&self, now: Instant) -> Option<Instant> {
        let is_under_way = self.ended.try_recv() == Err(TryRecvError::Empty);
        (is_under_way && now < self.begun + SUCCESSION_TIMEOUT).then(|| now + SUCCESSION_POLL)
    }

    /// Waits, not for long, until the client is gone: its threads had better not run any more when the
    /// process ends, which takes down OpenSSL under them.
    pub fn wait(&self) {
        let _ = self.ended.recv_timeout(DISPOSAL_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_once() {
        let nobody = ["127.0.0.1:1".parse().unwrap()];
        let settings = Settings {
            compression: "none".to_owned(),
            ..Settings::default()
        };
        let connection = Connection::open(&nobody, &settings, &Credentials::default()).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let mut reports = Vec::new();
        while reports.is_empty() {
            assert!(Instant::now() < end, "no error");
            thread::sleep(Duration::from_millis(10));
            reports = connection.serve();
            reports.retain(|report| matches!(report, Report::Error { .. }));
        }
        let told = reports.len();
        reports.dedup();
        assert_eq!(reports.len(), told, "{reports:?}");
    }
}
