//! Protobuf, the little of it that a row needs: tags, varints, length-delimited values.

/// Wire type of integers.
pub const VARINT: u32 = 0;
/// Wire type of strings, bytes and messages.
pub const LENGTH_DELIMITED: u32 = 2;

/// Length of a varint, 1 to 10 bytes.
#[inline]
pub const fn varint_bytes(value: u64) -> usize {
    // Seven bits a byte, and at least one byte: (bits + 6) / 7 without a division.
    (((64 - (value | 1).leading_zeros() as usize) * 9) + 64) / 64
}

/// The varint of a 32-bit value as the low bytes of a word, and their number (1 to 5). Spreads
/// the bits without a loop: a value's length is unpredictable, and a loop would mispredict.
#[inline(always)]
const fn varint_word(value: u32) -> (u64, usize) {
    let v = value as u64;
    let spread = v & 0x7f
        | (v & 0x7f << 7) << 1
        | (v & 0x7f << 14) << 2
        | (v & 0x7f << 21) << 3
        | (v & 0xf << 28) << 4;
    let length = varint_bytes(v);
    let continued = 0x80_8080_8080 & ((1 << (8 * (length - 1))) - 1);
    (spread | continued, length)
}

/// The varint of a value of more than 32 bits: its first eight bytes, and the one or two behind.
#[inline(always)]
const fn long_varint(value: u64, length: usize) -> (u64, u64) {
    // Seven bits to eight, by halves: 28 of 56 bits move, then 14 of each 28, then 7 of each 14.
    let v = value & 0x0fff_ffff | (value & 0xff_ffff_f000_0000) << 4;
    let v = v & 0x0000_3fff_0000_3fff | (v & 0x0fff_c000_0fff_c000) << 2;
    let v = v & 0x007f_007f_007f_007f | (v & 0x3f80_3f80_3f80_3f80) << 1;
    let continued = 0x8080_8080_8080_8080;
    if length > 8 {
        let behind = value >> 56;
        (
            v | continued,
            behind & 0x7f | (behind & 0x80) << 1 | ((length == 10) as u64) << 7,
        )
    } else {
        (v | continued & ((1 << (8 * (length - 1))) - 1), 0)
    }
}

/// The tag of a field as the low bytes of a word, and their number (1 to 3).
const fn tag_word(number: u32, wire_type: u32) -> (u64, usize) {
    let (word, length) = varint_word(number << 3 | wire_type);
    assert!(
        length <= 3,
        "three bytes of tag and five of value must fit the word that is stored"
    );
    (word, length)
}

/// Bytes behind a row that a store may touch.
pub const SLACK_BYTES: usize = 8;

/// Writes a row into a buffer that is large enough for any row ([`super::ROW_BYTES_MAX`]).
///
/// Zero and empty values are not written, as proto3 has it. A value that does not fit is left
/// out and remembered in [`Writer::overflowed`]: the bound makes that a bug, not a panic.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
    overflowed: bool,
}

