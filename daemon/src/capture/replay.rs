//! Finds the replies about TCP sockets among the messages of a capture.

use super::{CaptureReader, Namespace, PacketCounts, ReadError};
use crate::netlink::{
    inet_diag::{AF_INET, AF_INET6, InetDiagMsg, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK},
    message::{
        Message, Messages, NLM_F_MULTI, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN,
        done_error, error_code,
    },
};
use std::{fs::File, io::Read, path::Path};

/// What the messages of a capture are, as far as they were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Messages of any kind.
    pub messages: u64,
    /// Replies about one TCP socket each.
    pub replies: u64,
    /// Requests to the kernel.
    pub requests: u64,
    /// Ends of dumps, acknowledgements and other messages about messages.
    pub control: u64,
    /// Errors that the kernel answered with, also inside the end of a dump; overruns.
    pub errors: u64,
    /// Broadcasts about sockets that were closed: nobody polled them.
    pub events: u64,
    /// Replies about sockets of another address family (unix, packet, netlink).
    pub other_family: u64,
    /// Replies to a request for another protocol (UDP, raw).
    pub other_protocol: u64,
    /// Messages of another type.
    pub other_type: u64,
    /// Messages, or ends of datagrams, that are malformed.
    pub malformed: u64,
    /// Messages that the capture holds the first part of, if any.
    pub cut: u64,
}

/// What a reply is a reply to. Replies do not say which protocol they are about.
#[derive(Clone, Copy, Debug)]
struct Request {
    sequence: u32,
    protocol: u8,
}

const IPPROTO_TCP: u8 = 6;

/// A capture that is being replayed.
pub struct Replay<R> {
    reader: CaptureReader<R>,
    counts: MessageCounts,
    last_request: Option<Request>,
}

impl Replay<File> {
    /// Opens a capture file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a capture.
    pub fn open(path: &Path) -> Result<Replay<File>, ReadError> {
        CaptureReader::open(path).map(Replay::new)
    }
}

impl<R: Read> Replay<R> {
    /// Replays what `reader` reads.
    pub fn new(reader: CaptureReader<R>) -> Replay<R> {
        Replay {
            reader,
            counts: MessageCounts::default(),
            last_request: None,
        }
    }

    /// The replies of the next datagram, which may have none; `None` at the end of the capture.
    ///
    /// # Errors
    /// When the file is malformed or ends within a record. Nothing can be read after that.
    pub fn next_datagram(&mut self) -> Result<Option<Replies<'_>>, ReadError> {
        let Some(captured) = self.reader.next_datagram()? else {
            return Ok(None);
        };
        Ok(Some(Replies {
            timestamp_ns: captured.timestamp_ns,
            netns: captured.comment.and_then(Namespace::from_comment),
            truncated: captured.truncated,
            messages: Messages::new(captured.payload),
            counts: &mut self.counts,
            last_request: &mut self.last_request,
        }))
    }

    /// Packets found so far.
    pub fn packet_counts(&self) -> PacketCounts {
        self.reader.counts()
    }

    /// Messages looked at so far.
    pub fn message_counts(&self) -> MessageCounts {
        self.counts
    }
}

/// The replies of one datagram; goes through its messages as it is iterated.
pub struct Replies<'a> {
    /// When the datagram was captured, nanoseconds since 1970, where the capture says.
    pub timestamp_ns: Option<i64>,
    /// The namespace, where the capture says: only recordings of ours do.
    pub netns: Option<Namespace<'a>>,
    truncated: bool,
    messages: Messages<'a>,
    counts: &'a mut MessageCounts,
    last_request: &'a mut Option<Request>,
}

impl<'a> Iterator for Replies<'a> {
    type Item = InetDiagMsg<'a>;

    fn next(&mut self) -> Option<InetDiagMsg<'a>> {
        loop {
            let reply = match self.messages.next()? {
                Ok(message) => self.look_at(message),
                Err(_) if self.truncated => {
                    self.counts.cut += 1;
                    None
                }
                Err(_) => {
                    self.counts.malformed += 1;
                    None
                }
            };
            if reply.is_some() {
                return reply;
            }
        }
    }
}

