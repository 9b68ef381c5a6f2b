//! Captures of netlink: reads the socket rows out of one (`replay`), and writes what the daemon
//! itself exchanges with the kernel (`--record`).

mod cooked;
mod input;
mod pcap;
mod pcapng;
mod read;
mod replay;
mod write;

pub use input::ReadError;
pub use read::{CaptureReader, Captured, PacketCounts};
pub use replay::{MessageCounts, Replay, Replies};
pub use write::{Direction, Recorder};

use std::fmt;

/// The network namespace that a datagram belongs to. Recordings carry it as a comment on each
/// packet, in the words of its `Display`: so it stays true when a file is filtered or merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace<'a> {
    /// Its path, or what rows call it.
    pub name: &'a str,
    /// `SO_NETNS_COOKIE`; 0 is unknown.
    pub cookie: u64,
}

const COMMENT_START: &str = "netns cookie ";
const COMMENT_NAME: &str = " name ";

impl fmt::Display for Namespace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COMMENT_START}{}{COMMENT_NAME}{}", self.cookie, self.name)
    }
}

impl<'a> Namespace<'a> {
    /// Reads a comment; `None` when it is one of somebody else's.
    fn from_comment(comment: &'a str) -> Option<Namespace<'a>> {
        let (cookie, name) = comment.strip_prefix(COMMENT_START)?.split_once(COMMENT_NAME)?;
        Some(Namespace {
            name,
            cookie: cookie.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_survives_the_way_through_a_comment() {
        for name in ["", "/run/netns/a", "/run/netns/with name in it", "ü\n"] {
            let netns = Namespace {
                name,
                cookie: u64::MAX,
            };
            assert_eq!(Namespace::from_comment(&netns.to_string()), Some(netns));
        }
        for other in [
            "",
            "netns cookie",
            "netns cookie x name y",
            "a netns cookie 1 name b",
        ] {
            assert_eq!(Namespace::from_comment(other), None, "{other}");
        }
    }
}
