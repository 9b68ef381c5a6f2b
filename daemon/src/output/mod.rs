//! Delivers messages, or keeps them until it can.
//!
//! One output a daemon: a bounded queue (`queue` has the drop policy) in front of one kind of
//! transport. Nothing here waits: each call does what can be done at once, and says by its
//! descriptor in the loop and by [`Output::deadline`] when to be called again.

mod backoff;
mod clickhouse;
mod counters;
mod credentials;
mod datagram;
mod destination;
mod file;
mod held;
mod http;
mod http_headers;
pub mod http_response;
pub mod kafka;
mod link;
mod queue;
mod registration;
pub mod resolve;
mod socket;
mod stdio;
mod stream;
mod tail;
mod transmission;
mod transport;

pub use backoff::Backoff;
pub use counters::{Counters, DropReason, Tally};
pub use credentials::Credentials;
pub use destination::{ClickhouseUrl, Destination, EXPECTED as DESTINATION_EXPECTED, HostPort, HttpUrl};
pub use queue::{Queue, Ticket};
pub(crate) use stdio::reopened;
pub use tail::Tail;
pub use transmission::{Transmission, Transmitted};

use crate::{
    epoll::{Epoll, Event},
    setting_error::SettingError,
    spool::{Kept, Spool},
};
use link::Link;
use nix::sys::socket::SockType;
use std::{fmt, os::fd::AsFd, path::Path, path::PathBuf, time::Instant};

/// Who a message is, fixed before it is kept or sent: a receiver that gets it twice can tell.
///
/// Its text is the key of a Kafka message and the `insert_deduplication_token` of ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// New at each start of the daemon.
    pub instance_id: u64,
    /// Counts the envelopes of the instance, from 1.
    pub envelope_sequence: u64,
    /// Counts the messages of the envelope, from 0: there are several only where one would be longer
    /// than the transport takes.
    pub part: u32,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.instance_id, self.envelope_sequence)?;
        match self.part {
            0 => Ok(()),
            part => write!(f, "-{part}"),
        }
    }
}

/// One envelope, as it is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Who it is.
    pub identity: Identity,
    /// Poll that its rows are of.
    pub poll_sequence: u64,
    /// `record_counter` of its first row; those of the others follow without a gap.
    pub first_record_counter: u64,
    /// Rows in it.
    pub rows: u32,
    /// The encoded envelope, framing included.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identity, rows, bytes) = (self.identity, self.rows, self.bytes.len());
        write!(f, "message {identity} ({rows} rows, {bytes} bytes)")
    }
}

/// Bytes that may wait if nothing else is said: some minutes of a busy host, and a known ceiling.
const QUEUE_BYTES_DEFAULT: usize = 64 << 20;

/// What an output needs to know beside its destination.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of messages that may wait.
    pub queue_bytes_max: usize,
    /// Written once at the start of each new file, stream, connection and HTTP body (the header line
    /// of CSV); never to datagrams, which may arrive alone.
    pub preamble: Vec<u8>,
    /// Of HTTP bodies.
    pub content_type: &'static str,
    /// How a file's torn end is found at start.
    pub tail: Tail,
    /// Of the jitter.
    pub seed: u64,
    /// Certificates that https trusts instead of the system's.
    pub tls_roots: Option<rustls::RootCertStore>,
    /// The executable that resolves names: its `main` calls [`resolve::child`].
    pub resolver: PathBuf,
    /// What Kafka needs to know beside its brokers.
    pub kafka: kafka::Settings,
    /// File of header lines that go with every HTTP request: credentials.
    pub http_headers_file: Option<PathBuf>,
    /// Files that were read before.
    pub credentials: Credentials,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            queue_bytes_max: QUEUE_BYTES_DEFAULT,
            preamble: Vec::new(),
            content_type: "application/octet-stream",
            tail: Tail::Opaque,
            seed: 1,
            tls_roots: None,
            resolver: PathBuf::from("/proc/self/exe"),
            kafka: kafka::Settings::default(),
            http_headers_file: None,
            credentials: Credentials::default(),
        }
    }
}

#[derive(Debug)]
enum Kind {
    Null,
    Stdio(stdio::Stdio),
    File(file::File),
    Datagram(datagram::Datagram),
    Stream(stream::Stream),
    Http(Box<http::Http>),
    Kafka(Box<kafka::Kafka>),
}

/// Where messages go, and those that wait.
#[derive(Debug)]
pub struct Output {
    queue: Queue,
    kind: Kind,
    /// When the disk is asked again for a message that it failed to read.
    read_at: Option<Instant>,
    credentials: Credentials,
}

