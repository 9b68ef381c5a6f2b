//! The order of a poll's visits, and what becomes of those that fail.

use super::{
    FailureKind, FolderCounters, Identity, Reported, ScanCounters, VisitError, folders::Folders,
    processes::ProcessScan, visit::NO_WAY_HOME,
};
use crate::logger;
use std::{
    collections::{HashSet, VecDeque},
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

/// From the visit of a file that no namespace is mounted on to its next: `ip netns add` takes a
/// millisecond or two from one to the other.
const RETRY_EVERY: Duration = Duration::from_millis(10);
/// How long such a file is visited again before it counts as one that is no namespace.
const RETRY_FOR: Duration = Duration::from_millis(50);
const _: () = assert!(RETRY_EVERY.as_millis() < RETRY_FOR.as_millis());

/// Failures logged in a poll. Every namespace may fail for the same reason, and hundreds may come
/// and go in a second; the counters have them all.
const LOGGED_PER_POLL: u32 = 16;

/// A namespace to visit.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: Rc<str>,
    path: Rc<Path>,
    source: Source,
    /// Retried until then.
    give_up: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Own,
    Folder(usize),
    /// A process, and the namespace that the scan saw it in.
    Process {
        inode: u64,
        pid: u32,
    },
}

impl Candidate {
    /// What the rows carry as `netns`: the path, with what is not UTF-8 replaced.
    pub fn name(&self) -> &Rc<str> {
        &self.name
    }

    /// What to open; `None` for the own namespace, where nothing is opened.
    pub fn path(&self) -> Option<&Path> {
        (self.source != Source::Own).then_some(&*self.path)
    }
}

/// What the poll does next.
#[derive(Debug)]
pub enum Next {
    /// Visit it, then call [`Discovery::visited`] or [`Discovery::failed`].
    Visit(Candidate),
    /// Call [`Discovery::scan`] for a slice.
    Scan,
    /// All that is left are files that a namespace may be mounted on soon.
    WaitUntil(Instant),
    /// Nothing is left in this poll.
    Done,
}

/// Since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Visits that got a socket, second visits of a namespace in a poll included.
    pub visited: u64,
    /// Visits put off because nothing was mounted yet.
    pub retried: u64,
    /// Visits that failed for good in their poll, by the number of their [`FailureKind`].
    pub failed: [u64; FailureKind::ALL.len()],
    /// What the folders had.
    pub folders: FolderCounters,
    /// What the scan of processes had.
    pub scan: ScanCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The own namespace and the names in the folders, retries included: a namespace that a
    /// process is about to mount goes under its name, not under that of the process.
    Names,
    /// The scan may have its slice.
    Scan,
    /// Namespaces that only processes hold.
    Processes,
}

/// Finds namespaces and hands them out for visits.
#[derive(Debug)]
pub struct Discovery {
    own: Candidate,
    own_reported: Reported,
    folders: Folders,
    scan: ProcessScan,
    stage: Stage,
    queue: VecDeque<Candidate>,
    /// By the time they are due, the earliest first.
    retries: VecDeque<(Instant, Candidate)>,
    /// Inodes visited in this poll: what the scan found there needs no visit.
    inodes: HashSet<u64>,
    /// [`Identity::key`] of the namespaces visited in this poll.
    identities: HashSet<u64>,
    visited: u64,
    retried: u64,
    failed: [u64; FailureKind::ALL.len()],
    no_way_home_reported: bool,
    no_cookie_reported: bool,
    /// Failures of this poll that asked for a line in the log.
    log_lines: u32,
}

impl Discovery {
    /// `own_name` is what rows of the own namespace carry; `proc` is /proc, but for tests; a
    /// `scan_every` of zero switches the scan of processes off.
    pub fn new(own_name: &str, directories: &[PathBuf], proc: PathBuf, scan_every: Duration) -> Discovery {
        Discovery {
            own: Candidate {
                name: own_name.into(),
                path: Path::new(own_name).into(),
                source: Source::Own,
                give_up: None,
            },
            own_reported: Reported::default(),
            folders: Folders::new(directories),
            scan: ProcessScan::new(proc, scan_every),
            stage: Stage::Processes,
            queue: VecDeque::new(),
            retries: VecDeque::new(),
            inodes: HashSet::new(),
            identities: HashSet::new(),
            visited: 0,
            retried: 0,
            failed: [0; FailureKind::ALL.len()],
            no_way_home_reported: false,
            no_cookie_reported: false,
            log_lines: 0,
        }
    }

