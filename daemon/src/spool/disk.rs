//! Everything the spool asks of the disk, in one narrow trait: [`super::RealDisk`] in the daemon, a seeded
//! simulation that loses, tears and refuses in tests. Static dispatch.

use std::{fmt, io};

/// One folder of files, and the clock that the journal writes down.
pub trait Disk {
    /// An open file.
    type File: fmt::Debug;

    /// Names of the files in the folder, in any order.
    ///
    /// # Errors
    /// What the system says; so for all calls below.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that is not there yet, to read and write.
    ///
    /// # Errors
    /// Also when it is there.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read and write.
    ///
    /// # Errors
    /// NotFound when it is not there.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Length of a file.
    ///
    /// # Errors
    /// As above.
    fn bytes(&self, file: &Self::File) -> io::Result<u64>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// Also UnexpectedEof when the file ends before.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// As above; any part of the bytes may be written then.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes room from `offset` on, as zeros, and the file longer.
    ///
    /// # Errors
    /// As above, and where the file system cannot.
    fn allocate(&self, file: &Self::File, offset: u64, bytes: u64) -> io::Result<()>;

    /// Cuts a file off.
    ///
    /// # Errors
    /// As above.
    fn truncate(&self, file: &Self::File, bytes: u64) -> io::Result<()>;

    /// Returns when what was written to the file would survive a power cut.
    ///
    /// # Errors
    /// As above. What was written since the last success is then in doubt, and a further call would
    /// succeed without writing it: the kernel says it once.
    fn sync_data(&self, file: &Self::File) -> io::Result<()>;

    /// Returns when names made, changed and removed would survive a power cut.
    ///
    /// # Errors
    /// As above.
    fn sync_folder(&self) -> io::Result<()>;

    /// Renames a file, in place of another one if that is there.
    ///
    /// # Errors
    /// As above.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As above.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Nanoseconds since 1970-01-01 UTC.
    fn realtime_ns(&self) -> i64;
}
