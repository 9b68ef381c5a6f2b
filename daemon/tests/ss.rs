//! Every field of our rows that `ss` of iproute2 prints, against what it prints.
//!
//! Twice over: of the same bytes, which `ss` reads from a file, where all must be equal to the last
//! digit; and of the running kernel's sockets, looked at one after the other, where ages and timers
//! may move on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;
mod messages;

use common::{
    captures,
    json_row::Row,
    namespace::Namespace,
    poll, sandbox,
    scenes::{GROUPS, Network, Scene},
    ss::{self, context::Context, expected, output::Line, tolerance::differences},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// Retransmissions come less and less often: the first few are waited for.
const QUIET_AFTER: Duration = Duration::from_millis(1500);
/// A timer may fire between two looks at its socket; twenty times in a row it does not.
const ATTEMPTS: u32 = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(170);

/// How often each word was compared.
#[derive(Default)]
struct Tally(BTreeMap<String, u32>);

impl Tally {
    fn add(&mut self, line: &Line) {
        let count = |tally: &mut Tally, word: &str| *tally.0.entry(word.to_owned()).or_default() += 1;
        count(self, &line["state"]);
        for (word, value) in line {
            count(self, word);
            if word == "cong" || word == "tcp-ulp" {
                count(self, value);
            }
        }
    }

    fn require(&self, least: &[(&str, u32)]) {
        for (word, least) in least {
            let seen = self.0.get(*word).copied().unwrap_or(0);
            assert!(
                seen >= *least,
                "{word}: expected {least} or more, got {seen}: {:?}",
                self.0
            );
        }
    }
}

fn version() -> Option<(u32, u32)> {
    let version = ss::version();
    if version.is_none() {
        eprintln!("skipped: no program ss (package iproute2) here");
    }
    version
}

/// Compares rows with what `ss` makes of the bytes they were made of.
fn compare_same_bytes(rows: &[(Row, Vec<u8>)], context: &Context, folder: &Path, tally: &mut Tally) {
    let replies: Vec<Vec<u8>> = rows.iter().map(|(_, reply)| reply.clone()).collect();
    let lines = ss::of_replies(&replies, folder);
    assert_eq!(lines.len(), rows.len(), "as many lines of ss as rows");
    for ((row, reply), theirs) in rows.iter().zip(&lines) {
        let wrong = differences(&expected::line(row, context), theirs, None);
        assert!(wrong.is_empty(), "{wrong:#?}\nof {theirs:?}\nfrom {reply:?}");
        tally.add(theirs);
    }
}

/// Compares rows with what `ss` now says of the same sockets; the differences.
fn compare_live(rows: &[&Row], context: &Context, since: Instant, tally: &mut Tally) -> Vec<String> {
    let lines = ss::live();
    let elapsed_ms = u64::try_from(since.elapsed().as_millis()).unwrap();
    let mut by_cookie: HashMap<u64, Line> = lines
        .into_iter()
        .map(|line| (u64::from_str_radix(&line["sk"], 16).unwrap(), line))
        .collect();
    let mut wrong = Vec::new();
    for row in rows {
        let ours = expected::line(row, context);
        match by_cookie.remove(&row.cookie()) {
            None => wrong.push(format!("ss has no {ours:?}")),
            Some(theirs) => {
                let differences = differences(&ours, &theirs, Some(elapsed_ms));
                if !differences.is_empty() {
                    wrong.push(format!("{differences:?} of {theirs:?}"));
                }
                tally.add(&theirs);
            }
        }
    }
    wrong.extend(by_cookie.values().map(|line| format!("no row of {line:?}")));
    wrong
}

struct World {
    network: Network,
    scenes: Vec<Scene>,
}

impl World {
    fn new() -> World {
        let network = Network::new();
        let scenes: Vec<Scene> = GROUPS.iter().map(|(_, make)| make(&network)).collect();
        for what in scenes.iter().flat_map(|scene| &scene.skipped) {
            eprintln!("not compared: {what}");
        }
        sleep(QUIET_AFTER);
        World { network, scenes }
    }

    fn namespaces(&self) -> [&Namespace; 3] {
        let Network {
            own, client, server, ..
        } = &self.network;
        [own, &client.namespace, &server.namespace]
    }
}

/// The rows of a namespace; those of the own one have another name than the folder's.
fn rows_of<'a>(rows: &'a [(Row, Vec<u8>)], namespace: &Namespace) -> Vec<&'a (Row, Vec<u8>)> {
    rows.iter()
        .filter(|(row, _)| match namespace.path() {
            Some(path) => Path::new(row.text("netns")) == path,
            None => !row.text("netns").starts_with("/run/netns/"),
        })
        .collect()
}

