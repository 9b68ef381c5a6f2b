//! Turns closed envelopes into messages of the chosen format.

use super::{
    Format, csv, json::Json, jsonl::Jsonl, msgpack::Msgpack, proto_json::ProtoJson, proto_text::ProtoText,
    protobuf_list, table, tsv,
};
use crate::{
    envelope::Closed,
    record::{Row, rows_of},
};
use std::{fmt, mem};

/// Puts the rows of one format.
pub(super) trait RowWriter: fmt::Debug {
    /// Appends a row. Allocates nothing but room in `out`.
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>);

    /// What stands around the rows of a message.
    fn frame(&self) -> Frame {
        Frame::default()
    }

    /// What stands once at the start of a stream.
    fn preamble(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// What stands before, between and behind the rows of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frame {
    pub open: &'static [u8],
    pub between: &'static [u8],
    pub close: &'static [u8],
}

/// Writes closed envelopes as messages of one format.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    /// `None` for protobufList, whose rows are written already.
    writer: Option<Box<dyn RowWriter>>,
    /// Of the envelope before: how much room the next one is given at once.
    bytes_per_row: usize,
    malformed_rows: u64,
}

impl Formatter {
    /// A formatter. `columns` are the columns of csv and tsv in their order, by lowerCamelCase or
    /// protobuf name; none means all.
    ///
    /// # Errors
    /// When a column is no field or is named twice, in whichever format: one line with what was
    /// expected and what came.
    pub fn new(format: Format, columns: &[String]) -> Result<Formatter, String> {
        let columns = table::columns(columns)?;
        let writer: Option<Box<dyn RowWriter>> = match format {
            Format::ProtobufList => None,
            Format::ProtoJson => Some(Box::new(ProtoJson::new())),
            Format::Jsonl => Some(Box::new(Jsonl::new())),
            Format::Json => Some(Box::new(Json::new())),
            Format::Csv => Some(Box::new(csv::table(columns))),
            Format::Tsv => Some(Box::new(tsv::table(columns))),
            Format::ProtoText => Some(Box::new(ProtoText::new())),
            Format::Msgpack => Some(Box::new(Msgpack::new())),
        };
        Ok(Formatter {
            format,
            writer,
            bytes_per_row: 0,
            malformed_rows: 0,
        })
    }

    /// The media type of a message.
    pub fn content_type(&self) -> &'static str {
        match self.format {
            Format::ProtobufList | Format::Msgpack => "application/octet-stream",
            Format::ProtoJson => "application/json",
            Format::Jsonl | Format::Json => "application/x-ndjson",
            Format::Csv => "text/csv",
            Format::Tsv => "text/tab-separated-values",
            Format::ProtoText => "text/plain; charset=utf-8",
        }
    }

    /// What a stream begins with: the header line of csv and tsv, else nothing.
    pub fn preamble(&self) -> Vec<u8> {
        self.writer
            .as_ref()
            .map_or_else(Vec::new, |writer| writer.preamble())
    }

    /// Rows left out because their bytes were no row; a bug if ever not 0.
    pub fn malformed_rows(&self) -> u64 {
        self.malformed_rows
    }

    /// Gives `out` the envelope as one message and the number of its rows; as several, split
    /// between rows and each valid by itself, where one would be longer than `message_bytes_max`.
    /// A row that is longer alone comes alone: whoever sends it has to refuse it.
    pub fn messages(
        &mut self,
        closed: &Closed<'_>,
        message_bytes_max: usize,
        out: &mut impl FnMut(u32, Vec<u8>),
    ) {
        let mut rows_out = 0;
        let mut bytes_out = 0;
        let mut count = |rows, message: Vec<u8>| {
            rows_out += rows;
            bytes_out += message.len();
            out(rows, message);
        };
        match &self.writer {
            None => protobuf_list::messages(closed, message_bytes_max, &mut count),
            Some(writer) => {
                let guess = self.bytes_per_row.saturating_mul(closed.rows as usize);
                write_rows(&**writer, closed, message_bytes_max, guess, &mut count);
            }
        }
        self.malformed_rows += u64::from(closed.rows.saturating_sub(rows_out));
        // An eighth more than the mean: counters grow, and a buffer that is just too small is
        // copied once more.
        let mean = bytes_out / (rows_out as usize).max(1);
        self.bytes_per_row = mean + mean / 8;
    }
}

fn write_rows(
    writer: &dyn RowWriter,
    closed: &Closed<'_>,
    bytes_max: usize,
    bytes_guess: usize,
    out: &mut impl FnMut(u32, Vec<u8>),
) {
    let frame = writer.frame();
    let begin = || {
        let mut message = Vec::with_capacity(bytes_guess.min(bytes_max));
        message.extend_from_slice(frame.open);
        message
    };
    let mut message = begin();
    let mut rows = 0;
    let well_formed = rows_of(closed.envelope)
        .map_while(Result::ok)
        .filter_map(|bytes| Row::decode(bytes).ok());
    for row in well_formed {
        let end_before = message.len();
        if rows > 0 {
            message.extend_from_slice(frame.between);
        }
        let start = message.len();
        writer.row(&row, &mut message);
        if rows > 0 && message.len() + frame.close.len() > bytes_max {
            let mut next = begin();
            next.extend_from_slice(&message[start..]);
            message.truncate(end_before);
            message.extend_from_slice(frame.close);
            out(rows, mem::replace(&mut message, next));
            rows = 0;
        }
        rows += 1;
    }
    if rows > 0 {
        message.extend_from_slice(frame.close);
        out(rows, message);
    }
}
