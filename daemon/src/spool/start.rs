//! A spool is opened: what was left behind is looked at, judged (`recover`), and written down.

use super::{
    BYTES_MAX_MIN, Counters, Kept, Options, Position, Segment, Spool, at,
    disk::Disk,
    journal::{self, Entry, EventKind, Journal, Slot},
    journal_file_bytes_max,
    recover::{Known, Remains, Verdict, judge, keep_one_of_each, put_in_order},
    scan::{Found, scan},
    segment::{Beginning, FORMAT_BYTES_MAX, RECORD_HEADER_BYTES, STATE_OFFSET, State, VERSION},
    segment_name,
};
use crate::setting_error::SettingError;
use std::{collections::BTreeMap, fmt, io};

/// Behind the name of a file that is set aside.
const ASIDE: &str = ".damaged";

impl<D: Disk> Spool<D> {
    /// As [`Spool::open`], on a disk that is open and locked.
    ///
    /// # Errors
    /// As there.
    pub fn recover(disk: D, options: &Options) -> Result<(Spool<D>, Vec<Kept>), SettingError> {
        let wrong = |what: &dyn fmt::Display| SettingError::never(what).of(at(&options.dir));
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
        let unreadable = |what: &str, error: io::Error| {
            SettingError::system(format_args!("{what}: {error}")).of(at(&options.dir))
        };
        let names = disk.list().map_err(|error| unreadable("the folder", error))?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let mut known = Known::default();
        let mut counters = Counters::default();
        let is_there = |number| numbers.binary_search(&number).is_ok();
        let journal_end = journal::visit(&disk, &mut counters.io_errors, |slot| known.add(slot, is_there))
            .map_err(|error| unreadable("journal", error))?;

        // Of those that are set aside too: each name is used once.
        let used = names
            .iter()
            .filter_map(|name| segment_number(name.strip_suffix(ASIDE).unwrap_or(name)));
        let last_number = used.max().unwrap_or(0).max(known.segment_max);
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
                Ok((beginning, remains)) => judged.push((number, beginning, judge(&remains, &known))),
                // It is left alone: the next start may find it readable.
                Err(error) => spool.failed(&format!("{}, which is left alone", segment_name(number)), &error),
            }
        }
        let verdicts = judged.iter_mut().map(|(number, _, verdict)| (*number, verdict));
        keep_one_of_each(&mut verdicts.collect::<Vec<_>>());
        // Before anything is changed.
        spool.refuse_other_versions(&judged)?;
        spool.refuse_other_formats(&judged)?;
        let mut waiting = Vec::new();
        for (number, beginning, verdict) in &judged {
            spool.carry_out(*number, verdict, &mut waiting);
            if *beginning == Beginning::Foreign {
                spool.set_aside(*number, &names);
            }
        }
        put_in_order(&mut waiting);
        let synced = spool.journal.sync(&spool.disk);
        spool.note("journal: fdatasync", synced);
        let synced = spool.disk.sync_folder();
        spool.note("fsync of the folder", synced);
        spool.discard_empty();
        Ok((spool, waiting))
    }

    /// Reads a segment, deciding nothing.
    fn look_at(&mut self, number: u32, known: &Known) -> io::Result<(Beginning, Remains)> {
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
        Ok((scan.beginning, remains))
    }

    /// A program that was rolled back does not know what the newer one left, nor how much of it.
    fn refuse_other_versions(&self, judged: &[(u32, Beginning, Verdict)]) -> Result<(), SettingError> {
        let other = judged.iter().find_map(|(number, beginning, _)| match beginning {
            Beginning::OtherVersion(version) => Some((segment_name(*number), version)),
            _ => None,
        });
        let Some((name, version)) = other else {
            return Ok(());
        };
        let what = format_args!(
            "{name}: a segment of version {version}, expected {VERSION}: start an xtcp2 that knows version \
             {version} to deliver its messages, or empty the folder to give them up"
        );
        Err(SettingError::never(what).of(at(&self.folder)))
    }

    fn refuse_other_formats(&self, judged: &[(u32, Beginning, Verdict)]) -> Result<(), SettingError> {
        let mut messages = 0_u64;
        let mut name = None;
        for (_, beginning, verdict) in judged {
            let is_other = |found: &&Found| found.header.format_crc != self.format_crc;
            let others = verdict.waiting.iter().filter(is_other).count() as u64;
            if others > 0
                && name.is_none()
                && let Beginning::Right(format) = beginning
            {
                name = Some(format);
            }
            messages += others;
        }
        if messages == 0 {
            return Ok(());
        }
        let (ours, theirs) = (
            &self.format,
            name.map_or("of which no name is left", String::as_str),
        );
        let what = format_args!(
            "{messages} messages wait in the format {theirs}, expected {ours}: start once with --marshal \
             {theirs} to deliver them, or empty the folder to give them up"
        );
        Err(SettingError::never(what).of(at(&self.folder)))
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
        for found in &verdict.copies {
            let left = State::Acknowledged.to_bytes();
            let written = self.with_file(number, |disk, file| {
                disk.write_at(file, &left, found.offset + STATE_OFFSET)
            });
            self.note("acknowledgement of a copy", written);
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

    /// What is no segment may be somebody's: it is kept, and from now on it is none of the spool's.
    fn set_aside(&mut self, number: u32, names: &[String]) {
        if let Some(segment) = self.segments.remove(&number) {
            self.segments_bytes -= segment.bytes;
        }
        let (folder, name) = (self.folder.display().to_string(), segment_name(number));
        let aside = format!("{name}{ASIDE}");
        let renamed = match names.contains(&aside) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => self.disk.rename(&name, &aside),
        };
        match renamed {
            Ok(()) => {
                log::warn!("spool {folder}: {name}: expected a segment, got something else: now {aside}")
            }
            Err(error) => {
                log::warn!(
                    "spool {folder}: {name}: expected a segment, got something else, left alone: {aside}: {error}"
                );
                self.failed(&format!("{name}, which is left alone"), &error);
            }
        }
    }
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

fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".spool")?.parse().ok()?;
    // No two names for one number, and 0 is none.
    (number > 0 && segment_name(number) == name).then_some(number)
}
