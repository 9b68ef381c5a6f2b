//! The field table: every field of a row, declared once.
//!
//! Numbers, names and types up to 2103 are the wire contract of the reference program (package
//! `xtcp_flat_record.v1`); fields of our own take 70 to 79 (bookkeeping), 1266 to 1299 (newer
//! `tcp_info` members) and 2200 up. The table drives the encoder, the reader of rows, the columns
//! of text formats, the .proto, the ClickHouse schema and the documentation.
//!
//! Offsets and meanings: include/uapi/linux/tcp.h and include/uapi/linux/inet_diag.h, Linux 6.18.

use super::wire::Writer;
use crate::netlink::inet_diag::attribute;

/// Protobuf type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
    /// `int64`
    Int64,
    /// `string`
    String,
    /// `bytes`; the addresses are the only ones
    Bytes,
    /// The enum `CongestionAlgorithm`
    Congestion,
}

/// Where the value of a field comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The daemon itself: settings, counters, the namespace.
    Daemon,
    /// `struct inet_diag_msg`: always there.
    Message,
    /// The kernel's attribute of this number. The field is there when the attribute is at least
    /// `end` bytes long.
    Attribute {
        /// INET_DIAG_* number.
        number: u8,
        /// Offset behind the last byte of the member.
        end: u16,
    },
    /// Something inside the kernel's attribute of this number, which need not be in it.
    Nested {
        /// INET_DIAG_* number.
        number: u8,
    },
    /// Part of the contract, not filled yet.
    Unset,
}

/// One field of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Protobuf field number.
    pub number: u32,
    /// Protobuf field name.
    pub name: &'static str,
    /// Protobuf type.
    pub kind: Kind,
    /// Where it comes from.
    pub source: Source,
    /// Meaning and unit.
    pub doc: &'static str,
}

/// Fields that no single kernel structure holds at a fixed place.
macro_rules! fields {
    ($table:ident: $($number:literal $name:ident $kind:ident $source:tt $doc:literal;)*) => {
        const $table: &[Field] = &[$(Field {
            number: $number,
            name: stringify!($name),
            kind: Kind::$kind,
            source: fields!(@source $source),
            doc: $doc,
        }),*];
    };
    (@source Daemon) => { Source::Daemon };
    (@source Message) => { Source::Message };
    (@source Unset) => { Source::Unset };
    (@source ($number:ident)) => { Source::Attribute { number: attribute::$number, end: 1 } };
    (@source (in $number:ident)) => { Source::Nested { number: attribute::$number } };
}

/// A kernel structure: its fields, and the function that writes them, unrolled, in one pass.
macro_rules! structure {
    ($table:ident, $put:ident, $bytes:literal, $source:ident:
     $($number:literal $name:ident $read:ident($at:literal $(, $shift:literal, $width:literal)?) $doc:literal;)*) => {
        const $table: &[Field] = &[$(Field {
            number: $number,
            name: stringify!($name),
            kind: structure!(@kind $read),
            source: structure!(@source $source, $read($at)),
            doc: $doc,
        }),*];

        #[inline(always)]
        pub(super) fn $put(row: &mut Writer<'_>, bytes: &[u8; $bytes]) {
            $(structure!(@put row, bytes, $number, $read($at $(, $shift, $width)?));)*
        }
    };
    (@kind u64) => { Kind::Uint64 };
    (@kind $read:ident) => { Kind::Uint32 };
    (@source Message, $read:ident($at:literal)) => { Source::Message };
    (@source $attribute:ident, $read:ident($at:literal)) => {
        Source::Attribute { number: attribute::$attribute, end: $at + structure!(@size $read) }
    };
    (@size u8) => { 1 };
    (@size bits) => { 1 };
    (@size u16) => { 2 };
    (@size be16) => { 2 };
    (@size u32) => { 4 };
    (@size u64) => { 8 };
    (@put $row:ident, $b:ident, $number:literal, u8($at:literal)) => {
        $row.uint32::<$number>($b[$at] as u32)
    };
    (@put $row:ident, $b:ident, $number:literal, bits($at:literal, $shift:literal, $width:literal)) => {
        $row.uint32::<$number>(($b[$at] >> $shift & ((1 << $width) - 1)) as u32)
    };
    (@put $row:ident, $b:ident, $number:literal, u16($at:literal)) => {
        $row.uint32::<$number>(u16::from_ne_bytes(part::<2, $at, _>($b)) as u32)
    };
    (@put $row:ident, $b:ident, $number:literal, be16($at:literal)) => {
        $row.uint32::<$number>(u16::from_be_bytes(part::<2, $at, _>($b)) as u32)
    };
    (@put $row:ident, $b:ident, $number:literal, u32($at:literal)) => {
        $row.uint32::<$number>(u32::from_ne_bytes(part::<4, $at, _>($b)))
    };
    (@put $row:ident, $b:ident, $number:literal, u64($at:literal)) => {
        $row.uint64::<$number>(u64::from_ne_bytes(part::<8, $at, _>($b)))
    };
}

