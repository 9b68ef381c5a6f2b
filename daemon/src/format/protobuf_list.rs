//! protobufList: the envelope's own bytes.

use crate::{
    envelope::Closed,
    record::{
        rows_of,
        wire::{SLACK_BYTES, Writer, varint_bytes},
    },
};

/// The delimited envelope, or several smaller ones with the same rows.
pub(super) fn messages(closed: &Closed<'_>, bytes_max: usize, out: &mut impl FnMut(u32, Vec<u8>)) {
    if closed.delimited.len() <= bytes_max {
        return out(closed.rows, closed.delimited.to_vec());
    }
    // Rows lie one behind the other with tag and length before each: any run of them is an
    // Envelope as it is, and only its length must be written anew.
    let (mut start, mut end, mut rows) = (0, 0, 0);
    for row in rows_of(closed.envelope).map_while(Result::ok) {
        let row_end = end + 1 + varint_bytes(row.len() as u64) + row.len();
        let bytes = row_end - start;
        if rows > 0 && varint_bytes(bytes as u64) + bytes > bytes_max {
            out(rows, delimited(&closed.envelope[start..end]));
            (start, rows) = (end, 0);
        }
        end = row_end;
        rows += 1;
    }
    if rows > 0 {
        out(rows, delimited(&closed.envelope[start..end]));
    }
}

fn delimited(envelope: &[u8]) -> Vec<u8> {
    let mut prefix = [0; 10 + SLACK_BYTES];
    let mut writer = Writer::new(&mut prefix);
    writer.varint(envelope.len() as u64);
    let prefix_bytes = writer.len();
    let mut message = Vec::with_capacity(prefix_bytes + envelope.len());
    message.extend_from_slice(&prefix[..prefix_bytes]);
    message.extend_from_slice(envelope);
    message
}
