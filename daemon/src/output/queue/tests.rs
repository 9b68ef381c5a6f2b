//! The queue without an output: order, bounds, and what is on disk.

use super::{super::tests::message, *};
use crate::spool;
use std::path::Path;

fn push(queue: &mut Queue, message: Message) {
    queue.push(vec![message]);
}

fn sequences(queue: &Queue) -> Vec<u64> {
    queue
        .identities()
        .map(|(identity, _)| identity.envelope_sequence)
        .collect()
}

#[test]
fn the_oldest_goes_first_and_is_counted() {
    let mut queue = Queue::new(100);
    for sequence in 0..5 {
        push(&mut queue, message(sequence, 40));
    }
    assert_eq!(sequences(&queue), [3, 4]);
    assert_eq!(queue.counters.dropped(DropReason::QueueFull).messages, 3);
    assert!(queue.is_full());
    assert_eq!(queue.queued().bytes, 80);
}

#[test]
fn a_message_in_mid_transmission_stays() {
    let mut queue = Queue::new(100);
    push(&mut queue, message(0, 60));
    queue.set_front_begun(true);
    push(&mut queue, message(1, 30));
    push(&mut queue, message(2, 40));
    assert_eq!(sequences(&queue), [0, 2]);
    push(&mut queue, message(3, 90));
    assert_eq!(sequences(&queue), [0], "there is no room beside the front");
    queue.retry_front();
    push(&mut queue, message(4, 90));
    assert_eq!(sequences(&queue), [4]);
    assert_eq!(queue.counters.retried, 1);
    assert_eq!(queue.counters.dropped_total().messages, 4);
}

#[test]
fn what_can_never_fit_does_not_empty_the_queue() {
    let mut queue = Queue::new(100);
    push(&mut queue, message(0, 100));
    push(&mut queue, message(1, 101));
    assert_eq!(sequences(&queue), [0]);
    assert_eq!(queue.counters.dropped(DropReason::TooLarge).messages, 1);
    queue.front_delivered();
    assert!(!queue.is_full(), "an empty queue is never full");
}

#[test]
fn a_smaller_bound_does_not_ask_for_room_that_nothing_needs_any_more() {
    let mut queue = Queue::new(100);
    push(&mut queue, message(0, 60));
    push(&mut queue, message(1, 10));
    queue.front_delivered();
    queue.set_bytes_max(40);
    assert!(!queue.is_full(), "10 more fit");
    queue.front_delivered();
    push(&mut queue, message(2, 39));
    assert!(queue.is_full());
    queue.set_bytes_max(30);
    queue.front_delivered();
    assert!(!queue.is_full(), "an empty queue is never full");
}

#[test]
fn several_in_flight_end_in_any_order_and_come_back_in_their_own() {
    let mut queue = Queue::new(1000);
    for sequence in 0..5 {
        push(&mut queue, message(sequence, 40));
    }
    let mut out = Vec::new();
    while let Some((ticket, message)) = queue.next_waiting() {
        out.push((ticket, message.identity.envelope_sequence));
        queue.begun(ticket);
    }
    assert_eq!(
        out.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    queue.delivered(out[3].0);
    queue.retry(out[4].0);
    queue.retry(out[1].0);
    queue.delivered(out[0].0);
    queue.delivered(out[0].0);
    assert_eq!(sequences(&queue), [1, 2, 4]);
    assert_eq!(queue.next_waiting().unwrap().0, out[1].0, "older than 4");
    queue.begun(out[1].0);
    assert_eq!(queue.next_waiting().unwrap().0, out[4].0);
    assert_eq!(
        (queue.counters.delivered.messages, queue.counters.retried),
        (2, 2)
    );
    assert_eq!((queue.queued().messages, queue.queued().rows), (3, 9));
}

#[test]
fn without_word_of_a_transport_all_that_it_had_waits_again() {
    let mut queue = Queue::new(1000);
    for sequence in 0..5 {
        push(&mut queue, message(sequence, 40));
    }
    [0, 2, 3].iter().for_each(|ticket| queue.begun(*ticket));
    queue.delivered(2);
    assert_eq!(queue.retry_all_begun(), 2);
    assert_eq!(queue.next_waiting().unwrap().0, 0);
    assert_eq!(queue.counters.retried, 2);
    assert_eq!(queue.retry_all_begun(), 0);
}

fn on_disk(folder: &Path, disk_bytes_max: u64) -> Queue {
    let options = spool::Options {
        dir: folder.to_owned(),
        bytes_max: disk_bytes_max,
        format: "test".to_owned(),
    };
    let (spool, waiting) = Spool::open(&options).unwrap();
    Queue::on_disk(1000, spool, waiting)
}

/// Drops and deliveries included, every message is somewhere.
fn check_books(queue: &Queue, offered: u64) {
    let counters = &queue.counters;
    assert_eq!(
        offered + counters.recovered.messages,
        counters.delivered.messages + counters.dropped_total().messages + queue.queued().messages
    );
}

#[test]
fn what_is_on_disk_outlives_the_queue_and_comes_back_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = on_disk(folder.path(), 16 << 20);
    queue.push((0..5).map(|sequence| message(sequence, 400)).collect());
    assert!(
        queue.is_on_disk() && !queue.is_full(),
        "its bound in memory is 1000 bytes"
    );
    queue.front_delivered();
    let (ticket, _) = queue.next_waiting().unwrap();
    queue.begun(ticket);
    queue.end();
    assert_eq!(queue.counters.dropped_total().messages, 0);
    drop(queue);
    let mut queue = on_disk(folder.path(), 16 << 20);
    assert_eq!(sequences(&queue), [1, 2, 3, 4], "the one that was on its way too");
    push(&mut queue, message(9, 10));
    for sequence in [1, 2, 3, 4] {
        assert_eq!(queue.front().unwrap(), &message(sequence, 400));
        queue.front_delivered();
    }
    assert_eq!(queue.front().unwrap(), &message(9, 10));
    check_books(&queue, 1);
}

