//! prost as the oracle: it reads our rows by the committed .proto, finds the values that the
//! kernel's bytes hold, and writes the same bytes again.
//!
//! The values are taken from the kernel's bytes a second time here, by a reader that shares
//! nothing with the daemon: structures in the notation of the kernel's headers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod messages;
#[path = "common/proto.rs"]
mod proto;

use messages::{Random, anything, encoder, row};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use proto::{message_of, record};
use std::collections::{BTreeMap, BTreeSet};
use xtcp2::{
    envelope::{Closed, Envelope},
    netlink::inet_diag::InetDiagMsg,
    record::{FIELDS, Source},
};

const MESSAGES: u64 = 20_000;

type Values = BTreeMap<String, Value>;

/// include/uapi/linux/inet_diag.h, under the names of the .proto
const INET_DIAG_MSG: &str = "u8 family, u8 state, u8 timer, u8 retrans, \
    be16 socket_source_port, be16 socket_destination_port, addr socket_source, addr socket_destination, \
    u32 socket_interface, cookie socket_cookie, u32 expires, u32 rqueue, u32 wqueue, u32 uid, u32 inode";
const MEMINFO: &str = "u32 rmem, u32 wmem, u32 fmem, u32 tmem";
const SKMEMINFO: &str = "u32 rmem_alloc, u32 rcv_buf, u32 wmem_alloc, u32 snd_buf, u32 fwd_alloc, \
    u32 wmem_queued, u32 optmem, u32 backlog, u32 drops";
const VEGAS: &str = "u32 enabled, u32 rtt_cnt, u32 rtt, u32 min_rtt";
const DCTCP: &str = "u16 enabled, u16 ce_state, u32 alpha, u32 ab_ecn, u32 ab_tot";
const BBR: &str = "u32 bw_lo, u32 bw_hi, u32 min_rtt, u32 pacing_gain, u32 cwnd_gain";
/// include/uapi/linux/tcp.h
const TCP_INFO: &str = "u8 state, u8 ca_state, u8 retransmits, u8 probes, u8 backoff, u8 options, \
    :4 send_scale, :4 rcv_scale, :1 delivery_rate_app_limited, :2 fast_open_client_failed, :5 -, \
    u32 rto, u32 ato, u32 snd_mss, u32 rcv_mss, u32 unacked, u32 sacked, u32 lost, u32 retrans, u32 fackets, \
    u32 last_data_sent, u32 last_ack_sent, u32 last_data_recv, u32 last_ack_recv, \
    u32 pmtu, u32 rcv_ssthresh, u32 rtt, u32 rtt_var, u32 snd_ssthresh, u32 snd_cwnd, u32 adv_mss, \
    u32 reordering, u32 rcv_rtt, u32 rcv_space, u32 total_retrans, \
    u64 pacing_rate, u64 max_pacing_rate, u64 bytes_acked, u64 bytes_received, u32 segs_out, u32 segs_in, \
    u32 not_sent_bytes, u32 min_rtt, u32 data_segs_in, u32 data_segs_out, u64 delivery_rate, \
    u64 busy_time, u64 rwnd_limited, u64 sndbuf_limited, u32 delivered, u32 delivered_ce, \
    u64 bytes_sent, u64 bytes_retrans, u32 dsack_dups, u32 reord_seen, u32 rcv_ooopack, u32 snd_wnd, \
    u32 rcv_wnd, u32 rehash, u16 total_rto, u16 total_rto_recoveries, u32 total_rto_time, \
    u32 received_ce, u32 delivered_e1_bytes, u32 delivered_e0_bytes, u32 delivered_ce_bytes, \
    u32 received_e1_bytes, u32 received_e0_bytes, u32 received_ce_bytes, \
    u16 accecn_fail_mode, u16 accecn_opt_seen";
