//! Sockets that stand still are seen by every poll, whatever other sockets of the namespace do during
//! it: threads open, close and turn sockets all the while.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;

use common::{
    events::Random,
    namespace::Namespace,
    sandbox,
    scenes::set_option,
    seen::{self, Outcome, Poller, Reads, Seen, options},
};
use nix::libc;
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    collections::{BTreeSet, VecDeque},
    env, io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};
use xtcp2::{
    kernel::{Kernel, NamespaceSocket},
    namespaces::Counts,
    netlink::{inet_diag::States, receive_batch::ReceiveBatch},
    poll::{Next, PollOptions, World},
};

const THREADS: u64 = 2;
/// Sockets that stand still.
const STANDING: usize = 40;
const SECONDS: u64 = 4;
/// After so many polls the planner has learned that look-ups fail here, and is to forget it.
const POLLS_A_PLANNER: u64 = 40;
/// What a walk is made to seem to cost, so that look-ups are tried however often they fail.
const WALK_CPU: Duration = Duration::from_secs(10);

/// The kernel, but for the cost of walks and the hint that connections were opened.
struct Eager {
    kernel: Kernel,
    walks: u32,
}

impl World for Eager {
    type Socket = NamespaceSocket;

    fn now(&self) -> Instant {
        self.kernel.now()
    }

    fn realtime_ns(&self) -> i64 {
        self.kernel.realtime_ns()
    }

    fn start_poll(&mut self) {
        self.kernel.start_poll();
    }

    fn next_namespace(&mut self) -> Next<NamespaceSocket> {
        self.kernel.next_namespace()
    }

    fn send(&mut self, socket: &NamespaceSocket, request: &[u8]) -> io::Result<()> {
        // The states end a request for a dump of both families: all but the last four bytes.
        let states = request.len().checked_sub(8).map(|at| &request[at..at + 4]);
        self.walks += u32::from(states == Some(&States::ALL.bits().to_ne_bytes()));
        self.kernel.send(socket, request)
    }

    fn receive(&mut self, socket: &NamespaceSocket, buffer: &mut [u8]) -> io::Result<usize> {
        self.kernel.receive(socket, buffer)
    }

    fn receive_batch(&mut self, socket: &NamespaceSocket, batch: &mut ReceiveBatch) -> io::Result<usize> {
        self.kernel.receive_batch(socket, batch)
    }

    fn counts(&mut self, socket: &NamespaceSocket) -> Option<Counts> {
        self.kernel.counts(socket)
    }

    fn opens(&mut self, _: &NamespaceSocket) -> Option<u64> {
        Some(0)
    }

    fn thread_cpu(&self) -> Duration {
        self.kernel.thread_cpu() + self.walks * WALK_CPU
    }
}

fn socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn loopback(port: u16) -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

fn listener(accepts_on_data: bool) -> Socket {
    let socket = socket();
    if accepts_on_data {
        let seconds = 5u32.to_ne_bytes();
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds).unwrap();
    }
    socket.bind(&loopback(0)).unwrap();
    socket.listen(100).unwrap();
    socket
}

/// Opens and closes one thing or another until it is told to stop.
fn churn(seed: u64, stop: &AtomicBool) {
    let mut random = Random::new(seed);
    let mut listeners = [listener(false), listener(true)];
    let mut sockets: VecDeque<Socket> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        match random.below(6) {
            // One listener in place of another.
            0 => {
                let which = random.below(2);
                listeners[which] = listener(which == 1);
            }
            1 | 2 => {
                let address = listeners[random.below(2)].local_addr().unwrap();
                let client = socket();
                let _ = client.connect(&address);
                sockets.push_back(client);
            }
            // A request becomes a socket.
            3 => {
                for socket in &sockets {
                    let _ = socket.send_with_flags(b"x", libc::MSG_NOSIGNAL);
                }
            }
            4 => sockets.extend(listeners[random.below(2)].accept().map(|(socket, _)| socket)),
            _ if sockets.len() > 8 => {
                for socket in sockets.drain(..random.below(8)) {
                    if random.percent(70) {
                        socket.set_linger(Some(Duration::ZERO)).unwrap();
                    }
                }
            }
            _ => {}
        }
        // Bursts, and pauses in which look-ups have a chance.
        if random.percent(50) {
            sleep(Duration::from_micros(random.below(8000) as u64));
        }
    }
}

