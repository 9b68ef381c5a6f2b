//! JSON Schema of one row in the proto3 JSON mapping.

use super::proto::comment;
use crate::record::{CONGESTION_ALGORITHMS, FIELDS, Kind};
use std::fmt::Write;

/// Fields that no row is without: what is zero is omitted, and these never are.
const REQUIRED: [u32; 7] = [1, 10, 60, 70, 71, 1007, 1008];

/// Draft 2020-12. Other properties are let through: later versions of the format add fields.
pub(super) fn text() -> String {
    let mut out = String::from(
        r##"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "XtcpFlatRecord",
  "description": "One TCP socket at one time: a line of `--marshal jsonl`, the proto3 JSON mapping of xtcp_flat_record.v1.XtcpFlatRecord. Zeros and empty strings are omitted. Made from the daemon's field table by `xtcp2 schema json`: do not edit.",
  "type": "object",
  "$defs": {
    "uint32": {"type": "integer", "minimum": 0, "maximum": 4294967295},
    "uint64": {"type": "string", "pattern": "^[0-9]{1,20}$"},
    "int64": {"type": "string", "pattern": "^-?[0-9]{1,19}$"},
    "address": {"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]{22}==$"},
"##,
    );
    let names: Vec<String> = CONGESTION_ALGORITHMS
        .iter()
        .map(|(_, name, _)| quoted(name))
        .collect();
    // A value newer than the reader's schema comes as its number.
    let _ = writeln!(
        out,
        "    \"CongestionAlgorithm\": {{\"anyOf\": [{{\"enum\": [{}]}}, {{\"type\": \"integer\"}}]}}\n  }},",
        names.join(", ")
    );
    let required: Vec<String> = FIELDS
        .iter()
        .filter(|field| REQUIRED.contains(&field.number))
        .map(|field| quoted(&field.json_name()))
        .collect();
    let _ = writeln!(out, "  \"required\": [{}],", required.join(", "));
    let properties: Vec<String> = FIELDS
        .iter()
        .map(|field| {
            format!(
                "    {}: {{{}, \"description\": {}}}",
                quoted(&field.json_name()),
                type_of(field.kind),
                quoted(&comment(field))
            )
        })
        .collect();
    let _ = writeln!(out, "  \"properties\": {{\n{}\n  }}\n}}", properties.join(",\n"));
    out
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Uint32 => r##""$ref": "#/$defs/uint32""##,
        Kind::Uint64 => r##""$ref": "#/$defs/uint64""##,
        Kind::Int64 => r##""$ref": "#/$defs/int64""##,
        Kind::String => r#""type": "string""#,
        Kind::Bytes => r##""$ref": "#/$defs/address""##,
        Kind::Congestion => r##""$ref": "#/$defs/CongestionAlgorithm""##,
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_with_a_property_for_every_field() {
        let schema: serde_json::Value = serde_json::from_str(&text()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), FIELDS.len());
        assert_eq!(
            properties["tcpInfoPacingRate"]["$ref"], "#/$defs/uint64",
            "64 bits are a string in the proto3 JSON mapping"
        );
        assert_eq!(schema["required"].as_array().unwrap().len(), REQUIRED.len());
    }
}
