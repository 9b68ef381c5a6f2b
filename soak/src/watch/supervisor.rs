//! Runs the daemon as a service manager would: in a cgroup of its own, with its log in a file, reaped by
//! waitpid, started again when it fails. A crash loop then looks like one, and the run goes on.

use super::{cgroup, process};
use crate::{
    load::trace::Marker,
    record::{Watched, What},
};
use nix::{
    errno::Errno,
    sys::signal::{self, Signal},
    unistd::Pid,
};
use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Before a daemon that failed is started again: systemd's RestartSec.
const RESTART_AFTER: Duration = Duration::from_millis(100);
/// A daemon that is older has a handler of SIGTERM: it only dies of one that comes before.
const HANDLER_WITHIN: Duration = Duration::from_secs(1);
/// Between looks at a daemon that is to end.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The configuration cannot work (EX_CONFIG): a restart does not help, and units forbid it.
const STATUS_CONFIG: i32 = 78;
/// Joins the cgroup $0, then becomes the daemon: so it never had a thread outside.
const JOIN_AND_EXEC: &str = "echo $$ > \"$0\" && exec \"$@\"";
/// The name of the log in the run's folder.
pub const LOG: &str = "daemon.log";

/// What is run, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables besides those of the runner.
    pub environment: Vec<(String, String)>,
    /// Its stderr is appended to [`LOG`] there.
    pub folder: PathBuf,
}

/// A daemon that is run.
#[derive(Debug)]
pub struct Supervisor {
    options: Options,
    log: File,
    cgroup: Option<cgroup::Own>,
    child: Option<Running>,
    /// The next end was ordered, by this signal.
    expected_end: Option<Signal>,
    /// When the next start is due, after an end that nobody ordered.
    restart_due: Option<Instant>,
    restarts: u32,
    events: Vec<What>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: i32,
    since: Instant,
}

