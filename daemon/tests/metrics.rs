//! The admin pages of the real program, as Prometheus, an orchestrator and `go tool pprof` see them.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::{
    host::{Sockets, ip},
    program::Program,
    sandbox,
};
use nix::mount::{MsFlags, mount};
use std::{
    os::unix::fs::symlink,
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const NONE: Option<&str> = None;
const STEADY: [&str; 6] = ["-dest", "null", "-pollJitterPct", "0", "-frequency", "20ms"];

#[test]
fn every_metric_is_named_typed_and_explained() {
    sandbox::run("every_metric_is_named_typed_and_explained", || {
        let sockets = Sockets::open(0);
        let program = Program::start(&STEADY);
        program.metric_when("xtcp2_polls_total", |polls| polls >= 1.0);
        let page = program.get("/metrics");
        assert!(
            page.head
                .to_ascii_lowercase()
                .contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        let metrics = program.metrics();
        let mut list = String::new();
        for (name, family) in &metrics.families {
            assert!(
                name.starts_with("xtcp2_") || name.starts_with("process_"),
                "{name}"
            );
            for unit in ["seconds", "bytes"] {
                let named = name.ends_with(&format!("_{unit}"));
                assert_eq!(named, family.unit == unit, "{name}: unit {:?}", family.unit);
            }
            list.push_str(&format!("{name} {}: {}\n", family.kind, family.help));
        }
        // A name that changes breaks somebody's dashboard.
        insta::assert_snapshot!("metrics", list);
        drop(sockets);
    });
}

#[test]
fn the_numbers_of_a_scrape_agree() {
    sandbox::run("the_numbers_of_a_scrape_agree", || {
        let sockets = Sockets::open(50);
        for name in ["one", "two"] {
            ip(&format!("netns add {name}"));
        }
        let program = Program::start(&[&STEADY[..], &["-states", "listen"]].concat());
        program.metric_when("xtcp2_polls_total", |polls| polls >= 5.0);
        let metrics = program.metrics();
        let value = |name| metrics.value(name);
        assert_eq!(value("xtcp2_namespaces"), 3.0);
        assert!(value("xtcp2_sockets") >= 101.0);
        assert_eq!(
            value("xtcp2_poll_duration_seconds_count"),
            value("xtcp2_polls_total")
        );
        let filtered = value("xtcp2_sockets_filtered_total");
        assert_eq!(
            value("xtcp2_sockets_read_total"),
            value("xtcp2_rows_total") + filtered
        );
        // The test's listener, and the admin server's.
        let rows = value("xtcp2_output_delivered_rows_total");
        assert!((2.0 * value("xtcp2_polls_total")..=2.0 * value("xtcp2_polls_total") + 2.0).contains(&rows));
        assert_eq!(value("process_threads"), 1.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") < 20.0);
        assert_eq!(metrics.sum("xtcp2_dump_events_total"), 0.0);
        assert_eq!(metrics.sum("xtcp2_namespace_failures_total"), 0.0);
        drop(sockets);
    });
}

/// The shipped unit hides all of /proc but processes (ProcSubset=pid): also the time of boot.
#[test]
fn the_start_is_told_where_proc_has_processes_alone() {
    sandbox::run("the_start_is_told_where_proc_has_processes_alone", || {
        ip("link set lo up");
        let nothing = Some("/dev/null");
        mount(nothing, "/proc/stat", NONE, MsFlags::MS_BIND, NONE).unwrap();
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs_f64()
        };
        let before = now();
        let program = Program::start(&STEADY);
        let start = program.metrics().value("process_start_time_seconds");
        assert!((before..=now()).contains(&start), "{before} {start}");
        assert_eq!(program.metrics().value("process_start_time_seconds"), start);
    });
}

#[test]
fn a_folder_that_cannot_be_listed_is_counted() {
    sandbox::run("a_folder_that_cannot_be_listed_is_counted", || {
        ip("link set lo up");
        let folder = sandbox::folder();
        let circle = folder.path().join("circle");
        symlink(&circle, &circle).unwrap();
        let program = Program::start(&[&STEADY[..], &["-netnsDirs", circle.to_str().unwrap()]].concat());
        program.metric_when("xtcp2_namespace_folder_failures_total", |failures| {
            failures >= 2.0
        });
        assert_eq!(program.metrics().value("xtcp2_process_scan_failures_total"), 0.0);
    });
}

#[test]
fn scrapes_in_the_middle_of_polls_are_answered() {
    sandbox::run("scrapes_in_the_middle_of_polls_are_answered", || {
        let sockets = Sockets::open(900);
        // Polls one after the other: some part of each scrape is in one.
        let program = Program::start(&["-dest", "null", "-frequency", "1ms"]);
        let mut last = 0.0;
        for _ in 0..50 {
            let metrics = program.metrics();
            assert!(metrics.value("xtcp2_rows_total") >= last);
            last = metrics.value("xtcp2_rows_total");
        }
        assert!(program.metrics().value("xtcp2_polls_late_total") > 0.0);
        drop(sockets);
    });
}

#[test]
fn health_and_wrong_requests_have_their_status() {
    sandbox::run("health_and_wrong_requests_have_their_status", || {
        let sockets = Sockets::open(1);
        let program = Program::start(&STEADY);
        program.log_line("poll 1: ");
        for (path, status) in [
            ("/healthz", 200),
            ("/readyz", 200),
            ("/debug/pprof/heap", 501),
            ("/none", 404),
            ("/debug/pprof/profile?seconds=0", 400),
        ] {
            assert_eq!(program.get(path).status, status, "{path}");
        }
        drop(sockets);
    });
}

#[test]
fn a_profile_is_taken_while_polls_go_on() {
    sandbox::run("a_profile_is_taken_while_polls_go_on", || {
        let sockets = Sockets::open(500);
        let program = Program::start(&["-dest", "null", "-frequency", "1ms"]);
        program.log_line("poll 1: ");
        thread::scope(|scope| {
            let profile = scope.spawn(|| program.get("/debug/pprof/profile?seconds=1"));
            thread::sleep(Duration::from_millis(200));
            let polls = program.metrics().value("xtcp2_polls_total");
            program.metric_when("xtcp2_polls_total", |now| now >= polls + 3.0);
            let page = profile.join().unwrap();
            assert_eq!(page.status, 200, "{}", page.head);
            let profile = uncompressed(page.body);
            let (samples, strings) = samples_and_strings(&profile);
            assert!(samples > 0, "a busy second has samples");
            assert_eq!(strings[0], "", "the first string is the empty one");
            assert!(strings.iter().any(|string| string == "cpu"), "{strings:?}");
        });
        drop(sockets);
    });
}

/// pprof takes both.
fn uncompressed(body: Vec<u8>) -> Vec<u8> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return body;
    }
    let folder = sandbox::folder();
    let file = folder.path().join("profile.gz");
    std::fs::write(&file, body).unwrap();
    Command::new("gzip")
        .arg("-dc")
        .arg(&file)
        .output()
        .unwrap()
        .stdout
}

/// Fields 2 (samples, counted) and 6 (strings) of perftools.profiles.Profile.
fn samples_and_strings(mut profile: &[u8]) -> (usize, Vec<String>) {
    use prost::encoding::{DecodeContext, WireType, decode_key, skip_field, string};
    let (mut samples, mut strings) = (0, Vec::new());
    while !profile.is_empty() {
        let (number, wire_type) = decode_key(&mut profile).unwrap();
        if number == 6 {
            let mut text = String::new();
            string::merge(
                WireType::LengthDelimited,
                &mut text,
                &mut profile,
                DecodeContext::default(),
            )
            .unwrap();
            strings.push(text);
        } else {
            samples += usize::from(number == 2);
            skip_field(wire_type, number, &mut profile, DecodeContext::default()).unwrap();
        }
    }
    (samples, strings)
}
