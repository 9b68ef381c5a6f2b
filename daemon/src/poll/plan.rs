//! How a namespace is read in this poll: not at all, by asking for the sockets known, or by walking
//! the kernel's table, whichever is cheaper in expectation. Decides only; others act.
//!
//! A walk goes through the one hash table of the whole machine, whatever small part of it is the
//! namespace's: its cost has nothing to do with the namespace. Look-ups cost what its sockets cost.

use super::known::Namespace;
use crate::namespaces::Counts;
use std::time::{Duration, Instant};

/// How a namespace is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The kernel counts no TCP socket in it.
    Skip,
    /// Ask for each known socket; walk after all if the kernel counts more than answer.
    LookUp,
    /// Dump.
    Walk,
}

/// Weight of the newest measurement in a mean: about the last eight count.
const NEWEST_WEIGHT: f64 = 0.125;
/// Before anything is known of a namespace, look-ups are as likely to do as not.
const SUFFICED_AT_FIRST: f64 = 0.5;
/// What a look-up costs before one was measured: 2.7 microseconds here (docs/performance.md).
const LOOK_UP_COST_AT_FIRST: Duration = Duration::from_nanos(2_700);
/// What reading a namespace without any look-up costs: the dump of its listeners.
const LISTENERS_COST: Duration = Duration::from_micros(50);

/// A mean that follows.
#[derive(Clone, Copy, Debug)]
struct Mean(f64);

impl Mean {
    fn add(&mut self, value: f64) {
        self.0 += (value - self.0) * NEWEST_WEIGHT;
    }
}

/// What was learned of one namespace.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// When it is walked at the latest.
    walk_due: Instant,
    /// CPU time of a walk here, seconds.
    walk_cost: Mean,
    /// How often look-ups were enough, or would have been: when the kernel had counted no new
    /// connection, and when it had.
    sufficed: [Mean; 2],
}

/// What was learned of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// CPU time of one look-up, seconds.
    look_up: Mean,
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            look_up: Mean(LOOK_UP_COST_AT_FIRST.as_secs_f64()),
        }
    }
}

impl Costs {
    /// `count` look-ups took so much CPU time.
    pub fn looked_up(&mut self, count: u64, cpu: Duration) {
        if count > 0 {
            #[expect(clippy::cast_precision_loss, reason = "no namespace has 2^53 sockets")]
            let each = cpu.saturating_sub(LISTENERS_COST).as_secs_f64() / count as f64;
            self.look_up.add(each);
        }
    }
}

/// Share of `walk_every`, 0 to 1, from a cookie: what was walked in one poll, the first, is not to
/// be walked again in one poll.
fn spread(cookie: u64) -> f64 {
    let mixed = cookie.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    f64::from(u32::try_from(mixed).unwrap_or(0)) / f64::from(1 << 24)
}

impl History {
    /// After the first walk of a namespace.
    pub fn new(cookie: u64, walk_cost: Duration, walk_every: Duration, now: Instant) -> History {
        History {
            walk_due: now + walk_every.mul_f64(spread(cookie)),
            walk_cost: Mean(walk_cost.as_secs_f64()),
            sufficed: [Mean(1.0), Mean(SUFFICED_AT_FIRST)],
        }
    }

    /// After another walk.
    pub fn walked(&mut self, cost: Duration, walk_every: Duration, now: Instant) {
        self.walk_cost.add(cost.as_secs_f64());
        self.walk_due = now + walk_every;
    }

    /// Look-ups were enough, or would have been, or not.
    pub fn learn(&mut self, opened: bool, sufficed: bool) {
        self.sufficed[usize::from(opened)].add(f64::from(u8::from(sufficed)));
    }
}

/// Whether connections were opened since the namespace was read last, as far as the kernel says.
pub fn has_opened(known: &Namespace, opens: Option<u64>) -> bool {
    opens.is_none() || opens != known.opens
}

/// Whether the kernel counts more sockets than are known: then look-ups cannot be enough.
pub fn is_surely_new(known: &Namespace, counts: Counts, needs_time_wait: bool) -> bool {
    counts.full > known.found.full || needs_time_wait && counts.time_wait > known.found.time_wait
}

/// Decides. `known` is what a complete read of the same namespace left; `opens` the kernel's count of
/// connections opened; `needs_time_wait` whether rows in TIME_WAIT are wanted.
pub fn plan(
    known: Option<&Namespace>,
    counts: Counts,
    opens: Option<u64>,
    needs_time_wait: bool,
    costs: &Costs,
    now: Instant,
) -> Plan {
    if counts == Counts::default() {
        return Plan::Skip;
    }
    let Some(known) = known else { return Plan::Walk };
    if now >= known.history.walk_due || is_surely_new(known, counts, needs_time_wait) {
        return Plan::Walk;
    }
    let history = &known.history;
    #[expect(clippy::cast_precision_loss, reason = "no namespace has 2^53 sockets")]
    let look_ups = LISTENERS_COST.as_secs_f64() + costs.look_up.0 * known.sockets.len() as f64;
    let walk_after_all =
        (1.0 - history.sufficed[usize::from(has_opened(known, opens))].0) * history.walk_cost.0;
    if look_ups + walk_after_all < history.walk_cost.0 {
        Plan::LookUp
    } else {
        Plan::Walk
    }
}