    /// The inotify descriptor for the loop; `None` where the system has no instance left.
    pub fn inotify(&self) -> Option<BorrowedFd<'_>> {
        self.folders.inotify()
    }

    /// The inotify descriptor is readable.
    pub fn inotify_ready(&mut self) {
        self.folders.ready();
    }

    /// The counters as they stand.
    pub fn counters(&self) -> Counters {
        Counters {
            visited: self.visited,
            retried: self.retried,
            failed: self.failed,
            folders: self.folders.counters(),
            scan: self.scan.counters(),
        }
    }

    /// Begins a poll: lists the folders and forgets the last poll's visits.
    pub fn start_poll(&mut self) {
        if self.log_lines > LOGGED_PER_POLL {
            let more = self.log_lines - LOGGED_PER_POLL;
            log::warn!("{more} more namespaces could not be visited in the last poll");
        }
        self.log_lines = 0;
        self.queue.clear();
        self.retries.clear();
        self.inodes.clear();
        self.identities.clear();
        self.stage = Stage::Names;
        // First what happened to the names so far, so that the listing does not run ahead of it.
        self.folders.ready();
        self.folders.list();
        self.queue.push_back(self.own.clone());
        let candidates = self.folders.names().map(|(folder, name)| Candidate {
            name: Rc::clone(&name.display),
            path: Rc::clone(&name.path),
            source: Source::Folder(folder),
            give_up: None,
        });
        self.queue.extend(candidates);
    }

    /// What to do next in this poll.
    pub fn next(&mut self, now: Instant) -> Next {
        loop {
            if let Some(candidate) = self.queue.pop_front() {
                match candidate.source {
                    Source::Process { inode, .. } if self.inodes.contains(&inode) => continue,
                    _ => return Next::Visit(candidate),
                }
            }
            match self.retries.front() {
                Some((due, _)) if *due > now => return Next::WaitUntil(*due),
                Some(_) => {
                    self.queue
                        .extend(self.retries.pop_front().map(|(_, candidate)| candidate));
                    continue;
                }
                None => {}
            }
            match self.stage {
                Stage::Names => {
                    self.stage = Stage::Scan;
                    if self.scan.has_work(now) {
                        return Next::Scan;
                    }
                }
                // The first poll sees all there is; later ones go by what the scan knows.
                Stage::Scan if self.scan.is_first_round() && self.scan.has_work(now) => return Next::Scan,
                Stage::Scan => {
                    self.stage = Stage::Processes;
                    let unseen = self
                        .scan
                        .holders()
                        .filter(|(inode, _)| !self.inodes.contains(inode));
                    let candidates = unseen.map(|(inode, pid)| self.process(inode, pid));
                    self.queue = candidates.collect();
                }
                Stage::Processes => return Next::Done,
            }
        }
    }

    /// A visit got a socket. Returns whether it is the first of that namespace in this poll; the
    /// caller drops the socket of a second one unread.
    #[must_use]
    pub fn visited(&mut self, candidate: &Candidate, identity: Identity) -> bool {
        self.visited += 1;
        if identity.cookie.is_none() && !std::mem::replace(&mut self.no_cookie_reported, true) {
            log::warn!(
                "no SO_NETNS_COOKIE (Linux 5.14): namespaces are told apart by inode, within a poll only"
            );
        }
        self.inodes.insert(identity.inode);
        match candidate.source {
            Source::Own => {}
            Source::Folder(folder) => self.folders.met(folder, &candidate.path),
            // The process is elsewhere than the scan saw it, or another has its number now.
            Source::Process { inode, pid } if inode != identity.inode => self.next_holder(inode, pid),
            Source::Process { .. } => {}
        }
        self.identities.insert(identity.key())
    }

    /// A visit failed: it is tried again soon, or counted, and logged when that is news.
    pub fn failed(&mut self, mut candidate: Candidate, error: &VisitError, now: Instant) {
        let reported = self.reported(&candidate).copied().unwrap_or_default();
        // What stayed a file once is not waited for again in every poll.
        if error.kind == FailureKind::NotYetMounted && !reported.contains(error.kind) {
            let give_up = *candidate.give_up.get_or_insert(now + RETRY_FOR);
            if now < give_up {
                self.retried += 1;
                self.retries
                    .push_back(((now + RETRY_EVERY).min(give_up), candidate));
                return;
            }
        }
        self.failed[error.kind as usize] += 1;
        match candidate.source {
            Source::Process { inode, pid } if error.kind == FailureKind::Vanished => {
                self.next_holder(inode, pid)
            }
            Source::Folder(folder) if error.kind != FailureKind::Vanished => {
                self.folders.met(folder, &candidate.path);
            }
            _ => {}
        }
        self.report(&candidate, error);
    }

    /// A slice of the scan of processes: in a poll on [`Next::Scan`], between polls when
    /// [`Discovery::scan_due`] has come. `go_on` is asked after each process, and should say no
    /// after [`super::SCAN_SLICE`].
    pub fn scan(&mut self, now: Instant, go_on: impl FnMut() -> bool) {
        self.scan.advance(now, go_on);
    }

    /// When the scan needs its next slice for its round to end in time, polls or no polls; `None`
    /// when it is switched off or the first poll has not started it yet.
    pub fn scan_due(&self) -> Option<Instant> {
        self.scan.due()
    }

    fn process(&self, inode: u64, pid: u32) -> Candidate {
        let path = self.scan.path_of(pid);
        Candidate {
            name: path.to_string_lossy().into(),
            path: path.into(),
            source: Source::Process { inode, pid },
            give_up: None,
        }
    }

    fn next_holder(&mut self, inode: u64, pid: u32) {
        if let Some(next) = self.scan.holder_gone(inode, pid) {
            self.queue.push_front(self.process(inode, next));
        }
    }

    fn reported(&mut self, candidate: &Candidate) -> Option<&mut Reported> {
        match candidate.source {
            Source::Own => Some(&mut self.own_reported),
            Source::Folder(folder) => {
                let name = self.folders.name_mut(folder, &candidate.path)?;
                Some(&mut name.reported)
            }
            Source::Process { inode, .. } => Some(&mut self.scan.namespace_mut(inode)?.reported),
        }
    }

    fn report(&mut self, candidate: &Candidate, error: &VisitError) {
        if error.kind == FailureKind::Vanished {
            // The usual end of a namespace; and what has gone fails only once.
            return log::debug!("{}: {error}", candidate.name);
        }
        if error.step == NO_WAY_HOME {
            if !std::mem::replace(&mut self.no_way_home_reported, true) {
                log::warn!("only the own network namespace can be polled: {error}");
            }
            return;
        }
        if self
            .reported(candidate)
            .is_none_or(|reported| reported.first(error.kind))
        {
            self.log_lines += 1;
            if self.log_lines <= LOGGED_PER_POLL {
                log::warn!(target: logger::BOUNDED, "{}: not polled: {error}", candidate.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use std::fs::File;
    use tempfile::TempDir;

    fn discovery(folder: &TempDir) -> Discovery {
        Discovery::new(
            "own",
            &[folder.path().to_owned()],
            "/absent".into(),
            Duration::ZERO,
        )
    }

    fn take(discovery: &mut Discovery, now: Instant) -> Candidate {
        match discovery.next(now) {
            Next::Visit(candidate) => candidate,
            other => panic!("expected a visit, got {other:?}"),
        }
    }

    fn error(kind: FailureKind) -> VisitError {
        VisitError {
            kind,
            step: "open",
            errno: Errno::EIO,
        }
    }

    #[test]
    fn without_cookies_the_inode_tells_namespaces_apart() {
        let folder = TempDir::new().unwrap();
        let mut discovery = discovery(&folder);
        discovery.start_poll();
        let own = take(&mut discovery, Instant::now());
        let identity = |inode| Identity { cookie: None, inode };
        assert!(discovery.visited(&own, identity(1)));
        assert!(!discovery.visited(&own, identity(1)));
        assert!(discovery.visited(&own, identity(2)));
        discovery.start_poll();
        assert!(
            discovery.visited(&own, identity(1)),
            "a poll knows nothing of the last one"
        );
    }

    #[test]
    fn a_file_is_retried_for_its_time_and_holds_up_no_later_poll() {
        let folder = TempDir::new().unwrap();
        File::create(folder.path().join("blue")).unwrap();
        let mut discovery = discovery(&folder);
        let start = Instant::now();
        let mut now = start;
        discovery.start_poll();
        let own = take(&mut discovery, now);
        assert_eq!(own.path(), None);
        loop {
            match discovery.next(now) {
                Next::Visit(candidate) => {
                    discovery.failed(candidate, &error(FailureKind::NotYetMounted), now)
                }
                Next::WaitUntil(due) => now = due,
                Next::Done => break,
                Next::Scan => panic!("the scan is off"),
            }
        }
        assert_eq!(now - start, RETRY_FOR);
        let counters = discovery.counters();
        assert_eq!(counters.retried, 5);
        assert_eq!(counters.failed[FailureKind::NotYetMounted as usize], 1);

        discovery.start_poll();
        take(&mut discovery, now);
        let blue = take(&mut discovery, now);
        discovery.failed(blue, &error(FailureKind::NotYetMounted), now);
        assert!(matches!(discovery.next(now), Next::Done));
    }

    #[test]
    fn a_failure_is_logged_once_for_a_name_and_the_lines_of_a_poll_are_bounded() {
        let folder = TempDir::new().unwrap();
        for number in 0..100 {
            File::create(folder.path().join(number.to_string())).unwrap();
        }
        let mut discovery = discovery(&folder);
        let mut poll = |kind| {
            let now = Instant::now();
            discovery.start_poll();
            while let Next::Visit(candidate) = discovery.next(now) {
                if candidate.path().is_some() {
                    discovery.failed(candidate, &error(kind), now);
                }
            }
            discovery.log_lines
        };
        assert_eq!(poll(FailureKind::Permission), 100);
        assert_eq!(poll(FailureKind::Permission), 0);
        assert_eq!(poll(FailureKind::Resources), 100);
        assert_eq!(poll(FailureKind::Vanished), 0);
        assert_eq!(discovery.counters().failed[FailureKind::Permission as usize], 200);
    }
}
