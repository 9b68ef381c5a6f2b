//! netlink-packet-sock-diag as a second decoder of recorded bytes.
//!
//! It knows the message type of one-family dumps only, which it is given here whatever the
//! recording was, and refuses a tcp_info shorter than 232 bytes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;
mod messages;

use common::captures;
use messages::{RECORDED, Random, encoder, row, varied};
use netlink_packet_core::{Nla as _, ParseableParametrized};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    inet::{
        InetResponse, Timer,
        nlas::{Nla, TcpInfo},
    },
};
use std::net::IpAddr;
use xtcp2::{
    netlink::inet_diag::{Attributes, InetDiagMsg, SOCK_DIAG_BY_FAMILY, attribute},
    record::{FIELDS, Row, Value},
};

fn value<'a>(row: &'a Row<'a>, name: &str) -> Option<Value<'a>> {
    row.get(FIELDS.iter().position(|field| field.name == name).unwrap())
}

/// Checks that the row has these numbers.
fn numbers(row: &Row<'_>, prefix: &str, expected: &[(&str, u64)]) {
    for &(name, number) in expected {
        let name = format!("{prefix}_{name}");
        assert_eq!(value(row, &name), Some(Value::Uint(number)), "{name}");
    }
}

fn compare(message: &[u8]) {
    let Ok(SockDiagMessage::InetResponse(theirs)) =
        SockDiagMessage::parse_with_param(message, SOCK_DIAG_BY_FAMILY)
    else {
        panic!("not an inet response");
    };
    let bytes = row(&mut encoder(Attributes::ALL), message, 1);
    let ours = Row::decode(&bytes).unwrap();
    compare_header(&theirs, &ours);
    for nla in &theirs.nlas {
        match nla {
            Nla::LegacyMemInfo(info) => numbers(
                &ours,
                "mem_info",
                &[
                    ("rmem", info.receive_queue.into()),
                    ("wmem", info.bottom_send_queue.into()),
                    ("fmem", info.cache.into()),
                    ("tmem", info.send_queue.into()),
                ],
            ),
            Nla::TcpInfo(info) => compare_tcp_info(info, &ours),
            Nla::Congestion(name) => {
                assert_eq!(
                    value(&ours, "congestion_algorithm_string"),
                    Some(Value::Text(name))
                );
            }
            Nla::Tos(tos) => numbers(&ours, "type_of", &[("service", (*tos).into())]),
            Nla::Tc(class) => numbers(&ours, "traffic", &[("class", (*class).into())]),
            Nla::MemInfo(info) => numbers(
                &ours,
                "sk_mem_info",
                &[
                    ("rmem_alloc", info.receive_queue.into()),
                    ("rcv_buf", info.receive_queue_max.into()),
                    ("wmem_alloc", info.bottom_send_queues.into()),
                    ("snd_buf", info.send_queue_max.into()),
                    ("fwd_alloc", info.cache.into()),
                    ("wmem_queued", info.send_queue.into()),
                    ("optmem", info.options.into()),
                    ("backlog", info.backlog_queue_length.into()),
                    ("drops", info.drops.into()),
                ],
            ),
            Nla::Shutdown(state) => numbers(&ours, "shutdown", &[("state", (*state).into())]),
            Nla::SkV6Only(only) => numbers(&ours, "sk", &[("v6only", (*only).into())]),
            Nla::Mark(mark) => numbers(&ours, "sk", &[("mark", (*mark).into())]),
            Nla::ClassId(class) => numbers(&ours, "class", &[("id", (*class).into())]),
            // The row has no field for the protocol: it is always TCP.
            Nla::Protocol(protocol) => assert_eq!(*protocol, 6),
            // It gives these as bytes only.
            Nla::Other(other) => assert_eq!(
                ours.uint(74) >> other.kind() & 1,
                u64::from(Attributes::ALL.contains(u8::try_from(other.kind()).unwrap())),
                "attribute {}",
                other.kind()
            ),
        }
    }
}

fn compare_header(theirs: &InetResponse, ours: &Row<'_>) {
    let header = &theirs.header;
    let id = &header.socket_id;
    numbers(
        ours,
        "inet_diag_msg",
        &[
            ("family", header.family.into()),
            ("state", header.state.into()),
            ("socket_source_port", id.source_port.into()),
            ("socket_destination_port", id.destination_port.into()),
            ("socket_interface", id.interface_id.into()),
            ("socket_cookie", u64::from_ne_bytes(id.cookie)),
            ("rqueue", header.recv_queue.into()),
            ("wqueue", header.send_queue.into()),
            ("uid", header.uid.into()),
            ("inode", header.inode.into()),
        ],
    );
    for (name, address) in [
        ("source", id.source_address),
        ("destination", id.destination_address),
    ] {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes = address.octets(),
        }
        assert_eq!(
            value(ours, &format!("inet_diag_msg_socket_{name}")),
            Some(Value::Bytes(&bytes))
        );
    }
    let (timer, expires) = match &header.timer {
        None => (0, None),
        Some(Timer::Retransmit(expires, retransmits)) => {
            numbers(ours, "inet_diag_msg", &[("retrans", (*retransmits).into())]);
            (1, Some(expires))
        }
        Some(Timer::KeepAlive(expires)) => (2, Some(expires)),
        Some(Timer::TimeWait) => (3, None),
        Some(Timer::Probe(expires)) => (4, Some(expires)),
    };
    numbers(ours, "inet_diag_msg", &[("timer", timer)]);
    if let Some(expires) = expires {
        let expires = u64::try_from(expires.as_millis()).unwrap();
        numbers(ours, "inet_diag_msg", &[("expires", expires)]);
    }
}