impl<'a> Writer<'a> {
    /// Starts at the front of the buffer.
    #[inline]
    pub fn new(buffer: &'a mut [u8]) -> Writer<'a> {
        Writer {
            buffer,
            at: 0,
            overflowed: false,
        }
    }

    /// Bytes written.
    #[inline]
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// Whether something did not fit.
    #[inline]
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Stores up to eight bytes at once; only the first `length` count, the rest is overwritten
    /// by what follows.
    #[inline(always)]
    fn word(&mut self, word: u64, length: usize) {
        match self.buffer.get_mut(self.at..self.at + 8) {
            Some(slot) => {
                slot.copy_from_slice(&word.to_le_bytes());
                self.at += length;
            }
            None => self.overflowed = true,
        }
    }

    /// A `uint32` or enum field.
    #[inline(always)]
    pub fn uint32<const NUMBER: u32>(&mut self, value: u32) {
        let (tag, tag_bytes) = const { tag_word(NUMBER, VARINT) };
        if value == 0 {
            return;
        }
        if value < 0x80 {
            self.word(tag | (value as u64) << (8 * tag_bytes), tag_bytes + 1);
        } else {
            let (varint, length) = varint_word(value);
            self.word(tag | varint << (8 * tag_bytes), tag_bytes + length);
        }
    }

    /// A `uint64` or `int64` field.
    #[inline(always)]
    pub fn uint64<const NUMBER: u32>(&mut self, value: u64) {
        match u32::try_from(value) {
            Ok(small) => self.uint32::<NUMBER>(small),
            Err(_) => {
                let (tag, tag_bytes) = const { tag_word(NUMBER, VARINT) };
                self.word(tag, tag_bytes);
                let length = varint_bytes(value);
                let (low, high) = long_varint(value, length);
                self.word(low, length.min(8));
                if length > 8 {
                    self.word(high, length - 8);
                }
            }
        }
    }

    /// A `string` or `bytes` field.
    #[inline(always)]
    pub fn bytes<const NUMBER: u32>(&mut self, value: &[u8]) {
        if !value.is_empty() {
            let (tag, tag_bytes) = const { tag_word(NUMBER, LENGTH_DELIMITED) };
            self.word(tag, tag_bytes);
            self.varint(value.len() as u64);
            self.raw(value);
        }
    }

    /// An address: always sixteen bytes, and written even when they are zero bytes.
    #[inline(always)]
    pub fn address<const NUMBER: u32>(&mut self, value: &[u8; 16]) {
        let (tag, tag_bytes) = const { tag_word(NUMBER, LENGTH_DELIMITED) };
        self.word(tag | 16 << (8 * tag_bytes), tag_bytes + 1);
        self.raw(value);
    }

    /// Bytes that are encoded already.
    #[inline(always)]
    pub fn raw(&mut self, encoded: &[u8]) {
        match self.buffer.get_mut(self.at..self.at + encoded.len()) {
            Some(slot) => {
                slot.copy_from_slice(encoded);
                self.at += encoded.len();
            }
            None => self.overflowed = true,
        }
    }

    /// A bare varint.
    #[inline]
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.word(value & 0x7f | 0x80, 1);
            value >>= 7;
        }
        self.word(value, 1);
    }
}

/// Reads one varint; the value and the bytes behind it. `None` when it is cut off or longer than
/// ten bytes.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for bits in 0..=64 {
            for value in [
                if bits == 64 { u64::MAX } else { (1 << bits) - 1 },
                1u64.checked_shl(bits).unwrap_or(0),
            ] {
                let mut buffer = [0xaa; 32];
                let mut writer = Writer::new(&mut buffer);
                writer.varint(value);
                let length = writer.len();
                assert_eq!(length, varint_bytes(value), "{value:#x}");
                assert_eq!(read_varint(&buffer[..length]), Some((value, &[][..])));
                let mut field = [0xaa; 32];
                let mut writer = Writer::new(&mut field);
                writer.uint64::<1>(value);
                let written = writer.len();
                match value {
                    0 => assert_eq!(written, 0, "zero is not written"),
                    _ => assert_eq!(
                        (field[0], &field[1..written]),
                        (8, &buffer[..length]),
                        "{value:#x}"
                    ),
                }
                if let Ok(small) = u32::try_from(value) {
                    let (word, word_length) = varint_word(small);
                    assert_eq!(
                        &word.to_le_bytes()[..word_length],
                        &buffer[..length],
                        "{value:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_cut_or_endless_varint_is_refused() {
        assert_eq!(read_varint(&[0x80]), None);
        assert_eq!(read_varint(&[0xff; 12]), None);
        assert_eq!(read_varint(&[]), None);
    }

    #[test]
    fn a_value_that_does_not_fit_is_remembered() {
        let mut buffer = [0; 9];
        let mut writer = Writer::new(&mut buffer);
        writer.uint32::<1>(5);
        assert!(!writer.overflowed());
        writer.uint32::<1300>(u32::MAX);
        assert!(writer.overflowed());
        assert_eq!(writer.len(), 2);
    }
}
