//! The load really happened: a soak whose load died proves nothing, and fails.

use super::{
    Gate, Status, Verdict,
    course::{Course, Moment},
};
use crate::{
    record::{self, Sample},
    scenario,
};

/// Each such while has to have half of what is asked over the whole run: a load that died near the end of a
/// long one is a small share of it.
const WINDOW_SECONDS: f64 = 30.0;
/// Less is no load.
const SECONDS_MIN: f64 = 3.0;

/// Something that loads say of themselves, and how much of it the scenario asks for.
#[derive(Debug)]
struct Quantity {
    name: &'static str,
    /// A level, or each second.
    expected: f64,
    is_rate: bool,
    read: fn(&record::Load) -> u64,
    before: u64,
    /// Weighted by time; that of the window under way, too.
    sum: f64,
    window_sum: f64,
    window_worst: Option<f64>,
}

/// Compares them.
#[derive(Debug)]
pub struct Load {
    min_percent: f64,
    quantities: Vec<Quantity>,
    seconds: f64,
    window_seconds: f64,
    errors: u64,
    died_at: Option<f64>,
}

impl Load {
    /// At least `min_percent` of each thing that the loads are to do.
    pub fn new(min_percent: f64, loads: &[scenario::Load]) -> Load {
        Load {
            min_percent,
            quantities: quantities(loads),
            seconds: 0.0,
            window_seconds: 0.0,
            errors: 0,
            died_at: None,
        }
    }
}

/// What the loads are to do, summed over them.
#[expect(clippy::cast_precision_loss, reason = "loads are small numbers")]
fn quantities(loads: &[scenario::Load]) -> Vec<Quantity> {
    let (mut namespaces, mut sockets, mut containers) = (0.0, 0.0, 0.0);
    let (mut events, mut bytes, mut connections, mut restarts) = (0.0, 0.0, 0.0, 0.0);
    for load in loads {
        match load {
            scenario::Load::Sockets {
                namespaces: population,
                sockets: each,
                bytes_per_second,
                ..
            } => {
                namespaces += f64::from(*population);
                sockets += f64::from(*population) * f64::from(*each);
                bytes += f64::from(*population) * f64::from(each / 2) * *bytes_per_second as f64;
            }
            scenario::Load::Churn {
                events_per_second,
                namespaces: population,
                sockets: each,
            } => {
                events += events_per_second;
                namespaces += f64::from(*population);
                sockets += f64::from(*population) * f64::from(*each);
            }
            scenario::Load::Containers {
                containers: count,
                sockets: each,
                restarts_per_minute,
            } => {
                containers += f64::from(*count);
                sockets += f64::from(*count) * f64::from(*each);
                restarts += restarts_per_minute / 60.0;
            }
            scenario::Load::Short {
                connections_per_second,
                ..
            } => connections += connections_per_second,
        }
    }
    let quantity = |name, expected, is_rate, read| Quantity {
        name,
        expected,
        is_rate,
        read,
        before: 0,
        sum: 0.0,
        window_sum: 0.0,
        window_worst: None,
    };
    let mut all = vec![
        quantity("namespaces", namespaces, false, |load| load.namespaces),
        quantity("sockets", sockets, false, |load| load.sockets),
        quantity("containers", containers, false, |load| load.containers),
        quantity("namespace events", events, true, |load| {
            load.namespaces_created + load.namespaces_deleted
        }),
        quantity("bytes", bytes, true, |load| load.bytes),
        quantity("short connections", connections, true, |load| load.connections),
        quantity("container restarts", restarts, true, |load| {
            load.containers_restarted
        }),
    ];
    all.retain(|quantity| quantity.expected > 0.0);
    all
}

impl Quantity {
    /// What was there of what is asked, times the seconds. A rate that comes in bursts makes up for itself.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run")]
    fn add(&mut self, load: &record::Load, seconds: f64, counts: bool) {
        let now = (self.read)(load);
        let part = match self.is_rate {
            // A load that was started anew counts from 0.
            true => now.checked_sub(self.before).unwrap_or(now) as f64 / self.expected,
            false => (now as f64 / self.expected).min(1.0) * seconds,
        };
        self.before = now;
        if counts {
            self.sum += part;
            self.window_sum += part;
        }
    }
}

impl Gate for Load {
    fn sample(&mut self, sample: &Sample, moment: &Moment) {
        self.errors = self.errors.max(sample.load.errors);
        if sample.load.dead && self.died_at.is_none() {
            self.died_at = Some(sample.elapsed_seconds);
        }
        let seconds = moment.interval_seconds;
        for quantity in &mut self.quantities {
            quantity.add(&sample.load, seconds, moment.is_warm);
        }
        if !moment.is_warm {
            return;
        }
        self.seconds += seconds;
        self.window_seconds += seconds;
        if self.window_seconds >= WINDOW_SECONDS {
            for quantity in &mut self.quantities {
                let part = quantity.window_sum / self.window_seconds;
                quantity.window_worst = Some(quantity.window_worst.map_or(part, |worst| worst.min(part)));
                quantity.window_sum = 0.0;
            }
            self.window_seconds = 0.0;
        }
    }

    fn verdict(&self, _: &Course) -> Verdict {
        let seconds = self.seconds.max(f64::MIN_POSITIVE);
        let parts: Vec<(&str, f64, Option<f64>)> = self
            .quantities
            .iter()
            .map(|quantity| {
                let worst = quantity.window_worst.map(|worst| worst * 100.0);
                (quantity.name, quantity.sum * 100.0 / seconds, worst)
            })
            .collect();
        let least = parts.iter().map(|part| part.1).fold(f64::INFINITY, f64::min);
        let is_short = |part: &(&str, f64, Option<f64>)| {
            part.1 < self.min_percent || part.2.is_some_and(|worst| worst < self.min_percent / 2.0)
        };
        let mut why: Vec<String> = parts
            .iter()
            .map(|(name, part, worst)| match worst {
                Some(worst) => format!("{name} {part:.0} % (worst {WINDOW_SECONDS} s: {worst:.0} %)"),
                None => format!("{name} {part:.0} %"),
            })
            .collect();
        if let Some(at) = self.died_at {
            why.push(format!("a load died, or fell silent, at {at:.0} s"));
        }
        why.push(format!("{} errors of loads", self.errors));
        let status = if self.died_at.is_some() {
            Status::Fail
        } else if self.quantities.is_empty() {
            why.push("the scenario asks for no load".to_owned());
            Status::CannotJudge
        } else if self.seconds < SECONDS_MIN {
            why.push(format!("{:.0} s after the warm-up are too short", self.seconds));
            Status::CannotJudge
        } else if parts.iter().any(is_short) {
            Status::Fail
        } else {
            Status::Pass
        };
        Verdict {
            name: "load_percent_min",
            status,
            figure: match self.quantities.is_empty() {
                true => "unknown".to_owned(),
                false => format!("{least:.0} % of the load"),
            },
            threshold: format!("{} %", self.min_percent),
            why: why.join(", "),
        }
    }
}
