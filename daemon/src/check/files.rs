//! Files that the daemon would write: whether it could, found out without making or changing one.

use super::Report;
use crate::config::Config;
use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, eaccess},
};
use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Below this, a busy host fills the file system within minutes.
const FREE_MIB_MIN: u64 = 100;

/// A file that could be written.
pub(super) struct Writable {
    pub exists: bool,
    /// On its file system, for this user; `None` where that means nothing.
    pub free_mib: Option<u64>,
}

impl Writable {
    /// Says that `path` can be written, and where there is little room.
    pub fn report(&self, subject: &str, path: &Path, how: &str, report: &mut Report<'_>) {
        let path = path.display();
        match self.free_mib {
            None => report.ok(subject, format_args!("{path}: {how}")),
            Some(free) if free < FREE_MIB_MIN => report.warn(
                subject,
                format_args!("{path}: {how}; only {free} MiB are free on its file system"),
            ),
            Some(free) => report.ok(subject, format_args!("{path}: {how}, {free} MiB free")),
        }
    }
}

/// Whether `path` can be written, or made and written.
///
/// # Errors
/// What stands against it, and what to do.
pub(super) fn writable(path: &Path) -> Result<Writable, String> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() || found.file_type().is_char_device() => {
            let opened = OpenOptions::new()
                .read(true)
                .append(true)
                .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
                .open(path);
            opened.map_err(|error| error.to_string())?;
            Ok(Writable {
                exists: true,
                free_mib: found.is_file().then(|| free_mib(path)).flatten(),
            })
        }
        Ok(_) => Err("expected a regular file or a character device, got another kind of file".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let folder = parent.display();
            if !parent.is_dir() {
                return Err(format!(
                    "no folder {folder}; make it, writable for the daemon's user"
                ));
            }
            eaccess(parent, AccessFlags::W_OK | AccessFlags::X_OK)
                .map_err(|errno| format!("cannot make a file in {folder}: {}", errno.desc()))?;
            Ok(Writable {
                exists: false,
                free_mib: free_mib(parent),
            })
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Free for this user on the file system of `path`.
pub(super) fn free_mib(path: &Path) -> Option<u64> {
    let file_system = statvfs(path).ok()?;
    #[allow(clippy::useless_conversion, reason = "32 bits wide on some targets")]
    let bytes =
        u64::from(file_system.blocks_available()).checked_mul(u64::from(file_system.fragment_size()))?;
    Some(bytes >> 20)
}

/// The file of `--record`.
pub(super) fn check_record(config: &Config, report: &mut Report<'_>) {
    let Some(path) = &config.record else { return };
    match writable(path) {
        Ok(file) if file.exists => file.report("record", path, "exists, a start begins it anew", report),
        Ok(file) => file.report("record", path, "can be made", report),
        Err(problem) => report.fail("record", format_args!("{}: {problem}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let absent = writable(&path).unwrap();
        assert!(!absent.exists && absent.free_mib.is_some());
        assert!(!path.exists());
        fs::write(&path, "half a li").unwrap();
        assert!(writable(&path).unwrap().exists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "half a li");
    }

    #[test]
    fn what_stands_against_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |path: &Path| writable(path).err().unwrap_or_default();
        assert!(problem(folder.path()).contains("regular file"));
        assert!(problem(&folder.path().join("absent/rows")).contains("absent; make it"));
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            problem(&fifo).contains("another kind"),
            "and it was not waited for"
        );
    }
}
