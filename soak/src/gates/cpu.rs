//! Processor time of the daemon.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::record::Sample;

/// Less is too little: a single poll more or less moves the figure.
const SECONDS_MIN: f64 = 10.0;

/// Mean over all that was seen after the warm-up.
#[derive(Debug)]
pub struct Cpu {
    max_percent: f64,
    before: Option<(i32, u64, f64, f64)>,
    cpu_seconds: f64,
    seconds: f64,
}

impl Cpu {
    /// At most `max_percent` of one processor.
    pub fn new(max_percent: f64) -> Cpu {
        Cpu {
            max_percent,
            before: None,
            cpu_seconds: 0.0,
            seconds: 0.0,
        }
    }
}

impl Gate for Cpu {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        let now = sample.process.as_ref().map(|process| {
            (
                process.pid,
                process.start_ticks,
                sample.elapsed_seconds,
                process.cpu_seconds,
            )
        });
        if let (Some(before), Some(now)) = (self.before, now)
            && (before.0, before.1) == (now.0, now.1)
            && moment.is_warm
        {
            self.seconds += now.2 - before.2;
            self.cpu_seconds += now.3 - before.3;
        }
        self.before = now;
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let percent = self.cpu_seconds * 100.0 / self.seconds.max(f64::MIN_POSITIVE);
        Verdict {
            name: "cpu_percent_max",
            status: match (self.seconds < SECONDS_MIN, percent > self.max_percent) {
                (true, _) => Status::CannotJudge,
                (false, true) => Status::Fail,
                (false, false) => Status::Pass,
            },
            figure: format!("{percent:.2} % of a processor"),
            threshold: format!("{} %", self.max_percent),
            why: format!(
                "{:.2} s of processor time in {:.0} s after the warm-up, {SECONDS_MIN} s at least are needed",
                self.cpu_seconds, self.seconds
            ),
        }
    }
}
