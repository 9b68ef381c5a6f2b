//! What a row and an envelope cost: `cargo bench --bench record`.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot start has nothing to say"
)]

#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/common/captures.rs"]
mod captures;
#[path = "../tests/messages/mod.rs"]
mod messages;
mod prost_record;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use messages::{DATAGRAM_MESSAGES, RECORDED, Random, encoder, many_varied, vary};
use prost::Message;
use std::hint::black_box;
use xtcp2::{
    envelope::Envelope,
    netlink::{
        inet_diag::{Attributes, INET_DIAG_MSG_BYTES, InetDiagMsg},
        message::Messages,
    },
    record::{ROW_BYTES_MAX, wire::varint_bytes},
};

/// The branch predictor learns a few rows by heart, but not so many.
const VARIED: usize = 512;
/// Rows of the envelope that is compared with prost's.
const MARSHAL_ROWS: u32 = 64;
/// State of an established connection (include/net/tcp_states.h, Linux 6.18).
const TCP_ESTABLISHED: u8 = 1;

/// Rows of an envelope as the reference program sends it.
const ENVELOPE_ROWS: u32 = 10_000;
const ENVELOPE_ROW_BYTES: usize = 500;

/// Kernel bytes to protobuf bytes, one row an iteration.
fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("row");
    let mut random = Random(1);
    let mut sets: Vec<(String, Vec<Vec<u8>>)> = [
        ("full, the same", vec![RECORDED.to_vec()]),
        ("full, 512 varied", many_varied(VARIED)),
        ("no attributes", vec![RECORDED[..INET_DIAG_MSG_BYTES].to_vec()]),
    ]
    .map(|(name, messages)| (name.to_owned(), messages))
    .into();
    // Typical ones: connections as each kernel that was recorded tells of them, with other numbers: a recording
    // has few of them.
    for fixture in captures::fixtures() {
        let name = fixture.file_stem().unwrap().to_string_lossy().into_owned();
        let Some(kernel) = name
            .strip_prefix("linux-")
            .and_then(|name| name.strip_suffix("-few"))
        else {
            continue;
        };
        let replies = captures::replies(&fixture).into_iter().map(|(_, reply)| reply);
        let connections: Vec<Vec<u8>> = replies.filter(|reply| reply[1] == TCP_ESTABLISHED).collect();
        let connections = connections.iter().cycle().take(VARIED);
        let varied = connections.map(|reply| vary(reply, &mut random)).collect();
        sets.push((format!("connections of Linux {kernel}"), varied));
    }
    for (name, messages) in &sets {
        let mut encoder = encoder(Attributes::DEFAULT);
        let mut room = vec![0; ROW_BYTES_MAX];
        let mut next = messages.iter().cycle();
        let mut counter = 0;
        group.bench_function(name.as_str(), |bencher| {
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

/// Kernel bytes of 64 sockets to the bytes of an envelope; beside it prost, which is given the rows as structures
/// already and only writes them.
fn marshal(criterion: &mut Criterion) {
    let messages = many_varied(MARSHAL_ROWS as usize);
    let mut encoder = encoder(Attributes::DEFAULT);
    let mut envelope = Envelope::new(MARSHAL_ROWS, 16 << 20);
    let mut marshal = |sink: &mut dyn FnMut(&[u8])| {
        for (counter, message) in (0..).zip(&messages) {
            let message = InetDiagMsg::new(black_box(message)).unwrap();
            let length = encoder.row(&message, counter, envelope.room());
            envelope.push(length, &mut |closed| sink(closed.delimited));
        }
    };
    let mut bytes = Vec::new();
    marshal(&mut |delimited| bytes = delimited.to_vec());
    let decoded = prost_record::Envelope::decode_length_delimited(bytes.as_slice()).unwrap();
    assert!(
        decoded.encode_length_delimited_to_vec() == bytes,
        "prost writes other bytes"
    );

    let mut group = criterion.benchmark_group(format!("envelope of {MARSHAL_ROWS} rows"));
    group.throughput(Throughput::Elements(MARSHAL_ROWS.into()));
    group.bench_function("kernel bytes to envelope", |bencher| {
        bencher.iter(|| {
            marshal(&mut |delimited| {
                black_box(delimited);
            });
        });
    });
    let mut room = Vec::with_capacity(2 * bytes.len());
    group.bench_function("prost, structures to envelope", |bencher| {
        bencher.iter(|| {
            room.clear();
            black_box(&decoded).encode_length_delimited(&mut room).unwrap();
            room.len()
        });
    });
}

/// The messages of a datagram, found.
fn walk(criterion: &mut Criterion) {
    let datagram = captures::dump(&vec![RECORDED.to_vec(); DATAGRAM_MESSAGES]);
    let mut group = criterion.benchmark_group("netlink");
    group.throughput(Throughput::Bytes(datagram.len() as u64));
    group.bench_function("messages of a datagram", |bencher| {
        bencher.iter(|| {
            let found = Messages::new(black_box(&datagram)).filter_map(Result::ok);
            found.map(|message| message.payload.len()).sum::<usize>()
        });
    });
}

criterion_group!(benches, rows, accounting, marshal, walk);
criterion_main!(benches);
