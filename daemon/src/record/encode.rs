//! One pass from the kernel's bytes to a protobuf row: no allocation, no structure in between.
//!
//! Fields are written in ascending order of their numbers, as every protobuf library does, so the
//! same values always give the same bytes.

use super::{
    CONGESTION_ALGORITHMS, NETNS_BYTES_MAX, SCHEMA_VERSION, TEXT_BYTES_MAX,
    fields::{
        TCP_INFO_BYTES, put_bbrinfo, put_dctcpinfo, put_meminfo, put_message_head, put_message_id,
        put_message_tail, put_skmeminfo, put_tcp_info, put_vegasinfo, tcp_info_whole_members,
    },
    wire::Writer,
};
use crate::netlink::inet_diag::{
    AttributeTable, Attributes, INET_DIAG_MSG_BYTES, InetDiagMsg, attribute, ulp,
};

/// What is the same in every row of a run.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Random id of this run, never 0.
    pub instance_id: u64,
    /// `daemon_version`
    pub daemon_version: String,
    /// `--hostname`
    pub hostname: String,
    /// `--location`
    pub location: String,
    /// `--label`
    pub label: String,
    /// `--tag`
    pub tag: String,
}

/// What is the same in every row of one namespace in one poll.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Start of the poll, nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// Number of the poll, from 1.
    pub poll_sequence: u64,
    /// Path by which the namespace was entered.
    pub netns: &'a str,
    /// Inode of the namespace.
    pub netns_inode: u64,
    /// Cookie of the namespace; 0 where the kernel has none.
    pub netns_cookie: u64,
    /// Descriptor number of the netlink socket.
    pub socket_fd: u64,
}

/// What the encoder met and could not write; all counted, none fatal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Replies whose attributes ended in the middle of one; what stood before it was used.
    pub attributes_malformed: u64,
    /// Rows with a tcp_info longer than any known here; its tail is left out.
    pub tcp_info_longer: u64,
    /// Rows with a value left out because the row had no room; a bug if ever not 0.
    pub overflowed: u64,
}

/// Turns replies into rows.
#[derive(Debug)]
pub struct Encoder {
    identity: Identity,
    attributes: Attributes,
    /// Encoded fields before and behind `record_counter`, the same for all rows of a namespace.
    before_counter: Vec<u8>,
    behind_counter: Vec<u8>,
    anomalies: Anomalies,
}

