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
    missing_max: u64,
    double_max: u64,
    /// Missing while an action acted, or just after: it may still come.
    excused: u64,
    last_was_last: bool,
    acted: bool,
}

impl Gate for Reconciled {
    fn sample(&mut self, _: &Sample, _: &Moment) {}

    fn event(&mut self, event: &Event, course: &Course) {
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
        self.acted = course.has_acted;
        // What is double stays double.
        self.double_max = self.double_max.max(*double);
        match !last && course.is_disturbed(event.elapsed_seconds) {
            true => self.excused += u64::from(*missing > 0),
            false => self.missing_max = self.missing_max.max(*missing),
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let (produced, stored, admitted) = self.latest;
        // Rows that the daemon says it gave up are lost all the same, unless an action made it do so.
        let lost = self.missing_max + if self.acted { 0 } else { admitted };
        let mut why = format!(
            "{} reconciliations, the latest of {produced} rows produced and {stored} stored, {admitted} given up by the daemon",
            self.done
        );
        if self.excused > 0 {
            why.push_str(&format!(
                "; {} with rows missing while an action disturbed",
                self.excused
            ));
        }
        let status = if lost > 0 || self.double_max > 0 {
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
            figure: format!("{lost} missing, {} double", self.double_max),
            threshold: "0 missing, 0 double".to_owned(),
            why,
        }
    }
}
