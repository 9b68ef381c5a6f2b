//! What is said of it: for people as tables, for programs as JSON.
//!
//! The JSON is one [`Report`], its keys the names of the fields here. Numbers of rows are exact. Lists are cut
//! at [`super::compare::LISTED_MAX`] entries an instance; `gap_count` and `polls_with_differences` count
//! what was cut as well. Keys may be added in later versions; none goes away or changes its meaning.

use super::produced::Source;
use serde::Serialize;
use std::fmt::Write;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The table, as database.table.
    pub table: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Sums over the instances.
    pub total: Total,
    /// Rows in the table that are of no instance: another program's, not compared.
    pub rows_of_no_instance: u64,
    /// Each instance, by id.
    pub instances: Vec<Instance>,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every row that was produced is stored, or waits in its daemon; none is stored twice.
    Complete,
    /// Rows are missing or double.
    Differs,
    /// Nothing is seen missing or double, but of some instance nobody said how much it produced.
    #[default]
    Unknown,
}

impl Verdict {
    /// The exit status that says it.
    pub fn status(self) -> u8 {
        match self {
            Verdict::Complete => 0,
            Verdict::Differs => 1,
            Verdict::Unknown => 2,
        }
    }
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Instances.
    pub instances: u64,
    /// Of them, those of which nobody said how much they produced.
    pub instances_unknown: u64,
    /// Rows produced, of instances where that is known.
    pub produced: u64,
    /// See [`Instance`].
    pub stored: u64,
    /// See [`Instance`].
    pub missing: u64,
    /// See [`Instance`].
    pub admitted: u64,
    /// See [`Instance`].
    pub unexplained: u64,
    /// See [`Instance`].
    pub pending: u64,
    /// See [`Instance`].
    pub double: u64,
    /// See [`Instance`]; null if it is for one of them.
    pub double_after_final: Option<u64>,
}

/// One run of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// 16 hexadecimal digits, as in message keys and metrics.
    pub instance_id: String,
    /// A host name that its rows carry; empty if none is stored.
    pub hostname: String,
    /// Who says how much it produced.
    pub source: Source,
    /// Rows it produced; null if nobody said.
    pub produced: Option<u64>,
    /// Rows produced that are stored, each counted once.
    pub stored: u64,
    /// Rows produced that are not stored, nor wait in the daemon: admitted + unexplained.
    pub missing: u64,
    /// Of them, those that the daemon says it gave up.
    pub admitted: u64,
    /// Of them, the others.
    pub unexplained: u64,
    /// Rows produced that still wait in the daemon.
    pub pending: u64,
    /// Rows in the table beyond the first of each counter.
    pub double: u64,
    /// The same as FINAL shows the table; null if its engine has no FINAL.
    pub double_after_final: Option<u64>,
    /// Rows stored that were made after the sources were asked, each counted once.
    pub beyond: u64,
    /// Rows in the table, every copy.
    pub rows: u64,
    /// Polls of which there are rows.
    pub polls: u64,
    /// Polls that have a difference; also those that are not listed.
    pub polls_with_differences: u64,
    /// Polls that have a difference.
    pub differences: Vec<Difference>,
    /// Stretches of rows that are not stored; also those that are not listed.
    pub gap_count: u64,
    /// Stretches of rows that are not stored.
    pub gaps: Vec<Gap>,
}

/// A poll, or several where it is not known which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The first poll it may be.
    pub poll_first: u64,
    /// The last poll it may be; null if it may be any later one.
    pub poll_last: Option<u64>,
    /// Rows of the poll, if the journal has them all.
    pub produced: Option<u64>,
    /// Rows of the poll that are stored, each counted once; 0 for several polls.
    pub stored: u64,
    /// See [`Instance`].
    pub missing: u64,
    /// See [`Instance`].
    pub admitted: u64,
    /// See [`Instance`].
    pub pending: u64,
    /// See [`Instance`].
    pub double: u64,
    /// See [`Instance`].
    pub double_after_final: Option<u64>,
}

impl Difference {
    /// Counts rows that are not stored.
    pub fn add(&mut self, kind: Kind, rows: u64) {
        match kind {
            Kind::Pending => self.pending += rows,
            Kind::Unexplained => self.missing += rows,
            Kind::Admitted => {
                self.missing += rows;
                self.admitted += rows;
            }
        }
    }
}

/// Why a row is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The daemon says that it gave it up.
    Admitted,
    /// It still waits in the daemon.
    Pending,
    /// Nobody says; or the daemon gave up so many, but not which.
    Unexplained,
}

