//! kafka-to-clickhouse against librdkafka's mock cluster and a ClickHouse that answers as it is told:
//! what is inserted, in which order, with which tokens, and when offsets are committed.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::{
    running::Running,
    stub::{self, Request, Stub},
    topic::{INSTANCE, TOPIC, Topic, envelope, key},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::TcpListener,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use xtcp2_soak::{
    clickhouse::{Table, parse_url},
    kafka_to_clickhouse::{Counts, Options, Pump},
};

const GROUP: &str = "xtcp-clickhouse";
/// Longer than the mock cluster takes for the first assignment, also on a busy machine under a race detector.
const IDLE: Duration = Duration::from_secs(6);

fn options(topic: &Topic, stub_url: &str) -> Options {
    let (clickhouse_url, table) = parse_url(stub_url).unwrap();
    Options {
        brokers: topic.brokers(),
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        clickhouse_url,
        table: table.unwrap(),
        dead_letters: Table::parse("xtcp.dead_letters").unwrap(),
        headers: vec![("X-ClickHouse-User".to_owned(), "me".to_owned())],
        kafka_properties: Vec::new(),
        idle_max: None,
    }
}

/// For tests of rebalances: the mock cluster waits for the session's time with each.
fn options_of_member(topic: &Topic, stub_url: &str) -> Options {
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Options {
        kafka_properties: vec![
            property("session.timeout.ms", "6000"),
            property("heartbeat.interval.ms", "500"),
        ],
        ..options(topic, stub_url)
    }
}

/// Ends the members of a scope also where its test fails: the scope waits for them.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs it until nothing comes any more.
fn drain(options: &Options) -> Counts {
    let mut pump = Pump::open(options).unwrap();
    pump.run(&AtomicBool::new(false), Some(IDLE)).unwrap();
    pump.counters().now()
}

fn tokens(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(Request::token).collect()
}

#[test]
fn each_message_is_one_insert_with_its_token_in_order_and_then_committed() {
    let topic = Topic::new(1);
    topic.send_envelopes(0, 1..=20, 3);
    let stub = Stub::start(|_| stub::ok());
    let counts = drain(&options(&topic, &stub.url()));
    assert_eq!(
        (counts.messages, counts.rows, counts.retries, counts.foreign_keys),
        (20, 60, 0, 0)
    );
    let requests = stub.requests();
    assert_eq!(tokens(&requests), (1..=20).map(key).collect::<Vec<_>>());
    for (request, sequence) in requests.iter().zip(1..) {
        assert_eq!(request.body, envelope(INSTANCE, sequence, 3));
        assert_eq!(
            request.query(),
            "INSERT INTO xtcp.xtcp_flat_records FORMAT ProtobufList"
        );
        assert_eq!(request.headers["x-clickhouse-user"], "me");
        for (name, value) in [
            ("async_insert", "0"),
            ("wait_end_of_query", "1"),
            ("format_schema", "XtcpFlatRecord:XtcpFlatRecord"),
            ("deduplicate_blocks_in_dependent_materialized_views", "1"),
        ] {
            assert_eq!(request.parameters[name], value);
        }
    }
    assert_eq!(topic.committed(GROUP, 0), Some(20));
    assert_eq!(
        drain(&options(&topic, &stub.url())).messages,
        0,
        "nothing comes twice"
    );
}

#[test]
fn what_was_refused_comes_again_as_it_was_until_it_is_stored() {
    let topic = Topic::new(1);
    topic.send_envelopes(0, 1..=5, 2);
    let mut asked = 0;
    // A view that fails, a server that restarts, a table that is not there: each one is mended.
    let stub = Stub::start(move |request| {
        asked += 1;
        match asked {
            2 => stub::exception(6, "Cannot parse string: while pushing to view xtcp.v (0-0)"),
            3 => stub::stranger(503, "no backend"),
            4 => stub::exception(60, "Table xtcp.xtcp_flat_records does not exist"),
            _ => {
                assert!(!request.body.is_empty());
                stub::ok()
            }
        }
    });
    let counts = drain(&options(&topic, &stub.url()));
    assert_eq!((counts.messages, counts.retries, counts.dead_letters), (5, 3, 0));
    let requests = stub.requests();
    let expected = [1, 2, 2, 2, 2, 3, 4, 5].map(key);
    assert_eq!(
        tokens(&requests),
        expected,
        "the same token again, and nothing overtakes it"
    );
    assert!(
        requests[1..5]
            .iter()
            .all(|request| request.body == envelope(INSTANCE, 2, 2))
    );
    assert_eq!(topic.committed(GROUP, 0), Some(5));
}

