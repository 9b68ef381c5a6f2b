//! A receive buffer of netlink messages, and the attributes of one of them, walked in place.
//!
//! Source: include/uapi/linux/netlink.h of Linux 6.18; numbers are in the machine's byte order.
//! Both walks end for good at the first thing that is malformed: where the next one starts is not
//! known then. Pass the bytes received, never the whole buffer: behind them lies the last read.

use std::fmt;

/// `NLMSG_NOOP`: to be ignored.
pub const NLMSG_NOOP: u16 = 1;
/// `NLMSG_ERROR`: an error, or an acknowledgement; see [`error_code`].
pub const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump, which may have failed; see [`done_error`].
pub const NLMSG_DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data was lost.
pub const NLMSG_OVERRUN: u16 = 4;

/// `NLM_F_REQUEST`: to the kernel. No reply carries it.
pub const NLM_F_REQUEST: u16 = 0x1;
/// `NLM_F_MULTI`: one of several, [`NLMSG_DONE`] comes last.
pub const NLM_F_MULTI: u16 = 0x2;
/// `NLM_F_DUMP_INTR`: what is dumped changed under the dump, which is not consistent.
pub const NLM_F_DUMP_INTR: u16 = 0x10;

/// Length of `struct nlmsghdr`.
pub const MESSAGE_HEADER_BYTES: usize = 16;
/// Length of `struct nlattr`.
pub const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// `NLA_TYPE_MASK`: the type without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
/// `NLMSG_ALIGNTO` and `NLA_ALIGNTO`: each message and each attribute starts at a multiple.
const ALIGN_BYTES: usize = 4;

/// A length that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Which length, with its unit.
    pub what: &'static str,
    /// What it is at least, or at most where `got` is larger.
    pub expected: usize,
    /// What it is.
    pub got: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.got < self.expected { "least" } else { "most" };
        let Malformed { what, expected, got } = self;
        write!(f, "{what}: expected at {bound} {expected}, got {got}")
    }
}

impl std::error::Error for Malformed {}

/// One message: `struct nlmsghdr` and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`
    pub message_type: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`: that of the request.
    pub sequence: u32,
    /// `nlmsg_pid`: of the socket that the message goes to; 0 is the kernel, or everybody.
    pub port_id: u32,
    /// All behind the header, without the padding.
    pub payload: &'a [u8],
}

/// The messages of a receive buffer.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Walks the bytes of one receive.
    #[inline]
    pub fn new(received: &'a [u8]) -> Messages<'a> {
        Messages { rest: received }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Some((header, behind)) = self.rest.split_first_chunk::<MESSAGE_HEADER_BYTES>() else {
            let what = "bytes of netlink message header";
            return take_short(&mut self.rest, what, MESSAGE_HEADER_BYTES);
        };
        let [l0, l1, l2, l3, t0, t1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        // A length below 16 wraps, and is out of range for that.
        let Some(payload) = behind.get(..length.wrapping_sub(MESSAGE_HEADER_BYTES)) else {
            let what = "nlmsg_len";
            return take_malformed(&mut self.rest, what, MESSAGE_HEADER_BYTES, length);
        };
        // The last message of a buffer may come without its padding.
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        Some(Ok(Message {
            message_type: u16::from_ne_bytes([t0, t1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port_id: u32::from_ne_bytes([p0, p1, p2, p3]),
            payload,
        }))
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type` without its two flags.
    pub attribute_type: u16,
    /// All behind the header, without the padding.
    pub value: &'a [u8],
}

/// Attributes that stand one behind the other.
#[derive(Clone, Debug)]
pub struct AttributeWalk<'a> {
    rest: &'a [u8],
}

/// The attributes in `bytes`: the payload of a message behind its fixed part, or the value of a
/// nested attribute.
#[inline]
pub fn attributes(bytes: &[u8]) -> AttributeWalk<'_> {
    AttributeWalk { rest: bytes }
}

impl<'a> Iterator for AttributeWalk<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Some((header, behind)) = self.rest.split_first_chunk::<ATTRIBUTE_HEADER_BYTES>() else {
            let what = "bytes of attribute header";
            return take_short(&mut self.rest, what, ATTRIBUTE_HEADER_BYTES);
        };
        let [l0, l1, t0, t1] = *header;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = behind.get(..length.wrapping_sub(ATTRIBUTE_HEADER_BYTES)) else {
            return take_malformed(&mut self.rest, "nla_len", ATTRIBUTE_HEADER_BYTES, length);
        };
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        Some(Ok(Attribute {
            attribute_type: u16::from_ne_bytes([t0, t1]) & ATTRIBUTE_TYPE_MASK,
            value,
        }))
    }
}

