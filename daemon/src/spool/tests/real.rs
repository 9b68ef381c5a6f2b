//! On a real folder.

use super::{super::journal::EventKind, *};
use crate::spool::{ReadError, journal};
use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
};

const BYTES_MAX: u64 = 64 << 20;

fn segments(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".spool"))
        .count()
}

#[test]
fn what_is_not_acknowledged_is_there_at_the_next_start_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/spool");
    let messages: Vec<Message> = (1..=9).map(|n| message(n, 1_000 * n as usize)).collect();
    let (mut spool, found) = Spool::open(&options(&dir, BYTES_MAX)).unwrap();
    assert_eq!(found, []);
    let mut kept = spool.append_all(&messages[..5]).unwrap();
    kept.extend(messages[5..].iter().map(|message| spool.append(message).unwrap()));
    assert_eq!(
        spool.counters().syncs,
        5,
        "one for the batch, one for each of the others"
    );
    for (kept, message) in kept.iter().zip(&messages) {
        assert_eq!(&spool.read(kept).unwrap(), message);
    }
    spool.acknowledge(kept.remove(0));
    spool.give_up(kept.remove(3));
    drop(spool);

    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let (mut spool, found) = Spool::open(&options(&dir, BYTES_MAX)).unwrap();
    assert_eq!(found, kept);
    let read: Vec<Message> = found.iter().map(|kept| spool.read(kept).unwrap()).collect();
    assert_eq!(read, [&messages[1..4], &messages[5..]].concat());
    for kept in found {
        spool.acknowledge(kept);
    }
    assert_eq!(segments(&dir), 0, "nothing waits, so no segment is left");
    let entries = journal::read(&dir).unwrap();
    let produced: Vec<Identity> = entries
        .iter()
        .filter(|entry| entry.kind == EventKind::Produced)
        .map(|entry| entry.identity)
        .collect();
    assert_eq!(produced, messages.iter().map(|m| m.identity).collect::<Vec<_>>());
    let dropped: Vec<_> = entries.iter().filter(|e| e.kind == EventKind::Dropped).collect();
    assert_eq!(dropped.len(), 1);
    assert_eq!(
        (
            dropped[0].identity,
            dropped[0].rows,
            dropped[0].first_record_counter
        ),
        (messages[4].identity, 10, messages[4].first_record_counter)
    );
}

#[test]
fn two_daemons_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), BYTES_MAX);
    let first = Spool::open(&options).unwrap();
    let error = Spool::open(&options).unwrap_err().to_string();
    let expected = format!("process {} uses it", std::process::id());
    assert!(error.contains(&expected), "{error}");
    drop(first);
    Spool::open(&options).unwrap();
}

#[test]
fn another_format_is_refused_until_its_messages_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let protobuf = options(folder.path(), BYTES_MAX);
    let json = Options {
        format: "jsonl".to_owned(),
        ..protobuf.clone()
    };
    let (mut spool, _) = Spool::open(&protobuf).unwrap();
    spool.append_all(&[message(1, 10), message(2, 10)]).unwrap();
    drop(spool);
    let error = Spool::open(&json).unwrap_err().to_string();
    let expected =
        "2 messages wait in the format protobufList, expected jsonl: start once with --marshal protobufList";
    assert!(error.contains(expected), "{error}");
    let (mut spool, found) = Spool::open(&protobuf).unwrap();
    found.into_iter().for_each(|kept| spool.acknowledge(kept));
    drop(spool);
    assert_eq!(Spool::open(&json).unwrap().1, []);
}

/// A backlog that a newer version left, found after a roll-back.
#[test]
fn another_version_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), BYTES_MAX);
    let (mut spool, _) = Spool::open(&options).unwrap();
    spool.append_all(&[message(1, 10), message(2, 10)]).unwrap();
    drop(spool);
    let path = folder.path().join("0000000001.spool");
    let ours = fs::read(&path).unwrap();
    let mut theirs = ours.clone();
    theirs[8] = 2;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&theirs[..12]);
    crc.update(&theirs[16..64]);
    theirs[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
    // Records of theirs may be anything.
    theirs[64..].fill(b'2');
    fs::write(&path, &theirs).unwrap();
    let journal = fs::read(folder.path().join("journal")).unwrap();
    let error = Spool::open(&options).unwrap_err();
    let expected = "0000000001.spool: a segment of version 2, expected 1: start an xtcp2 that knows version 2 to deliver";
    assert!(
        error.to_string().contains(expected) && !error.is_system(),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), theirs);
    assert_eq!(fs::read(folder.path().join("journal")).unwrap(), journal);
    fs::write(&path, ours).unwrap();
    assert_eq!(Spool::open(&options).unwrap().1.len(), 2);
}