impl Encoder {
    /// An encoder that writes `attributes` and nothing of others. Texts longer than
    /// [`TEXT_BYTES_MAX`] are cut.
    pub fn new(mut identity: Identity, attributes: Attributes) -> Encoder {
        for text in [
            &mut identity.hostname,
            &mut identity.location,
            &mut identity.label,
            &mut identity.tag,
        ] {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        identity
            .daemon_version
            .truncate(identity.daemon_version.floor_char_boundary(64));
        Encoder {
            identity,
            attributes,
            before_counter: vec![0; 5 * TEXT_BYTES_MAX + NETNS_BYTES_MAX],
            behind_counter: vec![0; 64],
            anomalies: Anomalies::default(),
        }
    }

    /// What could not be written so far.
    pub fn anomalies(&self) -> Anomalies {
        self.anomalies
    }

    /// Goes on counting behind those of the encoder before.
    pub fn go_on_from(&mut self, anomalies: Anomalies) {
        self.anomalies = anomalies;
    }

    /// Prepares what all rows of a namespace share.
    pub fn enter(&mut self, origin: &Origin<'_>) {
        let netns = &origin.netns[..origin.netns.floor_char_boundary(NETNS_BYTES_MAX)];
        self.before_counter.resize(self.before_counter.capacity(), 0);
        let mut head = Writer::new(&mut self.before_counter);
        head.uint32::<1>(SCHEMA_VERSION);
        head.bytes::<2>(self.identity.daemon_version.as_bytes());
        head.uint64::<10>(origin.timestamp_ns.cast_unsigned());
        head.bytes::<20>(self.identity.hostname.as_bytes());
        head.bytes::<21>(self.identity.location.as_bytes());
        head.bytes::<30>(netns.as_bytes());
        head.uint64::<31>(origin.netns_inode);
        head.bytes::<50>(self.identity.label.as_bytes());
        head.bytes::<51>(self.identity.tag.as_bytes());
        let length = head.len();
        self.before_counter.truncate(length);

        self.behind_counter.resize(self.behind_counter.capacity(), 0);
        let mut middle = Writer::new(&mut self.behind_counter);
        middle.uint64::<61>(origin.socket_fd);
        middle.uint64::<70>(self.identity.instance_id);
        middle.uint64::<71>(origin.poll_sequence);
        middle.uint64::<73>(origin.netns_cookie);
        let length = middle.len();
        self.behind_counter.truncate(length);
    }

    /// Writes the row of one reply to the front of `room`, which has at least
    /// [`super::ROW_BYTES_MAX`] bytes; returns its length.
    pub fn row(&mut self, message: &InetDiagMsg<'_>, record_counter: u64, room: &mut [u8]) -> usize {
        let Some(fixed) = message.bytes().first_chunk::<INET_DIAG_MSG_BYTES>() else {
            return 0;
        };
        let table = message.attributes();
        let get = |number: u8| match self.attributes.contains(number) {
            true => table.get(number),
            false => None,
        };
        let tcp_info = get(attribute::INFO);
        self.anomalies.attributes_malformed += u64::from(table.malformed());
        self.anomalies.tcp_info_longer += u64::from(tcp_info.is_some_and(|info| info.len() > TCP_INFO_BYTES));

        let mut row = Writer::new(room);
        row.raw(&self.before_counter);
        row.uint64::<60>(record_counter);
        row.raw(&self.behind_counter);
        row.uint32::<74>(table.present() & self.attributes.bits());
        row.uint32::<75>(tcp_info.map_or(0, |info| u32::try_from(info.len()).unwrap_or(u32::MAX)));

        put_message_head(&mut row, fixed);
        if let (Some(source), Some(destination)) = (fixed[8..].first_chunk(), fixed[24..].first_chunk()) {
            row.address::<1007>(source);
            row.address::<1008>(destination);
        }
        put_message_id(&mut row, fixed);
        put_message_tail(&mut row, fixed);

        put(&mut row, get(attribute::MEMINFO), put_meminfo);
        match tcp_info {
            None => {}
            Some(info) => match info.first_chunk() {
                Some(all) => put_tcp_info(&mut row, all),
                None => put_tcp_info(
                    &mut row,
                    &zero_padded(&info[..tcp_info_whole_members(info.len())]),
                ),
            },
        }
        if let Some(name) = get(attribute::CONG).and_then(kernel_name) {
            row.bytes::<1300>(name);
            row.uint32::<1301>(congestion_number(name));
        }
        row.uint32::<1401>(get(attribute::TOS).map_or(0, number));
        row.uint32::<1402>(get(attribute::TCLASS).map_or(0, number));
        put(&mut row, get(attribute::SKMEMINFO), put_skmeminfo);
        row.uint32::<1600>(get(attribute::SHUTDOWN).map_or(0, number));
        put(&mut row, get(attribute::VEGASINFO), put_vegasinfo);
        put(&mut row, get(attribute::DCTCPINFO), put_dctcpinfo);
        put(&mut row, get(attribute::BBRINFO), put_bbrinfo);
        row.uint32::<2001>(get(attribute::CLASS_ID).map_or(0, number));
        row.uint32::<2002>(get(attribute::SOCKOPT).map_or(0, number));
        row.uint64::<2103>(get(attribute::CGROUP_ID).map_or(0, number_u64));
        row.uint32::<2200>(get(attribute::MARK).map_or(0, number));
        row.uint32::<2201>(get(attribute::SKV6ONLY).map_or(0, number));
        if let Some(keys) = get(attribute::MD5SIG) {
            row.uint32::<2202>(u32::try_from(keys.len() / MD5SIG_BYTES).unwrap_or(u32::MAX));
        }
        if let Some(info) = get(attribute::ULP_INFO) {
            put_ulp(&mut row, info);
        }
        self.anomalies.overflowed += u64::from(row.overflowed());
        row.len()
    }
}

/// Size of `struct tcp_diag_md5sig` (include/uapi/linux/tcp.h).
const MD5SIG_BYTES: usize = 100;

/// Writes a structure of 32-bit members; an older, shorter one is padded with zeros, which are
/// not written.
#[inline(always)]
fn put<const N: usize>(
    row: &mut Writer<'_>,
    bytes: Option<&[u8]>,
    write: impl Fn(&mut Writer<'_>, &[u8; N]),
) {
    match bytes {
        None => {}
        Some(bytes) => match bytes.first_chunk() {
            Some(all) => write(row, all),
            None => write(row, &zero_padded(&bytes[..bytes.len() & !3])),
        },
    }
}

fn zero_padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}

/// An integer of one, two or four bytes; 0 when it has another length.
fn number(bytes: &[u8]) -> u32 {
    match *bytes {
        [a] => u32::from(a),
        [a, b] => u32::from(u16::from_ne_bytes([a, b])),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}

fn number_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Longest name of a congestion control or upper-layer protocol: TCP_CA_NAME_MAX and
/// TCP_ULP_NAME_MAX are 16.
const KERNEL_NAME_BYTES_MAX: usize = 16;

/// A name that ends in a zero byte. Only printable ASCII is let through: a protobuf string must
/// be UTF-8.
fn kernel_name(bytes: &[u8]) -> Option<&[u8]> {
    let name = bytes.split(|&b| b == 0).next().unwrap_or_default();
    let fits = (1..=KERNEL_NAME_BYTES_MAX).contains(&name.len());
    (fits && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

fn congestion_number(name: &[u8]) -> u32 {
    CONGESTION_ALGORITHMS
        .iter()
        .find(|(_, _, kernel)| kernel.as_bytes() == name)
        .map_or(0, |(number, _, _)| *number)
}

/// INET_DIAG_ULP_INFO: a name, and the information of that protocol nested behind it.
fn put_ulp(row: &mut Writer<'_>, info: &[u8]) {
    let table = AttributeTable::<{ ulp::COUNT }>::new(info);
    if let Some(name) = table.get(ulp::NAME).and_then(kernel_name) {
        row.bytes::<2210>(name);
    }
    if let Some(tls) = table.get(ulp::TLS) {
        let tls = AttributeTable::<{ ulp::tls::COUNT }>::new(tls);
        let get = |attribute| tls.get(attribute).map_or(0, number);
        row.uint32::<2211>(get(ulp::tls::VERSION));
        row.uint32::<2212>(get(ulp::tls::CIPHER));
        row.uint32::<2213>(get(ulp::tls::TXCONF));
        row.uint32::<2214>(get(ulp::tls::RXCONF));
        // Flags: an attribute without a value.
        row.uint32::<2215>(u32::from(tls.get(ulp::tls::ZC_RO_TX).is_some()));
        row.uint32::<2216>(u32::from(tls.get(ulp::tls::RX_NO_PAD).is_some()));
    }
    if let Some(mptcp) = table.get(ulp::MPTCP) {
        let mptcp = AttributeTable::<{ ulp::mptcp::COUNT }>::new(mptcp);
        let get = |attribute| mptcp.get(attribute).map_or(0, number);
        row.uint32::<2221>(get(ulp::mptcp::TOKEN_REM));
        row.uint32::<2222>(get(ulp::mptcp::TOKEN_LOC));
        row.uint32::<2223>(get(ulp::mptcp::RELWRITE_SEQ));
        row.uint64::<2224>(mptcp.get(ulp::mptcp::MAP_SEQ).map_or(0, number_u64));
        row.uint32::<2225>(get(ulp::mptcp::MAP_SFSEQ));
        row.uint32::<2226>(get(ulp::mptcp::SSN_OFFSET));
        row.uint32::<2227>(get(ulp::mptcp::MAP_DATALEN));
        row.uint32::<2228>(get(ulp::mptcp::FLAGS));
        row.uint32::<2229>(get(ulp::mptcp::ID_REM));
        row.uint32::<2230>(get(ulp::mptcp::ID_LOC));
    }
}
