//! A scenario: what runs, how it is loaded, for how long, and what it has to pass. A TOML file in
//! microvms/scenarios, read by this program and by Nix alike.

mod commands;
mod explain;
pub mod gates;
pub mod read;
mod validate;

pub use commands::{CHECK, LIST, SCENARIOS, SHOW, path_of};
pub use explain::needs;
pub use read::{Folder, file};
pub use validate::{Problem, validate};

use crate::duration::Seconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A scenario, as its file has it. An unknown key is an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A line.
    pub title: String,
    /// What it shows, and what it was made after.
    pub description: String,
    /// Of the measured part; `--duration` overrides it.
    pub duration: Seconds,
    /// Samples before this age do not count for gates about growth and speed.
    pub warm_up: Seconds,
    /// The machine it needs.
    pub machine: Machine,
    /// Where things listen.
    #[serde(default)]
    pub ports: Ports,
    /// The daemon under test.
    pub daemon: Daemon,
    /// Kafka, ClickHouse and the feeder beside it.
    pub pipeline: Option<Pipeline>,
    /// What it is loaded with, all at the same time.
    #[serde(default, rename = "load")]
    pub loads: Vec<Load>,
    /// What is done to it while it runs, one after the other.
    #[serde(default, rename = "action")]
    pub actions: Vec<Action>,
    /// What it has to pass. A gate that is not named is not asked.
    pub gates: Gates,
}

/// A machine; the guest is made as large, a host that is smaller is said to be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u32,
}

/// Ports of a guest, which Nix opens and forwards. On the host the runner takes free ones, lest two runs, or
/// a run and a daemon in use, be in each other's way.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// /metrics of the daemon.
    pub admin: Option<u16>,
    /// The broker.
    pub kafka: Option<u16>,
    /// HTTP of ClickHouse.
    pub clickhouse: Option<u16>,
}

/// The daemon under test.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    /// Flags of xtcp2. The runner adds `--frequency`, `--prom-listen`, the folder of the load's namespaces,
    /// and, with a pipeline, `--dest` and `--spool-dir`.
    pub flags: Vec<String>,
    /// From the start of a poll to the start of the next.
    pub frequency: Seconds,
}

/// Kafka, ClickHouse and what is between them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// How often produced and stored rows are compared while it runs.
    pub reconcile_every: Seconds,
}

/// What the daemon has to look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs, reason = "units are in the names")]
pub enum Load {
    /// A lasting population: namespaces with established connections that carry data.
    Sockets {
        namespaces: u32,
        /// Sockets in each; a connection is two.
        sockets: u32,
        /// Sent over each connection.
        #[serde(default)]
        bytes_per_second: u64,
        /// netem on the loopback of each namespace, where the kernel has it.
        #[serde(default)]
        delay_ms: u32,
        #[serde(default)]
        loss_percent: f64,
        /// Given to the connections in turn; those that the kernel lacks are left out, and said.
        #[serde(default)]
        congestion_control: Vec<String>,
    },
    /// Namespaces that come and go. Each holds a listener, and `sockets` established sockets.
    Churn {
        /// Creations and deletions together.
        events_per_second: f64,
        /// Alive at a time.
        namespaces: u32,
        #[serde(default)]
        sockets: u32,
    },
    /// Docker containers that hold sockets; `restarts_per_minute` of them end and are made anew.
    Containers {
        containers: u32,
        sockets: u32,
        #[serde(default)]
        restarts_per_minute: f64,
    },
    /// Connections that live for milliseconds.
    Short {
        connections_per_second: f64,
        lifetime_ms: u32,
    },
}

/// Something that is done to the daemon or to what is around it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Since the start of the measured part.
    pub at: Seconds,
    /// What.
    #[serde(rename = "do")]
    pub what: What,
    /// Again and again, this far apart.
    pub every: Option<Seconds>,
}

/// What can be done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum What {
    /// SIGHUP
    ReloadDaemon,
    /// SIGTERM, wait, start: an announced restart.
    RestartDaemon,
    /// SIGKILL, start: an announced kill.
    KillDaemon,
    StopKafka,
    KillKafka,
    /// SIGSTOP
    FreezeKafka,
    /// SIGCONT, or a start: whatever brings it back.
    StartKafka,
    KillClickhouse,
    StartClickhouse,
    KillFeeder,
    StartFeeder,
    /// Fills the file system of the spool, which is a small tmpfs then.
    FillDisk,
    EmptyDisk,
    /// Starts the daemon anew with one capability less; the next one each time, then all again.
    DropNextCapability,
}

/// Gates and their thresholds. Units are in the names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Threads at any time, by samples and by the peak of the pids cgroup.
    pub threads_max: Option<u32>,
    /// Ends and starts that no action announced, of whatever kind. 0 is the only sensible value.
    pub restarts_max: Option<u32>,
    /// Growth of resident memory after the warm-up.
    pub rss_growth_kib_per_hour_max: Option<f64>,
    /// Growth of open descriptors after the warm-up.
    pub fds_growth_per_hour_max: Option<f64>,
    /// Growth of threads after the warm-up.
    pub threads_growth_per_hour_max: Option<f64>,
    /// Resident memory at any time.
    pub rss_kib_max: Option<u64>,
    /// 99th percentile of the duration of polls.
    pub poll_p99_ms_max: Option<f64>,
    /// Longest poll.
    pub poll_max_ms: Option<f64>,
    /// Of the polls that should have started, those that started late or not at all.
    pub polls_late_percent_max: Option<f64>,
    /// Row counters never go down within an instance.
    #[serde(default)]
    pub counters_only_grow: bool,
    /// A namespace that was alive through a whole interval and a second has a row.
    #[serde(default)]
    pub every_lasting_namespace_is_polled: bool,
    /// In every poll there are at least so many rows.
    pub rows_per_poll_min: Option<u64>,
    /// In every poll there are at least so many namespaces, the own one included.
    pub namespaces_per_poll_min: Option<u32>,
    /// Nothing missing, nothing double, when everything has come to rest.
    #[serde(default)]
    pub reconciled: bool,
    /// CPU of the daemon after the warm-up.
    pub cpu_percent_max: Option<f64>,
    /// Log lines at error or above that no outage explains.
    pub error_lines_max: Option<u32>,
    /// The load really happened: of what the scenario asks for (events, sockets, bytes, containers), so
    /// much was there.
    pub load_percent_min: Option<f64>,
}

/// Every scenario of a folder, by its name: that of the file, without `.toml`.
pub type Scenarios = BTreeMap<String, Scenario>;
