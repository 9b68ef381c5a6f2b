//! What a netlink socket answers: dumps that go on datagram by datagram while the table changes, look-ups,
//! and all that can go wrong with either.

use super::{
    bug::Bug,
    kernel::Kernel,
    random::mix,
    simulated::{NLM_F_DUMP, NLM_F_MULTI, Socket, message},
};
use libc::{EACCES, EAGAIN, EINTR, EINVAL, ENOBUFS, ENODEV, ENOENT, ENOMEM, EPERM};
use std::{
    collections::{BTreeSet, VecDeque},
    io,
    ops::Bound,
    time::Duration,
};
use xtcp2::{
    netlink::{
        inet_diag::{LOOK_UP_BYTES, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK},
        message::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN},
    },
    poll::RECEIVE_BYTES,
};

/// Sockets in one datagram of a dump, at most.
pub const DATAGRAM_SOCKETS_MAX: u64 = 60;
/// A reply may take so long where the daemon has to wait for it.
const LATER_MS_MAX: u64 = 20;
/// What a call is charged beside receives and walks.
const LISTENERS_CHARGE: Duration = Duration::from_micros(40);
const LOOK_UP_CHARGE: Duration = Duration::from_micros(3);
const REQUEST_AT: usize = 16;
const ID_AT: std::ops::Range<usize> = 24..72;
/// Cookie of a socket that never was, in replies to nobody's request.
const NOBODY: u64 = u64::MAX;
/// Sockets that are put in front of the reader's place at once, at most.
const SHIFT_MAX: usize = 3;
/// Families of a dump of both.
const ANY_FAMILY: u8 = 0;

#[derive(Debug)]
pub enum Answer {
    Datagram(Vec<u8>),
    Error(i32),
}

/// A dump under way.
#[derive(Debug)]
struct Dump {
    message_type: u16,
    sequence: u32,
    family: u8,
    states: u32,
    /// Of the last socket that was told.
    key: Option<u64>,
    told: Vec<Socket>,
}

/// The socket's queue, and what fills it.
#[derive(Debug, Default)]
pub struct Inbox {
    answers: VecDeque<Answer>,
    dump: Option<Dump>,
    /// Nothing is there before.
    ready_at: Duration,
    /// The next reply was waited for already.
    was_late: bool,
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn errno_message(message_type: u16, sequence: u32, errno: i32) -> Vec<u8> {
    message(message_type, NLM_F_MULTI, sequence, &(-errno).to_ne_bytes())
}

impl Inbox {
    /// When there is something to read; `None` when nothing is on its way.
    pub fn ready_at(&self) -> Option<Duration> {
        (!self.answers.is_empty()).then_some(self.ready_at)
    }

    pub fn send(&mut self, kernel: &mut Kernel, netns: u64, request: &[u8]) -> io::Result<()> {
        if kernel.fails(100) {
            let errno = kernel.random.of(&[EINTR, EINTR, EAGAIN, ENOBUFS, ENODEV]);
            if errno != EINTR {
                kernel.kept_back(netns);
            }
            return Err(error(errno));
        }
        let flags = u16::from_ne_bytes([request[6], request[7]]);
        match flags & NLM_F_DUMP {
            0 => self.look_ups(kernel, netns, request),
            _ => self.dump(kernel, netns, request),
        }
        Ok(())
    }

