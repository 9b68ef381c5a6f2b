//! What a load or a runner leaves behind for `clean` to find: names that say whose something is, and a file in
//! [`STATES`] with what has no name of ours. Each line there is written before, or as soon as, the thing is
//! there.

use procfs::process::Process;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

/// One file for each load and each runner, named by its marker.
pub const STATES: &str = "/run/xtcp2-soak";
/// What all our names begin with.
pub const PREFIX: &str = "soak-";

/// A process, such that no other is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Start in clock ticks since boot (field 22 of stat).
    pub start_ticks: u64,
}

impl ProcessId {
    /// Who that number is now; none if nobody is.
    pub fn of(pid: i32) -> Option<ProcessId> {
        let stat = Process::new(pid).and_then(|process| process.stat()).ok()?;
        // A zombie holds nothing any more.
        (stat.state != 'Z').then_some(ProcessId {
            pid,
            start_ticks: stat.starttime,
        })
    }

    /// Whether it is still there.
    pub fn is_alive(self) -> bool {
        ProcessId::of(self.pid) == Some(self)
    }
}

/// Every process that is there and can be read.
fn processes() -> impl Iterator<Item = Process> {
    let all = procfs::process::all_processes().into_iter().flatten();
    all.filter_map(Result::ok)
}

/// Processes that run a program of that name.
pub fn processes_named(name: &str) -> Vec<ProcessId> {
    let is_named = |process: &Process| process.stat().is_ok_and(|stat| stat.comm == name);
    let named = processes().filter(is_named);
    named.filter_map(|process| ProcessId::of(process.pid)).collect()
}

/// Processes that a process started, and that it still has.
pub fn children_of(pid: i32) -> Vec<ProcessId> {
    let is_child = |process: &Process| process.stat().is_ok_and(|stat| stat.ppid == pid);
    let children = processes().filter(is_child);
    children
        .filter_map(|process| ProcessId::of(process.pid))
        .collect()
}

/// Processes of a container: its shim, which is told its id, and what runs in it, whose cgroup has its name.
pub fn processes_of_container(id: &str) -> Vec<ProcessId> {
    let is_of_container = |process: &Process| {
        let is_shim = process.cmdline().is_ok_and(|words| {
            words.first().is_some_and(|word| word.contains("containerd-shim"))
                && words.iter().any(|word| word == id)
        });
        let is_in_cgroup = || {
            let cgroups = process.cgroups().into_iter().flatten();
            cgroups.into_iter().any(|cgroup| cgroup.pathname.contains(id))
        };
        is_shim || is_in_cgroup()
    };
    let found = processes().filter(is_of_container);
    found.filter_map(|process| ProcessId::of(process.pid)).collect()
}

/// Whose something is: part of each name. The process that was started as the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marker(pub ProcessId);

impl Marker {
    /// Ours.
    ///
    /// # Errors
    /// Without /proc.
    pub fn own() -> Result<Marker, String> {
        let own = Process::myself().and_then(|process| process.stat());
        own.map(|stat| {
            Marker(ProcessId {
                pid: stat.pid,
                start_ticks: stat.starttime,
            })
        })
        .map_err(|error| format!("/proc/self/stat: {error}"))
    }

    /// A name of ours: of a namespace, a container.
    pub fn name(self, number: u64) -> String {
        format!("{PREFIX}{self}-{number}")
    }

    /// Whose name that is; none if it is no name of ours.
    pub fn of_name(name: &str) -> Option<Marker> {
        let (marker, number) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
        number.parse::<u64>().ok()?;
        marker.parse().ok()
    }

    /// Its file.
    pub fn state(self) -> PathBuf {
        Path::new(STATES).join(format!("{self}.jsonl"))
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{:x}", self.0.pid, self.0.start_ticks)
    }
}

impl FromStr for Marker {
    type Err = ();

    fn from_str(text: &str) -> Result<Marker, ()> {
        let (pid, start) = text.split_once('x').ok_or(())?;
        Ok(Marker(ProcessId {
            pid: pid.parse().map_err(drop)?,
            start_ticks: u64::from_str_radix(start, 16).map_err(drop)?,
        }))
    }
}

/// Something that a load made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "made", rename_all = "kebab-case")]
pub enum Made {
    /// A folder where namespaces are mounted; `is_ours` if there was none before.
    Folder {
        /// Absolute.
        path: PathBuf,
        /// Made by the load.
        is_ours: bool,
    },
    /// A folder that goes with everything in it.
    Temporary {
        /// Absolute.
        path: PathBuf,
    },
    /// A process: worker, dockerd or its containerd, a runner's load or daemon. Shims and what runs in containers have the id of the
    /// container in their names.
    Process {
        /// What it is, for people.
        role: String,
        /// Who.
        #[serde(flatten)]
        process: ProcessId,
    },
    /// Containers and an image, by label and name, in an engine that was there before.
    Engine {
        /// Where it answers.
        socket: PathBuf,
    },
    /// One of [`super::engine::FOLDERS`], made by an engine of our own.
    EngineFolder {
        /// Absolute.
        path: PathBuf,
    },
    /// A control group that a runner made for its daemon.
    Cgroup {
        /// Absolute.
        path: PathBuf,
    },
    /// A folder of scripts/pipeline, with what it started.
    Pipeline {
        /// Absolute.
        path: PathBuf,
    },
    /// A file that has no name of ours, such as /run/docker/netns/0123abcd, and what is mounted on it.
    File {
        /// Absolute.
        path: PathBuf,
    },
}

/// Writes down that something was made. Several processes may write at the same time.
///
/// # Errors
/// When the file cannot be written; what is not written down may not be made.
pub fn note(marker: Marker, made: &Made) -> Result<(), String> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(STATES)?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(marker.state())?;
        let mut line = serde_json::to_string(made)?;
        line.push('\n');
        file.write_all(line.as_bytes())
    };
    write().map_err(|error| format!("{}: {error}", marker.state().display()))
}

/// Every load that wrote something down, and what. A torn line is passed over.
///
/// # Errors
/// When there are files that cannot be read.
pub fn states() -> io::Result<Vec<(Marker, Vec<Made>)>> {
    let files = match fs::read_dir(STATES) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut states = Vec::new();
    for file in files {
        let file = file?.path();
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(marker) = name.strip_suffix(".jsonl").and_then(|name| name.parse().ok()) else {
            continue;
        };
        let text = fs::read_to_string(&file)?;
        let made = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        states.push((marker, made.collect()));
    }
    states.sort_by_key(|(marker, _)| *marker);
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is_and_others_are_nobodys() {
        let marker = Marker::own().unwrap();
        assert!(marker.0.is_alive());
        assert_eq!(Marker::of_name(&marker.name(17)), Some(marker));
        for other in ["soak-17", "soak-1x2", "soak-1x2-a", "soak-x-1", "load-1x2-3", ""] {
            assert_eq!(Marker::of_name(other), None, "{other}");
        }
    }

    /// A pid that was given out again is somebody else.
    #[test]
    fn a_process_with_another_start_is_not_alive() {
        let Marker(own) = Marker::own().unwrap();
        let other = ProcessId {
            start_ticks: own.start_ticks + 1,
            ..own
        };
        assert!(!other.is_alive());
    }
}
