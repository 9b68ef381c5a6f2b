//! Whether the machine, and the runner on it, were in a state to judge anything, and the run came to its end.

use super::{
    Gate, Status, Verdict,
    course::{Course, GAP_SECONDS_MAX, Moment},
};
use crate::{
    record::{Event, Sample, Watched, What},
    watch::kernel_log,
};
use std::{collections::VecDeque, time::Duration};

/// Of the time. Between late samples, peaks and restarts may go by unseen.
const LATE_PERCENT_MAX: f64 = 5.0;
/// However long the run: in a minute a daemon can crash and be back.
const GAP_SECONDS_TOLERATED: f64 = 15.0;
/// Over the run. A machine that has a third less than it shows is another machine.
const STEAL_PERCENT_MAX: f64 = 30.0;
/// Pids of the daemon that are remembered, so that its own end is not taken for somebody else's.
const PIDS_MAX: usize = 16;

/// The gate that every run is asked.
#[derive(Debug, Default)]
pub struct Machine {
    /// Of the scenario: what it asks may come at its end.
    duration: Duration,
    last_seconds: f64,
    with_process: u64,
    pressure_percent_max: f64,
    pids: VecDeque<i32>,
    killed: Option<String>,
    not_watched: Vec<&'static str>,
    broke_off: Option<String>,
}

impl Machine {
    /// Of a run that is to last so long.
    pub fn new(duration: Duration) -> Machine {
        Machine {
            duration,
            ..Machine::default()
        }
    }
}

impl Gate for Machine {
    fn sample(&mut self, sample: &Sample, _: &Moment) {
        self.last_seconds = sample.elapsed_seconds;
        self.with_process += u64::from(sample.process.is_some());
        let pressure = sample.machine.cpu_pressure_percent.unwrap_or(0.0);
        self.pressure_percent_max = self.pressure_percent_max.max(pressure);
    }

    fn event(&mut self, event: &Event, _: &Course) {
        match &event.what {
            What::DaemonStarted { pid, .. } => {
                self.pids.push_back(*pid);
                if self.pids.len() > PIDS_MAX {
                    self.pids.pop_front();
                }
            }
            What::KernelLine { line }
                if kernel_log::is_out_of_memory(line)
                    && !self.pids.iter().any(|pid| kernel_log::names(line, *pid)) =>
            {
                self.killed = Some(line.clone());
            }
            What::BrokeOff { why } => self.broke_off = Some(why.clone()),
            What::NotWatched { what, .. } => {
                let what = match what {
                    Watched::Log => "the daemon's log",
                    Watched::KernelLog => "the kernel's log",
                    Watched::TasksPeak => "the peak of tasks between samples",
                };
                if !self.not_watched.contains(&what) {
                    self.not_watched.push(what);
                }
            }
            _ => {}
        }
    }

    fn verdict(&self, course: &Course) -> Verdict {
        let mut problems = Vec::new();
        if let Some(why) = &self.broke_off {
            problems.push(format!("the run broke off: {why}"));
        }
        if course.samples == 0 {
            problems.push("no sample was taken".to_owned());
        } else if self.with_process == 0 {
            problems.push("the daemon's process was never seen".to_owned());
        }
        // Told to end, killed or broken off: actions that were still to come have shown nothing.
        let duration_seconds = self.duration.as_secs_f64();
        if self.last_seconds < duration_seconds {
            problems.push(format!(
                "it ended after {:.0} of {duration_seconds} s",
                self.last_seconds.floor()
            ));
        }
        if course.late_percent() > LATE_PERCENT_MAX {
            problems.push(format!(
                "{:.0} % of the time was in gaps of more than {GAP_SECONDS_MAX} s between samples: the runner itself had no processor",
                course.late_percent()
            ));
        }
        if course.gap_seconds > GAP_SECONDS_TOLERATED {
            problems.push(format!(
                "nobody looked for {:.0} s: more than {GAP_SECONDS_TOLERATED} s hide a restart",
                course.gap_seconds
            ));
        }
        if course.steal_percent() > STEAL_PERCENT_MAX {
            problems.push(format!(
                "{:.0} % of the processors' time went to others",
                course.steal_percent()
            ));
        }
        if let Some(line) = &self.killed {
            problems.push(format!(
                "out of memory, and another process than the daemon was killed: {line}"
            ));
        }
        let status = match problems.is_empty() {
            true => Status::Pass,
            false => Status::CannotJudge,
        };
        if !self.not_watched.is_empty() {
            problems.push(format!("not watched: {}", self.not_watched.join(", ")));
        }
        Verdict {
            name: "machine",
            status,
            figure: format!(
                "{} samples, {:.1} % late, {:.0} % starved, steal {:.1} %, pressure up to {:.0} %",
                course.samples,
                course.late_percent(),
                course.starved_percent(),
                course.steal_percent(),
                self.pressure_percent_max
            ),
            threshold: format!("late {LATE_PERCENT_MAX} %, steal {STEAL_PERCENT_MAX} %"),
            why: match problems.is_empty() {
                true => "runner and daemon had the processor time that they needed to be judged".to_owned(),
                false => problems.join("; "),
            },
        }
    }
}
