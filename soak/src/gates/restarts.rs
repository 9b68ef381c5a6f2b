//! The daemon never ended, and was never replaced, without an order.
//!
//! Each way to notice it is counted by itself, for each has seen what the others miss: ends that waitpid or
//! systemd reports; starts; systemd's own counter; another process in a sample; another instance behind the
//! same /metrics, which is all that an in-place exec shows; the kernel's log. One crash is noticed in several
//! ways, so the figure is the largest of the counts.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::{
    record::{Event, Sample, What},
    watch::kernel_log,
};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;

/// Follows who runs.
#[derive(Debug)]
pub struct Restarts {
    max: u32,
    /// How it ended, how often.
    ends: BTreeMap<String, u32>,
    starts: u32,
    instances: u32,
    processes: u32,
    counter: u32,
    announced_ends: u32,
    kernel_line: Option<String>,
    /// Pid and start of the last process that was announced, and of the last one that was sampled.
    announced: Option<(i32, u64)>,
    sampled: Option<(i32, u64)>,
    pid: Option<i32>,
    has_answered: bool,
}

impl Restarts {
    /// At most `max`.
    pub fn new(max: u32) -> Restarts {
        Restarts {
            max,
            ends: BTreeMap::new(),
            starts: 0,
            instances: 0,
            processes: 0,
            counter: 0,
            announced_ends: 0,
            kernel_line: None,
            announced: None,
            sampled: None,
            pid: None,
            has_answered: false,
        }
    }
}

/// A signal's name and number.
fn signal_name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => format!("killed by {signal}"),
        Err(_) => format!("killed by signal {number}"),
    }
}

impl Gate for Restarts {
    fn sample(&mut self, sample: &Sample, _: &Moment) {
        self.has_answered |= sample.metrics.is_some();
        let Some(process) = &sample.process else { return };
        let now = (process.pid, process.start_ticks);
        let is_announced = self
            .announced
            .is_some_and(|(pid, start_ticks)| pid == now.0 && (start_ticks == now.1 || start_ticks == 0));
        if self.sampled.is_some_and(|before| before != now) && !is_announced {
            self.processes += 1;
        }
        self.sampled = Some(now);
    }

    fn event(&mut self, event: &Event, _: &Course) {
        match &event.what {
            What::DaemonStarted {
                pid,
                start_ticks,
                announced,
            } => {
                self.pid = Some(*pid);
                match announced {
                    true => self.announced = Some((*pid, *start_ticks)),
                    false => self.starts += 1,
                }
            }
            What::DaemonEnded { announced: true, .. } => self.announced_ends += 1,
            What::DaemonEnded { code, signal, .. } => {
                let how = match (code, signal) {
                    (Some(code), _) => format!("exit status {code}"),
                    (None, Some(signal)) => signal_name(*signal),
                    (None, None) => "ended, nobody knows how".to_owned(),
                };
                *self.ends.entry(how).or_insert(0) += 1;
            }
            What::Instance { announced: false, .. } => self.instances += 1,
            // The supervisor's and systemd's both begin with 0 for a run.
            What::Restarts { count } => self.counter = self.counter.max(*count),
            What::KernelLine { line } if self.pid.is_some_and(|pid| kernel_log::names(line, pid)) => {
                self.kernel_line = Some(line.clone());
            }
            _ => {}
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let ends: u32 = self.ends.values().sum();
        let by_kernel = u32::from(self.kernel_line.is_some());
        let figure = [
            ends,
            self.starts,
            self.instances,
            self.processes,
            self.counter,
            by_kernel,
        ]
        .into_iter()
        .max()
        .unwrap_or(0);
        let mut why: Vec<String> = self
            .ends
            .iter()
            .map(|(how, count)| format!("{how} ({count} times)"))
            .collect();
        if ends == 0 && self.processes > 0 {
            why.push(format!("another process {} times", self.processes));
        }
        if self.instances > ends {
            why.push(format!(
                "another instance answered {} times, {ends} ends were seen: it replaced itself in place",
                self.instances
            ));
        }
        if ends == 0 && self.counter > 0 {
            why.push(format!("the service manager counts {}", self.counter));
        }
        why.extend(self.kernel_line.iter().map(|line| format!("kernel: {line}")));
        if why.is_empty() {
            why.push("one process and one instance between orders".to_owned());
        }
        why.push(format!("{} ordered ends do not count", self.announced_ends));
        let is_blind = self.sampled.is_none() || !self.has_answered;
        if is_blind {
            why.push("process or /metrics never seen".to_owned());
        }
        Verdict {
            name: "restarts_max",
            status: match figure > self.max {
                true => Status::Fail,
                false if is_blind => Status::CannotJudge,
                false => Status::Pass,
            },
            figure: format!("{figure} restarts"),
            threshold: format!("{} restarts", self.max),
            why: why.join("; "),
        }
    }
}