/// A member's bytes, by one load: of single bytes put together the compiler makes three.
#[inline(always)]
fn part<const SIZE: usize, const AT: usize, const N: usize>(structure: &[u8; N]) -> [u8; SIZE] {
    const { assert!(AT + SIZE <= N, "a member must lie in its structure") }
    match structure[AT..].first_chunk() {
        Some(part) => *part,
        None => [0; SIZE],
    }
}

fields! { DAEMON:
    1 schema_version Uint32 Daemon "Version of the record format: 1";
    2 daemon_version String Daemon "Version of the program that wrote the row";
    10 timestamp_ns Int64 Daemon "Start of the poll, nanoseconds since 1970-01-01 UTC; the same in all rows of a poll";
    20 hostname String Daemon "--hostname, or the host's own";
    21 location String Daemon "--location";
    30 netns String Daemon "Path by which the network namespace was entered";
    31 netns_inode Uint64 Daemon "Inode of the network namespace; given out again once the namespace is gone";
    32 nsid Uint32 Unset "Id of the namespace as seen from the daemon's own";
    40 container_id String Unset "Container that owns the namespace";
    41 container_runtime String Unset "Runtime of that container";
    42 container_name String Unset "Name of that container";
    43 container_image String Unset "Image of that container";
    50 label String Daemon "--label";
    51 tag String Daemon "--tag";
    60 record_counter Uint64 Daemon "Number of the row in this run of the daemon, from 1, without gaps";
    61 socket_fd Uint64 Daemon "Descriptor of the netlink socket that read the row";
    62 netlinker_id Uint64 Unset "Reader thread of the reference program; there are none here";
    70 instance_id Uint64 Daemon "Random id of this run of the daemon, never 0";
    71 poll_sequence Uint64 Daemon "Number of the poll in this run, from 1";
    73 netns_cookie Uint64 Daemon "SO_NETNS_COOKIE: identifies the namespace for as long as the machine runs; 0 before Linux 5.14";
    74 inet_diag_attributes Uint32 Daemon "Attributes that this row holds, bit n for INET_DIAG_* number n: tells absent from 0";
    75 tcp_info_length_bytes Uint32 Daemon "Length of the kernel's tcp_info: members behind it are absent, not 0";
}

fields! { UPLINK1:
    100 uplink1_ifname String Unset "Name of the uplink interface";
    101 uplink1_nic_driver String Unset "Driver of its network card";
    102 uplink1_nic_model String Unset "Model of its network card";
    103 uplink1_nic_pci_vendor Uint32 Unset "PCI vendor id";
    104 uplink1_nic_pci_device Uint32 Unset "PCI device id";
    105 uplink1_nic_bus_info String Unset "Bus address";
    106 uplink1_nic_speed_mbps Uint32 Unset "Link speed, megabits per second";
    107 uplink1_nic_fw_version String Unset "Firmware version";
    120 uplink1_lldp_chassis_name String Unset "LLDP system name of the switch";
    121 uplink1_lldp_chassis_id String Unset "LLDP chassis id of the switch";
    122 uplink1_lldp_mgmt_ip String Unset "LLDP management address of the switch";
    123 uplink1_lldp_port_id String Unset "LLDP port id on the switch";
    124 uplink1_lldp_port_descr String Unset "LLDP port description";
}

