//! One poll: every namespace visited once, every socket of it one row. A state machine that is
//! advanced in slices, so that the loop stays free for others while 100,000 sockets are read.

mod dump;
mod known;
mod look_up;
mod plan;
mod reading;
mod scratch;
mod world;

pub use scratch::{RECEIVE_BYTES, ReadCounters};
pub use world::{Arrival, Next, World};

use crate::{netlink::inet_diag::States, record::Origin, rows::Rows};
use reading::{Memory, Reading};
use scratch::{Scratch, Step};
use std::time::{Duration, Instant};

/// Settings of all polls.
#[derive(Clone, Copy, Debug)]
pub struct PollOptions {
    /// How long one namespace may take.
    pub timeout: Duration,
    /// Attributes to ask for.
    pub idiag_ext: u8,
    /// States that become rows.
    pub states: States,
    /// Whether a namespace is read in the cheapest way; else every one is walked.
    pub plans: bool,
    /// Each namespace is walked at least so often, for what counters do not show.
    pub walk_every: Duration,
}

impl PollOptions {
    /// Whether sockets in TIME_WAIT become rows. What is left of a socket that was closed first is
    /// kept there too while it is in FIN_WAIT2.
    fn needs_time_wait(&self) -> bool {
        const FIN_WAIT2: u8 = 5;
        const TIME_WAIT: u8 = 6;
        self.states.contains(TIME_WAIT) || self.states.contains(FIN_WAIT2)
    }
}

/// What one poll did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollReport {
    /// Number of the poll, from 1.
    pub sequence: u64,
    /// Namespaces read.
    pub namespaces: u64,
    /// Sockets read.
    pub sockets: u64,
    /// Rows made.
    pub rows: u64,
    /// From start to end.
    pub duration: Duration,
}

/// How far a slice came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No poll is running.
    Idle,
    /// There is more to do, at once.
    More,
    /// Nothing to do until the socket ([`Poll::socket`]) has something, or until then.
    Waiting(Instant),
    /// The poll is over.
    Finished(PollReport),
}

/// The poll under way, if there is one, and the memory of all polls.
#[derive(Debug)]
pub struct Poll<S> {
    scratch: Scratch,
    memory: Memory,
    sequence: u64,
    running: Option<Running<S>>,
    steps: u64,
}

#[derive(Debug)]
struct Running<S> {
    started: Instant,
    timestamp_ns: i64,
    reading: Option<Reading<S>>,
    namespaces: u64,
    sockets_before: u64,
    rows_before: u64,
}

impl<S> Poll<S> {
    /// Nothing running yet.
    pub fn new(options: PollOptions) -> Poll<S> {
        Poll {
            scratch: Scratch::new(options),
            memory: Memory::default(),
            sequence: 0,
            running: None,
            steps: 0,
        }
    }

    /// Takes other settings, from the next step on.
    pub fn set_options(&mut self, options: PollOptions) {
        if !options.plans {
            self.memory.known.clear();
        }
        self.scratch.options = options;
    }

    /// Counts of all reads so far.
    pub fn counters(&self) -> ReadCounters {
        self.scratch.counters
    }

    /// Sockets that are known from the last poll, and the bytes that takes.
    pub fn known_sockets(&self) -> (usize, usize) {
        (self.memory.known.socket_count(), self.memory.known.socket_bytes())
    }

    /// Number of the last poll that was started; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Steps done so far: grows for as long as polls make progress.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The socket that is waited for.
    pub fn socket(&self) -> Option<&S> {
        self.running.as_ref()?.reading.as_ref().map(Reading::socket)
    }

    /// The poll stood still for so long through no fault of its namespace, whose time is not used up
    /// by that.
    pub fn was_held_up(&mut self, by: Duration) {
        if let Some(reading) = self.reading() {
            reading.postpone(by);
        }
    }

    /// Starts a poll. One that is under way goes on instead: polls are never stacked.
    pub fn start<W: World<Socket = S>>(&mut self, world: &mut W, rows: &Rows) {
        if self.running.is_some() {
            return;
        }
        self.sequence += 1;
        self.running = Some(Running {
            started: world.now(),
            timestamp_ns: world.realtime_ns(),
            reading: None,
            namespaces: 0,
            sockets_before: self.scratch.counters.sockets,
            rows_before: rows.counters().rows,
        });
        world.start_poll();
    }

    /// Works on the poll until it waits, ends, or `budget` is used up.
    pub fn advance<W: World<Socket = S>>(
        &mut self,
        world: &mut W,
        rows: &mut Rows,
        budget: Duration,
    ) -> Progress {
        let until = world.now() + budget;
        if let Some(reading) = self.reading() {
            reading.resume(world);
        }
        loop {
            match self.step(world, rows) {
                Progress::More if world.now() < until => {}
                progress => {
                    if let Some(reading) = self.reading() {
                        reading.pause(world);
                    }
                    return progress;
                }
            }
        }
    }

    fn reading(&mut self) -> Option<&mut Reading<S>> {
        self.running.as_mut()?.reading.as_mut()
    }

    fn step<W: World<Socket = S>>(&mut self, world: &mut W, rows: &mut Rows) -> Progress {
        let Some(running) = &mut self.running else {
            return Progress::Idle;
        };
        self.steps += 1;
        if let Some(reading) = &mut running.reading {
            match reading.step(world, &mut self.memory, &mut self.scratch, rows, self.sequence) {
                Step::More => {}
                Step::Blocked => return Progress::Waiting(reading.deadline()),
                Step::Done => running.reading = None,
            }
            return Progress::More;
        }
        match world.next_namespace() {
            Next::Namespace(arrival) => {
                running.namespaces += 1;
                rows.enter(&Origin {
                    timestamp_ns: running.timestamp_ns,
                    poll_sequence: self.sequence,
                    netns: &arrival.name,
                    netns_inode: arrival.identity.inode,
                    netns_cookie: arrival.identity.cookie.unwrap_or(0),
                    socket_fd: arrival.socket_number,
                });
                running.reading = Reading::new(arrival, world, &mut self.memory, &mut self.scratch);
                Progress::More
            }
            Next::Again => Progress::More,
            Next::WaitUntil(then) => Progress::Waiting(then),
            Next::Done => {
                self.memory.known.keep_only(self.sequence);
                rows.flush();
                let report = PollReport {
                    sequence: self.sequence,
                    namespaces: running.namespaces,
                    sockets: self.scratch.counters.sockets - running.sockets_before,
                    rows: rows.counters().rows - running.rows_before,
                    duration: world.now().duration_since(running.started),
                };
                self.running = None;
                Progress::Finished(report)
            }
        }
    }
}