impl Output {
    /// Opens, or begins to connect to, the destination.
    ///
    /// # Errors
    /// When the destination can never work as given, or the system refuses it now; not when its receiver is away.
    pub fn open(
        destination: &Destination,
        options: Options,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<Output, SettingError> {
        let queue = Queue::new(options.queue_bytes_max);
        Output::over(queue, destination, options, epoll, now)
    }

    /// As [`Output::open`], with the messages on disk: those that wait there are sent first. For
    /// destinations on the network.
    ///
    /// # Errors
    /// As [`Output::open`].
    pub fn open_with_spool(
        destination: &Destination,
        options: Options,
        (spool, waiting): (Spool, Vec<Kept>),
        epoll: &Epoll,
        now: Instant,
    ) -> Result<Output, SettingError> {
        debug_assert!(destination.is_network(), "{destination}");
        let queue = Queue::on_disk(options.queue_bytes_max, spool, waiting);
        Output::over(queue, destination, options, epoll, now)
    }

    fn over(
        mut queue: Queue,
        destination: &Destination,
        options: Options,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<Output, SettingError> {
        let kind = open_kind(destination, &options, epoll, &mut queue)
            .map_err(|error| error.of(format_args!("output {}", destination.public_name())))?;
        options.credentials.run();
        let mut output = Output {
            queue,
            kind,
            read_at: None,
            credentials: options.credentials,
        };
        output.begin(epoll, now);
        Ok(output)
    }

    /// Goes on with another destination or other options; what waits is delivered there, and the
    /// counts go on. Not while events of this output are still in hand: the first descriptor of the
    /// new one could be taken for an old one. The bound of the queue stays.
    ///
    /// # Errors
    /// As [`Output::open`]; then everything is as it was.
    pub fn replace(
        &mut self,
        destination: &Destination,
        mut options: Options,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<(), SettingError> {
        options.credentials = self.credentials.clone();
        let kind = open_kind(destination, &options, epoll, &mut self.queue)
            .map_err(|error| error.of(format_args!("output {}", destination.public_name())))?;
        self.leave(epoll);
        self.kind = kind;
        self.queue.retry_front();
        self.begin(epoll, now);
        Ok(())
    }

    /// Another bound of the bytes that may wait.
    pub fn set_queue_bytes_max(&mut self, bytes_max: usize) {
        self.queue.set_bytes_max(bytes_max);
    }

    /// Messages of another format come from now on; those of the old one are delivered.
    pub fn set_format(&mut self, format: String) {
        self.queue.set_format(format);
    }

    fn begin(&mut self, epoll: &Epoll, now: Instant) {
        let queue = &mut self.queue;
        match &mut self.kind {
            Kind::Datagram(datagram) => datagram.begin(queue, epoll, now),
            Kind::Stream(stream) => stream.begin(queue, epoll, now),
            Kind::Http(http) => http.begin(queue, epoll, now),
            Kind::Kafka(kafka) => kafka.begin(queue, epoll, now),
            Kind::Stdio(stdio) => {
                queue.counters.connected = true;
                if !queue.is_empty() {
                    stdio.offered(queue, epoll, now);
                }
            }
            Kind::File(file) => {
                queue.counters.connected = true;
                if !queue.is_empty() {
                    file.offered(queue, now);
                }
            }
            Kind::Null => {
                queue.counters.connected = true;
                while !queue.is_empty() {
                    queue.front_delivered();
                }
            }
        }
        self.pace_reads(now);
    }

    /// To be called where messages may have been read: a failure begins a pause.
    fn pace_reads(&mut self, now: Instant) {
        let pause = self.queue.read_pause();
        self.read_at = pause.map(|pause| self.read_at.unwrap_or(now + pause));
    }

    /// Closes connections and syncs a file; what waits, waits on.
    fn leave(&mut self, epoll: &Epoll) {
        let queue = &mut self.queue;
        match &mut self.kind {
            Kind::Null | Kind::Datagram(_) => {}
            Kind::Stdio(stdio) => stdio.leave(epoll),
            Kind::File(file) => file.sync(),
            Kind::Stream(stream) => stream.end(queue),
            Kind::Http(http) => http.end(queue),
            Kind::Kafka(kafka) => kafka.end(queue, epoll),
        }
        queue.counters.connected = false;
    }

    /// Takes messages: sends them, keeps them, or drops the oldest for them.
    pub fn offer(&mut self, messages: Vec<Message>, epoll: &Epoll, now: Instant) {
        let queue = &mut self.queue;
        let bytes_max = self.kind.message_bytes_max().unwrap_or(usize::MAX);
        let (fitting, too_large) = messages
            .into_iter()
            .partition(|message| message.bytes.len() <= bytes_max);
        let too_large: Vec<Message> = too_large;
        too_large.iter().for_each(|message| queue.never_fits(message));
        queue.push(fitting);
        self.send(epoll, now);
        self.pace_reads(now);
    }

    /// Messages may be there that can be sent at once.
    fn send(&mut self, epoll: &Epoll, now: Instant) {
        let queue = &mut self.queue;
        match &mut self.kind {
            Kind::Null => {
                while !queue.is_empty() {
                    queue.front_delivered();
                }
            }
            Kind::Stdio(stdio) => stdio.offered(queue, epoll, now),
            Kind::File(file) => file.offered(queue, now),
            Kind::Datagram(datagram) => datagram.offered(queue, epoll, now),
            Kind::Stream(stream) => stream.offered(queue, epoll, now),
            Kind::Http(http) => http.offered(queue, epoll, now),
            Kind::Kafka(kafka) => kafka.offered(queue, now),
        }
    }

    /// An event under a token of [`crate::epoll::Source::Output`]; a stale one does nothing.
    pub fn ready(&mut self, event: &Event, epoll: &Epoll, now: Instant) {
        let queue = &mut self.queue;
        match &mut self.kind {
            Kind::Null | Kind::File(_) => {}
            Kind::Stdio(stdio) => stdio.ready(event, queue, epoll, now),
            Kind::Datagram(datagram) => datagram.ready(event, queue, epoll, now),
            Kind::Stream(stream) => stream.ready(event, queue, epoll, now),
            Kind::Http(http) => http.ready(event, queue, epoll, now),
            Kind::Kafka(kafka) => kafka.ready(event, queue, epoll, now),
        }
        self.pace_reads(now);
    }

    /// Does what is due at `now`; before [`Output::deadline`], nothing is.
    pub fn tick(&mut self, epoll: &Epoll, now: Instant) {
        let queue = &mut self.queue;
        match &mut self.kind {
            Kind::Null => {}
            Kind::Stdio(stdio) => stdio.tick(queue, epoll, now),
            Kind::File(file) => file.tick(queue, now),
            Kind::Datagram(datagram) => datagram.tick(queue, epoll, now),
            Kind::Stream(stream) => stream.tick(queue, epoll, now),
            Kind::Http(http) => http.tick(queue, epoll, now),
            Kind::Kafka(kafka) => kafka.tick(queue, epoll, now),
        }
        if self.read_at.take_if(|at| *at <= now).is_some() {
            self.queue.read_again();
            self.send(epoll, now);
        }
        self.pace_reads(now);
    }

    /// When [`Output::tick`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let of_kind = match &self.kind {
            Kind::Null => None,
            Kind::Stdio(stdio) => stdio.deadline(),
            Kind::File(file) => file.deadline(),
            Kind::Datagram(datagram) => datagram.deadline(),
            Kind::Stream(stream) => stream.deadline(),
            Kind::Http(http) => http.deadline(),
            Kind::Kafka(kafka) => kafka.deadline(),
        };
        [of_kind, self.read_at].into_iter().flatten().min()
    }

    /// SIGHUP: a file is opened again at its path; connections are made anew, names looked up anew.
    /// A message that is half out on a stream is sent again, whole, on the new connection.
    pub fn reopen(&mut self, epoll: &Epoll, now: Instant) {
        let queue = &mut self.queue;
        match &mut self.kind {
            Kind::Null | Kind::Stdio(_) => {}
            Kind::File(file) => file.reopen(queue, now),
            Kind::Datagram(datagram) => datagram.reopen(queue, epoll, now),
            Kind::Stream(stream) => stream.reopen(queue, epoll, now),
            Kind::Http(http) => http.reopen(queue, epoll, now),
            Kind::Kafka(kafka) => kafka.reopen(queue, epoll, now),
        }
        self.pace_reads(now);
    }

    /// Takes messages that the end of the daemon leaves no time to send: into the spool, or else they are
    /// counted as dropped.
    pub fn came_too_late(&mut self, messages: Vec<Message>) {
        self.queue.came_too_late(messages);
    }

    /// The end: what waits in memory is counted as dropped, connections are closed, a file is synced. The
    /// caller has given the output its time to become idle before, and offers nothing after.
    pub fn shutdown(&mut self) {
        let queue = &mut self.queue;
        if let Kind::Kafka(kafka) = &mut self.kind {
            // Only now is it known what it had delivered.
            kafka.take_back(queue);
        }
        queue.end();
        match &mut self.kind {
            Kind::Null | Kind::Datagram(_) => {}
            Kind::Stdio(stdio) => stdio.end(),
            Kind::File(file) => file.sync(),
            Kind::Stream(stream) => stream.end(queue),
            Kind::Http(http) => http.end(queue),
            Kind::Kafka(kafka) => kafka.wait_for_disposal(),
        }
    }

    /// Whether nothing can ever be delivered again: the reader of stdout went away. A filter ends
    /// then, with success.
    pub fn is_closed(&self) -> bool {
        matches!(&self.kind, Kind::Stdio(stdio) if stdio.is_closed())
    }

    /// Whether everything offered was delivered or dropped.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the daemon may end without losing anything, and without waiting for a receiver that is
    /// away.
    pub fn is_safe(&self) -> bool {
        self.is_idle() || self.queue.is_on_disk() && !self.is_established()
    }

    /// The spool, if there is one.
    pub fn spool(&self) -> Option<&Spool> {
        self.queue.spool()
    }

    /// Whether another message might push one out: the poll pauses until it is not.
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Whether messages of so many bytes push none out.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.queue.has_room_for(bytes)
    }

