//! clickhouse:http://host:8123/db.table: one INSERT a message, over ClickHouse's HTTP interface.
//!
//! Each INSERT carries the identity of its message as `insert_deduplication_token`. A message whose
//! answer was lost is sent again, and the table takes it once: for as many inserts as its
//! `non_replicated_deduplication_window` (or the replicated one) says, and so does the target of each
//! view on it. `wait_end_of_query` makes the status tell the truth: without it the answer 200 comes
//! before the rows are written. Asynchronous inserts would acknowledge what is not stored yet.

use super::ClickhouseUrl;
use std::fmt::Write;

/// Settings that deduplication depends on: the operator does not get to change them.
const SETTINGS: &str = "async_insert=0&wait_end_of_query=1&insert_deduplicate=1\
                        &deduplicate_blocks_in_dependent_materialized_views=1";

/// Schema of the rows: proto/clickhouse/XtcpFlatRecord.proto in the server's `format_schema_path`.
const FORMAT_SCHEMA: &str = "XtcpFlatRecord:XtcpFlatRecord";

/// Errors of ClickHouse that say that the bytes are at fault: another attempt would end the same.
/// Everything else (no such table, no rights, no memory, too many parts) an operator can mend.
/// From src/Common/ErrorCodes.cpp, ClickHouse 25.8.
const REFUSES_THE_BYTES: [u32; 7] = [
    6,   // CANNOT_PARSE_TEXT
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    32,  // ATTEMPT_TO_READ_AFTER_EOF
    33,  // CANNOT_READ_ALL_DATA
    117, // INCORRECT_DATA
    131, // TOO_LARGE_STRING_SIZE
    444, // UNKNOWN_PROTOBUF_FORMAT
];

/// Path and query of an INSERT, up to the token, which follows.
pub(super) fn target(url: &ClickhouseUrl) -> String {
    let given = url
        .server
        .path_and_query
        .split_once('?')
        .map_or("", |(_, query)| query);
    let mut target = format!(
        "/?query={}",
        encoded(&format!("INSERT INTO {} FORMAT ProtobufList", url.table))
    );
    if !given.split('&').any(|pair| pair.starts_with("format_schema=")) {
        let _ = write!(target, "&format_schema={}", encoded(FORMAT_SCHEMA));
    }
    if !given.is_empty() {
        let _ = write!(target, "&{given}");
    }
    // Of a setting that is there twice, the last counts.
    let _ = write!(target, "&{SETTINGS}&insert_deduplication_token=");
    target
}

/// Whether a failed INSERT would fail again, by its `X-ClickHouse-Exception-Code`.
pub(super) fn refuses_the_bytes(exception_code: Option<u32>) -> bool {
    exception_code.is_some_and(|code| REFUSES_THE_BYTES.contains(&code))
}

/// Percent-encoded, for a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_gives_goes_along_but_not_past_what_must_hold() {
        let url = |text: &str| target(&text.parse().unwrap());
        assert_eq!(
            url("http://h:8123/xtcp.rows"),
            "/?query=INSERT%20INTO%20xtcp.rows%20FORMAT%20ProtobufList&format_schema=XtcpFlatRecord%3AXtcpFlatRecord\
             &async_insert=0&wait_end_of_query=1&insert_deduplicate=1\
             &deduplicate_blocks_in_dependent_materialized_views=1&insert_deduplication_token="
        );
        let given = url("https://h:8443/xtcp.rows?user=u&format_schema=a:b&async_insert=1");
        assert!(
            given.contains("&user=u&format_schema=a:b&async_insert=1&async_insert=0&"),
            "{given}"
        );
        assert_eq!(given.matches("format_schema").count(), 1);
    }

    #[test]
    fn what_an_operator_can_mend_is_tried_again() {
        assert!(refuses_the_bytes(Some(33)));
        for mendable in [None, Some(60), Some(516), Some(241), Some(252)] {
            assert!(!refuses_the_bytes(mendable), "{mendable:?}");
        }
    }
}
