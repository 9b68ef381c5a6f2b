//! The spool on real file systems: killed at any moment, and full.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;
mod messages;

use common::sandbox;
use messages::Random;
use nix::mount::{MsFlags, mount};
use std::{
    collections::{BTreeSet, VecDeque},
    env,
    io::{BufRead, BufReader, ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};
use xtcp2::{
    output::{Identity, Message},
    spool::{
        Options, Spool,
        journal::{self, EventKind},
    },
};

const KILLS: u64 = 50;
/// Longest life of a child after its first message.
const LIFE_MS_MAX: usize = 40;
/// Names the folder, and the first sequence, to the child.
const FOLDER: &str = "XTCP2_TEST_SPOOL";
const FIRST: &str = "XTCP2_TEST_SPOOL_FIRST";

/// The journal has a sixteenth for each of its two files: room for all that a fast disk takes until the last kill.
const BYTES_MAX_OF_KILLS: u64 = 64 << 20;
const BYTES_MAX_OF_FULL: u64 = 4 << 20;

fn options(dir: &Path, bytes_max: u64) -> Options {
    Options {
        dir: dir.to_owned(),
        bytes_max,
        format: "protobufList".to_owned(),
    }
}

fn message(sequence: u64) -> Message {
    let mut random = Random(sequence);
    let bytes = random.below(20_000);
    Message {
        identity: Identity {
            instance_id: 7,
            envelope_sequence: sequence,
            part: 0,
        },
        poll_sequence: sequence,
        first_record_counter: 1 + sequence,
        rows: 1,
        bytes: (0..bytes).map(|_| random.bits().to_le_bytes()[0]).collect(),
    }
}

/// Takes messages and lets them go, for ever; says so after the one and before the other.
fn child(dir: &Path, first: u64) {
    let (mut spool, found) = Spool::open(&options(dir, BYTES_MAX_OF_KILLS)).unwrap();
    let mut kept: VecDeque<_> = found.into();
    let mut random = Random(first);
    let mut out = std::io::stdout();
    let mut sequence = first;
    loop {
        let batch: Vec<Message> = (0..=random.below(3))
            .map(|n| message(sequence + n as u64))
            .collect();
        sequence += batch.len() as u64;
        let taken = spool.append_all(&batch).unwrap();
        let names: String = taken
            .iter()
            .map(|kept| format!("taken {}\n", kept.identity.envelope_sequence))
            .collect();
        out.write_all(names.as_bytes()).unwrap();
        kept.extend(taken);
        while kept.len() > 12 || random.one_in(3) {
            let Some(oldest) = kept.pop_front() else { break };
            writeln!(out, "leaves {}", oldest.identity.envelope_sequence).unwrap();
            match random.one_in(4) {
                true => spool.give_up(oldest),
                false => spool.acknowledge(oldest),
            }
        }
    }
}

#[test]
fn kill_9_at_any_moment_loses_nothing() {
    if let Ok(dir) = env::var(FOLDER) {
        child(&PathBuf::from(dir), env::var(FIRST).unwrap().parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    let (mut taken, mut left) = (BTreeSet::new(), BTreeSet::new());
    for round in 1..=KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "kill_9_at_any_moment_loses_nothing", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(FIRST, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| {
            let sequence = |name| line.strip_prefix(name)?.parse::<u64>().ok();
            // The harness has lines of its own, and the name of the test before our first.
            let line_taken: Option<u64> = line.rsplit_once("taken ").and_then(|(_, n)| n.parse().ok());
            taken.extend(line_taken);
            left.extend(sequence("leaves "));
            line_taken.is_some()
        };
        while !note(lines.next().expect("the child takes a message").unwrap()) {}
        sleep(Duration::from_millis(random.below(LIFE_MS_MAX) as u64));
        let while_it_runs = journal::read(folder.path()).unwrap();
        assert!(!while_it_runs.is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|line| {
            note(line);
        });

        let (mut spool, found) = Spool::open(&options(folder.path(), BYTES_MAX_OF_KILLS)).unwrap();
        assert_eq!(spool.counters().corrupt_records, 0);
        let sequences: Vec<u64> = found.iter().map(|kept| kept.identity.envelope_sequence).collect();
        assert!(sequences.is_sorted(), "{sequences:?}");
        let there: BTreeSet<u64> = sequences.into_iter().collect();
        let lost: Vec<u64> = taken
            .difference(&left)
            .filter(|n| !there.contains(n))
            .copied()
            .collect();
        assert!(
            lost.is_empty(),
            "round {round}: {} of {} were taken and are lost, the first {:?}",
            lost.len(),
            taken.len(),
            lost.first()
        );
        for kept in &found {
            assert_eq!(
                spool.read(kept).unwrap(),
                message(kept.identity.envelope_sequence)
            );
        }
        // What was taken when the child could no longer say so is in the journal too.
        taken.extend(there);
        let produced: BTreeSet<u64> = journal::read(folder.path())
            .unwrap()
            .iter()
            .filter(|entry| entry.kind == EventKind::Produced)
            .map(|entry| entry.identity.envelope_sequence)
            .collect();
        let unknown: Vec<u64> = taken.difference(&produced).copied().collect();
        assert!(
            unknown.is_empty(),
            "round {round}: {} of {} are not in the journal, the first {:?}",
            unknown.len(),
            taken.len(),
            unknown.first()
        );
    }
    eprintln!(
        "{} messages taken, {} left, {KILLS} kills",
        taken.len(),
        left.len()
    );
    assert!(taken.len() as u64 >= KILLS);
}

#[test]
fn a_full_file_system_refuses_and_loses_nothing() {
    sandbox::run("a_full_file_system_refuses_and_loses_nothing", || {
        let folder = sandbox::folder();
        let tmpfs = Some("tmpfs");
        mount(tmpfs, folder.path(), tmpfs, MsFlags::empty(), Some("size=1m")).unwrap();
        let dir = folder.path().join("spool");
        let (mut spool, _) = Spool::open(&options(&dir, BYTES_MAX_OF_FULL)).unwrap();
        let mut kept = VecDeque::new();
        let mut refused = 0;
        for sequence in 1..=500 {
            let message = message(sequence);
            match spool.append(&message) {
                Ok(taken) => {
                    assert!(!spool.is_degraded());
                    kept.push_back(taken);
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    assert!(spool.is_degraded());
                    refused += 1;
                    spool.note_produced(&message);
                    if refused % 10 == 0 {
                        // The receiver is back for a while.
                        kept.drain(..kept.len() / 2)
                            .for_each(|kept| spool.acknowledge(kept));
                    }
                }
            }
        }
        assert!(
            refused > 10 && kept.len() > 10,
            "{refused} refused, {} kept",
            kept.len()
        );
        assert_eq!(spool.counters().refused_messages, refused);
        drop(spool);
        // The disk is as full as before, and the start works.
        let (mut spool, found) = Spool::open(&options(&dir, BYTES_MAX_OF_FULL)).unwrap();
        assert_eq!(Vec::from(kept), found);
        for kept in found {
            assert_eq!(
                spool.read(&kept).unwrap(),
                message(kept.identity.envelope_sequence)
            );
            spool.acknowledge(kept);
        }
        assert_eq!(spool.counters().corrupt_records, 0);
        let known: BTreeSet<u64> = journal::read(&dir)
            .unwrap()
            .iter()
            .map(|entry| entry.identity.envelope_sequence)
            .collect();
        assert_eq!(
            known,
            (1..=500).collect(),
            "what was refused is in the journal too"
        );
    });
}
