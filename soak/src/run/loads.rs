//! The loads of a run: this program again, once for each, with its own folder of namespaces.

use crate::{load, record, scenario};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A population of a thousand namespaces takes seconds, twenty containers half a minute.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// A load says what it did each second; one that is silent for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Taking everything away again.
const END_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Said {
    load: Option<record::Load>,
    at: Option<Instant>,
}

#[derive(Debug)]
struct Process {
    kind: String,
    child: Child,
    said: Arc<Mutex<Said>>,
}

/// All loads of a scenario.
#[derive(Debug, Default)]
pub struct Loads {
    processes: Vec<Process>,
}

impl Loads {
    /// Starts them and waits until each has its population. Namespaces are mounted in `namespaces`, their
    /// creations and deletions written to `events`.
    ///
    /// # Errors
    /// When one cannot be started or ends.
    pub fn start(
        wanted: &[scenario::Load],
        namespaces: &Path,
        events: &Path,
        logs: &Path,
    ) -> Result<Loads, String> {
        let program = std::env::current_exe().map_err(|error| format!("the own program: {error}"))?;
        let mut loads = Loads::default();
        for (index, load) in wanted.iter().enumerate() {
            let mut arguments = load::command(load, namespaces);
            if matches!(load, scenario::Load::Churn { .. }) {
                arguments.extend(["--events".to_owned(), events.display().to_string()]);
            }
            let kind = arguments.get(1).cloned().unwrap_or_default();
            let log = log_file(logs, index, &kind);
            let failed = |error: std::io::Error| format!("load {kind}: {error}");
            let mut child = Command::new(&program)
                .args(&arguments)
                // Ctrl-C is for the runner, which ends them in their order.
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(File::create(&log).map_err(failed)?)
                .spawn()
                .map_err(failed)?;
            super::note_process("load", child.id().cast_signed())?;
            let said = Arc::new(Mutex::new(Said::default()));
            if let Some(stdout) = child.stdout.take() {
                let said = Arc::clone(&said);
                thread::spawn(move || {
                    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                        if let Ok(load) = serde_json::from_str(&line) {
                            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                            said.load = Some(load);
                            said.at = Some(Instant::now());
                        }
                    }
                });
            }
            loads.processes.push(Process { kind, child, said });
        }
        let until = Instant::now() + READY_TIMEOUT;
        for process in &mut loads.processes {
            while process.load().is_none() {
                if let Ok(Some(status)) = process.child.try_wait() {
                    return Err(format!(
                        "load {}: ended before it was ready, {status}; its log is in {}",
                        process.kind,
                        logs.display()
                    ));
                }
                if Instant::now() > until {
                    return Err(format!(
                        "load {}: not ready within {READY_TIMEOUT:?}",
                        process.kind
                    ));
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(loads)
    }

    /// What all of them did so far.
    pub fn sum(&mut self) -> record::Load {
        let mut sum = record::Load::default();
        for process in &mut self.processes {
            let load = process.load().unwrap_or_default();
            let ended = !matches!(process.child.try_wait(), Ok(None));
            sum = sum + &load;
            sum.dead |= ended || process.is_silent();
        }
        sum
    }
}

impl Process {
    fn load(&self) -> Option<record::Load> {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .load
            .clone()
    }

    fn is_silent(&self) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.at.is_none_or(|at| at.elapsed() > SILENCE_MAX)
    }
}

impl Drop for Loads {
    /// Tells each to take everything away, and waits for it.
    fn drop(&mut self) {
        for process in &mut self.processes {
            // The pid of one whose end was seen may be another's by now.
            if matches!(process.child.try_wait(), Ok(None)) {
                super::signal(
                    process.child.id().cast_signed(),
                    nix::sys::signal::Signal::SIGTERM,
                );
            }
        }
        let until = Instant::now() + END_TIMEOUT;
        for process in &mut self.processes {
            while matches!(process.child.try_wait(), Ok(None)) && Instant::now() < until {
                thread::sleep(Duration::from_millis(20));
            }
            if matches!(process.child.try_wait(), Ok(None)) {
                log::error!(
                    "load {}: did not end within {END_TIMEOUT:?}, killed: xtcp2-soak clean",
                    process.kind
                );
                let _ = process.child.kill();
                let _ = process.child.wait();
            }
        }
    }
}

fn log_file(folder: &Path, index: usize, kind: &str) -> PathBuf {
    folder.join(format!("load-{index}-{kind}.log"))
}

#[cfg(test)]
#[path = "../../../daemon/tests/common/sandbox.rs"]
#[allow(dead_code, reason = "shared with the daemon's tests")]
mod sandbox;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::process::ExitStatusExt};

    /// With pids of its own: the next one can be chosen, and nobody else takes it.
    #[test]
    fn the_end_signals_nobody_who_has_the_pid_of_a_load_that_ended_before() {
        let test = "run::loads::tests::the_end_signals_nobody_who_has_the_pid_of_a_load_that_ended_before";
        sandbox::run(test, || {
            sandbox::start(test, "pids", &["unshare", "-p", "--fork", "--kill-child", "--"]);
        });
        if !sandbox::is_step("pids") {
            return;
        }
        let child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        let mut loads = Loads {
            processes: vec![Process {
                kind: "churn".to_owned(),
                child,
                said: Arc::default(),
            }],
        };
        // A run looks at them each second.
        while matches!(loads.processes[0].child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(loads.sum().dead);
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(stranger.id(), pid);
        drop(loads);
        stranger.kill().unwrap();
        assert_eq!(stranger.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
