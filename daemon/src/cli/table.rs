//! The flags: each declared once, here.

use super::{
    duration,
    flags::{Action, Category, Flag, Setting, Show, Value},
    values,
};
use crate::{
    config::{LogFormat, PollPlan},
    format::Format,
    netlink::inet_diag::{ATTRIBUTE_NAMES, STATE_NAMES},
};
use std::time::Duration;

/// Shortest time between polls, and for a namespace: under it the timers cost more than they say.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Longest time of any kind: a week. Longer is a slip of the unit.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Rows of an envelope where nothing else is said: what the reference takes.
const ENVELOPE_FLUSH_ROWS: u32 = 10_000;
/// Bytes of an envelope where nothing else is said: with framing still below the 1,000,000 bytes
/// that Kafka brokers and librdkafka take by default.
const ENVELOPE_FLUSH_BYTES: usize = 768 << 10;
/// Largest envelope in bytes. It is held in memory whole, and several wait in the output queue;
/// past this a broker has to be configured for it anyway, and batches stop getting cheaper.
const ENVELOPE_FLUSH_BYTES_MAX: usize = 16 << 20;
/// Largest output queue in bytes: more than this belongs on a disk.
const OUTPUT_QUEUE_BYTES_MAX: usize = 16 << 30;
/// Smallest spool in bytes: a few segments, so that there is an oldest one to give up.
const SPOOL_BYTES_MIN: usize = 16 << 20;
/// Largest spool in bytes: weeks of a busy host.
const SPOOL_BYTES_MAX: usize = 1 << 40;
/// Most rows of an envelope: the bytes of an envelope end it long before.
const ENVELOPE_FLUSH_ROWS_MAX: u32 = 10_000_000;

const COMPRESSIONS: [&str; 6] = ["auto", "zstd", "lz4", "snappy", "gzip", "none"];
const LOG_FORMATS: [&str; 2] = ["text", "json"];
const POLL_PLANS: [&str; 2] = ["auto", "walk"];

fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

/// Where most settings start: no alias of ours, no name in the reference's environment.
const PLAIN: Setting = Setting {
    default: "",
    default_doc: None,
    reference_environment: None,
    apply: |_, _| Ok(()),
    get: |_| String::new(),
};

