//! One input through every format, whole and split.

mod read_back;

use super::{Format, Formatter};
use crate::{
    envelope::{Closed, Envelope},
    netlink::inet_diag::{Attributes, InetDiagMsg, attribute},
    record::{Encoder, Identity, Origin, ROW_BYTES_MAX, rows_of},
};

/// An ESTABLISHED IPv4 connection with BBR, as Linux 6.18 reported it.
const RECORDED: &[u8] = include_bytes!("../../tests/fixtures/tcp_bbr_established_6_18.bin");

/// What text formats must escape: separators, quotes, newlines, controls, more than ASCII.
const AWKWARD: &str = "a,b\t\"c\"\n\r\\ 'ü' \u{1}2 \u{7f} 漢🦀";

fn identity(label: &str, instance_id: u64) -> Identity {
    Identity {
        instance_id,
        daemon_version: "0.1.0".to_owned(),
        hostname: "host-1".to_owned(),
        location: "here".to_owned(),
        label: label.to_owned(),
        tag: String::new(),
    }
}

const ORIGIN: Origin<'static> = Origin {
    timestamp_ns: 1_795_469_636_123_456_789,
    poll_sequence: 3,
    netns: "/run/netns/blue",
    netns_inode: 4_026_531_840,
    netns_cookie: 1,
    socket_fd: 7,
};

const ORIGIN_MAX: Origin<'static> = Origin {
    timestamp_ns: i64::MAX,
    poll_sequence: u64::MAX,
    netns: "",
    netns_inode: u64::MAX,
    netns_cookie: u64::MAX,
    socket_fd: u64::MAX,
};

/// A `struct inet_diag_msg` that is zero but for its family and state.
fn fixed(family: u8, state: u8) -> Vec<u8> {
    let mut message = vec![0; 72];
    message[..2].copy_from_slice(&[family, state]);
    message
}