#[test]
fn what_is_no_segment_is_set_aside_and_what_is_left_of_one_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), BYTES_MAX);
    let (mut spool, _) = Spool::open(&options).unwrap();
    spool.append(&message(1, 10)).unwrap();
    drop(spool);
    let segment = fs::read(folder.path().join("0000000001.spool")).unwrap();
    let random: Vec<u8> = message(9, 10_000).bytes;
    let zeros_first = [&[0; 12], &random[..]].concat();
    let foreign = [
        (5, &b"hi\n"[..]),
        (6, &random),
        (7, &zeros_first),
        // Under another name than its own.
        (8, &segment),
    ];
    let torn = [(9, &segment[..0]), (10, &segment[..9]), (11, &[0; 5_000])];
    let path = |number: u32| folder.path().join(format!("{number:010}.spool"));
    let aside = |number: u32| folder.path().join(format!("{number:010}.spool.damaged"));
    for (number, bytes) in foreign.iter().chain(&torn) {
        fs::write(path(*number), bytes).unwrap();
    }
    let (spool, found) = Spool::open(&options).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        spool.bytes(),
        segment.len() as u64,
        "what is set aside is not the spool's"
    );
    assert_eq!(
        (spool.counters().corrupt_records, spool.counters().io_errors),
        (0, 0)
    );
    drop(spool);
    for (number, bytes) in foreign {
        assert!(fs::read(aside(number)).unwrap() == bytes, "{number}");
    }
    for (number, _) in torn {
        assert!(!aside(number).exists(), "{number}");
    }
    assert_eq!(segments(folder.path()), 1);

    // Once more under the same name: neither of the two goes.
    fs::write(path(5), "again").unwrap();
    drop(Spool::open(&options).unwrap());
    assert_eq!(fs::read(path(5)).unwrap(), b"again");
    assert_eq!(fs::read(aside(5)).unwrap(), b"hi\n");
}

#[test]
fn a_damaged_payload_is_told_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(&options(folder.path(), BYTES_MAX)).unwrap();
    let kept = spool.append(&message(1, 1_000)).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("0000000001.spool"))
        .unwrap();
    file.write_all_at(b"?", kept.position.offset + 500).unwrap();
    assert!(matches!(spool.read(&kept), Err(ReadError::Corrupt)));
    let counters = spool.counters();
    assert_eq!((counters.corrupt_records, counters.corrupt_rows), (1, 10));
    spool.give_up(kept);
    drop(spool);
    // Removed by hand: lost as well, and no reason to ask again for ever.
    let (mut spool, _) = Spool::open(&options(folder.path(), BYTES_MAX)).unwrap();
    spool.append(&message(2, 10)).unwrap();
    drop(spool);
    let (mut spool, found) = Spool::open(&options(folder.path(), BYTES_MAX)).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "spool") {
            fs::remove_file(path).unwrap();
        }
    }
    assert!(matches!(spool.read(&found[0]), Err(ReadError::Corrupt)));
}

#[test]
fn a_bound_gives_room_back_when_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(&options(folder.path(), 1 << 20)).unwrap();
    let mut kept = std::collections::VecDeque::new();
    for sequence in 1..=500 {
        let bytes = 1_000 + (sequence as usize * 7_919) % 60_000;
        while !spool.room_for([bytes]) {
            spool.give_up(kept.pop_front().expect("an empty spool has room"));
        }
        kept.push_back(spool.append(&message(sequence, bytes)).unwrap());
        let on_disk: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(on_disk <= 1 << 20, "{on_disk}");
    }
    assert!(kept.len() > 15, "most of the bound is used: {}", kept.len());
    assert!(!spool.room_for([1 << 20]));
    assert!(spool.append(&message(501, 1 << 20)).is_err());
    assert!(!spool.is_degraded(), "that is no failure of the disk");
    // Everything gone: the last segment goes for a large one.
    kept.drain(..).for_each(|kept| spool.give_up(kept));
    let largest = usize::try_from(spool.bytes_max()).unwrap() - 128;
    assert!(spool.room_for([largest]) && !spool.room_for([largest + 1]));
    spool.append(&message(502, largest)).unwrap();
}
