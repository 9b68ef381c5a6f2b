//! Rows as the receivers of the program get them.

use std::{fs, path::Path};
use xtcp2::record::{Row, Value, index_of, rows_of};

/// Numbers of the fields that the tests look at.
pub mod field {
    pub const TIMESTAMP_NS: u32 = 10;
    pub const RECORD_COUNTER: u32 = 60;
    pub const INSTANCE_ID: u32 = 70;
    pub const POLL_SEQUENCE: u32 = 71;
    pub const NETNS_COOKIE: u32 = 73;
}

/// What the tests look at in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub timestamp_ns: i64,
    pub record_counter: u64,
    pub instance_id: u64,
    pub poll_sequence: u64,
    pub netns_cookie: u64,
}

/// Takes delimited envelopes apart; every byte has to belong to one. One list of rows for each.
pub fn envelopes(mut bytes: &[u8]) -> Vec<Vec<Head>> {
    let mut envelopes = Vec::new();
    while !bytes.is_empty() {
        let length = prost::decode_length_delimiter(&mut bytes).unwrap();
        let (envelope, rest) = bytes.split_at_checked(length).expect("a whole envelope");
        bytes = rest;
        envelopes.push(rows_of(envelope).map(|row| head(row.unwrap())).collect());
    }
    envelopes
}

fn head(row: &[u8]) -> Head {
    let row = Row::decode(row).unwrap();
    Head {
        timestamp_ns: match row.get(index_of(field::TIMESTAMP_NS).unwrap()) {
            Some(Value::Int(nanoseconds)) => nanoseconds,
            other => panic!("timestamp_ns: {other:?}"),
        },
        record_counter: row.uint(field::RECORD_COUNTER),
        instance_id: row.uint(field::INSTANCE_ID),
        poll_sequence: row.uint(field::POLL_SEQUENCE),
        netns_cookie: row.uint(field::NETNS_COOKIE),
    }
}

/// The rows of a file of delimited envelopes.
pub fn in_file(path: &Path) -> Vec<Head> {
    envelopes(&fs::read(path).unwrap()).concat()
}

/// Asserts that nothing is missing and nothing is there twice: counters from 1 without a gap, one
/// instance, polls one after the other and never into one another. Returns how many polls.
pub fn assert_complete(rows: &[Head]) -> u64 {
    let mut poll = 0;
    let mut timestamp_ns = 0;
    for (row, counter) in rows.iter().zip(1..) {
        assert_eq!(row.record_counter, counter);
        assert_eq!(row.instance_id, rows[0].instance_id);
        if row.poll_sequence != poll {
            assert_eq!(row.poll_sequence, poll + 1);
            assert!(row.timestamp_ns > timestamp_ns);
            (poll, timestamp_ns) = (row.poll_sequence, row.timestamp_ns);
        }
        assert_eq!(row.timestamp_ns, timestamp_ns, "one timestamp a poll");
    }
    assert!(rows.is_empty() || rows[0].instance_id != 0);
    poll
}