#[test]
fn partitions_that_arrive_during_an_outage_are_neither_lost_nor_reordered() {
    let topic = Topic::new(3);
    for partition in 0..3u64 {
        let first = partition * 100 + 1;
        topic.send_envelopes(i32::try_from(partition).unwrap(), first..=first + 9, 1);
    }
    let mut failures = 0;
    let stub = Stub::start(move |request| {
        // Every fourth message fails once or twice.
        failures += 1;
        match request.token().ends_with(['3', '7']) && failures % 3 != 0 {
            true => stub::exception(252, "Too many parts"),
            false => stub::ok(),
        }
    });
    let requests_of = |stub: &Stub| {
        let mut by_partition = BTreeMap::<u64, Vec<u64>>::new();
        for request in stub.requests() {
            let sequence: u64 = request.token().rsplit_once('-').unwrap().1.parse().unwrap();
            let list = by_partition.entry(sequence / 100).or_default();
            if list.last() != Some(&sequence) {
                list.push(sequence);
            }
        }
        by_partition
    };
    let counts = drain(&options(&topic, &stub.url()));
    assert_eq!(counts.messages, 30);
    assert!(counts.retries > 0);
    for (partition, sequences) in requests_of(&stub) {
        let first = partition * 100 + 1;
        assert_eq!(sequences, (first..=first + 9).collect::<Vec<_>>());
        assert_eq!(
            topic.committed(GROUP, i32::try_from(partition).unwrap()),
            Some(10)
        );
    }
}

#[test]
fn poison_becomes_a_dead_letter_and_what_is_behind_it_goes_on() {
    let topic = Topic::new(1);
    topic.send_envelopes(0, 1..=1, 1);
    topic.send(0, Some("what"), b"{\"no\": \"envelope\"}");
    topic.send(0, Some(&key(3)), &envelope(INSTANCE, 3, 1));
    topic.send(0, Some("a-host"), &envelope(INSTANCE, 4, 1));
    topic.send(0, None, &envelope(INSTANCE, 5, 1));
    let bad = key(3);
    let mut dead_letters = 0;
    let stub = Stub::start(move |request| {
        let is_dead_letter = request.query().contains("dead_letters");
        dead_letters += u32::from(is_dead_letter);
        match (is_dead_letter, dead_letters) {
            // A dead letter that is not stored is tried again, too.
            (true, 1) => stub::exception(241, "Memory limit exceeded"),
            (false, _) if request.token() == bad => stub::exception(444, "Protobuf messages are corrupted"),
            _ => stub::ok(),
        }
    });
    let counts = drain(&options(&topic, &stub.url()));
    assert_eq!((counts.messages, counts.rows, counts.dead_letters), (5, 3, 2));
    assert_eq!((counts.retries, counts.foreign_keys), (1, 2));
    let requests = stub.requests();
    let tokens = tokens(&requests);
    assert_eq!(tokens[0], key(1));
    assert!(tokens[1].starts_with("dead-letter/xtcp/0/1/") && tokens[1] == tokens[2]);
    assert_eq!(requests[1].body, requests[2].body);
    assert_eq!(
        requests[1].query(),
        "INSERT INTO xtcp.dead_letters (topic, partition, offset, key, raw_message, error) FORMAT TabSeparated"
    );
    let body = String::from_utf8_lossy(&requests[1].body).into_owned();
    assert!(
        body.starts_with("xtcp\t0\t1\twhat\t")
            && body.contains("{\"no\": \"envelope\"}")
            && body.contains("expected")
    );
    assert_eq!(tokens[3], key(3));
    assert!(tokens[4].starts_with("dead-letter/xtcp/0/2/"));
    assert!(tokens[5].starts_with("xtcp/0/3/") && tokens[6].starts_with("xtcp/0/4/"));
    assert_eq!(topic.committed(GROUP, 0), Some(5));
}