fields! { UPLINK2:
    200 uplink2_ifname String Unset "Name of the uplink interface";
    201 uplink2_nic_driver String Unset "Driver of its network card";
    202 uplink2_nic_model String Unset "Model of its network card";
    203 uplink2_nic_pci_vendor Uint32 Unset "PCI vendor id";
    204 uplink2_nic_pci_device Uint32 Unset "PCI device id";
    205 uplink2_nic_bus_info String Unset "Bus address";
    206 uplink2_nic_speed_mbps Uint32 Unset "Link speed, megabits per second";
    207 uplink2_nic_fw_version String Unset "Firmware version";
    220 uplink2_lldp_chassis_name String Unset "LLDP system name of the switch";
    221 uplink2_lldp_chassis_id String Unset "LLDP chassis id of the switch";
    222 uplink2_lldp_mgmt_ip String Unset "LLDP management address of the switch";
    223 uplink2_lldp_port_id String Unset "LLDP port id on the switch";
    224 uplink2_lldp_port_descr String Unset "LLDP port description";
}

structure! { INET_DIAG_MSG_HEAD, put_message_head, 72, Message:
    1001 inet_diag_msg_family u8(0) "Address family: 2 IPv4, 10 IPv6";
    1002 inet_diag_msg_state u8(1) "TCP state, include/net/tcp_states.h: 1 ESTABLISHED ... 10 LISTEN, 12 NEW_SYN_RECV";
    1003 inet_diag_msg_timer u8(2) "Timer that runs: 0 none, 1 retransmission, 2 keep-alive, 3 TIME_WAIT, 4 zero-window probe";
    1004 inet_diag_msg_retrans u8(3) "Retransmissions or probes sent for that timer";
    1005 inet_diag_msg_socket_source_port be16(4) "Local port";
    1006 inet_diag_msg_socket_destination_port be16(6) "Remote port";
}

fields! { INET_DIAG_MSG_ADDRESSES:
    1007 inet_diag_msg_socket_source Bytes Message "Local address, 16 bytes; IPv4 takes the first 4";
    1008 inet_diag_msg_socket_destination Bytes Message "Remote address, 16 bytes; IPv4 takes the first 4";
}

structure! { INET_DIAG_MSG_ID, put_message_id, 72, Message:
    1009 inet_diag_msg_socket_interface u32(40) "Index of the interface that the socket is bound to, 0 none";
    1010 inet_diag_msg_socket_cookie u64(44) "Identifies the socket for as long as the machine runs";
}

fields! { INET_DIAG_MSG_ASN:
    1011 inet_diag_msg_socket_dest_asn Uint64 Unset "Autonomous system of the remote address";
    1012 inet_diag_msg_socket_next_hop_asn Uint64 Unset "Autonomous system of the next hop";
}

structure! { INET_DIAG_MSG_TAIL, put_message_tail, 72, Message:
    1013 inet_diag_msg_expires u32(52) "Until the timer fires, milliseconds";
    1014 inet_diag_msg_rqueue u32(56) "Bytes received and not read; for a listener connections not accepted";
    1015 inet_diag_msg_wqueue u32(60) "Bytes sent and not acknowledged; for a listener the bound of the accept queue";
    1016 inet_diag_msg_uid u32(64) "User that owns the socket";
    1017 inet_diag_msg_inode u32(68) "Inode of the socket, 0 when no process holds it";
}

