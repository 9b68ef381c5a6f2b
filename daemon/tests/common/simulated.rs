//! A kernel in memory: namespaces and sockets that a test changes as it likes, and the counts, dumps
//! and look-ups that Linux would answer with. Its clock and its meter of CPU time move by what is
//! asked of it, and by nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    rc::Rc,
    time::{Duration, Instant},
};
use xtcp2::{
    namespaces::{Counts, Identity},
    netlink::{
        inet_diag::{
            LOOK_UP_BYTES, SOCK_DIAG_BY_FAMILY, SOCKET_ID_BYTES, SocketKind, States, TCPDIAG_GETSOCK,
            attribute,
        },
        message::{NLMSG_DONE, NLMSG_ERROR},
        receive_batch::ReceiveBatch,
    },
    poll::{Arrival, Next, World},
};

pub const ESTABLISHED: u8 = 1;
pub const SYN_RECV: u8 = 3;
pub const TIME_WAIT: u8 = 6;
pub const LISTEN: u8 = 10;

/// Replies to look-ups that a receive buffer of the usual size holds; the kernel drops the others.
const RECEIVE_BUFFER_REPLIES: usize = 166;
/// Sockets in one datagram of a dump.
const SOCKETS_A_DATAGRAM: usize = 60;

pub const NLM_F_MULTI: u16 = 2;
pub const NLM_F_DUMP: u16 = 0x300;
const AF_INET: u8 = 2;

/// A socket, a request for one, or what is left of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    pub cookie: u64,
    pub family: u8,
    pub state: u8,
    pub kind: SocketKind,
    pub ports: (u16, u16),
    /// That it is bound to; 0: none.
    pub interface: u32,
    /// Of an attribute that makes the reply long.
    pub padding_bytes: u16,
}

impl Socket {
    /// An IPv4 socket that is established.
    pub fn established(cookie: u64) -> Socket {
        #[expect(clippy::cast_possible_truncation, reason = "any port does")]
        let port = cookie as u16;
        Socket {
            cookie,
            family: AF_INET,
            state: ESTABLISHED,
            kind: SocketKind::Full,
            ports: (port, 1),
            interface: 0,
            padding_bytes: 0,
        }
    }

    pub fn listener(cookie: u64) -> Socket {
        let socket = Socket::established(cookie);
        Socket {
            state: LISTEN,
            ports: (socket.ports.0, 0),
            ..socket
        }
    }

    pub fn request(cookie: u64) -> Socket {
        Socket {
            state: SYN_RECV,
            kind: SocketKind::Request,
            ..Socket::established(cookie)
        }
    }

    pub fn time_wait(cookie: u64) -> Socket {
        Socket {
            state: TIME_WAIT,
            kind: SocketKind::TimeWait,
            ..Socket::established(cookie)
        }
    }

    /// `struct inet_diag_sockid`, without addresses.
    pub fn id(&self) -> [u8; SOCKET_ID_BYTES] {
        let mut id = [0; SOCKET_ID_BYTES];
        id[0..2].copy_from_slice(&self.ports.0.to_be_bytes());
        id[2..4].copy_from_slice(&self.ports.1.to_be_bytes());
        id[36..40].copy_from_slice(&self.interface.to_ne_bytes());
        id[40..48].copy_from_slice(&self.cookie.to_ne_bytes());
        id
    }

    /// `struct inet_diag_msg` and attributes.
    pub fn reply(&self) -> Vec<u8> {
        let mut reply = vec![0; 72];
        reply[0] = self.family;
        reply[1] = self.state;
        reply[2] = if self.kind == SocketKind::TimeWait { 3 } else { 0 };
        reply[4..52].copy_from_slice(&self.id());
        if self.kind == SocketKind::Full {
            push_attribute(&mut reply, attribute::SHUTDOWN, &[0]);
        }
        if self.padding_bytes > 0 {
            push_attribute(&mut reply, attribute::MD5SIG, &vec![0; self.padding_bytes.into()]);
        }
        reply
    }
}

fn push_attribute(reply: &mut Vec<u8>, number: u8, value: &[u8]) {
    reply.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
    reply.extend(u16::from(number).to_ne_bytes());
    reply.extend(value);
    reply.resize(reply.len().next_multiple_of(4), 0);
}