/// The program itself.
fn spawn(topic: &Topic, url: &str) -> Running {
    Command::new(env!("CARGO_BIN_EXE_xtcp2-soak"))
        .args([
            "kafka-to-clickhouse",
            "--brokers",
            &topic.brokers(),
            "--clickhouse",
            url,
        ])
        .args(["--kafka-property", "session.timeout.ms=6000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap()
}

fn signal(child: &Running, signal: Signal) {
    kill(Pid::from_raw(child.0.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn after_a_kill_only_what_was_not_committed_comes_again_with_the_same_token() {
    let topic = Topic::new(1);
    topic.send_envelopes(0, 1..=10, 1);
    let sixth = key(6);
    let stub = Stub::start(move |request| match request.token() == sixth {
        true => stub::exception(242, "Table is in readonly mode"),
        false => stub::ok(),
    });
    let mut child = spawn(&topic, &stub.url());
    // Five, and the sixth at least twice: its commits have had time to arrive.
    stub.wait_for(9);
    signal(&child, Signal::SIGKILL);
    child.0.wait().unwrap();
    assert_eq!(
        topic.committed(GROUP, 0),
        Some(5),
        "nothing is committed before it is stored"
    );
    let before = stub.requests().len();
    stub.set_rule(|_| stub::ok());
    let mut child = spawn(&topic, &stub.url());
    stub.wait_for(before + 5);
    signal(&child, Signal::SIGTERM);
    assert!(child.0.wait().unwrap().success());
    assert_eq!(
        tokens(&stub.requests()[before..]),
        (6..=10).map(key).collect::<Vec<_>>()
    );
    assert_eq!(topic.committed(GROUP, 0), Some(10), "the end commits");
}

/// SIGTERM, then: whether the child ended well, its output, and how long it took.
fn terminated(mut child: Running) -> (bool, String, String, Duration) {
    let start = Instant::now();
    signal(&child, Signal::SIGTERM);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    child
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    let status = child.0.wait().unwrap();
    (status.success(), stdout, stderr, start.elapsed())
}

#[test]
fn sigterm_ends_it_while_clickhouse_is_away_and_while_it_does_not_answer() {
    let topic = Topic::new(1);
    topic.send_envelopes(0, 1..=2, 1);
    let stub = Stub::start(|_| stub::stranger(503, ""));
    let child = spawn(&topic, &stub.url());
    stub.wait_for(4);
    let (success, stdout, stderr, _) = terminated(child);
    assert!(success, "{stderr}");
    assert!(stdout.starts_with("0 messages, 0 rows"), "{stdout}");
    assert_eq!(
        stderr.matches("it is tried again").count(),
        1,
        "once an outage: {stderr}"
    );

    // Takes the connection and says nothing, ever.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = spawn(&topic, &format!("http://{}/a.b", silent.local_addr().unwrap()));
    let connection = silent.accept().unwrap();
    let (success, _, stderr, took) = terminated(child);
    assert!(success && stderr.contains("has not answered"), "{stderr}");
    // The INSERT would wait 60 s.
    assert!(took < Duration::from_secs(20), "{took:?}");
    drop(connection);
    assert_eq!(topic.committed(GROUP, 0), None);
}

#[test]
fn success_that_is_not_clickhouse_s_stores_and_commits_nothing() {
    let topic = Topic::new(1);
    topic.send_envelopes(0, 1..=2, 1);
    let stub = Stub::start(|_| stub::stranger(200, "<p>Back soon</p>"));
    let child = spawn(&topic, &stub.url());
    stub.wait_for(4);
    let (success, stdout, stderr, _) = terminated(child);
    assert!(success, "{stderr}");
    assert!(
        stdout.starts_with("0 messages, 0 rows, 0 dead letters"),
        "{stdout}"
    );
    assert!(!stdout.contains(" 0 retries"), "{stdout}");
    for words in ["without X-ClickHouse-Query-Id", "Back soon", "it is tried again"] {
        assert_eq!(stderr.matches(words).count(), 1, "{words}: {stderr}");
    }
    assert!(stub.requests().iter().all(|request| request.token() == key(1)));
    assert_eq!(topic.committed(GROUP, 0), None);
}

#[test]
fn a_second_member_takes_partitions_over_and_nothing_is_left_out() {
    let topic = Topic::new(4);
    let send = |rounds: std::ops::Range<u64>| {
        for (round, partition) in rounds.flat_map(|round| (0..4).map(move |partition| (round, partition))) {
            let first = partition * 100 + round * 4 + 1;
            topic.send_envelopes(i32::try_from(partition).unwrap(), first..=first + 3, 1);
        }
    };
    let stub = Stub::start(|_| stub::ok());
    let options = options_of_member(&topic, &stub.url());
    let stop = AtomicBool::new(false);
    let counts = thread::scope(|scope| {
        let stop_at_end = StopAtEnd(&stop);
        let run = || {
            scope.spawn(|| {
                let mut pump = Pump::open(&options).unwrap();
                pump.run(&stop, None).unwrap();
                pump.counters().now().messages
            })
        };
        send(0..2);
        let first = run();
        wait_for_tokens(&stub, 32);
        let second = run();
        send(2..5);
        wait_for_tokens(&stub, 80);
        drop(stop_at_end);
        [first, second].map(|member| member.join().unwrap())
    });
    // A message comes to both where a rebalance fell between INSERT and commit: then with one token.
    assert_eq!(counts.iter().sum::<u64>(), stub.requests().len() as u64);
    for partition in 0..4 {
        assert_eq!(topic.committed(GROUP, partition), Some(20));
    }
}

#[test]
fn partitions_that_are_taken_over_during_an_outage_wait_for_its_end() {
    let topic = Topic::new(2);
    let stub = Stub::start(|_| stub::ok());
    let mut options = options_of_member(&topic, &stub.url());
    // A member keeps what it has while it gets more: the message in hand stays in hand.
    options.kafka_properties.push((
        "partition.assignment.strategy".to_owned(),
        "cooperative-sticky".to_owned(),
    ));
    let (stop_first, stop_second) = (AtomicBool::new(false), AtomicBool::new(false));
    let send = |range: std::ops::RangeInclusive<u64>| {
        topic.send_envelopes(0, range.clone(), 1);
        topic.send_envelopes(1, *range.start() + 100..=*range.end() + 100, 1);
    };
    let during = thread::scope(|scope| {
        let _stop_at_end = [StopAtEnd(&stop_first), StopAtEnd(&stop_second)];
        let run = |stop| {
            let options = &options;
            scope.spawn(move || Pump::open(options).unwrap().run(stop, None).unwrap())
        };
        let second = run(&stop_second);
        run(&stop_first);
        send(1..=5);
        wait_for_tokens(&stub, 10);
        stub.set_rule(|_| stub::stranger(503, ""));
        send(6..=9);
        wait_for_tokens(&stub, 12);
        stop_second.store(true, Ordering::Release);
        second.join().unwrap();
        // The mock cluster gives its partition to the other one after the session's time.
        thread::sleep(Duration::from_secs(12));
        stub.set_rule(|_| stub::ok());
        let during = stub.requests().len();
        stub.wait_for(during + 8);
        during
    });
    for partition in 0..2 {
        assert_eq!(topic.committed(GROUP, partition), Some(9));
    }
    // What was refused before counts for nothing.
    let stored = stub.requests().split_off(during);
    for first in [6, 106] {
        let of_partition = |token: &&str| (first..first + 4).any(|sequence| key(sequence) == *token);
        let tokens: Vec<&str> = tokens(&stored).into_iter().filter(of_partition).collect();
        assert_eq!(tokens, (first..first + 4).map(key).collect::<Vec<_>>());
    }
}

/// librdkafka keeps a partition paused that is taken away and given back, and says nothing of it.
#[test]
fn a_member_that_comes_and_goes_during_an_outage_leaves_no_partition_unread() {
    let topic = Topic::new(2);
    topic.send_envelopes(0, 1..=5, 1);
    topic.send_envelopes(1, 101..=105, 1);
    let stub = Stub::start(|_| stub::stranger(503, ""));
    let options = options_of_member(&topic, &stub.url());
    let (stop_first, stop_second) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let _stop_at_end = [StopAtEnd(&stop_first), StopAtEnd(&stop_second)];
        let run = |stop| {
            let options = &options;
            scope.spawn(move || Pump::open(options).unwrap().run(stop, None).unwrap())
        };
        run(&stop_first);
        stub.wait_for(3);
        let second = run(&stop_second);
        // Each has one message in hand: both partitions were given anew.
        wait_for_tokens(&stub, 2);
        stop_second.store(true, Ordering::Release);
        second.join().unwrap();
        // The first one gets the other partition as well, after the session's time.
        thread::sleep(Duration::from_secs(12));
        let refused = stub.requests().len();
        stub.set_rule(|_| stub::ok());
        wait_for_tokens_behind(refused, &stub, 10);
    });
    for partition in 0..2 {
        assert_eq!(topic.committed(GROUP, partition), Some(5));
    }
}

#[test]
fn an_outage_of_both_sides_leaves_no_partition_unread() {
    let topic = Topic::new(1);
    topic.send_envelopes(0, 1..=5, 1);
    let first = key(1);
    let stub = Stub::start(move |request| match request.token() == first {
        true => stub::ok(),
        false => stub::stranger(503, ""),
    });
    let options = options_of_member(&topic, &stub.url());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop_at_end = StopAtEnd(&stop);
        scope.spawn(|| Pump::open(&options).unwrap().run(&stop, None).unwrap());
        stub.wait_for(4);
        topic.set_up(false);
        // Longer than the session: what the member has is no longer its own.
        thread::sleep(Duration::from_secs(10));
        topic.set_up(true);
        let refused = stub.requests().len();
        stub.set_rule(|_| stub::ok());
        wait_for_tokens_behind(refused, &stub, 4);
    });
    assert_eq!(topic.committed(GROUP, 0), Some(5));
}

/// Waits until there were so many different tokens.
fn wait_for_tokens(stub: &Stub, count: usize) {
    wait_for_tokens_behind(0, stub, count);
}

/// The same, with the requests at the front left out: those that were refused.
fn wait_for_tokens_behind(refused: usize, stub: &Stub, count: usize) {
    let start = Instant::now();
    loop {
        let requests = stub.requests().split_off(refused);
        let tokens: BTreeSet<&str> = requests.iter().map(Request::token).collect();
        if tokens.len() == count {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "expected {count} tokens, got {}",
            tokens.len()
        );
        thread::sleep(Duration::from_millis(20));
    }
}
