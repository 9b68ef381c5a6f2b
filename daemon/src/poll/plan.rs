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

/// Weight of the newest measurement in a mean: about the last four count.
const NEWEST_WEIGHT: f64 = 0.25;
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
        self.add_weighted(value, 1.0);
    }

    /// Adds a measurement that is worth `share` of a whole one.
    fn add_weighted(&mut self, value: f64, share: f64) {
        self.0 += (value - self.0) * NEWEST_WEIGHT * share;
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

/// An interrupt or a cold cache may make one measurement many times too large: it counts as so many
/// times the mean at most.
const OUTLIER_FACTOR: f64 = 2.0;
/// While namespaces are walked, look-ups are not measured: with each walk the mean goes this share of
/// the way back to where it began, so that it cannot keep look-ups away for ever.
const FORGET_WEIGHT: f64 = 1.0 / 64.0;
/// In a namespace of fewer sockets the listeners cost more than the look-ups (16 take 43 microseconds), and what they
/// cost is only about `LISTENERS_COST`: nothing is learned of look-ups there.
const TELLING_LOOK_UPS_MIN: u64 = 16;
/// So many look-ups are a whole measurement, fewer are a part of one.
const WHOLE_MEASUREMENT_LOOK_UPS: f64 = 64.0;

impl Costs {
    /// `count` look-ups took so much CPU time.
    pub fn looked_up(&mut self, count: u64, cpu: Duration) {
        if count >= TELLING_LOOK_UPS_MIN {
            #[expect(clippy::cast_precision_loss, reason = "no namespace has 2^53 sockets")]
            let count = count as f64;
            let each = cpu.saturating_sub(LISTENERS_COST).as_secs_f64() / count;
            let share = (count / WHOLE_MEASUREMENT_LOOK_UPS).min(1.0);
            self.look_up
                .add_weighted(each.min(OUTLIER_FACTOR * self.look_up.0), share);
        }
    }

    /// A namespace was walked that could have been looked up.
    pub fn walked(&mut self) {
        self.look_up.0 += (LOOK_UP_COST_AT_FIRST.as_secs_f64() - self.look_up.0) * FORGET_WEIGHT;
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

    /// After another walk. The next is due where it would have been without this one: walks stay spread, also those of
    /// namespaces that all had to be walked in one poll, or late.
    pub fn walked(&mut self, cost: Duration, walk_every: Duration, now: Instant) {
        self.walk_cost.add(cost.as_secs_f64());
        if let Some(late) = now.checked_duration_since(self.walk_due) {
            let into_turn = late.as_nanos() % walk_every.as_nanos().max(1);
            self.walk_due = now + walk_every - Duration::from_nanos(u64::try_from(into_turn).unwrap_or(0));
        }
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
    let surely_fails = known.is_ambiguous || is_surely_new(known, counts, needs_time_wait);
    if surely_fails || now >= known.history.walk_due {
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

#[cfg(test)]
mod tests {
    use super::{super::known::Found, *};

    const WALK: Duration = Duration::from_millis(3);
    const MINUTE: Duration = Duration::from_secs(60);
    const SOCKETS: usize = 100;

    fn counts(full: u64) -> Counts {
        Counts { full, time_wait: 0 }
    }

    /// 100 sockets, found by a walk, none opened since.
    fn namespace(now: Instant) -> Namespace {
        let mut history = History::new(7, WALK, MINUTE, now);
        history.walk_due = now + MINUTE;
        Namespace {
            sockets: vec![
                super::super::known::Known {
                    id: [0; 48],
                    family: 2,
                    kind: crate::netlink::inet_diag::SocketKind::Full,
                };
                SOCKETS
            ],
            listeners: Vec::new(),
            is_ambiguous: false,
            found: Found {
                full: SOCKETS as u64,
                time_wait: 0,
            },
            opens: Some(5),
            history,
            last_poll: 1,
        }
    }

    fn plan_at(known: &Namespace, full: u64, opens: u64, now: Instant) -> Plan {
        plan(
            Some(known),
            counts(full),
            Some(opens),
            true,
            &Costs::default(),
            now,
        )
    }

    #[test]
    fn nothing_counted_nothing_read() {
        let now = Instant::now();
        let known = namespace(now);
        assert_eq!(plan_at(&known, 0, 5, now), Plan::Skip);
        let time_wait = Counts {
            full: 0,
            time_wait: 1,
        };
        let costs = Costs::default();
        assert_eq!(plan(None, Counts::default(), None, true, &costs, now), Plan::Skip);
        assert_eq!(plan(None, time_wait, None, true, &costs, now), Plan::Walk);
        assert_eq!(plan(None, counts(1), None, true, &costs, now), Plan::Walk);
    }

    #[test]
    fn what_cannot_do_is_not_tried() {
        let now = Instant::now();
        let mut known = namespace(now);
        assert_eq!(plan_at(&known, 100, 5, now), Plan::LookUp);
        assert_eq!(plan_at(&known, 101, 5, now), Plan::Walk);
        assert_eq!(plan_at(&known, 100, 5, now + MINUTE), Plan::Walk);
        known.is_ambiguous = true;
        assert_eq!(plan_at(&known, 100, 5, now), Plan::Walk);
    }

    #[test]
    fn time_wait_that_is_not_wanted_is_no_reason_to_walk() {
        let now = Instant::now();
        let known = namespace(now);
        let more = Counts {
            full: 100,
            time_wait: 9,
        };
        let costs = Costs::default();
        let plan = |wanted| plan(Some(&known), more, Some(5), wanted, &costs, now);
        assert_eq!((plan(true), plan(false)), (Plan::Walk, Plan::LookUp));
    }

    #[test]
    fn the_cheaper_is_taken() {
        let now = Instant::now();
        let known = namespace(now);
        let plan_with = |look_up_ns: f64| {
            let costs = Costs {
                look_up: Mean(look_up_ns * 1e-9),
            };
            plan(Some(&known), counts(100), Some(5), true, &costs, now)
        };
        // 3 ms of walk, less 50 us for the listeners, is 29.5 us for each of 100 sockets.
        assert_eq!(plan_with(29_000.0), Plan::LookUp);
        assert_eq!(plan_with(30_000.0), Plan::Walk);
    }

    #[test]
    fn failures_count_with_what_the_walk_after_them_costs() {
        let now = Instant::now();
        let mut known = namespace(now);
        // Connections opened, and nothing known of what that means: half of the walk is to be added
        // to 0.32 ms.
        assert_eq!(plan_at(&known, 100, 6, now), Plan::LookUp);
        let mut failures = 0;
        while plan_at(&known, 100, 6, now) == Plan::LookUp {
            known.history.learn(true, false);
            failures += 1;
        }
        assert!((2..20).contains(&failures), "{failures} failures");
        // Where nothing was opened, nothing was learned.
        assert_eq!(plan_at(&known, 100, 5, now), Plan::LookUp);
        // Nor is it for ever: walks that found nothing new say that look-ups would have done.
        let mut walks = 0;
        while plan_at(&known, 100, 6, now) == Plan::Walk {
            known.history.learn(true, true);
            walks += 1;
        }
        assert!((1..20).contains(&walks), "{walks} walks");
    }

    #[test]
    fn counter_that_cannot_be_read_means_that_something_may_have_opened() {
        let now = Instant::now();
        let known = namespace(now);
        assert!(has_opened(&known, None));
        assert!(has_opened(&known, Some(6)));
        assert!(!has_opened(&known, Some(5)));
    }

    #[test]
    fn costs_follow_what_is_measured() {
        let mut costs = Costs::default();
        costs.looked_up(0, WALK);
        assert_eq!(costs.look_up.0, LOOK_UP_COST_AT_FIRST.as_secs_f64());
        for _ in 0..100 {
            costs.looked_up(1000, LISTENERS_COST + Duration::from_millis(10));
        }
        assert!((costs.look_up.0 - 10e-6).abs() < 1e-7, "{costs:?}");
        let now = Instant::now();
        let mut history = History::new(7, WALK, MINUTE, now);
        for _ in 0..100 {
            history.walked(2 * WALK, MINUTE, now);
        }
        assert!((history.walk_cost.0 - 6e-3).abs() < 1e-4, "{history:?}");
    }

    /// Hundreds of pods of one socket each once taught that look-ups cost nothing, or, on a slower host, that each costs
    /// what belongs to the dump of listeners.
    #[test]
    fn tiny_namespaces_teach_nothing_of_large_ones() {
        let now = Instant::now();
        let plan_of = |sockets: usize, walk: Duration, costs: &Costs| {
            let mut known = namespace(now);
            known.sockets = vec![known.sockets[0]; sockets];
            known.found.full = sockets as u64;
            known.history.walk_cost = Mean(walk.as_secs_f64());
            plan(
                Some(&known),
                counts(sockets as u64),
                known.opens,
                true,
                costs,
                now,
            )
        };
        let after = |tiny: Duration| {
            let mut costs = Costs::default();
            for _ in 0..200 {
                costs.looked_up(1, tiny);
            }
            costs
        };
        let fast = after(Duration::from_micros(45));
        assert_eq!(plan_of(20_000, Duration::from_millis(26), &fast), Plan::Walk);
        let slow = after(Duration::from_micros(80));
        assert_eq!(plan_of(100, Duration::from_micros(2_600), &slow), Plan::LookUp);
    }

    #[test]
    fn first_walks_are_spread_over_the_time_and_later_ones_come_once_in_it() {
        let now = Instant::now();
        let due = |cookie| {
            History::new(cookie, WALK, MINUTE, now)
                .walk_due
                .duration_since(now)
        };
        let quarter = |due: Duration| usize::try_from(due.as_secs() / 15).unwrap();
        let mut quarters = [0; 4];
        for cookie in 1..=400 {
            quarters[quarter(due(cookie))] += 1;
        }
        assert!(
            quarters.iter().all(|count| (60..140).contains(count)),
            "{quarters:?}"
        );
        let mut history = History::new(7, WALK, MINUTE, now);
        let first = history.walk_due;
        // Early, late by a little, late by many.
        history.walked(WALK, MINUTE, now);
        assert_eq!(history.walk_due, first);
        history.walked(WALK, MINUTE, first + Duration::from_secs(3));
        assert_eq!(history.walk_due, first + MINUTE);
        history.walked(WALK, MINUTE, first + 5 * MINUTE + Duration::from_secs(3));
        assert_eq!(history.walk_due, first + 6 * MINUTE);
        // Always.
        history.walked(WALK, Duration::ZERO, first + 7 * MINUTE);
        assert_eq!(history.walk_due, first + 7 * MINUTE);
    }

    /// On a quiet machine a single measurement, many times too large, once made every namespace be
    /// walked, and since nothing was looked up any more it stayed so.
    #[test]
    fn neither_one_outlier_nor_many_keep_look_ups_away_for_ever() {
        let now = Instant::now();
        let known = namespace(now);
        let chosen = |costs: &Costs| {
            plan(
                Some(&known),
                counts(SOCKETS as u64),
                known.opens,
                true,
                costs,
                now,
            )
        };
        let mut costs = Costs::default();
        costs.looked_up(SOCKETS as u64, Duration::from_millis(100));
        assert_eq!(chosen(&costs), Plan::LookUp, "after one outlier");
        for _ in 0..20 {
            costs.looked_up(SOCKETS as u64, Duration::from_millis(100));
        }
        assert_eq!(chosen(&costs), Plan::Walk, "after many");
        let mut walks = 0;
        while chosen(&costs) == Plan::Walk {
            costs.walked();
            walks += 1;
        }
        assert!((1..1000).contains(&walks), "tried again after {walks} walks");
    }
}
