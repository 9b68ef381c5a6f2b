//! What the spool promises, on a real folder and on a simulated disk that forgets.

#![allow(clippy::cast_possible_truncation, reason = "a simulated disk lies in memory")]

mod crashes;
mod faults;
mod flips;
mod outages;
mod real;
mod simulated_disk;

use super::{
    Disk, Kept, Options, Spool,
    journal::{self, Slot},
};
use crate::output::{Identity, Message};
use std::path::Path;

/// splitmix64.
#[derive(Debug)]
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What the journal of a disk says.
fn journal_of<D: Disk>(disk: &D) -> Vec<Slot> {
    let mut slots = Vec::new();
    journal::visit(disk, &mut 0, |slot| slots.push(slot)).unwrap();
    slots
}

fn open<D: Disk>(disk: D) -> (Spool<D>, Vec<Kept>) {
    Spool::recover(disk, &options(Path::new("simulated"), 1 << 20)).unwrap()
}

/// A message that is known by its bytes too.
pub(super) fn message(sequence: u64, bytes: usize) -> Message {
    let mut random = Random(sequence);
    let mut payload = Vec::with_capacity(bytes + 8);
    while payload.len() < bytes {
        payload.extend(random.next().to_le_bytes());
    }
    payload.truncate(bytes);
    Message {
        identity: Identity {
            instance_id: 0xfeed_0000_0000_0001,
            envelope_sequence: sequence,
            part: u32::from(sequence.is_multiple_of(7)),
        },
        poll_sequence: sequence / 3,
        first_record_counter: 1 + 10 * sequence,
        rows: 10,
        bytes: payload,
    }
}

pub(super) fn options(dir: &Path, bytes_max: u64) -> Options {
    Options {
        dir: dir.to_owned(),
        bytes_max,
        format: "protobufList".to_owned(),
    }
}
