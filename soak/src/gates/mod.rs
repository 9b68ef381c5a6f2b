//! What a run has to pass. Gates read samples and events and nothing else, in flat memory, and can be asked
//! for their verdict at any time; a run that was killed is judged from its files.
//!
//! Unknown is never a pass: a gate that has seen too little says that it cannot judge, and so does the gate of
//! the machine when it left too little room to judge anything. A verdict carries the name of its threshold in
//! the scenario.

pub mod command;
pub mod counters;
pub mod course;
pub mod cpu;
pub mod discovery;
pub mod error_lines;
pub mod growth;
pub mod load;
pub mod machine;
pub mod on_time;
pub mod peaks;
pub mod polls;
pub mod reconciled;
pub mod restarts;
pub mod slope;

use crate::{
    record::{Event, Sample},
    scenario::Scenario,
};
use course::{Course, Moment};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Seen, and within the threshold.
    Pass,
    /// Seen, and not.
    Fail,
    /// Not seen well enough.
    CannotJudge,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Pass => "pass",
            Status::Fail => "FAIL",
            Status::CannotJudge => "cannot judge",
        })
    }
}

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its key in the scenario; `machine` for the one that is always asked.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was seen, with its unit.
    pub figure: String,
    /// What was allowed, with its unit.
    pub threshold: String,
    /// What the figure rests on, and what was not seen.
    pub why: String,
}

/// A line for people.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            name,
            status,
            figure,
            threshold,
            why,
        } = self;
        write!(f, "{status:<12}  {name}: {figure}; allowed {threshold}; {why}")
    }
}

/// One gate. Sound memory: what it keeps does not grow with the run.
pub trait Gate: fmt::Debug {
    /// Takes a sample in.
    fn sample(&mut self, sample: &Sample, moment: &Moment);

    /// Takes in what happened.
    fn event(&mut self, event: &Event, course: &Course) {
        let _ = (event, course);
    }

    /// What it says now.
    fn verdict(&self, course: &Course) -> Verdict;
}

/// All gates of a scenario.
#[derive(Debug)]
pub struct Judge {
    course: Course,
    gates: Vec<Box<dyn Gate>>,
}

impl Judge {
    /// Those that the scenario names, and the machine.
    pub fn new(scenario: &Scenario) -> Judge {
        let asked = &scenario.gates;
        let warm_up = scenario.warm_up.0;
        let mut gates: Vec<Box<dyn Gate>> = vec![Box::new(machine::Machine::new(scenario.duration.0))];
        let mut add = |gate: Option<Box<dyn Gate>>| gates.extend(gate);
        add(asked
            .threads_max
            .map(|max| Box::new(peaks::Threads::new(max)) as _));
        add(asked
            .restarts_max
            .map(|max| Box::new(restarts::Restarts::new(max)) as _));
        add(asked.rss_kib_max.map(|max| Box::new(peaks::Rss::new(max)) as _));
        let growth = [
            (growth::Kind::Rss, asked.rss_growth_kib_per_hour_max),
            (growth::Kind::Fds, asked.fds_growth_per_hour_max),
            (growth::Kind::Threads, asked.threads_growth_per_hour_max),
        ];
        for (kind, max) in growth {
            add(max.map(|max| Box::new(growth::Growth::new(kind, max, warm_up)) as _));
        }
        add(asked
            .poll_p99_ms_max
            .map(|max| Box::new(polls::P99::new(max)) as _));
        add(asked
            .poll_max_ms
            .map(|max| Box::new(polls::Longest::new(max)) as _));
        add(asked.polls_late_percent_max.map(|max| {
            let longest = asked.poll_max_ms.or(asked.poll_p99_ms_max).unwrap_or(0.0) / 1e3;
            Box::new(on_time::OnTime::new(max, scenario.daemon.frequency.0, longest)) as _
        }));
        add(asked
            .counters_only_grow
            .then(|| Box::new(counters::Counters::default()) as _));
        add(asked
            .every_lasting_namespace_is_polled
            .then(|| Box::new(discovery::Discovery::default()) as _));
        add(asked
            .rows_per_poll_min
            .map(|min| Box::new(polls::Rows::new(min)) as _));
        add(asked
            .namespaces_per_poll_min
            .map(|min| Box::new(polls::Namespaces::new(min)) as _));
        add(asked
            .reconciled
            .then(|| Box::new(reconciled::Reconciled::default()) as _));
        add(asked.cpu_percent_max.map(|max| Box::new(cpu::Cpu::new(max)) as _));
        add(asked
            .error_lines_max
            .map(|max| Box::new(error_lines::ErrorLines::new(max)) as _));
        add(asked
            .load_percent_min
            .map(|min| Box::new(load::Load::new(min, &scenario.loads)) as _));
        Judge {
            course: Course::new(warm_up),
            gates,
        }
    }

    /// Takes a sample in.
    pub fn sample(&mut self, sample: &Sample) {
        let moment = self.course.sample(sample);
        for gate in &mut self.gates {
            gate.sample(sample, &moment);
        }
    }

    /// Takes in what happened. Events of a sample come before it.
    pub fn event(&mut self, event: &Event) {
        self.course.event(event.elapsed_seconds, &event.what);
        for gate in &mut self.gates {
            gate.event(event, &self.course);
        }
    }

    /// What all say now, the machine first.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.gates.iter().map(|gate| gate.verdict(&self.course)).collect()
    }
}

/// What all verdicts come to: one that failed is a failure, whatever could not be judged beside it.
pub fn overall(verdicts: &[Verdict]) -> Status {
    let has = |status| verdicts.iter().any(|verdict| verdict.status == status);
    if has(Status::Fail) {
        Status::Fail
    } else if has(Status::CannotJudge) || verdicts.is_empty() {
        Status::CannotJudge
    } else {
        Status::Pass
    }
}

/// The exit status of the program.
pub fn exit_status(overall: Status) -> u8 {
    match overall {
        Status::Pass => 0,
        Status::Fail => 1,
        Status::CannotJudge => crate::cli::STATUS_USAGE,
    }
}

/// A failure that want of processor time explains is none: nobody knows.
fn unless_starved(status: Status, course: &Course, why: &mut String) -> Status {
    /// Of the intervals.
    const STARVED_PERCENT_MAX: f64 = 10.0;
    if status == Status::Fail && course.starved_percent() > STARVED_PERCENT_MAX {
        why.push_str(&format!(
            "; not held against the daemon: in {:.0} % of the intervals the machine kept it from running",
            course.starved_percent()
        ));
        return Status::CannotJudge;
    }
    status
}
