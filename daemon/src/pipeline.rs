//! From polls to messages at the output: a slice of the poll under way, the hand-over of what it made, and
//! the standstill while the output is full.
//!
//! What is asked of the daemon around goes through one trait, as what is asked of the kernel does
//! ([`crate::poll::World`]): so the same code runs in the loop and in a simulation of everything around it.

use crate::{
    output::Message,
    poll::{Poll, PollReport, Progress, World},
    rows::Rows,
};
use std::time::{Duration, Instant};

/// How long the loop works on a poll before it looks at its other descriptors: a scrape waits no
/// longer than this and one datagram.
pub const POLL_SLICE: Duration = Duration::from_millis(2);

/// What a pipeline asks of the daemon around it: the output, and to be woken.
pub trait Surroundings<S> {
    /// Whether messages of so many bytes push none out of the output's queue.
    fn has_room_for(&self, bytes: usize) -> bool;

    /// Whether another message might push one out.
    fn is_full(&self) -> bool;

    /// Whether everything offered was delivered or dropped.
    fn is_idle(&self) -> bool;

    /// Hands messages over, for good.
    fn offer(&mut self, messages: Vec<Message>);

    /// [`Pipeline::socket_ready`] is to be called when the socket has something to read.
    fn watch(&mut self, socket: &S);

    /// No longer. The socket may be one that was never watched.
    fn unwatch(&mut self, socket: &S);
}

/// What is known of the poll under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollState {
    /// None is under way.
    Idle,
    /// It can go on at once.
    Ready,
    /// It waits for its socket, or until then.
    Waiting {
        /// When it goes on in any case.
        until: Instant,
    },
    /// It waits for the output to take messages, but not longer than that.
    Stalled {
        /// From when on.
        since: Instant,
        /// When the oldest messages are given up for it.
        until: Instant,
    },
}

/// Polls, what they make rows with, and the rows that are not handed over yet.
#[derive(Debug)]
pub struct Pipeline<S> {
    /// The poll under way, and the memory of all polls.
    pub poll: Poll<S>,
    /// What it makes of replies.
    pub rows: Rows,
    state: PollState,
    /// The output stayed full for too long: polls no longer wait for it, the oldest messages go.
    drops_oldest: bool,
    stalls: u64,
}

impl<S> Pipeline<S> {
    /// Nothing polled yet.
    pub fn new(poll: Poll<S>, rows: Rows) -> Pipeline<S> {
        Pipeline {
            poll,
            rows,
            state: PollState::Idle,
            drops_oldest: false,
            stalls: 0,
        }
    }

    /// How the poll under way is.
    pub fn state(&self) -> PollState {
        self.state
    }

    /// How often a poll stood still since the output was full.
    pub fn stalls(&self) -> u64 {
        self.stalls
    }

    /// Starts a poll; only while none is under way.
    pub fn start<W: World<Socket = S>>(&mut self, world: &mut W, around: &mut impl Surroundings<S>) {
        self.drops_oldest &= around.is_full();
        self.poll.start(world, &self.rows);
        self.state = PollState::Ready;
    }

    /// The socket that is waited for has something to read, or its time is over.
    pub fn socket_ready(&mut self, around: &mut impl Surroundings<S>) {
        if let Some(socket) = self.poll.socket() {
            // Watched only while it is waited for.
            around.unwatch(socket);
        }
        self.state = PollState::Ready;
    }

    /// A slice of the poll, if there is one and nothing holds it up; what it did if that was its end. It
    /// stands still for `stall_max` at most.
    pub fn go_on<W: World<Socket = S>>(
        &mut self,
        world: &mut W,
        around: &mut impl Surroundings<S>,
        stall_max: Duration,
    ) -> Option<PollReport> {
        let now = world.now();
        match self.state {
            PollState::Waiting { until } if until <= now => self.socket_ready(around),
            PollState::Stalled { since, until } => {
                if until <= now && self.must_wait(around) {
                    log::warn!("the output takes nothing: the oldest messages are given up for new ones");
                    self.drops_oldest = true;
                }
                self.offer_messages(around);
                if !self.must_wait(around) {
                    self.poll.was_held_up(now.duration_since(since));
                    self.state = PollState::Ready;
                }
            }
            PollState::Ready if self.must_wait(around) => self.stall(around, now, stall_max),
            _ => {}
        }
        if self.state != PollState::Ready {
            return None;
        }
        let progress = self.poll.advance(world, &mut self.rows, POLL_SLICE);
        self.offer_messages(around);
        let mut ended = None;
        match progress {
            Progress::More => {}
            Progress::Idle => self.state = PollState::Idle,
            Progress::Waiting(until) => {
                if let Some(socket) = self.poll.socket() {
                    // A socket that cannot be waited for is tried again at its deadline.
                    around.watch(socket);
                }
                self.state = PollState::Waiting { until };
            }
            Progress::Finished(report) => {
                self.state = PollState::Idle;
                ended = Some(report);
            }
        }
        if self.rows.has_messages() {
            self.stall(around, world.now(), stall_max);
        }
        ended
    }

    /// The end of the daemon: the rest of what was made, which nobody has time to send.
    pub fn end(&mut self) -> Vec<Message> {
        self.rows.flush();
        std::iter::from_fn(|| self.rows.take_message()).collect()
    }

    /// Hands over what the output has room for. What is left is at most the messages of a slice.
    fn offer_messages(&mut self, around: &mut impl Surroundings<S>) {
        // What one offer held may be delivered at once, which makes room for the next.
        loop {
            let mut messages = Vec::new();
            let mut bytes = 0;
            while let Some(next_bytes) = self.rows.next_message_bytes()
                && (self.drops_oldest
                    || around.has_room_for(bytes + next_bytes)
                    // What can never fit is dropped alone, instead of being waited for.
                    || messages.is_empty() && around.is_idle())
                && let Some(message) = self.rows.take_message()
            {
                bytes += next_bytes;
                messages.push(message);
            }
            if messages.is_empty() {
                return;
            }
            around.offer(messages);
        }
    }

    /// Whether a message might push one out that could still be delivered.
    fn must_wait(&self, around: &impl Surroundings<S>) -> bool {
        !self.drops_oldest && (self.rows.has_messages() || around.is_full())
    }

    /// The poll goes on when the output has room, or when the next poll would be due.
    fn stall(&mut self, around: &mut impl Surroundings<S>, now: Instant, stall_max: Duration) {
        self.stalls += 1;
        if let Some(socket) = self.poll.socket() {
            // Asked again after the stall; until then its replies would only wake the loop.
            around.unwatch(socket);
        }
        self.state = PollState::Stalled {
            since: now,
            until: now + stall_max,
        };
    }
}
