//! What a spool costs the loop: `cargo bench --bench spool`; in the folder that XTCP2_SPOOL_BENCH_DIR names, or
//! under target/. The disk says most of it.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot start has nothing to say")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{env, path::PathBuf, time::Duration};
use tempfile::TempDir;
use xtcp2::{
    output::{Identity, Message},
    spool::{Options, Spool},
};

const KIB: usize = 1 << 10;
const REPLAYED: u64 = 1_000;
const BATCH: u64 = 8;

fn folder() -> TempDir {
    let parent = env::var_os("XTCP2_SPOOL_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

fn options(folder: &TempDir) -> Options {
    Options {
        dir: folder.path().to_owned(),
        bytes_max: 2 << 30,
        format: "protobufList".to_owned(),
    }
}

fn message(envelope_sequence: u64, bytes: usize) -> Message {
    Message {
        identity: Identity {
            instance_id: 1,
            envelope_sequence,
            part: 0,
        },
        poll_sequence: 1,
        first_record_counter: 1,
        rows: 100,
        bytes: vec![0xa5; bytes],
    }
}

/// Append, with its fdatasync, and acknowledge: the way of a message whose receiver is there.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spool");
    group.sample_size(50).measurement_time(Duration::from_secs(5));
    for kib in [64, 768] {
        let folder = folder();
        let (mut spool, _) = Spool::open(&options(&folder)).unwrap();
        let one = message(1, kib * KIB);
        group.throughput(Throughput::Bytes((kib * KIB) as u64));
        group.bench_function(format!("append {kib} KiB"), |bencher| {
            bencher.iter(|| {
                let kept = spool.append(&one).unwrap();
                spool.acknowledge(kept);
            });
        });
    }
    let folder = folder();
    let (mut spool, _) = Spool::open(&options(&folder)).unwrap();
    let batch: Vec<Message> = (0..BATCH).map(|sequence| message(sequence, 64 * KIB)).collect();
    group.throughput(Throughput::Bytes(BATCH * 64 * KIB as u64));
    group.bench_function(format!("append {BATCH} of 64 KiB at once"), |bencher| {
        bencher.iter(|| {
            for kept in spool.append_all(&batch).unwrap() {
                spool.acknowledge(kept);
            }
        });
    });
}

/// A start with messages that wait, from the page cache.
fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spool");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for kib in [64, 768] {
        let folder = folder();
        let (mut spool, _) = Spool::open(&options(&folder)).unwrap();
        for sequence in (0..REPLAYED).step_by(8) {
            let batch: Vec<Message> = (sequence..sequence + 8).map(|n| message(n, kib * KIB)).collect();
            spool.append_all(&batch).unwrap();
        }
        drop(spool);
        group.throughput(Throughput::Elements(REPLAYED));
        group.bench_function(format!("open with {REPLAYED} of {kib} KiB"), |bencher| {
            bencher.iter_batched(
                || (),
                |()| Spool::open(&options(&folder)).unwrap(),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(format!("open and read {REPLAYED} of {kib} KiB"), |bencher| {
            bencher.iter_batched(
                || (),
                |()| {
                    let (mut spool, found) = Spool::open(&options(&folder)).unwrap();
                    assert_eq!(found.len() as u64, REPLAYED);
                    found
                        .iter()
                        .map(|kept| spool.read(kept).unwrap().bytes.len())
                        .sum::<usize>()
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, append, replay);
criterion_main!(benches);
