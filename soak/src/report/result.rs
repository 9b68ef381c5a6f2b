//! `result.json`: all that a program wants to know of a run.

use super::{Environment, Run, fold::Folded};
use crate::{
    gates::{self, Status, Verdict},
    scenario::Scenario,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raised when a field changes its meaning or goes; not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Of all gates together: `pass`, `fail` or `cannot-judge`.
    pub verdict: Status,
    /// Name of the scenario.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// `host` or `vm`.
    pub target: String,
    /// The command that does the same again.
    pub command: String,
    /// Start of the measured part, since 1970.
    pub started_unix_ms: u64,
    /// Its end.
    pub ended_unix_ms: u64,
    /// How long it should have been.
    pub duration_seconds: f64,
    /// How long it was, by the last sample.
    pub measured_seconds: f64,
    /// Why it ended before its time, if it did.
    pub ended_early: Option<String>,
    /// The machine and the programs.
    pub environment: Environment,
    /// Each gate that was asked.
    pub gates: Vec<Gate>,
    /// Gates of the scenario that were left out, since the processor is emulated.
    #[serde(default)]
    pub not_asked: Vec<String>,
    /// Figures by name; the unit is in the name. Those that were never seen are absent.
    pub figures: BTreeMap<String, Spread>,
    /// What was done in all.
    #[serde(default)]
    pub totals: Totals,
    /// What happened, counted.
    pub events: Counts,
    /// The scenario as it was run.
    pub definition: serde_json::Value,
}

/// A gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Its key in the scenario.
    pub name: String,
    /// What came out.
    pub status: Status,
    /// What was seen, with its unit.
    pub figure: String,
    /// What it was held against.
    pub threshold: String,
    /// Why.
    pub why: String,
}

/// How a figure was spread over the samples of the run, its warm-up included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Samples that have it.
    pub count: u64,
    /// Least.
    pub min: f64,
    /// Half of them do not exceed it; to half a percent, as p99.
    pub median: f64,
    /// 99 of 100 do not exceed it.
    pub p99: f64,
    /// Greatest.
    pub max: f64,
}

/// What daemon and load did in the measured part, its warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Polls of the daemon.
    pub polls: u64,
    /// Rows that it made, those of its first poll included.
    pub rows: u64,
    /// Namespaces of the load.
    pub namespaces_created: u64,
    /// Namespaces of the load.
    pub namespaces_deleted: u64,
    /// Containers of the load that ended and came anew.
    pub containers_restarted: u64,
    /// Short connections of the load.
    pub connections: u64,
    /// Sent by the load.
    pub bytes: u64,
}

/// What happened, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Samples read.
    pub samples: u64,
    /// Lines of samples and events that could not be read: half a line of a runner that was killed.
    pub unreadable_lines: u64,
    /// Ends of the daemon that no action announced.
    pub unannounced_ends: u64,
    /// Log lines at error or above.
    pub error_lines: u64,
    /// Actions begun.
    pub actions: u64,
}

/// What there is to say of a run.
pub fn of(scenario: &Scenario, run: &Run, verdicts: &[Verdict], folded: &Folded) -> RunResult {
    let spreads = folded.figures.all().iter().filter_map(|figure| {
        let spread = &figure.spread;
        let (min, max) = spread.range()?;
        let summary = Spread {
            count: spread.count(),
            min,
            median: spread.percentile(50.0)?,
            p99: spread.percentile(99.0)?,
            max,
        };
        Some((figure.name.to_owned(), summary))
    });
    RunResult {
        schema_version: SCHEMA_VERSION,
        verdict: gates::overall(verdicts),
        scenario: run.scenario.clone(),
        title: scenario.title.clone(),
        target: run.target.clone(),
        command: run.command.clone(),
        started_unix_ms: run.started_unix_ms,
        ended_unix_ms: run.ended_unix_ms,
        duration_seconds: scenario.duration.0.as_secs_f64(),
        measured_seconds: folded.last_seconds,
        ended_early: run.ended_early.clone(),
        environment: run.environment.clone(),
        gates: verdicts.iter().map(Gate::from).collect(),
        not_asked: run.not_asked.clone(),
        figures: spreads.collect(),
        totals: folded.totals,
        events: Counts {
            samples: folded.samples,
            unreadable_lines: folded.unreadable_lines,
            unannounced_ends: folded.events.unannounced_ends,
            error_lines: folded.events.error_lines,
            actions: folded.events.actions,
        },
        definition: serde_json::to_value(scenario).unwrap_or_default(),
    }
}

impl From<&Verdict> for Gate {
    fn from(verdict: &Verdict) -> Gate {
        Gate {
            name: verdict.name.to_owned(),
            status: verdict.status,
            figure: verdict.figure.clone(),
            threshold: verdict.threshold.clone(),
            why: verdict.why.clone(),
        }
    }
}

impl RunResult {
    /// How many gates came out so.
    pub fn count(&self, status: Status) -> usize {
        self.gates.iter().filter(|gate| gate.status == status).count()
    }
}
