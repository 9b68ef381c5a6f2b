//! The read of one namespace in one poll, as planned: dump of the listeners and look-ups, or a walk,
//! or the first and then the second.

use super::{
    dump::Dump,
    known::{Found, KnownNamespaces, Namespace, is_ambiguous},
    look_up::LookUps,
    plan::{Costs, History, Plan, has_opened, is_surely_new, plan},
    scratch::{Scratch, Step},
    world::{Arrival, World},
};
use crate::{namespaces::Counts, netlink::inet_diag::States, rows::Rows};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

#[derive(Debug)]
enum Stage {
    Listeners(Dump),
    LookUps(LookUps),
    Walk(Dump),
}

/// What outlives the read of one namespace: the table of known sockets and what they cost.
#[derive(Debug, Default)]
pub struct Memory {
    /// Sockets by namespace.
    pub known: KnownNamespaces,
    /// What look-ups cost here.
    pub costs: Costs,
}

/// The read of one namespace under way.
#[derive(Debug)]
pub struct Reading<S> {
    socket: S,
    deadline: Instant,
    stage: Stage,
    /// Cookie of the namespace; without one nothing is remembered of it.
    cookie: Option<u64>,
    known: Option<Namespace>,
    /// The kernel's counts at the start; without them nothing can be proved.
    counts: Option<Counts>,
    opens: Option<u64>,
    /// CPU time of the stage so far, and of the thread when it went on last.
    spent: Duration,
    resumed_at: Duration,
}