    /// Whether a message could be delivered right now.
    pub fn is_established(&self) -> bool {
        match &self.kind {
            Kind::Http(http) => http.is_established(),
            _ => self.queue.counters.connected,
        }
    }

    /// What the last failed connection said.
    pub fn last_error(&self) -> Option<&str> {
        self.queue.last_error.as_deref()
    }

    /// What waits.
    pub fn queued(&self) -> Tally {
        self.queue.queued()
    }

    /// The largest message that the transport can deliver and the queue takes beside another one.
    pub fn message_bytes_max(&self) -> usize {
        let of_kind = self.kind.message_bytes_max().unwrap_or(usize::MAX);
        of_kind.min(self.queue.message_bytes_max())
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.queue.counters
    }
}

impl Kind {
    fn message_bytes_max(&self) -> Option<usize> {
        match self {
            Kind::Datagram(datagram) => Some(datagram.message_bytes_max()),
            Kind::Kafka(kafka) => Some(kafka.message_bytes_max()),
            _ => None,
        }
    }
}

fn open_kind(
    destination: &Destination,
    options: &Options,
    epoll: &Epoll,
    queue: &mut Queue,
) -> Result<Kind, SettingError> {
    let stdio = |name, fd, queue| stdio::Stdio::open(name, fd, options, epoll, queue).map(Kind::Stdio);
    let to_host = |host, kind| Link::to_host(destination.to_string(), host, kind, options);
    let to_path = |path: &Path, kind| match nix::sys::socket::UnixAddr::new(path) {
        Ok(_) => Ok(Link::to_path(destination, path.to_owned(), kind, options)),
        Err(error) => Err(format!("expected a path that fits a socket address: {error}")),
    };
    Ok(match destination {
        Destination::Null => Kind::Null,
        Destination::Stdout => stdio("stdout", std::io::stdout().as_fd(), queue)?,
        Destination::Stderr => stdio("stderr", std::io::stderr().as_fd(), queue)?,
        Destination::File(path) => Kind::File(file::File::open(path, options, queue)?),
        Destination::Udp(host) => {
            let bytes_max = match host.host.parse::<std::net::Ipv6Addr>() {
                Ok(_) => datagram::UDP_BYTES_MAX_IPV6,
                // A name may turn out to be either: the smaller limit holds for both.
                Err(_) => datagram::UDP_BYTES_MAX_IPV4,
            };
            Kind::Datagram(datagram::Datagram::new(
                to_host(host, SockType::Datagram),
                true,
                bytes_max,
            ))
        }
        Destination::UnixDatagram(path) => {
            let bytes_max = socket::Socket::unix_datagram_bytes_max()?;
            let link = to_path(path, SockType::Datagram)?;
            Kind::Datagram(datagram::Datagram::new(link, false, bytes_max))
        }
        Destination::Tcp(host) => Kind::Stream(stream::Stream::new(to_host(host, SockType::Stream), options)),
        Destination::Unix(path) => {
            Kind::Stream(stream::Stream::new(to_path(path, SockType::Stream)?, options))
        }
        Destination::Http(url) => Kind::Http(Box::new(http::Http::new(url, options)?)),
        Destination::Clickhouse(url) => Kind::Http(Box::new(http::Http::clickhouse(url, options)?)),
        Destination::Kafka(brokers) => {
            let name = destination.to_string();
            Kind::Kafka(Box::new(kafka::Kafka::new(name, brokers, options)?))
        }
    })
}

#[cfg(test)]
mod tests;
