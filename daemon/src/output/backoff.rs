//! How long to wait before the next attempt.

use std::time::Duration;

/// The first wait: short, for a receiver that is merely restarted.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// No wait is longer: a receiver that is back is found within half a minute.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Doublings after which `WAIT_MAX` is reached for certain.
const DOUBLINGS_MAX: u32 = 9;
const _: () = assert!(WAIT_MIN.as_millis() << DOUBLINGS_MAX >= WAIT_MAX.as_millis());

/// Exponential waits, jittered, so that a fleet does not come back in step.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
    random: u64,
}

impl Backoff {
    /// Nothing has failed yet; `seed` is of the jitter.
    pub fn new(seed: u64) -> Backoff {
        Backoff {
            attempts: 0,
            // xorshift stays at 0 for ever if it starts there.
            random: seed.max(1),
        }
    }

    /// The wait before the next attempt: from half of to the whole exponential step.
    pub fn next_wait(&mut self) -> Duration {
        let step = (WAIT_MIN * (1 << self.attempts)).min(WAIT_MAX);
        self.attempts = (self.attempts + 1).min(DOUBLINGS_MAX);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half_nanos = u64::try_from(step.as_nanos() / 2).unwrap_or(u64::MAX);
        step / 2 + Duration::from_nanos(self.random % half_nanos.max(1))
    }

    /// Whether nothing has failed since the last success: what is logged once per outage asks this.
    pub fn is_reset(&self) -> bool {
        self.attempts == 0
    }

    /// Something went through: the next failure starts at the shortest wait again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_start_again() {
        for seed in [0, 1, 42, u64::MAX] {
            let mut backoff = Backoff::new(seed);
            for attempt in 0..40 {
                let step = (WAIT_MIN * (1 << attempt.min(20))).min(WAIT_MAX);
                let wait = backoff.next_wait();
                assert!(wait >= step / 2 && wait <= step, "attempt {attempt}: {wait:?}");
            }
            backoff.reset();
            assert!(backoff.next_wait() <= WAIT_MIN);
        }
    }
}
