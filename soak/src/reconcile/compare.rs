//! What is missing and what is there twice: arithmetic of spans, without a database.

use super::{
    produced::{Produced, Source},
    report::{Difference, Gap, Instance, Kind},
    spans::{self, Span},
    stored::{Poll, Summary},
};
use std::collections::BTreeMap;

/// Gaps and polls that are listed of one instance. More are counted: whoever reads them has seen enough.
pub const LISTED_MAX: usize = 100;

/// Whether an instance has exactly the counters 1 to `rows`, once each: then nothing more is asked of the
/// database.
pub fn is_perfect(summary: &Summary, produced: Option<&Produced>) -> bool {
    let last = produced.map_or(summary.distinct, |produced| produced.rows);
    summary.rows == summary.distinct
        && summary.distinct == last
        && summary
            .counters
            .is_none_or(|counters| counters == Span { first: 1, last })
}

/// An instance of which nothing need be compared.
pub fn perfect(summary: &Summary, produced: Option<&Produced>) -> Instance {
    Instance {
        stored: summary.rows,
        rows: summary.rows,
        double_after_final: Some(0),
        ..named(summary, produced)
    }
}

fn named(summary: &Summary, produced: Option<&Produced>) -> Instance {
    Instance {
        instance_id: format!("{:016x}", summary.instance_id),
        hostname: summary.hostname.clone(),
        source: produced.map_or(Source::Unknown, |produced| produced.source),
        produced: produced.map(|produced| produced.rows),
        polls: summary.polls,
        ..Instance::default()
    }
}

/// A stretch of counters of one poll that is stored without a hole.
#[derive(Clone, Copy)]
struct Run {
    span: Span,
    poll: u64,
}

/// Compares the stored rows of an instance with what it produced; `None` where nobody knows that.
pub fn compare(summary: &Summary, polls: &[Poll], produced: Option<&Produced>) -> Instance {
    let mut runs = Vec::new();
    for poll in polls {
        let of_poll = spans::difference(&[poll.counters], &poll.holes);
        runs.extend(of_poll.into_iter().map(|span| Run {
            span,
            poll: poll.poll,
        }));
    }
    runs.sort_unstable_by_key(|run| run.span);
    let all: Vec<Span> = runs.iter().map(|run| run.span).collect();
    let stored = spans::union(all.clone());

    // Nobody knows of a lost tail: then the last row stored is the last one asked for.
    let rows = produced.map_or_else(
        || stored.last().map_or(0, |span| span.last),
        |produced| produced.rows,
    );
    let nothing = Produced::default();
    let known = produced.unwrap_or(&nothing);
    let asked: Vec<Span> = (rows > 0)
        .then_some(Span { first: 1, last: rows })
        .into_iter()
        .collect();
    let found = spans::intersection(&stored, &asked);
    let lost = spans::difference(&asked, &stored);
    let waiting: Vec<Span> = known
        .waiting_from
        .filter(|first| *first <= rows)
        .map(|first| Span { first, last: rows })
        .into_iter()
        .collect();
    let admitted = spans::intersection(&lost, &known.admitted);
    let rest = spans::difference(&lost, &admitted);
    let pending = spans::intersection(&rest, &waiting);
    let unexplained = spans::difference(&rest, &waiting);
    let unplaced = known.admitted_unplaced.min(spans::rows(&unexplained));

    let mut differences = BTreeMap::new();
    let mut gaps = Vec::new();
    for (kind, spans) in [
        (Kind::Admitted, &admitted),
        (Kind::Pending, &pending),
        (Kind::Unexplained, &unexplained),
    ] {
        for &span in spans {
            by_poll(span, &runs, &known.polls, &mut |span, poll_first, poll_last| {
                differences
                    .entry((poll_first, poll_last))
                    .or_insert_with(|| Difference {
                        poll_first,
                        poll_last,
                        ..Difference::default()
                    })
                    .add(kind, span.rows());
                gaps.push(Gap {
                    first_record_counter: span.first,
                    last_record_counter: span.last,
                    rows: span.rows(),
                    poll_first,
                    poll_last,
                    kind,
                });
            });
        }
    }
    gaps.sort_unstable_by_key(|gap| gap.first_record_counter);
    for poll in polls.iter().filter(|poll| poll.rows > poll.distinct) {
        let key = (poll.poll, Some(poll.poll));
        let difference = differences.entry(key).or_insert_with(|| Difference {
            poll_first: poll.poll,
            poll_last: Some(poll.poll),
            ..Difference::default()
        });
        difference.double = poll.rows - poll.distinct;
        difference.double_after_final = poll.rows_final.map(|rows| rows.saturating_sub(poll.distinct));
    }
    let distinct: BTreeMap<u64, u64> = polls.iter().map(|poll| (poll.poll, poll.distinct)).collect();
    for ((first, last), difference) in &mut differences {
        if *last == Some(*first) {
            difference.stored = distinct.get(first).copied().unwrap_or(0);
            difference.produced = produced_of_poll(*first, &known.polls);
        }
    }

    // One counter in two polls is there twice, and the two rows differ, so FINAL keeps both.
    let double_across = spans::rows(&all) - spans::rows(&stored);
    let double_in = |poll: &Poll| poll.rows - poll.distinct;
    let after_final = |poll: &Poll| poll.rows_final.map(|rows| rows.saturating_sub(poll.distinct));
    let double_after_final: Option<u64> = polls.iter().map(after_final).sum();
    let polls_with_differences = differences.len() as u64;
    let gap_count = gaps.len() as u64;
    gaps.truncate(LISTED_MAX);
    Instance {
        stored: spans::rows(&found),
        beyond: spans::rows(&stored) - spans::rows(&found),
        rows: polls.iter().map(|poll| poll.rows).sum(),
        missing: spans::rows(&admitted).saturating_add(spans::rows(&unexplained)),
        admitted: spans::rows(&admitted) + unplaced,
        unexplained: spans::rows(&unexplained) - unplaced,
        pending: spans::rows(&pending),
        double: polls.iter().map(double_in).sum::<u64>() + double_across,
        double_after_final: double_after_final.map(|double| double + double_across),
        polls_with_differences,
        differences: differences.into_values().take(LISTED_MAX).collect(),
        gap_count,
        gaps,
        ..named(summary, produced)
    }
}

