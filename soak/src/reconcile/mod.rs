//! `reconcile`: is every row that was produced in the table, once?
//!
//! Sources are asked before the table: what is made in between is not looked for. The table is asked for
//! sums; only where they differ from what they should be is more asked of it. Nothing here is bounded by a
//! number of rows but by that of polls and of gaps.

mod compare;
mod journal;
mod metrics;
mod produced;
#[cfg(test)]
mod random;
mod report;
mod spans;
mod stored;

pub use produced::Source;
pub use report::{Difference, Gap, Instance, Kind, Report, Total, Verdict};

use crate::{
    cli::{Command, Flag, Given, of_flag},
    clickhouse::{self, ClickHouse, Table},
};
use metrics::Reading;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use stored::{Store, Summary};

/// The command.
pub const COMMAND: Command = Command {
    name: "reconcile",
    doc: "compares a ClickHouse table with what was produced: what is missing, what is double",
    long_doc: "Rows are numbered from 1 in each instance (run) of a daemon. Of a living daemon --metrics says how \
               far it came, of a dead one the journal in its --spool-dir; both may be given, and several times. \
               Without either a table shows gaps and doubles, but not whether the last rows of an instance are \
               there.\n\n\
               Missing rows are admitted, if the daemon says that it gave them up, or unexplained. Rows that still \
               wait in the daemon are pending, not missing. Double are rows beyond the first of each number, as \
               they lie in the table, and as FINAL shows them. Rows that the table's TTL removed are missing.\n\n\
               Exit status: 0 when nothing is missing or double; 1 when something is; 2 when that is not known: \
               produced is not known of an instance, ClickHouse or a source does not answer, or the command line \
               cannot be used.",
    words: "",
    flags: &[
        Flag {
            name: "clickhouse",
            value: "http://HOST:PORT[/DB.TABLE]",
            default: "",
            doc: "Where the rows are; without a table xtcp.xtcp_flat_records. Required.",
        },
        Flag {
            name: "metrics",
            value: "URL",
            default: "",
            doc: "The metrics of a living daemon, such as http://127.0.0.1:9088/metrics; may be repeated.",
        },
        Flag {
            name: "spool-dir",
            value: "DIR",
            default: "",
            doc: "The spool of a daemon, living or dead; may be repeated.",
        },
        Flag {
            name: "instance",
            value: "ID",
            default: "",
            doc: "Compare only this instance: hexadecimal digits, as in message keys.",
        },
        Flag {
            name: "settle",
            value: "DURATION",
            default: "0s",
            doc: "Look again for so long until nothing is missing or waits: rows take seconds on their way.",
        },
        Flag {
            name: "headers-file",
            value: "FILE",
            default: "",
            doc: "Header lines (Name: value) of each request to ClickHouse: X-ClickHouse-User, X-ClickHouse-Key.",
        },
        Flag {
            name: "json",
            value: "",
            default: "",
            doc: "Print JSON instead of tables.",
        },
    ],
    run,
};

/// Where the daemon's SQL has the rows.
const TABLE: &str = "xtcp.xtcp_flat_records";
/// A count over a month of a fleet takes minutes.
const QUERY_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks, while it settles. At least as long as the last look took: it is the database's work.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What it was told.
#[derive(Debug)]
struct Options {
    clickhouse: ClickHouse,
    table: Table,
    metrics: Vec<String>,
    spool_dirs: Vec<PathBuf>,
    instance_id: Option<u64>,
    settle: Duration,
    is_json: bool,
}

fn options(given: &Given) -> Result<Options, String> {
    let (url, table) = of_flag("clickhouse", clickhouse::parse_url(given.required("clickhouse")?))?;
    let headers = given
        .path("headers-file")
        .map_or(Ok(Vec::new()), |path| clickhouse::read_headers(&path));
    Ok(Options {
        clickhouse: ClickHouse::new(url, of_flag("headers-file", headers)?, QUERY_TIMEOUT),
        table: table.map_or_else(|| Table::parse(TABLE), Ok)?,
        metrics: given.all("metrics").map(str::to_owned).collect(),
        spool_dirs: given.all("spool-dir").map(PathBuf::from).collect(),
        instance_id: given
            .one("instance")
            .map(|id| of_flag("instance", parse_instance(id)))
            .transpose()?,
        settle: given.duration("settle")?.unwrap_or_default(),
        is_json: given.has("json"),
    })
}

