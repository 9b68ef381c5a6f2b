//! One thing in a scenario changed, and what is said of it.

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
            "threads_max = 5",
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
            "tcp-stress",
            "namespaces_per_poll_min = 24",
            "namespaces_per_poll_min = 27",
            "namespaces_per_poll_min",
            "at most the 26",
        ),
        (
            "namespace-churn",
            "rows_per_poll_min = 2000",
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
            "lifecycle",
            "[gates]",
            "[gates]\nreconciled = true",
            "reconciled",
            "killed without the spool",
        ),
        (
            "namespace-churn",
            "[gates]",
            "[[action]]\nat = \"2m\"\ndo = \"restart-daemon\"\n[gates]",
            "reconciled",
            "started anew",
        ),
        (
            "capabilities",
            "[gates]",
            "[gates]\nreconciled = true",
            "reconciled",
            "started anew",
        ),
        (
            "clickhouse-pipeline",
            "[gates]",
            "[[action]]\nat = \"2m\"\ndo = \"restart-daemon\"\n[gates]",
            "",
            "",
        ),
        (
            "clickhouse-pipeline",
            "[gates]",
            "[gates]\nevery_lasting_namespace_is_polled = true",
            "every_lasting_namespace_is_polled",
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
            "at = \"1m15s\"",
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
