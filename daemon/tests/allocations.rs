//! A row costs no allocation: the buffers of encoder and envelope are born at the start. An envelope costs one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]
#![expect(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

mod common;
mod messages;

use common::{
    seen::{Poller, options},
    simulated::{Simulated, Socket},
};
use messages::{RECORDED, Random, encoder, varied};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};
use xtcp2::{
    envelope::Envelope,
    format::{Format, Formatter},
    netlink::inet_diag::{Attributes, InetDiagMsg},
};

const ROWS: u64 = 10_000;

/// The system's allocator; counts what the thread that asks takes from it.
struct Counting;

/// More than the rows of any poll here, less than the memory for a batch of replies.
const LARGE_BYTES: usize = 100_000;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LARGE: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    LARGE.set(LARGE.get() + u64::from(bytes >= LARGE_BYTES));
}

// SAFETY: every call goes to the system's allocator with the arguments it came with, and counting
// is a thread-local of a type without a destructor: it allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller promises a layout whose size is not 0, which is all `System` asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: `block` is from this allocator, so from `System`, with this layout, and the
        // caller promises that `size` is not 0.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` is from this allocator, so from `System`, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn allocations_are_counted() {
    assert_eq!(
        allocations_of(|| drop(std::hint::black_box(vec![0u8; 100]))),
        1,
        "the counter counts nothing"
    );
}

#[test]
fn ten_thousand_rows_cost_none() {
    let mut random = Random(3);
    let mut messages: Vec<Vec<u8>> = (0..512).map(|_| varied(&mut random)).collect();
    messages.push(RECORDED.to_vec());
    messages.push(RECORDED[..72].to_vec());
    let mut encoder = encoder(Attributes::ALL);
    let mut envelope = Envelope::new(1_000, 786_432);
    let (mut rows, mut bytes) = (0, 0);
    let allocations = allocations_of(|| {
        let mut sink = |closed: xtcp2::envelope::Closed<'_>| {
            rows += u64::from(closed.rows);
            bytes += closed.delimited.len();
        };
        for (counter, message) in (1..=ROWS).zip(messages.iter().cycle()) {
            let message = InetDiagMsg::new(message).unwrap();
            let length = encoder.row(&message, counter, envelope.room());
            envelope.push(length, &mut sink);
        }
        envelope.close(&mut sink);
    });
    assert_eq!(rows, ROWS);
    assert!(bytes > 300 * 10_000, "rows have become empty: {bytes} bytes");
    assert_eq!(allocations, 0);
}

/// The rows are copied once, into the message that waits for its receiver.
#[test]
fn an_envelope_costs_its_message() {
    let mut encoder = encoder(Attributes::ALL);
    let mut envelope = Envelope::new(64, 786_432);
    let mut formatter = Formatter::new(Format::ProtobufList, &[]).unwrap();
    let message = InetDiagMsg::new(RECORDED).unwrap();
    let (mut messages, mut bytes) = (0, 0);
    let allocations = allocations_of(|| {
        for counter in 1..=640 {
            let length = encoder.row(&message, counter, envelope.room());
            envelope.push(length, &mut |closed| {
                formatter.messages(&closed, usize::MAX, &mut |_, message| {
                    messages += 1;
                    bytes += message.len();
                });
            });
        }
    });
    assert_eq!(messages, 10);
    assert!(bytes > 300 * 640, "rows have become empty: {bytes} bytes");
    assert_eq!(allocations, messages);
}

#[test]
fn the_next_namespace_costs_none() {
    let mut encoder = encoder(Attributes::ALL);
    let origin = |netns| xtcp2::record::Origin {
        timestamp_ns: 1,
        poll_sequence: 1,
        netns,
        netns_inode: 1,
        netns_cookie: 1,
        socket_fd: 1,
    };
    let long = "/x".repeat(3_000);
    let allocations = allocations_of(|| {
        encoder.enter(&origin("/run/netns/short"));
        encoder.enter(&origin(&long));
        encoder.enter(&origin("/run/netns/short"));
    });
    assert_eq!(allocations, 0);
}

/// What reads of namespaces need is born with the first poll.
#[test]
fn a_poll_by_look_ups_takes_no_large_memory() {
    let mut world = Simulated::new();
    world.add(5, (1..=150).map(Socket::established));
    let mut poller = Poller::new(options());
    let mut poll = |world: &mut Simulated| {
        let before = LARGE.get();
        world.pass(Duration::from_secs(1));
        let outcome = poller.poll(world, |world, until| world.now = until);
        assert_eq!(outcome.rows.len(), 150);
        (outcome.reads, LARGE.get() - before)
    };
    let (first, _) = poll(&mut world);
    assert_eq!(first.walks, 1);
    let (second, large) = poll(&mut world);
    assert_eq!((second.look_ups, large), (1, 0));
}