structure! { MEMINFO, put_meminfo, 16, MEMINFO:
    1101 mem_info_rmem u32(0) "Receive memory in use, bytes";
    1102 mem_info_wmem u32(4) "Send memory queued, bytes";
    1103 mem_info_fmem u32(8) "Memory reserved for later use, bytes";
    1104 mem_info_tmem u32(12) "Send memory in use, bytes";
}

structure! { TCP_INFO, put_tcp_info, 280, INFO:
    1201 tcp_info_state u8(0) "TCP state, include/net/tcp_states.h; for a listener or a half-open request too";
    1202 tcp_info_ca_state u8(1) "Congestion avoidance state: 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss";
    1203 tcp_info_retransmits u8(2) "Unrecovered retransmission time-outs in a row";
    1204 tcp_info_probes u8(3) "Window or keep-alive probes unanswered";
    1205 tcp_info_backoff u8(4) "Exponent by which the retransmission time-out is backed off";
    1206 tcp_info_options u8(5) "Negotiated options, bits: 1 timestamps, 2 SACK, 4 window scale, 8 ECN, 16 ECN seen, 32 SYN data, 64 usec timestamps, 128 child of a fast-open listener";
    1207 tcp_info_send_scale bits(6, 0, 4) "Window scale of the peer, as a shift";
    1208 tcp_info_rcv_scale bits(6, 4, 4) "Window scale of this side, as a shift";
    1209 tcp_info_delivery_rate_app_limited bits(7, 0, 1) "1 when delivery_rate was limited by the application";
    1210 tcp_info_fast_open_client_failed bits(7, 1, 2) "Why a fast-open client fell back: 0 unspecified, 1 cookie not there, 2 data not acked, 3 SYN retransmitted";
    1215 tcp_info_rto u32(8) "Retransmission time-out, microseconds";
    1216 tcp_info_ato u32(12) "Delayed-ACK time-out, microseconds";
    1217 tcp_info_snd_mss u32(16) "Maximum segment size sent, bytes";
    1218 tcp_info_rcv_mss u32(20) "Estimate of the maximum segment size received, bytes";
    1219 tcp_info_unacked u32(24) "Segments sent and not acknowledged; for a listener the length of the accept queue";
    1220 tcp_info_sacked u32(28) "Segments selectively acknowledged; for a listener the bound of the accept queue";
    1221 tcp_info_lost u32(32) "Segments held for lost";
    1222 tcp_info_retrans u32(36) "Segments retransmitted and not yet acknowledged";
    1223 tcp_info_fackets u32(40) "Not used since Linux 4.15: 0";
    1224 tcp_info_last_data_sent u32(44) "Since data was last sent, milliseconds";
    1225 tcp_info_last_ack_sent u32(48) "Not remembered by the kernel: 0";
    1226 tcp_info_last_data_recv u32(52) "Since data was last received, milliseconds";
    1227 tcp_info_last_ack_recv u32(56) "Since an ACK was last received, milliseconds";
    1228 tcp_info_pmtu u32(60) "Path MTU, bytes";
    1229 tcp_info_rcv_ssthresh u32(64) "Current window clamp of the receiver, bytes";
    1230 tcp_info_rtt u32(68) "Smoothed round-trip time, microseconds";
    1231 tcp_info_rtt_var u32(72) "Mean deviation of the round-trip time, microseconds";
    1232 tcp_info_snd_ssthresh u32(76) "Slow-start threshold, segments";
    1233 tcp_info_snd_cwnd u32(80) "Congestion window, segments";
    1234 tcp_info_adv_mss u32(84) "Maximum segment size advertised, bytes";
    1235 tcp_info_reordering u32(88) "Reordering that is tolerated, segments";
    1236 tcp_info_rcv_rtt u32(92) "Round-trip time as the receiver estimates it, microseconds";
    1237 tcp_info_rcv_space u32(96) "Receive-buffer autotuning: bytes copied to the application in a round trip";
    1238 tcp_info_total_retrans u32(100) "Segments retransmitted in the connection's life";
    1239 tcp_info_pacing_rate u64(104) "Pacing rate, bytes per second; all ones is unlimited";
    1240 tcp_info_max_pacing_rate u64(112) "Bound of the pacing rate, bytes per second; all ones is unlimited";
    1241 tcp_info_bytes_acked u64(120) "Bytes sent and acknowledged (RFC 4898 tcpEStatsAppHCThruOctetsAcked)";
    1242 tcp_info_bytes_received u64(128) "Bytes received in order (RFC 4898 tcpEStatsAppHCThruOctetsReceived)";
    1243 tcp_info_segs_out u32(136) "Segments sent (RFC 4898 tcpEStatsPerfSegsOut)";
    1244 tcp_info_segs_in u32(140) "Segments received (RFC 4898 tcpEStatsPerfSegsIn)";
    1245 tcp_info_not_sent_bytes u32(144) "Bytes in the send queue that were never sent";
    1246 tcp_info_min_rtt u32(148) "Smallest round-trip time in the kernel's window, microseconds";
    1247 tcp_info_data_segs_in u32(152) "Segments with data received (RFC 4898 tcpEStatsDataSegsIn)";
    1248 tcp_info_data_segs_out u32(156) "Segments with data sent (RFC 4898 tcpEStatsDataSegsOut)";
    1249 tcp_info_delivery_rate u64(160) "Most recent goodput seen by the sender, bytes per second";
    1250 tcp_info_busy_time u64(168) "Time with data outstanding, microseconds";
    1251 tcp_info_rwnd_limited u64(176) "Time limited by the peer's receive window, microseconds";
    1252 tcp_info_sndbuf_limited u64(184) "Time limited by the send buffer, microseconds";
    1253 tcp_info_delivered u32(192) "Segments delivered, retransmitted ones included";
    1254 tcp_info_delivered_ce u32(196) "Segments delivered with a CE mark echoed";
    1255 tcp_info_bytes_sent u64(200) "Bytes sent, retransmitted ones included (RFC 4898 tcpEStatsPerfHCDataOctetsOut)";
    1256 tcp_info_bytes_retrans u64(208) "Bytes retransmitted (RFC 4898 tcpEStatsPerfOctetsRetrans)";
    1257 tcp_info_dsack_dups u32(216) "Duplicate SACKs received (RFC 4898 tcpEStatsStackDSACKDups)";
    1258 tcp_info_reord_seen u32(220) "Reordering events seen";
    1259 tcp_info_rcv_ooopack u32(224) "Out-of-order segments received";
    1260 tcp_info_snd_wnd u32(228) "The peer's advertised receive window after scaling, bytes";
    1261 tcp_info_rcv_wnd u32(232) "The local advertised receive window after scaling, bytes";
    1262 tcp_info_rehash u32(236) "Rehashes of the flow by PLB or by a time-out";
    1263 tcp_info_total_rto u16(240) "Retransmission time-outs, SYN and SYN-ACK included";
    1264 tcp_info_total_rto_recoveries u16(242) "Recoveries from retransmission time-outs";
    1265 tcp_info_total_rto_time u32(244) "Time spent in time-out recovery, milliseconds";
    1266 tcp_info_received_ce u32(248) "Segments received with a CE mark";
    1267 tcp_info_delivered_e1_bytes u32(252) "Bytes delivered with an ECT(1) mark, as the peer's AccECN option counts them";
    1268 tcp_info_delivered_e0_bytes u32(256) "Bytes delivered with an ECT(0) mark, as the peer's AccECN option counts them";
    1269 tcp_info_delivered_ce_bytes u32(260) "Bytes delivered with a CE mark, as the peer's AccECN option counts them";
    1270 tcp_info_received_e1_bytes u32(264) "Bytes received with an ECT(1) mark";
    1271 tcp_info_received_e0_bytes u32(268) "Bytes received with an ECT(0) mark";
    1272 tcp_info_received_ce_bytes u32(272) "Bytes received with a CE mark";
    1273 tcp_info_accecn_fail_mode u16(276) "AccECN failures seen, bits: 1 ACE sent, 2 ACE received, 4 option sent, 8 option received";
    1274 tcp_info_accecn_opt_seen u16(278) "AccECN option: 0 not seen, 1 empty, 2 with counters, 3 failed";
}