/// Well below what was seen. What some kernels and containers do not have is not listed: a scene
/// that cannot make it says so.
const LEAST_LIVE: &[(&str, u32)] = &[
    ("ESTAB", 40),
    ("SYN-SENT", 4),
    ("SYN-RECV", 2),
    ("FIN-WAIT-1", 4),
    ("FIN-WAIT-2", 4),
    ("TIME-WAIT", 2),
    ("CLOSE-WAIT", 4),
    ("LAST-ACK", 2),
    ("LISTEN", 8),
    ("CLOSING", 2),
    ("cubic", 1),
    ("reno", 1),
    ("state", 100),
    ("recv-q", 100),
    ("send-q", 100),
    ("local", 100),
    ("peer", 100),
    ("timer", 10),
    ("ino", 100),
    ("sk", 100),
    ("fwmark", 2),
    ("cgroup", 50),
    ("v6only", 3),
    ("shutdown", 50),
    ("tos", 50),
    ("tclass", 10),
    ("class_id", 50),
    ("inet-sockopt", 50),
    ("skmem", 50),
    ("ts", 50),
    ("sack", 50),
    ("cong", 50),
    ("wscale", 50),
    ("rto", 50),
    ("backoff", 2),
    ("rtt", 50),
    ("ato", 20),
    ("mss", 50),
    ("pmtu", 50),
    ("rcvmss", 50),
    ("advmss", 50),
    ("cwnd", 50),
    ("ssthresh", 1),
    ("bytes_sent", 20),
    ("bytes_retrans", 2),
    ("bytes_acked", 20),
    ("bytes_received", 20),
    ("segs_out", 50),
    ("segs_in", 50),
    ("data_segs_out", 20),
    ("data_segs_in", 20),
    ("send", 50),
    ("lastsnd", 50),
    ("lastrcv", 50),
    ("lastack", 50),
    ("pacing_rate", 50),
    ("delivery_rate", 20),
    ("delivered", 50),
    ("app_limited", 10),
    ("busy", 20),
    ("unacked", 4),
    ("retrans", 4),
    ("lost", 2),
    ("rcv_space", 50),
    ("minrtt", 50),
];

#[test]
fn live_sockets() {
    let Some(version) = version() else { return };
    sandbox::run("live_sockets", || {
        let world = World::new();
        let folder = sandbox::folder();
        let recording = folder.path().join("recording.pcapng");
        for attempt in 1..=ATTEMPTS {
            let started = Instant::now();
            let rows = poll::poll(&recording);
            let (mut wrong, mut live, mut same) = (Vec::new(), Tally::default(), Tally::default());
            for namespace in world.namespaces() {
                let rows = rows_of(&rows, namespace);
                let only: Vec<&Row> = rows.iter().map(|(row, _)| row).collect();
                namespace.enter(|| {
                    let context = Context::new(version);
                    wrong.extend(compare_live(&only, &context, started, &mut live));
                });
            }
            for namespace in world.namespaces() {
                let rows: Vec<(Row, Vec<u8>)> = rows_of(&rows, namespace)
                    .into_iter()
                    .map(|(row, reply)| (Row(row.0.clone()), reply.clone()))
                    .collect();
                namespace.enter(|| {
                    compare_same_bytes(&rows, &Context::new(version), folder.path(), &mut same);
                });
            }
            if wrong.is_empty() {
                eprintln!("{} rows, attempt {attempt}: {:?}", rows.len(), live.0);
                drop(world.scenes);
                live.require(LEAST_LIVE);
                same.require(LEAST_LIVE);
                return;
            }
            assert!(attempt < ATTEMPTS, "{wrong:#?}");
            eprintln!("attempt {attempt}: {wrong:#?}");
            sleep(BETWEEN_ATTEMPTS);
        }
    });
}

