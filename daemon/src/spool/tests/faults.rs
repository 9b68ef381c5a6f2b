//! One failure of the disk at a time.

use super::{
    super::journal::EventKind,
    simulated_disk::{Faults, SimulatedDisk},
    *,
};
use std::collections::BTreeSet;

#[test]
fn a_full_disk_is_said_and_left_behind() {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    let first = spool.append(&message(1, 1_000)).unwrap();
    let used = disk.used();
    // Most room first: the segment that is active is torn.
    for room in (0..1_200).step_by(7).rev() {
        disk.space.set(used + room);
        let refused = message(2, 1_200);
        let error = spool.append(&refused).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert!(spool.is_degraded());
        assert!(spool.last_error().is_some_and(|text| text.contains("append")));
        assert_eq!(disk.used(), used, "what was written of it is cut off, {room}");
        spool.note_produced(&refused);
        assert_eq!(spool.read(&first).unwrap(), message(1, 1_000));
    }
    assert_eq!(journal_of(&disk).len(), 1 + 172, "its room was set aside before");
    disk.space.set(usize::MAX);
    spool.append(&message(3, 1_000)).unwrap();
    assert!(!spool.is_degraded());
    assert_eq!(spool.counters().refused_messages, 172);
    drop(spool);
    let (_, found) = open(disk.clone());
    let found: Vec<u64> = found.iter().map(|kept| kept.identity.envelope_sequence).collect();
    assert_eq!(found, [1, 3]);
}

#[test]
fn a_failed_sync_is_not_tried_again_on_the_same_segment() {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    let first = spool.append(&message(1, 1_000)).unwrap();
    disk.faults.set(Faults {
        syncs: 1_000,
        ..Faults::default()
    });
    spool.append(&message(2, 1_000)).unwrap_err();
    disk.faults.set(Faults::default());
    let third = spool.append(&message(3, 1_000)).unwrap();
    assert!(third.position.segment > first.position.segment);
    drop(spool);
    disk.power_cut();
    let (_, found) = open(disk);
    let found: Vec<u64> = found.iter().map(|kept| kept.identity.envelope_sequence).collect();
    assert_eq!((found.first(), found.last()), (Some(&1), Some(&3)));
}

/// A message that the disk refused, and could not cut off again, was taken at the second attempt. Both records
/// were found; when a power cut took the first, the journal was told, and the start after that gave up the
/// second one too. Found by the simulation of the whole core.
#[test]
fn a_message_that_is_there_twice_is_delivered_once_and_not_given_up_with_its_copy() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (mut spool, _) = open(disk.clone());
        disk.faults.set(Faults {
            syncs: 1_000,
            ..Faults::default()
        });
        spool.append(&message(0, 100)).unwrap_err();
        disk.faults.set(Faults::default());
        spool.append(&message(1, 1_000)).unwrap();
        disk.faults.set(Faults {
            syncs: 1_000,
            others: 1_000,
            ..Faults::default()
        });
        spool
            .append_all(&[message(2, 1_000), message(3, 1_000)])
            .unwrap_err();
        disk.faults.set(Faults::default());
        spool.append(&message(2, 1_000)).unwrap();
        for power_cut in [false, true, true] {
            drop(spool);
            if power_cut {
                disk.power_cut();
            }
            let found;
            (spool, found) = open(disk.clone());
            let sequences: Vec<u64> = found.iter().map(|kept| kept.identity.envelope_sequence).collect();
            // The third was never taken: a power cut may take it.
            let is_right = sequences == [1, 2, 3] || power_cut && sequences == [1, 2];
            assert!(is_right, "seed {seed}, power cut: {power_cut}: {sequences:?}");
            for kept in &found {
                assert_eq!(
                    spool.read(kept).unwrap(),
                    message(kept.identity.envelope_sequence, 1_000)
                );
            }
        }
    }
}

/// A kill between write and fdatasync: what the next instance finds and sends on has to be durable too.
#[test]
fn what_is_found_at_a_start_is_made_durable() {
    let disk = SimulatedDisk::new(3);
    let mut killed_before_sync = disk.clone();
    killed_before_sync.lies = true;
    let (mut spool, _) = open(killed_before_sync);
    spool.append(&message(1, 5_000)).unwrap();
    drop(spool);
    disk.remove("journal").unwrap(); // Its entry comes after the sync.
    assert_eq!(open(disk.clone()).1.len(), 1);
    disk.power_cut();
    let (mut spool, found) = open(disk);
    assert_eq!(spool.read(&found[0]).unwrap(), message(1, 5_000));
}

