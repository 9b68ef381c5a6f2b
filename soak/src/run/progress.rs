//! What a person sees while a run lasts: a line.

use crate::{
    gates::{Judge, Status},
    record::Sample,
};
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Where lines are kept, one in so many samples is enough.
const SAMPLES_PER_LINE: u64 = 30;

/// Writes to stderr: over the line before on a terminal, now and then elsewhere.
#[derive(Debug)]
pub struct Progress {
    duration: Duration,
    is_terminal: bool,
    samples: u64,
}

impl Progress {
    /// Of a run that is to last so long.
    pub fn new(duration: Duration) -> Progress {
        Progress {
            duration,
            is_terminal: io::stderr().is_terminal(),
            samples: 0,
        }
    }

    /// Shows where it stands.
    pub fn show(&mut self, sample: &Sample, judge: &Judge) {
        self.samples += 1;
        if !self.is_terminal && self.samples % SAMPLES_PER_LINE != 1 {
            return;
        }
        let line = self.line(sample, judge);
        let mut out = io::stderr();
        // Nobody looks any more: no reason to end.
        let _ = match self.is_terminal {
            true => write!(out, "\r{line}\x1b[K"),
            false => writeln!(out, "{line}"),
        };
        let _ = out.flush();
    }

    fn line(&self, sample: &Sample, judge: &Judge) -> String {
        let verdicts = judge.verdicts();
        let failed: Vec<&str> = verdicts
            .iter()
            .filter(|verdict| verdict.status == Status::Fail)
            .map(|verdict| verdict.name)
            .collect();
        let gates = match failed.as_slice() {
            [] => "no gate failed".to_owned(),
            names => format!("FAILED: {}", names.join(" ")),
        };
        let process = match &sample.process {
            None => "no daemon".to_owned(),
            Some(process) => {
                let threads: u32 = process.threads.values().sum();
                format!(
                    "threads {threads}  rss {:.1} MiB",
                    f64::from(u32::try_from(process.rss_kib).unwrap_or(u32::MAX)) / 1024.0
                )
            }
        };
        let metric = |name: &str| {
            sample
                .metrics
                .as_ref()
                .and_then(|metrics| metrics.get(name))
                .copied()
                .unwrap_or(0.0)
        };
        let load = &sample.load;
        format!(
            "{:.0} of {} s  namespaces {} (+{} -{})  sockets {}  {process}  polls {:.0}  rows {:.0}  {gates}",
            sample.elapsed_seconds,
            self.duration.as_secs(),
            load.namespaces,
            load.namespaces_created,
            load.namespaces_deleted,
            load.sockets,
            metric("xtcp2_polls_total"),
            metric("xtcp2_rows_total"),
        )
    }
}