/// A netlink message.
pub fn message(message_type: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(u32::try_from(16 + payload.len()).unwrap().to_ne_bytes());
    message.extend(message_type.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(payload);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub name: Rc<str>,
    pub cookie: Option<u64>,
    pub inode: u64,
    /// The newest last.
    pub sockets: Vec<Socket>,
    /// ActiveOpens and PassiveOpens together.
    pub opens: Option<u64>,
    /// Whether its files in /proc can be read.
    pub says_counts: bool,
}

impl Namespace {
    pub fn close(&mut self, cookie: u64) {
        self.sockets.retain(|socket| socket.cookie != cookie);
    }

    /// The socket turns into another that keeps its cookie, as a request becomes a socket.
    pub fn turn(&mut self, into: Socket) {
        self.close(into.cookie);
        self.sockets.push(into);
    }

    fn counts(&self) -> Counts {
        let count = |kind| self.sockets.iter().filter(|socket| socket.kind == kind).count() as u64;
        Counts {
            full: count(SocketKind::Full),
            time_wait: count(SocketKind::TimeWait),
        }
    }

    /// inet_diag_find_one_icsk(): addresses first, the cookie of what was found afterwards.
    fn look_up(&self, id: &[u8]) -> Option<&Socket> {
        let interface = u32::from_ne_bytes(id[36..40].try_into().unwrap());
        let matches = |socket: &&Socket| {
            socket.id()[..36] == id[..36] && (socket.interface == 0 || socket.interface == interface)
        };
        let found = self.sockets.iter().rev().find(matches)?;
        (found.cookie.to_ne_bytes() == id[40..48]).then_some(found)
    }
}

/// What is asked of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Counts,
    Dump(u32),
    LookUps(usize),
}

/// What a receive meets.
#[derive(Clone, Debug)]
pub enum Answer {
    Datagram(Vec<u8>),
    Error(i32),
}

/// What the kernel charges.
#[derive(Clone, Copy, Debug)]
pub struct Charges {
    pub walk: Duration,
    pub listeners: Duration,
    pub look_up: Duration,
}

struct Handle {
    namespace: usize,
    answers: VecDeque<Answer>,
}

type Change = Box<dyn FnMut(Asked, &mut Namespace)>;
type Tamper = Box<dyn FnMut(Asked, &mut VecDeque<Answer>)>;

/// The kernel, and what it was asked.
pub struct Simulated {
    pub now: Instant,
    pub cpu: Duration,
    pub charges: Charges,
    /// In the order in which they are polled; a test takes them out when they go.
    pub namespaces: Vec<Namespace>,
    /// Called before each answer is made: sockets change at that moment.
    pub before: Option<Change>,
    /// Called with each answer: it is damaged on its way.
    pub tamper: Option<Tamper>,
    /// Errors of the next sends.
    pub send_errors: VecDeque<i32>,
    /// Everything that was asked, with the place of the namespace.
    pub asked: Vec<(usize, Asked)>,
    next: usize,
    handles: Vec<Handle>,
}

impl Simulated {
    pub fn new() -> Simulated {
        Simulated {
            now: Instant::now(),
            cpu: Duration::ZERO,
            charges: Charges {
                walk: Duration::from_millis(3),
                listeners: Duration::from_micros(40),
                look_up: Duration::from_micros(3),
            },
            namespaces: Vec::new(),
            before: None,
            tamper: None,
            send_errors: VecDeque::new(),
            asked: Vec::new(),
            next: 0,
            handles: Vec::new(),
        }
    }

