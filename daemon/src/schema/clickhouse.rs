//! The ClickHouse table.

use super::proto::comment;
use crate::record::{CONGESTION_ALGORITHMS, FIELDS, Field, Kind, Source};
use std::fmt::Write;

const TABLE: &str = "xtcp.xtcp_flat_records";

/// Fields that only grow in the life of a socket, a namespace or the daemon: rows of one socket
/// lie side by side, so their differences are small. Of other numbers T64 cuts off the high bits
/// that no value in the block uses.
const GROWING: [u32; 29] = [
    10, 60, 71, 1238, 1241, 1242, 1243, 1244, 1247, 1248, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257,
    1258, 1259, 1262, 1265, 1266, 1267, 1268, 1269, 1270, 1271, 1272,
];

/// Statements that make the database and the table.
pub(super) fn text() -> String {
    let mut out = header();
    let _ = writeln!(
        out,
        "CREATE DATABASE IF NOT EXISTS xtcp;\n\nCREATE TABLE IF NOT EXISTS {TABLE}\n("
    );
    let mut columns: Vec<String> = FIELDS.iter().map(column).collect();
    columns.extend([
        address("source_ip", "inet_diag_msg_socket_source", "Local address"),
        address(
            "destination_ip",
            "inet_diag_msg_socket_destination",
            "Remote address",
        ),
        address_text("source_ip_text", "source_ip", "Local address as people write it"),
        address_text(
            "destination_ip_text",
            "destination_ip",
            "Remote address as people write it",
        ),
        "    INDEX destination_ip_bloom destination_ip TYPE bloom_filter GRANULARITY 4".to_owned(),
    ]);
    let _ = writeln!(out, "{}\n)", columns.join(",\n"));
    out.push_str(
        "ENGINE = MergeTree
PARTITION BY toDate(timestamp_ns)
PRIMARY KEY (hostname, toStartOfHour(timestamp_ns), netns, inet_diag_msg_socket_cookie)
ORDER BY (hostname, toStartOfHour(timestamp_ns), netns, inet_diag_msg_socket_cookie, timestamp_ns, instance_id, record_counter)
TTL toDateTime(timestamp_ns) + INTERVAL 30 DAY DELETE
SETTINGS ttl_only_drop_parts = 1;
",
    );
    out
}

fn header() -> String {
    format!(
        "-- One row for each TCP socket of each network namespace of a Linux host.
--
-- Made from the daemon's field table by `xtcp2 schema clickhouse`: do not edit.
--
-- The order: a host, an hour, then the rows of one socket in time. The hour lets a query skip what
-- is older or newer; within it the values of a socket follow each other, which is what makes them
-- small. Instance and record counter at the end make the key of a row unique.
--
-- timestamp_ns is an int64 of nanoseconds on the wire. The engine would take such a number for
-- seconds, so whatever inserts converts it. A file that holds one Envelope (a Kafka message, an
-- HTTP body; the engine reads no second one behind it):
--     INSERT INTO {TABLE}
--     SELECT * REPLACE (fromUnixTimestamp64Nano(timestamp_ns, 'UTC') AS timestamp_ns)
--     FROM file('rows.pb', 'ProtobufList')
--     SETTINGS format_schema = 'XtcpFlatRecord:XtcpFlatRecord',
--         use_structure_from_insertion_table_in_table_functions = 0;

"
    )
}

fn column(field: &Field) -> String {
    format!(
        "    {} {} CODEC({}) COMMENT {}",
        field.name,
        type_of(field),
        codec(field),
        quoted(&comment(field))
    )
}

fn type_of(field: &Field) -> String {
    match field.kind {
        Kind::Int64 => "DateTime64(9, 'UTC')".to_owned(),
        Kind::Uint32 => "UInt32".to_owned(),
        Kind::Uint64 => "UInt64".to_owned(),
        Kind::String => "LowCardinality(String)".to_owned(),
        Kind::Bytes => "FixedString(16)".to_owned(),
        Kind::Congestion => {
            let values: Vec<String> = CONGESTION_ALGORITHMS
                .iter()
                .map(|(number, name, _)| format!("{} = {number}", quoted(name)))
                .collect();
            format!("Enum8({})", values.join(", "))
        }
    }
}

fn codec(field: &Field) -> &'static str {
    match field.kind {
        _ if field.source == Source::Unset => "ZSTD(1)",
        _ if GROWING.contains(&field.number) => "Delta, ZSTD(1)",
        Kind::Uint32 | Kind::Uint64 => "T64, ZSTD(1)",
        _ => "ZSTD(1)",
    }
}

/// An address as a value that can be compared: IPv4 stands in the first 4 of the 16 bytes on the
/// wire, and behind ::ffff in an IPv6.
fn address(name: &str, raw: &str, doc: &str) -> String {
    format!(
        "    {name} IPv6 MATERIALIZED CAST(if(inet_diag_msg_family = 2, \
         toFixedString(concat(unhex('00000000000000000000FFFF'), substring({raw}, 1, 4)), 16), {raw}) AS IPv6) \
         CODEC(ZSTD(1)) COMMENT {}",
        quoted(doc)
    )
}

fn address_text(name: &str, address: &str, doc: &str) -> String {
    format!(
        "    {name} String ALIAS replaceRegexpOne(toString({address}), '^::ffff:([0-9]+[.])', '\\\\1') COMMENT {}",
        quoted(doc)
    )
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::index_of;

    #[test]
    fn growing_fields_are_numbers_of_the_table() {
        for number in GROWING {
            let kind = FIELDS[index_of(number).unwrap()].kind;
            assert!(
                matches!(kind, Kind::Uint32 | Kind::Uint64 | Kind::Int64),
                "{number}"
            );
        }
    }

    #[test]
    fn a_quote_cannot_end_a_literal() {
        assert_eq!(quoted(r"the host's \ own"), r"'the host\'s \\ own'");
    }
}
