//! A small file system for the spool, that can be filled.

use crate::load::trace::{self, Made, Marker};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// Of the file system: seconds of an outage fit, and filling it takes no time.
const SIZE: &str = "size=64m";
const CHUNK_BYTES: usize = 1 << 20;

/// A tmpfs, until it is dropped.
#[derive(Debug)]
pub struct SpoolDisk {
    path: PathBuf,
}

impl SpoolDisk {
    /// Mounts it.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN.
    pub fn mount(path: &Path) -> io::Result<SpoolDisk> {
        fs::create_dir_all(path)?;
        let made = Made::File {
            path: path.to_owned(),
        };
        let own = Marker::own().map_err(io::Error::other)?;
        trace::note(own, &made).map_err(io::Error::other)?;
        let tmpfs = Some("tmpfs");
        mount(tmpfs, path, tmpfs, MsFlags::empty(), Some(SIZE))?;
        Ok(SpoolDisk {
            path: path.to_owned(),
        })
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Takes all the room there is.
    ///
    /// # Errors
    /// Any but that it is full.
    pub fn fill(&mut self) -> io::Result<()> {
        let mut file = File::create(self.filler())?;
        let mut chunk = vec![0; CHUNK_BYTES];
        while !chunk.is_empty() {
            match file.write_all(&chunk) {
                Ok(()) => {}
                // The last corner too.
                Err(error) if error.kind() == ErrorKind::StorageFull => chunk.truncate(chunk.len() / 2),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn empty(&mut self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }
}

impl Drop for SpoolDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
