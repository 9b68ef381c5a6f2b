//! Nothing is missed: each planned poll against a plain walk of everything made right after it, while
//! thousands of random things happen to sockets between one poll and the next.
//!
//! Around a planned poll and its walk nothing happens but by the kernel's own timers. A second walk, right
//! before, tells what those changed: a socket, known by its cookie, that both walks saw in the same
//! state must be in the planned poll, in that state. The one exception are requests (SYN_RECV), which
//! nothing counts: they may be missing, but for no longer than `walk_every`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;

use common::{
    events::{Place, Random, Tally},
    sandbox,
    seen::{self, Outcome, Poller, Reads, options},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::Socket;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    env,
    fs::File,
    io,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use xtcp2::{
    kernel::{Kernel, NamespaceSocket},
    namespaces::Counts,
    netlink::receive_batch::ReceiveBatch,
    poll::{Next, PollOptions, World},
};

const PLACES: usize = 24;
/// Pairs of them that have a cable between them.
const JOINED_PAIRS: usize = 4;
/// Share of the namespaces in which something happens between two polls.
const ACTIVE_PERCENT: usize = 15;
const EVENTS_AT_ONCE_MAX: usize = 40;
/// Polls between two that find a namespace made again.
const MAKE_AGAIN_PERCENT: usize = 4;
/// Longer than a softirq that was put off.
const SETTLE: Duration = Duration::from_millis(2);
/// So short that it comes often in a short test.
const WALK_EVERY: Duration = Duration::from_secs(2);
/// How much longer a request may be missing: from one poll to the next.
const WALK_SLACK: Duration = Duration::from_secs(1);

const SYN_RECV: u64 = 3;
/// How a difference is called that is a fault of the planned poll.
const MISSING: &str = "missing in the planned poll";

/// What the planned poll and the walks around it did not have in common.
#[derive(Debug, Default)]
struct Differences {
    /// Rows that the planned poll and the walk after it do not share, of sockets that the kernel changed
    /// meanwhile: the walks before and after do not agree on them either.
    changed: u64,
    /// Requests, which nothing counts, that the planned poll did not have.
    late_requests: u64,
    unexplained: Vec<String>,
}

/// A state, and whether the kernel counts it as a socket.
type State = (u64, bool);

/// What a poll saw, by cookies of namespace and socket.
fn states(outcome: &Outcome) -> HashMap<(u64, u64), State> {
    let rows = outcome.rows.iter();
    rows.map(|row| ((row.netns_cookie, row.cookie), (row.state, row.is_full)))
        .collect()
}

/// Requests that planned polls have not found yet, by cookie, and since when.
type LateRequests = HashMap<u64, Instant>;

/// Compares a planned poll with the walk after it. Where they differ, the walk before it says whether
/// the socket changed.
fn compare(
    before: &Outcome,
    planned: &Outcome,
    after: &Outcome,
    late: &mut LateRequests,
    differences: &mut Differences,
) {
    let now = Instant::now();
    let mut still_late = LateRequests::new();
    let was = states(before);
    let planned_states = states(planned);
    let is = states(after);
    let rows = after.rows.iter();
    let gone = planned.rows.iter();
    let gone = gone.filter(|row| !is.contains_key(&(row.netns_cookie, row.cookie)));
    for row in rows.chain(gone) {
        let cookies = (row.netns_cookie, row.cookie);
        let [was, planned, is] = [&was, &planned_states, &is].map(|states| states.get(&cookies));
        if planned == is {
            continue;
        }
        if was != is {
            differences.changed += 1;
        } else if planned.is_none() && is == Some(&(SYN_RECV, false)) {
            differences.late_requests += u64::from(!late.contains_key(&row.cookie));
            let since = late.get(&row.cookie).copied().unwrap_or(now);
            let missing_for = now.duration_since(since);
            assert!(
                missing_for < WALK_EVERY + WALK_SLACK,
                "not found for {missing_for:?}: {row:?}"
            );
            still_late.insert(row.cookie, since);
        } else {
            let what = if planned.is_none() { MISSING } else { "wrong" };
            differences.unexplained.push(format!(
                "{what}: before {was:?}, planned {planned:?}, after {is:?}: {row:?}"
            ));
        }
    }
    *late = still_late;
}

/// The namespaces, what happens in them, and the walks that say what is there.
struct Ground {
    random: Random,
    places: Vec<Place>,
    home: File,
    /// Sockets of deleted namespaces.
    outliving: VecDeque<Vec<Socket>>,
    tally: Tally,
    walker: Poller<Kernel>,
    kernel: Kernel,
    late: LateRequests,
    differences: Differences,
    rows: u64,
    /// Rows by state and whether they are full sockets.
    states: BTreeMap<(u64, bool), u64>,
}

impl Ground {
    fn new(seed: u64) -> Ground {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let mut random = Random::new(seed);
        let mut places: Vec<Place> = (0..PLACES)
            .map(|number| Place::make(&format!("place-{number}"), &mut random))
            .collect();
        for (pair, subnet) in places.chunks_exact_mut(2).take(JOINED_PAIRS).zip(0..) {
            let (first, second) = pair.split_at_mut(1);
            first[0].join(&mut second[0], subnet);
        }
        Ground {
            random,
            places,
            home: File::open("/proc/thread-self/ns/net").unwrap(),
            outliving: VecDeque::new(),
            tally: Tally::new(),
            walker: Poller::new(PollOptions {
                plans: false,
                ..options()
            }),
            kernel: seen::kernel(),
            late: LateRequests::new(),
            differences: Differences::default(),
            rows: 0,
            states: BTreeMap::new(),
        }
    }

    /// Lets things happen in some of the namespaces; how many.
    fn events(&mut self) -> usize {
        let Ground {
            random,
            places,
            home,
            tally,
            ..
        } = self;
        let mut happened = 0;
        for pair in places.chunks_exact_mut(2).take(JOINED_PAIRS) {
            let ports = [pair[1].ports(), pair[0].ports()];
            for (place, ports) in pair.iter_mut().zip(ports) {
                place.set_neighbour_ports(ports);
            }
        }
        for place in places {
            if random.percent(ACTIVE_PERCENT) {
                let count = 1 + random.below(EVENTS_AT_ONCE_MAX);
                place.events(count, random, tally, home);
                happened += count;
            }
        }
        if random.percent(MAKE_AGAIN_PERCENT) {
            let place = &mut self.places[2 * JOINED_PAIRS + random.below(PLACES - 2 * JOINED_PAIRS)];
            self.outliving.push_back(place.make_again(random, tally));
            if self.outliving.len() > 3 {
                self.outliving.pop_front();
            }
            happened += 1;
        }
        sleep(SETTLE);
        happened
    }

    /// A planned poll, and walks before and after it to compare it with.
    fn compare<W: World>(&mut self, planner: &mut Poller<W>, world: &mut W) -> Outcome {
        let before = self.walker.poll(&mut self.kernel, seen::wait);
        let planned = planner.poll(world, seen::wait);
        let after = self.walker.poll(&mut self.kernel, seen::wait);
        assert_eq!(planned.report.namespaces, after.report.namespaces);
        self.rows += after.rows.len() as u64;
        for row in &planned.rows {
            *self.states.entry((row.state, row.is_full)).or_default() += 1;
        }
        compare(&before, &planned, &after, &mut self.late, &mut self.differences);
        planned
    }
}

fn planner<W: World>() -> Poller<W> {
    Poller::new(PollOptions {
        walk_every: WALK_EVERY,
        ..options()
    })
}

/// The variable of that name, or what else it is to be.
fn number(name: &str, default: impl FnOnce() -> u64) -> u64 {
    env::var(name).map_or_else(|_| default(), |text| text.parse().unwrap())
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("XTCP2_SEED", || now().subsec_nanos().into());
    eprintln!("XTCP2_SEED={seed}");
    seed
}

/// Planned polls against walks, until so many things have happened.
fn nothing_is_missed(events: u64) {
    let mut ground = Ground::new(seed());
    let mut planner = planner();
    let mut kernel = seen::kernel();
    let (mut happened, mut polls, mut reads) = (0, 0, Reads::default());
    while happened < events {
        happened += ground.events() as u64;
        // Now and then, a poll that finds everything as it was.
        for _ in 0..1 + usize::from(ground.random.percent(40)) {
            let planned = ground.compare(&mut planner, &mut kernel);
            polls += 1;
            reads += planned.reads;
            let unexplained = &ground.differences.unexplained;
            assert!(
                unexplained.is_empty(),
                "poll {polls}, {happened} events: {unexplained:#?}"
            );
        }
    }
    let Ground {
        differences,
        tally,
        rows,
        states,
        ..
    } = &ground;
    eprintln!(
        "{happened} events, {polls} polls, {rows} rows compared; namespaces: {} looked up, {} walked after look-ups, {} walked, \
         {} skipped; {} rows of sockets that changed between the walks, {} connection requests seen late, 0 unexplained",
        reads.look_ups,
        reads.look_ups_then_walks,
        reads.walks,
        reads.skips,
        differences.changed,
        differences.late_requests
    );
    eprintln!("rows by (state, is full): {states:?}");
    for (what, count) in tally {
        eprintln!("{count:8} {what}");
    }
    assert!(
        reads.look_ups * 2 > reads.total(),
        "more than half of the reads have to be look-ups: {reads:?}"
    );
}

#[test]
fn nothing_is_missed_between_polls() {
    sandbox::run("nothing_is_missed_between_polls", || {
        nothing_is_missed(number("XTCP2_EVENTS", || 4000));
    });
}

#[test]
#[ignore = "100,000 events take minutes: scripts/test --full"]
fn nothing_is_missed_in_100_000_events() {
    sandbox::run("nothing_is_missed_in_100_000_events", || {
        nothing_is_missed(number("XTCP2_EVENTS", || 100_000));
    });
}

/// How a kernel might get its counts wrong.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// One socket too few.
    OneLess,
    /// As they were in the poll before.
    AsBefore,
}

