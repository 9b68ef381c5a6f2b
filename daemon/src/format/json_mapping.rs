//! The proto3 JSON mapping of a row, for protoJson and jsonl.
//! <https://protobuf.dev/programming-guides/json/>

use crate::record::{CONGESTION_ALGORITHMS, FIELDS, Field, Kind, Row, Value};
use base64::{Engine, engine::general_purpose::STANDARD};

/// Writes a row as one JSON object.
#[derive(Debug)]
pub(super) struct JsonMapping {
    keys: Vec<String>,
}

impl JsonMapping {
    pub fn new() -> JsonMapping {
        JsonMapping { keys: keys() }
    }

    /// Fields in the order of their numbers, unset ones left out.
    pub fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut is_first = true;
        for (index, key) in self.keys.iter().enumerate() {
            let Some(value) = row.on_wire(index) else { continue };
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(key.as_bytes());
            put_value(out, FIELDS[index].kind, value);
        }
        out.push(b'}');
    }
}

/// `"tcpInfoRtt":` for each field, by its index.
pub(super) fn keys() -> Vec<String> {
    let key = |field: &Field| format!("\"{}\":", field.json_name());
    FIELDS.iter().map(key).collect()
}

fn put_value(out: &mut Vec<u8>, kind: Kind, value: Value<'_>) {
    match value {
        // A reader that keeps numbers as floating point would round 64-bit ones.
        Value::Uint(number) if kind == Kind::Uint64 => put_quoted(out, number),
        Value::Int(number) => put_quoted(out, number),
        Value::Uint(number) => put_integer(out, number),
        Value::Text(text) => put_string(out, text),
        Value::Bytes(bytes) => put_base64(out, bytes),
        Value::Congestion(number) => match CONGESTION_ALGORITHMS.iter().find(|known| known.0 == number) {
            Some((_, name, _)) => put_string(out, name),
            None => put_integer(out, number),
        },
    }
}

pub(super) fn put_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_quoted(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.push(b'"');
    put_integer(out, number);
    out.push(b'"');
}

/// A JSON string, escaped.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    // Neither a Vec nor a str gives it anything to fail on.
    let _ = serde_json::to_writer(out, text);
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    // The room is exactly what padded base64 takes.
    let _ = STANDARD.encode_slice(bytes, &mut out[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(kind: Kind, value: Value<'_>) -> String {
        let mut out = Vec::new();
        put_value(&mut out, kind, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sixty_four_bits_are_strings() {
        assert_eq!(put(Kind::Uint32, Value::Uint(u32::MAX.into())), "4294967295");
        assert_eq!(
            put(Kind::Uint64, Value::Uint(u64::MAX)),
            "\"18446744073709551615\""
        );
        assert_eq!(put(Kind::Int64, Value::Int(i64::MIN)), "\"-9223372036854775808\"");
    }

    #[test]
    fn base64_is_padded() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(
                put(Kind::Bytes, Value::Bytes(bytes.as_bytes())),
                format!("\"{text}\"")
            );
        }
        assert_eq!(put(Kind::Bytes, Value::Bytes(&[0xfb, 0xff])), "\"+/8=\"");
    }

    #[test]
    fn an_enum_is_its_name_where_it_has_one() {
        assert_eq!(
            put(Kind::Congestion, Value::Congestion(1)),
            "\"CONGESTION_ALGORITHM_CUBIC\""
        );
        assert_eq!(put(Kind::Congestion, Value::Congestion(99)), "99");
    }
}
