//! Whether a scenario makes sense: what a type cannot say. A gate that cannot fail, or cannot pass, is worse than
//! none, since someone will believe it.

use super::{Load, Scenario, What};
use std::{ffi::OsString, time::Duration};

/// A guest with 1,024 MiB ran out of memory under churn: the kernel frees namespaces later than it makes them.
const CHURN_MEMORY_MIB_MIN: u32 = 2048;
/// Growth is a slope; over less than this even a large one drowns in the noise of single pages.
const GROWTH_SPAN_MIN: Duration = Duration::from_secs(5 * 60);
/// Twice the 1,600 pairs a second that were seen possible: no generator makes more.
const EVENTS_PER_SECOND_MAX: f64 = 3200.0;
/// 1 of the daemon + 1 of librdkafka + 1 for a bootstrap address + 1 for a broker.
const KAFKA_THREADS: u32 = 4;
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
    thresholds(scenario, &mut problems);
    gates_have_what_they_ask_about(scenario, &mut problems);
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

/// Thresholds that nothing can break, or nothing can keep.
fn thresholds(scenario: &Scenario, problems: &mut Problems) {
    let gates = &scenario.gates;
    let sane = |value: f64| value.is_finite() && value >= 0.0;
    for (key, value, max) in [
        (
            "rss_growth_kib_per_hour_max",
            gates.rss_growth_kib_per_hour_max,
            f64::MAX,
        ),
        ("fds_growth_per_hour_max", gates.fds_growth_per_hour_max, f64::MAX),
        (
            "threads_growth_per_hour_max",
            gates.threads_growth_per_hour_max,
            f64::MAX,
        ),
        ("poll_p99_ms_max", gates.poll_p99_ms_max, f64::MAX),
        ("poll_max_ms", gates.poll_max_ms, f64::MAX),
        ("polls_late_percent_max", gates.polls_late_percent_max, 100.0),
        (
            "cpu_percent_max",
            gates.cpu_percent_max,
            f64::from(scenario.machine.cpus) * 100.0,
        ),
        ("load_percent_min", gates.load_percent_min, 100.0),
    ] {
        if let Some(value) = value {
            let expected = if max < f64::MAX {
                format!("0 to {max}")
            } else {
                "0 or more".to_owned()
            };
            problems.gate(
                !sane(value) || value > max,
                key,
                format!("expected {expected}, got {value}"),
            );
        }
    }
    let threads_min = if scenario.pipeline.is_some() {
        KAFKA_THREADS
    } else {
        1
    };
    if let Some(threads) = gates.threads_max {
        problems.gate(
            threads < threads_min,
            "threads_max",
            format!("expected at least the {threads_min} that there are in any case, got {threads}"),
        );
    }
    if let Some(restarts) = gates.restarts_max {
        problems.gate(
            restarts > 0,
            "restarts_max",
            format!("expected 0: restarts that are meant are actions, and not counted, got {restarts}"),
        );
    }
    problems.gate(
        gates.rss_kib_max == Some(0),
        "rss_kib_max",
        "expected more than 0, got 0",
    );
    if let (Some(p99), Some(max)) = (gates.poll_p99_ms_max, gates.poll_max_ms) {
        problems.gate(
            p99 > max,
            "poll_p99_ms_max",
            format!("expected at most poll_max_ms, {max}, got {p99}"),
        );
    }
    let frequency_ms = scenario.daemon.frequency.0.as_secs_f64() * 1e3;
    if let (Some(max), Some(0.0)) = (gates.poll_max_ms, gates.polls_late_percent_max) {
        problems.gate(
            max > frequency_ms,
            "poll_max_ms",
            format!(
                "expected at most the {frequency_ms} between polls, as none may be late (polls_late_percent_max), got {max}"
            ),
        );
    }
}

