//! `clean`: removes what runners and loads left that were killed together with their workers, and nothing else.
//!
//! What belongs to one has its marker in its name, or was written down by it (`load::trace`). One that still
//! runs keeps what it has. A process is ended only if both its number and its start are those that were
//! written down, so one that got the number later is safe.

use crate::{
    cli::{Command, Flag, Given},
    load::{
        engine,
        trace::{self, Made, Marker, ProcessId, STATES},
    },
    run::pipeline,
    watch::cgroup,
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
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    thread,
    time::{Duration, Instant},
};

/// The command.
pub const COMMAND: Command = Command {
    name: "clean",
    doc: "removes what killed runs and loads left: processes, containers, mounts, files",
    long_doc: "Ends recorded processes, unmounts and removes what has the name of a run or a load that is not \
               there any more, and says what it did. Those that run are left alone. A second time it has nothing to do.\n\n\
               Exit status: 0 when nothing is left; 2 when something could not be removed.",
    words: "",
    flags: &[Flag {
        name: "dry-run",
        value: "",
        default: "",
        doc: "Say what would be removed, and leave it.",
    }],
    run,
};

/// Loads and workers whose parent was killed take away what they made, if they are let.
const WORKERS_END_MAX: Duration = Duration::from_secs(3);
/// A dockerd that is told to end ends its containers first.
const DOCKERD_END_MAX: Duration = Duration::from_secs(20);
/// After a SIGKILL.
const KILL_MAX: Duration = Duration::from_secs(5);
/// Hexadecimal digits of the id of a container.
const CONTAINER_ID_BYTES: usize = 64;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn run(given: &Given) -> Result<ExitCode, String> {
    let mut loads: BTreeMap<Marker, Vec<Made>> = states()?.into_iter().collect();
    // Also what has a name of ours but whose record is lost.
    for mount in mounts()? {
        if let Some(marker) = whose(&mount) {
            loads.entry(marker).or_default();
        }
    }
    let mut problems = 0;
    for (marker, made) in loads {
        if marker.0.is_alive() {
            println!("{marker}: runs, left alone");
            continue;
        }
        let mode = match given.has("dry-run") {
            true => Mode::Say,
            false => Mode::DoAndSay,
        };
        problems += Sweep::new(marker, mode, made).all()?;
    }
    match problems {
        0 => Ok(ExitCode::SUCCESS),
        count => Err(format!("{count} things could not be removed")),
    }
}

/// Removes what a load left, from within this load, at its end. Silent, but for what stays.
///
/// # Errors
/// When something stays.
pub fn after(marker: Marker) -> Result<(), String> {
    let Some((_, made)) = states()?.into_iter().find(|(other, _)| *other == marker) else {
        return Ok(());
    };
    match Sweep::new(marker, Mode::Do, made).all()? {
        0 => Ok(()),
        count => Err(format!(
            "{count} things could not be removed: see xtcp2-soak clean"
        )),
    }
}

fn states() -> Result<Vec<(Marker, Vec<Made>)>, String> {
    trace::states().map_err(|error| format!("{STATES}: {error}"))
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

/// Whether something is done about what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Do,
    DoAndSay,
    /// A dry run.
    Say,
}

/// What one load left.
struct Sweep {
    marker: Marker,
    mode: Mode,
    made: Vec<Made>,
    /// Ids of the containers of its own engine, from the engine's own folder: they are there before anything
    /// else of a container is.
    containers: BTreeSet<String>,
    problems: u32,
}

impl Sweep {
    fn new(marker: Marker, mode: Mode, made: Vec<Made>) -> Sweep {
        let mut sweep = Sweep {
            marker,
            mode,
            made,
            containers: BTreeSet::new(),
            problems: 0,
        };
        let data = sweep.temporary().map(|path| path.join("data/containers"));
        let folders = data
            .filter_map(|path| fs::read_dir(path).ok())
            .flatten()
            .flatten();
        let ids = folders.filter_map(|folder| folder.file_name().into_string().ok());
        // Anything shorter could be part of something else's name.
        sweep.containers = ids.filter(|id| id.len() == CONTAINER_ID_BYTES).collect();
        sweep
    }

    /// Temporary folders, but for what a record that was tampered with has.
    fn temporary(&self) -> impl Iterator<Item = &PathBuf> {
        self.made.iter().filter_map(|made| match made {
            Made::Temporary { path } => (whose(path) == Some(self.marker)).then_some(path),
            _ => None,
        })
    }

