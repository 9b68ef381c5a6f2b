//! Records the kernel's bytes of sockets of every kind, by the daemon's own `--record`.
//! `scripts/record-fixtures` runs it; tests read what it leaves in tests/fixtures.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::{
    captures, poll, sandbox,
    scenes::{GROUPS, Network},
};
use std::{fs, path::Path, thread::sleep, time::Duration};

/// Retransmissions, probes and delayed ACKs have happened by then.
const SETTLED_AFTER: Duration = Duration::from_millis(1500);

fn record(group: &str) {
    sandbox::run(group, || {
        let network = Network::new();
        let (_, make) = GROUPS.iter().find(|(name, _)| *name == group).unwrap();
        let scene = make(&network);
        sleep(SETTLED_AFTER);
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let version: Vec<&str> = release.split('.').take(2).collect();
        let name = format!("linux-{}-{group}.pcapng", version.join("."));
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(&name);
        poll::poll(&file);
        let replies = captures::replies(&file).len();
        eprintln!("{name}: {replies} sockets, without {:?}", scene.skipped);
    });
}

#[test]
#[ignore = "writes a fixture"]
fn few() {
    record("few");
}

#[test]
#[ignore = "writes a fixture"]
fn states() {
    record("states");
}

#[test]
#[ignore = "writes a fixture"]
fn options() {
    record("options");
}

#[test]
#[ignore = "writes a fixture"]
fn conditions() {
    record("conditions");
}