/// Rows in a row that are not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Counter of the first.
    pub first_record_counter: u64,
    /// Counter of the last.
    pub last_record_counter: u64,
    /// How many.
    pub rows: u64,
    /// The first poll they may be of.
    pub poll_first: u64,
    /// The last poll they may be of; null if it may be any later one.
    pub poll_last: Option<u64>,
    /// Why.
    pub kind: Kind,
}

impl Report {
    /// Sums up.
    pub fn new(table: String, instances: Vec<Instance>, rows_of_no_instance: u64) -> Report {
        let sum = |of: fn(&Instance) -> u64| instances.iter().map(of).fold(0, u64::saturating_add);
        let total = Total {
            instances: instances.len() as u64,
            instances_unknown: sum(|one| u64::from(one.produced.is_none())),
            produced: sum(|one| one.produced.unwrap_or(0)),
            stored: sum(|one| one.stored),
            missing: sum(|one| one.missing),
            admitted: sum(|one| one.admitted),
            unexplained: sum(|one| one.unexplained),
            pending: sum(|one| one.pending),
            double: sum(|one| one.double),
            double_after_final: instances.iter().map(|one| one.double_after_final).sum(),
        };
        let verdict = match (
            total.missing.saturating_add(total.double),
            total.instances_unknown,
        ) {
            (1.., _) => Verdict::Differs,
            // Nobody knows of an instance, and the table has none: that proves nothing.
            (0, 0) if total.instances > 0 => Verdict::Complete,
            _ => Verdict::Unknown,
        };
        Report {
            table,
            verdict,
            total,
            rows_of_no_instance,
            instances,
        }
    }

    /// As tables.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut rows = vec![row(&[
            "instance",
            "host",
            "source",
            "polls",
            "produced",
            "stored",
            "missing",
            "admitted",
            "pending",
            "double",
            "after FINAL",
        ])];
        for one in &self.instances {
            rows.push(vec![
                one.instance_id.clone(),
                if one.hostname.is_empty() {
                    "-".to_owned()
                } else {
                    one.hostname.clone()
                },
                format!("{:?}", one.source).to_lowercase(),
                one.polls.to_string(),
                or_dash(one.produced),
                one.stored.to_string(),
                one.missing.to_string(),
                one.admitted.to_string(),
                one.pending.to_string(),
                one.double.to_string(),
                or_dash(one.double_after_final),
            ]);
        }
        put_table(&mut text, "", 3, &rows);
        for one in self.instances.iter().filter(|one| !one.differences.is_empty()) {
            put_instance(&mut text, one);
        }
        let total = &self.total;
        let _ = write!(
            text,
            "\n{} instances: {} produced, {} stored, {} missing ({} admitted, {} unexplained), {} pending, \
             {} double ({} after FINAL)\n",
            total.instances,
            total.produced,
            total.stored,
            total.missing,
            total.admitted,
            total.unexplained,
            total.pending,
            total.double,
            or_dash(total.double_after_final),
        );
        if self.rows_of_no_instance > 0 {
            let _ = writeln!(
                text,
                "{} rows of no instance were not compared",
                self.rows_of_no_instance
            );
        }
        if total.instances_unknown > 0 {
            let _ = writeln!(
                text,
                "produced is not known of {} instances: their last rows may be missing. Give --spool-dir or \
                 --metrics of their daemons, or --instance",
                total.instances_unknown
            );
        }
        text.push_str(match self.verdict {
            Verdict::Complete => "complete\n",
            Verdict::Differs => "NOT complete\n",
            Verdict::Unknown => "not known to be complete\n",
        });
        text
    }
}

fn put_instance(text: &mut String, one: &Instance) {
    let _ = writeln!(text, "\n{}: polls with a difference", one.instance_id);
    let mut rows = vec![row(&[
        "poll",
        "produced",
        "stored",
        "missing",
        "admitted",
        "pending",
        "double",
        "after FINAL",
    ])];
    for difference in &one.differences {
        let is_one = difference.poll_last == Some(difference.poll_first);
        rows.push(vec![
            poll_range(difference.poll_first, difference.poll_last),
            or_dash(difference.produced),
            or_dash(is_one.then_some(difference.stored)),
            difference.missing.to_string(),
            difference.admitted.to_string(),
            difference.pending.to_string(),
            difference.double.to_string(),
            or_dash(
                difference
                    .double_after_final
                    .or((difference.double == 0).then_some(0)),
            ),
        ]);
    }
    put_table(text, "  ", 0, &rows);
    put_rest(text, one.polls_with_differences, one.differences.len());
    if one.gaps.is_empty() {
        return;
    }
    let _ = writeln!(text, "{}: rows that are not stored", one.instance_id);
    let mut rows = vec![row(&["first", "last", "rows", "poll", "why"])];
    for gap in &one.gaps {
        rows.push(vec![
            gap.first_record_counter.to_string(),
            gap.last_record_counter.to_string(),
            gap.rows.to_string(),
            poll_range(gap.poll_first, gap.poll_last),
            format!("{:?}", gap.kind).to_lowercase(),
        ]);
    }
    put_table(text, "  ", 0, &rows);
    put_rest(text, one.gap_count, one.gaps.len());
}

