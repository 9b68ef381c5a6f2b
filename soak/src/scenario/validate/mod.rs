//! Whether a scenario makes sense: what a type cannot say. A gate that cannot fail, or cannot pass, is worse than
//! none, since someone will believe it.

mod gates;
#[cfg(test)]
mod tests;

use super::{Load, Scenario, What};
use std::{ffi::OsString, time::Duration};

/// A guest with 1,024 MiB ran out of memory under churn: the kernel frees namespaces later than it makes them.
const CHURN_MEMORY_MIB_MIN: u32 = 2048;
/// Twice the 1,600 pairs a second that were seen possible: no generator makes more.
const EVENTS_PER_SECOND_MAX: f64 = 3200.0;
/// What the runner gives the daemon.
const FLAGS_OF_RUNNER: [&str; 5] = ["frequency", "prom-listen", "netns-dirs", "spool-dir", "config"];
/// Given as well where there is a pipeline.
const FLAGS_OF_PIPELINE: [&str; 2] = ["dest", "topic"];

/// Something that makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The table it is in; empty for the top.
    pub table: &'static str,
    /// Which of several tables of that name.
    pub index: usize,
    /// The key it is about.
    pub key: &'static str,
    /// What was expected, and what came.
    pub text: String,
}

/// Everything that makes no sense.
pub fn validate(scenario: &Scenario) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    times(scenario, &mut problems);
    machine(scenario, &mut problems);
    daemon(scenario, &mut problems);
    for (index, load) in scenario.loads.iter().enumerate() {
        self::load(load, index, &mut problems);
    }
    actions(scenario, &mut problems);
    gates::thresholds(scenario, &mut problems);
    gates::have_what_they_ask_about(scenario, &mut problems);
    problems.0
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, table: &'static str, index: usize, key: &'static str, text: impl Into<String>) {
        self.0.push(Problem {
            table,
            index,
            key,
            text: text.into(),
        });
    }

    /// Of a gate, when `broken`.
    fn gate(&mut self, broken: bool, key: &'static str, text: impl Into<String>) {
        if broken {
            self.add("gates", 0, key, text);
        }
    }
}

fn times(scenario: &Scenario, problems: &mut Problems) {
    let (duration, warm_up) = (scenario.duration, scenario.warm_up);
    if warm_up >= duration {
        problems.add(
            "",
            0,
            "warm_up",
            format!("expected less than the duration of {duration}, got {warm_up}"),
        );
    }
    if scenario.daemon.frequency.0.is_zero() {
        problems.add("daemon", 0, "frequency", "expected more than 0s");
    }
    if let Some(pipeline) = &scenario.pipeline
        && (pipeline.reconcile_every.0.is_zero() || pipeline.reconcile_every > duration)
    {
        let got = pipeline.reconcile_every;
        problems.add(
            "pipeline",
            0,
            "reconcile_every",
            format!("expected more than 0s and at most the duration, got {got}"),
        );
    }
}

fn machine(scenario: &Scenario, problems: &mut Problems) {
    let machine = scenario.machine;
    if machine.cpus == 0 {
        problems.add("machine", 0, "cpus", "expected at least 1, got 0");
    }
    let churns = scenario
        .loads
        .iter()
        .any(|load| matches!(load, Load::Churn { .. }));
    if churns && machine.memory_mib < CHURN_MEMORY_MIB_MIN {
        problems.add(
            "machine",
            0,
            "memory_mib",
            format!(
                "expected at least {CHURN_MEMORY_MIB_MIN} under churn (the kernel frees namespaces later than it makes \
                 them), got {}",
                machine.memory_mib
            ),
        );
    }
    let of_pipeline = [
        ("kafka", scenario.ports.kafka),
        ("clickhouse", scenario.ports.clickhouse),
    ];
    for (key, port) in of_pipeline {
        if port.is_some() && scenario.pipeline.is_none() {
            problems.add("ports", 0, key, "expected none without a [pipeline]");
        }
    }
}

fn daemon(scenario: &Scenario, problems: &mut Problems) {
    let flags = &scenario.daemon.flags;
    let given = |name: &str| {
        flags.iter().any(|flag| {
            flag.strip_prefix("--")
                .is_some_and(|flag| flag.split('=').next() == Some(name))
        })
    };
    for name in FLAGS_OF_RUNNER {
        if given(name) {
            problems.add("daemon", 0, "flags", format!("--{name} is the runner's to give"));
        }
    }
    for name in FLAGS_OF_PIPELINE {
        if given(name) && scenario.pipeline.is_some() {
            let text = format!("--{name} is the runner's to give where there is a [pipeline]");
            problems.add("daemon", 0, "flags", text);
        }
    }
    if !given("dest") && scenario.pipeline.is_none() {
        let text = "expected --dest (null, for example) without a [pipeline]: rows would go to stdout";
        problems.add("daemon", 0, "flags", text);
    }
    let frequency = ["--frequency".into(), scenario.daemon.frequency.to_string()];
    let arguments = flags.iter().cloned().chain(frequency).map(OsString::from);
    if let Err(error) = xtcp2::cli::parse(arguments, []) {
        problems.add("daemon", 0, "flags", format!("xtcp2 refuses them: {error}"));
    }
    let late = scenario.gates.polls_late_percent_max.is_some();
    let without_jitter = flags
        .windows(2)
        .any(|pair| pair[0] == "--poll-jitter-pct" && pair[1] == "0")
        || flags.iter().any(|flag| flag == "--poll-jitter-pct=0");
    if late && !without_jitter {
        let text = "expected --poll-jitter-pct 0 where polls_late_percent_max is asked: jitter moves the times that \
                    polls are due";
        problems.add("daemon", 0, "flags", text);
    }
}