/// Gates about things that are not there would never fail, or always.
fn gates_have_what_they_ask_about(scenario: &Scenario, problems: &mut Problems) {
    let gates = &scenario.gates;
    if super::gates::asked(gates).next().is_none() {
        problems.add("gates", 0, "", "expected at least one gate, got none");
    }
    let no_load = scenario.loads.is_empty();
    problems.gate(
        no_load && gates.load_percent_min.is_some(),
        "load_percent_min",
        "there is no [[load]]",
    );
    problems.gate(
        !no_load && gates.load_percent_min.is_none(),
        "load_percent_min",
        "expected it where there is a [[load]]: a soak whose load died would pass",
    );
    problems.gate(
        gates.reconciled && scenario.pipeline.is_none(),
        "reconciled",
        "there is no [pipeline] to reconcile",
    );
    let measured = scenario.duration.0.saturating_sub(scenario.warm_up.0);
    for (key, asked) in [
        (
            "rss_growth_kib_per_hour_max",
            gates.rss_growth_kib_per_hour_max.is_some(),
        ),
        ("fds_growth_per_hour_max", gates.fds_growth_per_hour_max.is_some()),
        (
            "threads_growth_per_hour_max",
            gates.threads_growth_per_hour_max.is_some(),
        ),
    ] {
        problems.gate(
            asked && measured < GROWTH_SPAN_MIN,
            key,
            format!("expected at least 5m between warm_up and the end, got {measured:?}"),
        );
    }
    let drops = scenario
        .actions
        .iter()
        .any(|action| action.what == What::DropNextCapability);
    if let Some(rows) = gates.rows_per_poll_min {
        let sockets = lasting_sockets(scenario);
        problems.gate(
            rows > sockets,
            "rows_per_poll_min",
            format!("expected at most the {sockets} sockets that always stand, got {rows}"),
        );
        problems.gate(
            drops && rows > 1,
            "rows_per_poll_min",
            format!("expected 1: without CAP_SYS_ADMIN only the own namespace is polled, got {rows}"),
        );
    }
    if gates.every_lasting_namespace_is_polled {
        let key = "every_lasting_namespace_is_polled";
        problems.gate(
            drops,
            key,
            "without CAP_SYS_ADMIN, which an action takes away, none is polled",
        );
        let lifetimes = scenario.loads.iter().filter_map(|load| match load {
            Load::Churn {
                events_per_second,
                namespaces,
                ..
            } => Some(f64::from(*namespaces) / (events_per_second / 2.0)),
            _ => None,
        });
        match lifetimes.reduce(f64::max) {
            None => problems.gate(
                true,
                key,
                "expected a [[load]] of kind churn, which says when each lived",
            ),
            Some(lifetime) => {
                let min = scenario.daemon.frequency.0.as_secs_f64() + 1.0;
                problems.gate(
                    lifetime <= min,
                    key,
                    format!(
                        "expected namespaces of churn that live longer than an interval and a second, {min:.1} s, got \
                         {lifetime:.1} s: raise namespaces, or lower events_per_second"
                    ),
                );
            }
        }
    }
}

