//! Every byte of a small spool flipped, one at a time.

use super::{
    super::{
        Counters, ReadError,
        journal::{EventKind, Slot},
    },
    simulated_disk::SimulatedDisk,
    *,
};
use std::collections::BTreeSet;

const WAITING: [u64; 4] = [1, 3, 5, 6];
const ACKNOWLEDGED: u64 = 2;
const GIVEN_UP: u64 = 4;

/// Six messages in one segment; one was delivered, one given up, four wait.
fn small_spool() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    let messages: Vec<Message> = (1..=6)
        .map(|sequence| message(sequence, 50 + 13 * sequence as usize))
        .collect();
    let mut kept = spool.append_all(&messages[..3]).unwrap();
    kept.extend(messages[3..].iter().map(|message| spool.append(message).unwrap()));
    spool.give_up(kept.remove(3));
    spool.acknowledge(kept.remove(1));
    disk
}

/// Opens and reads everything: what is there, and what was counted.
fn recovered(disk: &SimulatedDisk) -> (BTreeSet<u64>, Counters, Vec<Slot>) {
    let (mut spool, found) = open(disk.clone());
    let mut intact = BTreeSet::new();
    for kept in found {
        let sequence = kept.identity.envelope_sequence;
        match spool.read(&kept) {
            Ok(read) => {
                assert_eq!(read, message(sequence, 50 + 13 * sequence as usize));
                intact.insert(sequence);
            }
            Err(ReadError::Corrupt) => spool.give_up(kept),
            Err(ReadError::Io(error)) => panic!("{error}"),
        }
    }
    (intact, spool.counters(), journal_of(disk))
}

fn each_flip(disk: &SimulatedDisk, suffix: &str, mut check: impl FnMut(&str, &SimulatedDisk)) {
    let mut flips = 0;
    for (name, bytes) in disk.files() {
        if !name.ends_with(suffix) {
            continue;
        }
        for offset in 0..bytes {
            for mask in [0x01, 0x80, 0xff] {
                let copy = disk.copy();
                copy.flip(&name, offset, mask);
                check(&format!("{name}, byte {offset}, {mask:#x}"), &copy);
                flips += 1;
            }
        }
    }
    assert!(flips > 1_000, "{flips}");
}

#[test]
fn a_flipped_byte_of_a_segment_costs_one_record_that_is_counted() {
    let disk = small_spool();
    let mut lost = BTreeSet::new();
    each_flip(&disk, ".spool", |place, disk| {
        let (mut intact, counters, journal) = recovered(disk);
        // One that had left may come back, if it was its state that was hit.
        intact.remove(&ACKNOWLEDGED);
        assert!(!intact.contains(&GIVEN_UP), "{place}: the journal knows better");
        let missing: Vec<u64> = WAITING
            .into_iter()
            .filter(|sequence| !intact.contains(sequence))
            .collect();
        assert!(missing.len() <= 1, "{place}: {missing:?}");
        let count = missing.len() as u64;
        assert_eq!(
            (counters.corrupt_records, counters.corrupt_rows),
            (count, 10 * count),
            "{place}"
        );
        assert_eq!(counters.torn_records, 0, "{place}");
        let dropped = |slot: &Slot| {
            (slot.entry.kind == EventKind::Dropped).then_some(slot.entry.identity.envelope_sequence)
        };
        let dropped: BTreeSet<u64> = journal.iter().filter_map(dropped).collect();
        assert_eq!(
            dropped,
            missing.iter().copied().chain([GIVEN_UP]).collect(),
            "{place}"
        );
        let (again, counters, _) = recovered(disk);
        assert!(again.is_superset(&intact));
        assert_eq!(counters.corrupt_records, 0, "{place}: counted once");
        lost.extend(missing);
    });
    assert_eq!(lost, WAITING.into(), "each can be lost");
}

#[test]
fn a_flipped_byte_of_the_journal_costs_nothing() {
    let disk = small_spool();
    // Only the entries: the room ahead of them is zeros.
    let entries = journal_of(&disk).len() * journal::ENTRY_BYTES;
    for offset in 0..entries {
        let copy = disk.copy();
        copy.flip("journal", offset, 0x10);
        let (intact, counters, journal) = recovered(&copy);
        assert_eq!(intact, WAITING.into(), "byte {offset}");
        assert_eq!(counters.corrupt_records, 0);
        let produced: BTreeSet<u64> = journal
            .iter()
            .filter(|slot| slot.entry.kind == EventKind::Produced)
            .map(|slot| slot.entry.identity.envelope_sequence)
            .collect();
        assert_eq!(
            produced,
            (1..=6).collect(),
            "byte {offset}: what is missing is added"
        );
        assert!(
            journal.iter().any(|slot| slot.entry.kind == EventKind::Dropped),
            "byte {offset}"
        );
    }
}

/// Without the journal nothing tells what was taken, and still all other records are kept.
#[test]
fn a_flipped_byte_without_a_journal_costs_one_record() {
    let disk = small_spool();
    disk.remove("journal").unwrap();
    each_flip(&disk, ".spool", |place, disk| {
        let (intact, counters, _) = recovered(disk);
        let missing = WAITING
            .iter()
            .filter(|sequence| !intact.contains(sequence))
            .count() as u64;
        assert!(missing <= 1, "{place}: {intact:?}");
        let counted = counters.corrupt_records + counters.torn_records;
        assert!(missing <= counted && counted <= 1, "{place}: {counters:?}");
    });
}

/// A file cut off anywhere has its whole records still.
#[test]
fn a_segment_cut_off_anywhere_keeps_what_is_whole() {
    let disk = small_spool();
    let (name, bytes) = disk
        .files()
        .into_iter()
        .find(|(name, _)| name.ends_with(".spool"))
        .unwrap();
    let mut most = WAITING.len();
    for length in (0..bytes).rev() {
        let copy = disk.copy();
        copy.truncate(&copy.open(&name).unwrap(), length as u64).unwrap();
        let (intact, counters, _) = recovered(&copy);
        assert!(intact.len() <= most);
        most = intact.len();
        let lost = (WAITING.len() - most) as u64;
        // The last record that had left is gone with the others, and the acknowledged one's state too.
        let acknowledged_too = u64::from(counters.corrupt_records == lost + 1);
        assert_eq!(counters.corrupt_records, lost + acknowledged_too, "{length}");
    }
    assert_eq!(most, 0);
}

/// Record images inside a payload are not taken for records when the record around them is damaged.
#[test]
fn a_payload_cannot_pretend_to_be_a_record() {
    let disk = SimulatedDisk::new(1);
    let (mut spool, _) = open(disk.clone());
    spool.append(&message(1, 200)).unwrap();
    let (name, bytes) = disk
        .files()
        .into_iter()
        .find(|(name, _)| name.ends_with(".spool"))
        .unwrap();
    let mut image = vec![0; bytes];
    disk.read_at(&disk.open(&name).unwrap(), &mut image, 0).unwrap();
    let carrier = Message {
        bytes: image,
        ..message(2, 0)
    };
    let kept = spool.append(&carrier).unwrap();
    drop(spool);
    disk.flip(&name, kept.position.offset as usize + 20, 0xff);
    let (spool, found) = open(disk);
    assert_eq!(found.len(), 1);
    assert_eq!(spool.counters().corrupt_records, 1);
}