    /// A namespace with these sockets.
    pub fn add(&mut self, cookie: u64, sockets: impl IntoIterator<Item = Socket>) -> &mut Namespace {
        self.namespaces.push(Namespace {
            name: format!("/run/netns/{cookie}").into(),
            cookie: Some(cookie),
            inode: 4_026_531_840 + cookie,
            sockets: sockets.into_iter().collect(),
            opens: Some(0),
            says_counts: true,
        });
        self.namespaces.last_mut().unwrap()
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn charge(&mut self, cpu: Duration) {
        self.cpu += cpu;
        self.now += cpu;
    }

    fn ask(&mut self, namespace: usize, asked: Asked) {
        self.asked.push((namespace, asked));
        if let Some(before) = &mut self.before {
            before(asked, &mut self.namespaces[namespace]);
        }
    }

    fn answers(&mut self, namespace: usize, request: &[u8]) -> (Asked, VecDeque<Answer>) {
        let number = |at: usize| u16::from_ne_bytes([request[at], request[at + 1]]);
        let (message_type, flags) = (number(4), number(6));
        let sequence = |request: &[u8]| u32::from_ne_bytes(request[8..12].try_into().unwrap());
        if flags & NLM_F_DUMP == 0 {
            let requests: Vec<&[u8]> = request.chunks_exact(LOOK_UP_BYTES).collect();
            let asked = Asked::LookUps(requests.len());
            self.ask(namespace, asked);
            self.charge(self.charges.look_up * u32::try_from(requests.len()).unwrap());
            let answer = |request: &&[u8]| match self.namespaces[namespace].look_up(&request[24..72]) {
                Some(socket) => message(SOCK_DIAG_BY_FAMILY, 0, sequence(request), &socket.reply()),
                None => message(NLMSG_ERROR, 0, sequence(request), &(-libc::ENOENT).to_ne_bytes()),
            };
            let answers = requests.iter().map(answer).map(Answer::Datagram);
            return (asked, answers.take(RECEIVE_BUFFER_REPLIES).collect());
        }
        assert_eq!(message_type, TCPDIAG_GETSOCK);
        let states = u32::from_ne_bytes(request[68..72].try_into().unwrap());
        let asked = Asked::Dump(states);
        self.ask(namespace, asked);
        self.charge(match states == States::LISTEN.bits() {
            true => self.charges.listeners,
            false => self.charges.walk,
        });
        let sockets = self.namespaces[namespace].sockets.iter();
        let replies: Vec<Vec<u8>> = sockets
            .filter(|socket| states >> socket.state & 1 == 1)
            .map(|socket| message(TCPDIAG_GETSOCK, NLM_F_MULTI, sequence(request), &socket.reply()))
            .collect();
        let datagrams = replies.chunks(SOCKETS_A_DATAGRAM).map(<[Vec<u8>]>::concat);
        let done = message(NLMSG_DONE, NLM_F_MULTI, sequence(request), &[0; 4]);
        (asked, datagrams.chain([done]).map(Answer::Datagram).collect())
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl World for Simulated {
    type Socket = usize;

    fn now(&self) -> Instant {
        self.now
    }

    fn realtime_ns(&self) -> i64 {
        1_795_469_636_000_000_000
    }

    fn start_poll(&mut self) {
        self.next = 0;
        self.handles.clear();
        self.asked.clear();
    }

    fn next_namespace(&mut self) -> Next<usize> {
        let Some(namespace) = self.namespaces.get(self.next) else {
            return Next::Done;
        };
        self.handles.push(Handle {
            namespace: self.next,
            answers: VecDeque::new(),
        });
        self.next += 1;
        Next::Namespace(Arrival {
            socket: self.handles.len() - 1,
            identity: Identity {
                cookie: namespace.cookie,
                inode: namespace.inode,
            },
            name: namespace.name.clone(),
            socket_number: 9,
        })
    }

    fn send(&mut self, socket: &usize, request: &[u8]) -> io::Result<()> {
        if let Some(errno) = self.send_errors.pop_front() {
            return Err(error(errno));
        }
        let (asked, mut answers) = self.answers(self.handles[*socket].namespace, request);
        if let Some(tamper) = &mut self.tamper {
            tamper(asked, &mut answers);
        }
        self.handles[*socket].answers.extend(answers);
        Ok(())
    }

    fn receive(&mut self, socket: &usize, buffer: &mut [u8]) -> io::Result<usize> {
        match self.handles[*socket].answers.pop_front() {
            None => Err(error(libc::EAGAIN)),
            Some(Answer::Error(errno)) => Err(error(errno)),
            Some(Answer::Datagram(datagram)) => {
                let copied = datagram.len().min(buffer.len());
                buffer[..copied].copy_from_slice(&datagram[..copied]);
                Ok(datagram.len())
            }
        }
    }

    fn receive_batch(&mut self, socket: &usize, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.clear();
        let answers = &mut self.handles[*socket].answers;
        let mut bytes = 0;
        // recvmmsg(2) keeps an error for the next call when it has something already.
        while let Some(answer) = answers.front() {
            match answer {
                Answer::Error(errno) if bytes == 0 => {
                    let errno = *errno;
                    answers.pop_front();
                    return Err(error(errno));
                }
                Answer::Error(_) => break,
                Answer::Datagram(datagram) if batch.push(datagram) => bytes += datagram.len(),
                Answer::Datagram(_) => break,
            }
            answers.pop_front();
        }
        if bytes == 0 {
            return Err(error(libc::EAGAIN));
        }
        Ok(bytes)
    }

    fn counts(&mut self, socket: &usize) -> Option<Counts> {
        let namespace = self.handles[*socket].namespace;
        self.ask(namespace, Asked::Counts);
        let namespace = &self.namespaces[namespace];
        namespace.says_counts.then(|| namespace.counts())
    }

    fn opens(&mut self, socket: &usize) -> Option<u64> {
        self.namespaces[self.handles[*socket].namespace].opens
    }

    fn thread_cpu(&self) -> Duration {
        self.cpu
    }
}

/// Namespaces by cookie, and their sockets' cookies, as a poll has to see them.
pub fn truth(world: &Simulated) -> BTreeMap<u64, Vec<u64>> {
    let namespaces = world.namespaces.iter();
    namespaces
        .map(|namespace| {
            let mut cookies: Vec<u64> = namespace.sockets.iter().map(|socket| socket.cookie).collect();
            cookies.sort_unstable();
            (namespace.cookie.unwrap_or(0), cookies)
        })
        .collect()
}
