//! A disk in memory that knows what would survive, and is as unkind about the rest as a real one may be.
//!
//! A power cut keeps any part of what was not synced: a write whole, its beginning up to any byte, some of
//! its sectors, or nothing; of names made, renamed and removed the first few, in order. A failed fdatasync
//! writes some of it and forgets the rest: the next one succeeds and does not bring it back.

use super::Random;
use crate::spool::Disk;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    rc::Rc,
};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Make(String, usize),
    Rename(String, String),
    Remove(String),
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What leads from one to the other, as far as a sync still would.
    unsynced: Vec<Change>,
}

/// How likely a call fails with EIO, of 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub writes: u64,
    pub syncs: u64,
    pub others: u64,
    pub reads: u64,
}

#[derive(Debug, Default)]
struct State {
    contents: Vec<Content>,
    names: Names,
    durable_names: Names,
    unsynced_names: Vec<NameChange>,
}

/// Handles of it are one disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Rc<RefCell<State>>,
    random: Rc<RefCell<Random>>,
    pub faults: Rc<Cell<Faults>>,
    /// Files that cannot be opened for now.
    pub unopenable: Rc<RefCell<BTreeSet<String>>>,
    /// Bytes that all files may have together.
    pub space: Rc<Cell<usize>>,
    /// Syncs do nothing, to see the tests turn red.
    pub lies: bool,
}

