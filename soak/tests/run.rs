//! `run`, as it is started: a verdict at the end, also at one that comes early, and nothing left behind,
//! also of a runner that was killed.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "common/load.rs"]
#[allow(dead_code, reason = "shared with the tests of loads")]
mod load;
#[path = "common/running.rs"]
mod running;

use load::{clean, is_gone, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use running::Running;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;
use xtcp2_soak::load::trace::{self, Made, Marker, ProcessId};

const SCENARIO: &str = r#"
title = "A short one"
description = "What a run does, not what the daemon is worth."
duration = "10m"
warm_up = "2s"
[machine]
cpus = 2
memory_mib = 2048
[ports]
admin = 9088
[daemon]
flags = ["--dest", "null", "--poll-jitter-pct", "0", "--proc-scan-every", "0s"]
frequency = "1s"
[[load]]
kind = "sockets"
namespaces = 3
sockets = 4
[[load]]
kind = "churn"
events_per_second = 4.0
namespaces = 10
sockets = 2
[gates]
restarts_max = 0
threads_max = 1
rows_per_poll_min = 12
every_lasting_namespace_is_polled = true
counters_only_grow = true
load_percent_min = 20.0
"#;

/// The daemon of this build.
fn daemon() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("xtcp2")
}

/// A run of it, and its folder.
struct Run {
    process: Running,
    temporary: TempDir,
}

impl Run {
    /// None where it cannot run, which is said.
    fn start(test: &str, duration: &str) -> Option<Run> {
        let daemon = daemon();
        if !nix::unistd::geteuid().is_root() || !daemon.exists() {
            eprintln!("{test}: skipped, needs root and {}", daemon.display());
            return None;
        }
        Some(Run::with(tempfile::tempdir().unwrap(), &daemon, duration))
    }

    /// With a shell script in the daemon's place; it finds the daemon as $REAL.
    fn of_script(test: &str, script: &str, duration: &str) -> Option<Run> {
        if !nix::unistd::geteuid().is_root() || !daemon().exists() {
            eprintln!("{test}: skipped, needs root and {}", daemon().display());
            return None;
        }
        let temporary = tempfile::tempdir().unwrap();
        let program = temporary.path().join("xtcp2");
        let real = daemon();
        let text = format!("#!/bin/sh\nREAL={}\n{script}\n", real.display());
        xtcp2_soak::program::write(&program, text).unwrap();
        Some(Run::with(temporary, &program, duration))
    }

    fn with(temporary: TempDir, daemon: &Path, duration: &str) -> Run {
        let scenario = temporary.path().join("short.toml");
        fs::write(&scenario, SCENARIO).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_xtcp2-soak"))
            .arg("run")
            .arg(&scenario)
            .args(["--duration", duration, "--out"])
            .arg(temporary.path().join("out"))
            .arg("--daemon")
            .arg(daemon)
            .stdin(Stdio::null())
            .stdout(fs::File::create(temporary.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        Run {
            process: Running(process),
            temporary,
        }
    }

    fn out(&self) -> PathBuf {
        self.temporary.path().join("out")
    }

    fn pid(&self) -> i32 {
        self.process.0.id().cast_signed()
    }

    fn wait_for_samples(&self, count: usize) {
        wait_until("samples", || {
            let samples = fs::read_to_string(self.out().join("samples.jsonl"));
            samples.is_ok_and(|samples| samples.lines().count() >= count)
        });
    }

    /// What it wrote down for `clean`.
    fn made(&self) -> Vec<Made> {
        let marker = Marker(ProcessId::of(self.pid()).unwrap());
        let states = trace::states().unwrap().into_iter();
        let own = states.filter(|(other, _)| *other == marker);
        own.flat_map(|(_, made)| made).collect()
    }

    /// Exit status, and what it said.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = self.process.0.wait().unwrap();
        let said = fs::read_to_string(self.temporary.path().join("said")).unwrap();
        (status.code(), said)
    }

    /// Exit status of `judge` on its folder, and what that said.
    fn judged(&self) -> (Option<i32>, String) {
        let mut judge = Command::new(env!("CARGO_BIN_EXE_xtcp2-soak"));
        let output = judge.arg("judge").arg(self.out()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn result(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.out().join("result.json")).unwrap()).unwrap()
    }
}

fn assert_nothing_is_left(made: &[Made]) {
    assert!(
        made.iter().any(|made| matches!(made, Made::Temporary { .. })),
        "{made:?}"
    );
    for made in made {
        match made {
            Made::Process { role, process } => {
                assert!(is_gone(Pid::from_raw(process.pid)), "{role} {process:?}");
            }
            Made::Temporary { path } | Made::Cgroup { path } => {
                assert!(!path.exists(), "{}", path.display());
                let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
                assert!(!mounts.contains(path.to_str().unwrap()), "{mounts}");
            }
            _ => {}
        }
    }
}

/// Of one role.
fn processes(made: &[Made], wanted: &str) -> Vec<Pid> {
    let found = made.iter().filter_map(|made| match made {
        Made::Process { role, process } if role == wanted => Some(Pid::from_raw(process.pid)),
        _ => None,
    });
    found.collect()
}

fn gate<'a>(result: &'a Value, name: &str) -> &'a str {
    let gates = result["gates"].as_array().unwrap();
    let gate = gates.iter().find(|gate| gate["name"] == name).unwrap();
    gate["status"].as_str().unwrap()
}