fields! { CONG:
    1300 congestion_algorithm_string String (in CONG) "Name of the congestion control";
    1301 congestion_algorithm_enum Congestion (in CONG) "The congestion control, where the contract has a number for it";
}

fields! { TOS:
    1401 type_of_service Uint32 (TOS) "IPv4 type of service";
    1402 traffic_class Uint32 (TCLASS) "IPv6 traffic class";
}

structure! { SKMEMINFO, put_skmeminfo, 36, SKMEMINFO:
    1501 sk_mem_info_rmem_alloc u32(0) "Receive memory in use, bytes";
    1502 sk_mem_info_rcv_buf u32(4) "Receive buffer, bytes";
    1503 sk_mem_info_wmem_alloc u32(8) "Send memory in use, bytes";
    1504 sk_mem_info_snd_buf u32(12) "Send buffer, bytes";
    1505 sk_mem_info_fwd_alloc u32(16) "Memory reserved for later use, bytes";
    1506 sk_mem_info_wmem_queued u32(20) "Send memory queued, bytes";
    1507 sk_mem_info_optmem u32(24) "Memory of socket options, bytes";
    1508 sk_mem_info_backlog u32(28) "Bytes in the backlog queue";
    1509 sk_mem_info_drops u32(32) "Packets dropped by the socket";
}

