//! Discovery and visits against the running kernel, in namespaces made for the test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::sandbox;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};
use xtcp2::namespaces::{Discovery, FailureKind, Home, Identity, Next};

const SCAN_OFF: Duration = Duration::ZERO;

/// As `ip netns add` does it: a new namespace of a thread, mounted on a file.
fn add(path: &Path) {
    File::create_new(path).unwrap();
    in_new_namespace(|| bind("net", path));
}

fn bind(kind: &str, path: &Path) {
    let source = format!("/proc/thread-self/ns/{kind}");
    mount(
        Some(source.as_str()),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
}

fn delete(path: &Path) {
    umount2(path, MntFlags::MNT_DETACH).unwrap();
    fs::remove_file(path).unwrap();
}

fn in_new_namespace<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            action()
        });
        thread.join().unwrap()
    })
}

fn own_namespace() -> PathBuf {
    fs::read_link("/proc/thread-self/ns/net").unwrap()
}

fn end(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

struct Daemon {
    home: Home,
    discovery: Discovery,
}

#[derive(Default)]
struct Poll {
    /// First visits of namespaces: name and identity.
    polled: Vec<(String, Identity)>,
    failed: Vec<(String, FailureKind)>,
    waits: u32,
}

impl Daemon {
    fn new(folders: &[&Path], scan_every: Duration) -> Daemon {
        let home = Home::open().unwrap();
        let folders: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).collect();
        let discovery = Discovery::new(home.name(), &folders, "/proc".into(), scan_every);
        Daemon { home, discovery }
    }

    fn poll(&mut self) -> Poll {
        self.poll_with(|_| {})
    }

    /// A poll that calls `between` before each visit.
    fn poll_with(&mut self, mut between: impl FnMut(&str)) -> Poll {
        let mut poll = Poll::default();
        let before = own_namespace();
        // In a poll time passes only where it waits: a machine that is busy elsewhere changes nothing.
        let mut now = Instant::now();
        self.discovery.start_poll();
        loop {
            match self.discovery.next(now) {
                Next::Visit(candidate) => {
                    let name = candidate.name().to_string();
                    between(&name);
                    let visit = match candidate.path() {
                        None => self.home.visit_own(),
                        Some(path) => self.home.visit(path),
                    };
                    assert_eq!(own_namespace(), before, "after the visit of {name}");
                    match visit {
                        Ok(visit) => {
                            if self.discovery.visited(&candidate, visit.identity) {
                                poll.polled.push((name, visit.identity));
                            }
                        }
                        Err(error) => {
                            poll.failed.push((name, error.kind));
                            self.discovery.failed(candidate, &error, now);
                        }
                    }
                }
                Next::Scan => self.discovery.scan(now, || true),
                Next::WaitUntil(instant) => {
                    poll.waits += 1;
                    thread::sleep(instant.saturating_duration_since(now));
                    now = now.max(instant);
                }
                Next::Done => return poll,
            }
        }
    }

    fn failures(&self, kind: FailureKind) -> u64 {
        self.discovery.counters().failed[kind as usize]
    }
}

