//! A daemon that systemd runs, in a guest: the same events, from what `systemctl show` says each time.

use super::process;
use crate::record::{Watched, What};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What is asked.
const PROPERTIES: &str =
    "MainPID,NRestarts,Result,ExecMainCode,ExecMainStatus,ExecMainPID,InvocationID,ControlGroup";
/// ExecMainCode: CLD_EXITED of waitid(2). CLD_KILLED and CLD_DUMPED end by a signal.
const CLD_EXITED: &str = "1";

/// A unit that is watched.
#[derive(Debug)]
pub struct Unit {
    name: String,
    systemctl: PathBuf,
    journal: Option<Child>,
    log: PathBuf,
    /// Its end, and its next start, are an action of the scenario.
    change_is_expected: bool,
    /// Restarts by systemd that were an action of the scenario: what a kill is answered with.
    announced_restarts: u32,
    /// The other ones, as they were said last.
    restarts: u32,
    before: Option<State>,
    events: Vec<What>,
}

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    pid: Option<i32>,
    start_ticks: u64,
    invocation: String,
    restarts: u32,
    result: String,
    code: String,
    status: i32,
    cgroup: Option<PathBuf>,
}

impl Unit {
    /// Watches the unit `name`, asking `systemctl` and `journalctl`; its log of errors, from now on, goes to `folder`.
    pub fn new(name: &str, systemctl: &Path, journalctl: &Path, folder: &Path) -> Unit {
        let log = folder.join(super::supervisor::LOG);
        let mut events = vec![What::NotWatched {
            what: Watched::TasksPeak,
            why: "systemd runs its own helpers, of a reload for example, in the cgroup of the unit"
                .to_owned(),
        }];
        let journal = follow(name, journalctl, &log).map_err(|why| events.push(not_watched(why)));
        Unit {
            name: name.to_owned(),
            systemctl: systemctl.to_owned(),
            journal: journal.ok(),
            log,
            change_is_expected: false,
            announced_restarts: 0,
            restarts: 0,
            before: None,
            events,
        }
    }

    /// What comes next, an end and a start, is an action of the scenario.
    pub fn expect_end(&mut self) {
        self.change_is_expected = true;
    }

    /// Looks, and says what happened since the last call.
    pub fn events(&mut self) -> Vec<What> {
        self.look();
        if let Some(journal) = &mut self.journal
            && let Ok(Some(status)) = journal.try_wait()
        {
            self.journal = None;
            self.events
                .push(not_watched(format!("journalctl ended: {status}")));
        }
        std::mem::take(&mut self.events)
    }

    /// Asks systemd. One that does not answer says nothing: the samples then have no process, which gates see.
    pub fn look(&mut self) {
        let mut command = Command::new(&self.systemctl);
        command.args(["show", "--property", PROPERTIES, "--", &self.name]);
        if let Ok(output) = command.stdin(Stdio::null()).stderr(Stdio::null()).output()
            && output.status.success()
        {
            let state = parse(&String::from_utf8_lossy(&output.stdout));
            // One that ended after systemd had named it: the next look says how.
            if state.pid.is_none() || state.start_ticks != 0 {
                self.compare(state);
            }
        }
    }

    fn compare(&mut self, now: State) {
        let before = self.before.replace(now.clone()).unwrap_or_default();
        let is_other = (now.pid, now.start_ticks, &now.invocation)
            != (before.pid, before.start_ticks, &before.invocation);
        // systemd counts its own restarts alone, and begins anew when it is told to start.
        if now.restarts < before.restarts {
            self.announced_restarts = 0;
        } else if now.restarts > before.restarts && self.change_is_expected {
            self.announced_restarts += 1;
        }
        let restarts = now.restarts.saturating_sub(self.announced_restarts);
        if restarts != self.restarts {
            self.restarts = restarts;
            self.events.push(What::Restarts { count: restarts });
        }
        if !is_other {
            return;
        }
        let announced = self.change_is_expected;
        if let Some(pid) = before.pid {
            let by_signal = now.code != CLD_EXITED;
            // systemd forgets how it ended when it starts it again by order. What it says of a daemon that is away holds:
            // a status, that it had to be killed, or that it has no handler of SIGTERM any more.
            let is_kill = by_signal && now.status == Signal::SIGKILL as i32;
            let is_bad = now.pid.is_none()
                && (now.status != 0 && !is_kill
                    || ["timeout", "watchdog", "core-dump"].contains(&now.result.as_str()));
            self.events.push(What::DaemonEnded {
                pid,
                code: (!by_signal).then_some(now.status),
                signal: by_signal.then_some(now.status).filter(|signal| *signal != 0),
                announced: announced && !is_bad,
            });
        }
        if let Some(pid) = now.pid {
            let is_first = before == State::default();
            self.events.push(What::DaemonStarted {
                pid,
                start_ticks: now.start_ticks,
                announced: announced || is_first,
            });
            self.change_is_expected = false;
        }
    }