fields! { SHUTDOWN:
    1600 shutdown_state Uint32 (SHUTDOWN) "Directions shut down, bits: 1 receive, 2 send";
}

structure! { VEGASINFO, put_vegasinfo, 16, VEGASINFO:
    1701 vegas_info_enabled u32(0) "1 while Vegas is in charge";
    1702 vegas_info_rtt_cnt u32(4) "Round-trip times measured in this round";
    1703 vegas_info_rtt u32(8) "Smallest round-trip time of the last round, microseconds";
    1704 vegas_info_min_rtt u32(12) "Smallest round-trip time of the connection, microseconds";
}

structure! { DCTCPINFO, put_dctcpinfo, 16, DCTCPINFO:
    1801 dctcp_info_enabled u16(0) "1 while DCTCP is in charge";
    1802 dctcp_info_ce_state u16(2) "1 when the last segment received had a CE mark";
    1803 dctcp_info_alpha u32(4) "Share of marked bytes, as a fraction of 1024";
    1804 dctcp_info_ab_ecn u32(8) "Bytes acknowledged with a mark, last window";
    1805 dctcp_info_ab_tot u32(12) "Bytes acknowledged, last window";
}

structure! { BBRINFO, put_bbrinfo, 20, BBRINFO:
    1901 bbr_info_bw_lo u32(0) "Bandwidth estimate, bytes per second, low 32 bits";
    1902 bbr_info_bw_hi u32(4) "Bandwidth estimate, bytes per second, high 32 bits";
    1903 bbr_info_min_rtt u32(8) "Smallest round-trip time, microseconds";
    1904 bbr_info_pacing_gain u32(12) "Pacing gain, in 1/256";
    1905 bbr_info_cwnd_gain u32(16) "Congestion window gain, in 1/256";
}

