//! Rows to one message: a protobuf Envelope, its size known to the byte at any time.

use crate::record::{
    ENVELOPE_ROW, ROW_BYTES_MAX,
    wire::{LENGTH_DELIMITED, SLACK_BYTES, Writer, varint_bytes},
};

/// Room before the first row for the length prefix: the longest varint.
const PREFIX_BYTES_MAX: usize = 10;
/// Room before a row for its tag and length.
const ROW_LEAD_BYTES: usize = 1 + varint_bytes(ROW_BYTES_MAX as u64);
#[expect(clippy::cast_possible_truncation, reason = "asserted below")]
const ROW_TAG: u8 = (ENVELOPE_ROW << 3 | LENGTH_DELIMITED) as u8;

const _: () = assert!(ENVELOPE_ROW < 16, "the tag is one byte");

/// A closed envelope, borrowed until the next row.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    /// The varint of the Envelope's length, then the Envelope: what ClickHouse calls ProtobufList.
    pub delimited: &'a [u8],
    /// The Envelope alone.
    pub envelope: &'a [u8],
    /// Rows in it, at least one.
    pub rows: u32,
}

/// An envelope under construction. Its buffer is born once, large enough for the bytes allowed
/// and one row more.
#[derive(Debug)]
pub struct Envelope {
    buffer: Vec<u8>,
    /// Bytes of the Envelope so far: exact, kept up to date row by row.
    bytes: usize,
    rows: u32,
    rows_max: u32,
    bytes_max: usize,
}

impl Envelope {
    /// An empty one that closes at `rows_max` rows, and before it would grow over `bytes_max`
    /// bytes, length prefix included. A single row that is longer is a message of its own.
    pub fn new(rows_max: u32, bytes_max: usize) -> Envelope {
        let room = bytes_max.max(ROW_BYTES_MAX) + ROW_LEAD_BYTES + ROW_BYTES_MAX + SLACK_BYTES;
        Envelope {
            buffer: vec![0; PREFIX_BYTES_MAX + room],
            bytes: 0,
            rows: 0,
            rows_max: rows_max.max(1),
            bytes_max,
        }
    }

    /// Bytes so far, without the length prefix.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows so far.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Where the next row is to be encoded: at least [`ROW_BYTES_MAX`] bytes.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[PREFIX_BYTES_MAX + self.bytes + ROW_LEAD_BYTES..]
    }

    /// Takes in the row that was encoded into [`Envelope::room`]. `close` gets the envelope that
    /// this row fills, or the one that it no longer fits into.
    pub fn push(&mut self, row_bytes: usize, close: &mut impl FnMut(Closed<'_>)) {
        let framed = 1 + varint_bytes(row_bytes as u64) + row_bytes;
        let encoded = PREFIX_BYTES_MAX + self.bytes + ROW_LEAD_BYTES;
        let grown = self.bytes + framed;
        if self.rows > 0 && grown + varint_bytes(grown as u64) > self.bytes_max {
            self.close(close);
        }
        let start = PREFIX_BYTES_MAX + self.bytes;
        // Only a short row, whose length takes fewer bytes than were left for it, moves.
        let row = start + framed - row_bytes;
        if row != encoded {
            self.buffer.copy_within(encoded..encoded + row_bytes, row);
        }
        self.buffer[start] = ROW_TAG;
        put_varint(&mut self.buffer[start + 1..start + framed - row_bytes], row_bytes);
        self.bytes += framed;
        self.rows += 1;
        if self.rows == self.rows_max || self.bytes >= self.bytes_max {
            self.close(close);
        }
    }

    /// Closes the envelope, if there is a row in it, and starts an empty one.
    pub fn close(&mut self, close: &mut impl FnMut(Closed<'_>)) {
        if self.rows == 0 {
            return;
        }
        let start = PREFIX_BYTES_MAX - varint_bytes(self.bytes as u64);
        put_varint(&mut self.buffer[start..PREFIX_BYTES_MAX], self.bytes);
        let end = PREFIX_BYTES_MAX + self.bytes;
        close(Closed {
            delimited: &self.buffer[start..end],
            envelope: &self.buffer[PREFIX_BYTES_MAX..end],
            rows: self.rows,
        });
        self.bytes = 0;
        self.rows = 0;
    }
}

/// Writes the varint of `value` into a slice of just its length.
fn put_varint(slot: &mut [u8], value: usize) {
    // A store may touch eight bytes, of which the slot has as few as one.
    let mut scratch = [0; PREFIX_BYTES_MAX + SLACK_BYTES];
    let mut writer = Writer::new(&mut scratch);
    writer.varint(value as u64);
    slot.copy_from_slice(&scratch[..slot.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{rows_of, wire::read_varint};

    /// Pushes rows of the lengths given and returns what was closed: (rows, delimited bytes).
    fn closed(rows_max: u32, bytes_max: usize, lengths: &[usize]) -> Vec<(u32, Vec<u8>)> {
        let mut all = Vec::new();
        let mut envelope = Envelope::new(rows_max, bytes_max);
        for (i, &length) in lengths.iter().enumerate() {
            envelope.room()[..length].fill(u8::try_from(i % 251).unwrap());
            envelope.push(length, &mut |closed| {
                all.push((closed.rows, closed.delimited.to_vec()))
            });
        }
        envelope.close(&mut |closed| all.push((closed.rows, closed.delimited.to_vec())));
        all
    }

    #[test]
    fn rows_of_every_length_come_back_whole_and_in_order() {
        let lengths: Vec<usize> = (0..400)
            .chain([16_383.min(ROW_BYTES_MAX), ROW_BYTES_MAX])
            .collect();
        for (rows_max, bytes_max) in [(1, 1 << 20), (7, 1 << 20), (10_000, 1000), (10_000, 1 << 20)] {
            let mut next = 0;
            for (rows, delimited) in closed(rows_max, bytes_max, &lengths) {
                let (length, envelope) = read_varint(&delimited).unwrap();
                assert_eq!(length, envelope.len() as u64, "the prefix is exact");
                assert!(rows <= rows_max && (rows == 1 || delimited.len() <= bytes_max));
                for row in rows_of(envelope) {
                    let row = row.unwrap();
                    assert_eq!(row.len(), lengths[next]);
                    assert!(row.iter().all(|&b| usize::from(b) == next % 251));
                    next += 1;
                }
            }
            assert_eq!(next, lengths.len());
        }
    }

    #[test]
    fn an_envelope_without_rows_is_never_closed() {
        assert!(closed(10, 1000, &[]).is_empty());
        assert_eq!(
            closed(1, 1000, &[5]).len(),
            1,
            "closed by the row, not once more at the end"
        );
    }
}
