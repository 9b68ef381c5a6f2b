//! What waits in a queue, and sums of messages.

use super::mortal_disk::MortalDisk;
use std::collections::BTreeMap;
use xtcp2::output::{Identity, Queue, Tally};

/// Messages in a queue: how often each is there, and whether it outlives the process.
#[derive(Debug, Default)]
pub struct Waiting(pub BTreeMap<Identity, (u64, bool)>);

impl Waiting {
    pub fn of(queue: &Queue<MortalDisk>) -> Waiting {
        let mut waiting = Waiting::default();
        for (identity, is_on_disk) in queue.identities() {
            waiting.add(identity, is_on_disk);
        }
        waiting
    }

    pub fn add(&mut self, identity: Identity, is_on_disk: bool) {
        let (copies, outlives) = self.0.entry(identity).or_default();
        *copies += 1;
        *outlives |= is_on_disk;
    }

    pub fn copies(&self, identity: &Identity) -> u64 {
        self.0.get(identity).map_or(0, |(copies, _)| *copies)
    }
}

/// So many more messages.
pub fn plus(tally: Tally, messages: u64, rows: u64, bytes: u64) -> Tally {
    Tally {
        messages: tally.messages + messages,
        rows: tally.rows + rows,
        bytes: tally.bytes + bytes,
    }
}

/// Both together.
pub fn sum(one: Tally, other: Tally) -> Tally {
    plus(one, other.messages, other.rows, other.bytes)
}