fields! { SOCKET:
    2001 class_id Uint32 (CLASS_ID) "Traffic-control class, else the socket's priority";
    2002 sock_opt Uint32 (SOCKOPT) "struct inet_diag_sockopt as 16 bits, from bit 0: recverr is_icsk freebind hdrincl mc_loop transparent mc_all nodefrag bind_address_no_port recverr_rfc4884 defer_connect";
    2103 c_group Uint64 (CGROUP_ID) "Id of the cgroup v2 of the socket";
    2200 sk_mark Uint32 (MARK) "SO_MARK; only with CAP_NET_ADMIN";
    2201 sk_v6only Uint32 (SKV6ONLY) "1 for an IPv6 socket that takes no IPv4";
    2202 md5sig_keys Uint32 (MD5SIG) "TCP-MD5 keys of the socket; the keys themselves are not exported; only with CAP_NET_ADMIN";
    2210 ulp_name String (in ULP_INFO) "Upper-layer protocol: tls, mptcp, espintcp, smc";
    2211 ulp_tls_version Uint32 (in ULP_INFO) "TLS version as on the wire: 771 is 1.2, 772 is 1.3";
    2212 ulp_tls_cipher Uint32 (in ULP_INFO) "Cipher, include/uapi/linux/tls.h";
    2213 ulp_tls_txconf Uint32 (in ULP_INFO) "Sending: 1 plain, 2 software, 3 device, 4 device with its own record layer";
    2214 ulp_tls_rxconf Uint32 (in ULP_INFO) "Receiving: as ulp_tls_txconf";
    2215 ulp_tls_zc_ro_tx Uint32 (in ULP_INFO) "1 when sendfile sends without a copy (TLS_TX_ZEROCOPY_RO)";
    2216 ulp_tls_rx_no_pad Uint32 (in ULP_INFO) "1 when TLS 1.3 records are expected without padding (TLS_RX_EXPECT_NO_PAD)";
    2221 ulp_mptcp_token_rem Uint32 (in ULP_INFO) "Token of the MPTCP connection at the peer";
    2222 ulp_mptcp_token_loc Uint32 (in ULP_INFO) "Token of the MPTCP connection here";
    2223 ulp_mptcp_relwrite_seq Uint32 (in ULP_INFO) "Relative write sequence number of the subflow";
    2224 ulp_mptcp_map_seq Uint64 (in ULP_INFO) "Data sequence number of the current mapping";
    2225 ulp_mptcp_map_sfseq Uint32 (in ULP_INFO) "Subflow sequence number of the current mapping";
    2226 ulp_mptcp_ssn_offset Uint32 (in ULP_INFO) "Offset of the subflow sequence number";
    2227 ulp_mptcp_map_datalen Uint32 (in ULP_INFO) "Length of the current mapping, bytes";
    2228 ulp_mptcp_flags Uint32 (in ULP_INFO) "MPTCP_SUBFLOW_FLAG_*, include/uapi/linux/mptcp.h";
    2229 ulp_mptcp_id_rem Uint32 (in ULP_INFO) "Address id of the peer";
    2230 ulp_mptcp_id_loc Uint32 (in ULP_INFO) "Address id here";
}

/// Length of the longest tcp_info known here, that of Linux 6.18.
pub(super) const TCP_INFO_BYTES: usize = 280;

static TCP_INFO_WHOLE_MEMBERS: [u16; TCP_INFO_BYTES + 1] = {
    let mut whole = [0; TCP_INFO_BYTES + 1];
    let mut length = 0;
    while length <= TCP_INFO_BYTES {
        let mut member = 0;
        while member < TCP_INFO.len() {
            if let Source::Attribute { end, .. } = TCP_INFO[member].source
                && end as usize <= length
                && end > whole[length]
            {
                whole[length] = end;
            }
            member += 1;
        }
        length += 1;
    }
    whole
};

/// How many of the first `length` bytes of a tcp_info are whole members: half a member would read
/// as a wrong number.
#[inline]
pub(super) fn tcp_info_whole_members(length: usize) -> usize {
    TCP_INFO_WHOLE_MEMBERS[length.min(TCP_INFO_BYTES)] as usize
}

const TABLES: [&[Field]; 18] = [
    DAEMON,
    UPLINK1,
    UPLINK2,
    INET_DIAG_MSG_HEAD,
    INET_DIAG_MSG_ADDRESSES,
    INET_DIAG_MSG_ID,
    INET_DIAG_MSG_ASN,
    INET_DIAG_MSG_TAIL,
    MEMINFO,
    TCP_INFO,
    CONG,
    TOS,
    SKMEMINFO,
    SHUTDOWN,
    VEGASINFO,
    DCTCPINFO,
    BBRINFO,
    SOCKET,
];

