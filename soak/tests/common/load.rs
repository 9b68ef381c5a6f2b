//! A load as its users start it, and looks at what it made that do not go through its own code.

use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Lines, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use xtcp2_soak::record;

/// For what comes by itself, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A load that runs.
pub struct Load {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// `xtcp2-soak load` with these words.
    pub fn start(words: &[&str]) -> Load {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xtcp2-soak"))
            .arg("load")
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Load { child, lines }
    }

    /// What it says next; none at its end.
    pub fn said(&mut self) -> Option<record::Load> {
        let line = self.lines.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Its processes: itself, then its workers.
    pub fn processes(&self) -> Vec<Pid> {
        let pid = i32::try_from(self.child.id()).unwrap();
        let mut all = vec![pid];
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap();
            all.extend(children.split_whitespace().map(|pid| pid.parse::<i32>().unwrap()));
        }
        all.into_iter().map(Pid::from_raw).collect()
    }

    /// SIGTERM, and what it said until it ended: the last thing on stdout, and stderr.
    pub fn end(mut self) -> (record::Load, ExitStatus, String) {
        kill(self.processes()[0], Signal::SIGTERM).unwrap();
        let mut last = None;
        while let Some(load) = self.said() {
            last = Some(load);
        }
        let status = self.child.wait().unwrap();
        (last.unwrap(), status, self.stderr())
    }

    /// What it said on stderr; waits for its end.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// SIGKILL, to itself alone, or to its workers as well, before any of them can do anything about it.
    pub fn kill(mut self, with_workers: bool) {
        let processes = self.processes();
        assert!(processes.len() > 1, "it has no workers");
        let to = if with_workers {
            &processes[..]
        } else {
            &processes[..1]
        };
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            to.iter().for_each(|process| kill(*process, signal).unwrap());
        }
        self.child.wait().unwrap();
        if with_workers {
            wait_until("its workers are gone", || {
                to.iter().all(|process| is_gone(*process))
            });
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is not there any more, or a zombie.
pub fn is_gone(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
    })
}

/// Waits for what comes by itself.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// `xtcp2-soak clean` with these words.
pub fn clean(words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_xtcp2-soak"))
        .arg("clean")
        .args(words)
        .output()
        .unwrap();
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Names of the mounts in a folder, and below it.
pub fn mounted(folder: &Path) -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts
        .lines()
        .map(|line| Path::new(line.split(' ').nth(4).unwrap()));
    let names = points.filter_map(|point| point.strip_prefix(folder).ok());
    names.map(|name| name.display().to_string()).collect()
}

/// A file of /proc/net, in the namespace that is mounted there.
pub fn net_file(namespace: PathBuf, file: &'static str) -> String {
    let read = move || {
        setns(File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap()
    };
    // A thread of its own, since one that was elsewhere stays there.
    thread::spawn(read).join().unwrap()
}

/// TCP sockets over IPv4 in a namespace, as the kernel lists them: listeners, established ones, others.
pub fn tcp_sockets(namespace: PathBuf) -> [usize; 3] {
    let mut counts = [0; 3];
    for line in net_file(namespace, "tcp").lines().skip(1) {
        match line.split_whitespace().nth(3).unwrap() {
            "0A" => counts[0] += 1,
            "01" => counts[1] += 1,
            _ => counts[2] += 1,
        }
    }
    counts
}
