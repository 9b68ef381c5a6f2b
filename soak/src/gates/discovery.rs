//! Every namespace that lasted through a whole interval was polled.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::record::{Event, Sample, What};

/// Names that are shown; the events have all.
const NAMES_MAX: usize = 3;

/// A namespace that is missed so long after the machine gave the daemon no time may have been missed for that: it
/// lived a few seconds, and is asked for two after its end.
const STARVED_SECONDS: f64 = 6.0;

/// Counts them.
#[derive(Debug, Default)]
pub struct Discovery {
    polled: u64,
    missed: u64,
    missed_starved: u64,
    names: Vec<String>,
}

impl Gate for Discovery {
    fn sample(&mut self, _: &Sample, _: &Moment) {}

    fn event(&mut self, event: &Event, course: &Course) {
        let (name, polled) = match &event.what {
            What::LastingNamespacesPolled { count } => {
                self.polled += count;
                return;
            }
            What::LastingNamespace { name, polled } => (name, polled),
            _ => return,
        };
        self.polled += u64::from(*polled);
        match course.was_starved_within(STARVED_SECONDS, event.elapsed_seconds) {
            true => self.missed_starved += u64::from(!*polled),
            false => self.missed += u64::from(!*polled),
        }
        if !polled && self.names.len() < NAMES_MAX {
            self.names
                .push(format!("{name} at {:.0} s", event.elapsed_seconds));
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let missed = self.missed + self.missed_starved;
        let lasting = self.polled + missed;
        Verdict {
            name: "every_lasting_namespace_is_polled",
            status: match (self.missed, self.missed_starved, lasting) {
                (1.., _, _) => Status::Fail,
                (0, 1.., _) | (0, 0, 0) => Status::CannotJudge,
                (0, 0, _) => Status::Pass,
            },
            figure: format!("{missed} of {lasting} not polled"),
            threshold: "0 not polled".to_owned(),
            why: match self.names.is_empty() {
                true if lasting == 0 => "no namespace was seen to last: nothing was proved".to_owned(),
                true => "each held a listener, and each has a row".to_owned(),
                false => format!(
                    "without a row: {}; {} of them when the machine gave no time",
                    self.names.join(", "),
                    self.missed_starved
                ),
            },
        }
    }
}
