//! Every poll starts on time, by the clock of the runner: a daemon that answers /metrics and does not poll has
//! no poll that is late, and is stuck all the same.

use super::{
    Gate, Status, Verdict,
    course::{Course, GAP_SECONDS_MAX, Moment},
    unless_starved,
};
use crate::{
    record::{Event, Sample, What},
    watch::scrape::{self, Metrics},
};
use std::time::Duration;

/// Without an end of its wait, a daemon that was stopped by order is late after this.
const ORDERED_SECONDS_MAX: f64 = 60.0;
/// From an ordered start to the first complete poll: the start itself, and a first poll that finds everything new.
const FIRST_POLL_SECONDS_MAX: f64 = 15.0;
/// Fewer due polls show no share.
const POLLS_MIN: f64 = 5.0;
/// At both ends of what was watched a poll may be half in: with the jitter of starts, one at each.
const EDGES: f64 = 2.0;
/// Without a completed poll for so many times the frequency (or the longest poll allowed), and
/// [`STALL_SECONDS`] more, it is stuck: however small a share of the run that is.
const STALL_POLLS: f64 = 3.0;
/// What scrape and sampling may add.
const STALL_SECONDS: f64 = 2.0;

/// Counts polls that were due, started late, and were completed.
#[derive(Debug)]
pub struct OnTime {
    max_percent: f64,
    frequency_seconds: f64,
    stall_seconds_max: f64,
    before: Option<Metrics>,
    /// Nobody has to poll: since then the daemon is stopped by order, or has not polled since its start.
    ordered_since: Option<f64>,
    /// Started by order, and no poll since then.
    started: Option<f64>,
    first_poll_seconds_worst: f64,
    due: f64,
    completed: f64,
    late: f64,
    late_starved: f64,
    edges: f64,
    stall_seconds: f64,
    stall_seconds_worst: f64,
    stall_at: f64,
    away_seconds: f64,
}

impl OnTime {
    /// At most `max_percent` of the polls, one being due each `frequency`.
    pub fn new(max_percent: f64, frequency: Duration, poll_seconds_max: f64) -> OnTime {
        let frequency_seconds = frequency.as_secs_f64();
        OnTime {
            max_percent,
            frequency_seconds,
            stall_seconds_max: STALL_POLLS * frequency_seconds.max(poll_seconds_max) + STALL_SECONDS,
            before: None,
            ordered_since: None,
            started: None,
            first_poll_seconds_worst: 0.0,
            due: 0.0,
            completed: 0.0,
            late: 0.0,
            late_starved: 0.0,
            edges: EDGES,
            stall_seconds: 0.0,
            stall_seconds_worst: 0.0,
            stall_at: 0.0,
            away_seconds: 0.0,
        }
    }

    /// Starts later than this are late even if the poll before had ended: the bucket of the histogram that is
    /// nearest to a tenth of the frequency, and never below what a busy machine explains.
    fn late_bucket(&self) -> &'static str {
        match self.frequency_seconds >= 10.0 {
            true => "xtcp2_poll_start_delay_seconds_bucket{le=\"1.0\"}",
            false => "xtcp2_poll_start_delay_seconds_bucket{le=\"0.1\"}",
        }
    }

    /// How much a counter grew since the scrape before; of another instance, all of it.
    fn grown(&self, now: &Metrics, key: &str) -> f64 {
        let value = |metrics: &Metrics| metrics.get(key).copied().unwrap_or(0.0);
        let before = self.before.as_ref();
        let before = before.filter(|before| scrape::instance_id(before) == scrape::instance_id(now));
        (value(now) - before.map_or(0.0, value)).max(0.0)
    }
}

