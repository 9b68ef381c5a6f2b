//! A machine with a daemon: the loop as the daemon has it, and around it all that a seed lets happen.
//!
//! Real are the pipeline (planner, polls, rows, envelopes, hand-over, standstill), the queue, the spool, the
//! transmission on a stream, the schedule and the visits. Simulated are the kernel, the clocks, the disk, the
//! network, the wait of the loop, and the discovery of names.

use super::{
    bug::Bug,
    judge::Judge,
    kernel::Kernel,
    mortal_disk::MortalDisk,
    outcome::Outcome,
    outlet::Outlet,
    profile::Profile,
    random::Random,
    receiver::Receiver,
    settings::Settings,
    simulated_disk::{Faults, SimulatedDisk},
    violation::{Invariant, Violation, hold},
    world::{Open, Simulated},
};
use std::{cell::RefCell, path::PathBuf, rc::Rc, time::Duration};
use xtcp2::{
    format::Format,
    output::{DropReason, Queue},
    pipeline::{Pipeline, PollState},
    poll::Poll,
    schedule::Schedule,
    spool::{self, Spool},
};

/// Steps of one seed, at most: more means that something goes in circles.
const STEPS_MAX: u64 = 200_000;
/// Events of one seed, at most: where a poll takes long, a daemon that is killed again and again ends none.
const EVENTS_MAX: u64 = 200;
/// When everything is calm, the last poll is over and everything is delivered after so long at most: an
/// outage of the longest backoff, and a slow receiver of a full spool.
const CALM_MAX: Duration = Duration::from_secs(600);

pub struct Machine {
    random: Random,
    settings: Settings,
    kernel: Rc<RefCell<Kernel>>,
    world: Simulated,
    disk: MortalDisk,
    pipeline: Pipeline<Open>,
    outlet: Outlet,
    schedule: Schedule,
    judge: Judge,
    bug: Option<Bug>,
    /// Of the queue: a smaller one is in force from the next message on.
    memory_bytes_max: usize,
    /// The spool's bound; or what was there at the start, as a power cut may undo the cutting off of what
    /// failed.
    disk_bytes_max: usize,
    /// Of the daemons that have ended.
    outcome: Outcome,
    steps: u64,
    polls_before_calm: u64,
    /// Of 1,000 steps, so many see something happen to the daemon.
    events_per_mille: u64,
    events_left: u64,
    disk_fails: bool,
    /// Sockets and bytes of earlier polls, for bugs that are planted.
    known_before: (usize, usize),
}

