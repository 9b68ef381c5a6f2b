//! SQL for ClickHouse: what rows are kept in, what reads them, and what takes them from Kafka.
//!
//! What follows from the field table is made from it; the rest is SQL in files of its own.

mod columns;
mod kafka;
mod table;

/// Target of every row.
const TABLE: &str = "xtcp.xtcp_flat_records";

/// Database, tables, the rollup and the views: install and upgrade alike.
pub(super) fn text() -> String {
    [
        table::text().as_str(),
        include_str!("tables.sql"),
        include_str!("views.sql"),
    ]
    .join("\n")
}

/// The way in from Kafka, by the engine's own consumer.
pub(super) fn kafka_text() -> String {
    kafka::text()
}