impl Poll {
    fn names(&self) -> Vec<&str> {
        self.polled.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn identity(&self, name: &Path) -> Option<Identity> {
        let found = self.polled.iter().find(|(polled, _)| Path::new(polled) == name);
        found.map(|(_, identity)| *identity)
    }
}

#[test]
fn own_namespace_first_then_every_name_and_each_namespace_once() {
    sandbox::run(
        "own_namespace_first_then_every_name_and_each_namespace_once",
        || {
            let folder = sandbox::folder();
            let (blue, red, alias) = (
                folder.path().join("blue"),
                folder.path().join("red"),
                folder.path().join("zz-default"),
            );
            add(&blue);
            add(&red);
            // Docker mounts the host's namespace too, as "default".
            File::create(&alias).unwrap();
            bind("net", &alias);

            let mut daemon = Daemon::new(&[folder.path()], SCAN_OFF);
            let poll = daemon.poll();
            assert_eq!(
                poll.names(),
                [daemon.home.name(), blue.to_str().unwrap(), red.to_str().unwrap()]
            );
            let cookies: HashSet<_> = poll.polled.iter().map(|(_, identity)| identity.cookie).collect();
            assert_eq!(cookies.len(), 3);
            assert_eq!(daemon.discovery.counters().visited, 4);
        },
    );
}

#[test]
fn folder_that_appears_with_its_parents_is_watched_and_listed() {
    sandbox::run(
        "folder_that_appears_with_its_parents_is_watched_and_listed",
        || {
            let root = sandbox::folder();
            let folder = root.path().join("run/docker/netns");
            let mut daemon = Daemon::new(&[&folder], SCAN_OFF);
            assert_eq!(daemon.poll().polled.len(), 1);

            fs::create_dir_all(&folder).unwrap();
            daemon.discovery.inotify_ready();
            let short_lived = folder.join("short-lived");
            add(&short_lived);
            delete(&short_lived);
            let blue = folder.join("blue");
            add(&blue);
            let poll = daemon.poll();
            assert!(poll.identity(&blue).is_some(), "{:?}", poll.names());
            let folders = daemon.discovery.counters().folders;
            assert_eq!((folders.created, folders.deleted, folders.missed), (2, 1, 1));
        },
    );
}

#[test]
fn file_is_tried_again_until_the_namespace_is_mounted() {
    sandbox::run("file_is_tried_again_until_the_namespace_is_mounted", || {
        let folder = sandbox::folder();
        let blue = folder.path().join("blue");
        File::create(&blue).unwrap();
        let mut daemon = Daemon::new(&[folder.path()], SCAN_OFF);
        let mut visits = 0;
        let poll = daemon.poll_with(|name| {
            if Path::new(name) == blue {
                visits += 1;
                if visits == 3 {
                    in_new_namespace(|| bind("net", &blue));
                }
            }
        });
        assert!(poll.identity(&blue).is_some(), "{:?}", poll.names());
        assert_eq!(daemon.discovery.counters().retried, 2);
        assert_eq!(daemon.failures(FailureKind::NotYetMounted), 0);
    });
}

#[test]
fn ordinary_file_costs_the_wait_once() {
    sandbox::run("ordinary_file_costs_the_wait_once", || {
        let folder = sandbox::folder();
        File::create(folder.path().join("README")).unwrap();
        nix::unistd::mkfifo(&folder.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut daemon = Daemon::new(&[folder.path()], SCAN_OFF);
        let start = Instant::now();
        let first = daemon.poll();
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert!(first.waits >= 1);
        assert_eq!(daemon.poll().waits, 0);
        assert_eq!(daemon.failures(FailureKind::NotYetMounted), 4);
    });
}

#[test]
fn namespace_deleted_midway_is_counted_and_harms_no_other() {
    sandbox::run("namespace_deleted_midway_is_counted_and_harms_no_other", || {
        let folder = sandbox::folder();
        let (blue, red) = (folder.path().join("blue"), folder.path().join("red"));
        add(&blue);
        add(&red);
        let mut daemon = Daemon::new(&[folder.path()], SCAN_OFF);
        let poll = daemon.poll_with(|name| {
            if Path::new(name) == blue {
                delete(&blue);
            }
        });
        assert_eq!(
            poll.failed,
            [(blue.to_str().unwrap().to_owned(), FailureKind::Vanished)]
        );
        assert!(poll.identity(&red).is_some());
        assert_eq!(daemon.poll().failed, []);
        assert_eq!(daemon.discovery.counters().folders.missed, 1);
    });
}

#[test]
fn path_that_gets_another_namespace_gets_another_identity() {
    sandbox::run("path_that_gets_another_namespace_gets_another_identity", || {
        let folder = sandbox::folder();
        let blue = folder.path().join("blue");
        let mut daemon = Daemon::new(&[folder.path()], SCAN_OFF);
        // The kernel gives the inode of a deleted namespace out again; a cookie, never.
        let mut cookies = HashSet::new();
        let mut inodes = HashSet::new();
        for round in 1..=100 {
            add(&blue);
            let identity = daemon.poll().identity(&blue).unwrap();
            delete(&blue);
            assert!(
                cookies.insert(identity.cookie.unwrap()),
                "round {round}: {identity:?}"
            );
            if !inodes.insert(identity.inode) {
                return;
            }
            // The kernel takes a namespace down in its own time.
            thread::sleep(Duration::from_millis(10));
        }
        eprintln!("this kernel gave no inode out twice, so only the cookies were compared");
    });
}

#[test]
fn namespace_held_by_processes_alone_outlives_its_first_holder() {
    sandbox::run(
        "namespace_held_by_processes_alone_outlives_its_first_holder",
        || {
            let sleep = || Command::new("sleep").arg("600").spawn().unwrap();
            let (first, second) = in_new_namespace(|| (sleep(), sleep()));
            let path_of = |process: &Child| PathBuf::from(format!("/proc/{}/ns/net", process.id()));
            let mut daemon = Daemon::new(&[], Duration::from_secs(3600));

            let seen = daemon.poll();
            let mut holders = [first, second];
            holders.sort_by_key(Child::id);
            let [first, second] = holders;
            let identity = seen.identity(&path_of(&first)).unwrap();
            assert_eq!(
                seen.identity(&path_of(&second)),
                None,
                "visited once though two hold it"
            );

            end(first);
            let after = daemon.poll();
            assert_eq!(after.identity(&path_of(&second)), Some(identity));

            // None that we know is left; a third came after the scan. A scan starts without waiting.
            let path = path_of(&second);
            let third = thread::scope(|scope| {
                let enter = || {
                    nix::sched::setns(File::open(&path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                    sleep()
                };
                scope.spawn(enter).join().unwrap()
            });
            end(second);
            let lost = daemon.poll();
            assert_eq!(
                lost.failed,
                [(path.to_str().unwrap().to_owned(), FailureKind::Vanished)]
            );
            assert!(daemon.discovery.scan_due().unwrap() <= Instant::now());
            let found = daemon.poll();
            let found = daemon
                .poll()
                .identity(&path_of(&third))
                .or(found.identity(&path_of(&third)));
            assert_eq!(found, Some(identity));
            end(third);
        },
    );
}

#[test]
fn namespace_with_a_name_is_polled_under_it_and_not_under_its_process() {
    sandbox::run(
        "namespace_with_a_name_is_polled_under_it_and_not_under_its_process",
        || {
            let folder = sandbox::folder();
            let blue = folder.path().join("blue");
            File::create(&blue).unwrap();
            let process = in_new_namespace(|| {
                bind("net", &blue);
                Command::new("sleep").arg("600").spawn().unwrap()
            });
            let mut daemon = Daemon::new(&[folder.path()], Duration::from_secs(3600));
            let poll = daemon.poll();
            assert_eq!(poll.names(), [daemon.home.name(), blue.to_str().unwrap()]);
            end(process);
        },
    );
}

#[test]
fn namespace_of_another_kind_is_refused() {
    sandbox::run("namespace_of_another_kind_is_refused", || {
        let folder = sandbox::folder();
        let uts = folder.path().join("uts");
        File::create(&uts).unwrap();
        bind("uts", &uts);
        let mut daemon = Daemon::new(&[folder.path()], SCAN_OFF);
        let poll = daemon.poll();
        assert_eq!(poll.failed[0].1, FailureKind::NotANetworkNamespace);
        assert_eq!(poll.polled.len(), 1);
    });
}

#[test]
fn own_namespace_is_polled_without_privileges() {
    let test = "own_namespace_is_polled_without_privileges";
    let folder_of_step = "XTCP2_TEST_FOLDER";
    if sandbox::is_step("no capabilities") || sandbox::is_step("no way home") {
        let folder = PathBuf::from(std::env::var_os(folder_of_step).unwrap());
        let mut daemon = Daemon::new(&[&folder, &folder.join("locked")], Duration::from_secs(3600));
        assert!(daemon.home.may_visit_others().is_err());
        let poll = daemon.poll();
        assert_eq!(poll.names(), [daemon.home.name()]);
        let blue = folder.join("blue").to_str().unwrap().to_owned();
        assert_eq!(poll.failed[0], (blue, FailureKind::Permission));
        let counters = daemon.discovery.counters();
        assert_eq!(counters.scan.rounds, 1);
        if sandbox::is_step("no capabilities") {
            assert_eq!(counters.folders.unreadable, 1);
        }
        return;
    }
    sandbox::run(test, || {
        let folder = sandbox::folder();
        add(&folder.path().join("blue"));
        let locked = folder.path().join("locked");
        fs::create_dir(&locked).unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
        let variable = format!("{folder_of_step}={}", folder.path().display());
        let bare = [
            "setpriv",
            "--inh-caps=-all",
            "--ambient-caps=-all",
            "--bounding-set=-all",
        ];
        sandbox::start(
            test,
            "no capabilities",
            &[&bare[..], &["env", &variable]].concat(),
        );
        // In a user namespace of our own we may enter what is made there, but never come back.
        sandbox::start(test, "no way home", &["unshare", "-Ur", "--", "env", &variable]);
    });
}

#[test]
fn hundreds_that_come_and_go_are_all_polled_or_counted() {
    sandbox::run("hundreds_that_come_and_go_are_all_polled_or_counted", || {
        const NAMESPACES: usize = 300;
        let folder = sandbox::folder();
        let mut daemon = Daemon::new(&[folder.path()], Duration::from_secs(1));
        let mut cookies = HashSet::new();
        let start = Instant::now();
        thread::scope(|scope| {
            let churn = scope.spawn(|| {
                for number in 0..NAMESPACES {
                    // Few names, so that each gets namespace after namespace.
                    let path = folder.path().join(format!("pod-{}", number % 7));
                    in_new_namespace(|| {
                        File::create_new(&path).unwrap();
                        bind("net", &path);
                    });
                    if number % 3 == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                    delete(&path);
                }
            });
            while !churn.is_finished() {
                let poll = daemon.poll();
                cookies.extend(poll.polled.iter().map(|(_, identity)| identity.cookie.unwrap()));
                let bad =
                    |kind: &FailureKind| !matches!(kind, FailureKind::Vanished | FailureKind::NotYetMounted);
                assert!(
                    !poll.failed.iter().any(|(_, kind)| bad(kind)),
                    "{:?}",
                    poll.failed
                );
            }
        });
        let rate = NAMESPACES as f64 / start.elapsed().as_secs_f64();
        daemon.poll();
        let folders = daemon.discovery.counters().folders;
        eprintln!(
            "{rate:.0} namespaces/s, {} polled, {folders:?}",
            cookies.len() - 1
        );
        assert_eq!(
            (folders.created, folders.deleted),
            (NAMESPACES as u64, NAMESPACES as u64)
        );
        assert_eq!(folders.overflows, 0);
        // On a busy machine one may be mounted only after its file was visited for the last time.
        let given_up = daemon.failures(FailureKind::NotYetMounted);
        // All cookies but our own.
        let accounted = cookies.len() as u64 - 1 + folders.missed + given_up;
        assert!(accounted >= NAMESPACES as u64, "{accounted} of {NAMESPACES}");
    });
}
