//! The course of a run, as gates need to know it: how far apart samples are, whether the machine left the
//! daemon and the runner room to be judged, what actions of the scenario excuse.

use crate::record::{Sample, What};
use std::{collections::BTreeSet, time::Duration};

/// Samples are taken each second. One that comes later than this came late: the runner itself had no
/// processor, or the guest stood still.
pub const GAP_SECONDS_MAX: f64 = 3.0;
/// Processor time that the hypervisor gave to others.
const STEAL_PERCENT_MAX: f64 = 10.0;
/// Share of the time in which the daemon could have run and had no processor.
const WAIT_SHARE_MAX: f64 = 0.2;
/// A time slice or two of somebody else are no starvation, however short the interval.
const WAIT_SECONDS_MIN: f64 = 0.05;
/// Where the kernel does not count that wait.
const PRESSURE_PERCENT_MAX: f64 = 80.0;
/// After an action has healed, its consequences (a backlog, lines about it) may go on for as long.
pub const GRACE: Duration = Duration::from_secs(30);

/// What one sample is like.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// As the sample has it.
    pub elapsed_seconds: f64,
    /// Since the sample before; 0 for the first.
    pub interval_seconds: f64,
    /// The warm-up is over.
    pub is_warm: bool,
    /// Something else than the daemon explains that it was slow in this interval.
    pub is_starved: bool,
}

/// Follows a run.
#[derive(Debug)]
pub struct Course {
    warm_up: f64,
    before: Option<Before>,
    /// Samples; those that came late; intervals in which the machine was starved.
    pub samples: u64,
    /// Intervals longer than [`GAP_SECONDS_MAX`], and their time.
    pub late: u64,
    late_seconds: f64,
    /// The longest time without a sample.
    pub gap_seconds: f64,
    /// Intervals in which the daemon was kept from running.
    pub starved: u64,
    starved_until: f64,
    /// Weighted by time.
    steal_percent_seconds: f64,
    /// Of all intervals.
    pub seconds: f64,
    /// What has been broken and not been healed.
    outages: BTreeSet<String>,
    outage_until: f64,
}

#[derive(Debug)]
struct Before {
    elapsed_seconds: f64,
    /// Pid, start, and what it had waited.
    run_delay: Option<(i32, u64, f64)>,
}

impl Course {
    /// Nothing seen yet.
    pub fn new(warm_up: Duration) -> Course {
        Course {
            warm_up: warm_up.as_secs_f64(),
            before: None,
            samples: 0,
            late: 0,
            late_seconds: 0.0,
            gap_seconds: 0.0,
            starved: 0,
            starved_until: f64::NEG_INFINITY,
            steal_percent_seconds: 0.0,
            seconds: 0.0,
            outages: BTreeSet::new(),
            outage_until: f64::NEG_INFINITY,
        }
    }

    /// Takes a sample in.
    pub fn sample(&mut self, sample: &Sample) -> Moment {
        let elapsed_seconds = sample.elapsed_seconds;
        let interval_seconds = self
            .before
            .as_ref()
            .map_or(0.0, |before| (elapsed_seconds - before.elapsed_seconds).max(0.0));
        let run_delay = sample
            .process
            .as_ref()
            .and_then(|process| Some((process.pid, process.start_ticks, process.run_delay_seconds?)));
        let waited = match (
            self.before.as_ref().and_then(|before| before.run_delay),
            run_delay,
        ) {
            (Some(before), Some(now)) if (before.0, before.1) == (now.0, now.1) => Some(now.2 - before.2),
            _ => None,
        };
        let is_late = interval_seconds > GAP_SECONDS_MAX;
        let had_to_wait = match waited {
            Some(waited) => waited >= WAIT_SECONDS_MIN && waited >= interval_seconds * WAIT_SHARE_MAX,
            None => sample
                .machine
                .cpu_pressure_percent
                .is_some_and(|some| some > PRESSURE_PERCENT_MAX),
        };
        let is_starved = is_late || had_to_wait || sample.machine.steal_percent > STEAL_PERCENT_MAX;
        self.samples += 1;
        self.late += u64::from(is_late);
        if is_late {
            self.late_seconds += interval_seconds;
        }
        self.gap_seconds = self.gap_seconds.max(interval_seconds);
        if is_starved {
            self.starved_until = elapsed_seconds;
        }
        self.starved += u64::from(is_starved);
        self.seconds += interval_seconds;
        self.steal_percent_seconds += sample.machine.steal_percent * interval_seconds;
        self.before = Some(Before {
            elapsed_seconds,
            run_delay,
        });
        Moment {
            elapsed_seconds,
            interval_seconds,
            is_warm: elapsed_seconds >= self.warm_up,
            is_starved,
        }
    }

