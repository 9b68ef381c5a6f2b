//! The kernel's sock_diag wire format: requests, the fixed part of a reply, attribute numbers.
//!
//! Source: include/uapi/linux/inet_diag.h and net/ipv4/inet_diag.c of Linux 6.18; numbers are in
//! the machine's byte order unless said otherwise.

use super::message;
use std::str::FromStr;

/// Request and reply type that returns IPv4 and IPv6 from one dump. The reply to it carries this
/// number too, not [`SOCK_DIAG_BY_FAMILY`].
pub const TCPDIAG_GETSOCK: u16 = 18;
/// Request and reply type for one address family.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Length of `struct inet_diag_msg`, the fixed part of a reply.
pub const INET_DIAG_MSG_BYTES: usize = 72;

/// Numbers of the attributes behind `struct inet_diag_msg`.
pub mod attribute {
    #![allow(missing_docs, reason = "the names are the kernel's")]
    pub const MEMINFO: u8 = 1;
    pub const INFO: u8 = 2;
    pub const VEGASINFO: u8 = 3;
    pub const CONG: u8 = 4;
    pub const TOS: u8 = 5;
    pub const TCLASS: u8 = 6;
    pub const SKMEMINFO: u8 = 7;
    pub const SHUTDOWN: u8 = 8;
    pub const DCTCPINFO: u8 = 9;
    pub const SKV6ONLY: u8 = 11;
    pub const MARK: u8 = 15;
    pub const BBRINFO: u8 = 16;
    pub const CLASS_ID: u8 = 17;
    pub const MD5SIG: u8 = 18;
    pub const ULP_INFO: u8 = 19;
    pub const CGROUP_ID: u8 = 21;
    pub const SOCKOPT: u8 = 22;
    /// One more than the largest number that is looked at.
    pub const COUNT: usize = 23;
}

/// Numbers of the attributes nested in INET_DIAG_ULP_INFO (include/uapi/linux/inet_diag.h).
pub mod ulp {
    #![allow(missing_docs, reason = "the names are the kernel's")]
    pub const NAME: u8 = 1;
    pub const TLS: u8 = 2;
    pub const MPTCP: u8 = 3;
    pub const COUNT: usize = 4;

    /// include/uapi/linux/tls.h
    pub mod tls {
        pub const VERSION: u8 = 1;
        pub const CIPHER: u8 = 2;
        pub const TXCONF: u8 = 3;
        pub const RXCONF: u8 = 4;
        pub const ZC_RO_TX: u8 = 5;
        pub const RX_NO_PAD: u8 = 6;
        pub const COUNT: usize = 7;
    }

    /// include/uapi/linux/mptcp.h
    pub mod mptcp {
        pub const TOKEN_REM: u8 = 1;
        pub const TOKEN_LOC: u8 = 2;
        pub const RELWRITE_SEQ: u8 = 3;
        pub const MAP_SEQ: u8 = 4;
        pub const MAP_SFSEQ: u8 = 5;
        pub const SSN_OFFSET: u8 = 6;
        pub const MAP_DATALEN: u8 = 7;
        pub const FLAGS: u8 = 8;
        pub const ID_REM: u8 = 9;
        pub const ID_LOC: u8 = 10;
        pub const COUNT: usize = 11;
    }
}

/// Attributes found by number: one walk, then each is at hand in whatever order it is needed.
#[derive(Clone, Copy, Debug)]
pub struct AttributeTable<'a, const COUNT: usize> {
    values: [&'a [u8]; COUNT],
    present: u32,
    malformed: bool,
}

impl<'a, const COUNT: usize> AttributeTable<'a, COUNT> {
    /// Walks `bytes`, a run of attributes. A malformed one ends the walk; of one that comes twice
    /// the last counts; numbers of COUNT and more are passed over.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> AttributeTable<'a, COUNT> {
        const { assert!(COUNT <= 32, "one bit an attribute") };
        let mut table = AttributeTable {
            values: [&[]; COUNT],
            present: 0,
            malformed: false,
        };
        for found in message::attributes(bytes) {
            let Ok(found) = found else {
                table.malformed = true;
                break;
            };
            if let Some(slot) = table.values.get_mut(usize::from(found.attribute_type)) {
                *slot = found.value;
                table.present |= 1 << found.attribute_type;
            }
        }
        table
    }

    /// The value of an attribute, if it is there.
    #[inline]
    pub fn get(&self, number: u8) -> Option<&'a [u8]> {
        let present = number < 32 && self.present >> number & 1 == 1;
        if present {
            self.values.get(usize::from(number)).copied()
        } else {
            None
        }
    }

    /// Bit n is set when attribute n is there.
    pub fn present(&self) -> u32 {
        self.present
    }

    /// Whether bytes were left that are no attribute.
    pub fn malformed(&self) -> bool {
        self.malformed
    }
}

