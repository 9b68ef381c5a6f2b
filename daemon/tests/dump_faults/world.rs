//! A kernel that does as it is told: namespaces whose every answer is written down beforehand, and a
//! clock that moves only while everybody waits.

use std::{
    collections::VecDeque,
    io,
    rc::Rc,
    time::{Duration, Instant},
};
use xtcp2::{
    envelope::Envelope,
    namespaces::{self, Counts},
    netlink::inet_diag::{Attributes, States, TCPDIAG_GETSOCK},
    netlink::message::{NLMSG_DONE, NLMSG_ERROR},
    netlink::receive_batch::ReceiveBatch,
    poll::{Arrival, Next, Poll, PollOptions, PollReport, Progress, ReadCounters, World},
    record::{Encoder, Identity, Row, rows_of},
    rows::Rows,
};

pub const TIMEOUT: Duration = Duration::from_secs(5);

/// One netlink message of a reply.
#[derive(Clone, Debug)]
pub struct Message {
    pub message_type: u16,
    pub flags: u16,
    /// Of the request that it answers, or of one so many before.
    pub requests_ago: u32,
    pub payload: Vec<u8>,
}

/// The reply for a listening socket with this cookie.
pub fn socket(cookie: u64) -> Message {
    socket_in_state(cookie, 10)
}

/// include/uapi/linux/inet_diag.h: `struct inet_diag_msg` has 72 bytes, the cookie at 44.
pub fn socket_in_state(cookie: u64, state: u8) -> Message {
    let mut payload = vec![0; 72];
    payload[0..2].copy_from_slice(&[2, state]);
    payload[44..52].copy_from_slice(&cookie.to_ne_bytes());
    Message {
        message_type: TCPDIAG_GETSOCK,
        flags: 2,
        requests_ago: 0,
        payload,
    }
}

/// The end of a dump: 0, or an error number.
pub fn done(errno: i32) -> Message {
    Message {
        message_type: NLMSG_DONE,
        payload: (-errno).to_ne_bytes().to_vec(),
        ..socket(0)
    }
}

/// A request that is refused.
pub fn refused(errno: i32) -> Message {
    Message {
        message_type: NLMSG_ERROR,
        payload: [(-errno).to_ne_bytes().as_slice(), &[0; 16]].concat(),
        ..socket(0)
    }
}

/// What a send or a receive meets.
#[derive(Clone, Debug)]
pub enum Meets {
    Datagram(Vec<Message>),
    /// Bytes that are no messages, behind some that are.
    Garbage(Vec<Message>, Vec<u8>),
    Error(i32),
    /// Nothing yet; the loop has to wait for it.
    Later,
    /// The request is not even sent.
    SendError(i32),
}

/// A namespace, or a name that leads to none.
#[derive(Debug)]
pub enum Place {
    Namespace(Namespace),
    /// A second name, or one that vanished before it was entered.
    Skipped,
}

/// The answers of a namespace: a list for each request, in the order of the requests.
#[derive(Debug, Default)]
pub struct Namespace {
    answers: VecDeque<VecDeque<Meets>>,
    current: VecDeque<Meets>,
    sequences: Vec<u32>,
    /// Type and family of each request it got.
    pub requests: Vec<(u16, u8)>,
}

impl Namespace {
    pub fn answers(answers: impl IntoIterator<Item = Vec<Meets>>) -> Place {
        Place::Namespace(Namespace {
            answers: answers.into_iter().map(VecDeque::from).collect(),
            ..Namespace::default()
        })
    }