const TLS: [&str; 6] = ["version", "cipher", "txconf", "rxconf", "zc_ro_tx", "rx_no_pad"];
const MPTCP: [&str; 10] = [
    "token_rem",
    "token_loc",
    "relwrite_seq",
    "map_seq",
    "map_sfseq",
    "ssn_offset",
    "map_datalen",
    "flags",
    "id_rem",
    "id_loc",
];

fn native(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    match cfg!(target_endian = "little") {
        true => all[..bytes.len()].copy_from_slice(bytes),
        false => all[8 - bytes.len()..].copy_from_slice(bytes),
    }
    u64::from_ne_bytes(all)
}

fn small(value: u64) -> Value {
    Value::U32(u32::try_from(value).unwrap())
}

/// Members of a C structure that lie in `bytes` as a whole.
fn members(values: &mut Values, prefix: &str, structure: &str, bytes: &[u8]) {
    let (mut at, mut bit) = (0, 0);
    for member in structure.split(", ") {
        let (kind, name) = member.trim().split_once(' ').unwrap();
        if let Some(width) = kind.strip_prefix(':') {
            let width: usize = width.parse().unwrap();
            if let Some(byte) = bytes.get(at) {
                let value = u64::from(*byte) >> bit & ((1 << width) - 1);
                values.insert(format!("{prefix}_{name}"), small(value));
            }
            bit += width;
            (at, bit) = (at + bit / 8, bit % 8);
            continue;
        }
        let (size, alignment) = match kind {
            "u8" => (1, 1),
            "u16" | "be16" => (2, 2),
            "u32" => (4, 4),
            "u64" => (8, 8),
            "cookie" => (8, 4),
            "addr" => (16, 4),
            other => panic!("{other}"),
        };
        at = at.next_multiple_of(alignment);
        let Some(raw) = bytes.get(at..at + size) else {
            return;
        };
        let value = match kind {
            "u64" | "cookie" => Value::U64(native(raw)),
            "be16" => Value::U32(u32::from(u16::from_be_bytes([raw[0], raw[1]]))),
            "addr" => Value::Bytes(raw.to_vec().into()),
            _ => small(native(raw)),
        };
        values.insert(format!("{prefix}_{name}"), value);
        at += size;
    }
}

/// Attributes by number, and whether bytes were left over.
fn attributes_of(mut bytes: &[u8]) -> (BTreeMap<u16, &[u8]>, bool) {
    let mut found = BTreeMap::new();
    loop {
        if bytes.len() < 4 {
            return (found, !bytes.is_empty());
        }
        let length = usize::try_from(native(&bytes[..2])).unwrap();
        if length < 4 || length > bytes.len() {
            return (found, true);
        }
        let number = u16::try_from(native(&bytes[2..4]) & 0x3fff).unwrap();
        found.insert(number, &bytes[4..length]);
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
}

/// A number, if it has one of the lengths that kernels use for it.
fn number(bytes: &[u8]) -> Value {
    match bytes.len() {
        1 | 2 | 4 => small(native(bytes)),
        _ => Value::U32(0),
    }
}

fn wide(bytes: &[u8]) -> Value {
    Value::U64(bytes.get(..8).map_or(0, native))
}

/// A name of 1 to 16 printable characters.
fn name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes.split(|b| *b == 0).next().unwrap()).ok()?;
    let printable = text.chars().all(|c| ('!'..='~').contains(&c));
    (printable && !text.is_empty() && text.len() <= 16).then(|| text.to_owned())
}

