//! Single polls: how long they took, how many rows they made.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment, percent},
    unless_starved,
};
use crate::{
    record::Sample,
    watch::{
        polls::{Between, between},
        scrape::Metrics,
    },
};

/// Of the polls. More than this are known only in sum: samples came less often than polls.
const OTHERS_PERCENT_MAX: f64 = 1.0;
/// A 99th percentile of fewer is a maximum.
const POLLS_MIN: u64 = 20;

/// The polls of a run, one sample after the other.
#[derive(Debug, Default)]
struct Reader {
    before: Option<Metrics>,
    completed: u64,
    others: u64,
    /// Scrapes that lack what polls are known by.
    silent: u64,
}

impl Reader {
    fn read(&mut self, sample: &Sample, moment: &Moment) -> Option<Between> {
        let now = sample.metrics.as_ref()?;
        let polls = between(self.before.as_ref(), now);
        // What was before the first scrape took place before the measured part.
        let is_first = self.before.replace(now.clone()).is_none();
        let Some(polls) = polls else {
            self.silent += 1;
            return None;
        };
        if is_first || !moment.is_warm {
            return None;
        }
        self.completed += polls.completed;
        self.others += polls.others();
        Some(polls)
    }

    /// Why a pass would be none, if it would be.
    fn doubt(&self) -> Option<String> {
        let others = percent(self.others, self.completed);
        if self.completed == 0 {
            Some(match self.silent {
                0 => "no poll was seen after the warm-up".to_owned(),
                _ => "/metrics does not say what single polls did".to_owned(),
            })
        } else if others > OTHERS_PERCENT_MAX {
            Some(format!(
                "{others:.0} % of the polls are known only in sum: samples came less often than polls"
            ))
        } else {
            None
        }
    }

    fn seen(&self) -> String {
        format!(
            "{} polls after the warm-up, {} of them known only in sum",
            self.completed, self.others
        )
    }
}

/// Steps of the histogram of durations: each is 2 % longer.
const STEP: f64 = 1.02;
/// The shortest.
const SHORTEST_MS: f64 = 0.01;
/// So many steps end at a day.
const STEPS: usize = 1200;

/// Durations in bounded memory, exact to [`STEP`].
#[derive(Debug)]
struct Durations {
    counts: Vec<u64>,
    count: u64,
}

impl Durations {
    fn new() -> Durations {
        Durations {
            counts: vec![0; STEPS],
            count: 0,
        }
    }

    fn add(&mut self, ms: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and the logarithm of a day is small"
        )]
        let step = ((ms.max(SHORTEST_MS) / SHORTEST_MS).ln() / STEP.ln()).ceil() as usize;
        self.counts[step.min(STEPS - 1)] += 1;
        self.count += 1;
    }

    /// The upper end of the step that holds the 99th percentile.
    fn p99_ms(&self) -> f64 {
        let rank = self.count - self.count / 100;
        let mut sum = 0;
        let step = self.counts.iter().position(|count| {
            sum += count;
            sum >= rank
        });
        SHORTEST_MS * STEP.powi(i32::try_from(step.unwrap_or(0)).unwrap_or(i32::MAX))
    }
}

/// 99th percentile of the durations.
#[derive(Debug)]
pub struct P99 {
    max_ms: f64,
    reader: Reader,
    durations: Durations,
}

impl P99 {
    /// At most `max_ms`.
    pub fn new(max_ms: f64) -> P99 {
        P99 {
            max_ms,
            reader: Reader::default(),
            durations: Durations::new(),
        }
    }
}

impl Gate for P99 {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        for poll in self.reader.read(sample, moment).unwrap_or_default().known {
            self.durations.add(poll.duration_ms);
        }
    }

    fn verdict(&self, course: &Course) -> Verdict {
        let p99 = self.durations.p99_ms();
        let mut why = self.reader.seen();
        let status = if self.durations.count < POLLS_MIN {
            why.push_str(&format!("; {POLLS_MIN} are needed"));
            Status::CannotJudge
        } else if p99 > self.max_ms * STEP {
            unless_starved(Status::Fail, course, &mut why)
        } else if let Some(doubt) = self.reader.doubt() {
            why = doubt;
            Status::CannotJudge
        } else {
            Status::Pass
        };
        Verdict {
            name: "poll_p99_ms_max",
            status,
            figure: format!("{p99:.1} ms"),
            threshold: format!("{} ms", self.max_ms),
            why,
        }
    }
}

/// The longest poll.
#[derive(Debug)]
pub struct Longest {
    max_ms: f64,
    reader: Reader,
    /// Longest while the machine gave time, and while it did not.
    longest_ms: [f64; 2],
    at_seconds: f64,
    /// None of the polls that are known in sum can have been longer.
    others_at_most_ms: f64,
}

impl Longest {
    /// At most `max_ms`.
    pub fn new(max_ms: f64) -> Longest {
        Longest {
            max_ms,
            reader: Reader::default(),
            longest_ms: [0.0; 2],
            at_seconds: 0.0,
            others_at_most_ms: 0.0,
        }
    }
}