#[test]
fn it_ends_with_a_verdict_and_leaves_nothing() {
    let Some(mut run) = Run::start("it_ends_with_a_verdict_and_leaves_nothing", "12s") else {
        return;
    };
    run.wait_for_samples(3);
    let made = run.made();
    assert_eq!(processes(&made, "load").len(), 2, "{made:?}");
    let (code, said) = run.end();
    assert_nothing_is_left(&made);
    let result = run.result();
    // What a busy machine cannot show is no failure of the runner.
    assert!(matches!(code, Some(0 | 2)), "{said}");
    for name in [
        "restarts_max",
        "threads_max",
        "rows_per_poll_min",
        "every_lasting_namespace_is_polled",
    ] {
        assert_eq!(gate(&result, name), "pass", "{said}");
    }
    assert!(said.contains("report.html"), "{said}");
    assert!(result["ended_early"].is_null());
    // The verdict is that of the files.
    assert_eq!(run.judged().0, code);
}

#[test]
fn told_to_end_before_its_time_it_does_not_pass() {
    let Some(mut run) = Run::start("told_to_end_before_its_time_it_does_not_pass", "10m") else {
        return;
    };
    run.wait_for_samples(6);
    let made = run.made();
    kill(Pid::from_raw(run.pid()), Signal::SIGINT).unwrap();
    let (code, said) = run.end();
    assert_nothing_is_left(&made);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("ended early: it was told to end"), "{said}");
    let result = run.result();
    assert_eq!(result["ended_early"], "it was told to end");
    assert_eq!(result["verdict"], "cannot-judge");
    assert_eq!(gate(&result, "machine"), "cannot-judge");
    assert_eq!(gate(&result, "restarts_max"), "pass", "{said}");
    let (code, said) = run.judged();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("of 600 s"), "{said}");
}

#[test]
fn a_load_that_dies_or_a_daemon_that_is_killed_fails_it() {
    let test = "a_load_that_dies_or_a_daemon_that_is_killed_fails_it";
    for (role, broken) in [("load", "load_percent_min"), ("daemon", "restarts_max")] {
        let Some(mut run) = Run::start(test, "8s") else {
            return;
        };
        run.wait_for_samples(3);
        let made = run.made();
        kill(processes(&made, role)[0], Signal::SIGKILL).unwrap();
        let (code, said) = run.end();
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(gate(&run.result(), broken), "fail", "{said}");
        assert_nothing_is_left(&made);
    }
}

#[test]
fn one_that_was_killed_is_judged_as_far_as_it_came_and_swept() {
    let Some(mut run) = Run::start("one_that_was_killed_is_judged_as_far_as_it_came_and_swept", "10m") else {
        return;
    };
    run.wait_for_samples(6);
    let made = run.made();
    let daemon = processes(&made, "daemon")[0];
    run.process.0.kill().unwrap();
    assert_eq!(run.end().0, None);
    assert!(!is_gone(daemon), "nobody has ended it yet");
    let (code, said) = run.judged();
    assert_eq!(code, Some(2), "{said}");
    assert!(clean(&[]).status.success());
    assert_nothing_is_left(&made);
}

/// What a shell does in the daemon's place, and the gate that says so.
#[test]
fn a_daemon_that_does_not_come_up_or_ends_badly_fails_it() {
    let test = "a_daemon_that_does_not_come_up_or_ends_badly_fails_it";
    // The one ends at once, again and again; the other is the daemon, but for how it ends.
    let bad_end = "trap 'kill -9 $daemon; exit 101' TERM; \"$REAL\" \"$@\" & daemon=$!; while kill -0 $daemon; do wait; done";
    for script in ["exit 2", bad_end] {
        let Some(mut run) = Run::of_script(test, script, "4s") else {
            return;
        };
        let (code, said) = run.end();
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(gate(&run.result(), "restarts_max"), "fail", "{said}");
    }
}
