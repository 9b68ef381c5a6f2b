//! `kafka-to-clickhouse`: what the Kafka engine does, for sites that have none, exactly once.
//!
//! One message is one INSERT with one token, and its offset is committed after it. Whatever ends the
//! program in between, the message comes again, to us or to another member of the group, with the same
//! token: ClickHouse drops the repeat. Messages are never put together, since a repeat would put others
//! together and so have another token.
//!
//! What this rests on: ClickHouse remembers the tokens of the last `non_replicated_deduplication_window`
//! blocks of a table (`replicated_deduplication_window` where it is replicated). Only messages that were
//! in hand when something broke are repeated, so a window of a thousand is far more than is needed here;
//! what was repeated beyond it (a group whose offsets were reset, a daemon that found an old spool)
//! is removed by ReplacingMergeTree, by the key of the row, when parts are merged or read with FINAL.
//!
//! A view that fails makes the INSERT fail, though the table may have the rows by then. The repeat fills
//! the view: `deduplicate_blocks_in_dependent_materialized_views` gives each table its own memory of
//! tokens.
//!
//! One thread does all of it; librdkafka has its own. Two others wait: one for SIGTERM, one for scrapes.

mod consumer;
mod envelope;
mod metrics;
mod sink;
mod stop;

pub use consumer::{Counters, Counts, Pump};

use crate::{
    cli::{Command, Flag, Given, of_flag},
    clickhouse::{self, Table},
};
use std::{
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// The command.
pub const COMMAND: Command = Command {
    name: "kafka-to-clickhouse",
    doc: "inserts the messages of a Kafka topic into ClickHouse, each exactly once",
    long_doc: "One message is one INSERT, whose insert_deduplication_token is the message's key; its offset is \
               committed after it. A message without a key of xtcp2's has a token made of topic, partition, \
               offset and timestamp. While ClickHouse is away, or refuses what an operator can mend, the same \
               message is tried again, 100 ms to 10 s apart, for ever. A message that is not one Envelope \
               goes to the table of dead letters.\n\n\
               SIGTERM and SIGINT end it; what was not committed comes again at the next start. At the end it \
               prints what it did. Exit status: 0, or 1 when Kafka says that this consumer can never go on, or \
               2 for a command line that cannot be used.",
    words: "",
    flags: &[
        Flag {
            name: "brokers",
            value: "HOST:PORT[,HOST:PORT]",
            default: "",
            doc: "Kafka's bootstrap servers. Required.",
        },
        Flag {
            name: "topic",
            value: "NAME",
            default: "xtcp",
            doc: "Topic to read.",
        },
        Flag {
            name: "group",
            value: "NAME",
            default: "xtcp-clickhouse",
            doc: "Consumer group whose offsets are committed; several processes of one group share the partitions.",
        },
        Flag {
            name: "clickhouse",
            value: "http://HOST:PORT/DB.TABLE",
            default: "",
            doc: "Table to fill. Required.",
        },
        Flag {
            name: "dead-letters",
            value: "DB.TABLE",
            default: "xtcp.dead_letters",
            doc: "Table for messages that are not one Envelope.",
        },
        Flag {
            name: "headers-file",
            value: "FILE",
            default: "",
            doc: "Header lines (Name: value) of each request to ClickHouse: X-ClickHouse-User, X-ClickHouse-Key.",
        },
        Flag {
            name: "kafka-property",
            value: "NAME=VALUE",
            default: "",
            doc: "A property of librdkafka; may be repeated. @/path as the value reads it from that file.",
        },
        Flag {
            name: "metrics",
            value: "HOST:PORT",
            default: "",
            doc: "Serve counters at http://HOST:PORT/metrics; port 0 for any.",
        },
        Flag {
            name: "max-idle",
            value: "DURATION",
            default: "",
            doc: "End when no message came for that long: for a drain, and for tests.",
        },
    ],
    run,
};

/// Properties that the promise rests on.
const RESERVED: [&str; 4] = [
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
];

/// What it was told.
#[derive(Debug)]
pub struct Options {
    /// Bootstrap servers.
    pub brokers: String,
    /// Topic to read.
    pub topic: String,
    /// Consumer group.
    pub group: String,
    /// Server of the tables.
    pub clickhouse_url: String,
    /// Table to fill.
    pub table: Table,
    /// Where poison goes.
    pub dead_letters: Table,
    /// Of each request to ClickHouse.
    pub headers: Vec<(String, String)>,
    /// Further properties of librdkafka.
    pub kafka_properties: Vec<(String, String)>,
    /// Ends when nothing came for that long.
    pub idle_max: Option<Duration>,
}

impl Options {
    /// Reads them from the flags.
    ///
    /// # Errors
    /// Which flag is wrong, what was expected, what came.
    pub fn parse(given: &Given) -> Result<Options, String> {
        let (clickhouse_url, table) =
            of_flag("clickhouse", clickhouse::parse_url(given.required("clickhouse")?))?;
        let table =
            table.ok_or("flag --clickhouse: expected a URL that ends with /database.table, got none")?;
        let headers = given
            .path("headers-file")
            .map_or(Ok(Vec::new()), |path| clickhouse::read_headers(&path));
        let kafka_properties = given.all("kafka-property").map(kafka_property).collect();
        Ok(Options {
            brokers: given.required("brokers")?.to_owned(),
            topic: given.required("topic")?.to_owned(),
            group: given.required("group")?.to_owned(),
            clickhouse_url,
            table,
            dead_letters: of_flag("dead-letters", Table::parse(given.required("dead-letters")?))?,
            headers: of_flag("headers-file", headers)?,
            kafka_properties: of_flag("kafka-property", kafka_properties)?,
            idle_max: given.duration("max-idle")?,
        })
    }
}

fn kafka_property(text: &str) -> Result<(String, String), String> {
    // The value may be a secret, and is in no error.
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, got no =")?;
    if RESERVED.contains(&name) {
        return Err(format!(
            "expected a property that is left to you, got {name}, which the program sets itself"
        ));
    }
    let value = match value.strip_prefix('@') {
        None => value.to_owned(),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(secret) => secret.trim_end_matches(['\n', '\r']).to_owned(),
            Err(error) => return Err(format!("{name}: {path}: {error}")),
        },
    };
    Ok((name.to_owned(), value))
}