/// `NLMSG_ALIGN`, of a length that a slice has: never near overflow.
#[inline]
const fn align(length: usize) -> usize {
    (length + ALIGN_BYTES - 1) & !(ALIGN_BYTES - 1)
}

/// The end of a walk: a clean one, or too few bytes for one more header.
#[inline]
fn take_short<T>(rest: &mut &[u8], what: &'static str, expected: usize) -> Option<Result<T, Malformed>> {
    let got = std::mem::take(rest).len();
    (got > 0).then_some(Err(Malformed { what, expected, got }))
}

/// Ends a walk at a length that is below `least` or beyond what is there.
#[cold]
fn take_malformed<T>(
    rest: &mut &[u8],
    what: &'static str,
    least: usize,
    got: usize,
) -> Option<Result<T, Malformed>> {
    let there = std::mem::take(rest).len();
    let expected = if got < least { least } else { there };
    Some(Err(Malformed { what, expected, got }))
}

/// The errno (positive) with which a dump ended, from the payload of [`NLMSG_DONE`]: the kernel
/// reports there what went wrong after the dump had begun. A payload that is missing or too
/// short is no error: old kernels send none.
pub fn done_error(payload: &[u8]) -> Option<i32> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    (code < 0).then_some(code.saturating_neg())
}

/// The errno (positive) in the payload of [`NLMSG_ERROR`]; `None` is an acknowledgement. A payload
/// too short for a code must not pass for one: it is `EPROTO`.
pub fn error_code(payload: &[u8]) -> Option<i32> {
    match payload.first_chunk() {
        Some(code) => Some(i32::from_ne_bytes(*code).saturating_neg()).filter(|errno| *errno != 0),
        None => Some(libc::EPROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two messages as a little-endian kernel sends them; the second without its padding.
    #[rustfmt::skip]
    const TWO: [u8; 38] = [
        20, 0, 0, 0,    // nlmsg_len
        20, 0,          // nlmsg_type: SOCK_DIAG_BY_FAMILY
        0x02, 0,        // nlmsg_flags: NLM_F_MULTI
        7, 0, 0, 0,     // nlmsg_seq
        0x39, 0x30, 0, 0, // nlmsg_pid
        1, 2, 3, 4,     // payload
        18, 0, 0, 0,    // nlmsg_len: not a multiple of 4
        3, 0,           // nlmsg_type: NLMSG_DONE
        0x12, 0,        // nlmsg_flags: NLM_F_MULTI, NLM_F_DUMP_INTR
        8, 0, 0, 0,     // nlmsg_seq
        0, 0, 0, 0,     // nlmsg_pid
        5, 6,           // payload
    ];

    fn walk(bytes: &[u8]) -> Vec<Result<Message<'_>, Malformed>> {
        // More items than the bytes can hold: an endless loop shows as a wrong count.
        Messages::new(bytes).take(bytes.len() + 2).collect()
    }

    #[test]
    fn messages_are_taken_apart() {
        let first = Message {
            message_type: 20,
            flags: NLM_F_MULTI,
            sequence: 7,
            port_id: 12345,
            payload: &[1, 2, 3, 4],
        };
        let second = Message {
            message_type: NLMSG_DONE,
            flags: NLM_F_MULTI | NLM_F_DUMP_INTR,
            sequence: 8,
            port_id: 0,
            payload: &[5, 6],
        };
        assert_eq!(walk(&TWO), [Ok(first), Ok(second)]);
        assert_eq!(walk(&[]), []);
        let padded = [TWO.as_slice(), &[0, 0]].concat();
        assert_eq!(walk(&padded), [Ok(first), Ok(second)], "padded to 4 bytes");
    }

    #[test]
    fn a_cut_buffer_ends_in_one_error() {
        for cut in 0..TWO.len() {
            let found = walk(&TWO[..cut]);
            let (whole, errors): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
            assert_eq!(whole.len(), usize::from(cut >= 20), "cut at {cut}");
            assert_eq!(errors.len(), usize::from(cut != 0 && cut != 20), "cut at {cut}");
        }
        let error = |cut: usize| walk(&TWO[..cut]).pop().unwrap().unwrap_err();
        let text = error(15).to_string();
        assert_eq!(
            text,
            "bytes of netlink message header: expected at least 16, got 15"
        );
        assert_eq!(error(19).to_string(), "nlmsg_len: expected at most 19, got 20");
    }

    #[test]
    fn trailing_bytes_are_an_error_each_number_of_them() {
        for trailing in 1..MESSAGE_HEADER_BYTES {
            let bytes = [&TWO[..20], &vec![0; trailing]].concat();
            let found = walk(&bytes);
            assert_eq!(found.len(), 2);
            assert_eq!(found[1].unwrap_err().got, trailing);
        }
    }

    #[test]
    fn lengths_that_cannot_be_end_the_walk() {
        for length in [0_u32, 1, 15, 39, 40, 0x8000_0000, u32::MAX - 3, u32::MAX] {
            let mut bytes = TWO;
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let expected = if length < 16 { 16 } else { TWO.len() };
            let malformed = Malformed {
                what: "nlmsg_len",
                expected,
                got: length as usize,
            };
            assert_eq!(walk(&bytes), [Err(malformed)], "length {length}");
        }
    }

    #[rustfmt::skip]
    const ATTRIBUTES: [u8; 19] = [
        5, 0,           // nla_len
        8, 0,           // nla_type: INET_DIAG_SHUTDOWN
        3,              // value
        0, 0, 0,        // padding
        4, 0,           // nla_len: a header only
        0x16, 0x80,     // nla_type: 22 with NLA_F_NESTED
        7, 0,           // nla_len
        0x04, 0x40,     // nla_type: INET_DIAG_CONG with NLA_F_NET_BYTEORDER
        b'b', b'b', b'r', // value, without its padding
    ];

    #[test]
    fn attributes_lose_their_flags_and_padding() {
        let found: Vec<_> = attributes(&ATTRIBUTES).map(Result::unwrap).collect();
        let attribute = |attribute_type, value| Attribute {
            attribute_type,
            value,
        };
        assert_eq!(
            found,
            [attribute(8, &[3]), attribute(22, &[]), attribute(4, b"bbr")]
        );
        assert_eq!(attributes(&[]).count(), 0);
    }

    #[test]
    fn a_malformed_attribute_is_one_error_and_the_last() {
        for (length, expected) in [(0, 4), (3, 4), (12, 11), (u16::MAX, 11)] {
            let mut bytes = ATTRIBUTES;
            bytes[8..10].copy_from_slice(&length.to_ne_bytes());
            let found: Vec<_> = attributes(&bytes).collect();
            assert_eq!(found.len(), 2, "length {length}");
            let malformed = Malformed {
                what: "nla_len",
                expected,
                got: usize::from(length),
            };
            assert_eq!(found[1], Err(malformed));
        }
        for trailing in 1..ATTRIBUTE_HEADER_BYTES {
            let found: Vec<_> = attributes(&ATTRIBUTES[..8 + trailing]).collect();
            assert_eq!(found.len(), 2);
            assert_eq!(found[1].unwrap_err().got, trailing);
        }
    }

    #[test]
    fn the_error_of_a_dump_is_inside_its_end() {
        assert_eq!(done_error(&(-libc::ENOENT).to_ne_bytes()), Some(libc::ENOENT));
        assert_eq!(done_error(&[0xf3, 0xff, 0xff, 0xff, 9, 9]), Some(libc::EACCES));
        assert_eq!(done_error(&[0, 0, 0, 0]), None);
        assert_eq!(done_error(&[0xff, 0xff, 0xff]), None);
        assert_eq!(done_error(&[]), None);
        assert_eq!(done_error(&i32::MIN.to_ne_bytes()), Some(i32::MAX));
    }

    #[test]
    fn an_error_without_a_code_is_no_acknowledgement() {
        assert_eq!(error_code(&(-libc::EPERM).to_ne_bytes()), Some(libc::EPERM));
        assert_eq!(error_code(&[0; 20]), None);
        assert_eq!(error_code(&[0, 0, 0]), Some(libc::EPROTO));
        assert_eq!(error_code(&i32::MIN.to_ne_bytes()), Some(i32::MAX));
    }
}
