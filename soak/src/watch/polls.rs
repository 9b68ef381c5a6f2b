//! Single polls, out of what two scrapes differ by.
//!
//! The daemon says duration and rows of its last poll, and sums of both over all completed polls. So with one
//! poll between two scrapes it is known exactly, and with two both are: one is said, the other is the rest.
//! Of more, the last is known and the rest only in sum. Who samples at least once a poll sees every poll.

use super::scrape::{Metrics, instance_id};

/// One completed poll.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poll {
    /// `poll_sequence` of its rows.
    pub sequence: u64,
    /// Rows.
    pub rows: u64,
    /// From start to end.
    pub duration_ms: f64,
}

/// Polls that were completed between two scrapes of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Between {
    /// How many.
    pub completed: u64,
    /// Those that are known one by one, in their order.
    pub known: Vec<Poll>,
    /// Rows of the others together.
    pub other_rows: u64,
    /// Duration of the others together.
    pub other_ms: f64,
}

impl Between {
    /// Completed, but known only in sum.
    pub fn others(&self) -> u64 {
        self.completed.saturating_sub(self.known.len() as u64)
    }
}

/// Compares two scrapes. `None` when `now` lacks what it takes, or its counters fell. Without `before`, or when
/// that was another instance, all polls of this instance count.
pub fn between(before: Option<&Metrics>, now: &Metrics) -> Option<Between> {
    let before = before.filter(|before| instance_id(before) == instance_id(now));
    let grown = |name: &str| {
        let earlier = before.map_or(Some(&0.0), |before| before.get(name))?;
        Some(now.get(name)? - earlier).filter(|grown| *grown >= 0.0)
    };
    let completed = whole(grown("xtcp2_polls_total")?);
    if completed == 0 {
        return Some(Between::default());
    }
    let all_rows = whole(grown("xtcp2_completed_poll_rows_total")?);
    let all_ms = grown("xtcp2_poll_duration_seconds_sum")? * 1e3;
    let last = Poll {
        sequence: whole(*now.get("xtcp2_last_poll_sequence")?),
        rows: whole(*now.get("xtcp2_last_poll_rows")?),
        duration_ms: now.get("xtcp2_last_poll_duration_seconds")? * 1e3,
    };
    let other_rows = all_rows.saturating_sub(last.rows);
    // Sums of floats may come out a hair below 0.
    let other_ms = (all_ms - last.duration_ms).max(0.0);
    let one_more = Poll {
        sequence: last.sequence.saturating_sub(1),
        rows: other_rows,
        duration_ms: other_ms,
    };
    Some(match completed {
        1 => Between {
            completed,
            known: vec![last],
            ..Between::default()
        },
        2 => Between {
            completed,
            known: vec![one_more, last],
            ..Between::default()
        },
        _ => Between {
            completed,
            known: vec![last],
            other_rows,
            other_ms,
        },
    })
}

/// A count, as metrics carry it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and counts are exact"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(instance: u32, polls: f64, rows: f64, seconds: f64, last: (f64, f64)) -> Metrics {
        Metrics::from([
            (
                format!("xtcp2_instance_info{{instance_id=\"{instance:016x}\"}}"),
                1.0,
            ),
            ("xtcp2_polls_total".into(), polls),
            ("xtcp2_completed_poll_rows_total".into(), rows),
            ("xtcp2_poll_duration_seconds_sum".into(), seconds),
            ("xtcp2_last_poll_sequence".into(), polls),
            ("xtcp2_last_poll_rows".into(), last.0),
            ("xtcp2_last_poll_duration_seconds".into(), last.1),
        ])
    }

    fn poll(sequence: u64, rows: u64, duration_ms: f64) -> Poll {
        Poll {
            sequence,
            rows,
            duration_ms,
        }
    }

    #[test]
    fn one_and_two_polls_are_known_exactly_and_more_in_sum() {
        let before = scrape(1, 10.0, 1000.0, 1.0, (100.0, 0.125));
        let after = |polls, rows, seconds, last| {
            between(Some(&before), &scrape(1, polls, rows, seconds, last)).unwrap()
        };
        assert_eq!(after(10.0, 1000.0, 1.0, (100.0, 0.125)), Between::default());
        assert_eq!(after(11.0, 1007.0, 1.25, (7.0, 0.25)).known, [poll(11, 7, 250.0)]);
        assert_eq!(
            after(12.0, 1012.0, 1.75, (7.0, 0.25)).known,
            [poll(11, 5, 500.0), poll(12, 7, 250.0)]
        );
        let more = after(13.0, 1020.0, 2.0, (7.0, 0.25));
        assert_eq!((more.others(), more.other_rows, more.other_ms), (2, 13, 750.0));
    }

    #[test]
    fn another_instance_begins_anew_and_fallen_counters_say_nothing() {
        let before = scrape(1, 10.0, 1000.0, 1.0, (100.0, 0.1));
        let other = scrape(2, 1.0, 5.0, 0.5, (5.0, 0.5));
        assert_eq!(between(Some(&before), &other).unwrap().known, [poll(1, 5, 500.0)]);
        assert_eq!(
            between(Some(&before), &scrape(1, 9.0, 900.0, 0.9, (1.0, 0.1))),
            None
        );
        assert_eq!(between(None, &Metrics::new()), None);
    }
}