fn load(load: &Load, index: usize, problems: &mut Problems) {
    let mut complain = |broken: bool, key: &'static str, text: String| {
        if broken {
            problems.add("load", index, key, text);
        }
    };
    // A connection has two ends, and both are in the namespace.
    let even = |sockets: u32| format!("expected an even number: a connection is two sockets, got {sockets}");
    let positive = |got: f64| format!("expected more than 0, got {got}");
    match load {
        Load::Sockets {
            namespaces,
            sockets,
            loss_percent,
            ..
        } => {
            complain(*namespaces == 0, "namespaces", positive(0.0));
            complain(*sockets == 0, "sockets", positive(0.0));
            complain(sockets % 2 == 1, "sockets", even(*sockets));
            let sane = (0.0..100.0).contains(loss_percent);
            complain(
                !sane,
                "loss_percent",
                format!("expected 0 to less than 100, got {loss_percent}"),
            );
        }
        Load::Churn {
            events_per_second,
            namespaces,
            sockets,
        } => {
            let sane = *events_per_second > 0.0 && *events_per_second <= EVENTS_PER_SECOND_MAX;
            complain(
                !sane,
                "events_per_second",
                format!("expected more than 0 and at most {EVENTS_PER_SECOND_MAX}, got {events_per_second}"),
            );
            complain(*namespaces == 0, "namespaces", positive(0.0));
            complain(sockets % 2 == 1, "sockets", even(*sockets));
        }
        Load::Containers {
            containers,
            sockets,
            restarts_per_minute,
        } => {
            complain(*containers == 0, "containers", positive(0.0));
            complain(*sockets == 0, "sockets", positive(0.0));
            complain(sockets % 2 == 1, "sockets", even(*sockets));
            let sane = (0.0..f64::INFINITY).contains(restarts_per_minute);
            complain(
                !sane,
                "restarts_per_minute",
                format!("expected 0 or more, got {restarts_per_minute}"),
            );
        }
        Load::Short {
            connections_per_second,
            lifetime_ms,
        } => {
            let sane = *connections_per_second > 0.0 && connections_per_second.is_finite();
            complain(!sane, "connections_per_second", positive(*connections_per_second));
            complain(*lifetime_ms == 0, "lifetime_ms", positive(0.0));
        }
    }
}

/// What an action takes away, and what brings it back.
fn outage(what: What) -> Option<(&'static str, bool)> {
    match what {
        What::StopKafka | What::KillKafka | What::FreezeKafka => Some(("Kafka", true)),
        What::StartKafka => Some(("Kafka", false)),
        What::KillClickhouse => Some(("ClickHouse", true)),
        What::StartClickhouse => Some(("ClickHouse", false)),
        What::KillFeeder => Some(("the feeder", true)),
        What::StartFeeder => Some(("the feeder", false)),
        What::FillDisk => Some(("the disk", true)),
        What::EmptyDisk => Some(("the disk", false)),
        What::ReloadDaemon | What::RestartDaemon | What::KillDaemon | What::DropNextCapability => None,
    }
}

fn actions(scenario: &Scenario, problems: &mut Problems) {
    for (index, action) in scenario.actions.iter().enumerate() {
        if action.at >= scenario.duration {
            let text = format!(
                "expected a time before the end at {}, got {}",
                scenario.duration, action.at
            );
            problems.add("action", index, "at", text);
        }
        if action.every.is_some_and(|every| every.0.is_zero()) {
            problems.add("action", index, "every", "expected more than 0s");
            return;
        }
        if outage(action.what).is_some() && scenario.pipeline.is_none() {
            problems.add(
                "action",
                index,
                "do",
                "there is no [pipeline] that it could act on",
            );
        }
    }
    let mut away: Vec<(&str, usize)> = Vec::new();
    for (_, index) in timeline(scenario) {
        let Some((what, begins)) = outage(scenario.actions[index].what) else {
            continue;
        };
        let known = away.iter().position(|(name, _)| *name == what);
        match (begins, known) {
            (true, None) => away.push((what, index)),
            (false, Some(at)) => drop(away.remove(at)),
            (true, Some(_)) => {
                let text = format!("{what} is away already: an action before it has to bring it back");
                problems.add("action", index, "do", text);
                return;
            }
            (false, None) => {
                problems.add("action", index, "do", format!("{what} is not away"));
                return;
            }
        }
    }
    for (what, index) in away {
        let text = format!("{what} is still away at the end: expected an action that brings it back");
        problems.add("action", index, "do", text);
    }
}

/// Every time that an action is done, and which, in order. Those of a very long run repeat themselves: so many
/// are enough to see what is wrong with them.
pub fn timeline(scenario: &Scenario) -> Vec<(Duration, usize)> {
    const TIMES_MAX: usize = 10_000;
    let mut all = Vec::new();
    for (index, action) in scenario.actions.iter().enumerate() {
        let mut at = action.at.0;
        while at < scenario.duration.0 && all.len() < TIMES_MAX {
            all.push((at, index));
            match action.every {
                Some(every) if !every.0.is_zero() => at += every.0,
                _ => break,
            }
        }
    }
    all.sort();
    all
}
