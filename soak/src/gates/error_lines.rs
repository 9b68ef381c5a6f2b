//! What the daemon logged at error or above, and no outage explains.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::record::{Event, Sample, Watched, What};

/// Lines that are shown; the log has all.
const LINES_MAX: usize = 3;

/// Counts them.
#[derive(Debug)]
pub struct ErrorLines {
    max: u32,
    /// With a daemon that could have said something.
    samples: u64,
    lines: u32,
    explained: u32,
    shown: Vec<String>,
    is_blind: bool,
}

impl ErrorLines {
    /// At most `max`.
    pub fn new(max: u32) -> ErrorLines {
        ErrorLines {
            max,
            samples: 0,
            lines: 0,
            explained: 0,
            shown: Vec::new(),
            is_blind: false,
        }
    }
}

impl Gate for ErrorLines {
    fn sample(&mut self, sample: &Sample, _: &Moment) {
        self.samples += u64::from(sample.process.is_some());
    }

    fn event(&mut self, event: &Event, course: &Course) {
        match &event.what {
            What::NotWatched {
                what: Watched::Log, ..
            } => self.is_blind = true,
            What::ErrorLine { .. } if course.is_outage(event.elapsed_seconds) => self.explained += 1,
            What::ErrorLine { line } => {
                self.lines += 1;
                if self.shown.len() < LINES_MAX {
                    self.shown.push(line.clone());
                }
            }
            _ => {}
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let mut why = format!(
            "{} more in outages; the daemon holds a place back that speaks more than 5 times a minute",
            self.explained
        );
        if self.is_blind {
            why.push_str("; its log could not be watched");
        }
        if !self.shown.is_empty() {
            why.push_str(&format!("; first: {}", self.shown.join(" | ")));
        }
        Verdict {
            name: "error_lines_max",
            status: match self.lines > self.max {
                true => Status::Fail,
                false if self.is_blind || self.samples == 0 => Status::CannotJudge,
                false => Status::Pass,
            },
            figure: format!("{} lines", self.lines),
            threshold: format!("{} lines", self.max),
            why,
        }
    }
}
