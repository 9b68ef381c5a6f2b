//! The simulated disk of the spool's own tests, of a machine that dies in the middle of a write; and it knows
//! what time it is.

use super::{kernel::Kernel, simulated_disk::SimulatedDisk};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};
use xtcp2::spool::Disk;

/// Handles of it are one disk.
#[derive(Clone, Debug)]
pub struct MortalDisk {
    pub disk: SimulatedDisk,
    kernel: Rc<RefCell<Kernel>>,
    /// Changes until the process is killed in the middle of one.
    changes_left: Rc<Cell<Option<u64>>>,
    is_dead: Rc<Cell<bool>>,
    /// Of 1,000 reads, so many come with a bit that was not written.
    pub flips: Rc<Cell<u64>>,
}

impl MortalDisk {
    pub fn new(disk: SimulatedDisk, kernel: &Rc<RefCell<Kernel>>) -> MortalDisk {
        MortalDisk {
            disk,
            kernel: Rc::clone(kernel),
            changes_left: Rc::default(),
            is_dead: Rc::default(),
            flips: Rc::default(),
        }
    }

    /// The process is to be killed in the middle of that many changes from now.
    pub fn die_after(&self, changes: u64) {
        self.changes_left.set(Some(changes));
    }

    /// Whether the process is dead; what it seems to do from then on never happened.
    pub fn is_dead(&self) -> bool {
        self.is_dead.get()
    }

    /// For another process.
    pub fn revive(&self) {
        self.changes_left.set(None);
        self.is_dead.set(false);
    }

    /// Whether a change is made whole; of the last one a part is, and of those after it nothing.
    fn lives(&self) -> io::Result<bool> {
        if self.is_dead() {
            return Err(io::Error::other("killed"));
        }
        let left = self.changes_left.get();
        self.changes_left.set(left.map(|left| left.saturating_sub(1)));
        self.is_dead.set(left == Some(0));
        Ok(left != Some(0))
    }

    fn change(&self, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.lives()? {
            true => make(),
            false => Err(io::Error::other("killed")),
        }
    }
}

impl Disk for MortalDisk {
    type File = usize;

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<usize> {
        match self.lives()? {
            true => self.disk.create(name),
            false => Err(io::Error::other("killed")),
        }
    }

    fn open(&self, name: &str) -> io::Result<usize> {
        self.disk.open(name)
    }

    fn bytes(&self, file: &usize) -> io::Result<u64> {
        self.disk.bytes(file)
    }

    fn read_at(&self, file: &usize, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(file, buffer, offset)?;
        let random = &mut self.kernel.borrow_mut().random;
        if random.happens(self.flips.get()) {
            let at = random.index(buffer.len());
            buffer[at] ^= 1 << random.below(8);
        }
        Ok(())
    }

    fn write_at(&self, file: &usize, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.lives()? {
            true => self.disk.write_at(file, bytes, offset),
            false => {
                let written = self.kernel.borrow_mut().random.index(bytes.len() + 1);
                self.disk.write_at(file, &bytes[..written], offset)?;
                Err(io::Error::other("killed"))
            }
        }
    }

    fn allocate(&self, file: &usize, offset: u64, bytes: u64) -> io::Result<()> {
        self.change(|| self.disk.allocate(file, offset, bytes))
    }

    fn truncate(&self, file: &usize, bytes: u64) -> io::Result<()> {
        self.change(|| self.disk.truncate(file, bytes))
    }

    fn sync_data(&self, file: &usize) -> io::Result<()> {
        self.change(|| self.disk.sync_data(file))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.change(|| self.disk.sync_folder())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|| self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|| self.disk.remove(name))
    }

    fn realtime_ns(&self) -> i64 {
        self.kernel.borrow().realtime_ns()
    }
}
