//! A rolling scan over /proc for namespaces that only processes hold: those of containers whose
//! runtime mounts nothing, of `unshare`, of browsers.
//!
//! A process costs 5 to 10 us, so a host with 10,000 of them is looked at in slices. Only the main
//! thread of a process is looked at; a namespace that none but another thread holds is not found.

use super::Reported;
use nix::errno::Errno;
use std::{
    collections::BTreeMap,
    fs::{self, ReadDir},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long one slice of the scan may take. The directory stream of /proc is refilled 1,300
/// processes at a time, which takes up to 2 ms more: 5 ms together.
pub const SCAN_SLICE: Duration = Duration::from_millis(3);

/// Processes remembered of a namespace: enough that another is at hand when one ends, few enough
/// that the 10,000 processes of a host's own namespace take no memory.
const HOLDERS_MAX: usize = 4;

/// What the scan saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanCounters {
    /// Rounds completed.
    pub rounds: u64,
    /// Processes of the last complete round.
    pub processes: u64,
    /// Of those, the ones whose namespace we may not read (no CAP_SYS_PTRACE).
    pub processes_refused: u64,
    /// Rounds that could not start, /proc being unreadable.
    pub failed: u64,
}

/// Processes that hold a namespace.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pids: Vec<u32>,
    /// The last round that found one.
    round: u64,
    /// What was logged of the namespace.
    pub reported: Reported,
}

#[derive(Debug)]
struct Round {
    /// Kept open between slices. /proc lists processes by number and goes on behind the last one.
    processes: ReadDir,
    seen: u64,
    refused: u64,
}

/// The scan: a map from the inode of a namespace to processes that hold it.
#[derive(Debug)]
pub(super) struct ProcessScan {
    root: PathBuf,
    /// A round takes at most this long; zero switches the scan off.
    every: Duration,
    namespaces: BTreeMap<u64, Holders>,
    round: Option<Round>,
    /// Start of the round that runs, or of the last.
    started: Option<Instant>,
    /// A namespace has lost all the holders we knew: look for others now, not when it is time.
    wanted: bool,
    counters: ScanCounters,
}

impl ProcessScan {
    /// `root` is /proc, but for tests.
    pub fn new(root: PathBuf, every: Duration) -> ProcessScan {
        ProcessScan {
            root,
            every,
            namespaces: BTreeMap::new(),
            round: None,
            started: None,
            wanted: false,
            counters: ScanCounters::default(),
        }
    }

    pub fn counters(&self) -> ScanCounters {
        self.counters
    }

    /// No round was completed yet.
    pub fn is_first_round(&self) -> bool {
        self.counters.rounds == 0
    }

    /// A round runs, or should start.
    pub fn has_work(&self, now: Instant) -> bool {
        if self.every.is_zero() {
            return false;
        }
        let time_is_up = |started| now.saturating_duration_since(started) >= self.every;
        self.round.is_some() || self.wanted || self.started.is_none_or(time_is_up)
    }

    /// Until when the next slice must run for the round to end in time; `None` when switched off.
    /// Before the first slice there is no due time either: the first poll runs a whole round.
    pub fn due(&self) -> Option<Instant> {
        let started = self.started.filter(|_| !self.every.is_zero())?;
        let share = match &self.round {
            None if self.wanted => 0.0,
            None => 1.0,
            // The last round is the best guess at how many there are.
            #[allow(clippy::cast_precision_loss, reason = "a share of some thousands")]
            Some(round) => round.seen as f64 / self.counters.processes.max(round.seen + 1) as f64,
        };
        Some(started + self.every.mul_f64(share))
    }

