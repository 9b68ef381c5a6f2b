//! Files made by hand, a byte array a section.

use super::*;
use crate::capture::{CaptureReader, PacketCounts, ReadError};

/// (nanoseconds, payload, truncated, comment) of each datagram.
type Found = Vec<(Option<i64>, Vec<u8>, bool, Option<String>)>;

fn read(file: &[u8]) -> Result<(Found, PacketCounts), ReadError> {
    let mut reader = CaptureReader::new("f".to_owned(), file)?;
    let mut found = Vec::new();
    while let Some(captured) = reader.next_datagram()? {
        found.push((
            captured.timestamp_ns,
            captured.payload.to_vec(),
            captured.truncated,
            captured.comment.map(str::to_owned),
        ));
    }
    Ok((found, reader.counts()))
}

#[rustfmt::skip]
const LITTLE: [u8; 124] = [
    0x0a, 0x0d, 0x0d, 0x0a, // block type: section header
    28, 0, 0, 0,            // block length
    0x4d, 0x3c, 0x2b, 0x1a, // byte-order magic
    1, 0, 0, 0,             // version 1.0
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // section length: unknown
    28, 0, 0, 0,            // block length
    1, 0, 0, 0,             // block type: interface description
    32, 0, 0, 0,            // block length
    253, 0, 0, 0,           // link type, reserved
    0, 0, 0, 0,             // snapshot length
    9, 0, 1, 0, 3, 0, 0, 0, // option if_tsresol: 10^-3
    0, 0, 0, 0,             // end of options
    32, 0, 0, 0,            // block length
    6, 0, 0, 0,             // block type: enhanced packet
    64, 0, 0, 0,            // block length
    0, 0, 0, 0,             // interface
    1, 0, 0, 0,             // time stamp, high
    2, 0, 0, 0,             // time stamp, low
    19, 0, 0, 0,            // length in the file
    20, 0, 0, 0,            // length on the wire
    0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, // link-type header
    7, 8, 9, 0,             // payload, padding
    1, 0, 2, 0, b'h', b'i', 0, 0, // option comment
    0, 0, 0, 0,             // end of options
    64, 0, 0, 0,            // block length
];

#[rustfmt::skip]
const BIG: [u8; 116] = [
    0x0a, 0x0d, 0x0d, 0x0a, // block type: section header
    0, 0, 0, 28,            // block length
    0x1a, 0x2b, 0x3c, 0x4d, // byte-order magic
    0, 1, 0, 0,             // version 1.0
    0, 0, 0, 0, 0, 0, 0, 88, // section length
    0, 0, 0, 28,            // block length
    0, 0, 0, 1,             // block type: interface description
    0, 0, 0, 40,            // block length
    0, 253, 0, 0,           // link type, reserved
    0, 0, 0, 17,            // snapshot length
    0, 14, 0, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // if_tsoffset: -1 s
    0, 9, 0, 1, 0x81, 0, 0, 0, // option if_tsresol: 2^-1
    0, 0, 0, 40,            // block length; no end of options
    0, 0, 0, 2,             // block type: obsolete packet
    0, 0, 0, 48,            // block length
    0, 0, 0, 5,             // interface, drops
    0, 0, 0, 0,             // time stamp, high
    0, 0, 0, 5,             // time stamp, low
    0, 0, 0, 16,            // length in the file
    0, 0, 0, 16,            // length on the wire
    0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, // link-type header
    0, 0, 0, 48,            // block length
];

#[rustfmt::skip]
const SIMPLE_BIG: [u8; 36] = [
    0, 0, 0, 3,             // block type: simple packet
    0, 0, 0, 36,            // block length
    0, 0, 0, 30,            // length on the wire
    0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, // link-type header
    7, 0, 0, 0,             // payload, cut at the 17 bytes of the interface, padding
    0, 0, 0, 36,            // block length
];

#[rustfmt::skip]
const UNKNOWN_LITTLE: [u8; 16] = [
    0xad, 0x0b, 0, 0x40,    // block type: custom
    16, 0, 0, 0,            // block length
    1, 2, 3, 4,             // enterprise number
    16, 0, 0, 0,            // block length
];

