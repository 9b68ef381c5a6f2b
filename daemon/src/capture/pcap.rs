//! The classic pcap format: a file header of 24 bytes, then packets with a header of 16 bytes.

use super::{
    input::{ByteOrder, Input, Problem, RECORD_BYTES_MAX},
    read::{Packet, Record},
};
use std::io::Read;

/// What the file header says of all packets.
#[derive(Debug)]
pub(super) struct Pcap {
    order: ByteOrder,
    /// Nanoseconds in a unit of the time stamp's second half.
    fraction_ns: i64,
    link_type: u32,
}

/// Length of the file header behind the magic number.
const FILE_HEADER_REST_BYTES: usize = 20;
/// Length of a packet's header.
const PACKET_HEADER_BYTES: usize = 16;
/// The link type; the bits above tell of a checksum that no netlink packet has.
const LINK_TYPE_MASK: u32 = 0x0fff_ffff;

impl Pcap {
    /// Reads the rest of the file header; `None` when the file does not start as such a file.
    pub(super) fn start<R: Read>(magic: [u8; 4], input: &mut Input<R>) -> Result<Option<Pcap>, Problem> {
        let (order, fraction_ns) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (ByteOrder::Little, 1_000),
            [0xa1, 0xb2, 0xc3, 0xd4] => (ByteOrder::Big, 1_000),
            [0x4d, 0x3c, 0xb2, 0xa1] => (ByteOrder::Little, 1),
            [0xa1, 0xb2, 0x3c, 0x4d] => (ByteOrder::Big, 1),
            _ => return Ok(None),
        };
        // Version (2 + 2 bytes), time zone (4), accuracy (4), snapshot length (4), link type (4).
        let rest = input.take::<FILE_HEADER_REST_BYTES>("pcap file header")?;
        Ok(Some(Pcap {
            order,
            fraction_ns,
            link_type: order.u32(&rest, 16) & LINK_TYPE_MASK,
        }))
    }

    /// The next packet, its bytes in the body of `input`.
    pub(super) fn next<R: Read>(&self, input: &mut Input<R>) -> Result<Option<Record>, Problem> {
        let Some(header) = input.start_record::<PACKET_HEADER_BYTES>("packet header")? else {
            return Ok(None);
        };
        // Seconds, fraction, length in the file, length on the wire.
        let [seconds, fraction, captured, original] = [0, 4, 8, 12].map(|at| self.order.u32(&header, at));
        let length = captured as usize;
        if length > RECORD_BYTES_MAX {
            input.skip("packet", u64::from(captured))?;
            return Ok(Some(Record::TooLarge));
        }
        input.read_body("packet", length)?;
        Ok(Some(Record::Packet(Packet {
            // Below 2^63 for any two numbers of 32 bits.
            timestamp_ns: Some(i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.fraction_ns),
            link_type: self.link_type,
            data: 0..length,
            truncated: captured < original,
            comment: None,
        })))
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::{CaptureReader, PacketCounts, ReadError};

    /// (nanoseconds, payload, truncated) of each datagram.
    type Found = Vec<(Option<i64>, Vec<u8>, bool)>;

    fn read(file: &[u8]) -> Result<(Found, PacketCounts), ReadError> {
        let mut reader = CaptureReader::new("f".to_owned(), file)?;
        let mut found = Vec::new();
        while let Some(captured) = reader.next_datagram()? {
            assert_eq!(captured.comment, None);
            found.push((
                captured.timestamp_ns,
                captured.payload.to_vec(),
                captured.truncated,
            ));
        }
        Ok((found, reader.counts()))
    }

    #[rustfmt::skip]
    const LITTLE: [u8; 58] = [
        0xd4, 0xc3, 0xb2, 0xa1, // magic: microseconds
        2, 0, 4, 0,             // version 2.4
        0, 0, 0, 0,             // time zone
        0, 0, 0, 0,             // accuracy
        0, 0, 4, 0,             // snapshot length
        253, 0, 0, 0,           // link type
        5, 0, 0, 0,             // seconds
        6, 0, 0, 0,             // microseconds
        18, 0, 0, 0,            // length in the file
        18, 0, 0, 0,            // length on the wire
        0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, // link-type header
        7, 8,                   // payload
    ];

    #[rustfmt::skip]
    const BIG: [u8; 57] = [
        0xa1, 0xb2, 0xc3, 0xd4, // magic: microseconds
        0, 2, 0, 4,             // version 2.4
        0, 0, 0, 0,             // time zone
        0, 0, 0, 0,             // accuracy
        0, 4, 0, 0,             // snapshot length
        0, 0, 0, 253,           // link type
        0xff, 0xff, 0xff, 0xff, // seconds
        0xff, 0xff, 0xff, 0xff, // microseconds
        0, 0, 0, 17,            // length in the file
        0, 0, 0, 18,            // length on the wire
        0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, // link-type header
        7,                      // payload
    ];

    #[test]
    fn each_magic_number_is_read_in_its_order_and_unit() {
        let little = |ns| vec![(Some(ns), vec![7, 8], false)];
        let big = |ns| vec![(Some(ns), vec![7], true)];
        assert_eq!(read(&LITTLE).unwrap().0, little(5_000_006_000));
        assert_eq!(
            read(&BIG).unwrap().0,
            big(4_294_967_295_000_000_000 + 4_294_967_295_000)
        );
        let mut nanoseconds = LITTLE;
        nanoseconds[..2].copy_from_slice(&[0x4d, 0x3c]);
        assert_eq!(read(&nanoseconds).unwrap().0, little(5_000_000_006));
        let mut nanoseconds = BIG;
        nanoseconds[2..4].copy_from_slice(&[0x3c, 0x4d]);
        assert_eq!(
            read(&nanoseconds).unwrap().0,
            big(4_294_967_295_000_000_000 + 4_294_967_295)
        );
    }

    #[test]
    fn a_cut_file_ends_cleanly_only_between_packets() {
        let file = [&LITTLE[..], &LITTLE[24..]].concat();
        for cut in 0..=file.len() {
            let result = read(&file[..cut]);
            assert_eq!(
                result.is_ok(),
                [24, 58, 92].contains(&cut),
                "cut at {cut}: {result:?}"
            );
        }
        let error = |cut: usize| read(&file[..cut]).unwrap_err().to_string();
        let empty = "f at byte 0: magic number: expected a pcap or pcapng file, got an empty file";
        assert_eq!(error(0), empty);
        let body = "f at byte 58: packet: expected 18 bytes, got 17 before the end of the file";
        assert_eq!(error(91), body);
    }

    #[test]
    fn a_hostile_length_takes_no_memory() {
        let mut file = LITTLE;
        file[32..36].copy_from_slice(&[0xff; 4]);
        let expected = "f at byte 24: packet: expected 4294967295 bytes, got 18 before the end of the file";
        assert_eq!(read(&file).unwrap_err().to_string(), expected);
    }

    #[test]
    fn other_files_are_refused() {
        for magic in [[0x1f, 0x8b, 8, 0], [0xa1, 0xb2, 0xcd, 0x34], [0; 4]] {
            let mut file = LITTLE;
            file[..4].copy_from_slice(&magic);
            let error = read(&file).unwrap_err().to_string();
            assert!(
                error.contains("expected a pcap or pcapng file, got 0x"),
                "{error}"
            );
        }
    }

    #[test]
    fn other_packets_are_counted_and_passed_over() {
        let mut ethernet = LITTLE;
        ethernet[20] = 1;
        let (found, counts) = read(&ethernet).unwrap();
        assert_eq!((found.len(), counts.packets, counts.other_link_type), (0, 1, 1));
    }
}