impl Supervisor {
    /// Starts nothing yet.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn new(options: Options) -> Result<Supervisor, String> {
        let path = options.folder.join(LOG);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut events = Vec::new();
        // The name says whose it is, so that `clean` finds it.
        let cgroup = cgroup::Own::make(&Marker::own()?.name(nonce(&options.folder)));
        if let Err(why) = &cgroup {
            events.push(What::NotWatched {
                what: Watched::TasksPeak,
                why: why.clone(),
            });
        }
        Ok(Supervisor {
            options,
            log,
            cgroup: cgroup.ok(),
            child: None,
            expected_end: None,
            restart_due: None,
            restarts: 0,
            events,
        })
    }

    /// From the next start on, it is run like this.
    pub fn set_command(&mut self, program: PathBuf, arguments: Vec<String>) {
        self.options.program = program;
        self.options.arguments = arguments;
    }

    /// Starts it, as an action of the scenario: nobody counts it as a restart.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn start(&mut self) -> Result<i32, String> {
        if let Some(running) = &self.child {
            return Err(format!("expected no daemon to run, pid {} does", running.pid));
        }
        self.restart_due = None;
        self.spawn(true)
    }

    fn spawn(&mut self, announced: bool) -> Result<i32, String> {
        let Options {
            program,
            arguments,
            environment,
            ..
        } = &self.options;
        let mut command = match &self.cgroup {
            Some(cgroup) => {
                let mut command = Command::new("/bin/sh");
                let members = cgroup.path().join("cgroup.procs");
                command.arg("-c").arg(JOIN_AND_EXEC).arg(members).arg(program);
                command
            }
            None => Command::new(program),
        };
        let log = self.log.try_clone().map_err(|error| format!("{LOG}: {error}"))?;
        // With it the daemon would write for the journal.
        command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        command.args(arguments).envs(environment.iter().cloned());
        // Ctrl-C is for the runner.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let pid = i32::try_from(child.id()).map_err(|_| format!("expected a pid, got {}", child.id()))?;
        // A child that has ended already is a zombie until it is reaped: its identity can still be read.
        let start_ticks = process::identity(pid).map_or(0, |identity| identity.start_ticks);
        let since = Instant::now();
        self.child = Some(Running { child, pid, since });
        self.expected_end = None;
        self.events.push(What::DaemonStarted {
            pid,
            start_ticks,
            announced,
        });
        Ok(pid)
    }

    /// Sends it a signal; without a daemon, nothing.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = &self.child {
            // It may have ended by now: it is not reaped yet, so the pid is still its own.
            let _ = signal::kill(Pid::from_raw(running.pid), signal);
        }
    }

    /// Ends it as an action of the scenario: by `signal`, and by SIGKILL when that takes longer than `patience`,
    /// which is not what was ordered. It is not started again but by [`Supervisor::start`].
    ///
    /// # Errors
    /// When it took SIGKILL.
    pub fn stop(&mut self, signal: Signal, patience: Duration) -> Result<(), String> {
        // What it died of before is its own doing.
        self.reap();
        self.expected_end = Some(signal);
        self.signal(signal);
        let deadline = Instant::now() + patience;
        let mut result = Ok(());
        while self.is_running() {
            if Instant::now() >= deadline && result.is_ok() {
                result = Err(format!(
                    "expected the daemon to end within {patience:?} after {signal}, it did not"
                ));
                self.signal(Signal::SIGKILL);
            }
            thread::sleep(LOOK_EVERY);
        }
        self.restart_due = None;
        result
    }

    fn is_running(&mut self) -> bool {
        self.reap();
        self.child.is_some()
    }

    fn reap(&mut self) {
        let Some(running) = &mut self.child else { return };
        let (pid, age) = (running.pid, running.since.elapsed());
        let status = match running.child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => status,
            // Nobody else may reap it; if somebody did, it is gone all the same.
            Err(_) => ExitStatus::from_raw(0),
        };
        self.child = None;
        // Asked to end it exits with 0, or dies of the signal before it has a handler. A panic on the way is no order.
        let is_ordered = |order: Signal| {
            let may_die = order == Signal::SIGKILL || age < HANDLER_WITHIN;
            status.code() == Some(0) || may_die && status.signal() == Some(order as i32)
        };
        let announced = self.expected_end.take().is_some_and(is_ordered);
        self.events.push(What::DaemonEnded {
            pid,
            code: status.code(),
            signal: status.signal(),
            announced,
        });
        let is_failure = !matches!(status.code(), Some(0 | STATUS_CONFIG));
        if !announced && is_failure {
            self.restart_due = Some(Instant::now() + RESTART_AFTER);
        }
    }

    /// Reaps and starts again; says what happened since the last call.
    pub fn events(&mut self) -> Vec<What> {
        self.reap();
        if self.restart_due.is_some_and(|due| due <= Instant::now()) {
            self.restart_due = None;
            self.restarts += 1;
            let count = self.restarts;
            self.events.push(What::Restarts { count });
            // A program that cannot be started any more is a daemon that stays away: the events say that it ended.
            if self.spawn(false).is_err() {
                self.restart_due = Some(Instant::now() + RESTART_AFTER);
            }
        }
        std::mem::take(&mut self.events)
    }

    /// Its pid, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|running| running.pid)
    }

    /// Where it is counted.
    pub fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_ref().map(cgroup::Own::path)
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.options.folder.join(LOG)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(mut running) = self.child.take() {
            // A stopped one as well: SIGKILL needs no SIGCONT.
            let killed = signal::kill(Pid::from_raw(running.pid), Signal::SIGKILL);
            if killed != Err(Errno::EPERM) {
                let _ = running.child.wait();
            }
        }
    }
}

