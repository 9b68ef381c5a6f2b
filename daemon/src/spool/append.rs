//! Messages are taken: appended to a segment, and synced.

use super::{
    Kept, Segment, Spool,
    disk::Disk,
    journal::EventKind,
    segment::{
        FORMAT_BYTES_MAX, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, segment_header, stride,
    },
    segment_name,
};
use crate::output::Message;
use std::io::{self, ErrorKind};

/// Of a segment, unless one batch is larger: what a damaged folder costs to scan, and the step in which
/// room comes back.
const SEGMENT_BYTES_MAX: u64 = 8 << 20;
/// With small bounds the steps are smaller: so many segments share the bound.
const SEGMENTS_MIN: u64 = 8;

impl<D: Disk> Spool<D> {
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

    /// Messages are of another format from now on, those that wait are delivered already. A segment begins
    /// with its name.
    pub fn set_format(&mut self, format: String) {
        debug_assert!(format.len() <= FORMAT_BYTES_MAX, "{format}");
        if format != self.format {
            self.format_crc = crc32fast::hash(format.as_bytes());
            self.format = format;
            self.active = None;
            self.discard_empty();
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
                // First, as the one that was active may have to go for the new one. A disk that fails may
                // not let it go: the bound is kept all the same.
                self.discard_empty();
                if !self.has_room(batch_bytes) {
                    return Err(io::Error::new(
                        ErrorKind::StorageFull,
                        "no old segment could be removed",
                    ));
                }
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
}

fn batch_bytes(bytes: impl IntoIterator<Item = usize>) -> u64 {
    let strides = bytes.into_iter().map(|bytes| stride(bytes as u64));
    strides.fold(0, u64::saturating_add)
}
