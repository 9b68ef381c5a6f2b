//! Nothing missing, nothing double.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::record::{Event, Sample, What};

/// Follows the reconciliations.
#[derive(Debug, Default)]
pub struct Reconciled {
    done: u64,
    /// Produced, stored and admitted, of the latest.
    latest: (u64, u64, u64),
    /// At the last one: rows that the daemon gave up are among them.
    missing: u64,
    double_max: u64,
    /// Those in between with rows missing: they may still have come.
    incomplete: u64,
    last_was_last: bool,
}

impl Gate for Reconciled {
    fn sample(&mut self, _: &Sample, _: &Moment) {}

    fn event(&mut self, event: &Event, _: &Course) {
        let What::Reconciled {
            produced,
            stored,
            missing,
            admitted,
            double,
            last,
        } = &event.what
        else {
            return;
        };
        self.done += 1;
        self.latest = (*produced, *stored, *admitted);
        self.last_was_last = *last;
        // What is double stays double.
        self.double_max = self.double_max.max(*double);
        match last {
            true => self.missing = self.missing.max(*missing),
            false => self.incomplete += u64::from(*missing > 0),
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let (produced, stored, admitted) = self.latest;
        let mut why = format!(
            "{} reconciliations, the latest of {produced} rows produced and {stored} stored, {admitted} given up by the daemon",
            self.done
        );
        if self.incomplete > 0 {
            why.push_str(&format!("; {} in between had rows on their way", self.incomplete));
        }
        let status = if self.missing > 0 || self.double_max > 0 {
            Status::Fail
        } else if self.done == 0 || !self.last_was_last {
            why.push_str("; none after everything had come to rest");
            Status::CannotJudge
        } else if produced == 0 {
            why.push_str("; no row was produced, so none could be missing");
            Status::CannotJudge
        } else {
            Status::Pass
        };
        Verdict {
            name: "reconciled",
            status,
            figure: format!("{} missing, {} double", self.missing, self.double_max),
            threshold: "0 missing, 0 double".to_owned(),
            why,
        }
    }
}