fn compare_tcp_info(info: &TcpInfo, ours: &Row<'_>) {
    let limits = u64::from(info.delivery_rate_app_limited);
    numbers(
        ours,
        "tcp_info",
        &[
            ("state", info.state.into()),
            ("ca_state", info.ca_state.into()),
            ("retransmits", info.retransmits.into()),
            ("probes", info.probes.into()),
            ("backoff", info.backoff.into()),
            ("options", info.options.into()),
            ("send_scale", (info.wscale & 15).into()),
            ("rcv_scale", (info.wscale >> 4).into()),
            ("delivery_rate_app_limited", limits & 1),
            ("fast_open_client_failed", limits >> 1 & 3),
            ("rto", info.rto.into()),
            ("ato", info.ato.into()),
            ("snd_mss", info.snd_mss.into()),
            ("rcv_mss", info.rcv_mss.into()),
            ("unacked", info.unacked.into()),
            ("sacked", info.sacked.into()),
            ("lost", info.lost.into()),
            ("retrans", info.retrans.into()),
            ("fackets", info.fackets.into()),
            ("last_data_sent", info.last_data_sent.into()),
            ("last_ack_sent", info.last_ack_sent.into()),
            ("last_data_recv", info.last_data_recv.into()),
            ("last_ack_recv", info.last_ack_recv.into()),
            ("pmtu", info.pmtu.into()),
            ("rcv_ssthresh", info.rcv_ssthresh.into()),
            ("rtt", info.rtt.into()),
            ("rtt_var", info.rttvar.into()),
            ("snd_ssthresh", info.snd_ssthresh.into()),
            ("snd_cwnd", info.snd_cwnd.into()),
            ("adv_mss", info.advmss.into()),
            ("reordering", info.reordering.into()),
            ("rcv_rtt", info.rcv_rtt.into()),
            ("rcv_space", info.rcv_space.into()),
            ("total_retrans", info.total_retrans.into()),
            ("pacing_rate", info.pacing_rate),
            ("max_pacing_rate", info.max_pacing_rate),
            ("bytes_acked", info.bytes_acked),
            ("bytes_received", info.bytes_received),
            ("segs_out", info.segs_out.into()),
            ("segs_in", info.segs_in.into()),
            ("not_sent_bytes", info.notsent_bytes.into()),
            ("min_rtt", info.min_rtt.into()),
            ("data_segs_in", info.data_segs_in.into()),
            ("data_segs_out", info.data_segs_out.into()),
            ("delivery_rate", info.delivery_rate),
            ("busy_time", info.busy_time),
            ("rwnd_limited", info.rwnd_limited),
            ("sndbuf_limited", info.sndbuf_limited),
            ("delivered", info.delivered.into()),
            ("delivered_ce", info.delivered_ce.into()),
            ("bytes_sent", info.bytes_sent),
            ("bytes_retrans", info.bytes_retrans),
            ("dsack_dups", info.dsack_dups.into()),
            ("reord_seen", info.reord_seen.into()),
            ("rcv_ooopack", info.rcv_ooopack.into()),
            ("snd_wnd", info.snd_wnd.into()),
        ],
    );
}

#[test]
fn a_recorded_connection_is_read_alike() {
    compare(RECORDED);
}

#[test]
fn so_are_its_variations() {
    let mut random = Random(7);
    for _ in 0..512 {
        compare(&varied(&mut random));
    }
}

/// Its shortest tcp_info, bytes; it refuses replies with a shorter one.
const TCP_INFO_BYTES_LEAST: usize = 232;

#[test]
fn so_are_the_recorded_fixtures() {
    let mut compared = 0;
    for fixture in captures::fixtures() {
        for (_, reply) in captures::replies(&fixture) {
            let info = InetDiagMsg::new(&reply)
                .unwrap()
                .attributes()
                .get(attribute::INFO);
            if info.is_none_or(|info| info.len() >= TCP_INFO_BYTES_LEAST) {
                compare(&reply);
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared} replies compared");
}
