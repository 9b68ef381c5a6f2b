//! Loads, as they are started: what they say they made is what the kernel shows, and what they leave,
//! whatever ended them, is nothing, or what `clean` removes.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "common/load.rs"]
mod load;
#[path = "../../daemon/tests/common/sandbox.rs"]
#[allow(dead_code, reason = "shared with the daemon's tests")]
mod sandbox;

use load::{Load, clean, is_gone, mounted, net_file, tcp_sockets, wait_until};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};
use xtcp2_soak::load::{
    NamespaceEvent,
    trace::{self, Made, Marker, ProcessId, STATES},
};

/// Nothing of any load is there: no mount, no file, no record.
fn assert_nothing_is_left(folder: &Path) {
    assert_eq!(mounted(folder), BTreeSet::new());
    assert!(!folder.exists(), "{} was made by the load", folder.display());
    assert!(!Path::new(STATES).exists(), "records are left");
}

fn events(file: &Path) -> Vec<NamespaceEvent> {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Those that were created and not deleted.
fn alive(events: &[NamespaceEvent]) -> BTreeSet<String> {
    let mut alive = BTreeSet::new();
    for event in events {
        let is_news = match event.created {
            true => alive.insert(event.name.clone()),
            false => alive.remove(&event.name),
        };
        assert!(is_news, "twice, or out of order: {event:?}");
    }
    alive
}

/// In which three have to say that something changed, one a second: on a machine that is busy elsewhere, too.
const LINES_MAX: u32 = 30;

#[test]
fn churn_says_what_is_there_and_counts_every_event() {
    sandbox::run("churn_says_what_is_there_and_counts_every_event", || {
        let temporary = sandbox::folder();
        let (folder, file) = (temporary.path().join("ns"), temporary.path().join("events"));
        let words = [
            "churn",
            "--folder",
            folder.to_str().unwrap(),
            "--events",
            file.to_str().unwrap(),
            "--events-per-second",
            "60",
            "--namespaces",
            "10",
            "--sockets",
            "4",
        ];
        let mut load = Load::start(&words);
        let first = load.said().unwrap();
        let start = Instant::now();
        assert_eq!(
            (first.namespaces_created, first.namespaces, first.sockets),
            (10, 10, 40)
        );
        let mut last = first.clone();
        let (mut lines, mut lines_with_news) = (0, 0);
        while lines_with_news < 3 {
            lines += 1;
            assert!(
                lines <= LINES_MAX,
                "{lines_with_news} of {LINES_MAX} lines have news"
            );
            let said = load.said().unwrap();
            // A machine that is busy with something else does less, and what it says comes in a heap.
            lines_with_news += u32::from(said.namespaces_created > last.namespaces_created);
            assert!(said.namespaces_deleted >= last.namespaces_deleted, "{said:?}");
            assert_eq!(said.namespaces_created - said.namespaces_deleted, said.namespaces);
            assert!((10..=11).contains(&said.namespaces), "{said:?}");
            last = said;
        }
        assert!(last.namespaces_deleted > first.namespaces_deleted, "{last:?}");
        let changes = (last.namespaces_created - first.namespaces_created) * 2;
        // A line a second; one of the first or the last may be late.
        let seconds = start.elapsed().as_secs_f64().max(f64::from(lines));
        let rate = changes as f64 / seconds;
        assert!(rate <= 70.0, "60 were asked for, got {rate}");

        // While nothing moves, what was written down is what is mounted, but for the one under way.
        let worker = load.processes()[1];
        kill(worker, Signal::SIGSTOP).unwrap();
        wait_until("the worker stands still", || {
            let stat = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
            stat.contains(") T ")
        });
        let (written, there) = (alive(&events(&file)), mounted(&folder));
        let differences = written.symmetric_difference(&there).count();
        assert!(differences <= 1, "written {written:?}, there {there:?}");
        for name in written.intersection(&there) {
            assert_eq!(tcp_sockets(folder.join(name)), [1, 4, 0], "{name}");
        }
        kill(worker, Signal::SIGCONT).unwrap();

        let (last, status, stderr) = load.end();
        assert!(status.success(), "{status}: {stderr}");
        assert!(stderr.contains("namespace events"), "{stderr}");
        assert_eq!((last.namespaces, last.sockets, last.errors), (0, 0, 0));
        let events = events(&file);
        let created = events.iter().filter(|event| event.created).count() as u64;
        assert_eq!(created, last.namespaces_created);
        assert_eq!(events.len() as u64 - created, last.namespaces_deleted);
        assert!(events.is_sorted_by_key(|event| event.time_unix_ns));
        assert_eq!(alive(&events), BTreeSet::new());
        assert_nothing_is_left(&folder);
    });
}

/// Bytes that the kernel saw on the loopback of a namespace, headers included.
fn loopback_bytes(namespace: &Path) -> u64 {
    let devices = net_file(namespace.to_owned(), "dev");
    let loopback = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    loopback
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn sockets_carry_what_they_say() {
    sandbox::run("sockets_carry_what_they_say", || {
        let temporary = sandbox::folder();
        let folder = temporary.path().join("ns");
        let words = [
            "sockets",
            "--folder",
            folder.to_str().unwrap(),
            "--namespaces",
            "3",
            "--sockets",
            "10",
            "--bytes-per-second",
            "200000",
            "--congestion-control",
            "reno",
            "--congestion-control",
            "no-such-control",
        ];
        let mut load = Load::start(&words);
        let first = load.said().unwrap();
        assert_eq!(
            (first.namespaces_created, first.namespaces, first.sockets),
            (3, 3, 30)
        );
        let there: Vec<_> = mounted(&folder)
            .into_iter()
            .map(|name| folder.join(name))
            .collect();
        assert_eq!(there.len(), 3);
        for namespace in &there {
            assert_eq!(tcp_sockets(namespace.clone()), [1, 10, 0]);
        }
        let mut last = load.said().unwrap();
        for _ in 0..3 {
            let said = load.said().unwrap();
            assert!(said.bytes > last.bytes, "{said:?} after {last:?}");
            last = said;
        }
        // The kernel saw more, for the headers, and for what came since.
        let kernel = there
            .iter()
            .map(|namespace| loopback_bytes(namespace))
            .sum::<u64>();
        assert!(
            (last.bytes..2 * last.bytes).contains(&kernel),
            "{kernel}, {last:?}"
        );
        assert!(last.bytes <= 6 * 15 * 200_000, "{last:?}");
        // A second is made up of 20 turns; a machine that is busy has fewer.
        assert!(last.bytes >= 15 * 200_000, "{last:?}");

        let (last, status, stderr) = load.end();
        assert!(status.success(), "{status}: {stderr}");
        assert!(stderr.contains("no-such-control left out"), "{stderr}");
        assert_eq!((last.namespaces, last.sockets, last.errors), (0, 0, 0));
        assert_nothing_is_left(&folder);
    });
}

#[test]
fn short_connections_come_and_go() {
    sandbox::run("short_connections_come_and_go", || {
        let temporary = sandbox::folder();
        let folder = temporary.path().join("ns");
        let words = [
            "short",
            "--folder",
            folder.to_str().unwrap(),
            "--connections-per-second",
            "200",
            "--lifetime-ms",
            "5",
        ];
        let mut load = Load::start(&words);
        let first = load.said().unwrap();
        load.said().unwrap();
        let last = load.said().unwrap();
        let connections = last.connections - first.connections;
        assert!((20..=420).contains(&connections), "{connections} in 2 s");
        assert_eq!(last.bytes, last.connections * 200);
        let name = mounted(&folder).into_iter().next().unwrap();
        let [listeners, _, others] = tcp_sockets(folder.join(name));
        assert_eq!(listeners, 1);
        // Each that was closed waits for a minute, but for those that the kernel has no room for.
        assert!(
            others as u64 >= last.connections / 2,
            "{others} wait of {}",
            last.connections
        );
        let (last, status, stderr) = load.end();
        assert!(status.success(), "{status}: {stderr}");
        assert_eq!(last.errors, 0, "{stderr}");
        assert_nothing_is_left(&folder);
    });
}

/// kill -9 of what was started alone: its workers see to it.
#[test]
fn workers_do_not_outlive_their_parent() {
    sandbox::run("workers_do_not_outlive_their_parent", || {
        let temporary = sandbox::folder();
        let folder = temporary.path().join("ns");
        let mut load = Load::start(&[
            "sockets",
            "--folder",
            folder.to_str().unwrap(),
            "--namespaces",
            "4",
            "--sockets",
            // Two workers.
            "6000",
        ]);
        load.said().unwrap();
        let processes = load.processes();
        assert!(processes.len() > 2, "{processes:?}");
        load.kill(false);
        wait_until("the workers are gone", || {
            processes.iter().all(|process| is_gone(*process))
        });
        assert_eq!(mounted(&folder), BTreeSet::new());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(clean(&[]).status.success());
        assert_nothing_is_left(&folder);
    });
}

/// kill -9 of all of it.
#[test]
fn clean_removes_what_is_left_and_nothing_else() {
    sandbox::run("clean_removes_what_is_left_and_nothing_else", || {
        let temporary = sandbox::folder();
        let folder = temporary.path().join("ns");
        let start = || {
            let at = folder.to_str().unwrap();
            let mut load = Load::start(&["sockets", "--folder", at, "--namespaces", "3", "--sockets", "4"]);
            load.said().unwrap();
            load
        };
        let living = start();
        let of_living = mounted(&folder);
        start().kill(true);
        assert_eq!(mounted(&folder).len(), 6);
        // A name that is only like ours, and one whose process was never recorded.
        let bind = |name: &str| {
            let path = folder.join(name);
            File::create_new(&path).unwrap();
            mount(
                Some("/proc/self/ns/net"),
                &path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .unwrap();
        };
        bind("soak-mine");
        bind("soak-1x0-17");
        // A recorded number that another process has by now.
        // It ends with the pipe, whatever becomes of the test.
        let bystander = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut bystander = bystander.unwrap();
        let pid = i32::try_from(bystander.id()).unwrap();
        let process = ProcessId {
            start_ticks: ProcessId::of(pid).unwrap().start_ticks - 1,
            pid,
        };
        let (dead, role) = (Marker(process), "worker".to_owned());
        trace::note(dead, &Made::Process { role, process }).unwrap();
        // A record that says to remove what is not a load's.
        let precious = temporary.path().join("precious");
        fs::create_dir(&precious).unwrap();
        trace::note(
            dead,
            &Made::Temporary {
                path: precious.clone(),
            },
        )
        .unwrap();
        trace::note(
            dead,
            &Made::EngineFolder {
                path: precious.clone(),
            },
        )
        .unwrap();

        let dry = clean(&["--dry-run"]);
        assert!(dry.status.success());
        assert_eq!(mounted(&folder).len(), 8, "a dry run changes nothing");
        let output = clean(&[]);
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        let would = String::from_utf8(dry.stdout).unwrap();
        assert_eq!(would.replace(": would ", ": "), said);
        assert!(said.contains("runs, left alone"), "{said}");
        let mut kept = of_living.clone();
        kept.insert("soak-mine".to_owned());
        assert_eq!(mounted(&folder), kept);
        let files: BTreeSet<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, kept);
        assert!(!is_gone(Pid::from_raw(pid)), "a process that only has the number");
        assert!(precious.exists());
        // A second time there is only the living one to speak of.
        assert_eq!(String::from_utf8(clean(&[]).stdout).unwrap().lines().count(), 1);

        drop(bystander.stdin.take());
        bystander.wait().unwrap();
        nix::mount::umount(&folder.join("soak-mine")).unwrap();
        fs::remove_file(folder.join("soak-mine")).unwrap();
        // The living one found the folder made, or made it: what stays of it is its own business.
        let (last, status, _) = living.end();
        assert!(status.success());
        assert_eq!(last.namespaces, 0);
        assert_eq!(mounted(&folder), BTreeSet::new());
        assert!(!Path::new(STATES).exists());
    });
}

/// A load that cannot do what it should is not one that did.
#[test]
fn a_worker_that_ends_is_the_end_of_the_load() {
    sandbox::run("a_worker_that_ends_is_the_end_of_the_load", || {
        let temporary = sandbox::folder();
        let folder = temporary.path().join("ns");
        let mut load = Load::start(&[
            "churn",
            "--folder",
            folder.to_str().unwrap(),
            "--events-per-second",
            "20",
            "--namespaces",
            "3",
        ]);
        load.said().unwrap();
        kill(load.processes()[1], Signal::SIGKILL).unwrap();
        while load.said().is_some() {}
        let stderr = load.stderr();
        assert!(stderr.contains("ended by itself"), "{stderr}");
        assert_nothing_is_left(&folder);
    });
}