impl<'a> Replies<'a> {
    /// Counts a message, and returns it if it is a reply about a TCP socket.
    fn look_at(&mut self, message: Message<'a>) -> Option<InetDiagMsg<'a>> {
        let counts = &mut *self.counts;
        counts.messages += 1;
        let what = match message.message_type {
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK if message.flags & NLM_F_REQUEST != 0 => {
                *self.last_request = Request::of(&message);
                &mut counts.requests
            }
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => match InetDiagMsg::new(message.payload) {
                // Families share the message type, but not the layout: family is the first byte.
                _ if !matches!(message.payload.first(), Some(&(AF_INET | AF_INET6))) => {
                    &mut counts.other_family
                }
                None => &mut counts.malformed,
                // A reply is sent to somebody; that of a look-up is not one of several.
                Some(_) if message.port_id == 0 && message.flags & NLM_F_MULTI == 0 => &mut counts.events,
                Some(_)
                    if self
                        .last_request
                        .is_some_and(|request| request.is_other(&message)) =>
                {
                    &mut counts.other_protocol
                }
                Some(reply) => {
                    counts.replies += 1;
                    return Some(reply);
                }
            },
            NLMSG_DONE if done_error(message.payload).is_some() => &mut counts.errors,
            NLMSG_ERROR if error_code(message.payload).is_some() => &mut counts.errors,
            NLMSG_OVERRUN => &mut counts.errors,
            NLMSG_NOOP..=NLMSG_DONE => &mut counts.control,
            _ => &mut counts.other_type,
        };
        *what += 1;
        None
    }
}

impl Request {
    fn of(message: &Message<'_>) -> Option<Request> {
        let protocol = match message.message_type {
            TCPDIAG_GETSOCK => IPPROTO_TCP,
            // Family (1 byte), protocol (1 byte).
            _ => *message.payload.get(1)?,
        };
        Some(Request {
            sequence: message.sequence,
            protocol,
        })
    }

    /// Whether the message is a reply to this request, and this was not for TCP.
    fn is_other(self, reply: &Message<'_>) -> bool {
        self.sequence == reply.sequence && self.protocol != IPPROTO_TCP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::{Direction, Recorder},
        netlink::{
            inet_diag::{INET_DIAG_MSG_BYTES, States, dump_both_families, dump_one_family},
            message::NLM_F_DUMP_INTR,
        },
    };

    fn message(message_type: u16, flags: u16, port_id: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let header = [
            &length.to_ne_bytes()[..],
            &message_type.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &7_u32.to_ne_bytes(), // sequence
            &port_id.to_ne_bytes(),
        ];
        [&header.concat(), payload].concat()
    }

    /// `struct inet_diag_msg` of a family.
    fn socket(family: u8) -> [u8; INET_DIAG_MSG_BYTES] {
        let mut socket = [0; INET_DIAG_MSG_BYTES];
        socket[0] = family;
        socket
    }

    const A: Namespace<'static> = Namespace { name: "a", cookie: 8 };
    const B: Namespace<'static> = Namespace { name: "b", cookie: 9 };