    /// Takes in what happened.
    pub fn event(&mut self, elapsed_seconds: f64, what: &What) {
        let What::Action { name, done } = what else { return };
        if let Some(outages) = healed_by(name) {
            self.outage_until = elapsed_seconds + GRACE.as_secs_f64();
            if *done {
                self.outages.retain(|outage| !outages.contains(&outage.as_str()));
            }
        } else if is_outage(name) {
            self.outages.insert(name.clone());
        }
    }

    /// Whether something around the daemon is broken at this time, or was a moment ago: it may complain.
    pub fn is_outage(&self, elapsed_seconds: f64) -> bool {
        !self.outages.is_empty() || elapsed_seconds <= self.outage_until
    }

    /// Mean over the run.
    pub fn steal_percent(&self) -> f64 {
        self.steal_percent_seconds / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Of the intervals.
    pub fn starved_percent(&self) -> f64 {
        percent(self.starved, self.samples)
    }

    /// Of the time: what no sample saw.
    pub fn late_percent(&self) -> f64 {
        self.late_seconds * 100.0 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Whether the machine kept the daemon from running within the last so many seconds.
    pub fn was_starved_within(&self, seconds: f64, elapsed_seconds: f64) -> bool {
        elapsed_seconds - self.starved_until <= seconds
    }
}

/// Actions that break something around the daemon, until another one heals it.
fn is_outage(name: &str) -> bool {
    ["start-kafka", "start-clickhouse", "start-feeder", "empty-disk"]
        .iter()
        .any(|healer| healed_by(healer).is_some_and(|breaks| breaks.contains(&name)))
}

/// What an action heals.
fn healed_by(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "start-kafka" => Some(&["stop-kafka", "kill-kafka", "freeze-kafka"]),
        "start-clickhouse" => Some(&["kill-clickhouse"]),
        "start-feeder" => Some(&["kill-feeder"]),
        "empty-disk" => Some(&["fill-disk"]),
        _ => None,
    }
}

/// A part of a whole.
#[expect(clippy::cast_precision_loss, reason = "counts of a run")]
pub fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(name: &str, done: bool) -> What {
        What::Action {
            name: name.into(),
            done,
        }
    }

    #[test]
    fn an_outage_lasts_until_it_is_healed_and_a_while_longer() {
        let mut course = Course::new(Duration::ZERO);
        let later = GRACE.as_secs_f64() + 1.0;
        assert!(!course.is_outage(0.0));
        course.event(10.0, &action("kill-kafka", false));
        course.event(11.0, &action("kill-kafka", true));
        assert!(course.is_outage(1000.0), "nobody has started it again");
        course.event(1000.0, &action("start-kafka", false));
        course.event(1001.0, &action("start-kafka", true));
        assert!(course.is_outage(1002.0));
        assert!(!course.is_outage(1001.0 + later));
    }

    #[test]
    fn what_is_done_to_the_daemon_is_no_excuse_for_errors() {
        let mut course = Course::new(Duration::ZERO);
        for name in [
            "reload-daemon",
            "restart-daemon",
            "kill-daemon",
            "drop-next-capability",
        ] {
            course.event(1.0, &action(name, false));
            course.event(2.0, &action(name, true));
            assert!(!course.is_outage(2.0), "{name}");
        }
    }

    #[test]
    fn a_machine_that_gives_no_time_is_told_from_a_slow_daemon() {
        let mut course = Course::new(Duration::from_secs(1));
        let sample = |elapsed_seconds, waited, steal_percent| {
            let mut sample = Sample {
                elapsed_seconds,
                ..Sample::default()
            };
            sample.machine.steal_percent = steal_percent;
            sample.process = Some(crate::record::Process {
                run_delay_seconds: Some(waited),
                ..Default::default()
            });
            sample
        };
        let mut is_starved =
            |elapsed, waited, steal| course.sample(&sample(elapsed, waited, steal)).is_starved;
        assert!(!is_starved(0.0, 5.0, 0.0), "what was before does not count");
        assert!(!is_starved(1.0, 5.1, 0.0));
        assert!(is_starved(2.0, 5.4, 0.0), "0.3 s of 1 s");
        assert!(is_starved(3.0, 5.4, 50.0));
        assert!(is_starved(6.5, 5.4, 0.0), "3.5 s without a sample");
        assert_eq!((course.late, course.starved), (1, 3));
    }
}
