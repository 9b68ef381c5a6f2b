//! How a field looks to people, in json, csv and tsv: addresses, states and times as text.

use super::json_mapping::put_integer;
use crate::{
    netlink::inet_diag::{AF_INET, AF_INET6, STATE_NAMES},
    record::{CONGESTION_ALGORITHMS, FIELDS, Row, Value},
};
use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

const TIMESTAMP_NS: u32 = 10;
const FAMILY: u32 = 1001;
const STATE: u32 = 1002;
const TIMER: u32 = 1003;
const TCP_INFO_STATE: u32 = 1201;

/// Values of `idiag_timer` (net/ipv4/inet_diag.c), in the words of `ss`.
const TIMER_NAMES: [&str; 5] = ["none", "on", "keepalive", "timewait", "persist"];

/// A value as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    Number(u64),
    Negative(i64),
    Text(&'a str),
    Address(IpAddr),
    /// Nanoseconds since 1970; RFC 3339, UTC.
    Time(u64),
}

/// The field at `index` of the table, with a zero where the kernel said zero; `None` where it
/// said nothing. What has a number but no name is shown as the number.
pub(super) fn shown<'a>(row: &Row<'a>, index: usize) -> Option<Shown<'a>> {
    let named = |name: Option<&'static str>, number| name.map_or(Shown::Number(number), Shown::Text);
    Some(match (FIELDS.get(index)?.number, row.get(index)?) {
        (FAMILY, Value::Uint(number)) => named(family_name(number), number),
        (STATE | TCP_INFO_STATE, Value::Uint(number)) => named(state_name(number), number),
        (TIMER, Value::Uint(number)) => named(timer_name(number), number),
        (TIMESTAMP_NS, Value::Int(number)) => {
            u64::try_from(number).map_or(Shown::Negative(number), Shown::Time)
        }
        (_, Value::Uint(number)) => Shown::Number(number),
        (_, Value::Int(number)) => u64::try_from(number).map_or(Shown::Negative(number), Shown::Number),
        (_, Value::Text(text)) => Shown::Text(text),
        (_, Value::Bytes(bytes)) => Shown::Address(address(row.uint(FAMILY), bytes)?),
        (_, Value::Congestion(number)) => named(congestion_name(number), number.into()),
    })
}

impl Shown<'_> {
    /// Appends it without quotes or escapes.
    pub fn put(self, out: &mut Vec<u8>) {
        // A Vec takes every write.
        let _ = match self {
            Shown::Number(number) => return put_integer(out, number),
            Shown::Negative(number) => return put_integer(out, number),
            Shown::Text(text) => return out.extend_from_slice(text.as_bytes()),
            Shown::Address(address) => write!(out, "{address}"),
            Shown::Time(ns) => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
                write!(out, "{}", humantime::format_rfc3339_nanos(time))
            }
        };
    }
}

fn family_name(number: u64) -> Option<&'static str> {
    match u8::try_from(number) {
        Ok(AF_INET) => Some("IPv4"),
        Ok(AF_INET6) => Some("IPv6"),
        _ => None,
    }
}

fn state_name(number: u64) -> Option<&'static str> {
    let known = STATE_NAMES.iter().find(|known| u64::from(known.1) == number);
    known.map(|known| known.0)
}

fn timer_name(number: u64) -> Option<&'static str> {
    TIMER_NAMES.get(usize::try_from(number).ok()?).copied()
}

fn congestion_name(number: u32) -> Option<&'static str> {
    let known = CONGESTION_ALGORITHMS
        .iter()
        .find(|known| known.0 == number && number != 0);
    known.map(|known| known.2)
}

/// The first 4 of the 16 bytes for IPv4, all 16 for any other family.
fn address(family: u64, bytes: &[u8]) -> Option<IpAddr> {
    if family == u64::from(AF_INET) {
        let first: [u8; 4] = *bytes.first_chunk()?;
        Some(Ipv4Addr::from(first).into())
    } else {
        let all: [u8; 16] = bytes.try_into().ok()?;
        Some(Ipv6Addr::from(all).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::index_of;

    #[test]
    fn the_numbers_are_those_of_the_table() {
        for (number, name) in [
            (TIMESTAMP_NS, "timestamp_ns"),
            (FAMILY, "inet_diag_msg_family"),
            (STATE, "inet_diag_msg_state"),
            (TIMER, "inet_diag_msg_timer"),
            (TCP_INFO_STATE, "tcp_info_state"),
        ] {
            assert_eq!(FIELDS[index_of(number).unwrap()].name, name);
        }
    }

    fn put(shown: Shown<'_>) -> String {
        let mut out = Vec::new();
        shown.put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_have_all_nine_digits() {
        assert_eq!(put(Shown::Time(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            put(Shown::Time(1_795_469_636_123_456_789)),
            "2026-11-23T21:33:56.123456789Z"
        );
        assert_eq!(
            put(Shown::Time(951_782_400_000_000_000)),
            "2000-02-29T00:00:00.000000000Z"
        );
        let last = i64::MAX.cast_unsigned();
        assert_eq!(put(Shown::Time(last)), "2262-04-11T23:47:16.854775807Z");
    }

    #[test]
    fn addresses_follow_the_family() {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[10, 99, 0, 1]);
        let put = |family, bytes: &[u8]| put(Shown::Address(address(family, bytes).unwrap()));
        assert_eq!(put(2, &bytes), "10.99.0.1");
        assert_eq!(put(10, &[0; 16]), "::");
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        assert_eq!(put(10, &mapped), "::ffff:192.0.2.1");
        assert_eq!(put(0, &bytes), "a63:1::");
        assert_eq!(address(2, &bytes[..3]), None);
        assert_eq!(address(10, &bytes[..15]), None);
    }

    #[test]
    fn what_has_no_name_stays_a_number() {
        assert_eq!(family_name(1), None);
        assert_eq!((state_name(12), state_name(13)), (Some("NEW_SYN_RECV"), None));
        assert_eq!((timer_name(4), timer_name(5)), (Some("persist"), None));
        assert_eq!((congestion_name(0), congestion_name(8)), (None, None));
        assert_eq!(congestion_name(5), Some("bbr"));
    }
}