    fn bytes(&self, messages: &[Message]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            let ago = usize::try_from(message.requests_ago).unwrap();
            let own = self.sequences.last().copied().unwrap_or(0);
            let sequence = match self.sequences.iter().rev().nth(ago) {
                Some(sequence) => *sequence,
                None => own.wrapping_sub(message.requests_ago),
            };
            bytes.extend(u32::try_from(16 + message.payload.len()).unwrap().to_ne_bytes());
            bytes.extend(message.message_type.to_ne_bytes());
            bytes.extend(message.flags.to_ne_bytes());
            bytes.extend(sequence.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(&message.payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }
}

/// The kernel.
#[derive(Debug)]
pub struct Told {
    start: Instant,
    pub elapsed: Duration,
    pub places: Vec<Place>,
    next: usize,
}

impl Told {
    fn namespace(&mut self, socket: usize) -> &mut Namespace {
        match &mut self.places[socket] {
            Place::Namespace(namespace) => namespace,
            Place::Skipped => panic!("no socket was handed out there"),
        }
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl World for Told {
    type Socket = usize;

    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    fn realtime_ns(&self) -> i64 {
        1_795_469_636_000_000_000 + i64::try_from(self.elapsed.as_nanos()).unwrap()
    }

    fn start_poll(&mut self) {
        self.next = 0;
    }

    fn next_namespace(&mut self) -> Next<usize> {
        let socket = self.next;
        self.next += 1;
        match self.places.get(socket) {
            None => Next::Done,
            Some(Place::Skipped) => Next::Again,
            Some(Place::Namespace(_)) => Next::Namespace(Arrival {
                socket,
                identity: namespaces::Identity {
                    cookie: Some(socket as u64 + 1),
                    inode: 4_026_531_840 + socket as u64,
                },
                name: Rc::from(format!("/run/netns/{socket}")),
                socket_number: socket as u64,
            }),
        }
    }

    fn send(&mut self, socket: &usize, request: &[u8]) -> io::Result<()> {
        let namespace = self.namespace(*socket);
        let answer = namespace.answers.front_mut();
        if let Some(Meets::SendError(errno)) = answer.as_ref().and_then(|answer| answer.front()) {
            let errno = *errno;
            answer.unwrap().pop_front();
            return Err(error(errno));
        }
        let short = |at: usize| u16::from_ne_bytes([request[at], request[at + 1]]);
        namespace.requests.push((short(4), request[16]));
        namespace
            .sequences
            .push(u32::from_ne_bytes(request[8..12].try_into().unwrap()));
        namespace.current = namespace.answers.pop_front().unwrap_or_default();
        Ok(())
    }

    fn receive(&mut self, socket: &usize, buffer: &mut [u8]) -> io::Result<usize> {
        let namespace = self.namespace(*socket);
        let bytes = match namespace.current.pop_front() {
            None => return Err(error(libc::EAGAIN)),
            Some(Meets::Later) => {
                namespace.current.push_front(Meets::Later);
                return Err(error(libc::EAGAIN));
            }
            Some(Meets::Error(errno)) => return Err(error(errno)),
            Some(Meets::SendError(errno)) => panic!("a send error {errno} behind the request"),
            Some(Meets::Datagram(messages)) => namespace.bytes(&messages),
            Some(Meets::Garbage(messages, garbage)) => [namespace.bytes(&messages), garbage].concat(),
        };
        let copied = bytes.len().min(buffer.len());
        buffer[..copied].copy_from_slice(&bytes[..copied]);
        // Of the datagram, not of what fitted.
        Ok(bytes.len())
    }

    fn receive_batch(&mut self, _: &Self::Socket, _: &mut ReceiveBatch) -> io::Result<usize> {
        unreachable!("without counts every namespace is walked, and nothing is looked up")
    }

    fn counts(&mut self, _: &Self::Socket) -> Option<Counts> {
        None
    }

    fn opens(&mut self, _: &Self::Socket) -> Option<u64> {
        None
    }

    fn thread_cpu(&self) -> Duration {
        Duration::ZERO
    }
}

/// What came of a poll.
#[derive(Debug)]
pub struct Outcome {
    pub report: PollReport,
    pub counters: ReadCounters,
    /// (namespace cookie, socket cookie) of each row, in order.
    pub rows: Vec<(u64, u64)>,
    /// How often the loop waited.
    pub waits: u32,
    pub world: Told,
}

impl Outcome {
    /// Socket cookies of the rows of the place with this number.
    pub fn cookies(&self, place: u64) -> Vec<u64> {
        let of_place = self.rows.iter().filter(|(netns, _)| *netns == place + 1);
        of_place.map(|(_, cookie)| *cookie).collect()
    }
}

/// Numbers of fields of a row.
const NETNS_COOKIE: u32 = 73;
const SOCKET_COOKIE: u32 = 1010;

/// One poll of `places`, driven as the loop drives it. What must hold always is asserted here.
pub fn poll(places: Vec<Place>, states: States) -> Outcome {
    let mut world = Told {
        start: Instant::now(),
        elapsed: Duration::ZERO,
        places,
        next: 0,
    };
    let identity = Identity {
        instance_id: 7,
        daemon_version: "test".to_owned(),
        hostname: String::new(),
        location: String::new(),
        label: String::new(),
        tag: String::new(),
    };
    let encoder = Encoder::new(identity, Attributes::DEFAULT);
    let formatter = xtcp2::format::Formatter::new(xtcp2::format::Format::ProtobufList, &[]).unwrap();
    let mut rows = Rows::new(
        7,
        encoder,
        Envelope::new(1000, 1 << 20),
        Some(formatter),
        usize::MAX,
    );
    let mut poll = Poll::new(PollOptions {
        timeout: TIMEOUT,
        idiag_ext: Attributes::DEFAULT.idiag_ext(),
        states,
        plans: true,
        walk_every: Duration::from_secs(60),
    });
    poll.start(&mut world, &rows);
    let mut waits = 0;
    let report = loop {
        match poll.advance(&mut world, &mut rows, Duration::from_millis(2)) {
            Progress::More => {}
            Progress::Finished(report) => break report,
            Progress::Idle => panic!("the poll is not over"),
            Progress::Waiting(until) => {
                waits += 1;
                assert!(waits < 10_000, "waits for ever");
                wait(&mut world, poll.socket().copied(), until);
            }
        }
    };
    let mut read = Vec::new();
    while let Some(message) = rows.take_message() {
        let mut bytes = message.bytes.as_slice();
        prost::decode_length_delimiter(&mut bytes).unwrap();
        for row in rows_of(bytes) {
            let row = Row::decode(row.unwrap()).unwrap();
            read.push((row.uint(NETNS_COOKIE), row.uint(SOCKET_COOKIE)));
        }
    }
    let counters = poll.counters();
    let mut unique = read.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), read.len(), "no socket twice: {read:?}");
    assert_eq!(report.rows, read.len() as u64);
    assert_eq!(counters.sockets, report.rows + counters.filtered);
    assert_eq!(
        (report.sockets, rows.counters().rows),
        (counters.sockets, report.rows)
    );
    Outcome {
        report,
        counters,
        rows: read,
        waits,
        world,
    }
}

/// What was to come later comes now; where nothing will, time passes.
fn wait(world: &mut Told, socket: Option<usize>, until: Instant) {
    if let Some(socket) = socket {
        let current = &mut world.namespace(socket).current;
        if let Some(Meets::Later) = current.front() {
            current.pop_front();
            return;
        }
    }
    world.elapsed = until.duration_since(world.start).max(world.elapsed);
}
