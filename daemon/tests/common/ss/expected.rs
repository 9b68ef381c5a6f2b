//! What `ss` should print of a socket, made from our row of it by the rules of ss: which fields it
//! leaves out when they are 0, and how it rounds.

use super::{
    context::Context,
    numbers::{signed, time_left},
    output::Line,
    tcp_info::tcp_info,
    words::Words,
};
<<<<<<< HEAD
use crate::common::row::Row;
use std::net::{IpAddr, Ipv6Addr};
=======
use xtcp2::record::FIELDS;

/// What `ss` knows beside the socket.
pub struct Context {
    /// Version of iproute2.
    pub version: (u32, u32),
    /// Names of interfaces by their index.
    pub interfaces: HashMap<u64, String>,
    /// Paths of cgroups by their id.
    pub cgroups: HashMap<u64, String>,
}

impl Context {
    /// That of the calling thread's namespace.
    pub fn new(version: (u32, u32)) -> Context {
        let interfaces = nix::net::if_::if_nameindex().unwrap();
        let mut cgroups = HashMap::new();
        if let Some(mount) = cgroup2_mount() {
            list_cgroups(&mount, &mount, &mut cgroups);
        }
        Context {
            version,
            interfaces: interfaces
                .iter()
                .map(|interface| {
                    (
                        interface.index().into(),
                        interface.name().to_str().unwrap().to_owned(),
                    )
                })
                .collect(),
            cgroups,
        }
    }
}

/// The first one, as ss takes it.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    mounts.lines().find_map(|mount| {
        let words: Vec<&str> = mount.split(' ').collect();
        (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
    })
}

/// The id of a cgroup is the inode of its folder.
fn list_cgroups(mount: &Path, folder: &Path, cgroups: &mut HashMap<u64, String>) {
    let name = folder.strip_prefix(mount).unwrap().display();
    cgroups.insert(fs::metadata(folder).unwrap().ino(), format!("/{name}"));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        list_cgroups(mount, &entry.path(), cgroups);
    }
}

/// A row in the format json.
pub struct Row(pub Value);

impl Row {
    fn value(&self, field: &str) -> Option<&Value> {
        let field = FIELDS.iter().find(|known| known.name == field);
        self.0.get(field.expect("a field of the table").json_name())
    }

    /// A number; `None` where the row has none.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.value(field).map(|value| {
            value
                .as_u64()
                .unwrap_or_else(|| panic!("{field}: expected a number, got {value}"))
        })
    }

    /// A number, 0 where the row has none: ss pads a short tcp_info with zeros.
    fn padded(&self, field: &str) -> u64 {
        self.number(field).unwrap_or(0)
    }

    /// A text; empty where the row has none.
    pub fn text(&self, field: &str) -> &str {
        self.value(field).map_or("", |value| {
            value
                .as_str()
                .unwrap_or_else(|| panic!("{field}: expected a text, got {value}"))
        })
    }

    /// The socket's cookie.
    pub fn cookie(&self) -> u64 {
        self.padded("inet_diag_msg_socket_cookie")
    }

    /// Whether the kernel sent the attribute of that INET_DIAG_* number.
    fn has(&self, attribute: u8) -> bool {
        self.padded("inet_diag_attributes") >> attribute & 1 == 1
    }
}
>>>>>>> main

/// The line that `ss` should print.
pub fn line(row: &Row, context: &Context) -> Line {
    let mut line = Line::new();
    columns(row, context, &mut line);
    details(row, context, &mut line);
    memory(row, &mut line);
    if row.has(2) {
        tcp_info(row, context, &mut line);
    }
    if let Some(keys) = row.number("md5sig_keys") {
        line.insert("md5keys".to_owned(), format!("{keys} keys"));
    }
    upper_layer(row, context, &mut line);
    line
}