    /// The pid of its main process, while there is one.
    pub fn pid(&self) -> Option<i32> {
        self.before.as_ref()?.pid
    }

    /// Where it is counted.
    pub fn cgroup(&self) -> Option<&Path> {
        self.before.as_ref()?.cgroup.as_deref()
    }

    /// Its log of errors.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(mut journal) = self.journal.take() {
            let _ = journal.kill();
            let _ = journal.wait();
        }
    }
}

fn not_watched(why: String) -> What {
    What::NotWatched {
        what: Watched::Log,
        why,
    }
}

/// Writes the unit's journal, from now on, into `log`.
fn follow(name: &str, journalctl: &Path, log: &Path) -> Result<Child, String> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.map_err(|error| format!("{}: {error}", log.display()))?;
    // Not from when the one that follows has opened the journal: the daemon may have spoken by then.
    let cursor = cursor(journalctl)?;
    let mut command = Command::new(journalctl);
    command.args(["--follow", "--no-tail", "--output=json"]);
    command.arg("--output-fields=PRIORITY,MESSAGE");
    command.arg(format!("--after-cursor={cursor}"));
    command.args(["--unit", name]);
    command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
    command.spawn().map_err(|error| format!("journalctl: {error}"))
}

/// Of the last entry that there is, of any unit.
fn cursor(journalctl: &Path) -> Result<String, String> {
    let mut command = Command::new(journalctl);
    command.args(["--lines=1", "--show-cursor", "--output=cat"]);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("journalctl: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // An entry may look like one; the cursor comes after it.
    let cursor = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("-- cursor: "));
    let none = || format!("journalctl: expected a cursor, got none, {}", output.status);
    cursor.map(str::to_owned).ok_or_else(none)
}