#[test]
fn only_what_is_sent_next_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = on_disk(folder.path(), 64 << 20);
    for sequence in 0..20 {
        push(&mut queue, message(sequence, 1 << 20));
    }
    let in_memory = |queue: &Queue| -> usize {
        let messages = queue.entries.values().filter_map(|entry| entry.held.message());
        messages.map(|message| message.bytes.len()).sum()
    };
    assert_eq!(in_memory(&queue), CACHED_BYTES_MAX);
    for sequence in 0..20 {
        let (ticket, next) = queue.next_waiting().unwrap();
        assert_eq!(next, &message(sequence, 1 << 20));
        queue.begun(ticket);
        assert_eq!(in_memory(&queue), queue.cached_bytes);
    }
    assert_eq!(in_memory(&queue), 0, "whoever took them has a copy");
    queue.retry(7);
    assert_eq!(queue.next_waiting().unwrap().1, &message(7, 1 << 20));
}

#[test]
fn past_the_bound_of_the_disk_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = on_disk(folder.path(), 1 << 20);
    let (ticket, count) = (0, 100);
    for sequence in 0..count {
        push(&mut queue, message(sequence, 30_000));
        if sequence == 0 {
            queue.begun(ticket);
        }
        check_books(&queue, sequence + 1);
    }
    assert!(queue.is_on_disk());
    let left = sequences(&queue);
    assert!(left.len() > 10 && left.len() < 40, "{left:?}");
    assert_eq!(left[0], 0, "it is on its way");
    let newest: Vec<u64> = (count + 1 - left.len() as u64..count).collect();
    assert_eq!(left[1..], newest);
    assert_eq!(
        queue.counters.dropped(DropReason::QueueFull).messages,
        count - left.len() as u64
    );
    push(&mut queue, message(count, 2 << 20));
    assert_eq!(queue.counters.dropped(DropReason::TooLarge).messages, 1);
}

#[test]
fn a_damaged_record_costs_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = on_disk(folder.path(), 16 << 20);
    queue.push((0..4).map(|sequence| message(sequence, 1000)).collect());
    drop(queue);
    let segment = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segment = segment
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "spool"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes
        .windows(1000)
        .position(|window| window == message(1, 1000).bytes)
        .unwrap();
    bytes[at + 500] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let mut queue = on_disk(folder.path(), 16 << 20);
    let mut seen = Vec::new();
    while let Some(front) = queue.front() {
        seen.push(front.identity.envelope_sequence);
        queue.front_delivered();
    }
    assert_eq!(seen, [0, 2, 3]);
    assert_eq!(queue.counters.dropped(DropReason::Damaged).messages, 1);
    check_books(&queue, 0);
}
