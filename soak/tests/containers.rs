//! A load with containers, whatever ends it. In a program of its own: the engine needs more than a sandbox
//! allows, and what it mounts on this machine would be seen by the tests of `clean` that run beside it.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "common/load.rs"]
#[allow(dead_code, reason = "shared with the other loads' tests")]
mod load;

use load::{Load, clean, is_gone, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, process::Command};
use xtcp2_soak::load::trace::{self, Made};

#[test]
fn containers_hold_sockets_and_clean_ends_them() {
    let skipped = |why: &str| eprintln!("containers_hold_sockets_and_clean_ends_them: skipped, {why}");
    if !nix::unistd::geteuid().is_root() {
        return skipped("only root may start containers");
    }
    for program in ["docker", "dockerd"] {
        if Command::new(program).arg("--version").output().is_err() {
            return skipped(&format!("no {program} here: scripts/setup soak installs it"));
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("ns");
    let words = [
        "containers",
        "--folder",
        folder.to_str().unwrap(),
        "--containers",
        "2",
        "--sockets",
        "20",
        "--restarts-per-minute",
        "30",
    ];
    for ending in [Ending::Told, Ending::Killed, Ending::KilledWithEngine] {
        let mut load = Load::start(&words);
        let own = format!("soak-{}x", load.processes()[0]);
        let Some(first) = load.said() else {
            let why = load.stderr();
            assert!(why.contains("dockerd"), "{why}");
            return skipped(why.trim());
        };
        assert_eq!((first.containers, first.sockets), (2, 40));
        let mut last = first.clone();
        while last.containers_restarted < 1 {
            last = load.said().unwrap();
        }
        assert!(last.bytes > first.bytes);
        assert_eq!(last.errors, 0);
        let inits = containers();
        let processes: Vec<Pid> = inits.iter().copied().chain(shims(&inits)).collect();
        if ending == Ending::Told {
            // One may be about to be made anew.
            assert!((1..=2).contains(&inits.len()), "{inits:?}");
            let (last, status, stderr) = load.end();
            assert!(status.success(), "{stderr}");
            assert_eq!((last.containers, last.sockets), (0, 0));
        } else {
            let states = trace::states().unwrap().into_iter();
            let of_load = states.filter(|(marker, _)| own.starts_with(&format!("soak-{}x", marker.0.pid)));
            let made: Vec<Made> = of_load.flat_map(|(_, made)| made).collect();
            load.kill(true);
            if ending == Ending::KilledWithEngine {
                made.iter().for_each(kill_engine);
            }
            let output = clean(&[]);
            assert!(output.status.success());
            assert!(!output.stdout.is_empty());
        }
        wait_until("containers and shims are gone", || {
            processes.iter().all(|process| is_gone(*process))
        });
        assert!(containers().is_empty());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&own), "{mounts}");
        let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        let mut left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&own));
        assert!(left.next().is_none());
        assert!(!folder.exists());
    }
}

/// How a load with containers ends.
#[derive(PartialEq, Eq)]
enum Ending {
    Told,
    Killed,
    /// If the engine is the load's own.
    KilledWithEngine,
}

/// kill -9 of a dockerd and its containerd, after which nobody looks after shims and containers.
fn kill_engine(made: &Made) {
    if let Made::Process { role, process } = made
        && role != "worker"
    {
        // A containerd is killed by the kernel when its dockerd ends: it may be gone already.
        let killed = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        assert!(matches!(killed, Ok(()) | Err(nix::Error::ESRCH)), "{killed:?}");
    }
}

/// First processes of containers that were told to hold 20 sockets: of this test.
fn containers() -> Vec<Pid> {
    let is_ours = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words == b"/holder\x0020\0"
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_ours).map(Pid::from_raw).collect()
}

/// Their parents.
fn shims(inits: &[Pid]) -> Vec<Pid> {
    let parent = |init: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{init}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    inits.iter().filter_map(parent).map(Pid::from_raw).collect()
}
