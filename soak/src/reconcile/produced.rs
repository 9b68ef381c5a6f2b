//! What was produced, of every instance that someone knows of.
//!
//! Counters start at 1 and have no gaps, so the whole of an instance is known by its last counter. That is
//! what a table cannot say by itself: its lost tail. The journal of the spool says it of instances that are
//! dead, the daemon's own counters of the one that lives.

use super::{
    journal::{Entry, EventKind},
    metrics::Reading,
    spans::{self, Span},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Where a number comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nobody said.
    #[default]
    Unknown,
    /// The spool's journal.
    Journal,
    /// The daemon's counters.
    Metrics,
    /// Both.
    Both,
}

/// What one instance produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Who says so.
    pub source: Source,
    /// Rows made: the counter of the last one.
    pub rows: u64,
    /// Which counters are of which poll, as far as the journal goes back; sorted.
    pub polls: Vec<(Span, u64)>,
    /// Counters that the journal says were given up; a set.
    pub admitted: Vec<Span>,
    /// Rows that were given up, and of which only the number is known.
    pub admitted_unplaced: u64,
    /// Counters from here on still wait in the daemon.
    pub waiting_from: Option<u64>,
}

/// Every instance by its id.
pub type Instances = BTreeMap<u64, Produced>;

/// Puts together what the sources say. `first` has the readings that bound what is looked for: rows made
/// later are not; `now` those of this moment, for what still waits.
pub fn collect(entries: &[Entry], first: &[Reading], now: &[Reading]) -> Instances {
    let mut instances = Instances::new();
    let mut dropped = BTreeMap::<u64, Vec<Span>>::new();
    for entry in entries.iter().filter(|entry| entry.rows > 0) {
        let span = Span {
            first: entry.first_record_counter,
            last: entry
                .first_record_counter
                .saturating_add(u64::from(entry.rows) - 1),
        };
        let instance = instances.entry(entry.identity.instance_id).or_default();
        instance.source = Source::Journal;
        instance.rows = instance.rows.max(span.last);
        instance.polls.push((span, entry.poll_sequence));
        if entry.kind == EventKind::Dropped {
            dropped.entry(entry.identity.instance_id).or_default().push(span);
        }
    }
    for (instance_id, produced) in &mut instances {
        produced.admitted = spans::union(dropped.remove(instance_id).unwrap_or_default());
        produced.polls = merged(std::mem::take(&mut produced.polls));
    }
    for reading in first {
        let instance = instances.entry(reading.instance_id).or_default();
        instance.source = match instance.source {
            Source::Journal | Source::Both => Source::Both,
            Source::Unknown | Source::Metrics => Source::Metrics,
        };
        instance.rows = instance.rows.max(reading.rows);
        instance.admitted_unplaced = reading
            .dropped_rows
            .saturating_sub(spans::rows(&instance.admitted));
    }
    for reading in now.iter().filter(|reading| reading.waiting_rows > 0) {
        // A daemon that was started anew in between is another instance, and not asked for.
        if let Some(instance) = instances.get_mut(&reading.instance_id) {
            instance.waiting_from = Some(reading.rows - reading.waiting_rows + 1);
        }
    }
    instances
}

/// Sorted, and spans of one poll that touch put together.
fn merged(mut polls: Vec<(Span, u64)>) -> Vec<(Span, u64)> {
    polls.sort_unstable();
    let mut merged: Vec<(Span, u64)> = Vec::new();
    for (span, poll) in polls {
        match merged.last_mut() {
            // A message has an entry for each thing that happened to it.
            Some((before, of)) if *of == poll && span.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(span.last);
            }
            _ => merged.push((span, poll)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtcp2::output::Identity;

    fn entry(kind: EventKind, instance_id: u64, poll_sequence: u64, first: u64, rows: u32) -> Entry {
        Entry {
            kind,
            identity: Identity {
                instance_id,
                envelope_sequence: first,
                part: 0,
            },
            poll_sequence,
            first_record_counter: first,
            rows,
            time_ns: 0,
        }
    }

    #[test]
    fn sources_are_put_together() {
        use EventKind::{Dropped, Produced as Made};
        let entries = [
            entry(Made, 1, 1, 1, 10),
            entry(Made, 1, 1, 11, 5),
            entry(Made, 1, 2, 16, 5),
            entry(Dropped, 1, 1, 1, 10),
            entry(Made, 2, 1, 1, 3),
        ];
        let reading = |instance_id, rows, waiting_rows| Reading {
            instance_id,
            rows,
            dropped_rows: 12,
            waiting_rows,
        };
        let now = [reading(1, 40, 15), reading(9, 5, 5)];
        let instances = collect(&entries, &[reading(1, 30, 8), reading(3, 7, 0)], &now);
        assert_eq!(instances.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        let span = |first, last| Span { first, last };
        let expected = Produced {
            source: Source::Both,
            rows: 30,
            polls: vec![(span(1, 15), 1), (span(16, 20), 2)],
            admitted: vec![span(1, 10)],
            admitted_unplaced: 2,
            waiting_from: Some(26),
        };
        assert_eq!(instances[&1], expected);
        assert_eq!((instances[&2].source, instances[&2].rows), (Source::Journal, 3));
        assert_eq!((instances[&3].source, instances[&3].rows), (Source::Metrics, 7));
    }
}
