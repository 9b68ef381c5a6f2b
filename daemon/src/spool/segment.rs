//! Bytes of a segment: a header, then records from one multiple of eight to the next. All numbers are
//! little-endian. No I/O here.
//!
//! | segment header | bytes |
//! | --- | --- |
//! | 0 | "xtcp2spl" |
//! | 8 | version, 1 |
//! | 12 | CRC-32 of bytes 0 to 11 and 16 to 63 |
//! | 16 | number of the segment, as in the file's name |
//! | 20 | 0 |
//! | 24 | name of the message format, filled up with zeros |
//!
//! | record | bytes |
//! | --- | --- |
//! | 0 | magic |
//! | 4 | state; outside every CRC, as it is overwritten in place |
//! | 8 | CRC-32 of segment number, offset of the record (8 bytes), and bytes 12 to 63 |
//! | 12 | CRC-32 of the payload |
//! | 16 | bytes of the payload |
//! | 20 | rows |
//! | 24 | part |
//! | 28 | CRC-32 of the name of the message format |
//! | 32 | instance id |
//! | 40 | envelope sequence |
//! | 48 | poll sequence |
//! | 56 | record_counter of the first row |
//! | 64 | payload |
//!
//! The CRC knows where the record lies: an image of a record inside a payload, which holds names that
//! others chose, is not taken for one when the scan looks for the next record behind a damaged one.

use crate::output::{Identity, Message};

/// Of a segment.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Of a record, before its payload.
pub const RECORD_HEADER_BYTES: usize = 64;
/// Where records begin: multiples of this.
pub const ALIGNMENT: usize = 8;
/// Where the state of a record is.
pub const STATE_OFFSET: u64 = 4;
/// Longest name of a message format.
pub const FORMAT_BYTES_MAX: usize = 32;

const SEGMENT_MAGIC: &[u8; 8] = b"xtcp2spl";
/// Of segments, as they are written and read.
pub const VERSION: u32 = 1;
/// Of a segment's header: magic and version are before it.
const CRC_OFFSET: usize = 12;
/// Of a record; no byte of it is one that text or small numbers are full of.
pub const RECORD_MAGIC: [u8; 4] = [0xf5, 0xc3, 0x9e, 0xd1];

/// What becomes of a record. Each two differ in every byte: no flipped byte and no torn write makes one of
/// them into another, and what is no state counts as waiting, so that no damage here loses a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be delivered.
    Waiting,
    /// Delivered.
    Acknowledged,
    /// Will not be delivered.
    GivenUp,
}

const WAITING: u32 = 0x3c5a_96e1;
const ACKNOWLEDGED: u32 = !WAITING;
const GIVEN_UP: u32 = WAITING ^ 0x0f0f_0f0f;

impl State {
    /// As it lies on the disk.
    pub fn to_bytes(self) -> [u8; 4] {
        match self {
            State::Waiting => WAITING,
            State::Acknowledged => ACKNOWLEDGED,
            State::GivenUp => GIVEN_UP,
        }
        .to_le_bytes()
    }

    /// From the disk.
    pub fn from_bytes(bytes: [u8; 4]) -> State {
        match u32::from_le_bytes(bytes) {
            ACKNOWLEDGED => State::Acknowledged,
            GIVEN_UP => State::GivenUp,
            _ => State::Waiting,
        }
    }
}

/// A segment's header.
pub fn segment_header(number: u32, format: &str) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..20].copy_from_slice(&number.to_le_bytes());
    for (place, byte) in header[24..24 + FORMAT_BYTES_MAX].iter_mut().zip(format.bytes()) {
        *place = byte;
    }
    let crc = segment_crc(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What a file that is named like a segment begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    /// A right header, with the name of the message format.
    Right(String),
    /// A right header of another version: what is behind it is not for this one to judge.
    OtherVersion(u32),
    /// Nothing, what a power cut leaves of a header, or a damaged one. Its records are good all the same.
    #[default]
    Damaged,
    /// Nothing that was ever written under that name.
    Foreign,
}

impl Beginning {
    /// Of the segment of that number. A file that is shorter is filled up with zeros.
    pub fn of(header: &[u8; SEGMENT_HEADER_BYTES], number: u32) -> Beginning {
        if header.starts_with(SEGMENT_MAGIC) && u32_at(header, CRC_OFFSET) == segment_crc(header) {
            let name = header[24..24 + FORMAT_BYTES_MAX].split(|byte| *byte == 0).next();
            return match (u32_at(header, 8), name.map(std::str::from_utf8)) {
                (VERSION, Some(Ok(name))) if u32_at(header, 16) == number => {
                    Beginning::Right(name.to_owned())
                }
                (VERSION, _) => Beginning::Foreign,
                (other, _) => Beginning::OtherVersion(other),
            };
        }
        let expected = &segment_header(number, "")[..CRC_OFFSET];
        let right = expected.iter().zip(header).take_while(|(ours, is)| ours == is);
        let right = right.count();
        // A torn write ends in zeros, or with the file.
        match right == CRC_OFFSET || header[right..].iter().all(|byte| *byte == 0) {
            true => Beginning::Damaged,
            false => Beginning::Foreign,
        }
    }
}