    /// As [`Sweep::temporary`], of an engine.
    fn engine_folders(&self) -> impl Iterator<Item = &PathBuf> {
        let known = |path: &Path| engine::FOLDERS.iter().any(|folder| path == Path::new(folder));
        self.made.iter().filter_map(move |made| match made {
            Made::EngineFolder { path } => known(path).then_some(path),
            _ => None,
        })
    }

    /// Its control groups, but for what a record that was tampered with has.
    fn own_cgroups(&self) -> Vec<PathBuf> {
        let own = self.made.iter().filter_map(|made| match made {
            Made::Cgroup { path } => Some(path),
            _ => None,
        });
        let is_own = |path: &&PathBuf| whose(path) == Some(self.marker) && path.starts_with("/sys/fs/cgroup");
        own.filter(is_own).cloned().collect()
    }

    /// Processes first, since they hold what comes after. Returns how many things stay.
    fn all(mut self) -> Result<u32, String> {
        self.engines();
        self.processes();
        self.mounts()?;
        self.files()?;
        if self.problems == 0 {
            self.remove_file(&self.marker.state());
            if self.mode != Mode::Say {
                // Others may have theirs there.
                let _ = fs::remove_dir(STATES);
            }
        }
        Ok(self.problems)
    }

    /// Does something, unless this is a dry run, and says so.
    fn act(&mut self, what: &str, act: impl FnOnce() -> io::Result<()>) {
        let marker = self.marker;
        if self.mode == Mode::Say {
            return println!("{marker}: would {what}");
        }
        match act() {
            Ok(()) if self.mode == Mode::DoAndSay => println!("{marker}: {what}"),
            Ok(()) => {}
            // It went by itself.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                self.problems += 1;
                eprintln!("{marker}: {what}: {error}");
            }
        }
    }

    /// Containers of an engine that was there before the load. If it is not there now, nor are they.
    fn engines(&mut self) {
        let sockets: Vec<PathBuf> = self
            .made
            .iter()
            .filter_map(|made| match made {
                Made::Engine { socket } => Some(socket.clone()),
                _ => None,
            })
            .filter(|socket| UnixStream::connect(socket).is_ok())
            .collect();
        for socket in sockets {
            let (marker, at) = (self.marker, socket.display());
            self.act(&format!("remove the containers at {at}"), || {
                engine::remove_all(&socket, marker).map_err(io::Error::other)
            });
        }
    }

    /// What is alive of the processes, with what each is.
    fn living(&self) -> Vec<(String, ProcessId)> {
        let noted = self.made.iter().filter_map(|made| match made {
            Made::Process { role, process } => Some((role.clone(), *process)),
            _ => None,
        });
        let of_containers = self.containers.iter().flat_map(|id| {
            let role = format!("process of container {id:.12}");
            let found = trace::processes_of_container(id).into_iter();
            found.map(move |process| (role.clone(), process))
        });
        let of_pipelines = self.made.iter().flat_map(|made| match made {
            Made::Pipeline { path } => pipeline::processes(path),
            _ => Vec::new(),
        });
        // A worker sweeps for itself when its parent was killed.
        let own = i32::try_from(process::id()).unwrap_or_default();
        let all = noted.chain(of_containers).chain(of_pipelines);
        all.filter(|(_, process)| process.pid != own && process.is_alive())
            .collect()
    }

    fn processes(&mut self) {
        let of_role = |living: Vec<(String, ProcessId)>, wanted: &str| -> Vec<(String, ProcessId)> {
            living.into_iter().filter(|(role, _)| role == wanted).collect()
        };
        if self.mode != Mode::Say {
            for role in ["load", "worker"] {
                wait_for_end(of_role(self.living(), role), WORKERS_END_MAX);
            }
            let engine = of_role(self.living(), "dockerd");
            self.signal(&engine, Signal::SIGTERM);
            wait_for_end(engine, DOCKERD_END_MAX);
        }
        let rest = self.living();
        self.signal(&rest, Signal::SIGKILL);
        if self.mode != Mode::Say {
            for (role, process) in wait_for_end(rest, KILL_MAX) {
                self.act(&format!("end {role} {}", process.pid), || {
                    Err(io::Error::other("it does not end"))
                });
            }
        }
    }

    fn signal(&mut self, processes: &[(String, ProcessId)], signal: Signal) {
        for (role, process) in processes {
            self.act(
                &format!("send {signal} to {role} {}", process.pid),
                || match kill(Pid::from_raw(process.pid), signal) {
                    Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
                    Err(error) => Err(error.into()),
                },
            );
        }
    }

    /// The last mounted first: it may lie on another.
    fn mounts(&mut self) -> Result<(), String> {
        for mount in mounts()?.into_iter().rev() {
            let is_below = |folder: &PathBuf| mount.starts_with(folder);
            let is_of_container = || {
                let mut parts = mount.iter().filter_map(|part| part.to_str());
                parts.any(|part| self.containers.contains(part))
            };
            let is_ours = whose(&mount) == Some(self.marker)
                || self.made.contains(&Made::File { path: mount.clone() })
                || self.temporary().any(is_below)
                || (self.engine_folders().any(is_below) && !is_engine_there())
                || is_of_container();
            if is_ours {
                self.act(&format!("unmount {}", mount.display()), || {
                    Ok(umount2(&mount, MntFlags::MNT_DETACH)?)
                });
                self.remove_file(&mount);
            }
        }
        Ok(())
    }

    /// Removes a file, if it is one.
    fn remove_file(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            self.act(&format!("remove {}", path.display()), || fs::remove_file(path));
        }
    }

    /// Removes a folder and everything in it, unless something is mounted there, which would go as well.
    fn remove_folder(&mut self, path: &Path) -> Result<(), String> {
        if path.is_dir() {
            let is_mounted = mounts()?.iter().any(|mount| mount.starts_with(path));
            self.act(
                &format!("remove {} and what is in it", path.display()),
                || match is_mounted {
                    true => Err(io::Error::other("something is mounted there")),
                    false => fs::remove_dir_all(path),
                },
            );
        }
        Ok(())
    }

    fn files(&mut self) -> Result<(), String> {
        for made in self.made.clone() {
            match made {
                // In a dry run what is mounted was named before.
                Made::File { path } if !mounts()?.contains(&path) => self.remove_file(&path),
                Made::Folder { path, is_ours } => self.namespace_files(&path, is_ours)?,
                _ => {}
            }
        }
        for folder in self.temporary().cloned().collect::<Vec<_>>() {
            self.remove_folder(&folder)?;
        }
        for id in self.containers.clone() {
            self.cgroups(&[format!("docker/{id}"), format!("system.slice/docker-{id}.scope")])?;
        }
        for group in self.own_cgroups() {
            if group.is_dir() {
                self.act(&format!("remove {}", group.display()), || cgroup::remove(&group));
            }
        }
        let folders: Vec<PathBuf> = self.engine_folders().cloned().collect();
        // Another engine may have come meanwhile, and use them.
        if !folders.is_empty() && !is_engine_there() {
            for folder in folders {
                self.remove_folder(&folder)?;
            }
            self.cgroups(&["docker".to_owned()])?;
        }
        Ok(())
    }

    fn namespace_files(&mut self, folder: &Path, is_ours: bool) -> Result<(), String> {
        let mounts = mounts()?;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // In a dry run those that are mounted were named before.
            if whose(&path) == Some(self.marker) && !mounts.contains(&path) {
                self.remove_file(&path);
            }
        }
        let is_empty = || fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        // If others have put something there, it stays.
        if is_ours && is_empty() {
            self.act(&format!("remove {}", folder.display()), || fs::remove_dir(folder));
        }
        Ok(())
    }

    /// Groups that an engine made: of a container whose shim was killed, nobody else removes them.
    fn cgroups(&mut self, names: &[String]) -> Result<(), String> {
        let mounts = mounts()?;
        for root in mounts.iter().filter(|mount| mount.starts_with("/sys/fs/cgroup")) {
            for path in names.iter().map(|name| root.join(name)) {
                self.remove_cgroup(&path);
            }
        }
        Ok(())
    }

    /// One that holds other groups is somebody's.
    fn remove_cgroup(&mut self, path: &Path) {
        let holds_group = |entry: fs::DirEntry| entry.path().is_dir();
        let is_free = |entries: fs::ReadDir| !entries.flatten().any(holds_group);
        if fs::read_dir(path).is_ok_and(is_free) {
            self.act(&format!("remove {}", path.display()), || fs::remove_dir(path));
        }
    }
}

/// Whether some engine runs, whosever it is.
fn is_engine_there() -> bool {
    let named = ["dockerd", "containerd"].map(trace::processes_named);
    named.iter().any(|processes| !processes.is_empty())
}

/// Waits until all have ended; returns those that have not.
fn wait_for_end(mut processes: Vec<(String, ProcessId)>, at_most: Duration) -> Vec<(String, ProcessId)> {
    let end = Instant::now() + at_most;
    loop {
        processes.retain(|(_, process)| process.is_alive());
        if processes.is_empty() || Instant::now() >= end {
            return processes;
        }
        thread::sleep(LOOK_EVERY);
    }
}
