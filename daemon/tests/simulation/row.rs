//! What is looked at in a row, read off the wire here: the daemon's own reader would not see its mistakes.

use xtcp2::record::{
    rows_of,
    wire::{LENGTH_DELIMITED, VARINT, read_varint},
};

/// A row, as far as invariants speak of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub timestamp_ns: u64,
    pub inode: u64,
    pub record_counter: u64,
    pub instance_id: u64,
    pub poll_sequence: u64,
    pub netns: u64,
    pub state: u64,
    pub cookie: u64,
}

impl Row {
    fn decode(mut bytes: &[u8]) -> Option<Row> {
        let mut row = Row::default();
        while !bytes.is_empty() {
            let (tag, rest) = read_varint(bytes)?;
            let (value, rest) = read_varint(rest)?;
            bytes = match u32::try_from(tag & 7).ok()? {
                VARINT => rest,
                LENGTH_DELIMITED => rest.get(usize::try_from(value).ok()?..)?,
                _ => return None,
            };
            let field = match tag >> 3 {
                10 => &mut row.timestamp_ns,
                31 => &mut row.inode,
                60 => &mut row.record_counter,
                70 => &mut row.instance_id,
                71 => &mut row.poll_sequence,
                73 => &mut row.netns,
                1002 => &mut row.state,
                1010 => &mut row.cookie,
                _ => continue,
            };
            *field = value;
        }
        Some(row)
    }
}

/// The rows of a message; `None` when it is none.
pub fn rows(message: &[u8]) -> Option<Vec<Row>> {
    let mut envelope = message;
    let length = prost::decode_length_delimiter(&mut envelope).ok()?;
    if length != envelope.len() {
        return None;
    }
    rows_of(envelope).map(|row| Row::decode(row.ok()?)).collect()
}
