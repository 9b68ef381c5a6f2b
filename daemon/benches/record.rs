//! What a row costs: `cargo bench --bench record`.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{RECORDED, Random, encoder, varied};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use xtcp2::{
    envelope::Envelope,
    netlink::inet_diag::{Attributes, INET_DIAG_MSG_BYTES, InetDiagMsg},
    record::{ROW_BYTES_MAX, wire::varint_bytes},
};

/// Rows of an envelope as the reference program sends it.
const ENVELOPE_ROWS: u32 = 10_000;
const ENVELOPE_ROW_BYTES: usize = 500;

/// Kernel bytes to protobuf bytes, one row an iteration.
fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("row");
    let mut random = Random(1);
    let sets: [(&str, Vec<Vec<u8>>); 3] = [
        ("full, the same", vec![RECORDED.to_vec()]),
        // The branch predictor learns one row by heart, but not 512.
        (
            "full, 512 varied",
            (0..512).map(|_| varied(&mut random)).collect(),
        ),
        ("no attributes", vec![RECORDED[..INET_DIAG_MSG_BYTES].to_vec()]),
    ];
    for (name, messages) in &sets {
        let mut encoder = encoder(Attributes::DEFAULT);
        let mut room = vec![0; ROW_BYTES_MAX];
        let mut next = messages.iter().cycle();
        let mut counter = 0;
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                counter += 1;
                let message = next.next().and_then(|bytes| InetDiagMsg::new(black_box(bytes)));
                message.map(|message| encoder.row(&message, counter, black_box(&mut room)))
            });
        });
    }
}

/// Keeping the size of an envelope exact while it grows by a row at a time: ours, and by adding
/// up all of its rows for each one more.
fn accounting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope accounting");
    group.bench_function(BenchmarkId::new("accumulated", ENVELOPE_ROWS), |bencher| {
        let mut envelope = Envelope::new(ENVELOPE_ROWS, 16 << 20);
        bencher.iter(|| {
            let mut bytes = 0;
            for _ in 0..ENVELOPE_ROWS {
                envelope.push(black_box(ENVELOPE_ROW_BYTES), &mut |closed| {
                    bytes += closed.delimited.len();
                });
            }
            bytes
        });
    });
    group.sample_size(10);
    group.bench_function(BenchmarkId::new("recomputed", ENVELOPE_ROWS), |bencher| {
        let mut lengths = Vec::with_capacity(10_000);
        bencher.iter(|| {
            lengths.clear();
            let mut bytes = 0;
            for _ in 0..ENVELOPE_ROWS {
                lengths.push(black_box(ENVELOPE_ROW_BYTES));
                bytes = black_box(&lengths)
                    .iter()
                    .map(|&length| 1 + varint_bytes(length as u64) + length)
                    .sum();
            }
            bytes
        });
    });
}

criterion_group!(benches, rows, accounting);
criterion_main!(benches);
