//! The bytes of a capture file, read in order and in bounded memory, and the errors that say where
//! in it something is wrong.

use std::{
    fmt,
    io::{self, BufReader, Read},
};

/// The largest record that is read into memory; a larger packet is skipped and counted. A dump
/// fills datagrams of 32 KiB, libpcap cuts packets at 256 KiB; a length of more is a batch of
/// another netlink family, or garbage.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 20;

/// Bytes asked of the file at a time.
const READ_BYTES: usize = 64 << 10;

/// Why a capture cannot be read on.
#[derive(Debug)]
pub struct ReadError {
    file: String,
    /// From the start of the file to the record, or the field, that is wrong.
    offset: u64,
    problem: Problem,
}

/// What is wrong at an offset of a capture.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    Malformed {
        what: &'static str,
        expected: String,
        got: String,
    },
}

impl Problem {
    pub(super) fn malformed(what: &'static str, expected: impl ToString, got: impl ToString) -> Problem {
        Problem::Malformed {
            what,
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        Problem::Io(error)
    }
}

impl ReadError {
    /// A file of which nothing could be read.
    pub(super) fn at_start(file: String, error: io::Error) -> ReadError {
        ReadError {
            file,
            offset: 0,
            problem: Problem::Io(error),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: ", self.file, self.offset)?;
        match &self.problem {
            Problem::Io(error) => error.fmt(f),
            Problem::Malformed { what, expected, got } => write!(f, "{what}: expected {expected}, got {got}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            Problem::Malformed { .. } => None,
        }
    }
}

/// The file, how far it is read, and the record that was read last.
pub(super) struct Input<R> {
    file: String,
    reader: BufReader<R>,
    /// Bytes taken from the file.
    offset: u64,
    /// Where the current record starts: what errors point at.
    record_offset: u64,
    /// The body of the current record.
    pub(super) body: Vec<u8>,
}

impl<R: Read> Input<R> {
    pub(super) fn new(file: String, reader: R) -> Input<R> {
        Input {
            file,
            reader: BufReader::with_capacity(READ_BYTES, reader),
            offset: 0,
            record_offset: 0,
            body: Vec::new(),
        }
    }

    pub(super) fn error(&self, problem: Problem) -> ReadError {
        ReadError {
            file: self.file.clone(),
            offset: self.record_offset,
            problem,
        }
    }

    /// The first bytes of a record; `None` where the file ends instead of starting another.
    pub(super) fn start_record<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<Option<[u8; N]>, Problem> {
        self.record_offset = self.offset;
        let mut head = [0; N];
        match fill(&mut self.reader, &mut head)? {
            0 => Ok(None),
            got if got < N => Err(short(what, N as u64, got as u64)),
            _ => {
                self.offset += N as u64;
                Ok(Some(head))
            }
        }
    }

    /// A fixed part of the current record.
    pub(super) fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        let mut part = [0; N];
        let got = fill(&mut self.reader, &mut part)?;
        if got < N {
            return Err(short(what, N as u64, got as u64));
        }
        self.offset += N as u64;
        Ok(part)
    }

    /// Reads the body of the current record into memory; `length` is at most
    /// [`RECORD_BYTES_MAX`].
    pub(super) fn read_body(&mut self, what: &'static str, length: usize) -> Result<(), Problem> {
        debug_assert!(length <= RECORD_BYTES_MAX);
        self.body.resize(length, 0);
        let got = fill(&mut self.reader, &mut self.body)?;
        if got < length {
            return Err(short(what, length as u64, got as u64));
        }
        self.offset += length as u64;
        Ok(())
    }

    /// Passes over a part of the current record without keeping it, however long.
    pub(super) fn skip(&mut self, what: &'static str, length: u64) -> Result<(), Problem> {
        let got = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
        if got < length {
            return Err(short(what, length, got));
        }
        self.offset += length;
        Ok(())
    }
}

fn short(what: &'static str, expected: u64, got: u64) -> Problem {
    Problem::malformed(
        what,
        format_args!("{expected} bytes"),
        format_args!("{got} before the end of the file"),
    )
}

/// Reads until `bytes` is full or the file ends; returns how many were read.
fn fill(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The byte order in which a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The number at an offset that the caller knows to be inside of `bytes`.
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = [bytes[at], bytes[at + 1]];
        match self {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        }
    }

    /// As [`ByteOrder::u16`].
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }
}