/// A set of attributes: which are asked of the kernel and written to rows (`--deserializers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u32);

/// Names of `--deserializers` and the attribute each stands for.
pub const ATTRIBUTE_NAMES: [(&str, u8); 16] = [
    ("info", attribute::INFO),
    ("cong", attribute::CONG),
    ("tos", attribute::TOS),
    ("tclass", attribute::TCLASS),
    ("tc", attribute::TCLASS),
    ("meminfo", attribute::MEMINFO),
    ("skmem", attribute::SKMEMINFO),
    ("shut", attribute::SHUTDOWN),
    ("vegas", attribute::VEGASINFO),
    ("dctcp", attribute::DCTCPINFO),
    ("bbr", attribute::BBRINFO),
    ("classid", attribute::CLASS_ID),
    ("cgroup", attribute::CGROUP_ID),
    ("sockopt", attribute::SOCKOPT),
    ("ulp", attribute::ULP_INFO),
    ("mark", attribute::MARK),
];

impl Attributes {
    /// No attribute: rows hold `struct inet_diag_msg` only.
    pub const NONE: Attributes = Attributes(0);
    /// Every attribute that has fields.
    pub const ALL: Attributes = {
        let mut bits = 1 << attribute::SKV6ONLY | 1 << attribute::MD5SIG;
        let mut i = 0;
        while i < ATTRIBUTE_NAMES.len() {
            bits |= 1 << ATTRIBUTE_NAMES[i].1;
            i += 1;
        }
        Attributes(bits)
    };
    /// All but meminfo, whose four numbers skmem holds too.
    pub const DEFAULT: Attributes = Attributes(Attributes::ALL.0 & !(1 << attribute::MEMINFO));

    /// Whether the attribute of that number is in the set.
    pub const fn contains(self, number: u8) -> bool {
        number < 32 && self.0 >> number & 1 == 1
    }

    /// One bit an attribute, bit n for attribute n.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The `idiag_ext` that makes the kernel send this set. Bit n-1 asks for attribute n, 1 to 8
    /// only; the vegas bit brings the information of whichever congestion control runs, tclass
    /// the class id, info ULP and MD5. Shutdown, socket options and cgroup id always come, the
    /// mark comes to whoever has CAP_NET_ADMIN.
    pub const fn idiag_ext(self) -> u8 {
        use attribute::*;
        let mut ext = 0;
        let asked: [(u8, u8); 11] = [
            (MEMINFO, MEMINFO),
            (INFO, INFO),
            (ULP_INFO, INFO),
            (MD5SIG, INFO),
            (VEGASINFO, VEGASINFO),
            (DCTCPINFO, VEGASINFO),
            (BBRINFO, VEGASINFO),
            (CONG, CONG),
            (TOS, TOS),
            (TCLASS, TCLASS),
            (CLASS_ID, TCLASS),
        ];
        let mut i = 0;
        while i < asked.len() {
            if self.contains(asked[i].0) {
                ext |= 1 << (asked[i].1 - 1);
            }
            i += 1;
        }
        if self.contains(SKMEMINFO) {
            ext |= 1 << (SKMEMINFO - 1);
        }
        ext
    }
}

impl FromStr for Attributes {
    type Err = String;

    /// `default`, `all`, `none`, the empty string (none), or names with commas between them.
    fn from_str(text: &str) -> Result<Attributes, String> {
        match text {
            "default" => return Ok(Attributes::DEFAULT),
            "all" => return Ok(Attributes::ALL),
            "none" | "" => return Ok(Attributes::NONE),
            _ => {}
        }
        let mut set = 1 << attribute::SKV6ONLY;
        for name in text.split(',').map(str::trim) {
            match ATTRIBUTE_NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, number)) => set |= 1 << number,
                None => {
                    let names: Vec<&str> = ATTRIBUTE_NAMES.iter().map(|(name, _)| *name).collect();
                    return Err(format!(
                        "expected default, all, none or some of {}, got {name:?}",
                        names.join(" ")
                    ));
                }
            }
        }
        Ok(Attributes(set))
    }
}

/// `TCP_LISTEN`
pub const TCP_LISTEN: u8 = 10;

/// A set of TCP states, bit n for state n (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