    fn look_ups(&mut self, kernel: &mut Kernel, netns: u64, requests: &[u8]) {
        for request in requests.chunks_exact(LOOK_UP_BYTES) {
            kernel.charge(LOOK_UP_CHARGE);
            let sequence = u32_at(request, 8);
            let found = kernel.namespaces[&netns].look_up(request[REQUEST_AT], &request[ID_AT]);
            let answer = match found {
                Some(socket) => message(SOCK_DIAG_BY_FAMILY, 0, sequence, &socket.reply()),
                None => errno_message(NLMSG_ERROR, sequence, ENOENT),
            };
            self.answers.push_back(Answer::Datagram(answer));
        }
        if !kernel.fails(1000) {
            return;
        }
        let random = &mut kernel.random;
        match random.below(6) {
            0 => {
                let kept = random.index(self.answers.len());
                self.answers.truncate(kept);
                self.answers.push_back(Answer::Error(ENOBUFS));
            }
            1 => self.answers.rotate_left(random.index(self.answers.len())),
            2 => self.answers.push_front(Answer::Error(EINTR)),
            3 => {
                self.answers.remove(random.index(self.answers.len()));
            }
            4 => {
                let sequence = u32_at(requests, 8);
                let refused = errno_message(NLMSG_ERROR, sequence, EPERM);
                self.answers.push_front(Answer::Datagram(refused));
            }
            _ => {
                let garbage = Answer::Datagram(vec![7; 11]);
                self.answers.insert(random.index(self.answers.len()), garbage);
            }
        }
    }

    fn dump(&mut self, kernel: &mut Kernel, netns: u64, request: &[u8]) {
        let message_type = u16::from_ne_bytes([request[4], request[5]]);
        let sequence = u32_at(request, 8);
        // A second request, while the dump before has something to say, ends that.
        self.dump = None;
        let (family, states) = match message_type {
            TCPDIAG_GETSOCK if !kernel.profile.dumps_both => {
                let refused = errno_message(NLMSG_ERROR, sequence, EINVAL);
                self.answers.push_back(Answer::Datagram(refused));
                return;
            }
            TCPDIAG_GETSOCK => (ANY_FAMILY, u32_at(request, 68)),
            _ => (request[REQUEST_AT], u32_at(request, 20)),
        };
        let listens_only = states.count_ones() == 1;
        kernel.charge(match listens_only {
            true => LISTENERS_CHARGE,
            false => kernel.profile.walk_charge,
        });
        self.dump = Some(Dump {
            message_type,
            sequence,
            family,
            states,
            key: None,
            told: Vec::new(),
        });
        if kernel.fails(30) {
            // It never says anything.
            self.dump = None;
            kernel.kept_back(netns);
        }
        self.fill(kernel, netns);
    }

    pub fn receive(&mut self, kernel: &mut Kernel, netns: u64, buffer: &mut [u8]) -> io::Result<usize> {
        kernel.charge(kernel.profile.receive_charge);
        if kernel.fails(200) {
            return Err(error(EINTR));
        }
        if kernel.fails(200) && !self.was_late {
            self.was_late = true;
            self.ready_at = kernel.elapsed() + Duration::from_millis(kernel.random.between(1, LATER_MS_MAX));
        }
        if self.ready_at > kernel.elapsed() {
            return Err(error(EAGAIN));
        }
        self.was_late = false;
        self.fill(kernel, netns);
        let answer = self.answers.pop_front();
        self.fill(kernel, netns);
        match answer {
            None => Err(error(EAGAIN)),
            Some(Answer::Error(errno)) => Err(error(errno)),
            Some(Answer::Datagram(datagram)) => {
                let copied = datagram.len().min(buffer.len());
                buffer[..copied].copy_from_slice(&datagram[..copied]);
                Ok(datagram.len())
            }
        }
    }

