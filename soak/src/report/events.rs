//! Events for people: the first and the last of them, and how many there were.

use crate::record::{Event, What};
use std::collections::VecDeque;

/// Shown from the start, and as many from the end: what went wrong first, and how it ended.
const SHOWN_EACH_MAX: usize = 50;
/// Lines on a plot.
const MARKERS_MAX: usize = 400;
/// Of a line of somebody's log.
const LINE_CHARS_MAX: usize = 300;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it should be.
    Plain,
    /// What the runner did.
    Action,
    /// Not announced by any action, or an error.
    Bad,
}

/// One line of the list.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the start of the measured part.
    pub seconds: f64,
    /// How bad.
    pub kind: Kind,
    /// What.
    pub text: String,
}

/// A vertical line on each plot.
#[derive(Clone, Copy, Debug)]
pub struct Marker {
    /// Since the start of the measured part.
    pub seconds: f64,
    /// Whose colour it has.
    pub kind: Kind,
}

/// All that is worth a line.
#[derive(Debug, Default)]
pub struct Events {
    /// How many there were.
    pub total: u64,
    /// Ends that no action announced.
    pub unannounced_ends: u64,
    /// Log lines at error or above.
    pub error_lines: u64,
    /// Actions begun.
    pub actions: u64,
    /// On the plots.
    pub markers: Vec<Marker>,
    first: Vec<Line>,
    last: VecDeque<Line>,
}

impl Events {
    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        let seconds = event.elapsed_seconds;
        match &event.what {
            What::DaemonEnded { announced: false, .. } => self.unannounced_ends += 1,
            What::ErrorLine { .. } => self.error_lines += 1,
            What::Action { done: false, .. } => self.actions += 1,
            _ => {}
        }
        let Some((kind, text)) = describe(&event.what) else {
            return;
        };
        let marked = match &event.what {
            What::Action { done, .. } => !done,
            What::DaemonEnded { announced, .. } | What::Instance { announced, .. } => !announced,
            What::KernelLine { .. } => true,
            _ => false,
        };
        if marked && self.markers.len() < MARKERS_MAX {
            self.markers.push(Marker { seconds, kind });
        }
        self.total += 1;
        let line = Line { seconds, kind, text };
        if self.first.len() < SHOWN_EACH_MAX {
            self.first.push(line);
            return;
        }
        if self.last.len() == SHOWN_EACH_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The first ones; how many are left out; the last ones.
    pub fn shown(&self) -> (&[Line], u64, impl Iterator<Item = &Line>) {
        let shown = self.first.len() + self.last.len();
        let left_out = self.total.saturating_sub(shown as u64);
        (&self.first, left_out, self.last.iter())
    }
}

/// `None` for what is as it should be and comes all the time.
fn describe(what: &What) -> Option<(Kind, String)> {
    let by = |announced: bool| {
        if announced {
            "as announced"
        } else {
            "NOT announced"
        }
    };
    let kind = |good: bool| if good { Kind::Plain } else { Kind::Bad };
    Some(match what {
        What::DaemonStarted { pid, announced, .. } => (
            kind(*announced),
            format!("daemon started, pid {pid}, {}", by(*announced)),
        ),
        What::DaemonEnded {
            pid,
            code,
            signal,
            announced,
        } => {
            let how = match (code, signal) {
                (_, Some(signal)) => format!("by signal {signal}"),
                (Some(code), None) => format!("with status {code}"),
                (None, None) => "nobody knows how".to_owned(),
            };
            let text = format!("daemon ended {how}, pid {pid}, {}", by(*announced));
            (kind(*announced), text)
        }
        What::Instance {
            instance_id,
            announced,
        } => (
            kind(*announced),
            format!(
                "another instance answers: {}, {}",
                cut(instance_id),
                by(*announced)
            ),
        ),
        What::ErrorLine { line } => (Kind::Bad, format!("logged: {}", cut(line))),
        What::KernelLine { line } => (Kind::Bad, format!("kernel: {}", cut(line))),
        What::NotWatched { what, why } => (Kind::Bad, format!("not watched: {what:?}: {}", cut(why))),
        What::Restarts { count } => (Kind::Bad, format!("systemd counts {count} restarts")),
        What::Action { name, done } => {
            let text = format!("{}{}", cut(name), if *done { ": done" } else { "" });
            (Kind::Action, text)
        }
        What::LastingNamespace { polled: true, .. }
        | What::LastingNamespacesPolled { .. }
        | What::Poll { .. } => return None,
        What::BrokeOff { why } => (Kind::Bad, format!("the run broke off: {}", cut(why))),
        What::LastingNamespace { name, polled: false } => (
            Kind::Bad,
            format!("namespace {} lived long enough and has no row", cut(name)),
        ),
        What::Reconciled {
            produced,
            stored,
            missing,
            admitted,
            double,
            last,
        } => {
            let good = *missing == 0 && *double == 0;
            let which = if *last {
                "last reconciliation"
            } else {
                "reconciliation"
            };
            // Rows on their way are missing in between: only the last one has to be complete.
            let kind = if good {
                Kind::Plain
            } else if *last || *double > 0 {
                Kind::Bad
            } else {
                Kind::Plain
            };
            let text = format!(
                "{which}: {produced} rows produced, {stored} stored, {missing} missing ({admitted} admitted), {double} \
                 double"
            );
            (kind, text)
        }
    })
}

/// Foreign text, as much of it as one wants to read.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LINE_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