#[test]
fn each_kind_of_packet_is_read_in_either_byte_order() {
    // 2^32 + 2 milliseconds.
    let little = (
        Some(4_294_967_298_000_000),
        vec![7, 8, 9],
        true,
        Some("hi".to_owned()),
    );
    let big = (Some(1_500_000_000), vec![], false, None);
    let simple = (None, vec![7], true, None);
    assert_eq!(read(&LITTLE).unwrap().0, std::slice::from_ref(&little));
    assert_eq!(read(&BIG).unwrap().0, std::slice::from_ref(&big));

    // Several sections, each with a byte order and interfaces of its own.
    let file = [&LITTLE[..], &UNKNOWN_LITTLE, &BIG, &SIMPLE_BIG, &LITTLE].concat();
    let (found, counts) = read(&file).unwrap();
    assert_eq!(found, [little.clone(), big, simple, little]);
    let expected = PacketCounts {
        packets: 4,
        datagrams: 4,
        truncated: 3,
        ..PacketCounts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn other_packets_are_counted_and_passed_over() {
    let mut ethernet = LITTLE;
    ethernet[36] = 1; // link type
    let mut route = LITTLE;
    route[103] = 0; // netlink family
    let mut headless = LITTLE;
    headless[80] = 15; // length in the file
    let (found, counts) = read(&[ethernet, route, headless].concat()).unwrap();
    assert!(found.is_empty());
    let expected = PacketCounts {
        packets: 3,
        other_link_type: 1,
        other_family: 1,
        no_header: 1,
        ..PacketCounts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn a_packet_too_large_is_passed_over() {
    let mut file = LITTLE[..60].to_vec();
    let length = u32::try_from(RECORD_BYTES_MAX + 1024).unwrap();
    file.extend(ENHANCED_PACKET.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.resize(file.len() + length as usize - BLOCK_FRAME_BYTES, 0);
    file.extend(length.to_le_bytes());
    file.extend(&LITTLE[60..]);
    let (found, counts) = read(&file).unwrap();
    assert_eq!((found.len(), counts.packets, counts.too_large), (1, 2, 1));
}

#[test]
fn an_interface_too_large_is_refused() {
    let mut file = LITTLE[..36].to_vec();
    file[32..36].copy_from_slice(&0x7fff_fffc_u32.to_le_bytes());
    let expected = "f at byte 28: interface description: expected at most 1048576 bytes, got 2147483632";
    assert_eq!(read(&file).unwrap_err().to_string(), expected);
}

#[test]
fn what_is_malformed_is_named_with_its_place() {
    // (byte changed, its value, error)
    let cases: [(usize, u8, &str); 13] = [
        (
            8,
            0,
            "f at byte 0: byte-order magic: expected 0x1a2b3c4d in either byte order, got 0x1a2b3c00",
        ),
        (12, 2, "f at byte 0: pcapng major version: expected 1, got 2"),
        (
            4,
            24,
            "f at byte 0: block length: expected a multiple of 4 of at least 28, got 24",
        ),
        (
            4,
            29,
            "f at byte 0: block length: expected a multiple of 4 of at least 28, got 29",
        ),
        (
            24,
            0,
            "f at byte 0: block length behind the block: expected 28, got 0",
        ),
        (
            32,
            16,
            "f at byte 28: block length behind the block: expected 16, got 0",
        ),
        (
            35,
            1,
            "f at byte 28: interface description: expected at most 1048576 bytes, got 16777236",
        ),
        (
            48,
            39,
            "f at byte 28: if_tsresol: expected a power of ten of at most 38, got 39",
        ),
        (
            46,
            255,
            "f at byte 28: option length: expected at most 8, got 255",
        ),
        (
            64,
            8,
            "f at byte 60: block length: expected a multiple of 4 of at least 12, got 8",
        ),
        (
            68,
            1,
            "f at byte 60: interface number: expected one of the 1 described before, got 1",
        ),
        (
            80,
            33,
            "f at byte 60: captured packet length: expected at most 32, got 33",
        ),
        (
            120,
            60,
            "f at byte 60: block length behind the block: expected 64, got 60",
        ),
    ];
    for (at, value, expected) in cases {
        let mut file = LITTLE;
        file[at] = value;
        assert_eq!(read(&file).unwrap_err().to_string(), expected);
    }
    let simple = [&BIG[..28], &SIMPLE_BIG].concat();
    let expected = "f at byte 28: interface number: expected one of the 0 described before, got 0";
    assert_eq!(read(&simple).unwrap_err().to_string(), expected);
}

#[test]
fn a_cut_file_ends_cleanly_only_between_blocks() {
    let file = [&LITTLE[..], &UNKNOWN_LITTLE, &BIG, &SIMPLE_BIG].concat();
    let ends = [28, 60, 124, 140, 168, 208, 256, 292];
    assert_eq!(ends[ends.len() - 1], file.len());
    for cut in 0..=file.len() {
        let result = read(&file[..cut]);
        assert_eq!(result.is_ok(), ends.contains(&cut), "cut at {cut}: {result:?}");
    }
}

#[test]
fn descriptions_without_end_are_refused() {
    let mut file = LITTLE[..28].to_vec();
    for _ in 0..INTERFACES_MAX {
        file.extend(&LITTLE[28..60]);
    }
    assert!(read(&file).is_ok());
    file.extend(&LITTLE[28..60]);
    let error = read(&file).unwrap_err().to_string();
    assert!(
        error.ends_with("interfaces of a section: expected at most 4096, got 4097"),
        "{error}"
    );
}

#[test]
fn times_beyond_the_clock_are_absent() {
    let interface = |ticks_per_second, timestamp_offset_seconds| Interface {
        link_type: 253,
        snapshot_bytes: 0,
        ticks_per_second,
        timestamp_offset_seconds,
    };
    let seconds = interface(1, 0);
    assert_eq!(
        seconds.nanoseconds(9_223_372_036),
        Some(9_223_372_036_000_000_000)
    );
    assert_eq!(seconds.nanoseconds(9_223_372_037), None);
    assert_eq!(interface(1, i64::MIN).nanoseconds(u64::MAX), None);
    assert_eq!(
        interface(1 << 127, -1).nanoseconds(u64::MAX),
        Some(-1_000_000_000)
    );
    for resolution in 0..=u8::MAX {
        let ticks = ticks_per_second(resolution);
        assert_eq!(ticks.is_ok(), resolution <= 38 || resolution >= 128);
        assert!(ticks.is_err() || ticks.is_ok_and(|ticks| ticks > 0));
    }
}