const STATES: [(&str, &str); 11] = [
    ("ESTABLISHED", "ESTAB"),
    ("SYN_SENT", "SYN-SENT"),
    ("SYN_RECV", "SYN-RECV"),
    ("FIN_WAIT1", "FIN-WAIT-1"),
    ("FIN_WAIT2", "FIN-WAIT-2"),
    ("TIME_WAIT", "TIME-WAIT"),
    ("CLOSE", "UNCONN"),
    ("CLOSE_WAIT", "CLOSE-WAIT"),
    ("LAST_ACK", "LAST-ACK"),
    ("LISTEN", "LISTEN"),
    ("CLOSING", "CLOSING"),
];

fn columns(row: &Row, context: &Context, line: &mut Line) {
    let mut words = Words { row, line };
    let ours = row.text("inet_diag_msg_state");
    let state = STATES.iter().find(|state| state.0 == ours);
    words.put("state", state.map_or(ours, |state| state.1));
    words.put("recv-q", signed(row.padded("inet_diag_msg_rqueue")));
    words.put("send-q", signed(row.padded("inet_diag_msg_wqueue")));
    let interface = match row.padded("inet_diag_msg_socket_interface") {
        0 => String::new(),
        index => match context.interfaces.get(&index) {
            Some(name) => format!("%{name}"),
            None => format!("%if{index}"),
        },
    };
    words.put("local", end(row, "source", &interface));
    words.put("peer", end(row, "destination", ""));
}

