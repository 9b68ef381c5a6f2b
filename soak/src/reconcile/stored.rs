//! What a table has. The database counts; what comes here is a line an instance, then a line a poll of the
//! instances that are not perfect, then the holes of the polls that have some.
//!
//! Memory is bounded there as well: `groupBitmap` is an exact count of different numbers in compressed
//! bitmaps, which for counters without gaps is about a bit a row; only the polls that have holes are sorted,
//! and so many of them at a time as have [`SORTED_ROWS_MAX`] rows.

use super::spans::Span;
use crate::clickhouse::{ClickHouse, Error, Table};
use std::collections::BTreeMap;

/// Rows that one query sorts, two numbers each: 32 MiB. A poll of more is sorted alone.
const SORTED_ROWS_MAX: u64 = 2_000_000;
/// Numbers of polls in one query, far below max_query_size (256 KiB).
const POLLS_MAX: usize = 5000;
/// ILLEGAL_FINAL: the table's engine replaces nothing.
const ILLEGAL_FINAL: u32 = 181;

/// The rows of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Who made them; 0 for rows of a program that has no instances.
    pub instance_id: u64,
    /// A host name that they carry.
    pub hostname: String,
    /// Rows.
    pub rows: u64,
    /// Different counters among them.
    pub distinct: u64,
    /// Smallest and largest counter.
    pub counters: Option<Span>,
    /// Different polls among them.
    pub polls: u64,
}

/// The rows of one poll of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Its sequence.
    pub poll: u64,
    /// Smallest and largest counter.
    pub counters: Span,
    /// Rows.
    pub rows: u64,
    /// Different counters among them.
    pub distinct: u64,
    /// Rows as FINAL shows them; `None` where the engine has no FINAL.
    pub rows_final: Option<u64>,
    /// Counters between smallest and largest that are not there; a set.
    pub holes: Vec<Span>,
}

/// Asks one table.
#[derive(Debug)]
pub struct Store<'a> {
    clickhouse: &'a ClickHouse,
    table: &'a Table,
}

impl<'a> Store<'a> {
    /// A table on a server.
    pub fn new(clickhouse: &'a ClickHouse, table: &'a Table) -> Store<'a> {
        Store { clickhouse, table }
    }

    /// Every instance, or the one asked for, by id.
    ///
    /// # Errors
    /// What the database says.
    pub fn summaries(&self, instance_id: Option<u64>) -> Result<Vec<Summary>, Error> {
        let only = instance_id.map_or_else(String::new, |id| format!("WHERE instance_id = {id} "));
        let query = format!(
            "SELECT instance_id, count(), groupBitmap(record_counter), min(record_counter), max(record_counter), \
             groupBitmap(poll_sequence), any(hostname) FROM {} {only}GROUP BY instance_id ORDER BY instance_id",
            self.table
        );
        let mut summaries = Vec::new();
        self.clickhouse.lines(&query, &mut |line| {
            let (numbers, hostname) = numbers::<6>(line)?;
            let [instance_id, rows, distinct, first, last, polls] = numbers;
            let hostname = hostname.to_owned();
            let counters = (rows > 0).then_some(Span { first, last });
            summaries.push(Summary {
                instance_id,
                hostname,
                rows,
                distinct,
                counters,
                polls,
            });
            Ok(())
        })?;
        Ok(summaries)
    }

    /// Every poll of an instance, by its smallest counter.
    ///
    /// # Errors
    /// What the database says.
    pub fn polls(&self, instance_id: u64) -> Result<Vec<Poll>, Error> {
        let query = format!(
            "SELECT poll_sequence, count(), groupBitmap(record_counter), min(record_counter) AS first, \
             max(record_counter) FROM {} WHERE instance_id = {instance_id} \
             GROUP BY poll_sequence ORDER BY first, poll_sequence",
            self.table
        );
        let mut polls = Vec::new();
        self.clickhouse.lines(&query, &mut |line| {
            let ([poll, rows, distinct, first, last], _) = numbers(line)?;
            let counters = Span { first, last };
            polls.push(Poll {
                poll,
                counters,
                rows,
                distinct,
                rows_final: Some(rows),
                holes: Vec::new(),
            });
            Ok(())
        })?;
        self.find_holes(instance_id, &mut polls)?;
        self.count_final(instance_id, &mut polls)?;
        Ok(polls)
    }

    /// Of the first counter of a poll the one before is NULL, which compares as false.
    fn find_holes(&self, instance_id: u64, polls: &mut [Poll]) -> Result<(), Error> {
        let with_holes = |poll: &Poll| poll.distinct < poll.counters.rows();
        for list in batches(polls.iter().filter(|poll| with_holes(poll))) {
            let query = format!(
                "SELECT poll_sequence, before + 1 AS first, record_counter - 1 FROM \
                 (SELECT poll_sequence, record_counter, lagInFrame(toNullable(record_counter)) OVER \
                 (PARTITION BY poll_sequence ORDER BY record_counter \
                 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before \
                 FROM (SELECT DISTINCT poll_sequence, record_counter FROM {} \
                 WHERE instance_id = {instance_id} AND poll_sequence IN ({list}))) \
                 WHERE record_counter > before + 1 ORDER BY poll_sequence, first",
                self.table
            );
            let mut holes = BTreeMap::<u64, Vec<Span>>::new();
            self.clickhouse.lines(&query, &mut |line| {
                let ([poll, first, last], _) = numbers(line)?;
                holes.entry(poll).or_default().push(Span { first, last });
                Ok(())
            })?;
            for poll in &mut *polls {
                if let Some(holes) = holes.remove(&poll.poll) {
                    poll.holes = holes;
                }
            }
        }
        Ok(())
    }

    fn count_final(&self, instance_id: u64, polls: &mut [Poll]) -> Result<(), Error> {
        let has_doubles = |poll: &Poll| poll.rows > poll.distinct;
        for list in batches(polls.iter().filter(|poll| has_doubles(poll))) {
            let query = format!(
                "SELECT poll_sequence, count() FROM {} FINAL \
                 WHERE instance_id = {instance_id} AND poll_sequence IN ({list}) GROUP BY poll_sequence",
                self.table
            );
            let mut counts = BTreeMap::new();
            let answer = self.clickhouse.lines(&query, &mut |line| {
                let ([poll, rows], _) = numbers(line)?;
                counts.insert(poll, rows);
                Ok(())
            });
            let has_final = match answer {
                Err(Error::Refused {
                    code: Some(ILLEGAL_FINAL),
                    ..
                }) => false,
                answer => answer.map(|()| true)?,
            };
            for poll in polls.iter_mut().filter(|poll| has_doubles(poll)) {
                match (has_final, counts.get(&poll.poll)) {
                    (false, _) => poll.rows_final = None,
                    (true, Some(rows)) => poll.rows_final = Some(*rows),
                    (true, None) => {}
                }
            }
        }
        Ok(())
    }
}

