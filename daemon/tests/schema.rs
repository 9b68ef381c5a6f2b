//! The schemas under proto/ are those that the field table gives, and the table keeps the
//! contract of the reference program.
//!
//! `UPDATE_SCHEMAS=1 cargo test --test schema` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

use std::{collections::HashMap, fs, path::PathBuf};
use xtcp2::{
    record::{CONGESTION_ALGORITHMS, ENVELOPE_ROW, FIELDS, Kind},
    schema::{Schema, text},
};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Who takes a comment away from the configuration of the packages gets rows.
#[test]
fn the_table_that_the_packaged_configuration_proposes_is_one_of_the_schema() {
    let read = |file: &str| fs::read_to_string(repository().join(file)).unwrap();
    let configuration = read("scripts/package.d/xtcp2.toml");
    let destination = configuration
        .lines()
        .find(|line| line.contains("clickhouse:"))
        .unwrap();
    let table = destination.trim_end_matches('"').rsplit('/').next().unwrap();
    let statement = format!("CREATE TABLE IF NOT EXISTS {table}\n");
    assert!(
        read("proto/clickhouse/xtcp.sql").contains(&statement),
        "{destination}"
    );
}

#[test]
fn committed_schemas_are_the_generated_ones() {
    for (schema, name, file) in Schema::ALL {
        let path = repository().join(file);
        let generated = text(schema);
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, generated).unwrap();
            continue;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let differing = committed.lines().zip(generated.lines()).position(|(a, b)| a != b);
        assert!(
            committed == generated,
            "{file}: line {} is not what the field table says; write it anew with\n    \
             cargo run -- schema {name} > {file}",
            differing.unwrap_or(committed.lines().count().min(generated.lines().count())) + 1
        );
    }
}

/// The contract is a file beside the repository, not in it; where it is missing there is nothing
/// to compare with.
#[test]
fn every_field_of_the_contract_is_kept() {
    let path = repository().join("../shared/record-fields.tsv");
    let Ok(contract) = fs::read_to_string(&path) else {
        println!("skipped: no contract at {}", path.display());
        return;
    };
    let mut ours: HashMap<u32, (&str, &str)> = FIELDS
        .iter()
        .map(|field| {
            let kind = match field.kind {
                Kind::Uint32 => "uint32",
                Kind::Uint64 => "uint64",
                Kind::Int64 => "int64",
                Kind::String => "string",
                Kind::Bytes => "bytes",
                Kind::Congestion => "CongestionAlgorithm",
            };
            (field.number, (field.name, kind))
        })
        .collect();
    let mut algorithms = 0;
    for line in contract.lines().skip(1) {
        let [message, number, name, kind, _] = *line.split('\t').collect::<Vec<_>>() else {
            panic!("{line:?}: expected five columns");
        };
        let number: u32 = number.parse().unwrap();
        match message {
            "Envelope" => assert_eq!(
                (number, name, kind),
                (ENVELOPE_ROW, "row", "repeated XtcpFlatRecord")
            ),
            "XtcpFlatRecord" => assert_eq!(ours.remove(&number), Some((name, kind)), "field {number}"),
            "CongestionAlgorithm" => {
                let value = CONGESTION_ALGORITHMS.iter().find(|(n, _, _)| *n == number);
                assert_eq!(value.map(|value| value.1), Some(name), "value {number}");
                algorithms += 1;
            }
            other => panic!("{other:?}: a message that is not known here"),
        }
    }
    assert_eq!(algorithms, CONGESTION_ALGORITHMS.len());
    for number in ours.into_keys() {
        assert!(
            matches!(number, 70..=79 | 1266..=1299 | 2200..),
            "field {number} is our own and takes a number of the contract's"
        );
    }
}