impl<S> Reading<S> {
    /// Decides how the namespace is read; `None`: not at all, there is nothing in it.
    pub fn new<W: World<Socket = S>>(
        arrival: Arrival<S>,
        world: &mut W,
        memory: &mut Memory,
        scratch: &mut Scratch,
    ) -> Option<Reading<S>> {
        scratch.begin();
        let now = world.now();
        let options = scratch.options;
        let counts = world.counts(&arrival.socket);
        let cookie = arrival.identity.cookie;
        let known = cookie.and_then(|cookie| memory.known.take(cookie));
        let opens = world.opens(&arrival.socket);
        let chosen = match counts {
            Some(counts) if options.plans => plan(
                known.as_ref(),
                counts,
                opens,
                options.needs_time_wait(),
                &memory.costs,
                now,
            ),
            _ => Plan::Walk,
        };
        let stage = match chosen {
            Plan::Skip => {
                scratch.counters.skips += 1;
                return None;
            }
            Plan::LookUp => Stage::Listeners(Dump::new(States::LISTEN, scratch)),
            Plan::Walk => {
                scratch.counters.walks += 1;
                if known.is_some() {
                    memory.costs.walked();
                }
                Stage::Walk(Dump::new(States::ALL, scratch))
            }
        };
        Some(Reading {
            socket: arrival.socket,
            deadline: now + options.timeout,
            stage,
            cookie,
            known,
            counts,
            opens,
            spent: Duration::ZERO,
            resumed_at: world.thread_cpu(),
        })
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// When the namespace is given up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives the namespace so much longer.
    pub fn postpone(&mut self, by: Duration) {
        self.deadline += by;
    }

    /// The loop goes on with this read: its CPU time counts from now.
    pub fn resume<W: World>(&mut self, world: &W) {
        self.resumed_at = world.thread_cpu();
    }

    /// The loop turns to something else.
    pub fn pause<W: World>(&mut self, world: &W) {
        self.spent += world.thread_cpu().saturating_sub(self.resumed_at);
    }

    /// One step.
    pub fn step<W: World<Socket = S>>(
        &mut self,
        world: &mut W,
        memory: &mut Memory,
        scratch: &mut Scratch,
        rows: &mut Rows,
        poll: u64,
    ) -> Step {
        if world.now() >= self.deadline {
            scratch.counters.timed_out += 1;
            return Step::Done;
        }
        let step = match &mut self.stage {
            Stage::Listeners(dump) | Stage::Walk(dump) => dump.step(world, &self.socket, scratch, rows),
            Stage::LookUps(look_ups) => {
                let sockets = self.known.as_ref().map_or(&[][..], |known| &known.sockets);
                look_ups.step(world, &self.socket, sockets, scratch, rows)
            }
        };
        match step {
            Step::Done => self.next_stage(world, memory, scratch, poll),
            Step::More if self.is_hopeless(scratch) => self.walk_after_all(world, scratch),
            step => step,
        }
    }

    /// Whether so many known sockets have gone already that the others cannot make up what the kernel
    /// counts: then asking for them proves nothing.
    fn is_hopeless(&self, scratch: &Scratch) -> bool {
        let (Stage::LookUps(look_ups), Some(counts), Some(known)) = (&self.stage, self.counts, &self.known)
        else {
            return false;
        };
        let gone = look_ups.gone;
        let listeners = scratch.seen.listeners.len() as u64;
        let others = known.found.full.saturating_sub(known.listeners.len() as u64);
        let full_at_most = listeners + others.saturating_sub(gone.full);
        let time_wait_at_most = known.found.time_wait.saturating_sub(gone.time_wait);
        counts.full > full_at_most
            || scratch.options.needs_time_wait() && counts.time_wait > time_wait_at_most
    }

    fn next_stage<W: World<Socket = S>>(
        &mut self,
        world: &mut W,
        memory: &mut Memory,
        scratch: &mut Scratch,
        poll: u64,
    ) -> Step {
        match &self.stage {
            Stage::Listeners(dump) if dump.complete => {
                let sockets = self.known.as_ref().map_or(0, |known| known.sockets.len());
                self.stage = Stage::LookUps(LookUps::new(sockets, scratch));
                Step::More
            }
            Stage::LookUps(look_ups) if look_ups.complete => match self.is_proved(scratch, look_ups.turned) {
                true => self.looked_up(world, memory, scratch, poll),
                false => self.walk_after_all(world, scratch),
            },
            Stage::Listeners(_) | Stage::LookUps(_) => self.walk_after_all(world, scratch),
            Stage::Walk(dump) => {
                match dump.complete {
                    true => self.walked(world, memory, scratch, poll),
                    // Only here: after a dump of the listeners that failed, all is read once more.
                    false => scratch.counters.incomplete += 1,
                }
                Step::Done
            }
        }
    }

    /// Whether nothing is there that was not found: the kernel counts no more than were found alive.
    ///
    /// The counts were read before anything else. All that was found now and was counted then makes
    /// the sum; a socket counted and not known makes it too large, whatever else came or went in
    /// between. So what was found must not make up for one unless it was counted for certain: a listener
    /// that is new and what was a request may have come after the counts. (What goes from a full socket
    /// to TIME_WAIT in between is missing among the full ones.)
    fn is_proved(&self, scratch: &Scratch, turned: Found) -> bool {
        let (Some(counts), Some(known)) = (self.counts, &self.known) else {
            return false;
        };
        let listeners = scratch.seen.listeners.iter();
        let is_new = |cookie: &&u64| known.listeners.binary_search(cookie).is_err();
        let uncertain = turned.full + listeners.filter(is_new).count() as u64;
        let found = scratch.seen.found;
        let time_wait_is_proved =
            !scratch.options.needs_time_wait() || counts.time_wait + turned.time_wait <= found.time_wait;
        counts.full + uncertain <= found.full && time_wait_is_proved
    }

    /// Look-ups were enough.
    fn looked_up<W: World>(
        &mut self,
        world: &W,
        memory: &mut Memory,
        scratch: &mut Scratch,
        poll: u64,
    ) -> Step {
        scratch.counters.look_ups_sufficed += 1;
        self.pause(world);
        if let (Some(mut known), Some(cookie)) = (self.known.take(), self.cookie) {
            memory.costs.looked_up(known.sockets.len() as u64, self.spent);
            known.history.learn(has_opened(&known, self.opens), true);
            if known.sockets.len() != scratch.seen.sockets.len() {
                known.sockets = scratch.seen.sockets.as_slice().into();
            } else {
                // The same sockets in the same order; what kind they are may have changed.
                known.sockets.copy_from_slice(&scratch.seen.sockets);
            }
            scratch.seen.listeners.sort_unstable();
            if known.listeners != scratch.seen.listeners {
                known.listeners = scratch.seen.listeners.as_slice().into();
            }
            known.found = scratch.seen.found;
            known.opens = self.opens;
            known.last_poll = poll;
            memory.known.put(cookie, known);
        }
        Step::Done
    }

    fn walk_after_all<W: World>(&mut self, world: &W, scratch: &mut Scratch) -> Step {
        scratch.counters.walks_after_look_ups += 1;
        if let Some(known) = &mut self.known {
            let opened = has_opened(known, self.opens);
            known.history.learn(opened, false);
        }
        self.spent = Duration::ZERO;
        self.resumed_at = world.thread_cpu();
        self.stage = Stage::Walk(Dump::new(States::ALL, scratch));
        Step::More
    }

    /// A walk ended, complete: what it found is what is known.
    fn walked<W: World>(&mut self, world: &W, memory: &mut Memory, scratch: &mut Scratch, poll: u64) {
        let (Some(cookie), Some(counts)) = (self.cookie, self.counts) else {
            return;
        };
        if !scratch.options.plans {
            return;
        }
        self.pause(world);
        scratch.seen.listeners.sort_unstable();
        let now = world.now();
        let walk_every = scratch.options.walk_every;
        let history = match self.known.take() {
            None => History::new(cookie, self.spent, walk_every, now),
            Some(mut known) => {
                // After look-ups that failed, that was learned already.
                if scratch.seen.rows_made.is_empty() {
                    let opened = has_opened(&known, self.opens);
                    let surely_new = is_surely_new(&known, counts, scratch.options.needs_time_wait());
                    known
                        .history
                        .learn(opened, !surely_new && would_have_sufficed(&known, scratch));
                }
                known.history.walked(self.spent, walk_every, now);
                known.history
            }
        };
        memory.known.put(
            cookie,
            Namespace {
                sockets: scratch.seen.sockets.as_slice().into(),
                listeners: scratch.seen.listeners.as_slice().into(),
                is_ambiguous: is_ambiguous(&scratch.seen.sockets),
                found: scratch.seen.found,
                opens: self.opens,
                history,
                last_poll: poll,
            },
        );
    }
}

/// Whether every socket that the walk found was known.
fn would_have_sufficed(known: &Namespace, scratch: &Scratch) -> bool {
    let cookies: HashSet<u64> = known.sockets.iter().map(super::known::Known::cookie).collect();
    scratch
        .seen
        .sockets
        .iter()
        .all(|socket| cookies.contains(&socket.cookie()))
}
