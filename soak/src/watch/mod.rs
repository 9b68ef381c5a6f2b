//! Watches the daemon from outside, each second: process, cgroup, /metrics, machine, logs.
//!
//! Nothing here judges. What is seen becomes samples and events (`record`), and gates read those alone.
//! A sample costs the daemon one scrape, and the machine a millisecond or two.

pub mod cgroup;
pub mod kernel_log;
pub mod log_lines;
pub mod machine;
pub mod polls;
pub mod process;
pub mod scrape;
pub mod supervisor;
pub mod systemd;

use crate::record::{Event, Sample, Watched, What};
use kernel_log::KernelLog;
use log_lines::Tail;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// PSS is read every so many samples: the kernel walks all mappings for it.
const PSS_EVERY: u64 = 10;

/// Who runs the daemon.
#[derive(Debug)]
pub enum Source {
    /// This program.
    Supervisor(supervisor::Supervisor),
    /// systemd.
    Unit(systemd::Unit),
}

impl Source {
    /// What happened to it since the last call.
    pub fn events(&mut self) -> Vec<What> {
        match self {
            Source::Supervisor(supervisor) => supervisor.events(),
            Source::Unit(unit) => unit.events(),
        }
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Source::Supervisor(supervisor) => supervisor.pid(),
            Source::Unit(unit) => unit.pid(),
        }
    }

    fn cgroup(&self) -> Option<&Path> {
        match self {
            Source::Supervisor(supervisor) => supervisor.cgroup(),
            Source::Unit(unit) => unit.cgroup(),
        }
    }

    fn log(&self) -> PathBuf {
        match self {
            Source::Supervisor(supervisor) => supervisor.log(),
            Source::Unit(unit) => unit.log().to_owned(),
        }
    }
}

/// Takes samples. It has no clock of its own that ticks: who calls it decides how often.
#[derive(Debug)]
pub struct Watcher {
    source: Source,
    scraper: scrape::Scraper,
    machine: machine::Reader,
    kernel_log: Option<KernelLog>,
    log: Option<Tail>,
    start: Instant,
    samples: u64,
    /// Of the last scrape that was answered.
    metrics: Option<scrape::Metrics>,
    /// The daemon was started as announced, and has not said yet who it is.
    instance_is_announced: bool,
    /// Of [`Watcher::open`], for the first sample.
    events: Vec<What>,
}

impl Watcher {
    /// Watches what `source` runs, and its /metrics at `metrics_address`, `HOST:PORT`. Time is counted from now.
    pub fn open(source: Source, metrics_address: &str) -> Watcher {
        let mut events = Vec::new();
        let mut watched = |what, problem| {
            events.push(What::NotWatched { what, why: problem });
        };
        let kernel_log = KernelLog::open()
            .map_err(|why| watched(Watched::KernelLog, why))
            .ok();
        let log = Tail::open(&source.log())
            .map_err(|why| watched(Watched::Log, why))
            .ok();
        Watcher {
            source,
            scraper: scrape::Scraper::new(metrics_address),
            machine: machine::Reader::default(),
            kernel_log,
            log,
            start: Instant::now(),
            samples: 0,
            metrics: None,
            instance_is_announced: true,
            events,
        }
    }

    /// Who runs the daemon: actions go there.
    pub fn source(&mut self) -> &mut Source {
        &mut self.source
    }

    /// From now on time is counted anew: the measured part begins.
    pub fn begin(&mut self) {
        self.start = Instant::now();
    }

    /// Since the start, or [`Watcher::begin`].
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What there is now, and what happened since the sample before, in its order. Loads and the table are for
    /// the caller to fill in. It waits a second at most, for a /metrics that does not answer.
    pub fn sample(&mut self) -> (Sample, Vec<Event>) {
        // First of all: an instance that answers was started before, so its start is among the events below.
        let scraped = self.scraper.scrape();
        let mut events = std::mem::take(&mut self.events);
        events.extend(self.source.events());
        let started = |what: &What| match what {
            What::DaemonStarted { announced, .. } => Some(*announced),
            _ => None,
        };
        // An in-place exec has no start, so its instance is not announced.
        if let Some(announced) = events.iter().filter_map(started).next_back() {
            self.instance_is_announced = announced;
        }
        let elapsed_seconds = self.elapsed().as_secs_f64();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let with_pss = self.samples.is_multiple_of(PSS_EVERY);
        self.samples += 1;
        let process = self.source.pid().and_then(|pid| process::read(pid, with_pss));
        let mut cgroup = self.source.cgroup().and_then(cgroup::read);
        if let (Source::Unit(_), Some(cgroup)) = (&self.source, &mut cgroup) {
            // Helpers of systemd count there too.
            cgroup.pids_peak = None;
        }
        let (metrics, scrape_ms) = match scraped {
            Some((metrics, took)) => (Some(metrics), Some(took.as_secs_f64() * 1e3)),
            None => (None, None),
        };
        if let Some(metrics) = &metrics {
            self.compare(metrics, &mut events);
        }
        let kernel_lines = self.kernel_log.as_mut().map(KernelLog::lines).unwrap_or_default();
        events.extend(kernel_lines.into_iter().map(|line| What::KernelLine { line }));
        let errors = self.log.as_mut().map(Tail::errors).unwrap_or_default();
        events.extend(errors.into_iter().map(|line| What::ErrorLine { line }));
        let sample = Sample {
            elapsed_seconds,
            time_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            process,
            cgroup,
            metrics,
            scrape_ms,
            machine: self.machine.read(),
            ..Sample::default()
        };
        let event = |what| Event {
            elapsed_seconds,
            what,
        };
        (sample, events.into_iter().map(event).collect())
    }

    /// Which instance answers, and which polls it completed since the scrape before.
    fn compare(&mut self, metrics: &scrape::Metrics, events: &mut Vec<What>) {
        let before = self.metrics.as_ref();
        let Some(instance_id) = scrape::instance_id(metrics) else {
            return;
        };
        if before.and_then(scrape::instance_id) != Some(instance_id) {
            events.push(What::Instance {
                instance_id: instance_id.to_owned(),
                announced: std::mem::take(&mut self.instance_is_announced),
            });
        }
        let polls = polls::between(before, metrics).unwrap_or_default();
        events.extend(polls.known.into_iter().map(|poll| What::Poll {
            instance_id: instance_id.to_owned(),
            sequence: poll.sequence,
            rows: poll.rows,
            duration_ms: poll.duration_ms,
        }));
        self.metrics = Some(metrics.clone());
    }
}
