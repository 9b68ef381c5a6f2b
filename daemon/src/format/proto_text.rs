//! protoText: the protobuf text format of the Envelope. Each row is a line `row { ... }`, so any
//! lines of a file together are an Envelope again.
//! <https://protobuf.dev/reference/protobuf/textformat-spec/>

use super::{formatter::RowWriter, json_mapping::put_integer};
use crate::record::{CONGESTION_ALGORITHMS, FIELDS, Row, Value};

#[derive(Debug)]
pub(super) struct ProtoText {
    /// ` tcp_info_rtt: ` for each field, by its index.
    keys: Vec<String>,
}

impl ProtoText {
    pub fn new() -> ProtoText {
        ProtoText {
            keys: FIELDS.iter().map(|field| format!(" {}: ", field.name)).collect(),
        }
    }
}

impl RowWriter for ProtoText {
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"row {");
        for (index, key) in self.keys.iter().enumerate() {
            let Some(value) = row.on_wire(index) else { continue };
            out.extend_from_slice(key.as_bytes());
            put_value(out, value);
        }
        out.extend_from_slice(b" }\n");
    }
}

fn put_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Uint(number) => put_integer(out, number),
        Value::Int(number) => put_integer(out, number),
        // UTF-8 may stand in a string as it is; bytes need not be UTF-8.
        Value::Text(text) => put_literal(out, text.as_bytes(), true),
        Value::Bytes(bytes) => put_literal(out, bytes, false),
        Value::Congestion(number) => match CONGESTION_ALGORITHMS.iter().find(|known| known.0 == number) {
            Some((_, name, _)) => out.extend_from_slice(name.as_bytes()),
            None => put_integer(out, number),
        },
    }
}

fn put_literal(out: &mut Vec<u8>, bytes: &[u8], keep_high: bool) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            0x80.. if keep_high => out.push(byte),
            // Always three octal digits: with fewer, a digit that follows would be taken in.
            _ => out.extend_from_slice(&[
                b'\\',
                b'0' + (byte >> 6),
                b'0' + (byte >> 3 & 7),
                b'0' + (byte & 7),
            ]),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: Value<'_>) -> String {
        let mut out = Vec::new();
        put_value(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn literals_are_one_line_of_text() {
        assert_eq!(
            put(Value::Text("a\"\\\n\r\t\u{1}7ü\u{7f}")),
            r#""a\"\\\n\r\t\0017ü\177""#
        );
        assert_eq!(
            put(Value::Bytes(&[0, b'7', 10, 255, b'z', 0xc3])),
            r#""\0007\n\377z\303""#
        );
    }

    #[test]
    fn an_enum_is_its_name_where_it_has_one() {
        assert_eq!(put(Value::Congestion(5)), "CONGESTION_ALGORITHM_BBR1");
        assert_eq!(put(Value::Congestion(99)), "99");
    }
}
