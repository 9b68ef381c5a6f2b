//! The three things that are done for each socket of each poll, for who counts instructions: `hot_paths WHAT TIMES`
//! does one of row, envelope and walk so many times. scripts/instructions runs it under callgrind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool for measurements")]

#[allow(dead_code, reason = "tests use the rest")]
#[path = "../../daemon/tests/common/captures.rs"]
mod captures;
#[path = "../../daemon/tests/messages/mod.rs"]
mod messages;

use messages::{DATAGRAM_MESSAGES, RECORDED, encoder, many_varied};
use std::{env, hint::black_box};
use xtcp2::{
    envelope::Envelope,
    netlink::{
        inet_diag::{Attributes, InetDiagMsg},
        message::Messages,
    },
    record::ROW_BYTES_MAX,
};

/// Rows of an envelope.
const ROWS: u32 = 64;

/// Kernel bytes of a socket to the protobuf bytes of its row.
fn row(times: u64) {
    let messages = many_varied(64);
    let mut encoder = encoder(Attributes::DEFAULT);
    let mut room = vec![0; ROW_BYTES_MAX];
    for (counter, bytes) in (0..times).zip(messages.iter().cycle()) {
        let message = InetDiagMsg::new(black_box(bytes)).unwrap();
        black_box(encoder.row(&message, counter, &mut room));
    }
}

/// 64 rows to an envelope, each encoded where it stays, and closed.
fn envelope(times: u64) {
    let mut encoder = encoder(Attributes::DEFAULT);
    let mut envelope = Envelope::new(ROWS, 16 << 20);
    let message = InetDiagMsg::new(RECORDED).unwrap();
    for _ in 0..times {
        for counter in 0..u64::from(ROWS) {
            let length = encoder.row(&message, counter, envelope.room());
            envelope.push(length, &mut |closed| {
                black_box(closed.delimited);
            });
        }
    }
}

/// The messages of a datagram, and the one that ends a dump.
fn walk(times: u64) {
    let datagram = captures::dump(&vec![RECORDED.to_vec(); DATAGRAM_MESSAGES]);
    for _ in 0..times {
        let walk = Messages::new(black_box(&datagram));
        assert_eq!(
            walk.filter(|message| message.is_ok()).count(),
            DATAGRAM_MESSAGES + 1
        );
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [what, times] = arguments.as_slice() else {
        panic!("expected row|envelope|walk TIMES");
    };
    let times = times.parse().expect("TIMES");
    match what.as_str() {
        "row" => row(times),
        "envelope" => envelope(times),
        "walk" => walk(times),
        other => panic!("expected row, envelope or walk, got {other}"),
    }
}