fn parse(text: &str) -> State {
    let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let value = |name: &str| values.get(name).copied().unwrap_or_default();
    let pid = value("MainPID").parse().ok().filter(|pid| *pid > 0);
    let cgroup = value("ControlGroup").trim_start_matches('/');
    State {
        pid,
        start_ticks: pid
            .and_then(process::identity)
            .map_or(0, |identity| identity.start_ticks),
        invocation: value("InvocationID").to_owned(),
        restarts: value("NRestarts").parse().unwrap_or(0),
        result: value("Result").to_owned(),
        code: value("ExecMainCode").to_owned(),
        status: value("ExecMainStatus").parse().unwrap_or(0),
        cgroup: (!cgroup.is_empty()).then(|| Path::new("/sys/fs/cgroup").join(cgroup)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program;
    use std::{
        fs, thread,
        time::{Duration, Instant},
    };

    /// A systemctl that says what a file says, and a journalctl.
    struct Fake {
        folder: tempfile::TempDir,
        unit: Unit,
    }

    /// Has one entry after the cursor, and then none.
    const JOURNALCTL: &str = "case $* in\n\
        *--show-cursor*) echo 'the last entry'; echo '-- cursor: s=1;i=2' ;;\n\
        *'--after-cursor=s=1;i=2'*) echo the next entry; exec sleep 100 ;;\n\
        esac";

    impl Fake {
        fn new() -> Fake {
            Fake::with(JOURNALCTL)
        }

        fn with(journalctl: &str) -> Fake {
            let folder = tempfile::tempdir().unwrap();
            let made = |name: &str, script: &str| {
                let path = folder.path().join(name);
                program::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
                path
            };
            let systemctl = made(
                "systemctl",
                &format!("exec cat {}/state", folder.path().display()),
            );
            let journalctl = made("journalctl", journalctl);
            let unit = Unit::new("xtcp2-none.service", &systemctl, &journalctl, folder.path());
            Fake { folder, unit }
        }

        /// Waits until the condition holds.
        fn until(&mut self, mut is_it: impl FnMut(&mut Unit) -> bool) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !is_it(&mut self.unit) {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(10));
            }
        }

        fn says(&mut self, pid: i32, invocation: &str, restarts: u32, code: u32, status: i32) -> Vec<What> {
            let state = format!(
                "MainPID={pid}\nNRestarts={restarts}\nResult=x\nExecMainCode={code}\nExecMainStatus={status}\n\
                 InvocationID={invocation}\nControlGroup=/system.slice/xtcp2.service\n"
            );
            fs::write(self.folder.path().join("state"), state).unwrap();
            let mut events = self.unit.events();
            events.retain(|what| !matches!(what, What::NotWatched { .. }));
            events
        }
    }

    #[test]
    fn restarts_replaced_pids_and_orders_are_told_apart() {
        let mut fake = Fake::new();
        let pid = i32::try_from(std::process::id()).unwrap();
        let first = fake.says(pid, "a", 0, 0, 0);
        assert!(
            matches!(first[..], [What::DaemonStarted { announced: true, .. }]),
            "{first:?}"
        );
        assert_eq!(
            fake.unit.cgroup(),
            Some(Path::new("/sys/fs/cgroup/system.slice/xtcp2.service"))
        );
        assert_eq!(fake.says(pid, "a", 0, 0, 0), []);

        // A crash between two looks: another pid, and systemd's counter.
        let crash = fake.says(1, "b", 1, 2, 11);
        assert_eq!(crash[0], What::Restarts { count: 1 });
        let end = What::DaemonEnded {
            pid,
            code: None,
            signal: Some(11),
            announced: false,
        };
        assert_eq!(crash[1], end);
        assert!(matches!(
            crash[2],
            What::DaemonStarted {
                pid: 1,
                announced: false,
                ..
            }
        ));

        // The same pid under another invocation.
        assert_eq!(fake.says(1, "c", 2, 1, 2).len(), 3);

        // Ordered: seen stopped, then started.
        fake.unit.expect_end();
        let end = What::DaemonEnded {
            pid: 1,
            code: Some(0),
            signal: None,
            announced: true,
        };
        assert_eq!(fake.says(0, "", 2, 1, 0), [end]);
        let start = fake.says(pid, "d", 2, 0, 0);
        assert!(
            matches!(start[..], [What::DaemonStarted { announced: true, .. }]),
            "{start:?}"
        );
        // And the one after that is not.
        let end = fake.says(0, "", 2, 1, 1);
        assert!(
            matches!(
                end[..],
                [What::DaemonEnded {
                    code: Some(1),
                    announced: false,
                    ..
                }]
            ),
            "{end:?}"
        );
    }

    #[test]
    fn a_kill_of_the_scenario_is_no_restart_and_the_crash_after_it_is() {
        let mut fake = Fake::new();
        let pid = i32::try_from(std::process::id()).unwrap();
        fake.says(pid, "a", 0, 0, 0);
        fake.unit.expect_end();
        // Killed, and not started yet; then systemd has done so.
        assert_eq!(fake.says(0, "a", 0, 2, 9).len(), 1);
        let start = fake.says(pid, "b", 1, 0, 0);
        assert!(
            matches!(start[..], [What::DaemonStarted { announced: true, .. }]),
            "{start:?}"
        );
        let crash = fake.says(1, "c", 2, 2, 11);
        assert_eq!(crash[0], What::Restarts { count: 1 });
        // An ordered start: systemd counts from 0 again.
        fake.unit.expect_end();
        let start = fake.says(pid, "d", 0, 0, 0);
        assert_eq!(start[0], What::Restarts { count: 0 });
        assert_eq!(fake.says(1, "e", 1, 2, 11)[0], What::Restarts { count: 1 });
    }

    #[test]
    fn one_that_is_named_and_gone_is_neither_an_end_nor_a_start() {
        let mut fake = Fake::new();
        let pid = i32::try_from(std::process::id()).unwrap();
        fake.says(pid, "a", 0, 0, 0);
        fake.unit.expect_end();
        assert_eq!(fake.says(i32::MAX, "a", 0, 0, 0), []);
        let end = fake.says(0, "a", 0, 2, 9);
        assert!(
            matches!(end[..], [What::DaemonEnded { announced: true, .. }]),
            "{end:?}"
        );
    }

    #[test]
    fn the_journal_is_read_from_where_it_was_before_the_start() {
        let mut fake = Fake::new();
        fake.until(|unit| fs::read_to_string(unit.log()).is_ok_and(|log| log == "the next entry\n"));
    }

    #[test]
    fn a_journal_that_nobody_reads_any_more_is_not_watched() {
        let is_log = |what: &What| {
            matches!(
                what,
                What::NotWatched {
                    what: Watched::Log,
                    ..
                }
            )
        };
        let no_cursor = "echo '-- No entries --'";
        assert!(Fake::with(no_cursor).unit.events().iter().any(is_log));
        let dies = JOURNALCTL.replace("exec sleep 100", "exit 1");
        Fake::with(&dies).until(|unit| unit.events().iter().any(is_log));
        // Once said is enough.
        let mut fake = Fake::with(&dies);
        fake.until(|unit| unit.events().iter().any(is_log));
        assert!(!fake.unit.events().iter().any(is_log));
    }

    #[test]
    fn a_systemctl_that_fails_says_nothing() {
        let mut fake = Fake::new();
        fs::remove_file(fake.folder.path().join("systemctl")).unwrap();
        fake.unit.events();
        assert_eq!(fake.unit.events(), []);
    }
}