/// A socket that nothing happens to: connected to itself.
fn standing() -> Socket {
    let socket = socket();
    socket.bind(&loopback(0)).unwrap();
    let own = socket.local_addr().unwrap();
    let _ = socket.connect(&own);
    socket
}

fn assert_sees(outcome: &Outcome, standing: &VecDeque<Socket>) {
    let seen: BTreeSet<u64> = outcome.rows.iter().map(|row| row.cookie).collect();
    let missing: Vec<u64> = standing
        .iter()
        .map(|socket| socket.cookie().unwrap())
        .filter(|cookie| !seen.contains(cookie))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?} in {:?}", outcome.reads);
}

#[test]
fn what_stands_is_seen_while_all_else_moves() {
    sandbox::run("what_stands_is_seen_while_all_else_moves", || {
        let namespace = Namespace::add("place");
        namespace.ip("link set lo up");
        let stop = AtomicBool::new(false);
        let mut eager = Eager {
            kernel: seen::kernel(),
            walks: 0,
        };
        let planner = |wants_time_wait| -> Poller<Eager> {
            let states = if wants_time_wait {
                "all"
            } else {
                "ESTABLISHED,LISTEN"
            };
            Poller::new(PollOptions {
                states: states.parse().unwrap(),
                walk_every: Duration::from_secs(3600),
                ..options()
            })
        };
        let mut poller = planner(true);
        let mut random = Random::new(1);
        let seconds = env::var("XTCP2_RACE_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
        let until = Instant::now() + Duration::from_secs(seconds);
        let (mut polls, mut reads) = (0, Reads::default());
        let mut kept: VecDeque<Socket> = namespace.enter(|| (0..STANDING).map(|_| standing()).collect());
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (namespace, stop) = (&namespace, &stop);
                scope.spawn(move || namespace.enter(|| churn(seed, stop)));
            }
            while Instant::now() < until {
                polls += 1;
                if polls % POLLS_A_PLANNER == 0 {
                    reads += Reads::of(poller.poll.counters());
                    poller = planner(random.percent(50));
                }
                // One for one, just before the poll.
                if random.percent(50) {
                    kept.pop_front();
                    kept.push_back(namespace.enter(standing));
                }
                let outcome = poller.poll(&mut eager, seen::wait);
                if let Err(panic) = std::panic::catch_unwind(|| assert_sees(&outcome, &kept)) {
                    stop.store(true, Ordering::Relaxed);
                    std::panic::resume_unwind(panic);
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        reads += Reads::of(poller.poll.counters());
        eprintln!("{polls} polls: {reads:?}");
        assert!(reads.look_ups > 0 && reads.look_ups_then_walks > 0, "{reads:?}");

        sleep(Duration::from_millis(50));
        // The table of the last planner is what the races left of it.
        let mut all = options();
        all.walk_every = Duration::from_secs(3600);
        poller.poll.set_options(all);
        let planned = poller.poll(&mut eager, seen::wait);
        let mut walker = Poller::new(PollOptions {
            plans: false,
            ..options()
        });
        let walked = walker.poll(&mut seen::kernel(), seen::wait);
        let full = |outcome: &Outcome| -> BTreeSet<(u64, u64)> {
            let full = outcome.rows.iter().filter(|row| row.is_full);
            full.map(|row: &Seen| (row.cookie, row.state)).collect()
        };
        assert_eq!(full(&planned), full(&walked));
        assert_sees(&planned, &kept);
    });
}