fn append_attribute(message: &mut Vec<u8>, number: u8, value: &[u8]) {
    message.extend_from_slice(&u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
    message.extend_from_slice(&u16::from(number).to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

struct Sample {
    message: Vec<u8>,
    identity: Identity,
    origin: Origin<'static>,
}

fn samples() -> Vec<Sample> {
    let listener = fixed(10, 10);

    let mut mapped_old_kernel = fixed(10, 1);
    mapped_old_kernel[2] = 2;
    mapped_old_kernel[8..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]);
    mapped_old_kernel[24..40].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    append_attribute(&mut mapped_old_kernel, attribute::INFO, &[1; 104]);
    append_attribute(&mut mapped_old_kernel, attribute::CONG, b"cubic\0");

    let mut largest = vec![0xff; 72];
    append_attribute(&mut largest, attribute::INFO, &[0xff; 280]);
    append_attribute(&mut largest, attribute::CGROUP_ID, &[0xff; 8]);
    append_attribute(&mut largest, attribute::CONG, b"no-such\0");

    let sample = |message, label, instance_id, origin| Sample {
        message,
        identity: identity(label, instance_id),
        origin,
    };
    vec![
        sample(RECORDED.to_vec(), "edge", 9, ORIGIN),
        sample(listener, AWKWARD, 9, ORIGIN),
        sample(mapped_old_kernel, "edge", 9, ORIGIN),
        sample(largest, "", u64::MAX, ORIGIN_MAX),
    ]
}

/// Calls `with` with one envelope of all samples.
fn with_envelope(samples: &[Sample], mut with: impl FnMut(&Closed<'_>)) {
    let mut envelope = Envelope::new(u32::MAX, 1 << 20);
    let mut room = vec![0; ROW_BYTES_MAX];
    for (i, sample) in samples.iter().enumerate() {
        let mut encoder = Encoder::new(sample.identity.clone(), Attributes::ALL);
        encoder.enter(&sample.origin);
        let message = InetDiagMsg::new(&sample.message).unwrap();
        let length = encoder.row(&message, i as u64 + 1, &mut room);
        envelope.room()[..length].copy_from_slice(&room[..length]);
        envelope.push(length, &mut |_| panic!("closed before its time"));
    }
    envelope.close(&mut |closed| with(&closed));
}

fn formatter(format: Format) -> Formatter {
    Formatter::new(format, &[]).unwrap()
}

fn messages(format: Format, closed: &Closed<'_>, bytes_max: usize) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut formatter = formatter(format);
    formatter.messages(closed, bytes_max, &mut |rows, bytes| all.push((rows, bytes)));
    assert_eq!(formatter.malformed_rows(), 0);
    all
}

/// The whole stream of one envelope, header line included.
fn stream(format: Format, closed: &Closed<'_>) -> Vec<u8> {
    let mut bytes = formatter(format).preamble();
    for (_, message) in messages(format, closed, usize::MAX) {
        bytes.extend(message);
    }
    bytes
}

fn text(format: Format, closed: &Closed<'_>) -> String {
    String::from_utf8(stream(format, closed)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<String>();
    bytes.chunks(32).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn one_input_through_every_format() {
    with_envelope(&samples(), |closed| {
        for (name, format) in Format::NAMES {
            let shown = match format {
                Format::ProtobufList | Format::Msgpack => hex(&stream(format, closed)),
                _ => text(format, closed),
            };
            insta::assert_snapshot!(name, shown);
        }
    });
}

/// Numbers that look random and are the same each run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Zeros, ones and bits of every density: real rows are full of zeros.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let kind = self.below(4);
        let byte = |numbers: &mut Numbers| match kind {
            0 => 0,
            1 => 0xff,
            _ => (numbers.next() & numbers.next()).to_le_bytes()[0],
        };
        (0..length).map(|_| byte(self)).collect()
    }

    fn text(&mut self) -> String {
        let letters: Vec<char> = AWKWARD.chars().collect();
        let length = self.below(40);
        (0..length).map(|_| letters[self.below(letters.len())]).collect()
    }

    fn sample(&mut self) -> Sample {
        let mut message = self.bytes(72);
        message[0] = [2, 10, 0][self.below(3)];
        for number in 1..attribute::COUNT {
            let number = u8::try_from(number).unwrap();
            if self.below(3) > 0 {
                let length = match number {
                    attribute::INFO => self.below(300),
                    _ => self.below(10) * 4,
                };
                let value = self.bytes(length);
                append_attribute(&mut message, number, &value);
            }
        }
        let known = ["cubic", "dctcp", "reno", "bbr", ""][self.below(5)];
        append_attribute(&mut message, attribute::CONG, known.as_bytes());
        Sample {
            message,
            identity: identity(&self.text(), self.next()),
            origin: if self.below(2) == 0 { ORIGIN } else { ORIGIN_MAX },
        }
    }
}

/// The maps of a run of MessagePack.
fn maps(mut bytes: &[u8]) -> Vec<rmpv::Value> {
    let mut maps = Vec::new();
    while !bytes.is_empty() {
        maps.push(rmpv::decode::read_value(&mut bytes).unwrap());
    }
    maps
}

/// The rows of one message of any format, each as bytes that stand for it.
fn rows_in(format: Format, message: &[u8]) -> Vec<Vec<u8>> {
    match format {
        Format::ProtobufList => {
            let (length, envelope) = crate::record::wire::read_varint(message).unwrap();
            assert_eq!(length, envelope.len() as u64);
            rows_of(envelope).map(|row| row.unwrap().to_vec()).collect()
        }
        Format::ProtoJson => {
            let envelope: serde_json::Value = serde_json::from_slice(message).unwrap();
            let rows = envelope["row"].as_array().unwrap();
            rows.iter().map(|row| row.to_string().into_bytes()).collect()
        }
        Format::Msgpack => {
            let row = |map: rmpv::Value| map.to_string().into_bytes();
            maps(message).into_iter().map(row).collect()
        }
        Format::Csv => {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(message);
            let row = |record: csv::StringRecord| record.as_slice().as_bytes().to_vec();
            reader.records().map(|record| row(record.unwrap())).collect()
        }
        Format::Jsonl | Format::Json | Format::Tsv | Format::ProtoText => {
            let lines = message.strip_suffix(b"\n").unwrap();
            lines.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
        }
    }
}

#[test]
fn bounded_messages_are_valid_alone_and_lose_no_row() {
    let samples: Vec<Sample> = (0..40).map(|seed| Numbers(seed).sample()).collect();
    with_envelope(&samples, |closed| {
        for (name, format) in Format::NAMES {
            let whole = messages(format, closed, usize::MAX);
            assert_eq!(whole.len(), 1, "{name}");
            assert_eq!(whole[0].0, 40, "{name}");
            let expected = rows_in(format, &whole[0].1);
            let longest = whole[0].1.len();
            for bytes_max in [1, 2_000, 9_000, longest - 1, longest] {
                let split = messages(format, closed, bytes_max);
                let mut rows = Vec::new();
                for (count, message) in &split {
                    let inside = rows_in(format, message);
                    assert_eq!(inside.len(), *count as usize, "{name} at {bytes_max}");
                    assert!(
                        *count == 1 || message.len() <= bytes_max,
                        "{name} at {bytes_max}: {}",
                        message.len()
                    );
                    rows.extend(inside);
                }
                assert_eq!(rows, expected, "{name} at {bytes_max}");
                match bytes_max {
                    1 => assert_eq!(split.len(), 40, "{name}: a row that is too long goes alone"),
                    _ if bytes_max == longest => assert_eq!(split.len(), 1, "{name}"),
                    _ if bytes_max == longest - 1 => assert_eq!(split.len(), 2, "{name}"),
                    _ => {}
                }
            }
        }
    });
}

#[test]
fn a_malformed_row_is_counted_and_the_others_are_written() {
    with_envelope(&samples(), |closed| {
        let lengths: Vec<usize> = rows_of(closed.envelope).map(|row| row.unwrap().len()).collect();
        // Field 1 of the second row becomes length-delimited.
        let mut broken = closed.envelope.to_vec();
        let second = 3 + lengths[0] + 3;
        assert_eq!(broken[second], 1 << 3);
        broken[second] = 1 << 3 | 2;
        for (rest, rows, malformed) in [
            (&broken[..], 3, 1),
            (&broken[..broken.len() - 1], 2, 2),
            (&broken[..1], 0, 4),
        ] {
            let closed = Closed {
                delimited: closed.delimited,
                envelope: rest,
                rows: closed.rows,
            };
            for (name, format) in Format::NAMES
                .into_iter()
                .filter(|named| named.0 != "protobufList")
            {
                let mut formatter = formatter(format);
                let mut rows_out = 0;
                formatter.messages(&closed, usize::MAX, &mut |rows, message| {
                    assert_eq!(rows_in(format, &message).len(), rows as usize, "{name}");
                    rows_out += rows;
                });
                assert_eq!(
                    (rows_out, formatter.malformed_rows()),
                    (rows, malformed),
                    "{name}"
                );
            }
        }
    });
}
