//! A disk that does not give back what it took, and the queue in front of it.

use super::{
    simulated_disk::{Faults, SimulatedDisk},
    *,
};
use crate::output::{DropReason, Queue};

type SimulatedQueue = Queue<SimulatedDisk>;

/// So long that a segment of the smallest spool holds one.
const BYTES: usize = 60_000;

/// A disk on which these wait, each in a segment of its own.
fn disk_with(sequences: std::ops::RangeInclusive<u64>) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    for sequence in sequences {
        spool.append(&message(sequence, BYTES)).unwrap();
    }
    disk
}

fn segments(disk: &SimulatedDisk) -> Vec<String> {
    let names = disk.list().unwrap().into_iter();
    names.filter(|name| name.ends_with(".spool")).collect()
}

/// A queue on a spool that was opened before the disk began to fail.
fn queue_on(disk: &SimulatedDisk, fail: impl FnOnce(&SimulatedDisk)) -> SimulatedQueue {
    let (spool, waiting) = open(disk.clone());
    fail(disk);
    Queue::on_disk(10 * BYTES, spool, waiting)
}

fn fail_reads(disk: &SimulatedDisk) {
    disk.faults.set(Faults {
        reads: 1_000,
        ..Faults::default()
    });
}

fn fail_opens(disk: &SimulatedDisk) {
    disk.unopenable.borrow_mut().extend(segments(disk));
}

fn mend(disk: &SimulatedDisk) {
    disk.faults.set(Faults::default());
    disk.unopenable.borrow_mut().clear();
}

/// Takes all that can be had from the front.
fn deliver(queue: &mut SimulatedQueue) -> Vec<u64> {
    let mut sequences = Vec::new();
    while let Some(front) = queue.front() {
        let sequence = front.identity.envelope_sequence;
        assert_eq!(*front, message(sequence, BYTES));
        sequences.push(sequence);
        queue.front_delivered();
    }
    sequences
}

#[test]
fn a_disk_that_fails_to_read_for_a_moment_costs_nothing_but_the_moment() {
    for fail in [fail_reads, fail_opens] {
        let disk = disk_with(1..=3);
        let mut queue = queue_on(&disk, fail);
        queue.push(vec![message(4, BYTES)]);
        assert!(queue.front().is_none() && queue.next_waiting().is_none());
        assert_eq!(queue.counters.dropped_total().messages, 0);
        assert_eq!(queue.queued().messages, 4);
        mend(&disk);
        assert!(queue.front().is_none(), "not before its time");
        queue.read_again();
        assert_eq!(deliver(&mut queue), [1, 2, 3, 4]);
        assert_eq!(queue.counters.dropped_total().messages, 0);
        assert_eq!(queue.read_pause(), None);
    }
}

#[test]
fn a_disk_that_fails_is_asked_less_and_less_often() {
    let disk = disk_with(1..=3);
    let mut queue = queue_on(&disk, fail_reads);
    let errors = |queue: &SimulatedQueue| queue.spool().unwrap().counters().io_errors;
    let mut pauses = Vec::new();
    for tries in 1..=100 {
        pauses.extend(queue.read_pause());
        // In between, nobody asks.
        queue.push(Vec::new());
        assert!(queue.next_waiting().is_none());
        assert_eq!(errors(&queue), tries);
        queue.read_again();
    }
    assert_eq!(pauses.len(), 100);
    assert!(pauses[0].as_millis() <= 100 && pauses[99].as_secs() >= 15);
    assert_eq!(
        queue.counters.dropped_total().messages,
        0,
        "nothing is read, nothing is given up"
    );
}

#[test]
fn a_message_that_stays_unreadable_where_others_are_read_is_given_up_and_its_segment_goes() {
    let disk = disk_with(1..=3);
    let first = segments(&disk)[0].clone();
    let mut queue = queue_on(&disk, |disk| {
        disk.unopenable.borrow_mut().insert(first.clone());
    });
    let mut tries = 1;
    while queue.front().is_none() {
        assert_eq!(queue.counters.dropped_total().messages, 0);
        queue.read_again();
        tries += 1;
    }
    assert_eq!(tries, 16);
    assert_eq!(deliver(&mut queue), [2, 3]);
    assert_eq!(queue.counters.dropped(DropReason::Unreadable).messages, 1);
    assert_eq!(segments(&disk), Vec::<String>::new());
    drop(queue);
    mend(&disk);
    assert_eq!(open(disk).1, [], "counted as dropped, so gone");
}

#[test]
fn a_disk_that_neither_reads_nor_writes_does_not_hold_up_fresh_messages_for_ever() {
    let disk = disk_with(1..=3);
    let mut queue = queue_on(&disk, |disk| {
        disk.faults.set(Faults {
            reads: 1_000,
            writes: 1_000,
            ..Faults::default()
        });
    });
    queue.push(vec![message(4, BYTES)]);
    assert!(queue.spool().unwrap().is_degraded());
    for _ in 1..16 {
        assert!(queue.front().is_none());
        assert_eq!(queue.counters.dropped_total().messages, 0);
        queue.read_again();
    }
    assert_eq!(deliver(&mut queue), [4]);
    assert_eq!(queue.counters.dropped(DropReason::Unreadable).messages, 3);
}

/// The bound needs the room, and the oldest go for it, readable or not.
#[test]
fn messages_that_cannot_be_read_do_not_pin_the_spool_at_its_bound() {
    let disk = disk_with(1..=3);
    let mut queue = queue_on(&disk, fail_opens);
    for sequence in 4..=40 {
        queue.push(vec![message(sequence, BYTES)]);
        assert_eq!(queue.in_memory_bytes(), 0);
        assert!(disk.used() <= 1 << 20);
    }
    assert_eq!(
        queue.counters.dropped(DropReason::QueueFull),
        queue.counters.dropped_total()
    );
    mend(&disk);
    queue.read_again();
    let delivered = deliver(&mut queue);
    assert!(delivered.len() > 8, "{delivered:?}");
    let oldest = 41 - delivered.len() as u64;
    assert_eq!(delivered, (oldest..=40).collect::<Vec<u64>>());
}
