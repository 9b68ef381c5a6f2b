//! Rows of polls in this process, kept in memory and taken apart.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};
use xtcp2::{
    envelope::Envelope,
    format::{Format, Formatter},
    kernel::Kernel,
    namespaces::{Discovery, Home},
    netlink::inet_diag::{Attributes, States, attribute},
    poll::{Poll, PollOptions, PollReport, Progress, ReadCounters, World},
    record::{Encoder, Identity, Row, rows_of},
    rows::Rows,
};

/// Numbers of the fields that are looked at.
mod field {
    pub const NETNS_COOKIE: u32 = 73;
    pub const ATTRIBUTES: u32 = 74;
    pub const STATE: u32 = 1002;
    pub const TIMER: u32 = 1003;
    pub const SOURCE_PORT: u32 = 1005;
    pub const DESTINATION_PORT: u32 = 1006;
    pub const SOCKET_COOKIE: u32 = 1010;
    pub const EXPIRES_MS: u32 = 1013;
}

/// Work on a poll between two looks at the clock.
const SLICE: Duration = Duration::from_millis(2);

/// Polls in a way that suits most tests.
pub fn options() -> PollOptions {
    PollOptions {
        timeout: Duration::from_secs(5),
        idiag_ext: Attributes::DEFAULT.idiag_ext(),
        states: States::ALL,
        plans: true,
        walk_every: Duration::from_secs(3600),
    }
}

/// What is looked at in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub netns_cookie: u64,
    pub cookie: u64,
    pub state: u64,
    /// What the kernel counts as a socket; else a request, or what is left in TIME_WAIT.
    pub is_full: bool,
    pub timer: u64,
    pub expires_ms: u64,
    pub ports: (u64, u64),
}

impl Seen {
    fn decode(row: &[u8]) -> Seen {
        let row = Row::decode(row).unwrap();
        Seen {
            netns_cookie: row.uint(field::NETNS_COOKIE),
            cookie: row.uint(field::SOCKET_COOKIE),
            state: row.uint(field::STATE),
            is_full: row.uint(field::ATTRIBUTES) >> attribute::SHUTDOWN & 1 == 1,
            timer: row.uint(field::TIMER),
            expires_ms: row.uint(field::EXPIRES_MS),
            ports: (row.uint(field::SOURCE_PORT), row.uint(field::DESTINATION_PORT)),
        }
    }
}

/// How namespaces were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub skips: u64,
    pub look_ups: u64,
    pub look_ups_then_walks: u64,
    pub walks: u64,
}

impl std::ops::AddAssign for Reads {
    fn add_assign(&mut self, more: Reads) {
        self.skips += more.skips;
        self.look_ups += more.look_ups;
        self.look_ups_then_walks += more.look_ups_then_walks;
        self.walks += more.walks;
    }
}

impl Reads {
    pub fn of(counters: ReadCounters) -> Reads {
        Reads {
            skips: counters.skips,
            look_ups: counters.look_ups_sufficed,
            look_ups_then_walks: counters.walks_after_look_ups,
            walks: counters.walks,
        }
    }

    pub fn since(self, before: Reads) -> Reads {
        Reads {
            skips: self.skips - before.skips,
            look_ups: self.look_ups - before.look_ups,
            look_ups_then_walks: self.look_ups_then_walks - before.look_ups_then_walks,
            walks: self.walks - before.walks,
        }
    }

    pub fn total(self) -> u64 {
        self.skips + self.look_ups + self.look_ups_then_walks + self.walks
    }
}

/// What one poll saw.
#[derive(Debug)]
pub struct Outcome {
    pub report: PollReport,
    pub rows: Vec<Seen>,
    pub reads: Reads,
}

impl Outcome {
    /// Cookies of the sockets of a namespace, in order.
    pub fn cookies(&self, netns_cookie: u64) -> Vec<u64> {
        let of_namespace = self.rows.iter().filter(|row| row.netns_cookie == netns_cookie);
        let mut cookies: Vec<u64> = of_namespace.map(|row| row.cookie).collect();
        cookies.sort_unstable();
        cookies
    }
}

/// Polls and what they make rows with.
pub struct Poller<W: World> {
    pub poll: Poll<W::Socket>,
    rows: Rows,
}

impl<W: World> Poller<W> {
    pub fn new(options: PollOptions) -> Poller<W> {
        let identity = Identity {
            instance_id: 7,
            daemon_version: "test".to_owned(),
            hostname: String::new(),
            location: String::new(),
            label: String::new(),
            tag: String::new(),
        };
        let encoder = Encoder::new(identity, Attributes::DEFAULT);
        let formatter = Formatter::new(Format::ProtobufList, &[]).unwrap();
        Poller {
            poll: Poll::new(options),
            rows: Rows::new(
                7,
                encoder,
                Envelope::new(1000, 1 << 20),
                Some(formatter),
                usize::MAX,
            ),
        }
    }

    /// One poll; `wait` is called when it waits, until the time given. No socket may be two rows.
    pub fn poll(&mut self, world: &mut W, mut wait: impl FnMut(&mut W, Instant)) -> Outcome {
        let before = Reads::of(self.poll.counters());
        self.poll.start(world, &self.rows);
        let report = loop {
            match self.poll.advance(world, &mut self.rows, SLICE) {
                Progress::More => {}
                Progress::Waiting(until) => wait(world, until),
                Progress::Finished(report) => break report,
                Progress::Idle => panic!("the poll ended without a report"),
            }
        };
        let mut rows = Vec::new();
        while let Some(message) = self.rows.take_message() {
            let mut envelope = message.bytes.as_slice();
            prost::decode_length_delimiter(&mut envelope).unwrap();
            rows.extend(rows_of(envelope).map(|row| Seen::decode(row.unwrap())));
        }
        let mut cookies: Vec<u64> = rows.iter().map(|row| row.cookie).collect();
        cookies.sort_unstable();
        let doubled = cookies.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(doubled, None, "a socket is two rows of one poll");
        Outcome {
            report,
            rows,
            reads: Reads::of(self.poll.counters()).since(before),
        }
    }
}

/// The running kernel, with the namespaces that have a name.
pub fn kernel() -> Kernel {
    let home = Home::open().unwrap();
    let folders = ["/run/netns".into()];
    let discovery = Discovery::new(home.name(), &folders, "/proc".into(), Duration::ZERO);
    Kernel::new(home, discovery, None).unwrap()
}

/// Waits for the running kernel, which hardly ever is to be waited for.
pub fn wait<W: World>(_: &mut W, _: Instant) {
    sleep(Duration::from_millis(1));
}