fn run(given: &Given) -> Result<ExitCode, String> {
    let options = Options::parse(given)?;
    xtcp2::logger::start(log::LevelFilter::Info, xtcp2::config::LogFormat::Text);
    let stop = Arc::new(AtomicBool::new(false));
    stop::on_signals(&stop)?;
    let mut pump = Pump::open(&options).map_err(|error| format!("Kafka consumer: {error}"))?;
    let counters = pump.counters();
    if let Some(listen) = given.one("metrics") {
        let address = of_flag("metrics", metrics::serve(listen, Arc::clone(&counters)))?;
        log::info!("kafka-to-clickhouse: metrics at http://{address}/metrics");
    }
    let end = pump.run(&stop, options.idle_max);
    println!("{}", counters.now());
    match end {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            log::error!("Kafka: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Parsed, parse};

    fn options(more: &str) -> Result<Options, String> {
        let line = format!("kafka-to-clickhouse --brokers b:1 --clickhouse http://h:1/a.b {more}");
        match parse(line.split_whitespace().map(Into::into)) {
            Ok(Parsed::Run(_, given)) => Options::parse(&given),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn properties_are_given_as_they_are_or_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let line = format!(
            "--kafka-property a=b=c --kafka-property sasl.password=@{}",
            file.path().display()
        );
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            options(&line).unwrap().kafka_properties,
            [owned("a", "b=c"), owned("sasl.password", "hush")]
        );
        for (line, hint) in [
            ("--kafka-property a", "NAME=VALUE"),
            ("--kafka-property enable.auto.commit=true", "sets itself"),
            ("--kafka-property a=@/nowhere/at/all", "/nowhere/at/all"),
            ("--clickhouse http://h:1", "ends with /database.table"),
            ("--dead-letters x", "database.table"),
            ("--max-idle 5", "with a unit"),
        ] {
            let error = options(line).unwrap_err();
            assert!(
                error.contains("flag --") && error.contains(hint),
                "{line}: {error}"
            );
        }
    }
}