impl Gate for Longest {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        let Some(polls) = self.reader.read(sample, moment) else {
            return;
        };
        for poll in &polls.known {
            if poll.duration_ms > self.longest_ms[0].max(self.longest_ms[1]) {
                self.at_seconds = sample.elapsed_seconds;
            }
            let longest = &mut self.longest_ms[usize::from(moment.is_starved)];
            *longest = longest.max(poll.duration_ms);
        }
        self.others_at_most_ms = self.others_at_most_ms.max(polls.other_ms);
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let [clean, starved] = self.longest_ms;
        let mut why = format!("{}; the longest at {:.0} s", self.reader.seen(), self.at_seconds);
        let status = if clean > self.max_ms {
            Status::Fail
        } else if starved > self.max_ms {
            why.push_str("; not held against the daemon: the machine gave no time then");
            Status::CannotJudge
        } else if self.reader.completed == 0 {
            why = self.reader.doubt().unwrap_or(why);
            Status::CannotJudge
        } else if self.others_at_most_ms > self.max_ms {
            why.push_str("; one of those known in sum may have been longer");
            Status::CannotJudge
        } else {
            Status::Pass
        };
        Verdict {
            name: "poll_max_ms",
            status,
            figure: format!("{:.1} ms", clean.max(starved)),
            threshold: format!("{} ms", self.max_ms),
            why,
        }
    }
}

/// Rows of each poll: the population of the load.
#[derive(Debug)]
pub struct Rows {
    min: u64,
    reader: Reader,
    fewest: Option<u64>,
    at_seconds: f64,
    too_few: u64,
}

impl Rows {
    /// At least `min`.
    pub fn new(min: u64) -> Rows {
        Rows {
            min,
            reader: Reader::default(),
            fewest: None,
            at_seconds: 0.0,
            too_few: 0,
        }
    }
}

impl Gate for Rows {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        let Some(polls) = self.reader.read(sample, moment) else {
            return;
        };
        let known = polls.known.iter().map(|poll| poll.rows);
        // The mean of the others, rounded up: if that is too few, one of them was.
        let others = polls.others();
        let mean = (others > 0).then(|| polls.other_rows.div_ceil(others));
        for rows in known.chain(mean) {
            self.too_few += u64::from(rows < self.min);
            if self.fewest.is_none_or(|fewest| rows < fewest) {
                self.fewest = Some(rows);
                self.at_seconds = sample.elapsed_seconds;
            }
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let doubt = self.reader.doubt();
        let fewest = self.fewest;
        // No action excuses it: a poll that was completed has read everybody.
        let why = format!(
            "{}; {} had fewer than asked, the fewest at {:.0} s",
            self.reader.seen(),
            self.too_few,
            self.at_seconds
        );
        Verdict {
            name: "rows_per_poll_min",
            status: match (self.too_few, &doubt, fewest) {
                (1.., _, _) => Status::Fail,
                (0, None, Some(_)) => Status::Pass,
                _ => Status::CannotJudge,
            },
            figure: fewest.map_or("unknown".to_owned(), |fewest| format!("{fewest} rows")),
            threshold: format!("{} rows", self.min),
            why: match (self.too_few, doubt) {
                (0, Some(doubt)) => doubt,
                _ => why,
            },
        }
    }
}

/// Namespaces of each poll: a daemon that does not find them is missing whole containers.
#[derive(Debug)]
pub struct Namespaces {
    min: f64,
    reader: Reader,
    fewest: Option<f64>,
    at_seconds: f64,
}

impl Namespaces {
    /// At least `min`.
    pub fn new(min: u32) -> Namespaces {
        Namespaces {
            min: min.into(),
            reader: Reader::default(),
            fewest: None,
            at_seconds: 0.0,
        }
    }
}

impl Gate for Namespaces {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        // Of the last poll, so only together with one.
        if self
            .reader
            .read(sample, moment)
            .is_none_or(|polls| polls.completed == 0)
        {
            return;
        }
        let namespaces = sample
            .metrics
            .as_ref()
            .and_then(|metrics| metrics.get("xtcp2_namespaces"));
        if let Some(namespaces) = namespaces.copied()
            && self.fewest.is_none_or(|fewest| namespaces < fewest)
        {
            self.fewest = Some(namespaces);
            self.at_seconds = sample.elapsed_seconds;
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let doubt = self.reader.doubt();
        Verdict {
            name: "namespaces_per_poll_min",
            status: match (self.fewest, &doubt) {
                (Some(fewest), _) if fewest < self.min => Status::Fail,
                (Some(_), None) => Status::Pass,
                _ => Status::CannotJudge,
            },
            figure: self
                .fewest
                .map_or("unknown".to_owned(), |fewest| format!("{fewest} namespaces")),
            threshold: format!("{} namespaces", self.min),
            why: doubt
                .unwrap_or_else(|| format!("{}; the fewest at {:.0} s", self.reader.seen(), self.at_seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_exact_to_its_step() {
        let mut durations = Durations::new();
        for ms in 1..=1000 {
            durations.add(f64::from(ms));
        }
        let p99 = durations.p99_ms();
        assert!((990.0..=990.0 * STEP * STEP).contains(&p99), "{p99}");
        durations.add(1e12);
        assert_eq!(durations.counts.len(), STEPS);
    }
}
