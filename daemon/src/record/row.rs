//! Reads encoded rows back, for the text formats: the same field table, the other way.

use super::{
    ENVELOPE_ROW, FIELD_COUNT, FIELDS, Field, Kind, Source, index_of,
    wire::{LENGTH_DELIMITED, VARINT, read_varint},
};
use std::fmt;

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `uint32`, `uint64`
    Uint(u64),
    /// `int64`
    Int(i64),
    /// `string`
    Text(&'a str),
    /// `bytes`
    Bytes(&'a [u8]),
    /// A number of [`super::CONGESTION_ALGORITHMS`], or a newer one
    Congestion(u32),
}

/// Bytes that are no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedRow;

impl fmt::Display for MalformedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("row: expected protobuf fields, got bytes that are cut off or of another wire type")
    }
}

impl std::error::Error for MalformedRow {}

/// A decoded row; borrows the encoded one.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    values: [Option<Value<'a>>; FIELD_COUNT],
    attributes: u64,
    tcp_info_length_bytes: u64,
}

fn index(number: u32) -> usize {
    index_of(number).unwrap_or(FIELD_COUNT)
}

impl<'a> Row<'a> {
    /// Decodes a row. Unknown fields are passed over, as protobuf readers do.
    ///
    /// # Errors
    /// When the bytes are not a protobuf message or a field has another type than the table says.
    pub fn decode(mut bytes: &'a [u8]) -> Result<Row<'a>, MalformedRow> {
        let mut values = [None; FIELD_COUNT];
        while !bytes.is_empty() {
            let (tag, rest) = read_varint(bytes).ok_or(MalformedRow)?;
            let field = u32::try_from(tag >> 3).map_err(|_| MalformedRow)?;
            let wire_type = (tag & 7) as u32;
            let (raw, text, rest) = match wire_type {
                VARINT => {
                    let (raw, rest) = read_varint(rest).ok_or(MalformedRow)?;
                    (raw, &[][..], rest)
                }
                LENGTH_DELIMITED => {
                    let (length, rest) = read_varint(rest).ok_or(MalformedRow)?;
                    let length = usize::try_from(length).map_err(|_| MalformedRow)?;
                    let (text, rest) = rest.split_at_checked(length).ok_or(MalformedRow)?;
                    (0, text, rest)
                }
                _ => return Err(MalformedRow),
            };
            if let Some(index) = index_of(field) {
                let value = match (FIELDS[index].kind, wire_type) {
                    (Kind::Uint32 | Kind::Uint64, VARINT) => Value::Uint(raw),
                    (Kind::Int64, VARINT) => Value::Int(raw.cast_signed()),
                    (Kind::Congestion, VARINT) => {
                        Value::Congestion(u32::try_from(raw).map_err(|_| MalformedRow)?)
                    }
                    (Kind::String, LENGTH_DELIMITED) => {
                        Value::Text(std::str::from_utf8(text).map_err(|_| MalformedRow)?)
                    }
                    (Kind::Bytes, LENGTH_DELIMITED) => Value::Bytes(text),
                    _ => return Err(MalformedRow),
                };
                values[index] = Some(value);
            }
            bytes = rest;
        }
        let mut row = Row {
            values,
            attributes: 0,
            tcp_info_length_bytes: 0,
        };
        row.attributes = row.uint(74);
        row.tcp_info_length_bytes = row.uint(75);
        Ok(row)
    }

    /// The value on the wire, by index into [`FIELDS`]; `None` when it is unset, which proto3 does
    /// not tell from zero: [`Row::get`] does.
    pub fn on_wire(&self, index: usize) -> Option<Value<'a>> {
        self.values.get(index).copied().flatten()
    }

    /// The value of a field by index into [`FIELDS`]: zero where the kernel said zero, `None`
    /// where it said nothing.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        let field = FIELDS.get(index)?;
        self.on_wire(index)
            .or_else(|| self.is_present(field).then_some(zero(field.kind)))
    }

    /// A number by field number; 0 when it is absent or no number.
    pub fn uint(&self, number: u32) -> u64 {
        match self.on_wire(index(number)) {
            Some(Value::Uint(value)) => value,
            _ => 0,
        }
    }

    fn is_present(&self, field: &Field) -> bool {
        match field.source {
            Source::Message => true,
            Source::Daemon | Source::Unset => false,
            // A name that is empty is no name, and what is nested may be there or not.
            Source::Nested { .. } => false,
            Source::Attribute { number, end } => {
                let there = self.attributes >> number & 1 == 1;
                let long_enough = number != crate::netlink::inet_diag::attribute::INFO
                    || u64::from(end) <= self.tcp_info_length_bytes;
                there && long_enough
            }
        }
    }
}

const fn zero(kind: Kind) -> Value<'static> {
    match kind {
        Kind::Uint32 | Kind::Uint64 => Value::Uint(0),
        Kind::Int64 => Value::Int(0),
        Kind::String => Value::Text(""),
        Kind::Bytes => Value::Bytes(&[]),
        Kind::Congestion => Value::Congestion(0),
    }
}

/// The encoded rows of an Envelope (without its length prefix), in order. Ends at the first that
/// is malformed, which comes as an error.
pub fn rows_of(envelope: &[u8]) -> impl Iterator<Item = Result<&[u8], MalformedRow>> {
    let mut rest = envelope;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let row = || {
            let (tag, bytes) = read_varint(rest)?;
            let (length, bytes) = read_varint(bytes)?;
            if tag != u64::from(ENVELOPE_ROW << 3 | LENGTH_DELIMITED) {
                return None;
            }
            bytes.split_at_checked(usize::try_from(length).ok()?)
        };
        match row() {
            Some((row, behind)) => {
                rest = behind;
                Some(Ok(row))
            }
            None => {
                rest = &[];
                Some(Err(MalformedRow))
            }
        }
    })
}
