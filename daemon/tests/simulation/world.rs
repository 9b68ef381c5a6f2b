//! The simulated world, as the poll asks it.

use super::{
    kernel::{Kernel, Place},
    system::{Handle, Thread},
};
use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeSet, VecDeque},
    io,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};
use xtcp2::{
    namespaces::{Counts, FailureKind, Home, Identity, Visit, VisitError},
    netlink::receive_batch::ReceiveBatch,
    poll::{Arrival, Next, World},
};

/// A path that no namespace is mounted on yet is visited again after so long, once.
const RETRY_AFTER: Duration = Duration::from_millis(10);
/// Of 1,000 calls with faults, so many meet a clock that jumped.
const JUMPS_PER_MILLE: u64 = 30;
const JUMP_MAX: Duration = Duration::from_secs(20);
const HOUR_NS: i64 = 3_600_000_000_000;

/// What is open of a namespace that is read.
#[derive(Debug)]
pub struct Open {
    pub handle: Rc<Handle>,
    counts: Option<u64>,
}

/// Visits, and what comes of them.
pub struct Simulated {
    pub kernel: Rc<RefCell<Kernel>>,
    home: Home<Thread>,
    to_visit: VecDeque<Option<String>>,
    retries: VecDeque<(Instant, String)>,
    identities: BTreeSet<u64>,
}

impl Simulated {
    pub fn new(kernel: &Rc<RefCell<Kernel>>) -> Simulated {
        Simulated {
            kernel: Rc::clone(kernel),
            home: Home::on(Thread(Rc::clone(kernel))).unwrap(),
            to_visit: VecDeque::new(),
            retries: VecDeque::new(),
            identities: BTreeSet::new(),
        }
    }

    fn asked(&self, what: &str) -> RefMut<'_, Kernel> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.asked(what);
        if kernel.fails(JUMPS_PER_MILLE) {
            let jump_ns = kernel.random.below(2 * HOUR_NS.cast_unsigned()).cast_signed() - HOUR_NS;
            let realtime_ns = kernel.realtime_ns();
            kernel.set_realtime(realtime_ns + jump_ns);
            if kernel.random.happens(200) {
                // The whole machine stood still; whoever was read may have run out of time.
                let jump = JUMP_MAX / 1000 * u32::try_from(kernel.random.below(1000)).unwrap();
                kernel.pass(jump);
                let all: Vec<u64> = kernel.namespaces.keys().copied().collect();
                all.into_iter().for_each(|netns| kernel.kept_back(netns));
            }
        }
        kernel
    }

    fn visited(&mut self, name: &str, visit: Visit<Thread>) -> Next<Open> {
        let Identity { cookie, inode } = visit.identity;
        let netns = visit.socket.netns;
        self.kernel.borrow_mut().visited.insert(netns);
        // The inode stands for the namespace where there is no cookie.
        if !self.identities.insert(cookie.unwrap_or(inode)) {
            return Next::Again;
        }
        Next::Namespace(Arrival {
            socket: Open {
                handle: visit.socket,
                counts: visit.counts,
            },
            identity: visit.identity,
            name: name.into(),
            socket_number: 9,
        })
    }

    fn failed(&mut self, path: String, error: &VisitError, is_retry: bool) -> Next<Open> {
        let mut kernel = self.kernel.borrow_mut();
        if error.kind == FailureKind::NotYetMounted && !is_retry {
            self.retries.push_back((kernel.now() + RETRY_AFTER, path));
        } else if let Some(Place::Namespace(netns)) = kernel.paths.get(&path).copied() {
            kernel.failed_visits.insert(netns);
        }
        Next::Again
    }
}

impl World for Simulated {
    type Socket = Open;

    fn now(&self) -> Instant {
        self.kernel.borrow().now()
    }

    fn realtime_ns(&self) -> i64 {
        self.kernel.borrow().realtime_ns()
    }

    fn start_poll(&mut self) {
        let mut kernel = self.asked("start of a poll");
        kernel.poll_begins();
        let paths: Vec<String> = kernel.paths.keys().cloned().collect();
        drop(kernel);
        self.identities.clear();
        self.retries.clear();
        self.to_visit = std::iter::once(None).chain(paths.into_iter().map(Some)).collect();
    }

    fn next_namespace(&mut self) -> Next<Open> {
        drop(self.asked("next namespace"));
        let now = self.now();
        let (path, is_retry) = match (self.to_visit.pop_front(), self.retries.front()) {
            (Some(path), _) => (path, false),
            (None, Some((due, _))) if *due > now => return Next::WaitUntil(*due),
            (None, Some(_)) => (self.retries.pop_front().map(|(_, path)| path), true),
            (None, None) => return Next::Done,
        };
        match path {
            None => match self.home.visit_own() {
                Ok(visit) => self.visited("/proc/self/ns/net", visit),
                Err(_) => {
                    let mut kernel = self.kernel.borrow_mut();
                    let home = kernel.home;
                    kernel.failed_visits.insert(home);
                    Next::Again
                }
            },
            Some(path) => match self.home.visit(Path::new(&path)) {
                Ok(visit) => self.visited(&path, visit),
                Err(error) => self.failed(path, &error, is_retry),
            },
        }
    }

    fn send(&mut self, socket: &Open, request: &[u8]) -> io::Result<()> {
        let mut kernel = self.asked("send");
        let mut inbox = socket.handle.inbox.borrow_mut();
        inbox.send(&mut kernel, socket.handle.netns, request)
    }

    fn receive(&mut self, socket: &Open, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.asked("receive");
        let mut inbox = socket.handle.inbox.borrow_mut();
        inbox.receive(&mut kernel, socket.handle.netns, buffer)
    }

    fn receive_batch(&mut self, socket: &Open, batch: &mut ReceiveBatch) -> io::Result<usize> {
        let mut kernel = self.asked("receive");
        batch.clear();
        let mut inbox = socket.handle.inbox.borrow_mut();
        inbox.receive_batch(&mut kernel, |datagram| batch.push(datagram))
    }

    fn counts(&mut self, socket: &Open) -> Option<Counts> {
        let kernel = self.asked("counts");
        let netns = socket.counts.filter(|_| kernel.profile.says_counts)?;
        Some(kernel.namespaces[&netns].counts())
    }

    fn opens(&mut self, socket: &Open) -> Option<u64> {
        let kernel = self.asked("opens");
        Some(kernel.namespaces[&socket.counts?].opens)
    }

    fn thread_cpu(&self) -> Duration {
        self.kernel.borrow().cpu()
    }
}
