//! Netlink messages, and the files that hold them.

use crate::{Damage, damaged};
use xtcp2::{
    capture::{CaptureReader, Direction, Namespace, Recorder, Replay},
    netlink::{
        inet_diag::{INET_DIAG_MSG_BYTES, States, dump_both_families},
        message::{ATTRIBUTE_HEADER_BYTES, MESSAGE_HEADER_BYTES, Messages, attributes},
    },
};

/// A reply with three attributes, 7, 8 and 9 bytes of value, and the end of the dump.
fn valid_datagram() -> Vec<u8> {
    let mut datagram = vec![0; MESSAGE_HEADER_BYTES + INET_DIAG_MSG_BYTES];
    for (number, length) in [(2_u16, 7_u16), (7, 8), (4, 9)] {
        datagram.extend((length + 4).to_ne_bytes());
        datagram.extend(number.to_ne_bytes());
        datagram.extend(&[0xaa; 12][..usize::from(length).next_multiple_of(4)]);
    }
    let length = u32::try_from(datagram.len()).unwrap();
    datagram[0..4].copy_from_slice(&length.to_ne_bytes());
    datagram[4..6].copy_from_slice(&20_u16.to_ne_bytes()); // type: SOCK_DIAG_BY_FAMILY
    datagram[6..8].copy_from_slice(&2_u16.to_ne_bytes()); // flags: NLM_F_MULTI
    datagram[12] = 1; // port id
    datagram[16] = 2; // AF_INET
    let end = datagram.len();
    datagram.resize(end + 20, 0);
    datagram[end..end + 4].copy_from_slice(&20_u32.to_ne_bytes());
    datagram[end + 4..end + 6].copy_from_slice(&3_u16.to_ne_bytes()); // type: NLMSG_DONE
    datagram
}

fn walk_messages(received: &[u8]) {
    let mut bytes_seen = 0;
    let mut messages = Messages::new(received);
    for message in messages.by_ref() {
        let Ok(message) = message else { break };
        bytes_seen += MESSAGE_HEADER_BYTES + message.payload.len();
        walk_attributes(message.payload);
    }
    assert!(bytes_seen <= received.len());
    assert_eq!(messages.next(), None, "the walk goes on behind its end");
}

fn walk_attributes(bytes: &[u8]) {
    let mut bytes_seen = 0;
    let mut walk = attributes(bytes);
    for attribute in walk.by_ref() {
        let Ok(attribute) = attribute else { break };
        bytes_seen += ATTRIBUTE_HEADER_BYTES + attribute.value.len();
    }
    assert!(bytes_seen <= bytes.len());
    assert_eq!(walk.next(), None, "the walk goes on behind its end");
}

#[test]
fn netlink_messages() {
    target!().for_each(|received: &[u8]| {
        walk_messages(received);
        walk_attributes(received);
    });
}

#[test]
fn netlink_messages_damaged() {
    let valid = valid_datagram();
    target!().with_type::<Damage>().for_each(|damage| {
        let received = damaged(&valid, damage);
        walk_messages(&received);
        let body = MESSAGE_HEADER_BYTES + INET_DIAG_MSG_BYTES;
        walk_attributes(received.get(body..).unwrap_or_default());
    });
}

fn replay(file: &[u8]) {
    let Ok(reader) = CaptureReader::new(String::new(), file) else {
        return;
    };
    let mut replay = Replay::new(reader);
    let mut payload_bytes = 0;
    while let Ok(Some(replies)) = replay.next_datagram() {
        payload_bytes += replies.map(|reply| reply.bytes().len()).sum::<usize>();
    }
    assert!(payload_bytes <= file.len());
    let counts = replay.packet_counts();
    let skipped = counts.other_link_type + counts.other_family + counts.no_header + counts.too_large;
    assert_eq!(counts.packets, counts.datagrams + skipped);
}

fn valid_pcapng() -> Vec<u8> {
    let mut file = Vec::new();
    let mut recorder = Recorder::new(&mut file, "Linux").unwrap();
    let request = dump_both_families(0xff, States::ALL, 1);
    for name in ["/run/netns/a", "/run/netns/b"] {
        let netns = Namespace { name, cookie: 1 };
        for (direction, payload) in [
            (Direction::ToKernel, &request[..]),
            (Direction::ToUser, &valid_datagram()),
        ] {
            recorder.datagram(1, direction, netns, payload).unwrap();
        }
    }
    file
}

/// The same datagrams in the classic format.
fn valid_pcap() -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]; // magic, version
    file.extend([0; 8]); // time zone, accuracy
    file.extend([0, 0, 4, 0, 253, 0, 0, 0]); // snapshot length, link type
    for payload in [&dump_both_families(0xff, States::ALL, 1)[..], &valid_datagram()] {
        let length = u32::try_from(16 + payload.len()).unwrap().to_le_bytes();
        file.extend([1, 0, 0, 0, 2, 0, 0, 0]); // seconds, microseconds
        file.extend([length, length].concat()); // in the file, on the wire
        file.extend([0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
        file.extend(payload);
    }
    file
}

#[test]
fn capture_of_any_bytes() {
    target!().for_each(replay);
}

#[test]
fn capture_pcapng_damaged() {
    let valid = valid_pcapng();
    target!()
        .with_type::<Damage>()
        .for_each(|damage| replay(&damaged(&valid, damage)));
}

#[test]
fn capture_pcap_damaged() {
    let valid = valid_pcap();
    target!()
        .with_type::<Damage>()
        .for_each(|damage| replay(&damaged(&valid, damage)));
}

/// Damage to an input that is not valid to begin with would test nothing.
#[test]
fn valid_inputs_are_valid() {
    assert_eq!(Messages::new(&valid_datagram()).filter_map(Result::ok).count(), 2);
    for (file, expected) in [(valid_pcapng(), 2), (valid_pcap(), 1)] {
        let mut replay = Replay::new(CaptureReader::new(String::new(), file.as_slice()).unwrap());
        let mut found = 0;
        while let Some(replies) = replay.next_datagram().unwrap() {
            found += replies.count();
        }
        assert_eq!(found, expected);
    }
}
