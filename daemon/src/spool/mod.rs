//! Messages wait on the disk, and survive the process and the power.
//!
//! A folder of segments (`segment`), to which records are appended, and a journal of what was produced
//! (`journal`). A message is durable when [`Spool::append`] returns; it leaves when it is acknowledged, by
//! a word in its record that is overwritten in place. A segment goes when all its records are gone; so
//! room comes back in steps of an eighth of the bound. Nothing is ever written behind a record that may be
//! torn: after a failure and at each start a new segment begins.
//!
//! Calls take as long as the disk does. docs/spool.md has the promises and the formats.

mod disk;
pub mod journal;
mod real_disk;
mod recover;
pub mod scan;
pub mod segment;

pub use disk::Disk;
pub use real_disk::RealDisk;

use crate::output::{Identity, Message};
use journal::{Entry, EventKind, Journal, Slot};
use recover::{Known, Remains, Verdict, judge};
use scan::{Found, scan};
use segment::{
    FORMAT_BYTES_MAX, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, STATE_OFFSET, State,
    segment_header, stride,
};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Of a segment, unless one batch is larger: what a damaged folder costs to scan, and the step in which
/// room comes back.
const SEGMENT_BYTES_MAX: u64 = 8 << 20;
/// With small bounds the steps are smaller: so many segments share the bound.
const SEGMENTS_MIN: u64 = 8;

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
    /// Name of the format of the messages, at most [`FORMAT_BYTES_MAX`] bytes. Records of another one
    /// would reach the receiver as garbage.
    pub format: String,
}

/// Why there can be no spool: says where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError(String);

impl OpenError {
    fn new(folder: &Path, what: impl fmt::Display) -> OpenError {
        OpenError(format!("spool {}: {what}", folder.display()))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

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
    /// When the folder cannot be made, locked, read or written, or messages of another format wait in it.
    /// A full or failing disk is no such reason if it can be read.
    pub fn open(options: &Options) -> Result<(Spool, Vec<Kept>), OpenError> {
        let disk = RealDisk::open(&options.dir)?;
        Spool::recover(disk, options)
    }
}

impl<D: Disk> Spool<D> {
    /// As [`Spool::open`], on a disk that is open and locked.
    ///
    /// # Errors
    /// As there.
    pub fn recover(disk: D, options: &Options) -> Result<(Spool<D>, Vec<Kept>), OpenError> {
        let wrong = |what: &dyn fmt::Display| OpenError::new(&options.dir, what);
        let format_bytes = options.format.len();
        if format_bytes > FORMAT_BYTES_MAX || options.format.contains('\0') {
            return Err(wrong(&format_args!(
                "format: expected up to {FORMAT_BYTES_MAX} bytes, got {format_bytes}"
            )));
        }
        if options.bytes_max < BYTES_MAX_MIN {
            let got = options.bytes_max;
            return Err(wrong(&format_args!(
                "bound: expected at least {BYTES_MAX_MIN} bytes, got {got}"
            )));
        }
        let unreadable = |what: &str, error: io::Error| wrong(&format_args!("{what}: {error}"));
        let names = disk.list().map_err(|error| unreadable("the folder", error))?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let mut known = Known::default();
        let mut counters = Counters::default();
        let is_there = |number| numbers.binary_search(&number).is_ok();
        let journal_end = journal::visit(&disk, &mut counters.io_errors, |slot| known.add(slot, is_there))
            .map_err(|error| unreadable("journal", error))?;

        let last_number = numbers.last().copied().unwrap_or(0).max(known.segment_max);
        let mut spool = Spool {
            disk,
            folder: options.dir.clone(),
            format: options.format.clone(),
            format_crc: crc32fast::hash(options.format.as_bytes()),
            bytes_max: options.bytes_max,
            segments: BTreeMap::new(),
            segments_bytes: 0,
            next_number: last_number.saturating_add(1),
            active: None,
            visited: None,
            journal: Journal::new(journal_end, journal_file_bytes_max(options.bytes_max)),
            counters,
            degraded: false,
            last_error: None,
        };
        let mut judged = Vec::new();
        for number in numbers {
            match spool.look_at(number, &known) {
                Ok((format, remains)) => judged.push((number, format, judge(&remains, &known))),
                // It is left alone: the next start may find it readable.
                Err(error) => spool.failed(&format!("{}, which is left alone", segment_name(number)), &error),
            }
        }
        // Before anything is changed.
        spool.refuse_other_formats(&judged)?;
        let mut waiting = Vec::new();
        for (number, _, verdict) in &judged {
            spool.carry_out(*number, verdict, &mut waiting);
        }
        let synced = spool.journal.sync(&spool.disk);
        spool.note("journal: fdatasync", synced);
        let synced = spool.disk.sync_folder();
        spool.note("fsync of the folder", synced);
        spool.discard_empty();
        Ok((spool, waiting))
    }

