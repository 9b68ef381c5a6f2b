//! Into ClickHouse: one message, one INSERT; and whose fault it is when that fails.

use super::{Options, envelope::Place};
use crate::clickhouse::{ClickHouse, Error, Table};
use std::time::Duration;

/// An INSERT takes longer only where something is broken. Three times it, to send, to wait, to read, is below
/// Kafka's max.poll.interval.ms (5 min): the group must not think that this consumer is gone.
const INSERT_TIMEOUT: Duration = Duration::from_secs(60);

/// Exceptions that are about the bytes of this one message, whatever the table; by their numbers in
/// ClickHouse's ErrorCodes. Every other one is about the table, the rights, the space, the load, the schema:
/// someone can mend it, and then the message goes in.
const ABOUT_THE_DATA: [u32; 18] = [
    6,   // CANNOT_PARSE_TEXT
    25,  // CANNOT_PARSE_ESCAPE_SEQUENCE
    26,  // CANNOT_PARSE_QUOTED_STRING
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    32,  // ATTEMPT_TO_READ_AFTER_EOF
    33,  // CANNOT_READ_ALL_DATA
    38,  // CANNOT_PARSE_DATE
    41,  // CANNOT_PARSE_DATETIME
    72,  // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA
    128, // TOO_LARGE_ARRAY_SIZE
    131, // TOO_LARGE_STRING_SIZE
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    376, // CANNOT_PARSE_UUID
    435, // NO_DATA_FOR_REQUIRED_PROTOBUF_FIELD
    436, // PROTOBUF_BAD_CAST
    441, // CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING
    444, // UNKNOWN_PROTOBUF_FORMAT: the bytes are no message
];

/// In the text of an exception that a view threw, whatever its number: the table has the rows, and a repeat
/// fills the view once it is mended.
const OF_A_VIEW: &str = "pushing to view";

/// Whether the message itself is to blame.
fn is_about_the_data(error: &Error) -> bool {
    match error {
        Error::Away(_) | Error::Stranger(_) => false,
        Error::Refused { code, text, .. } => {
            code.is_some_and(|code| ABOUT_THE_DATA.contains(&code)) && !text.contains(OF_A_VIEW)
        }
    }
}

/// What became of an INSERT.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored,
    /// The same again, later.
    Again(Error),
    /// It can never be stored.
    Poison(String),
}

/// The two tables.
#[derive(Debug)]
pub struct Sink {
    clickhouse: ClickHouse,
    insert: String,
    insert_dead_letter: String,
}

impl Sink {
    /// The tables of the options.
    pub fn new(options: &Options) -> Sink {
        let Options {
            table,
            dead_letters,
            headers,
            clickhouse_url,
            ..
        } = options;
        Sink {
            clickhouse: ClickHouse::new(clickhouse_url.clone(), headers.clone(), INSERT_TIMEOUT),
            insert: format!("INSERT INTO {table} FORMAT ProtobufList"),
            insert_dead_letter: dead_letter_query(dead_letters),
        }
    }

    /// Inserts the rows of a message.
    pub fn insert(&self, token: &str, payload: &[u8]) -> Outcome {
        let settings = [("format_schema", "XtcpFlatRecord:XtcpFlatRecord")];
        match self.clickhouse.insert(&self.insert, token, &settings, payload) {
            Ok(()) => Outcome::Stored,
            Err(error) if is_about_the_data(&error) => Outcome::Poison(error.to_string()),
            Err(error) => Outcome::Again(error),
        }
    }

    /// Inserts a message into the table of dead letters.
    pub fn insert_dead_letter(&self, place: &Place<'_>, key: &[u8], payload: &[u8], error: &str) -> Outcome {
        let body = encode_dead_letter(place, key, payload, error);
        let token = format!("dead-letter/{place}");
        match self
            .clickhouse
            .insert(&self.insert_dead_letter, &token, &[], &body)
        {
            Ok(()) => Outcome::Stored,
            // These bytes are ours: a table that does not take them is another one than we expect.
            Err(error) => Outcome::Again(error),
        }
    }
}

fn dead_letter_query(table: &Table) -> String {
    format!("INSERT INTO {table} (topic, partition, offset, key, raw_message, error) FORMAT TabSeparated")
}

/// A dead letter as a line of TabSeparated: numbers fit columns of any integer type, and bytes that are no
/// text go through as they are.
fn encode_dead_letter(place: &Place<'_>, key: &[u8], payload: &[u8], error: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(payload.len() + key.len() + error.len() + place.topic.len() + 64);
    put_escaped(&mut line, place.topic.as_bytes());
    line.extend(format!("\t{}\t{}\t", place.partition, place.offset).bytes());
    put_escaped(&mut line, key);
    line.push(b'\t');
    put_escaped(&mut line, payload);
    line.push(b'\t');
    put_escaped(&mut line, error.as_bytes());
    line.push(b'\n');
    line
}

fn put_escaped(line: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\t' => line.extend(b"\\t"),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            b'\\' => line.extend(b"\\\\"),
            other => line.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_bytes_is_the_message_s_fault() {
        let refused = |code, text: &str| {
            let text = text.to_owned();
            is_about_the_data(&Error::Refused {
                status: 500,
                code,
                text,
            })
        };
        assert!(refused(Some(444), "Protobuf messages are corrupted"));
        assert!(
            !refused(Some(6), "Cannot parse: while pushing to view xtcp.v (b1c2)"),
            "a view is mended"
        );
        for code in [
            16, 36, 60, 62, 81, 164, 202, 210, 241, 242, 243, 252, 319, 434, 437, 443, 497, 516,
        ] {
            assert!(!refused(Some(code), ""), "{code}");
        }
        assert!(!refused(None, "502 Bad Gateway"));
        assert!(!is_about_the_data(&Error::Away("nobody".to_owned())));
        assert!(!is_about_the_data(&Error::Stranger("Code: 444. ".to_owned())));
    }

    #[test]
    fn a_dead_letter_is_one_line_whatever_is_in_it() {
        let place = Place {
            topic: "t",
            partition: 1,
            offset: 2,
            timestamp_ms: 0,
        };
        let line = encode_dead_letter(&place, b"", b"\xff\0\t\n\r\\N", "why");
        assert_eq!(line, b"t\t1\t2\t\t\xff\0\\t\\n\\r\\\\N\twhy\n");
    }
}
