//! Link type 253, `LINKTYPE_NETLINK`: the header that stands before the netlink messages of each
//! captured packet. Its layout is that of Linux "cooked" captures, in network byte order:
//! packet type (2 bytes), ARPHRD type (2), unused (10), netlink family (2).

/// `LINKTYPE_NETLINK`
pub(super) const LINK_TYPE_NETLINK: u16 = 253;
/// Length of the header.
pub(super) const COOKED_HEADER_BYTES: usize = 16;

/// `ARPHRD_NETLINK`
const HARDWARE_TYPE_NETLINK: u16 = 824;
/// `NETLINK_SOCK_DIAG`
const FAMILY_SOCK_DIAG: u16 = 4;

/// Which way a datagram went. A capture from an nlmon device does not tell: its packet type is
/// `PACKET_OUTGOING` both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A request.
    ToKernel,
    /// Replies.
    ToUser,
}

/// The header of a sock_diag datagram.
pub(super) fn header(direction: Direction) -> [u8; COOKED_HEADER_BYTES] {
    let packet_type: u16 = match direction {
        Direction::ToUser => 6,   // PACKET_USER
        Direction::ToKernel => 7, // PACKET_KERNEL
    };
    let mut header = [0; COOKED_HEADER_BYTES];
    header[0..2].copy_from_slice(&packet_type.to_be_bytes());
    header[2..4].copy_from_slice(&HARDWARE_TYPE_NETLINK.to_be_bytes());
    header[14..16].copy_from_slice(&FAMILY_SOCK_DIAG.to_be_bytes());
    header
}

/// What a captured packet of link type 253 is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Messages of sock_diag follow the header.
    SockDiag,
    /// Messages of another netlink family do.
    OtherFamily,
    /// There is no such header.
    Unknown,
}

/// Looks at the header of a packet.
pub(super) fn content(packet: &[u8]) -> Content {
    match packet.first_chunk::<COOKED_HEADER_BYTES>() {
        Some([_, _, h0, h1, .., f0, f1]) if u16::from_be_bytes([*h0, *h1]) == HARDWARE_TYPE_NETLINK => {
            match u16::from_be_bytes([*f0, *f1]) {
                FAMILY_SOCK_DIAG => Content::SockDiag,
                _ => Content::OtherFamily,
            }
        }
        _ => Content::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sock_diag_behind_a_whole_header_is_taken() {
        // As an nlmon device gives it: PACKET_OUTGOING, ARPHRD_NETLINK, 10 unused, family.
        let nlmon = |family| [0, 4, 0x03, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, family];
        assert_eq!(content(&nlmon(4)), Content::SockDiag);
        assert_eq!(content(&nlmon(0)), Content::OtherFamily);
        assert_eq!(content(&nlmon(4)[..15]), Content::Unknown);
        assert_eq!(content(&[0; 16]), Content::Unknown);
        for direction in [Direction::ToKernel, Direction::ToUser] {
            assert_eq!(content(&header(direction)), Content::SockDiag);
        }
    }
}
