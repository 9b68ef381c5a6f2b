//! What of a spool that was left behind is still to be delivered, and what became of the rest. Decides
//! only; the disk is read by `mod.rs`.
//!
//! The journal says which records a segment held once they were taken, and where. So a record that is
//! not found is known by name and rows. What the journal does not know was taken only if a power cut took
//! the entry: such records are looked at whole.

use super::{
    Position,
    journal::{EventKind, Slot},
    scan::Found,
    segment::State,
};
use crate::output::Identity;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

/// What the journal says of the segments that are there.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Records taken.
    pub produced: BTreeMap<Position, Slot>,
    /// Messages given up.
    pub dropped: HashSet<Identity>,
    /// The highest number of a segment that it speaks of.
    pub segment_max: u32,
}

impl Known {
    /// Takes an entry; `is_there` says whether the segment of that number exists.
    pub fn add(&mut self, slot: Slot, is_there: impl Fn(u32) -> bool) {
        let segment = slot.position.segment;
        self.segment_max = self.segment_max.max(segment);
        match slot.entry.kind {
            EventKind::Produced if is_there(segment) => {
                self.produced.insert(slot.position, slot);
            }
            EventKind::Dropped if segment == Position::MEMORY.segment || is_there(segment) => {
                self.dropped.insert(slot.entry.identity);
            }
            _ => {}
        }
    }

    /// Whether a record lies in that part of the segment.
    fn any(&self, segment: u32, offsets: Range<u64>) -> bool {
        let at = |offset| Position { segment, offset };
        let mut there = self.produced.range(at(offsets.start)..at(offsets.end));
        there.next().is_some()
    }

    /// Whether a record that was taken lies in that part of the segment.
    fn any_taken(&self, segment: u32, offsets: Range<u64>) -> bool {
        let at = |offset| Position { segment, offset };
        self.produced
            .range(at(offsets.start)..at(offsets.end))
            .any(|(_, slot)| slot.taken)
    }
}

/// A segment as it was found.
#[derive(Debug)]
pub(super) struct Remains {
    pub number: u32,
    /// Records with a right header, and whether their payload is whole. Looked at only for those that
    /// wait and of which the journal does not say that they were taken; of the others it is taken for
    /// granted here, and looked at when they are read.
    pub records: Vec<(Found, bool)>,
    /// Where there should be records.
    pub damaged: Vec<Range<u64>>,
    /// State words, intact or not, at the places where the journal knows a record and none was found.
    pub states_of_missing: Vec<(Slot, State)>,
}

/// What is to be done about a segment.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// To be delivered, in order.
    pub waiting: Vec<Found>,
    /// Others of the same messages, that are not.
    pub copies: Vec<Found>,
    /// Of these, the journal shall know that they were produced.
    pub unknown: Vec<Found>,
    /// And that these were given up.
    pub given_up: Vec<Found>,
    /// Taken and never delivered, but gone; the journal shall know that too.
    pub lost: Vec<Slot>,
    /// As `lost`, but known neither by name nor by rows.
    pub lost_nameless: u64,
    /// Begun, but never taken: what a kill or a power cut broke off.
    pub torn: u64,
}

pub(super) fn judge(remains: &Remains, known: &Known) -> Verdict {
    let mut verdict = Verdict::default();
    let number = remains.number;
    for (found, whole) in &remains.records {
        let position = Position {
            segment: number,
            offset: found.offset,
        };
        if !whole {
            // If it is not known itself, a taken record behind it tells, as the end of a segment alone is
            // ever torn.
            let behind = found.offset + 1..u64::MAX;
            if let Some(slot) = known.produced.get(&position) {
                if !known.dropped.contains(&slot.entry.identity) {
                    verdict.lost.push(*slot);
                }
            } else if known.any_taken(number, behind) {
                verdict.unknown.push(*found);
                verdict.given_up.push(*found);
                verdict.lost_nameless += 1;
            } else {
                verdict.torn += 1;
            }
            continue;
        }
        if !known.produced.contains_key(&position) {
            verdict.unknown.push(*found);
        }
        let dropped = known.dropped.contains(&found.header.identity);
        match found.header.state {
            State::Waiting if !dropped => verdict.waiting.push(*found),
            State::GivenUp if !dropped => verdict.given_up.push(*found),
            _ => {}
        }
    }
    for range in &remains.damaged {
        if known.any(number, range.clone()) {
            continue; // Below, by name.
        }
        match known.any_taken(number, range.end..u64::MAX) {
            true => verdict.lost_nameless += 1,
            false => verdict.torn += 1,
        }
    }
    for (slot, state) in &remains.states_of_missing {
        // Where the header is damaged, its state may still be told, and then nothing was lost.
        if *state == State::Waiting && !known.dropped.contains(&slot.entry.identity) {
            verdict.lost.push(*slot);
        }
    }
    verdict
}

/// Leaves one record of each message. The disk may have refused a message, kept it all the same, and taken it
/// when it was asked again. What the journal says of one record it says of all with that name: when one is
/// damaged, another would be given up with it.
pub(super) fn keep_one_of_each(verdicts: &mut [(u32, &mut Verdict)], known: &Known) {
    let mut kept: HashMap<Identity, (Position, bool)> = HashMap::new();
    for (segment, verdict) in verdicts.iter() {
        for found in &verdict.waiting {
            let (segment, offset) = (*segment, found.offset);
            let position = Position { segment, offset };
            let is_taken = known.produced.get(&position).is_some_and(|slot| slot.taken);
            let best = kept.entry(found.header.identity).or_insert((position, is_taken));
            // The one that was taken is durable; of another only the next fdatasync knows.
            if is_taken && !best.1 {
                *best = (position, is_taken);
            }
        }
    }
    for (segment, verdict) in verdicts.iter_mut() {
        let is_copy = |found: &mut Found| {
            let best = kept.get(&found.header.identity);
            best.is_some_and(|(position, _)| (position.segment, position.offset) != (*segment, found.offset))
        };
        verdict.copies = verdict.waiting.extract_if(.., is_copy).collect();
        verdict
            .lost
            .retain(|slot| !kept.contains_key(&slot.entry.identity));
    }
}
