//! Finds the records of a segment, whatever happened to it. No I/O here: bytes come from a closure.
//!
//! A header that is not right is skipped to the next one that is: only what is damaged is lost. Work is
//! bounded: each byte is looked at as the start of a record once at most, and payloads are not read.

use super::segment::{
    ALIGNMENT, Beginning, RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, SEGMENT_HEADER_BYTES, stride,
};
use std::ops::Range;

/// What is read at once behind a damaged header: little at first, as the next record may be near and many
/// may be damaged, then twice as much each time, up to the second figure.
const WINDOW_BYTES_FIRST: usize = 1 << 10;
const WINDOW_BYTES_MAX: usize = 64 << 10;

/// A record with a right header; its payload lies within the segment and was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where in the segment.
    pub offset: u64,
    /// What it says.
    pub header: RecordHeader,
}

/// All that is to be found in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Not foreign if there are records.
    pub beginning: Beginning,
    /// In their order.
    pub records: Vec<Found>,
    /// Where there should be records and are none; in their order. The last one may reach to the end.
    pub damaged: Vec<Range<u64>>,
}

/// Scans the segment of that number and length. `read` fills its buffer from an offset; it is never asked
/// for bytes behind the end, and what it cannot read it leaves as zeros. Of another version and of what is no
/// segment nothing is said but that.
pub fn scan(number: u32, segment_bytes: u64, mut read: impl FnMut(u64, &mut [u8])) -> Scan {
    let mut scan = Scan::default();
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let header_bytes = usize::try_from(segment_bytes).unwrap_or(usize::MAX);
    let header_bytes = header_bytes.min(header.len());
    read(0, &mut header[..header_bytes]);
    scan.beginning = Beginning::of(&header, number);
    if matches!(scan.beginning, Beginning::OtherVersion(_)) {
        return scan;
    }
    let mut offset = header.len() as u64;
    while offset < segment_bytes {
        let left = segment_bytes - offset;
        let found = if left < RECORD_HEADER_BYTES as u64 {
            None
        } else {
            read(offset, &mut header);
            RecordHeader::parse(&header, number, offset)
        };
        match found {
            // Cut off: everything up to the end is its payload.
            Some(header) if header.record_bytes() > left => {
                scan.damaged.push(offset..segment_bytes);
                break;
            }
            Some(header) => {
                scan.records.push(Found { offset, header });
                offset = offset.saturating_add(stride(u64::from(header.payload_bytes)));
            }
            None => {
                let next = next_record(number, offset + ALIGNMENT as u64, segment_bytes, &mut read);
                scan.damaged.push(offset..next);
                offset = next;
            }
        }
    }
    if scan.beginning == Beginning::Foreign {
        match scan.records.is_empty() {
            true => scan.damaged.clear(),
            // They know their segment and their place: it is the header that is damaged.
            false => scan.beginning = Beginning::Damaged,
        }
    }
    scan
}

/// Offset of the next right header, or the end of the segment.
fn next_record(number: u32, from: u64, segment_bytes: u64, read: &mut impl FnMut(u64, &mut [u8])) -> u64 {
    let mut window = Vec::new();
    let mut window_bytes = WINDOW_BYTES_FIRST;
    let mut start = from;
    while start + RECORD_HEADER_BYTES as u64 <= segment_bytes {
        let left = usize::try_from(segment_bytes - start).unwrap_or(usize::MAX);
        let length = left.min(window_bytes);
        window.clear();
        window.resize(length, 0);
        read(start, &mut window);
        let starts = length - RECORD_HEADER_BYTES;
        for at in (0..=starts).step_by(ALIGNMENT) {
            let offset = start + at as u64;
            if window[at..].starts_with(&RECORD_MAGIC)
                && RecordHeader::parse(&window[at..], number, offset).is_some()
            {
                return offset;
            }
        }
        // The next window begins with the first place that this one had no room for.
        start += (starts / ALIGNMENT * ALIGNMENT + ALIGNMENT) as u64;
        window_bytes = (2 * window_bytes).min(WINDOW_BYTES_MAX);
    }
    segment_bytes
}