/// How many fields a row can have.
pub const FIELD_COUNT: usize = {
    let (mut count, mut table) = (0, 0);
    while table < TABLES.len() {
        count += TABLES[table].len();
        table += 1;
    }
    count
};

/// All fields, by ascending number.
pub static FIELDS: [Field; FIELD_COUNT] = {
    let mut all = [DAEMON[0]; FIELD_COUNT];
    let (mut at, mut table) = (0, 0);
    while table < TABLES.len() {
        let mut i = 0;
        while i < TABLES[table].len() {
            all[at] = TABLES[table][i];
            assert!(
                at == 0 || all[at - 1].number < all[at].number,
                "fields must be in ascending order"
            );
            at += 1;
            i += 1;
        }
        table += 1;
    }
    all
};

/// Field number of `Envelope.row`.
pub const ENVELOPE_ROW: u32 = 10;

/// Values of the enum `CongestionAlgorithm`, the kernel's name of each behind it.
pub const CONGESTION_ALGORITHMS: [(u32, &str, &str); 8] = [
    (0, "CONGESTION_ALGORITHM_UNSPECIFIED", ""),
    (1, "CONGESTION_ALGORITHM_CUBIC", "cubic"),
    (2, "CONGESTION_ALGORITHM_DCTCP", "dctcp"),
    (3, "CONGESTION_ALGORITHM_VEGAS", "vegas"),
    (4, "CONGESTION_ALGORITHM_PRAGUE", "prague"),
    (5, "CONGESTION_ALGORITHM_BBR1", "bbr"),
    (6, "CONGESTION_ALGORITHM_BBR2", "bbr2"),
    (7, "CONGESTION_ALGORITHM_BBR3", "bbr3"),
];

const NUMBER_COUNT: usize = FIELDS[FIELD_COUNT - 1].number as usize + 1;
const NO_FIELD: u8 = u8::MAX;
const _: () = assert!(
    FIELD_COUNT < NO_FIELD as usize,
    "an index of the table must fit a byte"
);

static INDEX_BY_NUMBER: [u8; NUMBER_COUNT] = {
    let mut index = [NO_FIELD; NUMBER_COUNT];
    let mut i = 0;
    while i < FIELD_COUNT {
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        let byte = i as u8;
        index[FIELDS[i].number as usize] = byte;
        i += 1;
    }
    index
};

/// Index into [`FIELDS`] of a field number.
#[inline]
pub fn index_of(number: u32) -> Option<usize> {
    match INDEX_BY_NUMBER.get(number as usize) {
        Some(&index) if index != NO_FIELD => Some(index as usize),
        _ => None,
    }
}

impl Field {
    /// The name in the proto3 JSON mapping: `tcp_info_rtt` is `tcpInfoRtt`.
    pub fn json_name(&self) -> String {
        let mut json = String::with_capacity(self.name.len());
        let mut upper = false;
        for c in self.name.chars() {
            match c {
                '_' => upper = true,
                c if upper => {
                    json.push(c.to_ascii_uppercase());
                    upper = false;
                }
                c => json.push(c),
            }
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_finds_its_field() {
        for (i, field) in FIELDS.iter().enumerate() {
            assert_eq!(index_of(field.number), Some(i));
        }
        for number in [0, 3, 72, 1211, 2104, 2231, u32::MAX] {
            assert_eq!(index_of(number), None);
        }
    }

    #[test]
    fn json_names_are_lower_camel_case() {
        let name = |number| FIELDS[index_of(number).unwrap()].json_name();
        assert_eq!(name(1301), "congestionAlgorithmEnum");
        assert_eq!(name(31), "netnsInode");
        assert_eq!(name(101), "uplink1NicDriver");
    }
}