    /// Reads a segment, deciding nothing.
    fn look_at(&mut self, number: u32, known: &Known) -> io::Result<(Option<String>, Remains)> {
        let file = self.disk.open(&segment_name(number))?;
        let bytes = self.disk.bytes(&file)?;
        self.segments.insert(number, Segment { bytes, waiting: 0 });
        self.segments_bytes += bytes;
        let (disk, io_errors) = (&self.disk, &mut self.counters.io_errors);
        let mut read = |offset, buffer: &mut [u8]| read_or_zeros(disk, &file, buffer, offset, io_errors);
        let scan = scan(number, bytes, &mut read);
        let at = |offset| Position {
            segment: number,
            offset,
        };
        let mut records = Vec::new();
        let mut payload = Vec::new();
        for found in scan.records {
            let taken = known
                .produced
                .get(&at(found.offset))
                .is_some_and(|slot| slot.taken);
            let whole = taken || found.header.state != State::Waiting || {
                payload.clear();
                payload.resize(found.header.payload_bytes as usize, 0);
                read(found.offset + RECORD_HEADER_BYTES as u64, &mut payload);
                crc32fast::hash(&payload) == found.header.payload_crc
            };
            records.push((found, whole));
        }
        let mut states_of_missing = Vec::new();
        for (position, slot) in known.produced.range(at(0)..=at(u64::MAX)) {
            let is_found = |(found, _): &(Found, bool)| found.offset.cmp(&position.offset);
            if records.binary_search_by(is_found).is_ok() {
                continue;
            }
            let mut state = [0; 4];
            let place = position.offset + STATE_OFFSET;
            if place + 4 <= bytes {
                read(place, &mut state);
            }
            states_of_missing.push((*slot, State::from_bytes(state)));
        }
        let remains = Remains {
            number,
            records,
            damaged: scan.damaged,
            states_of_missing,
        };
        Ok((scan.format, remains))
    }

    fn refuse_other_formats(&self, judged: &[(u32, Option<String>, Verdict)]) -> Result<(), OpenError> {
        let mut messages = 0_u64;
        let mut name = None;
        for (_, format, verdict) in judged {
            let is_other = |found: &&Found| found.header.format_crc != self.format_crc;
            let others = verdict.waiting.iter().filter(is_other).count() as u64;
            if others > 0 && name.is_none() {
                name.clone_from(format);
            }
            messages += others;
        }
        if messages == 0 {
            return Ok(());
        }
        let (ours, theirs) = (
            &self.format,
            name.as_deref().unwrap_or("of which no name is left"),
        );
        let what = format_args!(
            "{messages} messages wait in the format {theirs}, expected {ours}: start once with --marshal \
             {theirs} to deliver them, or empty the folder to give them up"
        );
        Err(OpenError::new(&self.folder, what))
    }

    /// Writes down what was found, so that it is found again.
    fn carry_out(&mut self, number: u32, verdict: &Verdict, waiting: &mut Vec<Kept>) {
        for found in &verdict.unknown {
            let kept = Kept::of(&found.header, number, found.offset);
            self.journal_append(EventKind::Produced, &kept, false);
        }
        for found in &verdict.given_up {
            let kept = Kept::of(&found.header, number, found.offset);
            self.journal_append(EventKind::Dropped, &kept, true);
        }
        for slot in &verdict.lost {
            let entry = Entry {
                kind: EventKind::Dropped,
                time_ns: self.disk.realtime_ns(),
                ..slot.entry
            };
            let slot = Slot { entry, ..*slot };
            self.counters.corrupt_rows += u64::from(entry.rows);
            let written = self.journal.append(&self.disk, slot);
            self.note("journal", written);
        }
        let lost = verdict.lost.len() as u64 + verdict.lost_nameless;
        if lost > 0 {
            let (folder, name) = (self.folder.display(), segment_name(number));
            log::error!("spool {folder}: {name}: {lost} damaged records, whose rows are lost");
        }
        self.counters.corrupt_records += lost;
        self.counters.torn_records += verdict.torn;
        self.counters.recovered_messages += verdict.waiting.len() as u64;
        for found in &verdict.waiting {
            self.counters.recovered_rows += u64::from(found.header.rows);
            waiting.push(Kept::of(&found.header, number, found.offset));
        }
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.waiting = verdict.waiting.len();
        }
        // A kill may have come between a write and its fdatasync.
        if !verdict.unknown.is_empty() {
            let synced = match self.disk.open(&segment_name(number)) {
                Ok(file) => self.disk.sync_data(&file),
                Err(error) => Err(error),
            };
            self.note("fdatasync of a recovered segment", synced);
        }
    }

