//! One poll of the daemon, as its rows and as the bytes it got from the kernel.

use super::{captures, json_row::Row, program::xtcp2};
use std::{path::Path, process::Command};

/// Runs it to its end; its standard output.
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn rows(json: &str) -> Vec<Row> {
    json.lines()
        .map(|line| Row(serde_json::from_str(line).unwrap()))
        .collect()
}

/// Polls once and records to `recording`. Each row comes with the reply it was made of.
pub fn poll(recording: &Path) -> Vec<(Row, Vec<u8>)> {
    let _ = std::fs::remove_file(recording);
    let json = output_of(
        xtcp2()
            .args(["--max-loops", "1", "--prom-listen", "none"])
            .args([
                "--proc-scan-every",
                "0s",
                "--deserializers",
                "all",
                "--marshal",
                "json",
            ])
            .arg("--record")
            .arg(recording),
    );
    with_replies(rows(&json), recording)
}

/// The rows of a recording. Each comes with the reply it was made of.
pub fn replay(recording: &Path) -> Vec<(Row, Vec<u8>)> {
    let json = output_of(
        xtcp2()
            .args(["replay", "--deserializers", "all", "--marshal", "json"])
            .arg(recording),
    );
    with_replies(rows(&json), recording)
}

fn with_replies(rows: Vec<Row>, recording: &Path) -> Vec<(Row, Vec<u8>)> {
    let replies = captures::replies(recording);
    assert_eq!(rows.len(), replies.len(), "as many rows as replies");
    let both = rows.into_iter().zip(replies);
    both.map(|(row, (netns, reply))| {
        assert_eq!(row.text("netns"), netns);
        (row, reply)
    })
    .collect()
}
