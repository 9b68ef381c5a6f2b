//! Messages wait on the disk, and survive the process and the power.
//!
//! A folder of segments (`segment`), to which records are appended, and a journal of what was produced
//! (`journal`). A message is durable when [`Spool::append`] returns; it leaves when it is acknowledged, by
//! a word in its record that is overwritten in place. A segment goes when all its records are gone; so
//! room comes back in steps of an eighth of the bound. Nothing is ever written behind a record that may be
//! torn: after a failure and at each start a new segment begins.
//!
//! Calls take as long as the disk does. docs/spool.md has the promises and the formats.

mod append;
mod disk;
pub mod journal;
mod real_disk;
mod recover;
pub mod scan;
pub mod segment;
mod start;

pub use disk::Disk;
pub use real_disk::RealDisk;

use crate::{
    output::{Identity, Message},
    setting_error::SettingError,
};
use journal::{Entry, EventKind, Journal, Slot};
use segment::{RECORD_HEADER_BYTES, RecordHeader, STATE_OFFSET, State};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// The journal's two files share an eighth of the bound, up to 16 MiB each: 262,144 entries.
const JOURNAL_SHARE: u64 = 16;
const JOURNAL_FILE_BYTES_MAX: u64 = 16 << 20;

/// Below this there would be no room for a message and its journal.
pub const BYTES_MAX_MIN: u64 = 1 << 20;

/// Where and how much.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder.
    pub dir: PathBuf,
    /// Bytes that all its files may take, at least [`BYTES_MAX_MIN`].
    pub bytes_max: u64,
    /// Name of the format of the messages, at most [`segment::FORMAT_BYTES_MAX`] bytes. Records of another one
    /// would reach the receiver as garbage.
    pub format: String,
}

/// Says where the spool is that there cannot be.
fn at(folder: &Path) -> String {
    format!("spool {}", folder.display())
}

/// Why a message cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is not what was written: give it up.
    Corrupt,
    /// The disk does not say; it may another time.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Corrupt => f.write_str("a damaged record: expected the bytes that were written"),
            ReadError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

/// Where a record lies; in the order of appending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    segment: u32,
    offset: u64,
}

impl Position {
    /// Of a message that is in memory alone.
    const MEMORY: Position = Position {
        segment: 0,
        offset: 0,
    };

    /// Number of the segment.
    pub fn segment(self) -> u32 {
        self.segment
    }
}

/// A message that the spool keeps. There is one of it, and it is handed back when the message leaves: no
/// record can leave twice. Without being handed back it stays on the disk for the next start.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// As [`Message::identity`].
    pub identity: Identity,
    /// As [`Message::poll_sequence`].
    pub poll_sequence: u64,
    /// As [`Message::first_record_counter`].
    pub first_record_counter: u64,
    /// As [`Message::rows`].
    pub rows: u32,
    /// Length of [`Message::bytes`].
    pub bytes_len: u32,
    /// Where the record lies.
    pub position: Position,
}

impl Kept {
    fn of(header: &RecordHeader, segment: u32, offset: u64) -> Kept {
        Kept {
            identity: header.identity,
            poll_sequence: header.poll_sequence,
            first_record_counter: header.first_record_counter,
            rows: header.rows,
            bytes_len: header.payload_bytes,
            position: Position { segment, offset },
        }
    }
}

/// Counts since the spool was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages taken.
    pub appended_messages: u64,
    /// Rows in them.
    pub appended_rows: u64,
    /// Messages that could not be taken.
    pub refused_messages: u64,
    /// Messages of earlier instances that were found waiting.
    pub recovered_messages: u64,
    /// Rows in them.
    pub recovered_rows: u64,
    /// Records that were taken and are damaged: lost.
    pub corrupt_records: u64,
    /// Rows in them, as far as journal or record tell.
    pub corrupt_rows: u64,
    /// Records broken off by a kill or a power cut before they were taken.
    pub torn_records: u64,
    /// Failed calls to the disk.
    pub io_errors: u64,
    /// Successful fdatasync calls on segments.
    pub syncs: u64,
    /// Entries that the journal lacks, as the disk never took them.
    pub journal_entries_lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// Of the file.
    bytes: u64,
    /// Records that have not left.
    waiting: usize,
}

