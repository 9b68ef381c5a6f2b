//! Gates of a scenario: thresholds that make no sense, and gates about things that are not there.

use super::Problems;
use crate::scenario::{Load, Scenario, What, gates::asked};
use std::time::Duration;

/// Growth is a slope; over less than this even a large one drowns in the noise of single pages.
const GROWTH_SPAN_MIN: Duration = Duration::from_secs(5 * 60);
/// At rest: 1 of the daemon + 2 of librdkafka + 1 for a broker; a bootstrap address has one more for moments.
const KAFKA_THREADS: u32 = 4;

/// Thresholds that nothing can break, or nothing can keep.
pub fn thresholds(scenario: &Scenario, problems: &mut Problems) {
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
pub fn have_what_they_ask_about(scenario: &Scenario, problems: &mut Problems) {
    let gates = &scenario.gates;
    if asked(gates).next().is_none() {
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
    let has = |wanted| scenario.actions.iter().any(|action| action.what == wanted);
    let drops = has(What::DropNextCapability);
    let by_receiver = gates.reconciled && scenario.pipeline.is_none();
    problems.gate(
        by_receiver && has(What::KillDaemon),
        "reconciled",
        "a daemon that is killed without the spool of a [pipeline] loses what it holds",
    );
    problems.gate(
        by_receiver && !has(What::KillDaemon) && (has(What::RestartDaemon) || drops),
        "reconciled",
        "what a daemon loses at its end before it is started anew is only seen by the journal of a [pipeline]",
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
    if let Some(min) = gates.namespaces_per_poll_min {
        let namespaces = lasting_namespaces(scenario);
        problems.gate(
            min > namespaces,
            "namespaces_per_poll_min",
            format!("expected at most the {namespaces} namespaces that always stand, got {min}"),
        );
        problems.gate(
            drops && min > 1,
            "namespaces_per_poll_min",
            format!("expected 1: without CAP_SYS_ADMIN only the own namespace is polled, got {min}"),
        );
    }
    if gates.every_lasting_namespace_is_polled {
        let key = "every_lasting_namespace_is_polled";
        problems.gate(
            scenario.pipeline.is_some(),
            key,
            "expected no [pipeline]: the runner does not see the rows then",
        );
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

/// Namespaces that are there all the time, and the daemon's own.
fn lasting_namespaces(scenario: &Scenario) -> u32 {
    let of_load = |load: &Load| match load {
        Load::Sockets { namespaces, .. } | Load::Churn { namespaces, .. } => *namespaces,
        Load::Containers { containers, .. } => *containers,
        Load::Short { .. } => 0,
    };
    scenario.loads.iter().map(of_load).sum::<u32>() + 1
}