    /// Looks at processes, at one at least, until `go_on` says no or the round ends.
    pub fn advance(&mut self, now: Instant, mut go_on: impl FnMut() -> bool) {
        if !self.has_work(now) {
            return;
        }
        let Some(mut round) = self.round.take().or_else(|| self.start(now)) else {
            return;
        };
        loop {
            // An error ends a round like the last process does; the next round reads anew.
            let Some(Ok(entry)) = round.processes.next() else {
                return self.finish(&round);
            };
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.look_at(pid, &mut round);
            }
            if !go_on() {
                self.round = Some(round);
                return;
            }
        }
    }

    /// Every namespace with the holder to try first.
    pub fn holders(&self) -> impl Iterator<Item = (u64, u32)> {
        let first = |(inode, holders): (&u64, &Holders)| Some((*inode, *holders.pids.first()?));
        self.namespaces.iter().filter_map(first)
    }

    /// Where a process shows its namespace.
    pub fn path_of(&self, pid: u32) -> PathBuf {
        self.root.join(format!("{pid}/ns/net"))
    }

    pub fn namespace_mut(&mut self, inode: u64) -> Option<&mut Holders> {
        self.namespaces.get_mut(&inode)
    }

    /// The process ended, or went to another namespace. Returns the next to try; when there is
    /// none, a round starts at once.
    pub fn holder_gone(&mut self, inode: u64, pid: u32) -> Option<u32> {
        let holders = self.namespaces.get_mut(&inode)?;
        holders.pids.retain(|holder| *holder != pid);
        let next = holders.pids.first().copied();
        if next.is_none() {
            self.namespaces.remove(&inode);
            self.wanted = true;
        }
        next
    }

    fn start(&mut self, now: Instant) -> Option<Round> {
        self.started = Some(now);
        self.wanted = false;
        match fs::read_dir(&self.root) {
            Ok(processes) => Some(Round {
                processes,
                seen: 0,
                refused: 0,
            }),
            Err(error) => {
                if self.counters.failed == 0 {
                    let root = self.root.display();
                    log::warn!(
                        "cannot list {root}: {error}; namespaces held by processes alone are not seen"
                    );
                }
                self.counters.failed += 1;
                None
            }
        }
    }

    fn look_at(&mut self, pid: u32, round: &mut Round) {
        round.seen += 1;
        let number = self.counters.rounds + 1;
        match nix::fcntl::readlink(&self.path_of(pid)) {
            Ok(link) => {
                let Some(inode) = inode_of(link.as_bytes()) else {
                    return;
                };
                let holders = self.namespaces.entry(inode).or_default();
                if holders.round != number {
                    holders.round = number;
                    holders.pids.clear();
                }
                if holders.pids.len() < HOLDERS_MAX {
                    holders.pids.push(pid);
                }
            }
            Err(Errno::EACCES | Errno::EPERM) => round.refused += 1,
            // It ended meanwhile.
            Err(_) => {}
        }
    }

    fn finish(&mut self, round: &Round) {
        self.counters.rounds += 1;
        self.counters.processes = round.seen;
        self.counters.processes_refused = round.refused;
        let number = self.counters.rounds;
        if number == 1 && round.refused > 0 {
            let (refused, seen) = (round.refused, round.seen);
            log::warn!(
                "{refused} of {seen} processes do not show us their network namespace (needs \
                 CAP_SYS_PTRACE); one that only they hold is not polled"
            );
        }
        self.namespaces.retain(|_, holders| holders.round == number);
    }
}

