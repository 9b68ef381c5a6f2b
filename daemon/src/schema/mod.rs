//! Schemas of a row for other programs, made from the field table.
//!
//! Each text is committed under `proto/`; a test keeps the two equal.

mod clickhouse;
mod json;
mod proto;

use std::str::FromStr;

/// The schemas that `xtcp2 schema` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// The .proto for people and code generators.
    Proto,
    /// The same messages in the shape that ClickHouse looks for.
    ClickhouseProto,
    /// The ClickHouse tables and views.
    Clickhouse,
    /// ClickHouse's own consumer of Kafka.
    ClickhouseKafka,
    /// JSON Schema of one line of `--marshal jsonl`.
    Json,
}

impl Schema {
    /// Each schema, its name on the command line and its file in the repository.
    pub const ALL: [(Schema, &str, &str); 5] = [
        (Schema::Proto, "proto", "proto/xtcp_flat_record.proto"),
        (
            Schema::ClickhouseProto,
            "clickhouse-proto",
            "proto/clickhouse/XtcpFlatRecord.proto",
        ),
        (Schema::Clickhouse, "clickhouse", "proto/clickhouse/xtcp.sql"),
        (
            Schema::ClickhouseKafka,
            "clickhouse-kafka",
            "proto/clickhouse/xtcp_kafka.sql",
        ),
        (Schema::Json, "json", "proto/xtcp_flat_record.schema.json"),
    ];
}

impl FromStr for Schema {
    type Err = String;

    fn from_str(text: &str) -> Result<Schema, String> {
        Schema::ALL
            .iter()
            .find(|(_, name, _)| *name == text)
            .map(|(schema, _, _)| *schema)
            .ok_or_else(|| {
                let names: Vec<&str> = Schema::ALL.iter().map(|(_, name, _)| *name).collect();
                format!("schema: expected one of {}, got {text:?}", names.join(" "))
            })
    }
}

/// The text of a schema, ending in a newline.
pub fn text(schema: Schema) -> String {
    match schema {
        Schema::Proto => proto::text(),
        Schema::ClickhouseProto => proto::clickhouse_text(),
        Schema::Clickhouse => clickhouse::text(),
        Schema::ClickhouseKafka => clickhouse::kafka_text(),
        Schema::Json => json::text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_found_by_its_name() {
        for (schema, name, _) in Schema::ALL {
            assert_eq!(name.parse(), Ok(schema));
        }
        let error = "protobuf".parse::<Schema>().unwrap_err();
        assert!(
            error.contains("protobuf") && error.contains("clickhouse-proto"),
            "{error}"
        );
    }
}