/// Sockets that are there all the time, listeners included, and the admin server's.
fn lasting_sockets(scenario: &Scenario) -> u64 {
    let of_load = |load: &Load| match load {
        Load::Sockets {
            namespaces, sockets, ..
        }
        | Load::Churn {
            namespaces, sockets, ..
        } => u64::from(*namespaces) * (u64::from(*sockets) + 1),
        Load::Containers {
            containers, sockets, ..
        } => u64::from(*containers) * (u64::from(*sockets) + 1),
        Load::Short { .. } => 0,
    };
    scenario.loads.iter().map(of_load).sum::<u64>() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read::{self, Folder};
    use std::path::Path;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../microvms/scenarios");

    fn text_of(name: &str) -> String {
        std::fs::read_to_string(format!("{FOLDER}/{name}.toml")).unwrap()
    }

    /// What is said of a scenario with one thing in it changed.
    fn problems(name: &str, from: &str, to: &str) -> Vec<Problem> {
        let text = text_of(name);
        assert!(text.contains(from), "{name}: {from}");
        validate(&read::parse(Path::new(name), &text.replacen(from, to, 1)).unwrap())
    }

    #[test]
    fn the_scenarios_make_sense_and_use_all_that_can_be_done() {
        let mut used = Vec::new();
        for (name, path) in Folder::find(Some(FOLDER.into())).unwrap().files().unwrap() {
            let scenario = read::file(&path).unwrap();
            assert_eq!(validate(&scenario), [], "{name}");
            used.extend(scenario.actions.iter().map(|action| action.what));
        }
        for what in [
            What::ReloadDaemon,
            What::RestartDaemon,
            What::KillDaemon,
            What::StopKafka,
            What::KillKafka,
            What::FreezeKafka,
            What::StartKafka,
            What::KillClickhouse,
            What::StartClickhouse,
            What::KillFeeder,
            What::StartFeeder,
            What::FillDisk,
            What::EmptyDisk,
            What::DropNextCapability,
        ] {
            assert!(used.contains(&what), "{what:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_once_with_its_key() {
        for (name, from, to, key, hint) in [
            (
                "namespace-churn",
                "warm_up = \"5m\"",
                "warm_up = \"30m\"",
                "warm_up",
                "less than",
            ),
            (
                "namespace-churn",
                "memory_mib = 2048",
                "memory_mib = 1024",
                "memory_mib",
                "2048",
            ),
            (
                "namespace-churn",
                "admin = 9088",
                "admin = 9088\nkafka = 1",
                "kafka",
                "[pipeline]",
            ),
            ("namespace-churn", "\"null\"", "\"nul\"", "flags", "xtcp2 refuses"),
            ("namespace-churn", "\"--dest\", \"null\", ", "", "flags", "stdout"),
            ("namespace-churn", ", \"0\"", ", \"20\"", "flags", "jitter"),
            (
                "namespace-churn",
                "[\"--dest\"",
                "[\"--prom-listen=none\", \"--dest\"",
                "flags",
                "runner's",
            ),
            (
                "namespace-churn",
                "events_per_second = 20.0",
                "events_per_second = 0.0",
                "events_per_second",
                "0",
            ),
            ("namespace-churn", "sockets = 4", "sockets = 5", "sockets", "even"),
            (
                "namespace-churn",
                "threads_max = 1",
                "threads_max = 0",
                "threads_max",
                "at least the 1",
            ),
            (
                "clickhouse-pipeline",
                "threads_max = 4",
                "threads_max = 3",
                "threads_max",
                "at least the 4",
            ),
            (
                "namespace-churn",
                "restarts_max = 0",
                "restarts_max = 1",
                "restarts_max",
                "expected 0",
            ),
            (
                "namespace-churn",
                "poll_p99_ms_max = 250.0",
                "poll_p99_ms_max = 1001.0",
                "poll_p99_ms_max",
                "1000",
            ),
            (
                "namespace-churn",
                "poll_max_ms = 1000.0",
                "poll_max_ms = 1500.0",
                "poll_max_ms",
                "none may be late",
            ),
            (
                "namespace-churn",
                "cpu_percent_max = 25.0",
                "cpu_percent_max = 250.0",
                "cpu_percent_max",
                "0 to 200",
            ),
            (
                "namespace-churn",
                "load_percent_min = 95.0",
                "",
                "load_percent_min",
                "would pass",
            ),
            (
                "namespace-churn",
                "rows_per_poll_min = 1000",
                "rows_per_poll_min = 9000",
                "rows_per_poll_min",
                "2051",
            ),
            (
                "namespace-churn-300",
                "namespaces = 600",
                "namespaces = 200",
                "every_lasting_namespace_is_polled",
                "1.3 s",
            ),
            (
                "namespace-churn",
                "[gates]",
                "[gates]\nreconciled = true",
                "reconciled",
                "no [pipeline]",
            ),
            (
                "namespaces-1000",
                "warm_up = \"2m\"",
                "warm_up = \"9m\"",
                "rss_growth_kib_per_hour_max",
                "5m",
            ),
            (
                "lifecycle",
                "at = \"2m45s\"",
                "at = \"15m\"",
                "at",
                "before the end",
            ),
            (
                "lifecycle",
                "do = \"kill-daemon\"",
                "do = \"kill-kafka\"",
                "do",
                "no [pipeline]",
            ),
            (
                "capabilities",
                "rows_per_poll_min = 1",
                "rows_per_poll_min = 2",
                "rows_per_poll_min",
                "CAP_SYS_ADMIN",
            ),
            (
                "faults",
                "do = \"start-kafka\"",
                "do = \"reload-daemon\"",
                "do",
                "away already",
            ),
            (
                "faults",
                "do = \"kill-feeder\"",
                "do = \"reload-daemon\"",
                "do",
                "not away",
            ),
            ("faults", "at = \"23m30s\"", "at = \"22m10s\"", "", ""),
            (
                "faults",
                "do = \"empty-disk\"",
                "do = \"reload-daemon\"",
                "do",
                "still away",
            ),
            (
                "faults",
                "reconcile_every = \"1m\"",
                "reconcile_every = \"1h\"",
                "reconcile_every",
                "at most",
            ),
        ] {
            let found = problems(name, from, to);
            if key.is_empty() {
                assert_eq!(found, [], "{from}");
                continue;
            }
            assert!(
                found
                    .iter()
                    .any(|problem| problem.key == key && problem.text.contains(hint)),
                "{name}: {from}: {found:?}"
            );
        }
    }

    #[test]
    fn repeated_actions_have_all_their_times() {
        let scenario = read::file(Path::new(&format!("{FOLDER}/lifecycle.toml"))).unwrap();
        let reloads = timeline(&scenario)
            .iter()
            .filter(|(_, index)| *index == 0)
            .count();
        // 15 minutes, three a minute.
        assert_eq!(reloads, 45);
        assert!(timeline(&scenario).is_sorted());
    }
}
