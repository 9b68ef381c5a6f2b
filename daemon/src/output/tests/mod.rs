//! Outputs against real sockets and files; here the driver, beside it a file a family.

use super::*;
use std::{
    str::FromStr,
    time::{Duration, Instant},
};

mod datagram;
mod http;
mod kafka;
mod stdio;
mod stream;

/// No test waits longer for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn message(sequence: u64, bytes: usize) -> Message {
    Message {
        identity: Identity {
            instance_id: 7,
            envelope_sequence: sequence,
            part: 0,
        },
        poll_sequence: 1,
        first_record_counter: 1 + 3 * sequence,
        rows: 3,
        bytes: vec![b'a' + u8::try_from(sequence % 26).unwrap(); bytes],
    }
}

/// An output in a loop of its own, and the books of what it was given.
struct Driver {
    epoll: Epoll,
    output: Output,
    offered: Tally,
}

impl Driver {
    fn open(destination: &str, options: Options) -> Driver {
        let epoll = Epoll::new().unwrap();
        let destination = Destination::from_str(destination).unwrap();
        let output = Output::open(&destination, options, &epoll, Instant::now()).unwrap();
        Driver::new(epoll, output)
    }

    fn new(epoll: Epoll, output: Output) -> Driver {
        Driver {
            epoll,
            output,
            offered: Tally::default(),
        }
    }

    fn offer(&mut self, message: Message) {
        self.offered.add(message.rows, message.bytes.len() as u64);
        self.output.offer(vec![message], &self.epoll, Instant::now());
        self.check_books();
    }

    /// Offered = delivered + queued + dropped, always.
    fn check_books(&self) {
        let counters = self.output.counters();
        let (delivered, dropped) = (counters.delivered, counters.dropped_total());
        let queued_bytes = self.output.queued().bytes;
        assert_eq!(self.offered.bytes, delivered.bytes + queued_bytes + dropped.bytes);
        if self.output.is_idle() {
            assert_eq!(self.offered.rows, delivered.rows + dropped.rows);
            assert_eq!(self.offered.messages, delivered.messages + dropped.messages);
        }
    }

    /// One turn of the loop; returns the number of events.
    fn turn(&mut self, wait_max: Duration) -> usize {
        let now = Instant::now();
        let due = self.output.deadline().map(|at| at.saturating_duration_since(now));
        let wait = due.unwrap_or(wait_max).min(wait_max);
        let events: Vec<Event> = self.epoll.wait(Some(wait)).unwrap().collect();
        for event in &events {
            self.output.ready(event, &self.epoll, Instant::now());
            self.check_books();
        }
        self.output.tick(&self.epoll, Instant::now());
        self.check_books();
        events.len()
    }

    fn run_until(&mut self, what: &str, mut done: impl FnMut(&Output) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&self.output) {
            assert!(Instant::now() < end, "never: {what}; {:?}", self.output);
            self.turn(Duration::from_millis(5));
        }
    }

    fn run_until_idle(&mut self) {
        self.run_until("idle", Output::is_idle);
    }

    /// An output with nothing to do must leave the processor alone.
    fn assert_quiet(&mut self) {
        let end = Instant::now() + Duration::from_millis(100);
        let mut events = 0;
        while Instant::now() < end {
            events += self.turn(Duration::from_millis(20));
        }
        assert!(events < 4, "{events} events with nothing to do");
    }

    fn counters(&self) -> &Counters {
        self.output.counters()
    }
}

#[test]
fn null_takes_everything() {
    let mut driver = Driver::open("null", Options::default());
    driver.offer(message(0, 10));
    assert_eq!(driver.counters().delivered.rows, 3);
    assert!(driver.output.is_idle() && !driver.output.is_full());
}

#[test]
fn what_cannot_work_is_an_error_at_start() {
    let epoll = Epoll::new().unwrap();
    let long = format!("unix:/{}", "x".repeat(200));
    for (destination, says) in [
        ("file:/nonexistent/rows", "No such file"),
        (long.as_str(), "fits a socket address"),
    ] {
        let parsed = Destination::from_str(destination).unwrap();
        let error = Output::open(&parsed, Options::default(), &epoll, Instant::now()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn the_end_counts_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("unix:{}/nobody", dir.path().display());
    let mut driver = Driver::open(&path, Options::default());
    driver.offer(message(0, 10));
    driver.output.shutdown();
    driver.check_books();
    assert_eq!(driver.counters().dropped(DropReason::Shutdown).rows, 3);
    assert!(driver.output.is_idle());
}
