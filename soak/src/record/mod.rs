//! What a run writes down while it runs: samples and events, a JSON object a line, in `samples.jsonl` and
//! `events.jsonl` of its folder. Gates read nothing else, so a run that was killed can still be judged.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Add};

/// What was seen at one time. Absent is not 0: the daemon was not there, or did not answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Since the start of the measured part.
    pub elapsed_seconds: f64,
    /// Since 1970.
    pub time_unix_ms: u64,
    /// The daemon's process.
    pub process: Option<Process>,
    /// The daemon's own cgroup.
    pub cgroup: Option<Cgroup>,
    /// Samples of /metrics, by name and labels as they stand there; those that gates and plots use.
    pub metrics: Option<BTreeMap<String, f64>>,
    /// How long /metrics took to answer.
    pub scrape_ms: Option<f64>,
    /// The machine.
    pub machine: Machine,
    /// What the loads did so far, summed over them.
    pub load: Load,
    /// Rows in the table.
    pub stored_rows: Option<u64>,
}

/// A process, as /proc shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Start in clock ticks since boot (field 22 of stat): with the pid, who it is.
    pub start_ticks: u64,
    /// One letter: R, S, D, T, Z.
    pub state: char,
    /// Threads by name.
    pub threads: BTreeMap<String, u32>,
    /// Resident memory.
    pub rss_kib: u64,
    /// Proportional share of it. Read every tenth time: the kernel walks all mappings for it.
    pub pss_kib: Option<u64>,
    /// Open descriptors.
    pub fds: u32,
    /// User and system time since its start.
    pub cpu_seconds: f64,
    /// Times that its main thread waited.
    pub voluntary_switches: u64,
    /// Times that its main thread had to make room.
    pub involuntary_switches: u64,
    /// Time that its main thread could have run and had no processor, since its start: what others took.
    #[serde(default)]
    pub run_delay_seconds: Option<f64>,
}

/// A pids cgroup: catches threads that live between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Tasks, threads included.
    pub pids_current: u64,
    /// Most tasks since the cgroup was made; absent where the kernel has no pids.peak (cgroup v1 before 6.1).
    pub pids_peak: Option<u64>,
}

/// What the machine had to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors.
    pub cpus: u32,
    /// Of all processors' time since the sample before.
    pub busy_percent: f64,
    /// Taken by the hypervisor for others.
    pub steal_percent: f64,
    /// Some task waited for a processor (PSI, avg10).
    pub cpu_pressure_percent: Option<f64>,
    /// MemAvailable.
    pub memory_available_kib: u64,
}

/// What loads did since their start, and what is there now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Namespaces made.
    pub namespaces_created: u64,
    /// Namespaces deleted.
    pub namespaces_deleted: u64,
    /// Namespaces there are now.
    pub namespaces: u64,
    /// Established sockets there are now; the listeners, one in each namespace, are not counted.
    pub sockets: u64,
    /// Containers that run now.
    pub containers: u64,
    /// Containers that ended and were made anew.
    pub containers_restarted: u64,
    /// Received by the loads' own sockets.
    pub bytes: u64,
    /// Short connections that were opened and closed.
    pub connections: u64,
    /// What loads could not do.
    pub errors: u64,
    /// A load has ended, or did not answer.
    pub dead: bool,
}

/// What two loads did together; dead if one of them is.
impl Add<&Load> for Load {
    type Output = Load;

    fn add(self, other: &Load) -> Load {
        Load {
            namespaces_created: self.namespaces_created + other.namespaces_created,
            namespaces_deleted: self.namespaces_deleted + other.namespaces_deleted,
            namespaces: self.namespaces + other.namespaces,
            sockets: self.sockets + other.sockets,
            containers: self.containers + other.containers,
            containers_restarted: self.containers_restarted + other.containers_restarted,
            bytes: self.bytes + other.bytes,
            connections: self.connections + other.connections,
            errors: self.errors + other.errors,
            dead: self.dead || other.dead,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// As [`Sample::elapsed_seconds`].
    pub elapsed_seconds: f64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum What {
    /// The runner, or systemd, started the daemon.
    DaemonStarted {
        pid: i32,
        start_ticks: u64,
        announced: bool,
    },
    /// The daemon ended: with a code or by a signal.
    DaemonEnded {
        pid: i32,
        code: Option<i32>,
        signal: Option<i32>,
        announced: bool,
    },
    /// Another instance answers at /metrics.
    Instance { instance_id: String, announced: bool },
    /// The daemon logged at error or above.
    ErrorLine { line: String },
    /// The kernel said that it killed, or that a process crashed.
    KernelLine { line: String },
    /// Something that was to be watched cannot be: no event of its kind then means nothing.
    NotWatched { what: Watched, why: String },
    /// systemd's counter of restarts, when it changes.
    Restarts { count: u32 },
    /// An action of the scenario begins to act, and has acted.
    Action { name: String, done: bool },
    /// A namespace that was alive through a whole interval and a second, and whether it had a row.
    LastingNamespace { name: String, polled: bool },
    /// So many that had one: named, they would fill the disk.
    LastingNamespacesPolled { count: u64 },
    /// The run ended for a reason that no gate knows.
    BrokeOff { why: String },
    /// Rows of one completed poll.
    Poll {
        instance_id: String,
        sequence: u64,
        rows: u64,
        duration_ms: f64,
    },
    /// A reconciliation.
    Reconciled {
        produced: u64,
        stored: u64,
        missing: u64,
        admitted: u64,
        double: u64,
        /// The last one, after everything has come to rest.
        last: bool,
    },
}

/// What is watched besides samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// The daemon's log.
    Log,
    /// The kernel's.
    KernelLog,
    /// The peak of the daemon's tasks between two samples.
    TasksPeak,
}