/// Tells the cgroups of two daemons of one runner apart.
fn nonce(folder: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, script: &str) -> Supervisor {
        Supervisor::new(Options {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Vec::new(),
            folder: folder.into(),
        })
        .unwrap()
    }

    /// Events until the condition holds.
    fn until(supervisor: &mut Supervisor, is_it: impl Fn(&[What]) -> bool) -> Vec<What> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut events = Vec::new();
        while !is_it(&events) {
            assert!(Instant::now() < deadline, "{events:?}");
            events.extend(supervisor.events());
            thread::sleep(LOOK_EVERY);
        }
        events
    }

    fn ends(events: &[What]) -> Vec<(Option<i32>, Option<i32>, bool)> {
        let end = |what: &What| match what {
            What::DaemonEnded {
                code,
                signal,
                announced,
                ..
            } => Some((*code, *signal, *announced)),
            _ => None,
        };
        events.iter().filter_map(end).collect()
    }

    #[test]
    fn a_crash_loop_is_seen_as_one_and_what_was_said_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = shell(folder.path(), "echo dies >&2; exit 2");
        supervisor.start().unwrap();
        let events = until(&mut supervisor, |events| ends(events).len() >= 3);
        assert!(
            ends(&events).iter().all(|end| *end == (Some(2), None, false)),
            "{events:?}"
        );
        assert!(events.contains(&What::Restarts { count: 2 }), "{events:?}");
        let announced = |what: &&What| matches!(what, What::DaemonStarted { announced: true, .. });
        assert_eq!(events.iter().filter(announced).count(), 1, "{events:?}");
        assert!(
            std::fs::read_to_string(supervisor.log())
                .unwrap()
                .matches("dies")
                .count()
                >= 3
        );
    }

    #[test]
    fn an_end_with_zero_or_of_configuration_is_reported_and_stays() {
        for status in [0, STATUS_CONFIG] {
            let folder = tempfile::tempdir().unwrap();
            let mut supervisor = shell(folder.path(), &format!("exit {status}"));
            supervisor.start().unwrap();
            let events = until(&mut supervisor, |events| !ends(events).is_empty());
            assert_eq!(ends(&events), [(Some(status), None, false)]);
            thread::sleep(2 * RESTART_AFTER);
            assert!(supervisor.events().is_empty() && supervisor.pid().is_none());
        }
    }

    #[test]
    fn an_ordered_end_is_announced_and_one_that_does_not_come_is_forced() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = shell(folder.path(), "exec sleep 100");
        supervisor.start().unwrap();
        assert!(supervisor.start().unwrap_err().contains("expected no daemon"));
        supervisor.stop(Signal::SIGTERM, Duration::from_secs(10)).unwrap();
        assert_eq!(ends(&supervisor.events()), [(None, Some(15), true)]);
        let stubborn = "trap '' TERM; touch ready; while :; do sleep 0.05; done";
        supervisor.set_command(
            "/bin/sh".into(),
            vec![
                "-c".into(),
                stubborn.replace("ready", folder.path().join("ready").to_str().unwrap()),
            ],
        );
        supervisor.start().unwrap();
        while !folder.path().join("ready").exists() {
            thread::sleep(LOOK_EVERY);
        }
        assert!(
            supervisor
                .stop(Signal::SIGTERM, Duration::from_millis(50))
                .is_err()
        );
        let forced = supervisor.events();
        assert_eq!(ends(&forced), [(None, Some(9), false)]);
        thread::sleep(2 * RESTART_AFTER);
        assert!(supervisor.events().is_empty(), "it was ordered to stay away");
    }

    #[test]
    fn an_ordered_end_that_goes_wrong_is_not_announced() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let script = format!(
            "trap 'exit 101' TERM; touch {}; while :; do sleep 0.02; done",
            ready.display()
        );
        let mut supervisor = shell(folder.path(), &script);
        supervisor.start().unwrap();
        while !ready.exists() {
            thread::sleep(LOOK_EVERY);
        }
        supervisor.stop(Signal::SIGTERM, Duration::from_secs(10)).unwrap();
        assert_eq!(ends(&supervisor.events()), [(Some(101), None, false)]);
    }

    #[test]
    fn one_that_has_no_handler_when_it_should_dies_of_an_order_and_that_is_not_announced() {
        for (order, announced) in [(Signal::SIGTERM, false), (Signal::SIGKILL, true)] {
            let folder = tempfile::tempdir().unwrap();
            let mut supervisor = shell(folder.path(), "exec sleep 100");
            supervisor.start().unwrap();
            thread::sleep(HANDLER_WITHIN + Duration::from_millis(500));
            supervisor.stop(order, Duration::from_secs(10)).unwrap();
            assert_eq!(
                ends(&supervisor.events()),
                [(None, Some(order as i32), announced)]
            );
        }
    }

    #[test]
    fn it_runs_in_a_cgroup_of_its_own_whose_peak_remembers() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = shell(folder.path(), "sleep 0 & sleep 0 & wait; exec sleep 100");
        let Some(cgroup) = supervisor.cgroup().map(Path::to_owned) else {
            eprintln!("skipped: {:?}", supervisor.events());
            return;
        };
        let pid = supervisor.start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while super::super::process::read(pid, false)
            .is_none_or(|process| !process.threads.contains_key("sleep"))
        {
            assert!(Instant::now() < deadline);
            thread::sleep(LOOK_EVERY);
        }
        let counts = cgroup::read(&cgroup).unwrap();
        assert_eq!(counts.pids_current, 1);
        assert!(counts.pids_peak.is_none_or(|peak| peak >= 2), "{counts:?}");
        supervisor.stop(Signal::SIGKILL, Duration::from_secs(10)).unwrap();
        drop(supervisor);
        assert!(!cgroup.exists());
    }
}
