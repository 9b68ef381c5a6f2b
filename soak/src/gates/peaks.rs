//! What may never be more at any time: threads, resident memory.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::record::Sample;

/// The ceiling of threads.
#[derive(Debug)]
pub struct Threads {
    max: u32,
    seen: u64,
    sampled_peak: u32,
    /// The last time that it was reached.
    names: String,
    cgroup_peak: Option<u64>,
}

impl Threads {
    /// At most `max`.
    pub fn new(max: u32) -> Threads {
        Threads {
            max,
            seen: 0,
            sampled_peak: 0,
            names: String::new(),
            cgroup_peak: None,
        }
    }
}

impl Gate for Threads {
    fn sample(&mut self, sample: &Sample, _: &Moment) {
        if let Some(process) = &sample.process {
            self.seen += 1;
            let threads = process.threads.values().sum();
            if threads >= self.sampled_peak {
                self.sampled_peak = threads;
                let names = process
                    .threads
                    .iter()
                    .map(|(name, count)| format!("{count} {name}"));
                self.names = names.collect::<Vec<_>>().join(", ");
            }
        }
        if let Some(cgroup) = &sample.cgroup {
            self.cgroup_peak = self.cgroup_peak.max(cgroup.pids_peak);
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let peak = self.cgroup_peak.unwrap_or(0).max(u64::from(self.sampled_peak));
        let between = match self.cgroup_peak {
            Some(peak) => {
                format!("its cgroup saw {peak} tasks at once, those that lived between samples included")
            }
            None => {
                "no cgroup counted its tasks: threads that lived between two samples were not seen".to_owned()
            }
        };
        Verdict {
            name: "threads_max",
            status: match peak > u64::from(self.max) {
                true => Status::Fail,
                false if self.seen == 0 => Status::CannotJudge,
                false => Status::Pass,
            },
            figure: format!("{peak} threads"),
            threshold: format!("{} threads", self.max),
            why: format!(
                "{} samples, most of them in one: {} ({}); {between}",
                self.seen, self.sampled_peak, self.names
            ),
        }
    }
}

/// The ceiling of resident memory.
#[derive(Debug)]
pub struct Rss {
    max_kib: u64,
    seen: u64,
    peak_kib: u64,
    at_seconds: f64,
}

impl Rss {
    /// At most `max_kib`.
    pub fn new(max_kib: u64) -> Rss {
        Rss {
            max_kib,
            seen: 0,
            peak_kib: 0,
            at_seconds: 0.0,
        }
    }
}

impl Gate for Rss {
    fn sample(&mut self, sample: &Sample, _: &Moment) {
        let Some(process) = &sample.process else { return };
        self.seen += 1;
        if process.rss_kib > self.peak_kib {
            self.peak_kib = process.rss_kib;
            self.at_seconds = sample.elapsed_seconds;
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        Verdict {
            name: "rss_kib_max",
            status: match self.peak_kib > self.max_kib {
                true => Status::Fail,
                false if self.seen == 0 => Status::CannotJudge,
                false => Status::Pass,
            },
            figure: format!("{} KiB", self.peak_kib),
            threshold: format!("{} KiB", self.max_kib),
            why: format!("most of {} samples, at {:.0} s", self.seen, self.at_seconds),
        }
    }
}
