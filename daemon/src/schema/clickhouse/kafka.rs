//! The way in from Kafka by the engine's own consumer.

use super::{TABLE, columns};
use crate::record::FIELDS;
use crate::schema::proto;

/// Statements that make the consumer anew and start it.
pub(super) fn text() -> String {
    let columns: Vec<String> = FIELDS.iter().map(columns::name_and_type).collect();
    let names: Vec<String> = FIELDS
        .iter()
        .map(|field| proto::clickhouse_name(field).to_owned())
        .collect();
    include_str!("kafka.sql")
        .replace("@TABLE@", TABLE)
        .replace("@COLUMNS@", &columns.join(",\n    "))
        .replace("@NAMES@", &names.join(",\n    "))
}
