//! Kernel bytes to rows, and rows to messages of every format.

use crate::{
    Damage, damaged,
    messages::{self, RECORDED, encoder, push_attribute},
    proto,
};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value as Theirs};
use std::sync::LazyLock;
use xtcp2::{
    envelope::Closed,
    format::{Format, Formatter},
    netlink::inet_diag::{Attributes, INET_DIAG_MSG_BYTES, InetDiagMsg},
    record::{
        Encoder, FIELD_COUNT, FIELDS, Identity, NETNS_BYTES_MAX, Origin, ROW_BYTES_MAX, Row, TEXT_BYTES_MAX,
        Value, rows_of,
    },
};

/// Longest value of an attribute here: longer than the kernel's longest, and than what is copied.
const VALUE_BYTES_MAX: u16 = 600;

/// An encoder whose own texts are as long as they may be: there is no room to spare in its rows.
fn widest_encoder() -> Encoder {
    let text = || "ü".repeat(TEXT_BYTES_MAX);
    let identity = Identity {
        instance_id: u64::MAX,
        daemon_version: text(),
        hostname: text(),
        location: text(),
        label: text(),
        tag: text(),
    };
    let mut encoder = Encoder::new(identity, Attributes::ALL);
    encoder.enter(&Origin {
        timestamp_ns: -1,
        poll_sequence: u64::MAX,
        netns: &"n".repeat(2 * NETNS_BYTES_MAX),
        netns_inode: u64::MAX,
        netns_cookie: u64::MAX,
        socket_fd: u64::MAX,
    });
    encoder
}

/// The row as the .proto has it.
static RECORD: LazyLock<MessageDescriptor> = LazyLock::new(proto::record);

/// prost reads the same values out of a row as we do, knows every field of it, and writes the same bytes.
fn compare_with_prost(bytes: &[u8], row: &Row<'_>) {
    let theirs = DynamicMessage::decode(RECORD.clone(), bytes).expect("a message of the .proto");
    assert_eq!(theirs.unknown_fields().count(), 0);
    for (index, field) in FIELDS.iter().enumerate() {
        let value = theirs
            .get_field_by_name(field.name)
            .expect("a field of the .proto");
        let is_same = match (row.get(index), &*value) {
            (None, _) => !theirs.has_field_by_name(field.name),
            (Some(Value::Uint(ours)), Theirs::U32(theirs)) => ours == u64::from(*theirs),
            (Some(Value::Uint(ours)), Theirs::U64(theirs)) => ours == *theirs,
            (Some(Value::Int(ours)), Theirs::I64(theirs)) => ours == *theirs,
            (Some(Value::Text(ours)), Theirs::String(theirs)) => ours == theirs,
            (Some(Value::Bytes(ours)), Theirs::Bytes(theirs)) => ours == theirs,
            (Some(Value::Congestion(ours)), Theirs::EnumNumber(theirs)) => {
                i64::from(ours) == i64::from(*theirs)
            }
            _ => false,
        };
        assert!(is_same, "{}: {:?}, prost: {value:?}", field.name, row.get(index));
    }
    assert_eq!(theirs.encode_to_vec(), bytes);
}

/// Encodes a reply; whatever it is, its row has a bound and can be read back, by prost as well.
fn encode(encoder: &mut Encoder, reply: &[u8], room: &mut [u8]) {
    let Some(message) = InetDiagMsg::new(reply) else {
        return assert!(reply.len() < INET_DIAG_MSG_BYTES);
    };
    let length = encoder.row(&message, u64::MAX, room);
    assert!(length <= ROW_BYTES_MAX);
    let row = Row::decode(&room[..length]).expect("a row of our own");
    assert!((0..FIELD_COUNT).any(|index| row.get(index).is_some()));
    compare_with_prost(&room[..length], &row);
    assert_eq!(encoder.anomalies().overflowed, 0);
}

#[test]
fn any_reply() {
    let mut room = vec![0; ROW_BYTES_MAX];
    target!().for_each(|bytes: &[u8]| {
        let mut reply = vec![0; INET_DIAG_MSG_BYTES];
        let length = bytes.len().min(INET_DIAG_MSG_BYTES);
        reply[..length].copy_from_slice(&bytes[..length]);
        reply.extend(&bytes[length..]);
        encode(&mut widest_encoder(), &reply, &mut room);
        encode(&mut widest_encoder(), bytes, &mut room);
    });
}

/// Attributes with their headers in order, and anything in them: what random bytes rarely are.
#[test]
fn any_attributes() {
    let mut room = vec![0; ROW_BYTES_MAX];
    type Attribute = (u8, u16, Vec<u8>);
    target!()
        .with_type::<([u8; INET_DIAG_MSG_BYTES], Vec<Attribute>)>()
        .for_each(|(fixed, attributes)| {
            let mut reply = fixed.to_vec();
            for (number, length, pattern) in attributes {
                let length = usize::from(length % VALUE_BYTES_MAX);
                let value: Vec<u8> = pattern
                    .iter()
                    .chain(&[0xff])
                    .copied()
                    .cycle()
                    .take(length)
                    .collect();
                push_attribute(&mut reply, u16::from(number % 24), &value);
            }
            encode(&mut widest_encoder(), &reply, &mut room);
        });
}

#[test]
fn recorded_reply_damaged() {
    let mut room = vec![0; ROW_BYTES_MAX];
    target!()
        .with_type::<Damage>()
        .for_each(|damage| encode(&mut widest_encoder(), &damaged(RECORDED, damage), &mut room));
}

/// Reads rows, and writes them in each format; those that are no rows are counted.
fn read_and_write(envelope: &[u8]) {
    let mut bytes_seen = 0;
    let mut rows = 0;
    for row in rows_of(envelope) {
        let Ok(row) = row else { break };
        bytes_seen += row.len();
        rows += 1;
        if let Ok(row) = Row::decode(row) {
            assert_eq!(row.get(FIELD_COUNT), None);
            let _ = (0..FIELD_COUNT).filter_map(|index| row.get(index)).count();
        }
    }
    assert!(bytes_seen <= envelope.len());
    for (_, format) in Format::NAMES {
        // It hands the envelope out as it is, which is only right for those that the daemon closes.
        if format == Format::ProtobufList || rows == 0 {
            continue;
        }
        let mut formatter = Formatter::new(format, &[]).unwrap();
        let closed = Closed {
            delimited: envelope,
            envelope,
            rows,
        };
        let mut rows_out = 0;
        formatter.messages(&closed, 2000, &mut |rows, message| {
            assert!(!message.is_empty());
            rows_out += u64::from(rows);
        });
        assert_eq!(rows_out + formatter.malformed_rows(), u64::from(rows), "{format}");
    }
}

#[test]
fn any_row() {
    target!().for_each(|bytes: &[u8]| {
        let _ = Row::decode(bytes);
        read_and_write(bytes);
    });
}

#[test]
fn rows_damaged() {
    let row = messages::row(&mut encoder(Attributes::ALL), RECORDED, 1);
    let mut envelope = Vec::new();
    for _ in 0..2 {
        envelope.push(10 << 3 | 2);
        envelope.push(u8::try_from(row.len() & 0x7f | 0x80).unwrap());
        envelope.push(u8::try_from(row.len() >> 7).unwrap());
        envelope.extend(&row);
    }
    assert_eq!(rows_of(&envelope).filter_map(Result::ok).count(), 2);
    target!()
        .with_type::<Damage>()
        .for_each(|damage| read_and_write(&damaged(&envelope, damage)));
}