    fn record(datagrams: &[(Namespace<'_>, Vec<u8>)]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut recorder = Recorder::new(&mut file, "Linux").unwrap();
        for (netns, payload) in datagrams {
            recorder.datagram(5, Direction::ToUser, *netns, payload).unwrap();
        }
        file
    }

    /// The cookie of the namespace of each reply.
    fn replay(file: &[u8]) -> (Vec<Option<u64>>, MessageCounts) {
        let mut replay = Replay::new(CaptureReader::new("f".to_owned(), file).unwrap());
        let mut found = Vec::new();
        while let Some(replies) = replay.next_datagram().unwrap() {
            let cookie = replies.netns.map(|netns| netns.cookie);
            found.extend(replies.map(|_| cookie));
        }
        (found, replay.message_counts())
    }

    #[test]
    fn only_replies_about_tcp_sockets_are_yielded() {
        let tcp = socket(AF_INET);
        let dump = [
            message(18, NLM_F_MULTI, 50, &tcp),
            message(20, NLM_F_MULTI | NLM_F_DUMP_INTR, 50, &socket(AF_INET6)),
            message(20, 0, 50, &tcp),               // of a look-up
            message(20, 0, 0, &tcp),                // a broadcast
            message(20, NLM_F_MULTI, 50, &[1; 80]), // AF_UNIX
            message(20, NLM_F_MULTI, 50, &tcp[..71]),
            message(21, NLM_F_MULTI, 50, &tcp),
            message(NLMSG_DONE, NLM_F_MULTI, 50, &[0; 4]),
            message(NLMSG_DONE, NLM_F_MULTI, 50, &(-libc::EINTR).to_ne_bytes()),
            message(NLMSG_ERROR, 0, 50, &[0; 20]),
            message(NLMSG_ERROR, 0, 50, &(-libc::EPERM).to_ne_bytes()),
            message(NLMSG_OVERRUN, 0, 50, &[]),
            vec![1, 2, 3], // too short for a header
        ]
        .map(|mut message| {
            message.resize(message.len().next_multiple_of(4), 0);
            message
        })
        .concat();
        let request = dump_both_families(0xff, States::ALL, 7).to_vec();
        let (found, counts) = replay(&record(&[(A, request), (A, dump)]));
        assert_eq!(found.len(), 3);
        let expected = MessageCounts {
            messages: 13,
            replies: 3,
            requests: 1,
            control: 2,
            errors: 3,
            events: 1,
            other_family: 1,
            other_protocol: 0,
            other_type: 1,
            malformed: 2,
            cut: 0,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn replies_to_a_request_for_udp_are_not_taken_for_tcp() {
        let tcp = dump_one_family(AF_INET, 0, States::ALL, 7).to_vec();
        let mut udp = tcp.clone();
        udp[17] = 17; // sdiag_protocol
        let reply = message(20, NLM_F_MULTI, 50, &socket(AF_INET));
        let file = record(&[
            (A, reply.clone()),
            (A, udp),
            (A, [reply.clone(), reply.clone()].concat()),
            (A, tcp),
            (A, reply),
        ]);
        let (found, counts) = replay(&file);
        assert_eq!((found.len(), counts.replies, counts.other_protocol), (2, 2, 2));
    }

    #[test]
    fn a_datagram_has_the_namespace_of_its_own_comment() {
        let reply = message(20, NLM_F_MULTI, 50, &socket(AF_INET));
        let mut file = record(&[(A, reply.clone()), (B, reply.clone()), (A, reply)]);
        let last = file.windows(6).rposition(|bytes| bytes == b"netns ").unwrap();
        file[last] = b'N'; // a comment of somebody else
        assert_eq!(replay(&file).0, [Some(8), Some(9), None]);
    }

    #[test]
    fn a_truncated_datagram_gives_the_replies_that_are_whole() {
        let reply = message(20, NLM_F_MULTI, 50, &socket(AF_INET));
        let file = record(&[(A, [reply.clone(), reply].concat())]);
        let packet = file.windows(2).position(|bytes| bytes == [3, 0x38]).unwrap() - 2;
        for cut in 1..=88_u32 {
            let mut file = file.clone();
            // Length in the file: 8 bytes before the packet.
            file[packet - 8..packet - 4].copy_from_slice(&(16 + 176 - cut).to_ne_bytes());
            // What is left behind the packet would be read as options: end them at once.
            let options = packet + (16 + 176 - cut as usize).next_multiple_of(4);
            file[options..options + 4].fill(0);
            let (found, counts) = replay(&file);
            assert_eq!(found.len(), 1, "cut by {cut}");
            assert_eq!(
                (counts.cut, counts.malformed),
                (u64::from(cut != 88), 0),
                "cut by {cut}"
            );
        }
    }
}