/// Name and number of each TCP state, as include/net/tcp_states.h has them.
pub const STATE_NAMES: [(&str, u8); 12] = [
    ("ESTABLISHED", 1),
    ("SYN_SENT", 2),
    ("SYN_RECV", 3),
    ("FIN_WAIT1", 4),
    ("FIN_WAIT2", 5),
    ("TIME_WAIT", 6),
    ("CLOSE", 7),
    ("CLOSE_WAIT", 8),
    ("LAST_ACK", 9),
    ("LISTEN", TCP_LISTEN),
    ("CLOSING", 11),
    ("NEW_SYN_RECV", 12),
];

impl States {
    /// States 0 to 12, as `ss` asks. Bit 13 (bound, inactive; Linux 6.8) would make every dump
    /// walk the bind hash as well, which doubles its cost.
    pub const ALL: States = States(0x1fff);
    /// Listening sockets only.
    pub const LISTEN: States = States(1 << TCP_LISTEN);

    /// The bits as the kernel takes them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether a state is in the set; a state unknown to us is.
    pub const fn contains(self, state: u8) -> bool {
        state > 12 || self.0 >> state & 1 == 1
    }
}

impl FromStr for States {
    type Err = String;

    /// `all`, or names with commas between them, upper or lower case.
    fn from_str(text: &str) -> Result<States, String> {
        if text == "all" {
            return Ok(States::ALL);
        }
        let mut set = 0;
        for name in text.split(',').map(str::trim) {
            match STATE_NAMES
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                Some((_, number)) => set |= 1 << number,
                None => {
                    let names: Vec<&str> = STATE_NAMES.iter().map(|(name, _)| *name).collect();
                    return Err(format!(
                        "expected all or some of {}, got {name:?}",
                        names.join(" ")
                    ));
                }
            }
        }
        Ok(States(set))
    }
}

/// `AF_INET`
pub const AF_INET: u8 = 2;
/// `AF_INET6`
pub const AF_INET6: u8 = 10;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const IPPROTO_TCP: u8 = 6;

/// Length of a [`dump_both_families`] request.
pub const DUMP_BOTH_BYTES: usize = 76;
/// Length of a [`dump_one_family`] request.
pub const DUMP_ONE_BYTES: usize = 72;

fn header(request: &mut [u8], message_type: u16, sequence: u32) {
    let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
    request[0..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&message_type.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
}

/// A dump of IPv4 and IPv6 TCP sockets at once: nlmsghdr (16 bytes) and `struct inet_diag_req`
/// (family, source and destination length, ext, 48 bytes of id, states, dbs). One dump walks the
/// kernel's hash once, two dumps twice.
pub fn dump_both_families(ext: u8, states: States, sequence: u32) -> [u8; DUMP_BOTH_BYTES] {
    let mut request = [0; DUMP_BOTH_BYTES];
    header(&mut request, TCPDIAG_GETSOCK, sequence);
    request[16] = AF_INET;
    request[19] = ext;
    request[68..72].copy_from_slice(&states.bits().to_ne_bytes());
    request
}

/// A dump of one family: nlmsghdr and `struct inet_diag_req_v2` (family, protocol, ext, pad,
/// states, 48 bytes of id). For kernels that refuse [`dump_both_families`].
pub fn dump_one_family(family: u8, ext: u8, states: States, sequence: u32) -> [u8; DUMP_ONE_BYTES] {
    let mut request = [0; DUMP_ONE_BYTES];
    header(&mut request, SOCK_DIAG_BY_FAMILY, sequence);
    request[16] = family;
    request[17] = IPPROTO_TCP;
    request[18] = ext;
    request[20..24].copy_from_slice(&states.bits().to_ne_bytes());
    request
}

/// Length of a [`look_up`] request.
pub const LOOK_UP_BYTES: usize = DUMP_ONE_BYTES;
/// Length of `struct inet_diag_sockid`.
pub const SOCKET_ID_BYTES: usize = 48;
const SOCKET_ID_AT: usize = 4;

/// Asks for one socket: nlmsghdr without NLM_F_DUMP, and `struct inet_diag_req_v2` with the id filled
/// in. The kernel compares the cookie that is part of the id; the state mask is ignored.
pub fn look_up(family: u8, id: &[u8; SOCKET_ID_BYTES], ext: u8, sequence: u32) -> [u8; LOOK_UP_BYTES] {
    let mut request = dump_one_family(family, ext, States::ALL, sequence);
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[24..].copy_from_slice(id);
    request
}

/// What a reply is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// A socket; `inuse` of /proc/net/sockstat and sockstat6 counts it.
    Full,
    /// What is left of a closed one, in TIME_WAIT or FIN_WAIT2; `tw` of sockstat counts it.
    TimeWait,
    /// A connection request that is not a socket yet; nothing counts it.
    Request,
}

