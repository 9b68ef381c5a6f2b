//! Each format on one envelope of 64 full rows: a recorded connection with BBR.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot start has nothing to say")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use xtcp2::{
    envelope::Envelope,
    format::{Format, Formatter},
    netlink::inet_diag::{Attributes, InetDiagMsg},
    record::{Encoder, Identity, Origin},
};

const RECORDED: &[u8] = include_bytes!("../tests/fixtures/tcp_bbr_established_6_18.bin");
const ROWS: u32 = 64;

/// An open envelope of [`ROWS`] rows.
fn envelope() -> Envelope {
    let mut encoder = Encoder::new(
        Identity {
            instance_id: 0x1234_5678_9abc_def0,
            daemon_version: "0.1.0".to_owned(),
            hostname: "host-1.example.net".to_owned(),
            location: "rack-7".to_owned(),
            label: "edge".to_owned(),
            tag: "canary".to_owned(),
        },
        Attributes::DEFAULT,
    );
    encoder.enter(&Origin {
        timestamp_ns: 1_795_469_636_123_456_789,
        poll_sequence: 100,
        netns: "/run/netns/blue",
        netns_inode: 4_026_531_840,
        netns_cookie: 4097,
        socket_fd: 12,
    });
    let message = InetDiagMsg::new(RECORDED).unwrap();
    let mut envelope = Envelope::new(ROWS + 1, 1 << 20);
    for counter in 1..=ROWS {
        let length = encoder.row(&message, counter.into(), envelope.room());
        envelope.push(length, &mut |_| {});
    }
    envelope
}

fn formats(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("format");
    group.throughput(Throughput::Elements(ROWS.into()));
    for (name, format) in Format::NAMES {
        let mut formatter = Formatter::new(format, &[]).unwrap();
        envelope().close(&mut |closed| {
            assert_eq!(closed.rows, ROWS);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    formatter.messages(black_box(&closed), usize::MAX, &mut |rows, message| {
                        black_box((rows, message));
                    });
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
