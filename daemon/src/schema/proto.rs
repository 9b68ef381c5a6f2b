//! The .proto files.

use crate::record::{CONGESTION_ALGORITHMS, ENVELOPE_ROW, FIELDS, Field, Kind, Source};
use std::fmt::Write;

const PACKAGE: &str = "xtcp_flat_record.v1";

/// For people and code generators: the messages side by side, as the contract names them.
pub(super) fn text() -> String {
    let mut out = String::from(
        "// One row for each TCP socket of each network namespace of a Linux host.
//
// Made from the daemon's field table by `xtcp2 schema proto`: do not edit.
//
// A message (of Kafka, of a file, an HTTP body) is one Envelope behind its length as a varint.
// proto3 does not tell a zero from a value that is not there: inet_diag_attributes and
// tcp_info_length_bytes do.

syntax = \"proto3\";

",
    );
    let _ = writeln!(out, "package {PACKAGE};\n");
    let _ = writeln!(
        out,
        "message Envelope {{\n  repeated XtcpFlatRecord row = {ENVELOPE_ROW};\n}}\n"
    );
    record(&mut out, "", |field| field.name);
    out
}

/// For ClickHouse: the row nested inside Envelope. The bytes on the wire are the same.
pub(super) fn clickhouse_text() -> String {
    let mut out = String::from(
        "// One row for each TCP socket of each network namespace of a Linux host: for ClickHouse.
//
// Made from the daemon's field table by `xtcp2 schema clickhouse-proto`: do not edit.
//
// FORMAT ProtobufList looks for the row type inside the message Envelope; only engines from 26.3
// on find it beside Envelope too. Copy this file into `format_schema_path` and name the simple
// type, without the package and without Envelope:
//     format_schema = 'XtcpFlatRecord:XtcpFlatRecord'
// timestamp_ns is called timestamp_unix_ns here: the table makes its date timestamp_ns from it.

syntax = \"proto3\";

",
    );
    let _ = writeln!(out, "package {PACKAGE};\n\nmessage Envelope {{");
    record(&mut out, "  ", clickhouse_name);
    let _ = writeln!(out, "\n  repeated XtcpFlatRecord row = {ENVELOPE_ROW};\n}}");
    out
}

/// Name of a field for ClickHouse. The column `timestamp_ns` is a date there, and a number on the
/// wire would be taken for seconds: so the number goes by another name, and the date is made from it.
/// Names are not on the wire.
pub(super) fn clickhouse_name(field: &Field) -> &'static str {
    match field.name {
        "timestamp_ns" => "timestamp_unix_ns",
        name => name,
    }
}

fn record(out: &mut String, indent: &str, name: fn(&Field) -> &'static str) {
    let _ = writeln!(out, "{indent}message XtcpFlatRecord {{");
    let _ = writeln!(out, "{indent}  enum CongestionAlgorithm {{");
    for (number, name, _) in CONGESTION_ALGORITHMS {
        let _ = writeln!(out, "{indent}    {name} = {number};");
    }
    let _ = writeln!(out, "{indent}  }}");
    for field in &FIELDS {
        let _ = writeln!(
            out,
            "\n{indent}  // {}\n{indent}  {} {} = {};",
            comment(field),
            type_name(field.kind),
            name(field),
            field.number
        );
    }
    let _ = writeln!(out, "{indent}}}");
}

/// What the field means, and whether it is filled at all.
pub(super) fn comment(field: &Field) -> String {
    match field.source {
        Source::Unset => format!("{} (not filled yet)", field.doc),
        _ => field.doc.to_owned(),
    }
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::Int64 => "int64",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Congestion => "CongestionAlgorithm",
    }
}