/// The number in `net:[4026531840]`.
fn inode_of(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"net:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::symlink, path::Path};
    use tempfile::TempDir;

    const EVERY: Duration = Duration::from_secs(60);

    fn process(root: &Path, pid: u32, namespace: &str) {
        let folder = root.join(format!("{pid}/ns"));
        fs::create_dir_all(&folder).unwrap();
        symlink(namespace, folder.join("net")).unwrap();
    }

    fn fixture(processes: &[(u32, u64)]) -> (TempDir, ProcessScan) {
        let root = TempDir::new().unwrap();
        for (pid, inode) in processes {
            process(root.path(), *pid, &format!("net:[{inode}]"));
        }
        let scan = ProcessScan::new(root.path().to_owned(), EVERY);
        (root, scan)
    }

    #[test]
    fn a_round_maps_each_namespace_to_some_of_its_holders() {
        let (root, mut scan) = fixture(&[(1, 7), (2, 7), (3, 7), (4, 7), (5, 7), (6, 7), (90, 8)]);
        process(root.path(), 91, "mnt:[9]");
        fs::create_dir(root.path().join("92")).unwrap();
        fs::create_dir(root.path().join("sys")).unwrap();
        scan.advance(Instant::now(), || true);
        let inodes: Vec<u64> = scan.holders().map(|(inode, _)| inode).collect();
        assert_eq!(inodes, [7, 8]);
        assert_eq!(scan.namespaces[&7].pids.len(), HOLDERS_MAX);
        assert_eq!(scan.namespaces[&8].pids, [90]);
        let expected = ScanCounters {
            rounds: 1,
            processes: 8 + 1,
            ..ScanCounters::default()
        };
        assert_eq!(scan.counters(), expected);
    }

    #[test]
    fn a_round_is_run_in_slices_that_are_due_along_its_time() {
        let processes: Vec<(u32, u64)> = (1..=10).map(|pid| (pid, u64::from(pid))).collect();
        let (_root, mut scan) = fixture(&processes);
        let start = Instant::now();
        scan.advance(start, || true);
        assert!(!scan.has_work(start));
        assert_eq!(scan.due(), Some(start + EVERY));

        let second = start + EVERY;
        assert!(scan.has_work(second));
        let mut slices = 0;
        while scan.counters().rounds == 1 {
            let due = scan.due().unwrap();
            scan.advance(due, || false);
            slices += 1;
            assert!(scan.due().unwrap() > due, "slice {slices}");
            assert!(due < second + EVERY);
        }
        assert!(slices > 10, "{slices}");
        assert_eq!(scan.due(), Some(second + EVERY));
    }

    #[test]
    fn a_namespace_without_processes_is_forgotten_after_a_round() {
        let (root, mut scan) = fixture(&[(1, 7), (2, 8)]);
        let start = Instant::now();
        scan.advance(start, || true);
        fs::remove_dir_all(root.path().join("2")).unwrap();
        scan.advance(start + EVERY, || true);
        assert_eq!(scan.holders().collect::<Vec<_>>(), [(7, 1)]);
    }

    #[test]
    fn the_next_holder_is_at_hand_and_without_one_a_round_starts_at_once() {
        let (_root, mut scan) = fixture(&[(1, 7), (2, 7)]);
        let start = Instant::now();
        scan.advance(start, || true);
        let (_, first) = scan.holders().next().unwrap();
        let second = 3 - first;
        assert_eq!(scan.holder_gone(7, first), Some(second));
        assert!(!scan.has_work(start));
        assert_eq!(scan.holder_gone(7, second), None);
        assert!(scan.has_work(start));
        assert_eq!(scan.due(), Some(start));
        assert_eq!(scan.holders().count(), 0);
    }

    #[test]
    fn a_scan_that_is_off_or_has_nothing_to_read_does_no_harm() {
        let (root, _) = fixture(&[(1, 7)]);
        let mut off = ProcessScan::new(root.path().to_owned(), Duration::ZERO);
        assert!(!off.has_work(Instant::now()));
        off.advance(Instant::now(), || true);
        assert_eq!((off.holders().count(), off.due()), (0, None));

        let now = Instant::now();
        let mut lost = ProcessScan::new(root.path().join("absent"), EVERY);
        lost.advance(now, || true);
        assert!(!lost.has_work(now));
        assert_eq!(lost.counters().failed, 1);
    }

    #[test]
    fn only_links_to_network_namespaces_are_read() {
        assert_eq!(inode_of(b"net:[4026531840]"), Some(4_026_531_840));
        for link in [
            "mnt:[1]",
            "net:[1",
            "net:[]",
            "net:[-1]",
            "net:[99999999999999999999]",
            "",
        ] {
            assert_eq!(inode_of(link.as_bytes()), None, "{link}");
        }
    }
}