/// Splits a gap by the polls that its rows were of: exactly where the journal knows, else by the polls of
/// the rows before and behind it.
fn by_poll(gap: Span, runs: &[Run], journal: &[(Span, u64)], each: &mut impl FnMut(Span, u64, Option<u64>)) {
    let start = journal.partition_point(|(span, _)| span.last < gap.first);
    let mut first = gap.first;
    for (span, poll) in journal[start..]
        .iter()
        .take_while(|(span, _)| span.first <= gap.last)
    {
        let Some(known) = span.intersection(Span {
            first,
            last: gap.last,
        }) else {
            continue;
        };
        if known.first > first {
            between(
                Span {
                    first,
                    last: known.first - 1,
                },
                runs,
                each,
            );
        }
        each(known, *poll, Some(*poll));
        first = known.last + 1;
    }
    if first <= gap.last {
        between(
            Span {
                first,
                last: gap.last,
            },
            runs,
            each,
        );
    }
}

fn between(gap: Span, runs: &[Run], each: &mut impl FnMut(Span, u64, Option<u64>)) {
    let behind = runs.partition_point(|run| run.span.first < gap.first);
    let before = behind.checked_sub(1).map_or(1, |before| runs[before].poll);
    each(gap, before, runs.get(behind).map(|run| run.poll));
}

