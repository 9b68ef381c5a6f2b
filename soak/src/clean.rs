//! `clean`: removes what loads left that were killed together with their workers, and nothing else.
//!
//! What belongs to a load has its marker in its name, or was written down by it (`load::trace`). A load that
//! still runs keeps what it has. A process is ended only if both its number and its start are those that were
//! written down, so one that got the number later is safe.

use crate::{
    cli::{Command, Flag, Given},
    load::trace::{self, Made, Marker, ProcessId, STATES},
};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procfs::process::Process;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// The command.
pub const COMMAND: Command = Command {
    name: "clean",
    doc: "removes what killed loads left: processes, containers, mounts, files",
    long_doc: "Ends recorded processes, unmounts and removes what has the name of a load that is not there any \
               more, and says what it did. Loads that run are left alone. A second time it has nothing to do.\n\n\
               Exit status: 0 when nothing is left; 2 when something could not be removed.",
    flags: &[Flag {
        name: "dry-run",
        value: "",
        default: "",
        doc: "Say what would be removed, and leave it.",
    }],
    run,
};

/// Workers whose parent was killed take away what they made, if they are let.
const WORKERS_END_MAX: Duration = Duration::from_secs(3);
/// A dockerd that is told to end ends its containers first.
const DOCKERD_END_MAX: Duration = Duration::from_secs(20);
/// After a SIGKILL.
const KILL_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn run(given: &Given) -> Result<ExitCode, String> {
    let is_dry = given.has("dry-run");
    let mut loads: BTreeMap<Marker, Vec<Made>> = trace::states()
        .map_err(|error| format!("{STATES}: {error}"))?
        .into_iter()
        .collect();
    // Also what has a name of ours but whose record is lost.
    for mount in mounts()? {
        if let Some(marker) = whose(&mount) {
            loads.entry(marker).or_default();
        }
    }
    let mut problems = 0;
    for (marker, made) in loads {
        if marker.0.is_alive() {
            println!("load {marker}: runs, left alone");
            continue;
        }
        let mut sweep = Sweep {
            marker,
            is_dry,
            problems: 0,
        };
        sweep.all(&made)?;
        problems += sweep.problems;
    }
    match problems {
        0 => Ok(ExitCode::SUCCESS),
        count => Err(format!("{count} things could not be removed")),
    }
}

/// Removes what the workers of this process left; it is silent where they left nothing.
///
/// # Errors
/// When something stays.
pub fn after(marker: Marker) -> Result<(), String> {
    let states = trace::states().map_err(|error| format!("{STATES}: {error}"))?;
    let made = states.into_iter().find(|(other, _)| *other == marker);
    let mut sweep = Sweep {
        marker,
        is_dry: false,
        problems: 0,
    };
    sweep.all(&made.map(|(_, made)| made).unwrap_or_default())?;
    match sweep.problems {
        0 => Ok(()),
        count => Err(format!(
            "{count} things could not be removed: see xtcp2-soak clean"
        )),
    }
}

/// Whose a path is, by its last part.
fn whose(path: &Path) -> Option<Marker> {
    Marker::of_name(path.file_name()?.to_str()?)
}

/// Every mount point, in the order in which they were mounted.
fn mounts() -> Result<Vec<PathBuf>, String> {
    let mounts = Process::myself().and_then(|own| own.mountinfo());
    let mounts = mounts.map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    Ok(mounts.into_iter().map(|mount| mount.mount_point).collect())
}

/// What one load left.
struct Sweep {
    marker: Marker,
    is_dry: bool,
    problems: u32,
}

impl Sweep {
    /// Processes first, since they hold what comes after.
    fn all(&mut self, made: &[Made]) -> Result<(), String> {
        self.processes(made);
        self.mounts(made)?;
        self.files(made)?;
        if !self.is_dry && self.problems == 0 {
            let state = self.marker.state();
            self.outcome_silent(fs::remove_file(&state), &state);
            // Others may have theirs there.
            let _ = fs::remove_dir(STATES);
        }
        Ok(())
    }

    fn say(&self, what: &str) {
        let would = if self.is_dry { "would: " } else { "" };
        // On stderr a load's own sweep does not mix with what it says.
        eprintln!("load {}: {would}{what}", self.marker);
    }