/// What a row must hold, and whether the message was malformed. `wanted`: the attributes asked for.
fn expected(message: &[u8], wanted: &[u16]) -> (Values, bool) {
    let mut values = Values::new();
    members(&mut values, "inet_diag_msg", INET_DIAG_MSG, &message[..72]);
    let (mut there, malformed) = attributes_of(&message[72..]);
    there.retain(|number, _| wanted.contains(number));
    let bits = there.keys().map(|number| 1u32 << number).sum();
    values.insert("inet_diag_attributes".into(), Value::U32(bits));
    for (attribute, bytes) in there {
        // Structures other than tcp_info are made of 32-bit words.
        let words = &bytes[..bytes.len() & !3];
        let mut put = |name: &str, value| values.insert(name.to_owned(), value);
        match attribute {
            1 => members(&mut values, "mem_info", MEMINFO, words),
            2 => {
                put("tcp_info_length_bytes", small(bytes.len() as u64));
                members(&mut values, "tcp_info", TCP_INFO, bytes);
            }
            3 => members(&mut values, "vegas_info", VEGAS, words),
            4 => {
                if let Some(name) = name(bytes) {
                    let algorithm = match &*name {
                        "cubic" => 1,
                        "dctcp" => 2,
                        "vegas" => 3,
                        "prague" => 4,
                        "bbr" => 5,
                        "bbr2" => 6,
                        "bbr3" => 7,
                        _ => 0,
                    };
                    put("congestion_algorithm_string", Value::String(name));
                    put("congestion_algorithm_enum", Value::EnumNumber(algorithm));
                }
            }
            5 => drop(put("type_of_service", number(bytes))),
            6 => drop(put("traffic_class", number(bytes))),
            7 => members(&mut values, "sk_mem_info", SKMEMINFO, words),
            8 => drop(put("shutdown_state", number(bytes))),
            9 => members(&mut values, "dctcp_info", DCTCP, words),
            11 => drop(put("sk_v6only", number(bytes))),
            15 => drop(put("sk_mark", number(bytes))),
            16 => members(&mut values, "bbr_info", BBR, words),
            17 => drop(put("class_id", number(bytes))),
            18 => drop(put("md5sig_keys", small(bytes.len() as u64 / 100))),
            19 => {
                let (ulp, _) = attributes_of(bytes);
                if let Some(name) = ulp.get(&1).and_then(|bytes| name(bytes)) {
                    put("ulp_name", Value::String(name));
                }
                for (protocol, names, at) in [("tls", &TLS[..], 2), ("mptcp", &MPTCP[..], 3)] {
                    let (nested, _) = attributes_of(ulp.get(&at).copied().unwrap_or_default());
                    for (i, member) in names.iter().enumerate() {
                        if let Some(bytes) = nested.get(&u16::try_from(i + 1).unwrap()) {
                            let value = match *member {
                                "map_seq" => wide(bytes),
                                // Flags, without a value.
                                "zc_ro_tx" | "rx_no_pad" => number(&[1]),
                                _ => number(bytes),
                            };
                            put(&format!("ulp_{protocol}_{member}"), value);
                        }
                    }
                }
            }
            21 => drop(put("c_group", wide(bytes))),
            22 => drop(put("sock_opt", number(bytes))),
            other => panic!("attribute {other} is asked for, but has no field"),
        }
    }
    for (name, value) in [
        ("schema_version", Value::U32(1)),
        ("daemon_version", Value::String("0.1.0".into())),
        ("timestamp_ns", Value::I64(1_763_925_000_123_456_789)),
        ("hostname", Value::String("host.example".into())),
        ("location", Value::String("rack 7".into())),
        ("netns", Value::String("/run/netns/blue".into())),
        ("netns_inode", Value::U64(4_026_532_321)),
        ("label", Value::String("größe".into())),
        ("tag", Value::String("tag".into())),
        ("socket_fd", Value::U64(9)),
        ("instance_id", Value::U64(0xfedc_ba98_7654_3210)),
        ("poll_sequence", Value::U64(3)),
        ("netns_cookie", Value::U64(1 << 40)),
    ] {
        values.insert(name.to_owned(), value);
    }
    // proto3 does not write zeros; the bits without a member are no field.
    values.retain(|name, value| {
        !name.ends_with("_-") && !matches!(value, Value::U32(0) | Value::U64(0) | Value::EnumNumber(0))
    });
    (values, malformed)
}