#[test]
fn recordings() {
    let Some(version) = version() else { return };
    sandbox::run("recordings", || {
        let context = Context::new(version);
        let folder = sandbox::folder();
        let mut tally = Tally::default();
        for fixture in captures::fixtures() {
            compare_same_bytes(&poll::replay(&fixture), &context, folder.path(), &mut tally);
        }
        eprintln!("{:?}", tally.0);
    });
}

/// One message with other numbers in all places, many times.
#[test]
fn numbers_of_all_sizes() {
    let Some(version) = version() else { return };
    sandbox::run("numbers_of_all_sizes", || {
        let context = Context::new(version);
        let folder = sandbox::folder();
        let mut random = messages::Random(11);
        let replies: Vec<Vec<u8>> = (0..500).map(|_| messages::varied(&mut random)).collect();
        let recording = folder.path().join("varied.pcapng");
        captures::write(&recording, "varied", &replies);
        let mut tally = Tally::default();
        compare_same_bytes(&poll::replay(&recording), &context, folder.path(), &mut tally);
        eprintln!("{:?}", tally.0);
    });
}

/// What is let through between two looks at a socket, and what is not.
#[test]
fn tolerances_end() {
    let wrong = |key: &str, ours: &str, theirs: &str, elapsed_ms| {
        let line = |value: &str| Line::from([(key.to_owned(), value.to_owned())]);
        !differences(&line(ours), &line(theirs), elapsed_ms).is_empty()
    };
    assert!(!wrong("timer", "(on,1.234ms,2)", "(on,1.204ms,2)", Some(25)));
    assert!(wrong("timer", "(on,1.234ms,2)", "(on,1.204ms,2)", Some(5)));
    assert!(wrong("timer", "(on,1.234ms,2)", "(on,1.234ms,3)", Some(5)));
    assert!(wrong("timer", "(on,1.234ms,2)", "(persist,1.234ms,2)", Some(5)));
    assert!(wrong("timer", "(on,1.204ms,2)", "(on,1.234ms,2)", Some(100)));
    assert!(!wrong(
        "timer",
        "(timewait,59sec,0)",
        "(timewait,58sec,0)",
        Some(25)
    ));
    assert!(wrong(
        "timer",
        "(timewait,59sec,0)",
        "(timewait,56sec,0)",
        Some(25)
    ));
    assert!(!wrong(
        "timer",
        "(keepalive,119min,0)",
        "(keepalive,118min,0)",
        Some(25)
    ));
    assert!(!wrong(
        "timer",
        "(timewait,1min3sec,0)",
        "(timewait,1min2sec,0)",
        Some(25)
    ));
    assert!(!wrong("timer", "(on,004ms,2)", "(on,,2)", Some(5)));
    assert!(!wrong("lastsnd", "40", "60", Some(5)));
    assert!(wrong("lastsnd", "40", "80", Some(5)));
    assert!(wrong("lastsnd", "60", "40", Some(5)));
    assert!(!wrong("busy", "40ms", "44ms", Some(5)));
    assert!(wrong("rtt", "40", "41", Some(5)));
    assert!(wrong("lastsnd", "40", "41", None));
}

#[test]
fn a_line_is_taken_apart_whole() {
    let line = "LISTEN 0 4096 *:22 *:* ino:1 <-> inet-sockopt: ( recverr mc_all) reno send 8bps novel";
    assert_eq!(ss::output::parse(line), Err("cong came twice".to_owned()));
    let line = ss::output::parse(line.trim_end_matches(" novel")).unwrap();
    assert_eq!(line["inet-sockopt"], "recverr mc_all");
    assert_eq!((line["cong"].as_str(), line["send"].as_str()), ("reno", "8bps"));
    assert_eq!(
        (line["local"].as_str(), line["shutdown"].as_str()),
        ("*:22", "<->")
    );
    assert_eq!(line.len(), 10);
}