    /// Takes a message: when this returns, it survives kill -9 and a power cut.
    ///
    /// # Errors
    /// As [`Spool::append_all`].
    pub fn append(&mut self, message: &Message) -> io::Result<Kept> {
        let mut kept = self.append_all(std::slice::from_ref(message))?;
        kept.pop()
            .ok_or_else(|| io::Error::other("expected one message to be kept, got none"))
    }

    /// Takes messages, all with one fdatasync; in their order.
    ///
    /// # Errors
    /// What the disk says; or StorageFull when there is no [room](Spool::room_for), which is not the
    /// disk's fault and does not count as degraded. Then none of them is taken.
    pub fn append_all(&mut self, messages: &[Message]) -> io::Result<Vec<Kept>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let batch_bytes = batch_bytes(messages.iter().map(|message| message.bytes.len()));
        if !self.has_room(batch_bytes) {
            // One that could not be removed when it became empty?
            self.discard_empty();
        }
        if !self.has_room(batch_bytes) {
            self.counters.refused_messages += messages.len() as u64;
            let (used, max) = (self.segments_bytes, self.segments_bytes_max());
            let what = format!("{batch_bytes} bytes more: expected up to {max} in segments, got {used}");
            return Err(io::Error::new(ErrorKind::StorageFull, what));
        }
        match self.try_append(messages, batch_bytes) {
            Ok(kept) => {
                if std::mem::take(&mut self.degraded) {
                    log::info!("spool {}: taking messages again", self.folder.display());
                }
                for kept in &kept {
                    self.counters.appended_messages += 1;
                    self.counters.appended_rows += u64::from(kept.rows);
                    self.journal_append(EventKind::Produced, kept, true);
                }
                Ok(kept)
            }
            Err(error) => {
                self.counters.refused_messages += messages.len() as u64;
                if !std::mem::replace(&mut self.degraded, true) {
                    log::error!(
                        "spool {}: {error}; messages are kept in memory only",
                        self.folder.display()
                    );
                }
                self.failed("append", &error);
                Err(error)
            }
        }
    }

    fn try_append(&mut self, messages: &[Message], batch_bytes: u64) -> io::Result<Vec<Kept>> {
        let (number, file) = match self.active.take() {
            Some((number, file)) if self.fits_active(number, batch_bytes) => (number, file),
            _ => {
                // First, as the one that was active may have to go for the new one.
                self.discard_empty();
                self.begin_segment()?
            }
        };
        let start = self.segments.get(&number).map_or(0, |segment| segment.bytes);
        match self.write_batch(number, &file, start, messages) {
            Ok(kept) => {
                if let Some(segment) = self.segments.get_mut(&number) {
                    segment.bytes += batch_bytes;
                    segment.waiting += kept.len();
                    self.segments_bytes += batch_bytes;
                }
                self.active = Some((number, file));
                Ok(kept)
            }
            Err(error) => {
                self.abandon(number, &file, start, batch_bytes);
                Err(error)
            }
        }
    }

    fn fits_active(&self, number: u32, batch_bytes: u64) -> bool {
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(self.segments_bytes_max() / SEGMENTS_MIN);
        self.segments.get(&number).is_some_and(|segment| {
            let is_bare = segment.bytes <= SEGMENT_HEADER_BYTES as u64;
            // An emptied one may have to go for what comes, if the bound is near.
            self.segments_bytes.saturating_add(batch_bytes) <= self.segments_bytes_max()
                && (is_bare || segment.bytes.saturating_add(batch_bytes) <= segment_bytes_max)
        })
    }

    fn begin_segment(&mut self) -> io::Result<(u32, D::File)> {
        let number = self.next_number;
        let Some(next) = number.checked_add(1) else {
            return Err(io::Error::other("expected fewer segments than 4,294,967,295"));
        };
        let file = self.disk.create(&segment_name(number))?;
        self.next_number = next;
        let bytes = SEGMENT_HEADER_BYTES as u64;
        self.segments.insert(number, Segment { bytes, waiting: 0 });
        self.segments_bytes += bytes;
        let begun = self
            .disk
            .write_at(&file, &segment_header(number, &self.format), 0)
            .and_then(|()| self.disk.sync_folder());
        match begun {
            Ok(()) => Ok((number, file)),
            Err(error) => {
                self.discard(number);
                Err(error)
            }
        }
    }

    fn write_batch(
        &mut self,
        number: u32,
        file: &D::File,
        start: u64,
        messages: &[Message],
    ) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::with_capacity(messages.len());
        let mut offset = start;
        for message in messages {
            let header = RecordHeader::of(message, self.format_crc).ok_or(ErrorKind::FileTooLarge)?;
            self.disk
                .write_at(file, &header.to_bytes(number, offset), offset)?;
            let payload_offset = offset + RECORD_HEADER_BYTES as u64;
            self.disk.write_at(file, &message.bytes, payload_offset)?;
            kept.push(Kept::of(&header, number, offset));
            offset += stride(u64::from(header.payload_bytes));
        }
        self.disk.sync_data(file)?;
        self.counters.syncs += 1;
        Ok(kept)
    }

    /// Cuts off what a failed batch may have left, and writes nothing more to that segment.
    fn abandon(&mut self, number: u32, file: &D::File, start: u64, batch_bytes: u64) {
        let cut = self.disk.truncate(file, start);
        if cut.is_err()
            && let Some(segment) = self.segments.get_mut(&number)
        {
            segment.bytes += batch_bytes;
            self.segments_bytes += batch_bytes;
        }
        self.note("cutting off a failed batch", cut);
        self.discard_empty();
    }

    /// Reads a message. When it is corrupt that is counted here: give it up then.
    ///
    /// # Errors
    /// When it is damaged, or the disk does not say.
    pub fn read(&mut self, kept: &Kept) -> Result<Message, ReadError> {
        let Position { segment, offset } = kept.position;
        let mut record = vec![0; RECORD_HEADER_BYTES + kept.bytes_len as usize];
        match self.with_file(segment, |disk, file| disk.read_at(file, &mut record, offset)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => record.clear(),
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

    /// Whether messages of these lengths can be taken, all at once, within the bound. When they cannot,
    /// giving up the oldest until they can ends: with nothing left that waits, this is the truth about an
    /// empty spool. It takes up to a segment's messages until it helps.
    pub fn room_for(&self, bytes: impl IntoIterator<Item = usize>) -> bool {
        self.has_room(batch_bytes(bytes))
    }

    fn has_room(&self, batch_bytes: u64) -> bool {
        // What is active and empty can go at once.
        let reclaimable: u64 = match &self.active {
            Some((number, _)) => match self.segments.get(number) {
                Some(segment) if segment.waiting == 0 => segment.bytes,
                _ => 0,
            },
            None => 0,
        };
        let with_header = batch_bytes.saturating_add(SEGMENT_HEADER_BYTES as u64);
        (self.segments_bytes - reclaimable).saturating_add(with_header) <= self.segments_bytes_max()
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

fn batch_bytes(bytes: impl IntoIterator<Item = usize>) -> u64 {
    let strides = bytes.into_iter().map(|bytes| stride(bytes as u64));
    strides.fold(0, u64::saturating_add)
}

/// What a disk does not give is zeros: a damaged record then, by a few KiB at a time.
fn read_or_zeros<D: Disk>(disk: &D, file: &D::File, buffer: &mut [u8], offset: u64, io_errors: &mut u64) {
    const BLOCK_BYTES: usize = 4096;
    if disk.read_at(file, buffer, offset).is_ok() {
        return;
    }
    for (index, block) in buffer.chunks_mut(BLOCK_BYTES).enumerate() {
        if disk
            .read_at(file, block, offset + (index * BLOCK_BYTES) as u64)
            .is_err()
        {
            *io_errors += 1;
            block.fill(0);
        }
    }
}

fn segment_name(number: u32) -> String {
    format!("{number:010}.spool")
}

fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".spool")?.parse().ok()?;
    // No two names for one number, and 0 is none.
    (number > 0 && segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests;
