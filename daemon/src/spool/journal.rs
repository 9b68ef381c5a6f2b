//! What was produced and what was given up, message by message: says after a kill what the dead instance
//! had made, when its messages are long delivered and gone from the spool.
//!
//! Two files, `journal` and the older `journal.1`, of entries of 64 bytes, little-endian:
//!
//! | entry | bytes |
//! | --- | --- |
//! | 0 | "PROD", "FIND" (as PROD, but found at a start) or "DROP" |
//! | 4 | CRC-32 of all other bytes |
//! | 8 | instance id |
//! | 16 | envelope sequence |
//! | 24 | poll sequence |
//! | 32 | record_counter of the first row |
//! | 40 | nanoseconds since 1970, signed |
//! | 48 | rows |
//! | 52 | part |
//! | 56 | segment that holds the message, 0: none |
//! | 60 | offset of the record in it, in units of 8 bytes |
//!
//! An entry that is all zeros is none: the file is made longer ahead of its entries, so that a full disk
//! does not stop it at once. Entries are written to the page cache, which kill -9 does not take; a power
//! cut takes what was not written back yet, which is added again from the records that the spool still
//! has. Before the spool removes records, the journal is synced. When `journal` is full it becomes
//! `journal.1`, and the entries of that are gone: what they told cannot be asked any more.

use super::{
    Position,
    disk::Disk,
    segment::{ALIGNMENT, u32_at, u64_at},
};
use crate::output::Identity;
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Of an entry.
pub const ENTRY_BYTES: usize = 64;

/// The file that grows, and the one before it.
pub(super) const CURRENT: &str = "journal";
pub(super) const OLDER: &str = "journal.1";

/// By so much the file is made longer at once: 1,024 entries.
const ALLOCATE_BYTES: u64 = 64 << 10;

/// Entries that wait while the disk takes none: 1 MiB. Past it the oldest go, counted.
const UNWRITTEN_MAX: usize = 16 << 10;

/// What is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// Durable in the spool, or at least in memory when the disk refused it.
    Produced,
    /// Given up for good by the daemon: past the bound, damaged, rejected, ...
    Dropped,
}

/// One event of one message. A message may have several entries: what counts is whether there is a
/// Dropped one among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: EventKind,
    /// To whom.
    pub identity: Identity,
    /// Poll of its rows.
    pub poll_sequence: u64,
    /// `record_counter` of its first row.
    pub first_record_counter: u64,
    /// Rows of it.
    pub rows: u32,
    /// When it was written down, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub time_ns: i64,
}

/// All entries of all instances, oldest first, without what is torn or damaged. Works while the daemon
/// runs, and needs to read only.
///
/// # Errors
/// When a file is there and cannot be read. No journal at all is no error.
pub fn read(spool_dir: &Path) -> io::Result<Vec<Entry>> {
    // The daemon may rename one file to the other in between; then both are looked at again.
    let older_inode = || match std::fs::metadata(spool_dir.join(OLDER)) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    loop {
        let before = older_inode()?;
        let mut entries = Vec::new();
        for name in [OLDER, CURRENT] {
            let mut bytes = Vec::new();
            match File::open(spool_dir.join(name)) {
                Ok(mut file) => file.read_to_end(&mut bytes)?,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.extend(slots(&bytes).map(|slot| slot.entry));
        }
        if older_inode()? == before {
            return Ok(entries);
        }
    }
}

/// An entry, and where the spool keeps the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub entry: Entry,
    pub position: Position,
    /// Written when its record was taken. A record found at a start may be one of a batch that a power cut
    /// tore, so that nothing is known of those before it.
    pub taken: bool,
}

const PRODUCED: &[u8; 4] = b"PROD";
const FOUND: &[u8; 4] = b"FIND";
const DROPPED: &[u8; 4] = b"DROP";

impl Slot {
    pub fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let entry = &self.entry;
        bytes[..4].copy_from_slice(match (entry.kind, self.taken) {
            (EventKind::Produced, true) => PRODUCED,
            (EventKind::Produced, false) => FOUND,
            (EventKind::Dropped, _) => DROPPED,
        });
        let longs = [
            entry.identity.instance_id.to_le_bytes(),
            entry.identity.envelope_sequence.to_le_bytes(),
            entry.poll_sequence.to_le_bytes(),
            entry.first_record_counter.to_le_bytes(),
            entry.time_ns.to_le_bytes(),
        ];
        for (place, long) in bytes[8..48].chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&long);
        }
        // A segment that an offset does not fit in would have to be larger than 32 GiB.
        let units = u32::try_from(self.position.offset / ALIGNMENT as u64).unwrap_or(0);
        let words = [entry.rows, entry.identity.part, self.position.segment, units];
        for (place, word) in bytes[48..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc(&bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8; ENTRY_BYTES]) -> Option<Slot> {
        let kind = match bytes.first_chunk()? {
            PRODUCED | FOUND => EventKind::Produced,
            DROPPED => EventKind::Dropped,
            _ => return None,
        };
        if u32_at(bytes, 4) != crc(bytes) {
            return None;
        }
        Some(Slot {
            entry: Entry {
                kind,
                identity: Identity {
                    instance_id: u64_at(bytes, 8),
                    envelope_sequence: u64_at(bytes, 16),
                    part: u32_at(bytes, 52),
                },
                poll_sequence: u64_at(bytes, 24),
                first_record_counter: u64_at(bytes, 32),
                rows: u32_at(bytes, 48),
                time_ns: u64_at(bytes, 40).cast_signed(),
            },
            position: Position {
                segment: u32_at(bytes, 56),
                offset: u64::from(u32_at(bytes, 60)) * ALIGNMENT as u64,
            },
            taken: bytes.starts_with(PRODUCED),
        })
    }
}

