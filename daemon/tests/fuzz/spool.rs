//! A spool's files after anything may have happened to them.

use crate::{Damage, damaged};
use std::{fs, path::Path};
use xtcp2::{
    output::{Identity, Message},
    spool::{
        Options, ReadError, Spool, journal,
        scan::{Scan, scan},
    },
};

const SEGMENT: &str = "0000000001.spool";

fn open(dir: &Path) -> (Spool, Vec<xtcp2::spool::Kept>) {
    Spool::open(&Options {
        dir: dir.to_owned(),
        bytes_max: 1 << 20,
        format: "protobufList".to_owned(),
    })
    .unwrap()
}

/// A segment of four records.
fn valid_segment() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path());
    for sequence in 1..=4_u8 {
        let message = Message {
            identity: Identity {
                instance_id: 1,
                envelope_sequence: sequence.into(),
                part: 0,
            },
            poll_sequence: 1,
            first_record_counter: 1,
            rows: 1,
            bytes: vec![sequence; 70 * usize::from(sequence)],
        };
        spool.append(&message).unwrap();
    }
    fs::read(folder.path().join(SEGMENT)).unwrap()
}

fn scanned(bytes: &[u8]) -> Scan {
    let mut bytes_read = 0;
    let scan = scan(1, bytes.len() as u64, |offset, buffer| {
        bytes_read += buffer.len();
        let offset = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&bytes[offset..offset + buffer.len()]);
    });
    let mut end = 0;
    for record in &scan.records {
        assert!(record.offset >= end, "records overlap");
        end = record.offset + record.header.record_bytes();
        assert!(end <= bytes.len() as u64, "a record goes on behind the end");
    }
    // A header each, and a first window behind each that is damaged.
    assert!(
        bytes_read <= 64 + 16 * bytes.len(),
        "{bytes_read} of {}",
        bytes.len()
    );
    scan
}

#[test]
fn segment_of_any_bytes() {
    target!().for_each(|bytes: &[u8]| {
        scanned(bytes);
    });
}

#[test]
fn segment_damaged() {
    let valid = valid_segment();
    assert_eq!(scanned(&valid).records.len(), 4);
    target!().with_type::<Damage>().for_each(|damage| {
        let scan = scanned(&damaged(&valid, damage));
        if damage.1.is_none() {
            assert!(
                scan.records.len() + damage.0.len() >= 4,
                "a byte took more than one record"
            );
        }
    });
}

/// Segment and journal of any bytes, in a folder: opened, read, written and emptied.
#[test]
fn folder_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let valid = valid_segment();
    target!()
        .with_type::<(Damage, Vec<u8>)>()
        .for_each(|(damage, entries)| {
            for name in fs::read_dir(folder.path()).unwrap() {
                fs::remove_file(name.unwrap().path()).unwrap();
            }
            fs::write(folder.path().join(SEGMENT), damaged(&valid, damage)).unwrap();
            fs::write(folder.path().join("journal"), entries).unwrap();
            journal::read(folder.path()).unwrap();
            let (mut spool, found) = open(folder.path());
            for kept in found {
                match spool.read(&kept) {
                    Ok(message) => assert_eq!(message.identity, kept.identity),
                    Err(ReadError::Corrupt) => {}
                    Err(ReadError::Io(error)) => panic!("{error}"),
                }
                spool.acknowledge(kept);
            }
            assert_eq!(spool.bytes(), 0);
        });
}
