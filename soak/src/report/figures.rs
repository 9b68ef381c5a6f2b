//! The figures of a run: what each is made of, its name and its unit, once for plots, summaries and result.json.

use super::{series::Series, spread::Spread};
use crate::record::{Load, Process, Sample};

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name, with its unit.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Over time.
    pub series: Series,
    /// Over all.
    pub spread: Spread,
}

/// Names and titles, in the order of the report.
pub const NAMES: [(&str, &str); 19] = [
    ("threads", "threads"),
    ("cgroup_pids_peak", "peak of the pids cgroup"),
    ("rss_mib", "resident memory, MiB"),
    ("pss_mib", "proportional share, MiB"),
    ("fds", "open descriptors"),
    ("cpu_percent", "CPU of the daemon, % of a processor"),
    (POLL_MS, "duration of polls, ms"),
    ("scrape_ms", "answers of /metrics, ms"),
    ("namespaces_polled", "namespaces polled"),
    ("namespaces_of_load", "namespaces of the load"),
    ("sockets_of_load", "sockets of the load"),
    ("containers_of_load", "containers of the load"),
    ("rows_per_second", "rows made a second"),
    ("stored_rows_per_second", "rows stored a second"),
    ("load_events_per_second", "namespaces made and deleted a second"),
    ("queued_mib", "waiting in the daemon, MiB"),
    ("spool_mib", "segments of the spool, MiB"),
    ("machine_busy_percent", "machine busy, %"),
    ("machine_steal_percent", "stolen by the hypervisor, %"),
];

/// The one that comes from events, not from samples.
pub const POLL_MS: &str = "poll_ms";
/// Bytes, KiB.
const KIB: f64 = 1024.0;

/// What has to be remembered of the sample before.
#[derive(Default)]
struct Before {
    seconds: f64,
    process: Option<Process>,
    rows: Option<f64>,
    load: Load,
}

/// All figures.
pub struct Figures {
    figures: Vec<Figure>,
    before: Option<Before>,
    /// When rows in the table were counted last, and how many there were.
    stored: Option<(f64, u64)>,
}

impl Figures {
    pub fn new() -> Figures {
        let figure = |(name, title)| Figure {
            name,
            title,
            series: Series::default(),
            spread: Spread::default(),
        };
        Figures {
            figures: NAMES.map(figure).into(),
            before: None,
            stored: None,
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Figure] {
        &self.figures
    }

    /// One.
    pub fn get(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// Takes a value of one.
    pub fn push(&mut self, name: &str, seconds: f64, value: Option<f64>) {
        if let Some(figure) = self.figures.iter_mut().find(|figure| figure.name == name) {
            figure.series.push(seconds, value);
            if let Some(value) = value {
                figure.spread.add(value);
            }
        }
    }

    /// Takes a sample.
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn sample(&mut self, sample: &Sample) {
        let seconds = sample.elapsed_seconds;
        let before = self.before.take();
        let span = before
            .as_ref()
            .map(|before| seconds - before.seconds)
            .filter(|span| *span > 0.0);
        let metric = |name: &str| sample.metrics.as_ref()?.get(name).copied();
        let process = sample.process.as_ref();
        let rows = metric("xtcp2_rows_total");
        let load = &sample.load;
        let rate = |now: f64, then: f64| Some((now - then) / span?).filter(|rate| *rate >= 0.0);
        let then = before.as_ref();
        let cpu_percent = then.and_then(|then| {
            let (now, then) = (process?, then.process.as_ref()?);
            let same = now.pid == then.pid && now.start_ticks == then.start_ticks;
            rate(now.cpu_seconds, then.cpu_seconds)
                .filter(|_| same)
                .map(|share| share * 100.0)
        });
        // A counter that goes back belongs to a new instance: its first rate is not known.
        let rows_rate = then.and_then(|then| rate(rows?, then.rows?));
        let events = |load: &Load| (load.namespaces_created + load.namespaces_deleted) as f64;
        let load_rate = then.and_then(|then| rate(events(load), events(&then.load)));
        let values = [
            (
                "threads",
                process.map(|process| f64::from(process.threads.values().sum::<u32>())),
            ),
            (
                "cgroup_pids_peak",
                sample.cgroup.and_then(|cgroup| Some(cgroup.pids_peak? as f64)),
            ),
            ("rss_mib", process.map(|process| process.rss_kib as f64 / KIB)),
            ("fds", process.map(|process| f64::from(process.fds))),
            ("cpu_percent", cpu_percent),
            ("scrape_ms", sample.scrape_ms),
            ("namespaces_polled", metric("xtcp2_namespaces")),
            ("namespaces_of_load", Some(load.namespaces as f64)),
            ("sockets_of_load", Some(load.sockets as f64)),
            ("containers_of_load", Some(load.containers as f64)),
            ("rows_per_second", rows_rate),
            ("load_events_per_second", load_rate),
            (
                "queued_mib",
                metric("xtcp2_output_queued_bytes").map(|bytes| bytes / KIB / KIB),
            ),
            (
                "spool_mib",
                metric("xtcp2_spool_bytes").map(|bytes| bytes / KIB / KIB),
            ),
            ("machine_busy_percent", Some(sample.machine.busy_percent)),
            ("machine_steal_percent", Some(sample.machine.steal_percent)),
        ];
        for (name, value) in values {
            self.push(name, seconds, value);
        }
        // Read now and then only: a sample without it is no gap.
        if let Some(pss_kib) = process.and_then(|process| process.pss_kib) {
            self.push("pss_mib", seconds, Some(pss_kib as f64 / KIB));
        }
        // The same goes for the table: the rate is over the time since it was last counted.
        if let Some(stored_rows) = sample.stored_rows {
            if let Some((at, then)) = self.stored
                && seconds > at
            {
                let rate = stored_rows.saturating_sub(then) as f64 / (seconds - at);
                self.push("stored_rows_per_second", seconds, Some(rate));
            }
            self.stored = Some((seconds, stored_rows));
        }
        self.before = Some(Before {
            seconds,
            process: process.cloned(),
            rows,
            load: load.clone(),
        });
    }
}
