//! Leaks: growth of memory, descriptors and threads after the warm-up, by a robust slope.
//!
//! A short run cannot see a slow leak: scatter and single steps look like one. So besides the scenario's
//! threshold an absolute growth over the run is allowed (`Kind::allowed`), which an hour makes small; and the
//! verdict says what growth could have been told from this run's scatter. Where that is more than what is
//! allowed, the run proves nothing, and says so.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
    slope::{Line, POINTS_MIN, Series},
};
use crate::record::Sample;
use std::time::Duration;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Resident memory.
    Rss,
    /// Open descriptors.
    Fds,
    /// Threads.
    Threads,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rss => "rss_growth_kib_per_hour_max",
            Kind::Fds => "fds_growth_per_hour_max",
            Kind::Threads => "threads_growth_per_hour_max",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Kind::Rss => "KiB",
            Kind::Fds => "descriptors",
            Kind::Threads => "threads",
        }
    }

    /// Growth in all that is no leak: an allocator that takes another arena, a client that holds a connection.
    fn allowed(self) -> f64 {
        match self {
            Kind::Rss => 1024.0,
            Kind::Fds => 2.0,
            Kind::Threads => 1.0,
        }
    }

    /// A page, or one.
    fn quantum(self) -> f64 {
        match self {
            Kind::Rss => 4.0,
            Kind::Fds | Kind::Threads => 1.0,
        }
    }

    fn value(self, process: &crate::record::Process) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
            Kind::Rss => process.rss_kib as f64,
            Kind::Fds => f64::from(process.fds),
            Kind::Threads => process.threads.values().sum::<u32>().into(),
        }
    }
}

/// The gate of one kind.
#[derive(Debug)]
pub struct Growth {
    kind: Kind,
    max_per_hour: f64,
    warm_up_seconds: f64,
    /// Pid, start, and when it was first seen.
    process: Option<(i32, u64, f64)>,
    series: Series,
    /// Of processes before: the one that says most.
    earlier: Option<(Status, Line)>,
}

impl Growth {
    /// At most `max_per_hour`, beginning `warm_up` after the start of a process.
    pub fn new(kind: Kind, max_per_hour: f64, warm_up: Duration) -> Growth {
        Growth {
            kind,
            max_per_hour,
            warm_up_seconds: warm_up.as_secs_f64(),
            process: None,
            series: Series::new(kind.quantum()),
            earlier: None,
        }
    }

    fn max_over(&self, seconds: f64) -> f64 {
        self.max_per_hour.max(self.kind.allowed() / seconds * 3600.0)
    }

    fn judge(&self, line: &Line) -> Status {
        let max = self.max_over(line.seconds);
        if line.per_hour - line.visible_per_hour > max {
            Status::Fail
        } else if line.per_hour > max || line.visible_per_hour > max {
            Status::CannotJudge
        } else {
            Status::Pass
        }
    }

    /// The process that says most: one that fails, else the longest.
    fn best(&self) -> Option<(Status, Line)> {
        let current = self.series.line().map(|line| (self.judge(&line), line));
        let weight = |(status, line): &(Status, Line)| (*status == Status::Fail, line.seconds);
        [self.earlier, current].into_iter().flatten().max_by(|a, b| {
            weight(a)
                .partial_cmp(&weight(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
    }
}

impl Gate for Growth {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        let Some(process) = &sample.process else { return };
        let now = sample.elapsed_seconds;
        let since = match self.process {
            Some((pid, start_ticks, since)) if (pid, start_ticks) == (process.pid, process.start_ticks) => {
                since
            }
            _ => {
                self.earlier = self.best();
                self.series = Series::new(self.kind.quantum());
                // The first was there before the measured part.
                if self.process.is_some() { now } else { now.min(0.0) }
            }
        };
        self.process = Some((process.pid, process.start_ticks, since));
        if moment.is_warm && now - since >= self.warm_up_seconds {
            self.series.push(now, self.kind.value(process));
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let unit = self.kind.unit();
        let name = self.kind.name();
        let Some((status, line)) = self.best() else {
            return Verdict {
                name,
                status: Status::CannotJudge,
                figure: "unknown".to_owned(),
                threshold: format!("{} {unit} an hour", self.max_per_hour),
                why: format!(
                    "{} samples of one process after the warm-up, expected {POINTS_MIN} at least",
                    self.series.points()
                ),
            };
        };
        let max = self.max_over(line.seconds);
        let threshold = match max > self.max_per_hour {
            true => format!(
                "{} {unit} an hour; over {:.0} s {:.0} (growth of {} in all is no leak)",
                self.max_per_hour,
                line.seconds,
                max,
                self.kind.allowed()
            ),
            false => format!("{max} {unit} an hour"),
        };
        let seen = format!(
            "slope over {:.0} s after the warm-up; the smallest leak that this run could have seen: {:.0} {unit} an hour",
            line.seconds, line.visible_per_hour
        );
        Verdict {
            name,
            status,
            figure: format!("{:+.0} {unit} an hour", line.per_hour),
            threshold,
            why: match status {
                Status::CannotJudge => format!("{seen}, which hides what is allowed"),
                _ => seen,
            },
        }
    }
}