    /// As receive, into the slots of a batch.
    pub fn receive_batch(
        &mut self,
        kernel: &mut Kernel,
        mut push: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<usize> {
        kernel.charge(kernel.profile.receive_charge);
        let mut bytes = 0;
        // recvmmsg(2) keeps an error for the next call when it has something already.
        while let Some(answer) = self.answers.front() {
            match answer {
                Answer::Error(errno) if bytes == 0 => {
                    let errno = *errno;
                    self.answers.pop_front();
                    return Err(error(errno));
                }
                Answer::Error(_) => break,
                Answer::Datagram(datagram) if push(datagram) => bytes += datagram.len(),
                Answer::Datagram(_) => break,
            }
            self.answers.pop_front();
        }
        match bytes {
            0 => Err(error(EAGAIN)),
            bytes => Ok(bytes),
        }
    }

    /// The kernel goes on with a dump as soon as there is room: one datagram ahead of the reader.
    fn fill(&mut self, kernel: &mut Kernel, netns: u64) {
        if !self.answers.is_empty() {
            return;
        }
        let Some(dump) = &mut self.dump else { return };
        if kernel.namespaces[&netns].died.is_some() && kernel.random.happens(300) {
            self.dump = None;
            return self.answers.push_back(Answer::Error(ENODEV));
        }
        let count = usize::try_from(kernel.random.between(1, DATAGRAM_SOCKETS_MAX)).unwrap();
        let mut sockets = dump.next(kernel, netns, count);
        let mut is_last = sockets.len() < count;
        let key = sockets.last().map(|socket| mix(socket.cookie)).or(dump.key);
        dump.repeat_end(kernel, netns, &mut sockets);
        dump.key = key;
        dump.mistake(kernel, &mut sockets);
        let mut messages: Vec<Vec<u8>> = sockets.iter().map(|socket| dump.reply(socket, 0)).collect();
        if is_last && (messages.is_empty() || kernel.random.happens(500)) {
            messages.push(errno_message(NLMSG_DONE, dump.sequence, 0));
        } else {
            is_last = false;
        }
        dump.told.extend(&sockets);
        if kernel.fails(1000) {
            is_last = dump.spoil(kernel, netns, &sockets, messages, is_last, &mut self.answers);
        } else {
            self.answers.push_back(Answer::Datagram(messages.concat()));
        }
        if is_last {
            self.dump = None;
        }
    }
}

impl Dump {
    /// The next sockets of the table as it is now.
    fn next(&self, kernel: &Kernel, netns: u64, count: usize) -> Vec<Socket> {
        let from = self.key.map_or(Bound::Unbounded, Bound::Excluded);
        let table = kernel.namespaces[&netns].sockets.range((from, Bound::Unbounded));
        let matching = table.filter(|(_, socket)| {
            (self.family == ANY_FAMILY || socket.family == self.family)
                && self.states >> socket.state & 1 == 1
        });
        matching.take(count).map(|(_, socket)| *socket).collect()
    }

    /// Sockets that were put in front of the reader's place in a hash chain shift it: the end of a datagram
    /// comes again, and before it some of those that are new.
    fn repeat_end(&self, kernel: &mut Kernel, netns: u64, sockets: &mut Vec<Socket>) {
        let (Some(key), false) = (self.key, kernel.calm) else {
            return;
        };
        if self.told.is_empty() || !kernel.random.happens(100) {
            return;
        }
        let count = kernel.random.index(SHIFT_MAX.min(self.told.len())) + 1;
        let passed = kernel.namespaces[&netns].sockets.range(..=key);
        let is_new = |socket: &&Socket| {
            (self.family == ANY_FAMILY || socket.family == self.family)
                && self.states >> socket.state & 1 == 1
                && self.told.iter().all(|told| told.cookie != socket.cookie)
        };
        let mut shifted: Vec<Socket> = passed
            .map(|(_, socket)| socket)
            .filter(is_new)
            .copied()
            .take(SHIFT_MAX)
            .collect();
        shifted.extend(&self.told[self.told.len() - count..]);
        // What came again before is told twice, and is in the chain once.
        let mut cookies = BTreeSet::new();
        shifted.retain(|socket| cookies.insert(socket.cookie));
        sockets.splice(0..0, shifted);
    }

    /// Planted bugs of whoever reads the replies.
    fn mistake(&self, kernel: &mut Kernel, sockets: &mut Vec<Socket>) {
        match kernel.bug {
            Some(Bug::SkipSocket) if !sockets.is_empty() && kernel.random.happens(50) => {
                sockets.remove(kernel.random.index(sockets.len()));
            }
            Some(Bug::DoubleRow) if sockets.len() > 1 && kernel.random.happens(50) => {
                sockets.push(sockets[0]);
            }
            Some(Bug::StaleReply) if kernel.random.happens(50) => sockets.push(Socket::established(NOBODY)),
            _ => {}
        }
    }