fn put_rest(text: &mut String, count: u64, listed: usize) {
    let rest = count - listed as u64;
    if rest > 0 {
        let _ = writeln!(text, "  and {rest} more");
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn or_dash(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn poll_range(first: u64, last: Option<u64>) -> String {
    match last {
        Some(last) if last == first => first.to_string(),
        Some(last) => format!("{first}..{last}"),
        None => format!("{first}.."),
    }
}

/// Appends rows as columns; the first `texts` of them to the left, numbers to the right.
fn put_table(text: &mut String, indent: &str, texts: usize, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = indent.to_owned();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column < texts {
                true => write!(line, "{cell:<width$}  "),
                false => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_worst_that_is_known() {
        let instance = |produced, missing, pending, double| Instance {
            produced,
            missing,
            pending,
            double,
            ..Instance::default()
        };
        let verdict = |instances| Report::new(String::new(), instances, 0).verdict.status();
        let fine = || instance(Some(5), 0, 0, 0);
        assert_eq!(verdict(vec![fine(), fine()]), 0);
        assert_eq!(
            verdict(vec![fine(), instance(Some(5), 0, 3, 0)]),
            0,
            "what waits is not missing"
        );
        assert_eq!(verdict(vec![fine(), instance(None, 0, 0, 0)]), 2);
        assert_eq!(
            verdict(vec![instance(None, 0, 0, 0), instance(Some(5), 1, 0, 0)]),
            1
        );
        assert_eq!(verdict(vec![instance(None, 0, 0, 1)]), 1);
        assert_eq!(verdict(vec![]), 2);
    }

    #[test]
    fn people_and_programs_are_told_the_same() {
        let kind = Kind::Unexplained;
        let gap = |first, rows| Gap {
            first_record_counter: first,
            last_record_counter: first + rows - 1,
            rows,
            poll_first: 2,
            poll_last: (first == 8).then_some(2),
            kind,
        };
        let instance = Instance {
            instance_id: "00000000000000ab".to_owned(),
            hostname: "web-1".to_owned(),
            source: Source::Journal,
            produced: Some(100),
            stored: 94,
            missing: 6,
            unexplained: 6,
            polls: 3,
            double: 1,
            rows: 95,
            polls_with_differences: 1,
            differences: vec![Difference {
                poll_first: 2,
                poll_last: Some(2),
                produced: Some(40),
                stored: 34,
                missing: 6,
                double: 1,
                ..Difference::default()
            }],
            gap_count: 7,
            gaps: vec![gap(8, 2), gap(40, 4)],
            ..Instance::default()
        };
        let report = Report::new("xtcp.rows".to_owned(), vec![instance], 9);
        let expected = "\
instance          host   source   polls  produced  stored  missing  admitted  pending  double  after FINAL
00000000000000ab  web-1  journal      3       100      94        6         0        0       1            -

00000000000000ab: polls with a difference
  poll  produced  stored  missing  admitted  pending  double  after FINAL
     2        40      34        6         0        0       1            -
00000000000000ab: rows that are not stored
  first  last  rows  poll          why
      8     9     2     2  unexplained
     40    43     4   2..  unexplained
  and 5 more

1 instances: 100 produced, 94 stored, 6 missing (0 admitted, 6 unexplained), 0 pending, 1 double (- after FINAL)
9 rows of no instance were not compared
NOT complete
";
        assert_eq!(report.text(), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["verdict"], "differs");
        assert_eq!(json["instances"][0]["source"], "journal");
        assert_eq!(
            json["instances"][0]["gaps"][1]["poll_last"],
            serde_json::Value::Null
        );
        assert_eq!(json["instances"][0]["differences"][0]["produced"], 40);
        assert_eq!(json["total"]["missing"], 6);
    }
}
