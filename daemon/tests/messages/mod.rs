//! What tests, benches and examples of rows share: messages as the kernel might send them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]
#![allow(dead_code, reason = "each of them uses a part")]

use std::path::PathBuf;
use xtcp2::{
    netlink::inet_diag::{Attributes, InetDiagMsg},
    record::{Encoder, Identity, Origin, ROW_BYTES_MAX},
};

/// `struct inet_diag_msg` and all attributes of an established IPv4 connection with BBR, as
/// Linux 6.18 sent them.
pub const RECORDED: &[u8] = include_bytes!("../fixtures/tcp_bbr_established_6_18.bin");

/// As many messages as a datagram of the kernel holds, about.
pub const DATAGRAM_MESSAGES: usize = 20;

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// An encoder that stands in a namespace, with a value in every field of the daemon.
pub fn encoder(attributes: Attributes) -> Encoder {
    let identity = Identity {
        instance_id: 0xfedc_ba98_7654_3210,
        daemon_version: "0.1.0".to_owned(),
        hostname: "host.example".to_owned(),
        location: "rack 7".to_owned(),
        label: "größe".to_owned(),
        tag: "tag".to_owned(),
    };
    let mut encoder = Encoder::new(identity, attributes);
    encoder.enter(&Origin {
        timestamp_ns: 1_763_925_000_123_456_789,
        poll_sequence: 3,
        netns: "/run/netns/blue",
        netns_inode: 4_026_532_321,
        netns_cookie: 1 << 40,
        socket_fd: 9,
    });
    encoder
}

/// The row of a message.
pub fn row(encoder: &mut Encoder, message: &[u8], record_counter: u64) -> Vec<u8> {
    let mut room = vec![0xaa; ROW_BYTES_MAX];
    let message = InetDiagMsg::new(message).unwrap();
    let length = encoder.row(&message, record_counter, &mut room);
    room.truncate(length);
    room
}

/// Appends an attribute and its padding.
pub fn push_attribute(message: &mut Vec<u8>, number: u16, value: &[u8]) {
    message.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
    message.extend(number.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Numbers from a seed, the same on every machine.
pub struct Random(pub u64);

impl Random {
    /// Any 64 bits (splitmix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// `length` bytes: words that are zero, all ones, short or anything; now and then all alike.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        if self.one_in(20) {
            return vec![self.pick(&[0, u8::MAX]); length];
        }
        let mut bytes = Vec::with_capacity(length + 4);
        while bytes.len() < length {
            let any = self.bits();
            let word = match any % 8 {
                0 | 1 => 0,
                2 => u32::MAX,
                _ => u32::try_from(any >> 32).unwrap() >> (any >> 8 & 31),
            };
            bytes.extend(word.to_ne_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// The recorded message with other numbers.
pub fn varied(random: &mut Random) -> Vec<u8> {
    vary(RECORDED, random)
}

/// So many of them, always the same.
pub fn many_varied(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(1);
    (0..count).map(|_| varied(&mut random)).collect()
}

/// A message with other numbers in its tcp_info and memory information: a branch predictor learns
/// one row by heart, but not 512.
pub fn vary(message: &[u8], random: &mut Random) -> Vec<u8> {
    let mut message = message.to_vec();
    let mut at = 72;
    while at + 4 <= message.len() {
        let length = usize::from(u16::from_ne_bytes([message[at], message[at + 1]]));
        let start = match message[at + 2] {
            2 => at + 12,
            1 | 7 => at + 4,
            _ => at + length,
        };
        for word in message[start..at + length].chunks_exact_mut(4) {
            let any = random.bits();
            let old = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
            let new = match any % 8 {
                0 => 0,
                1 => u32::try_from(any >> 32).unwrap() >> (any >> 8 & 31),
                _ => old >> (any >> 16 & 3),
            };
            word.copy_from_slice(&new.to_ne_bytes());
        }
        at += length.next_multiple_of(4);
    }
    message
}

/// Attribute numbers, and the length that Linux 6.18 gives each; 0 where it varies.
const ATTRIBUTES: [(u16, usize); 25] = [
    (1, 16),
    (2, 280),
    (3, 16),
    (4, 0),
    (5, 1),
    (6, 1),
    (7, 36),
    (8, 1),
    (9, 16),
    (10, 1),
    (11, 1),
    (12, 28),
    (13, 28),
    (14, 0),
    (15, 4),
    (16, 20),
    (17, 4),
    (18, 200),
    (19, 0),
    (20, 8),
    (21, 8),
    (22, 2),
    (23, 4),
    (31, 4),
    (500, 4),
];

/// Lengths of tcp_info: those of kernels, and longer than any.
const TCP_INFO_LENGTHS: [usize; 9] = [104, 144, 192, 232, 240, 248, 280, 284, 400];

/// A message that no kernel would send, but that must be read as far as it makes sense.
pub fn anything(random: &mut Random) -> Vec<u8> {
    let mut message = random.bytes(72);
    message[0] = random.pick(&[2, 10, 10, 2, 0, 255]);
    let share = 1 + random.below(8);
    for (number, length) in ATTRIBUTES {
        if random.below(8) >= share {
            continue;
        }
        let value = match number {
            2 if random.one_in(6) => {
                let length = random.below(300);
                random.bytes(length)
            }
            2 => {
                let length = random.pick(&TCP_INFO_LENGTHS);
                random.bytes(length)
            }
            4 => congestion(random),
            19 => upper_layer(random),
            _ if random.one_in(8) => {
                let length = random.below(length + 12);
                random.bytes(length)
            }
            _ => random.bytes(length),
        };
        push_attribute(&mut message, number, &value);
        if random.one_in(50) {
            push_attribute(&mut message, number | 0x8000, &random.bytes(value.len()));
        }
    }
    if random.one_in(20) {
        let length = random.below(9);
        message.extend(random.bytes(length));
    }
    message
}

fn congestion(random: &mut Random) -> Vec<u8> {
    let mut name = random
        .pick(&[
            &b"cubic"[..],
            b"reno",
            b"bbr",
            b"bbr2",
            b"bbr3",
            b"dctcp",
            b"vegas",
            b"prague",
            b"highspeed",
            b"a_name_of_16_byt",
            b"a name that is too long",
            b"\xff\xfe",
            b"",
        ])
        .to_vec();
    if !random.one_in(10) {
        name.push(0);
    }
    name
}

fn upper_layer(random: &mut Random) -> Vec<u8> {
    let mut info = Vec::new();
    push_attribute(
        &mut info,
        1,
        random.pick(&[&b"tls\0"[..], b"mptcp\0", b"espintcp\0", b"\0"]),
    );
    let mut nested = Vec::new();
    let (number, members) = random.pick(&[
        (2 | 0x8000, &[2, 2, 2, 2, 0, 0][..]),
        (3 | 0x8000, &[4, 4, 4, 8, 4, 4, 2, 4, 1, 1]),
    ]);
    for (i, &length) in members.iter().enumerate() {
        if !random.one_in(4) {
            push_attribute(&mut nested, u16::try_from(i + 1).unwrap(), &random.bytes(length));
        }
    }
    push_attribute(&mut info, number, &nested);
    info
}
