//! What `ss` should print of a socket, made from our row of it by the rules of ss: which fields it
//! leaves out when they are 0, and how it rounds.

use super::{
    context::Context,
    numbers::{signed, time_left},
    output::Line,
    tcp_info::tcp_info,
    words::Words,
};
use crate::common::json_row::Row;
use std::net::{IpAddr, Ipv6Addr};

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
