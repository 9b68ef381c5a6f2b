//! What `ss` prints of tcp_info and of what congestion controls add to it.

use super::{
    context::Context,
    numbers::{general, signed},
    output::Line,
    words::Words,
};
use crate::common::json_row::Row;

/// The kernel's initial retransmission time-out of long ago: ss does not print it.
const RTO_NOT_PRINTED_US: u64 = 3_000_000;
/// From here on a slow-start threshold is "none yet".
const SSTHRESH_END: u64 = 0xffff;
const DEFAULT_REORDERING: u64 = 3;

pub fn tcp_info(row: &Row, context: &Context, line: &mut Line) {
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
