//! Reads the sock_diag datagrams of a capture file, pcap or pcapng, whichever it is.
//!
//! The decoding is ours because of what the crates for it do to such files: one reads the
//! resolution and the offset of time stamps wrongly for part of the files and cannot tell a field
//! that does not fit from a file that ends early, the other gives a whole block up for one bad
//! option. The tests use one of them to judge what `--record` writes.

use super::{
    cooked::{self, Content},
    input::{Input, Problem, ReadError},
    pcap::Pcap,
    pcapng::PcapNg,
};
use std::{fs::File, io::Read, ops::Range, path::Path};

/// What a capture holds, as far as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Packets of any kind.
    pub packets: u64,
    /// sock_diag datagrams: those that are not skipped for one of the reasons below.
    pub datagrams: u64,
    /// Datagrams of which the file holds the first part only.
    pub truncated: u64,
    /// Skipped: not of link type 253.
    pub other_link_type: u64,
    /// Skipped: of another netlink family.
    pub other_family: u64,
    /// Skipped: of link type 253, but without its header.
    pub no_header: u64,
    /// Skipped: larger than any datagram of a dump.
    pub too_large: u64,
}

/// A sock_diag datagram of a capture.
#[derive(Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When it was captured, nanoseconds since 1970; simple packets of pcapng do not say.
    pub timestamp_ns: Option<i64>,
    /// Netlink messages, in the byte order of the machine they were captured on.
    pub payload: &'a [u8],
    /// There was more of it than the file holds.
    pub truncated: bool,
    /// The packet's comment.
    pub comment: Option<&'a str>,
}

/// A packet, by where it is in the body of the record that was read last.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) timestamp_ns: Option<i64>,
    pub(super) link_type: u32,
    pub(super) data: Range<usize>,
    pub(super) truncated: bool,
    pub(super) comment: Option<Range<usize>>,
}

/// A step through a capture.
#[derive(Debug)]
pub(super) enum Record {
    Packet(Packet),
    TooLarge,
}

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// A capture that is being read.
pub struct CaptureReader<R> {
    input: Input<R>,
    format: Format,
    counts: PacketCounts,
}

impl CaptureReader<File> {
    /// Opens a capture file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a capture.
    pub fn open(path: &Path) -> Result<CaptureReader<File>, ReadError> {
        let file = path.display().to_string();
        match File::open(path) {
            Ok(reader) => CaptureReader::new(file, reader),
            Err(error) => Err(ReadError::at_start(file, error)),
        }
    }
}

impl<R: Read> CaptureReader<R> {
    /// Reads the start of a capture. `file` is how errors call it.
    ///
    /// # Errors
    /// When it cannot be read or is not a capture.
    pub fn new(file: String, reader: R) -> Result<CaptureReader<R>, ReadError> {
        let mut input = Input::new(file, reader);
        match Format::detect(&mut input) {
            Ok(format) => Ok(CaptureReader {
                input,
                format,
                counts: PacketCounts::default(),
            }),
            Err(problem) => Err(input.error(problem)),
        }
    }

    /// The next sock_diag datagram; other packets are counted and passed over.
    ///
    /// # Errors
    /// When the file is malformed or ends within a record. Nothing can be read after that.
    pub fn next_datagram(&mut self) -> Result<Option<Captured<'_>>, ReadError> {
        let packet = match self.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(None),
            Err(problem) => return Err(self.input.error(problem)),
        };
        let body = &self.input.body;
        let comment = packet.comment.and_then(|range| str::from_utf8(&body[range]).ok());
        Ok(Some(Captured {
            timestamp_ns: packet.timestamp_ns,
            payload: &body[packet.data][cooked::COOKED_HEADER_BYTES..],
            truncated: packet.truncated,
            comment,
        }))
    }

    /// What was found so far.
    pub fn counts(&self) -> PacketCounts {
        self.counts
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Problem> {
        loop {
            let record = match &mut self.format {
                Format::Pcap(pcap) => pcap.next(&mut self.input)?,
                Format::PcapNg(pcapng) => pcapng.next(&mut self.input)?,
            };
            let packet = match record {
                None => return Ok(None),
                Some(Record::Packet(packet)) => packet,
                Some(Record::TooLarge) => {
                    self.counts.packets += 1;
                    self.counts.too_large += 1;
                    continue;
                }
            };
            let counts = &mut self.counts;
            counts.packets += 1;
            if packet.link_type != u32::from(cooked::LINK_TYPE_NETLINK) {
                counts.other_link_type += 1;
                continue;
            }
            match cooked::content(&self.input.body[packet.data.clone()]) {
                Content::SockDiag => {
                    counts.datagrams += 1;
                    counts.truncated += u64::from(packet.truncated);
                    return Ok(Some(packet));
                }
                Content::OtherFamily => counts.other_family += 1,
                Content::Unknown => counts.no_header += 1,
            }
        }
    }
}

impl Format {
    fn detect<R: Read>(input: &mut Input<R>) -> Result<Format, Problem> {
        let expected = "a pcap or pcapng file";
        let Some(magic) = input.start_record::<4>("magic number")? else {
            return Err(Problem::malformed("magic number", expected, "an empty file"));
        };
        if let Some(pcap) = Pcap::start(magic, input)? {
            return Ok(Format::Pcap(pcap));
        }
        if let Some(pcapng) = PcapNg::start(magic, input)? {
            return Ok(Format::PcapNg(pcapng));
        }
        let got = format_args!("{:#010x}", u32::from_be_bytes(magic));
        Err(Problem::malformed("magic number", expected, got))
    }
}