/// What cannot be read at the start is lost and counted; the rest is not.
#[test]
fn an_unreadable_start_is_counted() {
    let mut lost = 0;
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let (mut spool, _) = open(disk.clone());
        let messages: Vec<Message> = (1..=10).map(|sequence| message(sequence, 1_000)).collect();
        spool.append_all(&messages).unwrap();
        drop(spool);
        disk.faults.set(Faults {
            reads: 300,
            ..Faults::default()
        });
        let (mut spool, found) = open(disk.clone());
        disk.faults.set(Faults::default());
        let counters = spool.counters();
        assert!(found.len() == 10 || counters.io_errors > 0);
        assert!(found.len() as u64 + counters.corrupt_records + counters.torn_records <= 10);
        lost += 10 - found.len();
        for kept in found {
            let sequence = kept.identity.envelope_sequence;
            assert_eq!(spool.read(&kept).unwrap(), messages[sequence as usize - 1]);
        }
    }
    assert!(lost > 0);
}

#[test]
fn the_journal_rotates_and_says_the_last_of_it() {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    for sequence in 1..=5_000 {
        let kept = spool.append(&message(sequence, 10)).unwrap();
        spool.acknowledge(kept);
        assert!(disk.used() <= 1 << 20);
    }
    let produced: Vec<u64> = journal_of(&disk)
        .iter()
        .map(|slot| slot.entry.identity.envelope_sequence)
        .collect();
    // Two files of 1,024 entries, of which one was begun after 4 * 1,024.
    assert_eq!(produced, (3_073..=5_000).collect::<Vec<u64>>());
    drop(spool);
    disk.power_cut();
    let (mut spool, found) = open(disk.clone());
    found.into_iter().for_each(|kept| spool.acknowledge(kept));
    let kept = spool.append(&message(6_000, 10)).unwrap();
    drop(spool);
    let (_, found) = open(disk.clone());
    assert_eq!(found, [kept]);
    let produced: BTreeSet<u64> = journal_of(&disk)
        .iter()
        .map(|slot| slot.entry.identity.envelope_sequence)
        .collect();
    assert!(produced.is_superset(&(4_097..=5_000).collect()));
}

/// A number that the journal speaks of is not used again: its entries would be taken for lost records.
#[test]
fn numbers_of_segments_are_used_once() {
    let disk = SimulatedDisk::new(1);
    for sequence in 1..=5 {
        // Removes what is empty: then only the journal knows the number.
        drop(open(disk.clone()));
        let (mut spool, found) = open(disk.clone());
        assert_eq!(found, []);
        assert_eq!(spool.counters().corrupt_records, 0);
        let kept = spool.append(&message(sequence, 10)).unwrap();
        assert_eq!(u64::from(kept.position.segment), sequence);
        spool.acknowledge(kept);
    }
}

#[test]
fn what_was_given_up_in_memory_is_in_the_journal() {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    spool.note_produced(&message(1, 10));
    spool.note_dropped(&message(1, 10));
    let kinds: Vec<EventKind> = journal_of(&disk).iter().map(|slot| slot.entry.kind).collect();
    assert_eq!(kinds, [EventKind::Produced, EventKind::Dropped]);
}

/// Name and checksum change together, and a start with the new one finds no other.
#[test]
fn another_format_begins_a_segment_and_is_the_one_that_the_next_start_wants() {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    let old = spool.append(&message(1, 10)).unwrap();
    spool.acknowledge(old);
    spool.set_format("jsonl".to_owned());
    assert_eq!(spool.append(&message(2, 10)).unwrap().position.segment, 2);
    spool.set_format("jsonl".to_owned());
    assert_eq!(spool.append(&message(3, 10)).unwrap().position.segment, 2);
    drop(spool);
    let mut options = options(Path::new("simulated"), 1 << 20);
    let error = Spool::recover(disk.clone(), &options).unwrap_err().to_string();
    assert!(error.contains("2 messages wait in the format jsonl"), "{error}");
    options.format = "jsonl".to_owned();
    assert_eq!(Spool::recover(disk, &options).unwrap().1.len(), 2);
}