/// The kernel, but for its counts.
struct Liar {
    kernel: Kernel,
    lie: Lie,
    netns_cookie: u64,
    before: HashMap<u64, Counts>,
}

impl World for Liar {
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
        let next = self.kernel.next_namespace();
        if let Next::Namespace(arrival) = &next {
            self.netns_cookie = arrival.identity.cookie.unwrap();
        }
        next
    }

    fn send(&mut self, socket: &NamespaceSocket, request: &[u8]) -> io::Result<()> {
        self.kernel.send(socket, request)
    }

    fn receive(&mut self, socket: &NamespaceSocket, buffer: &mut [u8]) -> io::Result<usize> {
        self.kernel.receive(socket, buffer)
    }

    fn receive_batch(&mut self, socket: &NamespaceSocket, batch: &mut ReceiveBatch) -> io::Result<usize> {
        self.kernel.receive_batch(socket, batch)
    }

    fn counts(&mut self, socket: &NamespaceSocket) -> Option<Counts> {
        let truth = self.kernel.counts(socket)?;
        match self.lie {
            Lie::OneLess => Some(Counts {
                full: truth.full.saturating_sub(1),
                ..truth
            }),
            Lie::AsBefore => Some(self.before.insert(self.netns_cookie, truth).unwrap_or(truth)),
        }
    }

    fn opens(&mut self, socket: &NamespaceSocket) -> Option<u64> {
        self.kernel.opens(socket)
    }

    fn thread_cpu(&self) -> Duration {
        self.kernel.thread_cpu()
    }
}

/// The comparison can fail: with the gate broken, sockets are missing, and it says so.
fn a_lie_is_found_out(lie: Lie) {
    let mut ground = Ground::new(seed());
    let mut planner = planner();
    let mut liar = Liar {
        kernel: seen::kernel(),
        lie,
        netns_cookie: 0,
        before: HashMap::new(),
    };
    for polls in 1..=100 {
        ground.events();
        ground.compare(&mut planner, &mut liar);
        let mut unexplained = ground.differences.unexplained.iter();
        if let Some(missing) = unexplained.find(|what| what.starts_with(MISSING)) {
            eprintln!("{lie:?} is found out in poll {polls}: {missing}");
            return;
        }
    }
    panic!("{lie:?} is not found out");
}

#[test]
fn counts_that_are_one_too_low_are_found_out() {
    sandbox::run("counts_that_are_one_too_low_are_found_out", || {
        a_lie_is_found_out(Lie::OneLess);
    });
}

#[test]
fn counts_that_are_old_are_found_out() {
    sandbox::run("counts_that_are_old_are_found_out", || {
        a_lie_is_found_out(Lie::AsBefore);
    });
}