fn parse_instance(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_hex = digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u64::from_str_radix(digits, 16) {
        Ok(id) if is_hex && id != 0 => Ok(id),
        _ => Err(format!(
            "expected 1 to 16 hexadecimal digits that are not all 0, got {text:?}"
        )),
    }
}

fn run(given: &Given) -> Result<ExitCode, String> {
    let options = options(given)?;
    let report = settled(&options)?;
    let text = match options.is_json {
        true => serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n",
        false => report.text(),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The exit status says it all.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("stdout: {error}")),
        _ => Ok(ExitCode::from(report.verdict.status())),
    }
}

/// Looks until nothing is missing or waits, or the time is over.
fn settled(options: &Options) -> Result<Report, String> {
    let end = Instant::now() + options.settle;
    let first = readings(options)?;
    let mut now = first.clone();
    loop {
        let start = Instant::now();
        let report = look(options, &first, &now)?;
        let wait = start.elapsed().max(LOOK_EVERY);
        if report.total.missing + report.total.pending == 0 || Instant::now() + wait > end {
            return Ok(report);
        }
        thread::sleep(wait);
        now = readings(options)?;
    }
}

fn readings(options: &Options) -> Result<Vec<Reading>, String> {
    options.metrics.iter().map(|url| metrics::fetch(url)).collect()
}

fn look(options: &Options, first: &[Reading], now: &[Reading]) -> Result<Report, String> {
    let mut entries = Vec::new();
    for dir in &options.spool_dirs {
        let of_dir = |error: io::Error| format!("spool {}: {error}", dir.display());
        // A folder that is not there is not one in which nothing happened.
        std::fs::read_dir(dir).map_err(of_dir)?;
        entries.extend(journal::read(dir).map_err(of_dir)?);
    }
    let mut produced = produced::collect(&entries, first, now);
    drop(entries);
    if let Some(id) = options.instance_id {
        produced.retain(|instance_id, _| *instance_id == id);
    }
    let store = Store::new(&options.clickhouse, &options.table);
    let of_table = |error: clickhouse::Error| format!("ClickHouse, table {}: {error}", options.table);
    let mut summaries = store.summaries(options.instance_id).map_err(of_table)?;
    let stored_ids: Vec<u64> = summaries.iter().map(|summary| summary.instance_id).collect();
    let lost = |id: &&u64| stored_ids.binary_search(id).is_err();
    summaries.extend(produced.keys().filter(lost).map(|&instance_id| Summary {
        instance_id,
        ..Summary::default()
    }));
    summaries.sort_by_key(|summary| summary.instance_id);

    let mut rows_of_no_instance = 0;
    let mut instances = Vec::new();
    for summary in &summaries {
        let produced = produced.get(&summary.instance_id);
        if summary.instance_id == 0 {
            rows_of_no_instance = summary.rows;
        } else if compare::is_perfect(summary, produced) {
            instances.push(compare::perfect(summary, produced));
        } else {
            let polls = store.polls(summary.instance_id).map_err(of_table)?;
            instances.push(compare::compare(summary, &polls, produced));
        }
    }
    Ok(Report::new(
        options.table.to_string(),
        instances,
        rows_of_no_instance,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_named_as_in_keys() {
        for (text, id) in [
            ("ab", 0xab),
            ("0xAB", 0xab),
            ("00000000000000ab", 0xab),
            ("ffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(parse_instance(text), Ok(id));
        }
        for text in ["", "0", "0x", "xyz", "+1", "-1", "00000000000000abc"] {
            assert!(
                parse_instance(text).unwrap_err().contains("hexadecimal"),
                "{text}"
            );
        }
    }
}
