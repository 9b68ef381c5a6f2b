//! Every namespace that lasted through a whole interval was polled.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::record::{Event, Sample, What};

/// Names that are shown; the events have all.
const NAMES_MAX: usize = 3;

/// Counts them.
#[derive(Debug, Default)]
pub struct Discovery {
    polled: u64,
    missed: u64,
    names: Vec<String>,
}

impl Gate for Discovery {
    fn sample(&mut self, _: &Sample, _: &Moment) {}

    fn event(&mut self, event: &Event, _: &Course) {
        let What::LastingNamespace { name, polled } = &event.what else {
            return;
        };
        self.polled += u64::from(*polled);
        self.missed += u64::from(!*polled);
        if !polled && self.names.len() < NAMES_MAX {
            self.names
                .push(format!("{name} at {:.0} s", event.elapsed_seconds));
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let lasting = self.polled + self.missed;
        Verdict {
            name: "every_lasting_namespace_is_polled",
            status: match (self.missed, lasting) {
                (1.., _) => Status::Fail,
                (0, 0) => Status::CannotJudge,
                (0, _) => Status::Pass,
            },
            figure: format!("{} of {lasting} not polled", self.missed),
            threshold: "0 not polled".to_owned(),
            why: match self.names.is_empty() {
                true if lasting == 0 => "no namespace was seen to last: nothing was proved".to_owned(),
                true => "each held a listener, and each has a row".to_owned(),
                false => format!("without a row: {}", self.names.join(", ")),
            },
        }
    }
}
