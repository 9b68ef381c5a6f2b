//! The table of the rows.

use super::{TABLE, columns};
use crate::record::FIELDS;

/// Statements that make the database and the table, or bring a table of before up to date.
pub(super) fn text() -> String {
    let columns: Vec<String> = FIELDS
        .iter()
        .flat_map(columns::of)
        .chain(columns::derived())
        .collect();
    let added: Vec<String> = columns
        .iter()
        .map(|column| format!("    ADD COLUMN IF NOT EXISTS {column}"))
        .collect();
    format!(
        "{HEADER}
CREATE DATABASE IF NOT EXISTS xtcp;

CREATE TABLE IF NOT EXISTS {TABLE}
(
    {},
    INDEX destination_ip_bloom destination_ip TYPE bloom_filter GRANULARITY 4,
    INDEX instance_ids instance_id TYPE set(16) GRANULARITY 4
)
{ENGINE}

-- A table of an earlier version gets the columns that it lacks; else this does nothing.
ALTER TABLE {TABLE}
{};
",
        columns.join(",\n    "),
        added.join(",\n")
    )
}

const HEADER: &str = "-- One row for each TCP socket of each network namespace of a Linux host.
--
-- Made from the daemon's field table by `xtcp2 schema clickhouse`: do not edit. It may be applied
-- again and again: an upgrade is the same file of the new version. docs/clickhouse.md has the rest.
--
-- The order: a host, an hour, then the rows of one socket in time. The hour lets a query skip what
-- is older or newer; within it the values of a socket follow each other, which is what makes them
-- small. Instance and record counter close it and make the key of a row unique: a copy of a row
-- that was sent twice has the same key, and goes with the next merge.
--
-- The deduplication window is in inserts: within it an insert that is tried again with its token
-- (the envelope's identity) adds nothing. 10,000 inserts are hours of one host's envelopes.
--
-- timestamp_ns is an int64 of nanoseconds on the wire, which the engine would take for seconds. So
-- the .proto for ClickHouse calls it timestamp_unix_ns, and timestamp_ns is made from that. A body
-- that is one Envelope goes in as it is:
--     INSERT INTO xtcp.xtcp_flat_records FORMAT ProtobufList
-- with format_schema = 'XtcpFlatRecord:XtcpFlatRecord'.
";

/// A day is what is deleted at once. No index on the time is needed besides: parts know the range of
/// what they are partitioned by, and those just inserted, which most questions are about, are short.
const ENGINE: &str = "ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp_ns)
PRIMARY KEY (hostname, toStartOfHour(timestamp_ns), netns, inet_diag_msg_socket_cookie)
ORDER BY (hostname, toStartOfHour(timestamp_ns), netns, inet_diag_msg_socket_cookie, timestamp_ns, instance_id, record_counter)
TTL toDateTime(timestamp_ns) + INTERVAL 30 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;";
