//! What each gate asks, in words: for `show`, and for reports.

use super::Gates;

/// One gate.
pub struct Gate {
    /// Its key in a file.
    pub key: &'static str,
    /// What it asks.
    pub meaning: &'static str,
    /// When it says that it cannot judge.
    pub cannot_judge: &'static str,
    /// Its threshold, if it is asked.
    pub threshold: fn(&Gates) -> Option<String>,
}

/// Peaks need one sample.
const NEVER_SEEN: &str = "the daemon was never seen";
/// A slope needs many.
const GROWTH_UNSEEN: &str =
    "too few samples of one process, or scatter that hides a growth as small as what is allowed";

/// Of every run.
pub const MACHINE: Gate = Gate {
    key: "machine",
    meaning: "machine and runner left room to judge: the run lasted as long as it was to, samples came in time, the \
              hypervisor took no large share, nothing else was killed for want of memory",
    cannot_judge: "they did not; it never fails",
    threshold: |_| None,
};

/// Every gate, in the order in which people ask.
pub const GATES: [Gate; 17] = [
    Gate {
        key: "restarts_max",
        meaning: "ends and starts of the daemon that no action announced, however it ended: exit status, signal, panic, \
                  memory, watchdog, a new instance id behind the same pid",
        cannot_judge: "neither its process nor its /metrics was ever seen",
        threshold: |gates| gates.restarts_max.map(|max| format!("at most {max}")),
    },
    Gate {
        key: "threads_max",
        meaning: "threads at any time, by /proc and by the peak of the daemon's own pids cgroup",
        cannot_judge: NEVER_SEEN,
        threshold: |gates| gates.threads_max.map(|max| format!("at most {max}")),
    },
    Gate {
        key: "threads_growth_per_hour_max",
        meaning: "growth of threads after the warm-up",
        cannot_judge: GROWTH_UNSEEN,
        threshold: |gates| {
            gates
                .threads_growth_per_hour_max
                .map(|max| format!("at most {max} an hour"))
        },
    },
    Gate {
        key: "rss_kib_max",
        meaning: "resident memory at any time",
        cannot_judge: NEVER_SEEN,
        threshold: |gates| gates.rss_kib_max.map(|max| format!("at most {max} KiB")),
    },
    Gate {
        key: "rss_growth_kib_per_hour_max",
        meaning: "growth of resident memory after the warm-up",
        cannot_judge: GROWTH_UNSEEN,
        threshold: |gates| {
            gates
                .rss_growth_kib_per_hour_max
                .map(|max| format!("at most {max} KiB an hour"))
        },
    },
    Gate {
        key: "fds_growth_per_hour_max",
        meaning: "growth of open descriptors after the warm-up",
        cannot_judge: GROWTH_UNSEEN,
        threshold: |gates| {
            gates
                .fds_growth_per_hour_max
                .map(|max| format!("at most {max} an hour"))
        },
    },
    Gate {
        key: "cpu_percent_max",
        meaning: "user and system time of the daemon after the warm-up, of one processor",
        cannot_judge: "the daemon was seen for less than 10 s after the warm-up",
        threshold: |gates| gates.cpu_percent_max.map(|max| format!("at most {max} %")),
    },
    Gate {
        key: "poll_p99_ms_max",
        meaning: "the duration that 99 of 100 polls keep below, after the warm-up",
        cannot_judge: "fewer than 20 polls, polls known only in sum, or a machine that kept the daemon from running",
        threshold: |gates| gates.poll_p99_ms_max.map(|max| format!("at most {max} ms")),
    },
    Gate {
        key: "poll_max_ms",
        meaning: "the longest poll after the warm-up",
        cannot_judge: "no poll was seen by itself, or the longest ones fell where the machine gave no time",
        threshold: |gates| gates.poll_max_ms.map(|max| format!("at most {max} ms")),
    },
    Gate {
        key: "polls_late_percent_max",
        meaning: "polls that started late or not at all, of those that should have started",
        cannot_judge: "fewer than 5 due polls, or the late ones fell where the machine gave no time",
        threshold: |gates| gates.polls_late_percent_max.map(|max| format!("at most {max} %")),
    },
    Gate {
        key: "rows_per_poll_min",
        meaning: "rows in every poll",
        cannot_judge: "no poll was seen by itself",
        threshold: |gates| gates.rows_per_poll_min.map(|min| format!("at least {min}")),
    },
    Gate {
        key: "namespaces_per_poll_min",
        meaning: "namespaces in every poll, the daemon's own included",
        cannot_judge: "no poll was seen by itself",
        threshold: |gates| gates.namespaces_per_poll_min.map(|min| format!("at least {min}")),
    },
    Gate {
        key: "every_lasting_namespace_is_polled",
        meaning: "a namespace that was alive through a whole interval and a second more has a row",
        cannot_judge: "no namespace was seen to last that long",
        threshold: |gates| gates.every_lasting_namespace_is_polled.then(|| "all".into()),
    },
    Gate {
        key: "counters_only_grow",
        meaning: "row and poll counters never go down within an instance",
        cannot_judge: "no two scrapes of one instance",
        threshold: |gates| gates.counters_only_grow.then(|| "always".into()),
    },
    Gate {
        key: "reconciled",
        meaning: "every row that the daemon produced is in the table, or with the runner where there is none, once",
        cannot_judge: "none after everything had come to rest, or no row was produced",
        threshold: |gates| gates.reconciled.then(|| "0 missing, 0 double".into()),
    },
    Gate {
        key: "error_lines_max",
        meaning: "log lines at error or above that no outage explains",
        cannot_judge: "the log was not watched",
        threshold: |gates| gates.error_lines_max.map(|max| format!("at most {max}")),
    },
    Gate {
        key: "load_percent_min",
        meaning: "what was there of the load that the scenario asks for: events, sockets, bytes, containers",
        cannot_judge: "less than 3 s after the warm-up. A load that died is a failure",
        threshold: |gates| gates.load_percent_min.map(|min| format!("at least {min} %")),
    },
];

/// The gates that are asked, with their thresholds.
pub fn asked(gates: &Gates) -> impl Iterator<Item = (&'static Gate, String)> {
    GATES
        .iter()
        .filter_map(move |gate| (gate.threshold)(gates).map(|threshold| (gate, threshold)))
}