fn crc(bytes: &[u8; ENTRY_BYTES]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..4]);
    crc.update(&bytes[8..]);
    crc.finalize()
}

fn slots(bytes: &[u8]) -> impl Iterator<Item = Slot> {
    bytes.as_chunks().0.iter().filter_map(Slot::parse)
}

/// Hands every entry of both files to `visit`, oldest first; returns behind which offset of the current
/// one nothing is written. What cannot be read is passed over and counted in `io_errors`.
pub(super) fn visit<D: Disk>(disk: &D, io_errors: &mut u64, mut visit: impl FnMut(Slot)) -> io::Result<u64> {
    let mut end = 0;
    for name in [OLDER, CURRENT] {
        end = 0;
        let file = match disk.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let whole_bytes = disk.bytes(&file)? / ENTRY_BYTES as u64 * ENTRY_BYTES as u64;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut offset = 0;
        while offset < whole_bytes {
            let length =
                usize::try_from(whole_bytes - offset).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let bytes = &mut chunk[..length];
            if disk.read_at(&file, bytes, offset).is_err() {
                *io_errors += 1;
                // Nothing is written over what may be readable another time.
                end = offset + length as u64;
            } else {
                for (index, entry) in bytes.as_chunks::<ENTRY_BYTES>().0.iter().enumerate() {
                    if entry != &[0; ENTRY_BYTES] {
                        end = offset + ((index + 1) * ENTRY_BYTES) as u64;
                        Slot::parse(entry).map(&mut visit);
                    }
                }
            }
            offset += length as u64;
        }
    }
    Ok(end)
}

/// Writes entries.
#[derive(Debug)]
pub(super) struct Journal<F> {
    /// `None`: to be opened or made.
    file: Option<F>,
    /// Where the next entry goes.
    end: u64,
    /// How long the file is.
    allocated: u64,
    /// At which length the file is replaced.
    file_bytes_max: u64,
    /// What the disk did not take yet.
    unwritten: VecDeque<[u8; ENTRY_BYTES]>,
    /// Something was written since the last sync.
    dirty: bool,
    /// Entries that never were written.
    pub lost: u64,
}

impl<F> Journal<F> {
    /// Goes on behind `end`, as [`visit`] found it.
    pub fn new(end: u64, file_bytes_max: u64) -> Journal<F> {
        Journal {
            file: None,
            end,
            allocated: 0,
            file_bytes_max,
            unwritten: VecDeque::new(),
            // What an instance that was killed wrote may not be on the disk yet.
            dirty: true,
            lost: 0,
        }
    }

    /// Bytes that the two files may take.
    pub fn bytes_max(file_bytes_max: u64) -> u64 {
        2 * file_bytes_max
    }

    /// Takes an entry, and writes it if the disk takes it.
    pub fn append<D: Disk<File = F>>(&mut self, disk: &D, slot: Slot) -> io::Result<()> {
        if self.unwritten.len() >= UNWRITTEN_MAX {
            self.unwritten.pop_front();
            self.lost += 1;
        }
        self.unwritten.push_back(slot.to_bytes());
        self.flush(disk)
    }

    /// Writes what waits.
    pub fn flush<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<()> {
        while let Some(entry) = self.unwritten.front().copied() {
            if self.end + ENTRY_BYTES as u64 > self.file_bytes_max {
                self.rotate(disk)?;
            }
            self.opened(disk)?;
            let Some(file) = &self.file else { break };
            if self.end + ENTRY_BYTES as u64 > self.allocated {
                let ahead = ALLOCATE_BYTES.min(self.file_bytes_max - self.end);
                // Without it the file grows entry by entry.
                if disk.allocate(file, self.end, ahead).is_ok() {
                    self.allocated = self.end + ahead;
                }
            }
            self.dirty = true;
            // A torn entry is written over by the next try.
            disk.write_at(file, &entry, self.end)?;
            self.end += ENTRY_BYTES as u64;
            self.unwritten.pop_front();
        }
        Ok(())
    }

    /// Returns when all that was written would survive a power cut.
    pub fn sync<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let file = self.opened(disk)?;
        let synced = disk.sync_data(file);
        // A second try would succeed without writing anything: what failed is in doubt for good.
        self.dirty = false;
        synced
    }

    fn opened<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<&F> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = open_or_make(disk)?;
                self.allocated = disk.bytes(&file)?;
                file
            }
        };
        Ok(self.file.insert(file))
    }

    fn rotate<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<()> {
        let synced = self.sync(disk);
        self.file = None;
        match disk.rename(CURRENT, OLDER) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => self.end = 0,
        }
        synced
    }
}

fn open_or_make<D: Disk>(disk: &D) -> io::Result<D::File> {
    match disk.open(CURRENT) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let file = disk.create(CURRENT)?;
            disk.sync_folder()?;
            Ok(file)
        }
        opened => opened,
    }
}
