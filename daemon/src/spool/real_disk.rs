//! The spool's folder as it is: system calls and the lock, no decisions.

use super::{at, disk::Disk};
use crate::setting_error::SettingError;
use nix::fcntl::{FallocateFlags, fallocate};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Rows name hosts and peers: for nobody else's eyes.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Held with flock as long as the spool is open; holds the pid of who holds it.
const LOCK: &str = "lock";

/// A folder that this process alone writes to.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    /// To sync names.
    folder: File,
    /// Unlocked when closed, also by kill -9.
    _lock: File,
}

impl RealDisk {
    /// Makes the folder if it is not there (its parents too), and locks it.
    ///
    /// # Errors
    /// When it cannot be made or written, or another process holds it.
    pub fn open(path: &Path) -> Result<RealDisk, SettingError> {
        let wrong =
            |what: &str, error: io::Error| SettingError::system(format_args!("{what}: {error}")).of(at(path));
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path)
            .map_err(|error| wrong("the folder cannot be made", error))?;
        let folder = File::open(path).map_err(|error| wrong("the folder cannot be opened", error))?;
        let lock = lock(path)?;
        Ok(RealDisk {
            path: path.to_owned(),
            folder,
            _lock: lock,
        })
    }
}

fn lock(folder: &Path) -> Result<File, SettingError> {
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(folder.join(LOCK))
        .map_err(|error| {
            SettingError::system(format_args!("the folder cannot be written: {LOCK}: {error}")).of(at(folder))
        })?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let holder = match lock.read_to_string(&mut pid) {
                Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
                _ => "another process".to_owned(),
            };
            let what = format!("{holder} uses it: expected a folder of this daemon's own");
            return Err(SettingError::system(what).of(at(folder)));
        }
        Err(TryLockError::Error(error)) => {
            return Err(SettingError::system(format_args!("{LOCK}: flock: {error}")).of(at(folder)));
        }
    }
    // For people only: a full disk is no reason to stop.
    let written = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    if let Err(error) = written {
        log::debug!("spool {}: {LOCK}: {error}", folder.display());
    }
    Ok(lock)
}

impl Disk for RealDisk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))
    }

    fn bytes(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn allocate(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        let signed = |n: u64| i64::try_from(n).map_err(|_| io::ErrorKind::FileTooLarge);
        let (offset, bytes) = (signed(offset)?, signed(bytes)?);
        Ok(fallocate(file, FallocateFlags::empty(), offset, bytes)?)
    }

    fn truncate(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn realtime_ns(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}