/// A bounded queue of messages on the disk.
#[derive(Debug)]
pub struct Spool<D: Disk = RealDisk> {
    disk: D,
    folder: PathBuf,
    format: String,
    format_crc: u32,
    bytes_max: u64,
    segments: BTreeMap<u32, Segment>,
    segments_bytes: u64,
    /// Never used before, also not by a segment that is gone: the journal speaks of those.
    next_number: u32,
    /// The segment that grows.
    active: Option<(u32, D::File)>,
    /// The segment that was last read or changed, if it is another one.
    visited: Option<(u32, D::File)>,
    journal: Journal<D::File>,
    counters: Counters,
    degraded: bool,
    last_error: Option<String>,
}

impl Spool<RealDisk> {
    /// Opens or makes the folder, locks it, and finds what waits there, oldest first. Payloads are not
    /// read, but for records that the journal does not know.
    ///
    /// # Errors
    /// When the folder cannot be made, locked, read or written, or messages of another format or segments of
    /// another version wait in it.
    /// A full or failing disk is no such reason if it can be read.
    pub fn open(options: &Options) -> Result<(Spool, Vec<Kept>), SettingError> {
        let disk = RealDisk::open(&options.dir)?;
        Spool::recover(disk, options)
    }
}

impl<D: Disk> Spool<D> {
    /// Reads a message. When it is corrupt that is counted here: give it up then.
    ///
    /// # Errors
    /// When it is damaged, or the disk does not say.
    pub fn read(&mut self, kept: &Kept) -> Result<Message, ReadError> {
        let Position { segment, offset } = kept.position;
        let mut record = vec![0; RECORD_HEADER_BYTES + kept.bytes_len as usize];
        match self.with_file(segment, |disk, file| disk.read_at(file, &mut record, offset)) {
            Ok(()) => {}
            // Cut off, or removed by hand: it will not come back.
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::NotFound) => {
                record.clear()
            }
            Err(error) => {
                self.failed("read", &error);
                return Err(ReadError::Io(error));
            }
        }
        let header = RecordHeader::parse(&record, segment, offset);
        let right = header.filter(|header| {
            header.identity == kept.identity
                && header.payload_bytes == kept.bytes_len
                && header.payload_crc == crc32fast::hash(&record[RECORD_HEADER_BYTES..])
        });
        let Some(header) = right else {
            self.counters.corrupt_records += 1;
            self.counters.corrupt_rows += u64::from(kept.rows);
            let (folder, name) = (self.folder.display(), segment_name(segment));
            log::error!(
                "spool {folder}: {name}: the record of message {} at byte {offset} is damaged, its {} rows are lost",
                kept.identity,
                kept.rows
            );
            return Err(ReadError::Corrupt);
        };
        record.drain(..RECORD_HEADER_BYTES);
        Ok(Message {
            identity: header.identity,
            poll_sequence: header.poll_sequence,
            first_record_counter: header.first_record_counter,
            rows: header.rows,
            bytes: record,
        })
    }

    /// Whether the disk gives anything of the record, right or wrong.
    pub fn is_readable(&mut self, kept: &Kept) -> bool {
        let Position { segment, offset } = kept.position;
        let mut header = [0; RECORD_HEADER_BYTES];
        self.with_file(segment, |disk, file| disk.read_at(file, &mut header, offset))
            .is_ok()
    }

    /// The message was delivered and leaves. Not synced: if a power cut takes this, the message is sent
    /// once more, and its receiver knows it by its identity.
    pub fn acknowledge(&mut self, kept: Kept) {
        self.leave(&kept, State::Acknowledged);
    }

    /// The message will never be delivered and leaves; the journal knows.
    pub fn give_up(&mut self, kept: Kept) {
        self.journal_append(EventKind::Dropped, &kept, true);
        self.leave(&kept, State::GivenUp);
    }

    fn leave(&mut self, kept: &Kept, state: State) {
        let Position { segment, offset } = kept.position;
        let state = state.to_bytes();
        let written = self.with_file(segment, |disk, file| {
            disk.write_at(file, &state, offset + STATE_OFFSET)
        });
        self.note("acknowledgement", written);
        if let Some(found) = self.segments.get_mut(&segment) {
            found.waiting = found.waiting.saturating_sub(1);
            let is_active = self.active.as_ref().is_some_and(|(number, _)| *number == segment);
            if found.waiting == 0 && !is_active {
                self.discard(segment);
            }
        }
    }

    /// A message was made that the disk refused: the journal shall know of it all the same.
    pub fn note_produced(&mut self, message: &Message) {
        self.note_in_memory(EventKind::Produced, message);
    }

    /// A message that the spool does not keep was given up.
    pub fn note_dropped(&mut self, message: &Message) {
        self.note_in_memory(EventKind::Dropped, message);
    }

    fn note_in_memory(&mut self, kind: EventKind, message: &Message) {
        let slot = Slot {
            entry: Entry {
                kind,
                identity: message.identity,
                poll_sequence: message.poll_sequence,
                first_record_counter: message.first_record_counter,
                rows: message.rows,
                time_ns: self.disk.realtime_ns(),
            },
            position: Position::MEMORY,
            taken: true,
        };
        let written = self.journal.append(&self.disk, slot);
        self.note("journal", written);
    }

    fn segments_bytes_max(&self) -> u64 {
        self.bytes_max - Journal::<D::File>::bytes_max(journal_file_bytes_max(self.bytes_max))
    }

    /// Bytes that the segments take on the disk.
    pub fn bytes(&self) -> u64 {
        self.segments_bytes
    }

    /// Bytes that [`Spool::bytes`] may reach: the bound, less what is set aside for the journal.
    pub fn bytes_max(&self) -> u64 {
        self.segments_bytes_max()
    }

    /// Whether the disk refused the last messages that it was to take.
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        Counters {
            journal_entries_lost: self.journal.lost,
            ..self.counters.clone()
        }
    }

    /// What the disk said last when it failed.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    fn with_file<T>(
        &mut self,
        number: u32,
        use_it: impl FnOnce(&D, &D::File) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some((active, file)) = &self.active
            && *active == number
        {
            return use_it(&self.disk, file);
        }
        let (_, file) = match self.visited.take() {
            Some(visited) if visited.0 == number => self.visited.insert(visited),
            _ => {
                let file = self.disk.open(&segment_name(number))?;
                self.visited.insert((number, file))
            }
        };
        use_it(&self.disk, file)
    }

    fn discard_empty(&mut self) {
        let active = self.active.as_ref().map(|(number, _)| *number);
        let is_empty = |(number, segment): (&u32, &Segment)| {
            (segment.waiting == 0 && Some(*number) != active).then_some(*number)
        };
        let empty: Vec<u32> = self.segments.iter().filter_map(is_empty).collect();
        for number in empty {
            self.discard(number);
        }
    }

    /// Removes a segment from which nothing is needed any more. What the journal says of it comes first;
    /// if the journal cannot be synced the segment goes all the same, as a spool that never gets room
    /// again would lose more.
    fn discard(&mut self, number: u32) {
        let written = self.journal.flush(&self.disk);
        self.note("journal", written);
        let synced = self.journal.sync(&self.disk);
        self.note("journal: fdatasync", synced);
        self.visited.take_if(|(visited, _)| *visited == number);
        match self.disk.remove(&segment_name(number)) {
            Err(error) if error.kind() != ErrorKind::NotFound => self.failed("remove", &error),
            _ => {
                if let Some(segment) = self.segments.remove(&number) {
                    self.segments_bytes -= segment.bytes;
                }
                // Where the disk was full, there is room for it now.
                let written = self.journal.flush(&self.disk);
                self.note("journal", written);
            }
        }
    }

    fn journal_append(&mut self, kind: EventKind, kept: &Kept, taken: bool) {
        let slot = Slot {
            entry: Entry {
                kind,
                identity: kept.identity,
                poll_sequence: kept.poll_sequence,
                first_record_counter: kept.first_record_counter,
                rows: kept.rows,
                time_ns: self.disk.realtime_ns(),
            },
            position: kept.position,
            taken,
        };
        let written = self.journal.append(&self.disk, slot);
        self.note("journal", written);
    }

    fn note<T>(&mut self, what: &str, result: io::Result<T>) {
        if let Err(error) = result {
            self.failed(what, &error);
        }
    }

    fn failed(&mut self, what: &str, error: &io::Error) {
        self.counters.io_errors += 1;
        self.last_error = Some(format!("{what}: {error}"));
    }
}

fn journal_file_bytes_max(bytes_max: u64) -> u64 {
    (bytes_max / JOURNAL_SHARE).min(JOURNAL_FILE_BYTES_MAX)
}

fn segment_name(number: u32) -> String {
    format!("{number:010}.spool")
}

#[cfg(test)]
mod tests;
