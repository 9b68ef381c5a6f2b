//! Columns: the fields of a row as ClickHouse keeps them.

use crate::record::{CONGESTION_ALGORITHMS, Field, Kind};
use crate::schema::proto::{self, comment};

/// Fields that only grow in the life of a socket, a namespace or the daemon: rows of one socket lie
/// side by side, so their differences are small.
const GROWING: [u32; 28] = [
    10, 60, 1238, 1241, 1242, 1243, 1244, 1247, 1248, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258,
    1259, 1262, 1265, 1266, 1267, 1268, 1269, 1270, 1271, 1272,
];

/// Fields that grow by the same step from row to row, or stand still.
const STEADY: [u32; 2] = [71, 1010];

/// Fields that are another number in nearly every poll: T64 cuts off the high bits that no value in
/// the block uses. All others mostly repeat the row before, which ZSTD alone says in the fewest
/// bytes: T64 would hide the repetition from it (docs/clickhouse.md has the figures).
const RESTLESS: [u32; 8] = [1013, 1224, 1226, 1227, 1230, 1231, 1260, 1261];

/// Column that takes `timestamp_ns` as it is on the wire.
const TIMESTAMP: u32 = 10;

/// Name and type of the column that takes a field from the wire.
pub(super) fn name_and_type(field: &Field) -> String {
    format!("{} {}", proto::clickhouse_name(field), type_of(field))
}

/// Definitions of the columns that a field becomes.
pub(super) fn of(field: &Field) -> Vec<String> {
    let mut columns = vec![format!(
        "{} CODEC({}) COMMENT {}",
        name_and_type(field),
        codec(field),
        quoted(&comment(field))
    )];
    if field.number == TIMESTAMP {
        columns.push(format!(
            "{} DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano({}, 'UTC') CODEC({}) COMMENT {}",
            field.name,
            proto::clickhouse_name(field),
            codec(field),
            quoted("Start of the poll; the same in all rows of a poll")
        ));
    }
    columns
}

/// Columns that are made of others.
pub(super) fn derived() -> [String; 4] {
    [
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
    ]
}

fn type_of(field: &Field) -> String {
    match field.kind {
        Kind::Int64 => "Int64".to_owned(),
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
    match field.number {
        number if GROWING.contains(&number) => "Delta, ZSTD(1)",
        number if STEADY.contains(&number) => "DoubleDelta, ZSTD(1)",
        number if RESTLESS.contains(&number) => "T64, ZSTD(1)",
        _ => "ZSTD(1)",
    }
}

/// An address as a value that can be compared: IPv4 stands in the first 4 of the 16 bytes on the
/// wire, and behind ::ffff in an IPv6.
fn address(name: &str, raw: &str, doc: &str) -> String {
    format!(
        "{name} IPv6 MATERIALIZED CAST(if(inet_diag_msg_family = 2, \
         toFixedString(concat(unhex('00000000000000000000FFFF'), substring({raw}, 1, 4)), 16), {raw}) AS IPv6) \
         CODEC(ZSTD(1)) COMMENT {}",
        quoted(doc)
    )
}

fn address_text(name: &str, address: &str, doc: &str) -> String {
    format!(
        "{name} String ALIAS replaceRegexpOne(toString({address}), '^::ffff:([0-9]+[.])', '\\\\1') COMMENT {}",
        quoted(doc)
    )
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{FIELDS, index_of};

    #[test]
    fn codecs_of_numbers_are_for_numbers_of_the_table() {
        for number in GROWING.into_iter().chain(STEADY).chain(RESTLESS) {
            let kind = FIELDS[index_of(number).unwrap()].kind;
            assert!(
                matches!(kind, Kind::Uint32 | Kind::Uint64 | Kind::Int64),
                "{number}"
            );
        }
    }

    #[test]
    fn only_the_timestamp_is_an_int64_and_becomes_two_columns() {
        for field in &FIELDS {
            assert_eq!(
                field.kind == Kind::Int64,
                field.number == TIMESTAMP,
                "{}",
                field.name
            );
            assert_eq!(of(field).len(), 1 + usize::from(field.number == TIMESTAMP));
        }
    }

    #[test]
    fn a_quote_cannot_end_a_literal() {
        assert_eq!(quoted(r"the host's \ own"), r"'the host\'s \\ own'");
    }
}
