//! msgpack: one MessagePack map a row, one behind the other; each tells its own length, so a
//! reader needs no more between them. Fields that are set, by lowerCamelCase name; integers as
//! integers, addresses as binary, the congestion control as its number.
//! <https://github.com/msgpack/msgpack/blob/master/spec.md>

use super::formatter::RowWriter;
use crate::record::{FIELD_COUNT, FIELDS, Row, Value};

const _: () = assert!(FIELD_COUNT <= 0xffff, "map 16 counts with 16 bits");

#[derive(Debug)]
pub(super) struct Msgpack {
    /// The name of each field, encoded, by its index.
    keys: Vec<Vec<u8>>,
}

impl Msgpack {
    pub fn new() -> Msgpack {
        let key = |name: String| {
            let mut key = Vec::new();
            put_text(&mut key, &name);
            key
        };
        Msgpack {
            keys: FIELDS.iter().map(|field| key(field.json_name())).collect(),
        }
    }
}

impl RowWriter for Msgpack {
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        let count_at = out.len() + 1;
        out.extend_from_slice(&[0xde, 0, 0]);
        let mut count: u16 = 0;
        for (index, key) in self.keys.iter().enumerate() {
            let Some(value) = row.on_wire(index) else { continue };
            count += 1;
            out.extend_from_slice(key);
            match value {
                Value::Uint(number) => put_unsigned(out, number),
                Value::Int(number) => match u64::try_from(number) {
                    Ok(number) => put_unsigned(out, number),
                    Err(_) => put(out, 0xd3, &number.to_be_bytes()),
                },
                Value::Text(text) => put_text(out, text),
                Value::Bytes(bytes) => put_length(out, [0xc4, 0xc5, 0xc6], bytes),
                Value::Congestion(number) => put_unsigned(out, number.into()),
            }
        }
        out[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
    }
}

fn put(out: &mut Vec<u8>, marker: u8, bytes: &[u8]) {
    out.push(marker);
    out.extend_from_slice(bytes);
}

/// In the shortest form, as the specification asks.
fn put_unsigned(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    match number {
        0..=0x7f => out.push(bytes[7]),
        0x80..=0xff => put(out, 0xcc, &bytes[7..]),
        0x100..=0xffff => put(out, 0xcd, &bytes[6..]),
        0x1_0000..=0xffff_ffff => put(out, 0xce, &bytes[4..]),
        _ => put(out, 0xcf, &bytes),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ 0..=31) => put(out, 0xa0 | length, text.as_bytes()),
        _ => put_length(out, [0xd9, 0xda, 0xdb], text.as_bytes()),
    }
}

/// Bytes behind their length, which has 8, 16 or 32 bits: one marker for each.
fn put_length(out: &mut Vec<u8>, markers: [u8; 3], bytes: &[u8]) {
    let length = (bytes.len() as u64).to_be_bytes();
    match bytes.len() {
        0..=0xff => put(out, markers[0], &length[7..]),
        0x100..=0xffff => put(out, markers[1], &length[6..]),
        _ => put(out, markers[2], &length[4..]),
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> rmpv::Value {
        let mut rest = bytes;
        let value = rmpv::decode::read_value(&mut rest).unwrap();
        assert!(rest.is_empty(), "left behind {value}: {rest:?}");
        value
    }

    #[test]
    fn integers_come_back_in_their_shortest_form() {
        for (number, length) in [
            (0, 1),
            (0x7f, 1),
            (0x80, 2),
            (0xff, 2),
            (0x100, 3),
            (0xffff, 3),
            (0x1_0000, 5),
            (u32::MAX.into(), 5),
            (1 << 32, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            put_unsigned(&mut out, number);
            assert_eq!(out.len(), length, "{number:#x}");
            assert_eq!(read(&out), rmpv::Value::from(number));
        }
    }

    #[test]
    fn texts_and_bytes_of_every_length_class_come_back() {
        for length in [0, 1, 31, 32, 255, 256, 4096, 65_535, 65_536] {
            let text = "x".repeat(length);
            let (mut as_text, mut as_bytes) = (Vec::new(), Vec::new());
            put_text(&mut as_text, &text);
            put_length(&mut as_bytes, [0xc4, 0xc5, 0xc6], text.as_bytes());
            assert_eq!(read(&as_text), rmpv::Value::from(text.as_str()));
            assert_eq!(read(&as_bytes), rmpv::Value::from(text.as_bytes()));
        }
    }
}