impl Machine {
    /// The whole life of a seed.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run(seed: u64, bug: Option<Bug>) -> Result<Outcome, Violation> {
        let mut machine = Machine::new(seed, bug)?;
        while machine.judge.polls_checked < machine.polls_before_calm {
            machine.step()?;
            machine.event()?;
        }
        machine.calm_down()?;
        machine.note();
        Ok(Outcome {
            steps: machine.steps,
            polls: machine.judge.polls_checked,
            rows: machine.judge.rows_checked,
            ..machine.outcome
        })
    }

    fn new(seed: u64, bug: Option<Bug>) -> Result<Machine, Violation> {
        let mut random = Random(seed);
        let profile = Profile::of(&mut random);
        let settings = Settings::of(&mut random);
        let kernel = Kernel::new(random.fork(), profile, bug);
        let kernel = Rc::new(RefCell::new(kernel));
        let mut disk = SimulatedDisk::new(random.next());
        disk.lies = bug == Some(Bug::UnsyncedSpool);
        let disk = MortalDisk::new(disk, &kernel);
        let receiver = Receiver::new(random.fork(), bug);
        let now = kernel.borrow().now();
        let mut machine = Machine {
            world: Simulated::new(&kernel),
            pipeline: Pipeline::new(Poll::new(settings.poll), settings.rows(0)),
            outlet: Outlet::new(Queue::new(0), receiver, &kernel, &disk),
            schedule: Schedule::new(settings.frequency, settings.jitter_percent, seed, now),
            judge: Judge::default(),
            memory_bytes_max: settings.queue_bytes_max,
            disk_bytes_max: 0,
            outcome: Outcome::default(),
            steps: 0,
            polls_before_calm: random.between(4, 30),
            events_left: EVENTS_MAX,
            events_per_mille: random.of(&[0, 1, 10, 50]),
            disk_fails: random.happens(400),
            known_before: (0, 0),
            random,
            settings,
            kernel,
            disk,
            bug,
        };
        machine.start(false)?;
        // Where nothing else happens, it fails in the same way all the time.
        machine.disk_changes();
        Ok(machine)
    }

    /// A daemon starts, after another one perhaps.
    fn start(&mut self, power_cut: bool) -> Result<(), Violation> {
        self.disk.revive();
        // A record that cannot be read right at the start is lost; the spool's own tests have that.
        let faults = self.disk.disk.faults.replace(Faults::default());
        let flips = self.disk.flips.replace(0);
        let instance_id = self.random.next() | 1;
        let settings = &self.settings;
        self.memory_bytes_max = match self.bug {
            // The queue has another idea of its bound than the operator.
            Some(Bug::QueuePastBound) => settings.queue_bytes_max / 2,
            _ => settings.queue_bytes_max,
        };
        let memory_bytes_max = settings.queue_bytes_max;
        let queue = match settings.spool_bytes_max {
            None => Queue::new(memory_bytes_max),
            Some(bytes_max) => {
                let options = spool::Options {
                    dir: PathBuf::from("simulated"),
                    bytes_max: match self.bug {
                        Some(Bug::SpoolPastBound) => 2 * bytes_max,
                        _ => bytes_max,
                    },
                    format: Format::ProtobufList.to_string(),
                };
                let (spool, waiting) =
                    Spool::recover(self.disk.clone(), &options).map_err(|error| Violation {
                        invariant: Invariant::SpoolKeeps,
                        what: error.to_string(),
                    })?;
                let bytes_max = usize::try_from(bytes_max).unwrap();
                self.disk_bytes_max = bytes_max.max(self.disk.disk.used());
                Queue::on_disk(memory_bytes_max, spool, waiting)
            }
        };
        self.judge
            .starts(instance_id, settings.poll.states, &queue, power_cut)?;
        self.outlet.queue = queue;
        self.outlet.held_back.clear();
        self.world = Simulated::new(&self.kernel);
        self.pipeline = Pipeline::new(Poll::new(settings.poll), settings.rows(instance_id));
        let now = self.kernel.borrow().now();
        self.schedule = Schedule::new(settings.frequency, settings.jitter_percent, instance_id, now);
        self.disk.disk.faults.set(faults);
        self.disk.flips.set(flips);
        Ok(())
    }

    /// One turn of the loop, as the daemon's.
    fn step(&mut self) -> Result<(), Violation> {
        self.steps += 1;
        hold(self.steps < STEPS_MAX, Invariant::Progress, || {
            format!("{STEPS_MAX} steps, {:?}", self.pipeline.state())
        })?;
        self.wait()?;
        let now = self.kernel.borrow().now();
        if let Some(at) = self.outlet.readable_at()
            && at <= self.kernel.borrow().elapsed()
            && matches!(self.pipeline.state(), PollState::Waiting { .. })
        {
            self.pipeline.socket_ready(&mut self.outlet);
        }
        self.outlet.turn();
        if self.pipeline.state() == PollState::Idle {
            if self.schedule.due() <= now {
                self.schedule.started(now);
                self.pipeline.start(&mut self.world, &mut self.outlet);
            }
        } else if self.schedule.missed_due().is_some_and(|due| due <= now) {
            self.schedule.missed();
        }
        let ended = self
            .pipeline
            .go_on(&mut self.world, &mut self.outlet, self.settings.frequency);
        if self.disk.is_dead() {
            return self.die(false);
        }
        self.take_in()?;
        if let Some(report) = ended {
            let known = self.known_sockets();
            let kernel = self.kernel.borrow();
            self.judge
                .poll_ended(report, self.pipeline.poll.counters(), &kernel)?;
            self.judge.memory(known, &kernel)?;
        }
        self.check()
    }

    /// What the daemon remembers from poll to poll: sockets, and their bytes.
    fn known_sockets(&mut self) -> (usize, usize) {
        let (sockets, bytes) = self.pipeline.poll.known_sockets();
        let (sockets_before, bytes_before) = self.known_before;
        let known = match self.bug {
            Some(Bug::NeverForgotten) => (sockets_before + sockets, bytes_before + bytes),
            Some(Bug::RoomKept) => (sockets, bytes_before.max(bytes)),
            _ => (sockets, bytes),
        };
        self.known_before = known;
        known
    }

    /// What was offered and what arrived since the last time.
    fn take_in(&mut self) -> Result<(), Violation> {
        self.judge.offered(std::mem::take(&mut self.outlet.offered))?;
        let receiver = &mut self.outlet.receiver;
        self.judge
            .arrived(std::mem::take(&mut receiver.arrived), receiver.is_stream())
    }

    fn check(&mut self) -> Result<(), Violation> {
        let kernel = self.kernel.borrow();
        if let Some(violation) = &kernel.violation {
            return Err(violation.clone());
        }
        let queue = &self.outlet.queue;
        self.judge.books(queue)?;
        let delivered_bytes = match self.bug {
            Some(Bug::CopiesStay) => usize::try_from(queue.counters.delivered.bytes).unwrap(),
            _ => 0,
        };
        self.judge.bounds(
            queue,
            self.memory_bytes_max,
            queue.cached_bytes() + delivered_bytes,
            self.disk.disk.used(),
            self.disk_bytes_max,
        )?;
        let rows_made = self.pipeline.rows.counters().rows;
        let is_idle = self.pipeline.state() == PollState::Idle;
        let pending_max = match is_idle {
            true => 0,
            false => self.settings.pending_rows_max(&kernel.profile),
        };
        self.judge.pending(rows_made, pending_max)?;
        if is_idle {
            self.judge.check_poll(&kernel)?;
            if self.bug == Some(Bug::PollSequenceRestarts) && self.pipeline.poll.sequence() == 2 {
                self.pipeline.poll = Poll::new(self.settings.poll);
            }
        }
        Ok(())
    }

    /// Until something is due, as epoll_wait(2) with the timer.
    fn wait(&mut self) -> Result<(), Violation> {
        let outlet = [self.outlet.readable_at(), self.outlet.turn_at()];
        let mut kernel = self.kernel.borrow_mut();
        let (now, elapsed) = (kernel.now(), kernel.elapsed());
        let until = |instant| elapsed + std::time::Instant::duration_since(&instant, now);
        let poll = match self.pipeline.state() {
            PollState::Ready => return Ok(()),
            PollState::Idle => until(self.schedule.due()),
            PollState::Waiting { until: then } | PollState::Stalled { until: then, .. } => until(then),
        };
        let due = outlet.into_iter().flatten().fold(poll, Duration::min);
        let time = due.saturating_sub(elapsed);
        kernel.pass(time);
        if time > Duration::from_millis(100) {
            // A lot happens while nobody looks, or little.
            let changes = self.random.of(&[0, 0, 3, 30]);
            if !kernel.calm {
                kernel.changes(changes);
            }
        }
        Ok(())
    }

    /// Something happens to the daemon, or to its disk.
    fn event(&mut self) -> Result<(), Violation> {
        if self.events_left == 0 || !self.random.happens(self.events_per_mille) {
            return Ok(());
        }
        self.events_left -= 1;
        match self.random.below(8) {
            0 => self.die(false),
            1 => self.die(true),
            2 => self.end(),
            3 => {
                self.disk.die_after(self.random.below(40));
                Ok(())
            }
            4 | 5 => {
                self.disk_changes();
                Ok(())
            }
            6 => {
                self.reload();
                Ok(())
            }
            // SIGHUP without new settings: the connection is made anew.
            _ => {
                self.outlet.receiver.close(&mut self.outlet.queue);
                self.take_in()?;
                self.check()
            }
        }
    }

    /// SIGHUP with other settings, in force between two polls.
    fn reload(&mut self) {
        if self.pipeline.state() != PollState::Idle {
            return;
        }
        let instance_id = self.judge.instance_id();
        self.settings = Settings {
            // What the spool is opened with stays.
            spool_bytes_max: self.settings.spool_bytes_max,
            ..Settings::of(&mut self.random)
        };
        // A smaller bound is in force from the next message on.
        self.memory_bytes_max = self
            .settings
            .queue_bytes_max
            .max(self.outlet.queue.in_memory_bytes());
        self.outlet.queue.set_bytes_max(self.settings.queue_bytes_max);
        self.pipeline.rows.reconfigure(self.settings.rows(instance_id));
        self.pipeline.poll.set_options(self.settings.poll);
        self.judge.reads_states(self.settings.poll.states);
        let now = self.kernel.borrow().now();
        let Settings {
            frequency,
            jitter_percent,
            ..
        } = self.settings;
        self.schedule.set(frequency, jitter_percent, now);
    }

    fn disk_changes(&mut self) {
        if !self.disk_fails {
            return;
        }
        let random = &mut self.random;
        let mut some = |per_mille_max| match random.below(2) {
            0 => 0,
            _ => random.below(per_mille_max),
        };
        let writes = some(300);
        let (syncs, others) = (some(300), some(300));
        self.disk.disk.faults.set(Faults {
            writes,
            syncs,
            others,
            // A disk that fails to write may fail to read; or reads fail until it changes again.
            reads: random.of(&[writes, 1000]),
        });
        self.disk.flips.set(random.of(&[0, 0, 50]));
        let used = self.disk.disk.used();
        let room = usize::try_from(random.below(20_000)).unwrap();
        let space = random.of(&[usize::MAX, usize::MAX, used + room]);
        self.disk.disk.space.set(space);
    }

    /// kill -9, or a power cut, and another daemon after it.
    fn die(&mut self, power_cut: bool) -> Result<(), Violation> {
        self.note();
        self.outcome.kills += 1;
        self.outcome.power_cuts += u64::from(power_cut);
        self.outlet.receiver.abandoned();
        // What a dead process did before it was found dead may be known to the receiver.
        self.take_in()?;
        self.judge.dies(&self.outlet.queue);
        if power_cut {
            self.disk.disk.power_cut();
        }
        self.start(power_cut)
    }

    /// SIGTERM: as the daemon ends when its time is up.
    fn end(&mut self) -> Result<(), Violation> {
        self.note();
        self.outcome.ends += 1;
        let mut late = std::mem::take(&mut self.outlet.held_back);
        late.extend(self.pipeline.end());
        self.outlet.offered.extend(late.iter().cloned());
        self.outlet.queue.came_too_late(late);
        self.outlet.receiver.close(&mut self.outlet.queue);
        self.outlet.queue.end();
        if self.disk.is_dead() {
            return self.die(false);
        }
        self.take_in()?;
        self.judge.books(&self.outlet.queue)?;
        let left = self.outlet.queue.queued();
        hold(
            self.outlet.queue.is_on_disk() || left.messages == 0,
            Invariant::BooksBalance,
            || format!("{left:?} left behind in memory, and not counted"),
        )?;
        self.start(false)
    }

    /// What the daemon that ends here did.
    fn note(&mut self) {
        let reads = self.pipeline.poll.counters();
        let queue = &self.outlet.queue;
        let outcome = &mut self.outcome;
        outcome.looked_up += reads.look_ups_sufficed;
        outcome.walked_after_look_ups += reads.walks_after_look_ups;
        outcome.skipped += reads.skips;
        outcome.interrupted += reads.interrupted;
        outcome.overrun += reads.overrun;
        outcome.failed += reads.failed;
        outcome.truncated += reads.truncated;
        outcome.incomplete += reads.incomplete;
        outcome.timed_out += reads.timed_out;
        outcome.stalls += self.pipeline.stalls();
        outcome.late += self.schedule.late();
        outcome.recovered += queue.counters.recovered.messages;
        outcome.retried += queue.counters.retried;
        for (sum, (reason, _)) in outcome.dropped.iter_mut().zip(DropReason::NAMES) {
            *sum += queue.counters.dropped(reason).messages;
        }
        if let Some(spool) = queue.spool() {
            outcome.torn_records += spool.counters().torn_records;
            outcome.spool_refused += spool.counters().refused_messages;
        }
    }

    /// Nothing goes wrong any more: one more poll is complete to the last socket, and everything arrives.
    fn calm_down(&mut self) -> Result<(), Violation> {
        self.disk.revive();
        self.disk.disk.faults.set(Faults::default());
        self.disk.flips.set(0);
        self.disk.disk.space.set(usize::MAX);
        self.outlet.receiver.calm_down();
        let calm_since = {
            let mut kernel = self.kernel.borrow_mut();
            kernel.calm = true;
            kernel.elapsed()
        };
        let polls = self.judge.polls_checked;
        // The one under way may have seen trouble; the next two may not.
        while self.judge.polls_checked < polls + 3 || !self.judge.is_settled() {
            self.step()?;
            let time = self.kernel.borrow().elapsed() - calm_since;
            hold(time < CALM_MAX, Invariant::Progress, || {
                format!(
                    "{time:?} without trouble: {} polls, {:?} wait",
                    self.judge.polls_checked - polls,
                    self.outlet.queue.queued()
                )
            })?;
        }
        Ok(())
    }
}