impl Gate for OnTime {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        let mut completed = 0.0;
        let mut late = 0.0;
        if let Some(now) = &sample.metrics {
            if self.before.is_some() || self.due > 0.0 {
                completed = self.grown(now, "xtcp2_polls_total");
                let delayed = self.grown(now, "xtcp2_poll_start_delay_seconds_count")
                    - self.grown(now, self.late_bucket());
                late = self.grown(now, "xtcp2_polls_late_total").max(delayed);
            }
            self.before = Some(now.clone());
        }
        if let Some(started) = self.started {
            let seconds = sample.elapsed_seconds - started;
            self.first_poll_seconds_worst = self.first_poll_seconds_worst.max(seconds);
            if completed > 0.0 {
                self.started = None;
            }
        }
        if let Some(since) = self.ordered_since {
            let is_over = sample.elapsed_seconds - since > ORDERED_SECONDS_MAX;
            if completed > 0.0 || is_over {
                self.ordered_since = None;
                if self.due > 0.0 {
                    self.edges += EDGES;
                }
            }
            self.stall_seconds = 0.0;
            return;
        }
        if !moment.is_warm {
            return;
        }
        self.due += moment.interval_seconds / self.frequency_seconds;
        self.completed += completed;
        match moment.is_starved {
            true => self.late_starved += late,
            false => self.late += late,
        }
        if sample.process.is_none() {
            self.away_seconds += moment.interval_seconds;
        }
        if completed > 0.0 {
            self.stall_seconds = 0.0;
        } else if !moment.is_starved {
            self.stall_seconds += moment.interval_seconds.min(GAP_SECONDS_MAX);
        }
        if self.stall_seconds > self.stall_seconds_worst {
            self.stall_seconds_worst = self.stall_seconds;
            self.stall_at = sample.elapsed_seconds;
        }
    }

    fn event(&mut self, event: &Event, _: &Course) {
        match &event.what {
            What::DaemonEnded { announced: true, .. } => {
                self.ordered_since = Some(event.elapsed_seconds);
                self.started = None;
            }
            What::DaemonStarted { announced: true, .. } => {
                self.ordered_since = Some(event.elapsed_seconds);
                self.started = self.ordered_since;
            }
            _ => {}
        }
    }

    fn verdict(&self, course: &Course) -> Verdict {
        let missing = (self.due - self.completed - self.edges).max(0.0).floor();
        let percent = |count: f64| (count * 100.0 / self.due.max(self.completed).max(1.0)).min(100.0);
        let clean = percent(self.late + missing);
        let all = percent(self.late + self.late_starved + missing);
        let mut why = format!(
            "{:.0} polls were due after the warm-up by the runner's clock: {:.0} were completed, {:.0} started late, {missing:.0} are missing",
            self.due,
            self.completed,
            self.late + self.late_starved
        );
        if self.away_seconds > 0.0 {
            why.push_str(&format!(
                "; {:.1} s of it there was no daemon, and no order",
                self.away_seconds
            ));
        }
        let is_slow = self.first_poll_seconds_worst > FIRST_POLL_SECONDS_MAX;
        if is_slow {
            why.push_str(&format!(
                "; STUCK: {:.0} s after an ordered start there was no poll ({FIRST_POLL_SECONDS_MAX} s are allowed)",
                self.first_poll_seconds_worst
            ));
        }
        let is_stalled = self.stall_seconds_worst > self.stall_seconds_max;
        if is_stalled {
            why.push_str(&format!(
                "; STUCK: no poll was completed for {:.1} s, until {:.0} s ({:.1} s are allowed)",
                self.stall_seconds_worst, self.stall_at, self.stall_seconds_max
            ));
        }
        let status = if is_stalled || is_slow {
            Status::Fail
        } else if self.due < POLLS_MIN {
            why.push_str(&format!("; {POLLS_MIN} due polls are needed"));
            Status::CannotJudge
        } else if clean > self.max_percent {
            unless_starved(Status::Fail, course, &mut why)
        } else if all > self.max_percent {
            why.push_str("; the late ones when the machine gave no time");
            Status::CannotJudge
        } else {
            Status::Pass
        };
        Verdict {
            name: "polls_late_percent_max",
            status,
            figure: format!("{all:.2} % late or missing"),
            threshold: format!("{} %", self.max_percent),
            why,
        }
    }
}
