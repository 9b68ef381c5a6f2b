//! How an envelope of rows is written: one file a format.
//!
//! protobufList hands out the envelope as it is. The others read its rows back through the field
//! table: a text format is paid for only by those who chose it, and no row is kept in two shapes.

mod csv;
mod formatter;
mod human;
mod json;
mod json_mapping;
mod jsonl;
mod msgpack;
mod proto_json;
mod proto_text;
mod protobuf_list;
mod table;
#[cfg(test)]
mod tests;
mod tsv;

pub use formatter::Formatter;

use std::{fmt, str::FromStr};

/// The formats of `--marshal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One varint-length-delimited protobuf Envelope a message.
    #[default]
    ProtobufList,
    /// One JSON object an envelope: the proto3 JSON mapping.
    ProtoJson,
    /// One JSON object a row and line: the proto3 JSON mapping.
    Jsonl,
    /// One JSON object a row and line, for people: addresses and states as text.
    Json,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// The protobuf text format, a row a line.
    ProtoText,
    /// MessagePack: one map a row.
    Msgpack,
}

impl Format {
    /// Each format and its name.
    pub const NAMES: [(&str, Format); 8] = [
        ("protobufList", Format::ProtobufList),
        ("protoJson", Format::ProtoJson),
        ("jsonl", Format::Jsonl),
        ("json", Format::Json),
        ("csv", Format::Csv),
        ("tsv", Format::Tsv),
        ("protoText", Format::ProtoText),
        ("msgpack", Format::Msgpack),
    ];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        Format::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, format)| *format)
            .ok_or_else(|| {
                let names: Vec<&str> = Format::NAMES.iter().map(|(name, _)| *name).collect();
                format!("expected one of {}, got {text:?}", names.join(" "))
            })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Format::NAMES.iter().find(|(_, format)| format == self) {
            Some((name, _)) => f.write_str(name),
            None => Ok(()),
        }
    }
}