const ALL: [u16; 17] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 16, 17, 18, 19, 21, 22];

#[test]
fn random_messages_are_encoded_as_prost_does() {
    let record = record();
    let default: Vec<u16> = ALL.into_iter().filter(|number| *number != 1).collect();
    let mut encoders = [
        ("all", &ALL[..]),
        ("default", &default),
        ("none", &[]),
        ("info,bbr", &[2, 11, 16]),
    ]
    .map(|(names, wanted)| (encoder(names.parse().unwrap()), wanted, 0));
    let mut seen = BTreeSet::new();
    for seed in 0..MESSAGES {
        let mut random = Random(seed);
        let message = anything(&mut random);
        // Mostly all attributes, now and then a choice of them.
        let choice = random.below(10).saturating_sub(6);
        let (encoder, wanted, malformed) = &mut encoders[choice];
        let ours = row(encoder, &message, seed + 1);

        let theirs = DynamicMessage::decode(record.clone(), &*ours)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(theirs.unknown_fields().count(), 0, "seed {seed}");
        let got: Values = theirs
            .fields()
            .map(|(field, value)| (field.name().to_owned(), value.clone()))
            .collect();
        let (mut want, was_malformed) = expected(&message, wanted);
        want.insert("record_counter".into(), Value::U64(seed + 1));
        for name in want.keys().chain(got.keys()) {
            assert_eq!(got.get(name), want.get(name), "seed {seed}: {name}");
        }
        seen.extend(got.into_keys());
        assert_eq!(
            theirs.encode_to_vec(),
            ours,
            "seed {seed}: the values are right, but not the bytes"
        );

        *malformed += u64::from(was_malformed);
        assert_eq!(
            encoder.anomalies().attributes_malformed,
            *malformed,
            "seed {seed}"
        );
        assert_eq!(encoder.anomalies().overflowed, 0, "seed {seed}");
    }
    for field in FIELDS.iter().filter(|field| field.source != Source::Unset) {
        assert!(seen.contains(field.name), "no message brought {}", field.name);
    }
}

#[test]
fn envelopes_are_encoded_as_prost_does_by_either_proto() {
    let schemas = [
        "proto/xtcp_flat_record.proto",
        "proto/clickhouse/XtcpFlatRecord.proto",
    ]
    .map(|file| message_of(file, "xtcp_flat_record.v1.Envelope"));
    let mut encoder = encoder("all".parse().unwrap());
    let mut random = Random(1);
    let mut envelope = Envelope::new(100, 100_000);
    let (mut counter, mut read) = (0, 0);
    let mut check = |closed: Closed<'_>| {
        let mut again = Vec::new();
        for schema in &schemas {
            let theirs = delimited(schema, closed.delimited);
            assert_eq!(theirs.encode_to_vec(), closed.envelope);
            assert_eq!(theirs.encode_length_delimited_to_vec(), closed.delimited);
            again.push(theirs);
        }
        let rows = again[0].get_field_by_name("row").unwrap();
        let rows = rows.as_list().unwrap();
        assert_eq!(rows.len(), usize::try_from(closed.rows).unwrap());
        for row in rows {
            read += 1;
            let counter = row.as_message().unwrap().get_field_by_name("record_counter");
            assert_eq!(counter.unwrap().as_u64(), Some(read));
        }
    };
    for _ in 0..2_500 {
        let message = anything(&mut random);
        counter += 1;
        let length = encoder.row(&InetDiagMsg::new(&message).unwrap(), counter, envelope.room());
        envelope.push(length, &mut check);
    }
    envelope.close(&mut check);
    assert_eq!(read, counter, "rows got lost between envelopes");
}

/// Reads one length-delimited message that takes all the bytes.
fn delimited(schema: &MessageDescriptor, mut bytes: &[u8]) -> DynamicMessage {
    let mut message = DynamicMessage::new(schema.clone());
    message.merge_length_delimited(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "the length prefix is too short");
    message
}