/// Every flag, in the order of help.
pub static FLAGS: &[Flag] = &[
    Flag {
        name: "frequency",
        aliases: &[],
        value: Value::Duration,
        doc: "From the start of a poll to the start of the next",
        long_doc: "The first poll starts at once. A poll that still runs when the next is due is not \
                   stacked: the next starts late, and that is counted.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "10s",
            reference_environment: Some("POLL_FREQUENCY"),
            apply: |config, text| set(&mut config.frequency, values::duration(text, WAIT_MIN, WAIT_MAX)),
            get: |config| duration::format(config.frequency),
            ..PLAIN
        }),
    },
    Flag {
        name: "timeout",
        aliases: &[],
        value: Value::Duration,
        doc: "How long one namespace may take in a poll",
        long_doc: "What was read of it until then is delivered, and the time-out is counted.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "5s",
            reference_environment: Some("POLL_TIMEOUT"),
            apply: |config, text| set(&mut config.timeout, values::duration(text, WAIT_MIN, WAIT_MAX)),
            get: |config| duration::format(config.timeout),
            ..PLAIN
        }),
    },
    Flag {
        name: "max-loops",
        aliases: &[],
        value: Value::Count,
        doc: "Polls until the daemon ends by itself; 0 is for ever",
        long_doc: "The rows of the last poll are delivered before it ends.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "0",
            reference_environment: Some("MAX_LOOPS"),
            apply: |config, text| set(&mut config.max_loops, values::number(text, 0, u64::MAX)),
            get: |config| config.max_loops.to_string(),
            ..PLAIN
        }),
    },
    Flag {
        name: "poll-jitter-pct",
        aliases: &[],
        value: Value::Count,
        doc: "Jitter of the start of each poll, in percent of the frequency",
        long_doc: "From 0 to 100. It keeps the hosts of a fleet from polling, and from writing to the same \
                   broker, at the same moment.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "20",
            reference_environment: Some("POLL_JITTER_PCT"),
            apply: |config, text| set(&mut config.poll_jitter_percent, values::number(text, 0, 100)),
            get: |config| config.poll_jitter_percent.to_string(),
            ..PLAIN
        }),
    },
    Flag {
        name: "poll-plan",
        aliases: &[],
        value: Value::Word(|| POLL_PLANS.to_vec()),
        doc: "How a namespace is read: the cheapest way, or always a walk",
        long_doc: "\"auto\" asks the kernel for the sockets it knows, and walks the kernel's table of all \
                   sockets only when the kernel counts more, or when that is cheaper; it skips namespaces \
                   without TCP sockets. \"walk\" walks the table for every namespace in every poll.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "auto",
            apply: |config, text| {
                config.poll_plan = match values::one_of(text, &POLL_PLANS)?.as_str() {
                    "walk" => PollPlan::Walk,
                    _ => PollPlan::Auto,
                };
                Ok(())
            },
            get: |config| match config.poll_plan {
                PollPlan::Auto => "auto".to_owned(),
                PollPlan::Walk => "walk".to_owned(),
            },
            ..PLAIN
        }),
    },
    Flag {
        name: "walk-every",
        aliases: &[],
        value: Value::Duration,
        doc: "Each namespace is walked at least so often",
        long_doc: "Bounds how long what the kernel does not count stays unseen: a connection request that \
                   was not answered yet. Everything else is found in the next poll.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "1m",
            apply: |config, text| set(&mut config.walk_every, values::duration(text, WAIT_MIN, WAIT_MAX)),
            get: |config| duration::format(config.walk_every),
            ..PLAIN
        }),
    },
    Flag {
        name: "netns-dirs",
        aliases: &[],
        value: Value::List("DIR,..."),
        doc: "Folders in which network namespaces are bind-mounted",
        long_doc: "Watched, and listed before each poll. A folder need not exist yet.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "/run/netns,/run/docker/netns",
            apply: |config, text| set(&mut config.netns_dirs, values::folders(text)),
            get: |config| {
                let folders: Vec<_> = config
                    .netns_dirs
                    .iter()
                    .map(|path| path.to_string_lossy())
                    .collect();
                folders.join(",")
            },
            ..PLAIN
        }),
    },
    Flag {
        name: "proc-scan-every",
        aliases: &[],
        value: Value::Duration,
        doc: "How often each process is looked at for a namespace of its own",
        long_doc: "Finds the namespaces that only a process holds, without a name in a folder. The scan is \
                   spread over the polls. 0s switches it off.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default: "1m",
            apply: |config, text| {
                set(
                    &mut config.proc_scan_every,
                    values::duration(text, Duration::ZERO, WAIT_MAX),
                )
            },
            get: |config| duration::format(config.proc_scan_every),
            ..PLAIN
        }),
    },
    Flag {
        name: "record",
        aliases: &[],
        value: Value::File,
        doc: "Record the kernel's replies to FILE as pcapng",
        long_doc: "Link type 253 (netlink), as an nlmon device would capture them. \"xtcp2 replay\" and \
                   packet analysers read it. Whoever may read the file sees what the kernel showed the \
                   daemon, with CAP_NET_ADMIN the keys of TCP-MD5 too: it is made readable for its \
                   owner only.",
        category: Category::Polling,
        action: Action::Set(Setting {
            default_doc: Some("nothing is recorded"),
            apply: |config, text| set(&mut config.record, Ok(values::path(text))),
            get: |config| values::show_path(&config.record),
            ..PLAIN
        }),
    },
    Flag {
        name: "deserializers",
        aliases: &[],
        value: Value::Words(|| {
            let sets = ["default", "all", "none"].into_iter();
            sets.chain(ATTRIBUTE_NAMES.iter().map(|(name, _)| *name))
                .collect()
        }),
        doc: "Which attributes of a socket are asked for and written",
        long_doc: "\"default\" is all but meminfo, whose numbers skmem has too; \"none\" leaves addresses, \
                   state, queues and timers.",
        category: Category::Rows,
        action: Action::Set(Setting {
            default: "default",
            reference_environment: Some("DESERIALIZERS"),
            apply: |config, text| set(&mut config.deserializers, text.parse()),
            get: |config| values::show_attributes(config.deserializers),
            ..PLAIN
        }),
    },
    Flag {
        name: "states",
        aliases: &[],
        value: Value::Words(|| {
            ["all"]
                .into_iter()
                .chain(STATE_NAMES.iter().map(|(name, _)| *name))
                .collect()
        }),
        doc: "Which TCP states become rows",
        long_doc: "Names in upper or lower case. The kernel is asked for all of them; the others are left \
                   out afterwards.",
        category: Category::Rows,
        action: Action::Set(Setting {
            default: "all",
            apply: |config, text| set(&mut config.states, text.parse()),
            get: |config| values::show_states(config.states),
            ..PLAIN
        }),
    },
    Flag {
        name: "label",
        aliases: &[],
        value: Value::Text("TEXT"),
        doc: "\"label\" of each row",
        long_doc: "At most 255 bytes, without control characters.",
        category: Category::Rows,
        action: Action::Set(Setting {
            reference_environment: Some("LABEL"),
            apply: |config, text| set(&mut config.label, values::row_text(text)),
            get: |config| config.label.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "tag",
        aliases: &[],
        value: Value::Text("TEXT"),
        doc: "\"tag\" of each row",
        long_doc: "At most 255 bytes, without control characters.",
        category: Category::Rows,
        action: Action::Set(Setting {
            reference_environment: Some("TAG"),
            apply: |config, text| set(&mut config.tag, values::row_text(text)),
            get: |config| config.tag.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "hostname",
        aliases: &[],
        value: Value::Text("TEXT"),
        doc: "\"hostname\" of each row",
        long_doc: "For containers, whose own name says nothing of the host. At most 255 bytes, without \
                   control characters.",
        category: Category::Rows,
        action: Action::Set(Setting {
            default_doc: Some("the name of the host"),
            reference_environment: Some("XTCP_HOSTNAME"),
            apply: |config, text| set(&mut config.hostname, values::row_text(text)),
            get: |config| config.hostname.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "location",
        aliases: &[],
        value: Value::Text("TEXT"),
        doc: "\"location\" of each row",
        long_doc: "Data centre, region or rack. At most 255 bytes, without control characters.",
        category: Category::Rows,
        action: Action::Set(Setting {
            reference_environment: Some("LOCATION"),
            apply: |config, text| set(&mut config.location, values::row_text(text)),
            get: |config| config.location.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "dest",
        aliases: &[],
        value: Value::Text("DEST"),
        doc: "Where rows go",
        long_doc: "One of stdout, stderr, null, file:/path, udp:host:port, tcp:host:port, unix:/path, \
                   unixgram:/path, http://host[:port]/path, https://host[:port]/path, \
                   clickhouse:http://host:8123/db.table (or clickhouse:https:) or \
                   kafka:host:port[,host:port].",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "stdout",
            reference_environment: Some("DEST"),
            apply: |config, text| set(&mut config.dest, text.parse()),
            get: |config| config.dest.to_string(),
            ..PLAIN
        }),
    },
    Flag {
        name: "marshal",
        aliases: &[],
        value: Value::Word(|| Format::NAMES.iter().map(|(name, _)| *name).collect()),
        doc: "How rows are written",
        long_doc: "Where it is not given, stdout and stderr get jsonl, as bytes of protobuf on a terminal \
                   help nobody, and everything else gets protobufList.",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "protobufList",
            default_doc: Some("protobufList; jsonl on stdout and stderr"),
            reference_environment: Some("MARSHAL"),
            apply: |config, text| set(&mut config.marshal, text.parse()),
            get: |config| config.marshal.to_string(),
        }),
    },
    Flag {
        name: "columns",
        aliases: &[],
        value: Value::List("FIELD,..."),
        doc: "Columns of csv and tsv",
        long_doc: "Field names as \"xtcp2 schema json\" lists them, in the order wanted.",
        category: Category::Output,
        action: Action::Set(Setting {
            default_doc: Some("every field"),
            apply: |config, text| set(&mut config.columns, values::columns(text)),
            get: |config| config.columns.join(","),
            ..PLAIN
        }),
    },
    Flag {
        name: "topic",
        aliases: &[],
        value: Value::Text("TOPIC"),
        doc: "Kafka topic",
        long_doc: "Used where the destination is kafka:.",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "xtcp",
            reference_environment: Some("TOPIC"),
            apply: |config, text| set(&mut config.topic, values::topic(text)),
            get: |config| config.topic.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "kafka-compression",
        aliases: &[],
        value: Value::Word(|| COMPRESSIONS.to_vec()),
        doc: "Compression of Kafka messages",
        long_doc: "\"auto\" is zstd. A broker that does not know it (before 2.1) gets messages uncompressed.",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "auto",
            reference_environment: Some("KAFKA_COMPRESSION"),
            apply: |config, text| set(&mut config.kafka_compression, values::one_of(text, &COMPRESSIONS)),
            get: |config| config.kafka_compression.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "kafka-property",
        aliases: &[],
        value: Value::Pairs,
        doc: "A property of librdkafka, as its CONFIGURATION.md has them",
        long_doc: "May be given again and again: security.protocol=SASL_SSL, say. A value @FILE is read from that \
                   file; secrets (sasl.password, ssl.key.password and the like) must be, since a command line can \
                   be read in /proc. The environment has one a line, a configuration file an array of them.",
        category: Category::Output,
        action: Action::Set(Setting {
            default_doc: Some("idempotence, no time-out, zstd"),
            apply: |config, text| values::add_properties(&mut config.kafka_properties, text),
            get: |config| {
                let properties: Vec<String> =
                    config.kafka_properties.iter().map(ToString::to_string).collect();
                properties.join("\n")
            },
            ..PLAIN
        }),
    },
    Flag {
        name: "http-headers-file",
        aliases: &[],
        value: Value::File,
        doc: "Header lines that go with every request of http: and clickhouse:",
        long_doc: "For credentials: \"Authorization: Bearer ...\", or \"X-ClickHouse-User: ...\" and \
                   \"X-ClickHouse-Key: ...\", one a line. Read at start and on SIGHUP.",
        category: Category::Output,
        action: Action::Set(Setting {
            default_doc: Some("none"),
            apply: |config, text| set(&mut config.http_headers_file, Ok(values::path(text))),
            get: |config| values::show_path(&config.http_headers_file),
            ..PLAIN
        }),
    },
    Flag {
        name: "envelope-flush-rows",
        aliases: &[],
        value: Value::Count,
        doc: "An envelope is closed at this many rows",
        long_doc: "Or at the bytes below, or at the end of the poll, whichever comes first. 0 is the default.",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "10000",
            reference_environment: Some("ENVELOPE_FLUSH_ROWS"),
            apply: |config, text| {
                let rows = values::number(text, 0, ENVELOPE_FLUSH_ROWS_MAX)?;
                config.envelope_flush_rows = if rows == 0 { ENVELOPE_FLUSH_ROWS } else { rows };
                Ok(())
            },
            get: |config| config.envelope_flush_rows.to_string(),
            ..PLAIN
        }),
    },
    Flag {
        name: "envelope-flush-bytes",
        aliases: &[],
        value: Value::Bytes,
        doc: "An envelope is closed at this many bytes of protobuf",
        long_doc: "At most 16MiB. Mind what the receiver takes: a Kafka broker takes 1,000,000 bytes unless \
                   it was told otherwise. 0 is the default.",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "768KiB",
            reference_environment: Some("ENVELOPE_FLUSH_BYTES"),
            apply: |config, text| {
                let bytes = values::bytes(text, ENVELOPE_FLUSH_BYTES_MAX)?;
                config.envelope_flush_bytes = if bytes == 0 { ENVELOPE_FLUSH_BYTES } else { bytes };
                Ok(())
            },
            get: |config| values::show_bytes(config.envelope_flush_bytes),
            ..PLAIN
        }),
    },
    Flag {
        name: "output-queue-bytes",
        aliases: &[],
        value: Value::Bytes,
        doc: "Bytes that may wait for a slow receiver",
        long_doc: "Past it the oldest messages are dropped and counted. At least two envelopes.",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "64MiB",
            apply: |config, text| {
                set(
                    &mut config.output_queue_bytes,
                    values::bytes(text, OUTPUT_QUEUE_BYTES_MAX),
                )
            },
            get: |config| values::show_bytes(config.output_queue_bytes),
            ..PLAIN
        }),
    },
    Flag {
        name: "spool-dir",
        aliases: &[],
        value: Value::File,
        doc: "Folder in which messages wait for the receiver, on disk",
        long_doc: "A message is on disk before it is sent, and leaves when it was delivered: it outlives the end of \
                   the daemon, and a power cut. For destinations on the network. One daemon a folder.",
        category: Category::Output,
        action: Action::Set(Setting {
            default_doc: Some("messages wait in memory"),
            apply: |config, text| set(&mut config.spool_dir, Ok(values::path(text))),
            get: |config| values::show_path(&config.spool_dir),
            ..PLAIN
        }),
    },
    Flag {
        name: "spool-max-bytes",
        aliases: &[],
        value: Value::Bytes,
        doc: "Bytes that the spool may take",
        long_doc: "Past it the oldest messages are dropped and counted. At least 16MiB.",
        category: Category::Output,
        action: Action::Set(Setting {
            default: "1GiB",
            apply: |config, text| {
                let bytes = values::bytes(text, SPOOL_BYTES_MAX)?;
                if bytes < SPOOL_BYTES_MIN {
                    return Err(format!(
                        "expected at least {}, got {text:?}",
                        values::show_bytes(SPOOL_BYTES_MIN)
                    ));
                }
                config.spool_bytes_max = bytes as u64;
                Ok(())
            },
            get: |config| values::show_bytes(usize::try_from(config.spool_bytes_max).unwrap_or(usize::MAX)),
            ..PLAIN
        }),
    },
    Flag {
        name: "prom-listen",
        aliases: &[],
        value: Value::Text("HOST:PORT"),
        doc: "Where the admin server listens: metrics, health, profiles",
        long_doc: "\":9088\" is port 9088 of every address; \"none\" is no server.",
        category: Category::Admin,
        action: Action::Set(Setting {
            default: "127.0.0.1:9088",
            reference_environment: Some("PROM_LISTEN"),
            apply: |config, text| set(&mut config.prom_listen, values::listen(text)),
            get: |config| config.prom_listen.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "prom-path",
        aliases: &[],
        value: Value::Text("PATH"),
        doc: "Path of the metrics",
        long_doc: "Beside it are /healthz, /readyz and /debug/pprof/.",
        category: Category::Admin,
        action: Action::Set(Setting {
            default: "/metrics",
            reference_environment: Some("PROM_PATH"),
            apply: |config, text| set(&mut config.prom_path, values::metrics_path(text)),
            get: |config| config.prom_path.clone(),
            ..PLAIN
        }),
    },
    Flag {
        name: "config",
        aliases: &[],
        value: Value::File,
        doc: "Read settings from FILE, in TOML",
        long_doc: "The keys are the names of the flags with underscores. Flags come before the environment, \
                   the environment before the file.",
        category: Category::General,
        action: Action::ConfigFile,
    },
    Flag {
        name: "log-level",
        aliases: &[],
        value: Value::Word(|| values::LOG_LEVELS.to_vec()),
        doc: "Most verbose level that is logged",
        long_doc: "Logs go to stderr.",
        category: Category::General,
        action: Action::Set(Setting {
            default: "info",
            apply: |config, text| set(&mut config.log_level, values::log_level(text)),
            get: |config| config.log_level.to_string().to_ascii_lowercase(),
            ..PLAIN
        }),
    },
    Flag {
        name: "debug-level",
        aliases: &["d"],
        value: Value::Count,
        doc: "Log level as the reference program counts it",
        long_doc: "Up to 10 is info, up to 100 is debug, above is trace. Sets --log-level.",
        category: Category::General,
        action: Action::Also {
            of: "log-level",
            apply: |config, text| set(&mut config.log_level, values::debug_level(text)),
        },
    },
    Flag {
        name: "log-format",
        aliases: &[],
        value: Value::Word(|| LOG_FORMATS.to_vec()),
        doc: "How log lines look",
        long_doc: "\"text\" puts the priority in front, as journald understands it, where stderr is the journal; \"json\" is one object \
                   a line.",
        category: Category::General,
        action: Action::Set(Setting {
            default: "text",
            apply: |config, text| {
                config.log_format = match values::one_of(text, &LOG_FORMATS)?.as_str() {
                    "json" => LogFormat::Json,
                    _ => LogFormat::Text,
                };
                Ok(())
            },
            get: |config| match config.log_format {
                LogFormat::Text => "text".to_owned(),
                LogFormat::Json => "json".to_owned(),
            },
            ..PLAIN
        }),
    },
    Flag {
        name: "shutdown-timeout",
        aliases: &[],
        value: Value::Duration,
        doc: "How long ending may take",
        long_doc: "Within it the poll is finished and the output flushed; what is left then is counted as \
                   dropped.",
        category: Category::General,
        action: Action::Set(Setting {
            default: "10s",
            apply: |config, text| {
                set(
                    &mut config.shutdown_timeout,
                    values::duration(text, Duration::ZERO, WAIT_MAX),
                )
            },
            get: |config| duration::format(config.shutdown_timeout),
            ..PLAIN
        }),
    },
    Flag {
        name: "print-config",
        aliases: &["conf"],
        value: Value::None,
        doc: "Print the settings in effect and where each came from",
        long_doc: "As TOML that --config reads. Nothing is run.",
        category: Category::General,
        action: Action::Show(Show::Config),
    },
    Flag {
        name: "help",
        aliases: &["h"],
        value: Value::None,
        doc: "Print help; -h is the short one",
        long_doc: "\"xtcp2 man\" prints the manual page.",
        category: Category::General,
        action: Action::Show(Show::Help),
    },
    Flag {
        name: "version",
        aliases: &["v", "V"],
        value: Value::None,
        doc: "Print version, commit and build date",
        long_doc: "The date is the commit's own unless the builder set another.",
        category: Category::General,
        action: Action::Show(Show::Version),
    },
];

const _: () = {
    assert!(ENVELOPE_FLUSH_BYTES <= ENVELOPE_FLUSH_BYTES_MAX);
    assert!(2 * ENVELOPE_FLUSH_BYTES_MAX <= OUTPUT_QUEUE_BYTES_MAX);
};
