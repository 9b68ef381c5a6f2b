//! Counters never go down, nor away, within an instance.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::{record::Sample, watch::scrape};

/// What a counter's name ends with, up to its labels.
const ENDS: [&str; 4] = ["_total", "_count", "_sum", "_bucket"];
/// Falls that are shown.
const SHOWN_MAX: usize = 3;

/// Compares each scrape with the one before.
#[derive(Debug, Default)]
pub struct Counters {
    before: Option<scrape::Metrics>,
    compared: u64,
    falls: u64,
    shown: Vec<String>,
}

impl Gate for Counters {
    fn sample(&mut self, sample: &Sample, _: &Moment) {
        let Some(now) = &sample.metrics else { return };
        if let Some(before) = &self.before
            && scrape::instance_id(before).is_some()
            && scrape::instance_id(before) == scrape::instance_id(now)
        {
            self.compared += 1;
            for (key, earlier) in before.iter().filter(|(key, _)| is_counter(key)) {
                let later = now.get(key);
                if later.is_some_and(|later| later >= earlier) {
                    continue;
                }
                self.falls += 1;
                if self.shown.len() < SHOWN_MAX {
                    let later = later.map_or("nothing".to_owned(), f64::to_string);
                    let at = sample.elapsed_seconds;
                    self.shown
                        .push(format!("{key} from {earlier} to {later} at {at:.0} s"));
                }
            }
        }
        self.before = Some(now.clone());
    }

    fn verdict(&self, _: &Course) -> Verdict {
        Verdict {
            name: "counters_only_grow",
            status: match (self.falls, self.compared) {
                (1.., _) => Status::Fail,
                (0, 0) => Status::CannotJudge,
                (0, _) => Status::Pass,
            },
            figure: format!("{} falls", self.falls),
            threshold: "0 falls".to_owned(),
            why: match self.shown.is_empty() {
                true => format!("{} pairs of scrapes of one instance were compared", self.compared),
                false => self.shown.join(", "),
            },
        }
    }
}

fn is_counter(key: &str) -> bool {
    let name = key.split('{').next().unwrap_or(key);
    ENDS.iter().any(|end| name.ends_with(end))
}
