//! Captures of what the kernel at hand lacks, made from the kernel's headers: information of
//! congestion controls that are not built in, tcp_info of other lengths, upper-layer protocols.
//! They are committed like recordings; this shows that they are what is written here.
//! `XTCP2_WRITE_FIXTURES=1 cargo test --test handmade` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;
mod messages;

use common::captures;
use messages::{RECORDED, push_attribute};
use std::{env, path::Path};
use xtcp2::netlink::inet_diag::{INET_DIAG_MSG_BYTES, attribute};

/// A made-up namespace; the capture says by its name that it is.
const NETNS: &str = "made by hand";

/// The recorded connection's header, with a cookie of its own, and attributes beside these.
fn without(numbers: &[u8], cookie: u32) -> Vec<u8> {
    let mut message = RECORDED[..INET_DIAG_MSG_BYTES].to_vec();
    message[44..48].copy_from_slice(&cookie.to_ne_bytes());
    message[64..68].copy_from_slice(&(1000 + cookie).to_ne_bytes());
    let mut rest = &RECORDED[INET_DIAG_MSG_BYTES..];
    while let [low, high, number, _, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        if !numbers.contains(&number) {
            push_attribute(&mut message, number.into(), &rest[4..length]);
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    message
}

fn with(cookie: u32, attributes: &[(u8, &[u8])]) -> Vec<u8> {
    use attribute::{BBRINFO, CONG, INFO};
    let replaced: Vec<u8> = match attributes.iter().any(|(number, _)| *number == CONG) {
        true => vec![BBRINFO, CONG],
        false => vec![INFO],
    };
    let mut message = without(&replaced, cookie);
    for (number, value) in attributes {
        push_attribute(&mut message, (*number).into(), value);
    }
    message
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct tcpvegas_info`, `struct tcp_dctcp_info` (include/uapi/linux/inet_diag.h), and names.
fn congestion() -> Vec<Vec<u8>> {
    use attribute::{CONG, DCTCPINFO, VEGASINFO};
    // Two 16-bit numbers in front: enabled, ce_state.
    let dctcp = |enabled: u16, ce_state: u16| {
        let mut info = [enabled.to_ne_bytes(), ce_state.to_ne_bytes()].concat();
        info.extend(words(&[512, 70_000, 1_400_000]));
        info
    };
    vec![
        with(1, &[(CONG, b"vegas\0"), (VEGASINFO, &words(&[1, 17, 230, 190]))]),
        with(
            2,
            &[
                (CONG, b"vegas\0"),
                (VEGASINFO, &words(&[0, 3, 0x7fff_ffff, 0x7fff_ffff])),
            ],
        ),
        with(3, &[(CONG, b"dctcp\0"), (DCTCPINFO, &dctcp(1, 1))]),
        // Without ECN it falls back to reno.
        with(4, &[(CONG, b"dctcp-reno\0"), (DCTCPINFO, &dctcp(0, 0))]),
        with(
            5,
            &[
                (CONG, b"illinois\0"),
                (VEGASINFO, &words(&[1, 9, 410, 0x7fff_ffff])),
            ],
        ),
        with(6, &[(CONG, b"prague\0")]),
        with(7, &[(CONG, b"bbr2\0")]),
        with(8, &[(CONG, b"bbr3\0")]),
    ]
}

/// The lengths that kernels gave `struct tcp_info`: 104 before 3.15, then members were added at
/// the end; 248 is 6.7's, 280 is 6.18's, 304 is none yet.
const TCP_INFO_LENGTHS: [usize; 12] = [104, 120, 136, 144, 160, 192, 224, 232, 240, 248, 280, 304];

fn tcp_info_lengths() -> Vec<Vec<u8>> {
    // Each byte another, the options and states of a connection in front.
    let mut info: Vec<u8> = (0..304u32).map(|i| (i * 37 % 251) as u8).collect();
    info[..8].copy_from_slice(&[1, 2, 3, 1, 2, 0x1f, 0xa7, 0x05]);
    // Numbers have their high bytes at 0, as most have.
    for word in info[8..104].chunks_exact_mut(4) {
        word[3] = 0;
    }
    let lengths = TCP_INFO_LENGTHS.iter().zip(1..);
    let mut all: Vec<Vec<u8>> = lengths
        .map(|(&length, cookie)| with(cookie, &[(attribute::INFO, &info[..length])]))
        .collect();
    all.push(without(&[attribute::INFO], 100));
    all
}

/// INET_DIAG_ULP_INFO: a name, and nested in it the information (include/uapi/linux/tls.h,
/// mptcp.h). Numbers of TLS have 16 bits.
fn upper_layers() -> Vec<Vec<u8>> {
    let nest = |name: &[u8], number: u16, members: &[(u16, Vec<u8>)]| {
        let mut inner = Vec::new();
        for (number, value) in members {
            push_attribute(&mut inner, *number, value);
        }
        let mut info = Vec::new();
        push_attribute(&mut info, 1, name);
        if number != 0 {
            push_attribute(&mut info, number, &inner);
        }
        info
    };
    // Version, cipher, txconf, rxconf; then flags without a value: zc_ro_tx (5), rx_no_pad (6).
    let tls = |numbers: [u16; 4], flags: &[u16]| {
        let numbers = numbers.into_iter().zip(1..);
        let mut members: Vec<(u16, Vec<u8>)> = numbers
            .map(|(value, number): (u16, u16)| (number, value.to_ne_bytes().to_vec()))
            .collect();
        members.extend(flags.iter().map(|flag| (*flag, Vec::new())));
        nest(b"tls\0", 2, &members)
    };
    let four = |value: u32| value.to_ne_bytes().to_vec();
    let mptcp = nest(
        b"mptcp\0",
        3,
        &[
            (1, four(0x1234_5678)),
            (2, four(0x9abc_def0)),
            (3, four(1)),
            (4, 0xfedc_ba98_7654_3210u64.to_ne_bytes().to_vec()),
            (5, four(77)),
            (6, four(88)),
            (7, 99u16.to_ne_bytes().to_vec()),
            (8, four(0x1ff)),
            (9, vec![3]),
            (10, vec![200]),
        ],
    );
    let infos = [
        tls([0x0303, 51, 2, 2], &[]),
        tls([0x0304, 52, 3, 1], &[5]),
        tls([0x0304, 54, 4, 4], &[5, 6]),
        mptcp,
        nest(b"espintcp\0", 0, &[]),
    ];
    let numbered = infos.iter().zip(1..);
    numbered
        .map(|(info, cookie)| {
            let mut message = without(&[attribute::ULP_INFO], cookie);
            push_attribute(&mut message, attribute::ULP_INFO.into(), info);
            message
        })
        .collect()
}

fn check(name: &str, replies: &[Vec<u8>]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    if env::var_os("XTCP2_WRITE_FIXTURES").is_some() {
        captures::write(&file, NETNS, replies);
    }
    let committed: Vec<Vec<u8>> = captures::replies(&file)
        .into_iter()
        .map(|(_, reply)| reply)
        .collect();
    assert!(committed == replies, "{name} is not what this test makes");
}

#[test]
fn congestion_controls() {
    check("handmade-congestion.pcapng", &congestion());
}

#[test]
fn lengths_of_tcp_info() {
    check("handmade-tcp-info-lengths.pcapng", &tcp_info_lengths());
}

#[test]
fn upper_layer_protocols() {
    check("handmade-upper-layers.pcapng", &upper_layers());
}