/// `idiag_timer` of a socket in TIME_WAIT.
const TIMER_TIME_WAIT: u8 = 3;

/// The fixed part of a reply and the attributes behind it, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct InetDiagMsg<'a> {
    bytes: &'a [u8],
}

impl<'a> InetDiagMsg<'a> {
    /// Wraps the payload of a reply; `None` when it is shorter than `struct inet_diag_msg`.
    pub fn new(payload: &'a [u8]) -> Option<InetDiagMsg<'a>> {
        (payload.len() >= INET_DIAG_MSG_BYTES).then_some(InetDiagMsg { bytes: payload })
    }

    /// The whole payload.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// `idiag_family`
    #[inline]
    pub fn family(&self) -> u8 {
        self.bytes[0]
    }

    /// `struct inet_diag_sockid`: ports, addresses, interface and cookie.
    #[inline]
    pub fn id(&self) -> [u8; SOCKET_ID_BYTES] {
        let mut id = [0; SOCKET_ID_BYTES];
        id.copy_from_slice(&self.bytes[SOCKET_ID_AT..SOCKET_ID_AT + SOCKET_ID_BYTES]);
        id
    }

    /// What the reply is about. Of a full socket the kernel always sends INET_DIAG_SHUTDOWN, and
    /// before all other attributes (inet_diag_msg_attrs_fill()); of the others never.
    #[inline]
    pub fn kind(&self) -> SocketKind {
        let mut attributes = message::attributes(&self.bytes[INET_DIAG_MSG_BYTES..]);
        let is_full = attributes
            .any(|found| found.is_ok_and(|found| found.attribute_type == u16::from(attribute::SHUTDOWN)));
        match is_full {
            true => SocketKind::Full,
            false if self.bytes[2] == TIMER_TIME_WAIT => SocketKind::TimeWait,
            false => SocketKind::Request,
        }
    }

    /// The attributes behind the fixed part.
    #[inline]
    pub fn attributes(&self) -> AttributeTable<'a, { attribute::COUNT }> {
        AttributeTable::new(&self.bytes[INET_DIAG_MSG_BYTES..])
    }

    /// `idiag_state`
    pub fn state(&self) -> u8 {
        self.bytes[1]
    }

    /// `idiag_cookie`: identifies a socket for as long as the machine runs.
    pub fn cookie(&self) -> u64 {
        let half = |at: usize| {
            u64::from(u32::from_ne_bytes([
                self.bytes[at],
                self.bytes[at + 1],
                self.bytes[at + 2],
                self.bytes[at + 3],
            ]))
        };
        half(44) | half(48) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_asks_the_kernel_for_what_it_needs() {
        let ext = |text: &str| text.parse::<Attributes>().unwrap().idiag_ext();
        assert_eq!(ext("none"), 0);
        assert_eq!(ext("all"), 0x7f);
        assert_eq!(ext("default"), 0x7e);
        assert_eq!(ext("info"), 0x02);
        assert_eq!(ext("ulp"), 0x02);
        assert_eq!(ext("bbr"), 0x04);
        assert_eq!(ext("dctcp, cong"), 0x0c);
        assert_eq!(ext("tc"), 0x20);
        assert_eq!(ext("classid"), 0x20);
        assert_eq!(ext("cgroup,shut,sockopt,mark"), 0);
        let error = "info,tcpinfo".parse::<Attributes>().unwrap_err();
        assert!(error.contains("tcpinfo") && error.contains("skmem"), "{error}");
    }

    #[test]
    fn states_are_the_bits_of_the_kernel() {
        assert_eq!("all".parse::<States>().unwrap().bits(), 0x1fff);
        assert_eq!(
            "established,LISTEN".parse::<States>().unwrap().bits(),
            1 << 1 | 1 << 10
        );
        assert!("estab".parse::<States>().unwrap_err().contains("ESTABLISHED"));
    }

    #[test]
    fn requests_have_the_layout_of_the_header() {
        let both = dump_both_families(0x7e, States::ALL, 7);
        assert_eq!(
            both[..20],
            [76, 0, 0, 0, 18, 0, 1, 3, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x7e]
        );
        assert_eq!(both[68..], [0xff, 0x1f, 0, 0, 0, 0, 0, 0]);
        let one = dump_one_family(AF_INET6, 0x7e, States::LISTEN, 7);
        assert_eq!(
            one[..24],
            [
                72, 0, 0, 0, 20, 0, 1, 3, 7, 0, 0, 0, 0, 0, 0, 0, 10, 6, 0x7e, 0, 0, 4, 0, 0
            ]
        );
    }
}