    fn outcome(&mut self, result: io::Result<()>, what: &str) {
        match result {
            Ok(()) => self.say(what),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                self.problems += 1;
                eprintln!("load {}: {what}: {error}", self.marker);
            }
        }
    }

    fn outcome_silent(&mut self, result: io::Result<()>, path: &Path) {
        if let Err(error) = result
            && error.kind() != ErrorKind::NotFound
        {
            self.problems += 1;
            eprintln!("load {}: {}: {error}", self.marker, path.display());
        }
    }

    fn processes(&mut self, made: &[Made]) {
        let of_role = |wanted: &str| -> Vec<(&str, ProcessId)> {
            let ours = made.iter().filter_map(|made| match made {
                Made::Process { role, process } if process.is_alive() => Some((role.as_str(), *process)),
                _ => None,
            });
            ours.filter(|(role, _)| wanted.is_empty() || *role == wanted)
                .collect()
        };
        if !self.is_dry {
            wait_for_end(&of_role("worker"), WORKERS_END_MAX);
            let engine = of_role("dockerd");
            for (role, process) in &engine {
                self.signal(role, *process, Signal::SIGTERM);
            }
            wait_for_end(&engine, DOCKERD_END_MAX);
        }
        let rest = of_role("");
        for (role, process) in &rest {
            self.signal(role, *process, Signal::SIGKILL);
        }
        if !self.is_dry {
            for (role, process) in wait_for_end(&rest, KILL_MAX) {
                let stays = io::Error::other("still there");
                self.outcome(Err(stays), &format!("end of {role} {}", process.pid));
            }
        }
    }

    fn signal(&mut self, role: &str, process: ProcessId, signal: Signal) {
        let what = format!("{signal} to {role} {}", process.pid);
        if self.is_dry {
            return self.say(&what);
        }
        match kill(Pid::from_raw(process.pid), signal) {
            Ok(()) => self.say(&what),
            Err(nix::Error::ESRCH) => {}
            Err(error) => self.outcome(Err(error.into()), &what),
        }
    }

    /// The last mounted first: it may lie on another.
    fn mounts(&mut self, made: &[Made]) -> Result<(), String> {
        for mount in mounts()?.into_iter().rev() {
            let is_named = whose(&mount) == Some(self.marker);
            let is_noted = made.iter().any(|made| match made {
                Made::Mount { path } => mount == *path,
                Made::Temporary { path } => mount.starts_with(path) && whose(path) == Some(self.marker),
                _ => false,
            });
            if is_named || is_noted {
                let what = format!("unmount {}", mount.display());
                match self.is_dry {
                    true => self.say(&what),
                    false => self.outcome(umount2(&mount, MntFlags::MNT_DETACH).map_err(Into::into), &what),
                }
                self.file(&mount);
            }
        }
        Ok(())
    }

    /// Removes a file, if it is one.
    fn file(&mut self, path: &Path) {
        let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        let what = format!("remove {}", path.display());
        match (is_file, self.is_dry) {
            (false, _) => {}
            (true, true) => self.say(&what),
            (true, false) => self.outcome(fs::remove_file(path), &what),
        }
    }

    fn files(&mut self, made: &[Made]) -> Result<(), String> {
        let still_mounted: BTreeSet<PathBuf> = mounts()?.into_iter().collect();
        for made in made {
            match made {
                Made::Mount { path } if !still_mounted.contains(path) => self.file(path),
                Made::Folder { path, is_ours } => {
                    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                        let path = entry.path();
                        // In a dry run those that are mounted were named before.
                        if whose(&path) == Some(self.marker) && !still_mounted.contains(&path) {
                            self.file(&path);
                        }
                    }
                    if *is_ours && !self.is_dry {
                        // If others have put something there, it stays.
                        let _ = fs::remove_dir(path);
                    }
                }
                // A record that was tampered with shall not remove anything else.
                Made::Temporary { path } if whose(path) == Some(self.marker) && path.is_dir() => {
                    let what = format!("remove {} and what is in it", path.display());
                    let holds_mount = still_mounted.iter().any(|mount| mount.starts_with(path));
                    match (self.is_dry, holds_mount) {
                        (true, _) => self.say(&what),
                        (false, true) => {
                            self.outcome(Err(io::Error::other("something is mounted there")), &what)
                        }
                        (false, false) => self.outcome(fs::remove_dir_all(path), &what),
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Waits until all have ended; returns those that have not.
fn wait_for_end<'a>(processes: &[(&'a str, ProcessId)], at_most: Duration) -> Vec<(&'a str, ProcessId)> {
    let end = Instant::now() + at_most;
    loop {
        let alive: Vec<_> = processes
            .iter()
            .filter(|(_, process)| process.is_alive())
            .copied()
            .collect();
        if alive.is_empty() || Instant::now() >= end {
            return alive;
        }
        thread::sleep(LOOK_EVERY);
    }
}
