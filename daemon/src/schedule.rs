//! When the next poll starts.

use std::time::{Duration, Instant};

/// A small generator of random numbers (xorshift64*), for jitter only.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Any seed will do.
    pub fn new(seed: u64) -> Jitter {
        Jitter(seed | 1)
    }

    /// Uniform in -1.0 to 1.0.
    pub fn signed_unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40;
        // 24 bits: exact in a float.
        f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(1 << 23) - 1.0
    }
}

/// The poll schedule: a steady grid from the first poll, each start moved by its own jitter so that
/// a fleet that was started at one time does not poll at one time.
#[derive(Debug)]
pub struct Schedule {
    frequency: Duration,
    jitter_percent: u32,
    jitter: Jitter,
    grid: Instant,
    due: Instant,
    late: u64,
    /// The start that is due was counted as late already.
    late_counted: bool,
}

impl Schedule {
    /// The first poll is due at once.
    pub fn new(frequency: Duration, jitter_percent: u32, seed: u64, now: Instant) -> Schedule {
        Schedule {
            frequency,
            jitter_percent,
            jitter: Jitter::new(seed),
            grid: now,
            due: now,
            late: 0,
            late_counted: false,
        }
    }

    /// Other settings, from the next start on. That is never further away than the new frequency:
    /// who goes from an hour to a second does not wait an hour.
    pub fn set(&mut self, frequency: Duration, jitter_percent: u32, now: Instant) {
        if self.due > now + frequency {
            self.grid = now + frequency;
            self.due = self.grid;
        }
        self.frequency = frequency;
        self.jitter_percent = jitter_percent;
    }

    /// When the next poll starts.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Polls that started late because the one before was still running.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// When the next poll is to be counted as late, should the one before still run then.
    pub fn missed_due(&self) -> Option<Instant> {
        (!self.late_counted).then_some(self.due)
    }

    /// A poll starts now. Starts that were missed are not made up for.
    pub fn started(&mut self, now: Instant) {
        self.late_counted = false;
        self.grid += self.frequency;
        if self.grid <= now {
            // Missed by a whole round: a new grid.
            self.grid = now + self.frequency;
        }
        let share = f64::from(self.jitter_percent.min(100)) / 100.0 / 2.0;
        // Half the percentage to either side, so that two starts are never further from
        // `frequency` apart than the percentage.
        let shift = self.jitter.signed_unit() * share * self.frequency.as_secs_f64();
        let moved = match shift >= 0.0 {
            true => self.grid.checked_add(Duration::from_secs_f64(shift)),
            false => self.grid.checked_sub(Duration::from_secs_f64(-shift)),
        };
        self.due = moved.unwrap_or(self.grid).max(now);
    }

    /// The poll that was due could not start since the one before is still running.
    pub fn missed(&mut self) {
        self.late += 1;
        self.late_counted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_jitter_the_grid_is_kept_whatever_a_start_was_late() {
        let start = Instant::now();
        let mut schedule = Schedule::new(SECOND, 0, 1, start);
        assert_eq!(schedule.due(), start);
        schedule.started(start + Duration::from_millis(3));
        assert_eq!(schedule.due(), start + SECOND);
        schedule.started(start + SECOND + Duration::from_millis(700));
        assert_eq!(schedule.due(), start + 2 * SECOND);
        schedule.started(start + 5 * SECOND);
        assert_eq!(
            schedule.due(),
            start + 6 * SECOND,
            "missed starts are not made up for"
        );
    }

    #[test]
    fn a_higher_frequency_does_not_wait_for_the_start_planned_before() {
        let start = Instant::now();
        let mut schedule = Schedule::new(3600 * SECOND, 0, 1, start);
        schedule.started(start);
        let now = start + 5 * SECOND;
        schedule.set(SECOND, 0, now);
        assert_eq!(schedule.due(), now + SECOND);
        schedule.started(now + SECOND);
        assert_eq!(schedule.due(), now + 2 * SECOND);
        schedule.set(60 * SECOND, 0, now + SECOND);
        assert_eq!(schedule.due(), now + 2 * SECOND, "a start that is near stays");
    }

    #[test]
    fn jitter_stays_within_its_percentage_and_keeps_the_mean() {
        let start = Instant::now();
        let mut schedule = Schedule::new(SECOND, 20, 42, start);
        let mut last = start;
        let mut spread = (f64::MAX, f64::MIN);
        for _ in 0..10_000 {
            schedule.started(schedule.due());
            let interval = schedule.due().duration_since(last).as_secs_f64();
            spread = (spread.0.min(interval), spread.1.max(interval));
            last = schedule.due();
        }
        assert!(
            spread.0 >= 0.8 && spread.1 <= 1.2 && spread.1 - spread.0 > 0.3,
            "{spread:?}"
        );
        let mean = last.duration_since(start).as_secs_f64() / 10_000.0;
        assert!((mean - 1.0).abs() < 0.001, "{mean}");
    }
}