fn produced_of_poll(poll: u64, journal: &[(Span, u64)]) -> Option<u64> {
    // Polls follow each other as counters do.
    let start = journal.partition_point(|(_, of)| *of < poll);
    let of_poll = journal[start..].iter().take_while(|(_, of)| *of == poll);
    let rows: u64 = of_poll.map(|(span, _)| span.rows()).sum();
    (rows > 0).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;
    use std::collections::BTreeMap;

    const INSTANCE: u64 = 0xab;

    /// Rows of one instance as a table has them: (counter, poll), possibly repeated.
    fn stored(rows: &[(u64, u64)]) -> (Summary, Vec<Poll>) {
        let mut by_poll = BTreeMap::<u64, Vec<u64>>::new();
        for (counter, poll) in rows {
            by_poll.entry(*poll).or_default().push(*counter);
        }
        let polls: Vec<Poll> = by_poll
            .into_iter()
            .map(|(poll, mut counters)| {
                counters.sort_unstable();
                let (rows, all) = (counters.len() as u64, (counters[0], counters[counters.len() - 1]));
                counters.dedup();
                let there = spans::union(
                    counters
                        .iter()
                        .map(|&one| Span {
                            first: one,
                            last: one,
                        })
                        .collect(),
                );
                let span = Span {
                    first: all.0,
                    last: all.1,
                };
                let distinct = counters.len() as u64;
                let holes = spans::difference(&[span], &there);
                Poll {
                    poll,
                    counters: span,
                    rows,
                    distinct,
                    rows_final: Some(distinct),
                    holes,
                }
            })
            .collect();
        let mut counters: Vec<u64> = rows.iter().map(|(counter, _)| *counter).collect();
        counters.sort_unstable();
        counters.dedup();
        let summary = Summary {
            instance_id: INSTANCE,
            rows: rows.len() as u64,
            distinct: counters.len() as u64,
            counters: counters.first().map(|&first| Span {
                first,
                last: counters[counters.len() - 1],
            }),
            polls: polls.len() as u64,
            ..Summary::default()
        };
        (summary, polls)
    }

    /// The poll of each counter from 1.
    fn made(random: &mut Random) -> Vec<u64> {
        let mut polls = Vec::new();
        for poll in 1..=1 + random.below(6) {
            polls.extend((0..random.below(9)).map(|_| poll));
        }
        polls
    }

    #[test]
    fn every_row_is_accounted_for_as_a_plain_count_would() {
        let mut random = Random::new(42);
        for case in 0..5000 {
            let polls_of = made(&mut random);
            let total = polls_of.len() as u64;
            // Holes anywhere: head, tail, middle, whole polls; and doubles.
            let density = random.below(4);
            let mut rows = Vec::new();
            let (mut dropped, mut journal) = (Vec::new(), Vec::new());
            for (counter, &poll) in (1..).zip(&polls_of) {
                journal.push((
                    Span {
                        first: counter,
                        last: counter,
                    },
                    poll,
                ));
                if random.below(5) == 0 {
                    dropped.push(Span {
                        first: counter,
                        last: counter,
                    });
                }
                let copies = if random.below(4) < density {
                    0
                } else {
                    1 + random.below(5) / 4
                };
                rows.extend((0..copies).map(|_| (counter, poll)));
            }
            // Made after the count was taken.
            let rows_known = total - random.below(total + 1) / 3;
            let waiting_from = (random.below(2) == 0).then(|| 1 + random.below(total + 2));
            let is_known = random.below(4) > 0;
            let has_journal = random.below(2) == 0;
            let produced = Produced {
                source: Source::Journal,
                rows: rows_known,
                polls: if has_journal { journal } else { Vec::new() },
                admitted: spans::union(dropped.clone()),
                admitted_unplaced: random.below(3),
                waiting_from,
            };
            let (summary, polls) = stored(&rows);
            let produced_or_not = is_known.then_some(&produced);
            let instance = compare(&summary, &polls, produced_or_not);

            let has = |counter: u64| rows.iter().any(|(one, _)| *one == counter);
            let last = if is_known {
                rows_known
            } else {
                rows.iter().map(|(one, _)| *one).max().unwrap_or(0)
            };
            let lost: Vec<u64> = (1..=last).filter(|&counter| !has(counter)).collect();
            let is_dropped = |counter| is_known && dropped.iter().any(|span| span.first == counter);
            let waits = |counter| is_known && waiting_from.is_some_and(|from| counter >= from);
            let kind = |counter| match (is_dropped(counter), waits(counter)) {
                (true, _) => Kind::Admitted,
                (false, true) => Kind::Pending,
                (false, false) => Kind::Unexplained,
            };
            let count = |wanted| lost.iter().filter(|&&counter| kind(counter) == wanted).count() as u64;
            let message = format!("case {case}: {rows:?} of {polls_of:?}, {produced_or_not:?}");
            assert_eq!(
                instance.missing,
                count(Kind::Admitted) + count(Kind::Unexplained),
                "{message}"
            );
            assert_eq!(instance.pending, count(Kind::Pending), "{message}");
            assert_eq!(
                instance.missing,
                instance.admitted + instance.unexplained,
                "{message}"
            );
            let unplaced = if is_known { produced.admitted_unplaced } else { 0 };
            let expected = count(Kind::Admitted) + unplaced.min(count(Kind::Unexplained));
            assert_eq!(instance.admitted, expected, "{message}");
            assert_eq!(
                instance.stored,
                (1..=last).filter(|&counter| has(counter)).count() as u64,
                "{message}"
            );
            assert_eq!(instance.stored + instance.beyond, summary.distinct, "{message}");
            assert_eq!(instance.double, summary.rows - summary.distinct, "{message}");
            assert_eq!(instance.double_after_final, Some(0), "{message}");

            // Gaps are the lost rows, and name polls that theirs are among.
            let mut listed = Vec::new();
            for gap in &instance.gaps {
                for counter in gap.first_record_counter..=gap.last_record_counter {
                    assert_eq!(gap.kind, kind(counter), "{message}");
                    let poll = polls_of[usize::try_from(counter).unwrap() - 1];
                    assert!(
                        gap.poll_first <= poll && gap.poll_last.is_none_or(|last| poll <= last),
                        "{message}"
                    );
                    if is_known && has_journal {
                        assert_eq!((gap.poll_first, gap.poll_last), (poll, Some(poll)), "{message}");
                    }
                    listed.push(counter);
                }
            }
            assert_eq!(listed, lost, "{message}");
            let sum = |of: fn(&Difference) -> u64| instance.differences.iter().map(of).sum::<u64>();
            assert_eq!(sum(|one| one.missing), instance.missing, "{message}");
            assert_eq!(sum(|one| one.double), instance.double, "{message}");

            let is_clean = instance.missing + instance.pending + instance.double + instance.beyond == 0;
            assert_eq!(is_perfect(&summary, produced_or_not), is_clean, "{message}");
            if is_clean {
                let short = perfect(&summary, produced_or_not);
                assert_eq!((short.stored, short.rows), (instance.stored, instance.rows));
            }
        }
    }

    #[test]
    fn a_counter_in_two_polls_is_double_and_stays_so() {
        let (summary, polls) = stored(&[(1, 1), (2, 1), (2, 2), (3, 2)]);
        let instance = compare(&summary, &polls, None);
        assert_eq!(
            (instance.missing, instance.double, instance.double_after_final),
            (0, 1, Some(1))
        );
    }

    #[test]
    fn an_instance_without_a_row_has_lost_everything() {
        let produced = Produced {
            rows: 7,
            ..Produced::default()
        };
        let instance = compare(&Summary::default(), &[], Some(&produced));
        assert_eq!(
            (instance.missing, instance.unexplained, instance.gaps.len()),
            (7, 7, 1)
        );
    }

    #[test]
    fn long_lists_are_cut_and_what_is_cut_is_counted() {
        let rows: Vec<(u64, u64)> = (1..=1000)
            .filter(|counter| counter % 2 == 0)
            .map(|counter| (counter, counter))
            .collect();
        let (summary, polls) = stored(&rows);
        let instance = compare(&summary, &polls, None);
        assert_eq!((instance.gap_count, instance.gaps.len()), (500, LISTED_MAX));
        assert_eq!(
            (instance.polls_with_differences, instance.differences.len()),
            (500, LISTED_MAX)
        );
    }
}