fn end(row: &Row, which: &str, interface: &str) -> String {
    let address: IpAddr = row
        .text(&format!("inet_diag_msg_socket_{which}"))
        .parse()
        .unwrap();
    let address = match address {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if row.padded("sk_v6only") == 0 => "*".to_owned(),
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    match row.padded(&format!("inet_diag_msg_socket_{which}_port")) {
        0 => format!("{address}{interface}:*"),
        port => format!("{address}{interface}:{port}"),
    }
}

fn details(row: &Row, context: &Context, line: &mut Line) {
    let mut words = Words { row, line };
    let timer = row.text("inet_diag_msg_timer");
    if timer != "none" {
        let left = time_left(row.padded("inet_diag_msg_expires"));
        let retrans = row.padded("inet_diag_msg_retrans");
        words.put("timer", format!("({timer},{left},{retrans})"));
    }
    words.put_some("uid", row.padded("inet_diag_msg_uid"));
    words.put("ino", row.padded("inet_diag_msg_inode"));
    words.put("sk", format!("{:x}", row.cookie()));
    if let Some(mark @ 1..) = row.number("sk_mark") {
        words.put("fwmark", format!("{mark:#x}"));
    }
    if let Some(id @ 1..) = row.number("c_group") {
        match context.cgroups.get(&id) {
            Some(path) => words.put("cgroup", path),
            None => words.put("cgroup", format!("unreachable:{id:x}")),
        }
    }
    if let (Some(only), "IPv6") = (row.number("sk_v6only"), row.text("inet_diag_msg_family")) {
        words.put("v6only", only);
    }
    if let Some(closed) = row.number("shutdown_state") {
        words.put("shutdown", SHUTDOWNS.get(index(closed)).unwrap_or(&"?"));
    }
    for (key, field) in [
        ("tos", "type_of_service"),
        ("tclass", "traffic_class"),
        ("class_id", "class_id"),
    ] {
        match row.number(field) {
            None => {}
            // The # of %#x leaves a 0 alone.
            Some(0) => words.put(key, 0),
            Some(value) => words.put(key, format!("{value:#x}")),
        }
    }
    if let Some(bits) = row.number("sock_opt") {
        let names = SOCKET_OPTIONS.iter().enumerate();
        let set = names.filter(|(bit, _)| bits >> bit & 1 == 1);
        let set: Vec<&str> = set.map(|(_, name)| *name).collect();
        words.put("inet-sockopt", set.join(" "));
    }
}

/// By the directions that are shut down.
const SHUTDOWNS: [&str; 4] = ["<->", "-->", "<--", "---"];

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// `struct inet_diag_sockopt`, from bit 0.
const SOCKET_OPTIONS: [&str; 11] = [
    "recverr",
    "is_icsk",
    "freebind",
    "hdrincl",
    "mc_loop",
    "transparent",
    "mc_all",
    "nodefrag",
    "bind_addr_no_port",
    "recverr_rfc4884",
    "defer_connect",
];

fn memory(row: &Row, line: &mut Line) {
    let parts = [
        ("r", "rmem_alloc"),
        ("rb", "rcv_buf"),
        ("t", "wmem_alloc"),
        ("tb", "snd_buf"),
        ("f", "fwd_alloc"),
        ("w", "wmem_queued"),
        ("o", "optmem"),
        ("bl", "backlog"),
        ("d", "drops"),
    ];
    if row.has(7) {
        let parts: Vec<String> = parts
            .iter()
            .map(|(name, field)| format!("{name}{}", row.padded(&format!("sk_mem_info_{field}"))))
            .collect();
        line.insert("skmem".to_owned(), format!("({})", parts.join(",")));
    }
}

<<<<<<< HEAD
=======
/// The kernel's initial retransmission time-out of long ago: ss does not print it.
const RTO_NOT_PRINTED_US: u64 = 3_000_000;
/// From here on a slow-start threshold is "none yet".
const SSTHRESH_END: u64 = 0xffff;
const DEFAULT_REORDERING: u64 = 3;

fn tcp_info(row: &Row, context: &Context, line: &mut Line) {
    let listens = row.text("inet_diag_msg_state") == "LISTEN";
    let newer = context.version >= (6, 6);
    let mut words = Words { row, line };
    let info = |field: &str| row.padded(&format!("tcp_info_{field}"));

    let options = info("options");
    for (key, bit) in [
        ("ts", 1),
        ("sack", 2),
        ("ecn", 8),
        ("ecnseen", 16),
        ("fastopen", 32),
    ] {
        if options & bit != 0 {
            words.put(key, "");
        }
    }
    if context.version >= (6, 8) && options & 64 != 0 {
        words.put("usec_ts", "");
    }
    if row.has(4) {
        words.put("cong", row.text("congestion_algorithm_string"));
    }
    if options & 4 != 0 {
        words.put("wscale", format!("{},{}", info("send_scale"), info("rcv_scale")));
    }
    if info("rto") != RTO_NOT_PRINTED_US {
        words.milliseconds("rto", "tcp_info_rto");
    }
    if info("rtt") != 0 {
        let (rtt, var) = (info("rtt") as f64 / 1000.0, info("rtt_var") as f64 / 1000.0);
        words.put("rtt", format!("{}/{}", general(rtt), general(var)));
    }
    words.milliseconds("ato", "tcp_info_ato");
    words.milliseconds("rcv_rtt", "tcp_info_rcv_rtt");
    if info("min_rtt") != u64::from(u32::MAX) {
        words.milliseconds("minrtt", "tcp_info_min_rtt");
    }
    for (key, field) in [("mss", "snd_mss"), ("rcvmss", "rcv_mss"), ("advmss", "adv_mss")] {
        if info(field) != 0 {
            words.put(key, signed(info(field)));
        }
    }
    for (key, field) in [("rcv_space", "rcv_space"), ("reord_seen", "reord_seen")] {
        if info(field) != 0 {
            words.put(key, signed(info(field)));
        }
    }
    if info("snd_ssthresh") < SSTHRESH_END {
        words.put_some("ssthresh", info("snd_ssthresh"));
    }
    if info("reordering") != DEFAULT_REORDERING {
        words.put("reordering", signed(info("reordering")));
    }
    words.counts(&COUNTS);
    if newer {
        words.counts(&[("rcv_wnd", "tcp_info_rcv_wnd"), ("rehash", "tcp_info_rehash")]);
    }
    if !listens {
        words.counts(&[("sacked", "tcp_info_sacked")]);
    }
    if info("retrans") != 0 || info("total_retrans") != 0 {
        words.put(
            "retrans",
            format!("{}/{}", info("retrans"), info("total_retrans")),
        );
    }
    if info("delivery_rate_app_limited") != 0 {
        words.put("app_limited", "");
    }
    let busy = info("busy_time");
    if busy != 0 {
        words.put("busy", format!("{}ms", busy / 1000));
        for key in ["rwnd_limited", "sndbuf_limited"] {
            let limited = info(key);
            if limited != 0 {
                let share = 100.0 * limited as f64 / busy as f64;
                words.put(key, format!("{}ms({share:.1}%)", limited / 1000));
            }
        }
    }
    rates(&mut words);
    congestion_information(&mut words);
}

const COUNTS: [(&str, &str); 24] = [
    ("backoff", "tcp_info_backoff"),
    ("pmtu", "tcp_info_pmtu"),
    ("cwnd", "tcp_info_snd_cwnd"),
    ("bytes_sent", "tcp_info_bytes_sent"),
    ("bytes_retrans", "tcp_info_bytes_retrans"),
    ("bytes_acked", "tcp_info_bytes_acked"),
    ("bytes_received", "tcp_info_bytes_received"),
    ("segs_out", "tcp_info_segs_out"),
    ("segs_in", "tcp_info_segs_in"),
    ("data_segs_out", "tcp_info_data_segs_out"),
    ("data_segs_in", "tcp_info_data_segs_in"),
    ("lastsnd", "tcp_info_last_data_sent"),
    ("lastrcv", "tcp_info_last_data_recv"),
    ("lastack", "tcp_info_last_ack_recv"),
    ("delivered", "tcp_info_delivered"),
    ("delivered_ce", "tcp_info_delivered_ce"),
    ("unacked", "tcp_info_unacked"),
    ("lost", "tcp_info_lost"),
    ("dsack_dups", "tcp_info_dsack_dups"),
    ("fackets", "tcp_info_fackets"),
    ("rcv_ssthresh", "tcp_info_rcv_ssthresh"),
    ("notsent", "tcp_info_not_sent_bytes"),
    ("rcv_ooopack", "tcp_info_rcv_ooopack"),
    ("snd_wnd", "tcp_info_snd_wnd"),
];

/// Bytes per second here, bits per second there.
fn rates(words: &mut Words<'_>) {
    let row = words.row;
    let rate = |field: &str| match row.padded(field) {
        u64::MAX => None,
        0 => None,
        rate => Some(rate as f64 * 8.0),
    };
    let mut rtt = row.padded("tcp_info_rtt");
    if row.padded("vegas_info_enabled") != 0 && ![0, 0x7fff_ffff].contains(&row.padded("vegas_info_rtt")) {
        rtt = u64::from(signed(row.padded("vegas_info_rtt")).cast_unsigned());
    }
    let (mss, cwnd) = (row.padded("tcp_info_snd_mss"), row.padded("tcp_info_snd_cwnd"));
    if rtt != 0 && mss != 0 && cwnd != 0 {
        let send = cwnd as f64 * mss as f64 * 8_000_000.0 / rtt as f64;
        words.put("send", format!("{send:.0}bps"));
    }
    if let Some(pacing) = rate("tcp_info_pacing_rate") {
        match rate("tcp_info_max_pacing_rate") {
            Some(most) => words.put("pacing_rate", format!("{pacing:.0}bps/{most:.0}bps")),
            None => words.put("pacing_rate", format!("{pacing:.0}bps")),
        }
    }
    let delivery = row.padded("tcp_info_delivery_rate");
    if delivery != 0 {
        words.put("delivery_rate", format!("{:.0}bps", delivery as f64 * 8.0));
    }
}

fn congestion_information(words: &mut Words<'_>) {
    let row = words.row;
    if row.has(9) {
        let part = |name: &str| row.padded(&format!("dctcp_info_{name}"));
        if part("enabled") == 0 {
            words.put("dctcp", "fallback_mode");
        } else {
            let (ce, alpha) = (part("ce_state"), part("alpha"));
            let (ecn, tot) = (part("ab_ecn"), part("ab_tot"));
            words.put(
                "dctcp",
                format!("(ce_state:{ce},alpha:{alpha},ab_ecn:{ecn},ab_tot:{tot})"),
            );
        }
    }
    if row.has(16) {
        let part = |name: &str| row.padded(&format!("bbr_info_{name}"));
        let bw = (part("bw_hi") << 32 | part("bw_lo")) as f64 * 8.0;
        let mut bbr = format!("(bw:{bw:.0}bps,mrtt:{}", general(part("min_rtt") as f64 / 1000.0));
        for gain in ["pacing_gain", "cwnd_gain"] {
            if part(gain) != 0 {
                bbr += &format!(",{gain}:{}", general(part(gain) as f64 / 256.0));
            }
        }
        words.put("bbr", bbr + ")");
    }
}

>>>>>>> main
fn upper_layer(row: &Row, context: &Context, line: &mut Line) {
    let mut words = Words { row, line };
    if row.text("ulp_name").is_empty() {
        return;
    }
    words.put("tcp-ulp", row.text("ulp_name"));
    match row.number("ulp_tls_version") {
        None => {}
        Some(771) => words.put("version", "1.2"),
        Some(772) => words.put("version", "1.3"),
        Some(other) => words.put("version", format!("unknown({other})")),
    }
    match row.number("ulp_tls_cipher") {
        Some(51) => words.put("cipher", "aes-gcm-128"),
        Some(52) => words.put("cipher", "aes-gcm-256"),
        _ => {}
    }
    for name in ["rxconf", "txconf"] {
        if let Some(number) = row.number(&format!("ulp_tls_{name}")) {
            let text = ["", "none", "sw", "hw", "hw-record"].get(index(number));
            words.put(name, text.unwrap_or(&"unknown"));
        }
    }
    for (key, flag, since) in [
        ("zc_ro_tx", "ulp_tls_zc_ro_tx", (6, 0)),
        ("no_pad_rx", "ulp_tls_rx_no_pad", (6, 5)),
    ] {
        if context.version >= since && row.padded(flag) != 0 {
            words.put(key, "");
        }
    }
    if row.number("ulp_mptcp_token_loc").is_some() {
        subflow(&mut words, context);
    }
}

/// MPTCP_SUBFLOW_FLAG_*, from bit 0.
const SUBFLOW_FLAGS: [char; 9] = ['M', 'm', 'J', 'j', 'B', 'b', 'e', 'c', 'v'];

fn subflow(words: &mut Words<'_>, context: &Context) {
    let row = words.row;
    let part = |name: &str| row.padded(&format!("ulp_mptcp_{name}"));
    let flags = part("flags");
    if flags != 0 {
        let letters = SUBFLOW_FLAGS.iter().enumerate();
        let set = letters.filter(|(bit, _)| flags >> bit & 1 == 1);
        words.put("flags", set.map(|(_, letter)| letter).collect::<String>());
    }
    words.put(
        "token",
        format!(
            "{:04x}(id:{})/{:04x}(id:{})",
            part("token_rem"),
            part("id_rem"),
            part("token_loc"),
            part("id_loc")
        ),
    );
    for (key, name) in [
        ("seq", "map_seq"),
        ("sfseq", "map_sfseq"),
        ("ssnoff", "ssn_offset"),
        ("maplen", "map_datalen"),
    ] {
        if context.version >= (6, 5) {
            words.put(key, part(name));
        } else {
            words.put(key, format!("{:x}", part(name)));
        }
    }
}