    fn reply(&self, socket: &Socket, flags: u16) -> Vec<u8> {
        message(
            self.message_type,
            NLM_F_MULTI | flags,
            self.sequence,
            &socket.reply(),
        )
    }

    /// A datagram goes wrong; whether it was the last one.
    fn spoil(
        &self,
        kernel: &mut Kernel,
        netns: u64,
        sockets: &[Socket],
        messages: Vec<Vec<u8>>,
        is_last: bool,
        answers: &mut VecDeque<Answer>,
    ) -> bool {
        let mut datagram = |bytes: Vec<u8>| answers.push_back(Answer::Datagram(bytes));
        let sequence = self.sequence;
        let choice = kernel.random.below(10);
        if choice < 8 {
            kernel.kept_back(netns);
        }
        match choice {
            // The table changed under the reader, who may have missed some.
            0 | 1 => {
                let kept = sockets.iter().filter(|_| !kernel.random.happens(300));
                let mut bytes: Vec<u8> = kept
                    .flat_map(|socket| self.reply(socket, NLM_F_DUMP_INTR))
                    .collect();
                if bytes.is_empty() || is_last {
                    let flags = NLM_F_MULTI | NLM_F_DUMP_INTR;
                    bytes.extend(message(NLMSG_DONE, flags, sequence, &[0; 4]));
                    datagram(bytes);
                    return true;
                }
                datagram(bytes);
                is_last
            }
            2 => {
                answers.push_back(Answer::Error(ENOBUFS));
                if is_last {
                    answers.push_back(Answer::Datagram(errno_message(NLMSG_DONE, sequence, 0)));
                }
                is_last
            }
            3 => {
                datagram(message(NLMSG_OVERRUN, NLM_F_MULTI, sequence, &[0; 4]));
                if is_last {
                    datagram(errno_message(NLMSG_DONE, sequence, 0));
                }
                is_last
            }
            4 => {
                let errno = kernel
                    .random
                    .of(&[EINTR, EAGAIN, ENOBUFS, ENOMEM, EACCES, EINVAL]);
                let message_type = kernel.random.of(&[NLMSG_DONE, NLMSG_ERROR]);
                datagram([messages.concat(), errno_message(message_type, sequence, errno)].concat());
                true
            }
            // Too long: its end is cut off.
            5 => {
                let padding_bytes = u16::try_from(RECEIVE_BYTES).unwrap();
                let longer = sockets.iter().map(|socket| Socket {
                    padding_bytes,
                    ..*socket
                });
                let replies = longer.map(|socket| self.reply(&socket, 0)).take(2);
                let mut bytes: Vec<u8> = replies.flatten().collect();
                if bytes.is_empty() || is_last {
                    bytes.extend(errno_message(NLMSG_DONE, sequence, 0));
                }
                let ended = sockets.len() < 2 && is_last && bytes.len() <= RECEIVE_BYTES;
                datagram(bytes);
                if is_last && !ended {
                    datagram(errno_message(NLMSG_DONE, sequence, 0));
                }
                is_last
            }
            6 => {
                datagram([messages.concat(), vec![3; 5]].concat());
                is_last
            }
            // Shorter than the fixed part: counted, and passed over.
            7 => {
                let mut messages = messages;
                if let Some(socket) = sockets.first() {
                    messages[0] = message(self.message_type, NLM_F_MULTI, sequence, &socket.reply()[..71]);
                }
                datagram(messages.concat());
                is_last
            }
            // Replies to nobody: a late one, and messages without meaning.
            8 => {
                let late = Socket::established(NOBODY).reply();
                let late = message(self.message_type, NLM_F_MULTI, sequence.wrapping_sub(1), &late);
                datagram([late, messages.concat()].concat());
                is_last
            }
            _ => {
                let noop = message(NLMSG_NOOP, 0, sequence, &[]);
                let unknown = message(77, 0, sequence, &[1; 8]);
                datagram([noop, unknown, messages.concat()].concat());
                is_last
            }
        }
    }
}
