//! A pids cgroup of the daemon's own: its peak has seen threads that lived between two samples.

use crate::record;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Attempts to remove a cgroup that somebody was still in: 200 ms.
const REMOVE_ATTEMPTS: u32 = 20;
/// Between them.
const REMOVE_EVERY: Duration = Duration::from_millis(10);

/// A cgroup that was made here, and goes with this.
#[derive(Debug)]
pub struct Own(PathBuf);

impl Own {
    /// Makes one, wherever this machine counts tasks: the pids controller of cgroup v1, or v2.
    ///
    /// # Errors
    /// What was tried, and why it failed.
    pub fn make(name: &str) -> Result<Own, String> {
        let mounts =
            fs::read_to_string("/proc/self/mounts").map_err(|error| format!("/proc/self/mounts: {error}"))?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut problem = String::from("no cgroup file system with a pids controller is mounted");
        for parent in parents(&mounts, &own) {
            match Own::make_in(&parent, name) {
                Ok(cgroup) => return Ok(cgroup),
                Err(error) => problem = format!("{}: {error}", parent.display()),
            }
        }
        Err(problem)
    }

    fn make_in(parent: &Path, name: &str) -> io::Result<Own> {
        let own = Own(parent.join(name));
        // Of a runner that was killed, with the same pid: its peak is not ours.
        let _ = fs::remove_dir(&own.0);
        fs::create_dir(&own.0)?;
        // Under cgroup v2 a parent may not hand the controller on; dropping `own` removes what was made.
        fs::metadata(own.0.join("pids.current"))?;
        Ok(own)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // The daemon was reaped before. What it had started may still be there.
        let _ = remove(&self.0);
    }
}

/// Ends who is in a cgroup, and removes it.
///
/// # Errors
/// When it stays.
pub fn remove(folder: &Path) -> io::Result<()> {
    let mut result = fs::remove_dir(folder);
    for _ in 0..REMOVE_ATTEMPTS {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            _ => break,
        }
        let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse().ok()) {
            // It may have ended by now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(REMOVE_EVERY);
        result = fs::remove_dir(folder);
    }
    result
}

/// Where a pids cgroup may be made, best first.
fn parents(mounts: &str, own: &str) -> Vec<PathBuf> {
    let mounted = |is_it: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (folder, kind, options) = (words.next()?, words.next()?, words.next()?);
            is_it(kind, options).then(|| PathBuf::from(folder))
        })
    };
    let below = |mount: &Path, prefix: &str, controller: &str| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_it = controllers.split(',').any(|name| name == controller) && line.starts_with(prefix);
            is_it.then(|| mount.join(path.trim_start_matches('/')))
        })
    };
    let mut parents = Vec::new();
    if let Some(v1) =
        mounted(&|kind, options| kind == "cgroup" && options.split(',').any(|option| option == "pids"))
    {
        parents.extend(below(&v1, "", "pids"));
        parents.push(v1);
    }
    if let Some(v2) = mounted(&|kind, _| kind == "cgroup2") {
        parents.extend(below(&v2, "0:", ""));
        parents.push(v2);
    }
    parents
}

/// Reads the counts; `None` when there is no such cgroup, or nobody is in it.
pub fn read(folder: &Path) -> Option<record::Cgroup> {
    let number =
        |file: &str| -> Option<u64> { fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok() };
    let pids_current = number("pids.current")?;
    Some(record::Cgroup {
        pids_current,
        pids_peak: number("pids.peak"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_where_they_are_mounted() {
        let mounts = "cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let own = "8:pids:/a/b\n4:memory:/m\n0::/c\n";
        let expected =
            ["pids/a/b", "pids/", "unified/c", "unified/"].map(|path| Path::new("/sys/fs/cgroup").join(path));
        assert_eq!(parents(mounts, own), expected);
        assert!(parents("proc /proc proc rw 0 0\n", own).is_empty());
    }

    #[test]
    fn counts_are_read_and_a_missing_peak_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        fs::write(folder.path().join("pids.current"), "3\n").unwrap();
        assert_eq!(read(folder.path()).unwrap().pids_peak, None);
        fs::write(folder.path().join("pids.peak"), "9\n").unwrap();
        assert_eq!(read(folder.path()).unwrap().pids_peak, Some(9));
    }
}