fn segment_crc(header: &[u8; SEGMENT_HEADER_BYTES]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..12]);
    crc.update(&header[16..]);
    crc.finalize()
}

/// What a record says of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Not covered by a CRC.
    pub state: State,
    /// Of the payload.
    pub payload_crc: u32,
    /// Of the payload.
    pub payload_bytes: u32,
    /// In the message.
    pub rows: u32,
    /// CRC of the name of the message's format.
    pub format_crc: u32,
    /// Of the message.
    pub identity: Identity,
    /// Of the message.
    pub poll_sequence: u64,
    /// Of the message.
    pub first_record_counter: u64,
}

impl RecordHeader {
    /// Of a message that waits; `None` when it is longer than a record can be (4 GiB).
    pub fn of(message: &Message, format_crc: u32) -> Option<RecordHeader> {
        Some(RecordHeader {
            state: State::Waiting,
            payload_crc: crc32fast::hash(&message.bytes),
            payload_bytes: u32::try_from(message.bytes.len()).ok()?,
            rows: message.rows,
            format_crc,
            identity: message.identity,
            poll_sequence: message.poll_sequence,
            first_record_counter: message.first_record_counter,
        })
    }

    /// As it lies at that place.
    pub fn to_bytes(self, segment: u32, offset: u64) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4..8].copy_from_slice(&self.state.to_bytes());
        let words = [
            self.payload_crc,
            self.payload_bytes,
            self.rows,
            self.identity.part,
            self.format_crc,
        ];
        for (place, word) in bytes[12..32].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let longs = [
            self.identity.instance_id,
            self.identity.envelope_sequence,
            self.poll_sequence,
            self.first_record_counter,
        ];
        for (place, long) in bytes[32..].chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&long.to_le_bytes());
        }
        let crc = record_crc(&bytes, segment, offset);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The record that begins at that place, if one does. `bytes` may be longer.
    pub fn parse(bytes: &[u8], segment: u32, offset: u64) -> Option<RecordHeader> {
        let bytes: &[u8; RECORD_HEADER_BYTES] = bytes.first_chunk()?;
        if !bytes.starts_with(&RECORD_MAGIC) || u32_at(bytes, 8) != record_crc(bytes, segment, offset) {
            return None;
        }
        Some(RecordHeader {
            state: State::from_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            payload_crc: u32_at(bytes, 12),
            payload_bytes: u32_at(bytes, 16),
            rows: u32_at(bytes, 20),
            format_crc: u32_at(bytes, 28),
            identity: Identity {
                instance_id: u64_at(bytes, 32),
                envelope_sequence: u64_at(bytes, 40),
                part: u32_at(bytes, 24),
            },
            poll_sequence: u64_at(bytes, 48),
            first_record_counter: u64_at(bytes, 56),
        })
    }

    /// Header and payload, without what fills up to the next record.
    pub fn record_bytes(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }
}

/// What a message of so many bytes takes in a segment.
pub fn stride(payload_bytes: u64) -> u64 {
    (RECORD_HEADER_BYTES as u64)
        .saturating_add(payload_bytes)
        .checked_next_multiple_of(ALIGNMENT as u64)
        .unwrap_or(u64::MAX)
}

fn record_crc(header: &[u8; RECORD_HEADER_BYTES], segment: u32, offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&segment.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(&header[12..]);
    crc.finalize()
}

/// # Panics
/// Never with the fixed offsets above.
pub(super) fn u32_at(bytes: &[u8; 64], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8; 64], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

const _: () =
    assert!(SEGMENT_HEADER_BYTES.is_multiple_of(ALIGNMENT) && SEGMENT_HEADER_BYTES == RECORD_HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_torn_write_and_no_flipped_byte_makes_a_state_of_another() {
        let states = [State::Waiting, State::Acknowledged, State::GivenUp];
        for from in states {
            for to in states {
                // Any of the bytes may have been written, or not.
                for written in 0..15 {
                    let mut torn = from.to_bytes();
                    for (place, byte) in to.to_bytes().into_iter().enumerate() {
                        torn[place] = if written >> place & 1 == 1 {
                            byte
                        } else {
                            torn[place]
                        };
                    }
                    let state = State::from_bytes(torn);
                    assert!(
                        state == from || state == State::Waiting,
                        "{from:?} to {to:?}, {written:#b}"
                    );
                }
            }
            for place in 0..4 {
                for mask in 1..=255 {
                    let mut flipped = from.to_bytes();
                    flipped[place] ^= mask;
                    assert_eq!(State::from_bytes(flipped), State::Waiting);
                }
            }
        }
    }
}