fn write(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if to.len() < offset + bytes.len() {
        to.resize(offset + bytes.len(), 0);
    }
    to[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn apply(to: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => write(to, *offset, bytes),
        Change::Length(bytes) => to.resize(*bytes, 0),
    }
}

/// What is left of a change that was on its way.
fn apply_partly(to: &mut Vec<u8>, change: &Change, random: &mut Random) {
    match (change, random.below(4)) {
        (_, 0) => {}
        (Change::Write(offset, bytes), 1) => {
            let kept = random.below(bytes.len() as u64 + 1) as usize;
            write(to, *offset, &bytes[..kept]);
        }
        (Change::Write(offset, bytes), 2) => {
            let mut at = 0;
            while at < bytes.len() {
                let sector_end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
                let end = sector_end.min(bytes.len());
                if random.below(2) == 0 {
                    write(to, offset + at, &bytes[at..end]);
                }
                at = end;
            }
        }
        _ => apply(to, change),
    }
}

fn rename(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Make(name, content) => {
            names.insert(name.clone(), *content);
        }
        NameChange::Rename(from, to) => {
            if let Some(content) = names.remove(from) {
                names.insert(to.clone(), content);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

impl SimulatedDisk {
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk {
            state: Rc::default(),
            random: Rc::new(RefCell::new(Random(seed))),
            faults: Rc::default(),
            unopenable: Rc::default(),
            space: Rc::new(Cell::new(usize::MAX)),
            lies: false,
        }
    }

    /// The same files again, apart from these.
    pub fn copy(&self) -> SimulatedDisk {
        let copy = SimulatedDisk::new(self.random.borrow().0);
        let from = self.state.borrow();
        let mut to = copy.state.borrow_mut();
        to.contents.clone_from(&from.contents);
        to.names.clone_from(&from.names);
        to.durable_names.clone_from(&from.durable_names);
        drop(to);
        copy
    }

    pub fn power_cut(&self) {
        let mut state = self.state.borrow_mut();
        let mut random = self.random.borrow_mut();
        let state = &mut *state;
        let survived = random.below(state.unsynced_names.len() as u64 + 1) as usize;
        let mut names = std::mem::take(&mut state.durable_names);
        for change in state.unsynced_names.drain(..).take(survived) {
            rename(&mut names, &change);
        }
        state.names.clone_from(&names);
        state.durable_names = names;
        for (number, content) in state.contents.iter_mut().enumerate() {
            if !state.names.values().any(|named| *named == number) {
                *content = Content::default();
                continue;
            }
            for change in std::mem::take(&mut content.unsynced) {
                apply_partly(&mut content.durable, &change, &mut random);
            }
            content.now.clone_from(&content.durable);
        }
    }

    /// Bytes of all files.
    pub fn used(&self) -> usize {
        let state = self.state.borrow();
        state
            .names
            .values()
            .map(|content| state.contents[*content].now.len())
            .sum()
    }

    /// Name and length of each file.
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = self.state.borrow();
        let length = |(name, content): (&String, &usize)| (name.clone(), state.contents[*content].now.len());
        state.names.iter().map(length).collect()
    }

    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        let mut state = self.state.borrow_mut();
        let content = state.names[name];
        state.contents[content].now[offset] ^= mask;
    }

    fn fails(&self, per_thousand: u64) -> io::Result<()> {
        if per_thousand > 0 && self.random.borrow_mut().below(1_000) < per_thousand {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        Ok(())
    }

    /// How much longer files may become.
    fn room(&self) -> usize {
        self.space.get().saturating_sub(self.used())
    }

    fn change(&self, file: usize, change: Change) {
        let content = &mut self.state.borrow_mut().contents[file];
        apply(&mut content.now, &change);
        content.unsynced.push(change);
    }

    fn change_name(&self, change: NameChange) {
        let mut state = self.state.borrow_mut();
        rename(&mut state.names, &change);
        state.unsynced_names.push(change);
    }
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::ENOSPC)
}

impl Disk for SimulatedDisk {
    type File = usize;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.borrow().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<usize> {
        self.fails(self.faults.get().others)?;
        if self.room() == 0 {
            return Err(full());
        }
        let mut state = self.state.borrow_mut();
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.contents.push(Content::default());
        let content = state.contents.len() - 1;
        drop(state);
        self.change_name(NameChange::Make(name.to_owned(), content));
        Ok(content)
    }

    fn open(&self, name: &str) -> io::Result<usize> {
        if self.unopenable.borrow().contains(name) {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        let content = self.state.borrow().names.get(name).copied();
        content.ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn bytes(&self, file: &usize) -> io::Result<u64> {
        Ok(self.state.borrow().contents[*file].now.len() as u64)
    }

    fn read_at(&self, file: &usize, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.fails(self.faults.get().reads)?;
        let bytes = &self.state.borrow().contents[*file].now;
        let from = offset as usize;
        match bytes.get(from..from + buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn write_at(&self, file: &usize, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = offset as usize;
        let failed = self.fails(self.faults.get().writes);
        let now = self.state.borrow().contents[*file].now.len();
        let fitting = (now + self.room()).saturating_sub(offset).min(bytes.len());
        let written = match failed {
            Ok(()) => fitting,
            Err(_) => self.random.borrow_mut().below(fitting as u64 + 1) as usize,
        };
        self.change(*file, Change::Write(offset, bytes[..written].to_vec()));
        failed?;
        if written < bytes.len() {
            Err(full())
        } else {
            Ok(())
        }
    }

    fn allocate(&self, file: &usize, offset: u64, bytes: u64) -> io::Result<()> {
        self.fails(self.faults.get().others)?;
        let now = self.state.borrow().contents[*file].now.len();
        let end = (offset + bytes) as usize;
        if end > now {
            if end - now > self.room() {
                return Err(full());
            }
            self.change(*file, Change::Length(end));
        }
        Ok(())
    }

    fn truncate(&self, file: &usize, bytes: u64) -> io::Result<()> {
        self.fails(self.faults.get().others)?;
        self.change(*file, Change::Length(bytes as usize));
        Ok(())
    }

    fn sync_data(&self, file: &usize) -> io::Result<()> {
        if self.lies {
            return Ok(());
        }
        let failed = self.fails(self.faults.get().syncs);
        let content = &mut self.state.borrow_mut().contents[*file];
        for change in std::mem::take(&mut content.unsynced) {
            match failed {
                Ok(()) => apply(&mut content.durable, &change),
                Err(_) => apply_partly(&mut content.durable, &change, &mut self.random.borrow_mut()),
            }
        }
        failed
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.fails(self.faults.get().syncs)?;
        if self.lies {
            return Ok(());
        }
        let mut state = self.state.borrow_mut();
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.fails(self.faults.get().others)?;
        if !self.state.borrow().names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        self.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.fails(self.faults.get().others)?;
        if !self.state.borrow().names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        self.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn realtime_ns(&self) -> i64 {
        1
    }
}
