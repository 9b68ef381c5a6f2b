//! What the daemon was told to do, typed and checked. Made by `cli` from flags, environment and
//! file; nothing else in the daemon knows where a value came from.

use crate::{
    format::Format,
    netlink::inet_diag::{Attributes, States},
    output::{Destination, kafka::Property},
};
use std::{path::PathBuf, time::Duration};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; with the priority prefix that journald understands where stderr is the journal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How namespaces are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PollPlan {
    /// In the cheapest way that is known to miss nothing.
    #[default]
    Auto,
    /// Every namespace is walked in every poll.
    Walk,
}

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Config {
    /// From the start of a poll to the start of the next.
    pub frequency: Duration,
    /// Jitter of the start of each poll, in percent of `frequency`; 0 to 100.
    pub poll_jitter_percent: u32,
    /// How long one namespace may take in a poll.
    pub timeout: Duration,
    /// How namespaces are read.
    pub poll_plan: PollPlan,
    /// Each namespace is walked at least so often, whatever the counters say.
    pub walk_every: Duration,
    /// Polls until the daemon ends by itself; 0 is for ever.
    pub max_loops: u64,
    /// Which attributes are asked of the kernel and written.
    pub deserializers: Attributes,
    /// Which TCP states become rows.
    pub states: States,
    /// Where rows go.
    pub dest: Destination,
    /// Kafka topic.
    pub topic: String,
    /// How rows are written.
    pub marshal: Format,
    /// Compression of Kafka messages: auto, zstd, lz4, snappy, gzip or none.
    pub kafka_compression: String,
    /// Properties of librdkafka, over our own choices.
    pub kafka_properties: Vec<Property>,
    /// File of header lines that go with every HTTP request.
    pub http_headers_file: Option<PathBuf>,
    /// Columns of csv and tsv, as camelCase field names; empty is all.
    pub columns: Vec<String>,
    /// An envelope is closed at this many rows.
    pub envelope_flush_rows: u32,
    /// An envelope is closed at this many bytes of protobuf.
    pub envelope_flush_bytes: usize,
    /// Bytes of messages that may wait for a slow receiver before the oldest are dropped.
    pub output_queue_bytes: usize,
    /// Folder in which messages wait for the receiver.
    pub spool_dir: Option<PathBuf>,
    /// Bytes that the spool may take there.
    pub spool_bytes_max: u64,
    /// `label` of each row.
    pub label: String,
    /// `tag` of each row.
    pub tag: String,
    /// `hostname` of each row. Empty where nothing gave one: whoever starts the daemon asks the
    /// host, so that parsing stays free of the world.
    pub hostname: String,
    /// `location` of each row.
    pub location: String,
    /// Folders in which namespaces are bind-mounted.
    pub netns_dirs: Vec<PathBuf>,
    /// Within this time every process has been looked at for a namespace only it holds;
    /// zero switches the scan off.
    pub proc_scan_every: Duration,
    /// `host:port` of the admin HTTP server, port 0 for any; empty is none. `[::]` stands for every
    /// address, IPv4 too.
    pub prom_listen: String,
    /// Path of the metrics on it.
    pub prom_path: String,
    /// Most verbose level that is logged.
    pub log_level: log::LevelFilter,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where the netlink replies are recorded as pcapng.
    pub record: Option<PathBuf>,
    /// How long the end of the daemon may take for finishing the poll and flushing the output.
    pub shutdown_timeout: Duration,
}

/// The defaults of the flag table.
impl Default for Config {
    fn default() -> Config {
        crate::cli::default_config()
    }
}

impl Config {
    /// Something for the flag table to apply its defaults to: no value in here survives that.
    pub(crate) fn blank() -> Config {
        Config {
            frequency: Duration::ZERO,
            poll_jitter_percent: 0,
            timeout: Duration::ZERO,
            poll_plan: PollPlan::Walk,
            walk_every: Duration::ZERO,
            max_loops: 0,
            deserializers: Attributes::NONE,
            states: States::LISTEN,
            dest: Destination::Null,
            topic: String::new(),
            marshal: Format::Tsv,
            kafka_compression: String::new(),
            kafka_properties: Vec::new(),
            http_headers_file: None,
            columns: Vec::new(),
            envelope_flush_rows: 0,
            envelope_flush_bytes: 0,
            output_queue_bytes: 0,
            spool_dir: None,
            spool_bytes_max: 0,
            label: String::new(),
            tag: String::new(),
            hostname: String::new(),
            location: String::new(),
            netns_dirs: Vec::new(),
            proc_scan_every: Duration::ZERO,
            prom_listen: String::new(),
            prom_path: String::new(),
            log_level: log::LevelFilter::Off,
            log_format: LogFormat::Json,
            record: None,
            shutdown_timeout: Duration::ZERO,
        }
    }
}