/// Numbers of polls, comma-separated, in as many lists as one query each can bear.
fn batches<'a>(polls: impl Iterator<Item = &'a Poll>) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    let (mut count, mut rows) = (0, 0);
    for poll in polls {
        match lists.last_mut() {
            Some(list) if count < POLLS_MAX && rows + poll.rows <= SORTED_ROWS_MAX => {
                list.push_str(&format!(",{}", poll.poll));
            }
            _ => {
                lists.push(poll.poll.to_string());
                (count, rows) = (0, 0);
            }
        }
        count += 1;
        rows += poll.rows;
    }
    lists
}

/// The first `N` columns of a line, and what is behind them.
fn numbers<const N: usize>(line: &str) -> Result<([u64; N], &str), String> {
    let mut columns = line.splitn(N + 1, '\t');
    let mut numbers = [0; N];
    for number in &mut numbers {
        let parsed = columns.next().and_then(|column| column.parse().ok());
        *number = parsed.ok_or_else(|| format!("a line that is not {N} numbers: {line:?}"))?;
    }
    Ok((numbers, columns.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_stay_within_their_bounds() {
        let poll = |poll, rows| Poll {
            poll,
            counters: Span { first: 1, last: rows },
            rows,
            distinct: rows,
            rows_final: None,
            holes: Vec::new(),
        };
        let large = [
            poll(1, SORTED_ROWS_MAX * 2),
            poll(2, SORTED_ROWS_MAX),
            poll(3, 1),
            poll(4, 5),
        ];
        assert_eq!(batches(large.iter()), ["1", "2", "3,4"]);
        let many: Vec<Poll> = (0..12_000).map(|sequence| poll(sequence, 1)).collect();
        let lists = batches(many.iter());
        assert_eq!(lists.len(), 3);
        assert_eq!(lists.join(",").split(',').count(), 12_000);
        assert!(batches([].iter()).is_empty());
    }

    #[test]
    fn lines_are_read() {
        assert_eq!(numbers("1\t2\ta host"), Ok(([1, 2], "a host")));
        assert!(numbers::<2>("1\tx").is_err());
        assert!(numbers::<2>("").is_err());
    }
}
