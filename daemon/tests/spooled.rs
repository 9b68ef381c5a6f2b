//! The real program with a spool: what one left behind when it was killed, the next one delivers, through
//! every kind of output that leaves the host. And what Kafka adds: threads, and secrets that show nowhere.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;

use common::{
    host::{Sockets, ip},
    program::Program,
    rows::{self, Head},
    sandbox,
};
use nix::sys::signal::Signal;
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use xtcp2::spool::journal::{self, EventKind};

const SOON: Duration = Duration::from_secs(20);

fn start(dest: &str, spool: &Path, more: &[&str]) -> Program {
    let spool = spool.display().to_string();
    let mut arguments = vec!["-dest", dest, "--spool-dir", &spool, "-frequency", "50ms"];
    arguments.extend(["-envelopeFlushRows", "50", "-promListen", "127.0.0.1:0"]);
    arguments.extend(more);
    Program::start(&arguments)
}

/// A daemon whose receiver is away, killed after some polls. Returns its instance id, and how many rows it
/// had made by its journal.
fn killed_while_the_receiver_is_away(dest: &str, spool: &Path) -> (u64, u64) {
    let mut program = start(dest, spool, &[]);
    program.metric_when("xtcp2_spool_messages_total", |messages| messages >= 8.0);
    program.signal(Signal::SIGKILL);
    assert!(!program.wait().success());
    let entries = journal::read(spool).unwrap();
    assert!(entries.len() >= 8);
    assert!(entries.iter().all(|entry| entry.kind == EventKind::Produced));
    let produced = entries.iter().map(|entry| u64::from(entry.rows)).sum();
    let last = entries.last().unwrap();
    assert_eq!(
        last.first_record_counter + u64::from(last.rows) - 1,
        produced,
        "no gap"
    );
    (last.identity.instance_id, produced)
}

/// Asserts that the rows are those of the killed daemon, all and in order, and then those of the next.
fn assert_both(rows: &[Head], (killed, produced): (u64, u64)) {
    let of_next = rows.iter().position(|row| row.instance_id != killed).unwrap();
    let (of_killed, of_next) = rows.split_at(of_next);
    rows::assert_complete(of_killed);
    assert_eq!(of_killed.len() as u64, produced);
    assert_eq!(rows::assert_complete(of_next), 3);
}

fn ends_well(mut program: Program, spool: &Path) {
    assert!(program.wait().success());
    assert_eq!(program.summary().dropped, 0);
    let entries = journal::read(spool).unwrap();
    assert!(entries.iter().all(|entry| entry.kind == EventKind::Produced));
}

fn through_a_stream<S: Read>(name: &str, dest: impl Fn(&Path) -> String, accept: impl Fn(&Path) -> S) {
    sandbox::run(name, || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(100));
        let (spool, dest) = (folder.path().join("spool"), dest(folder.path()));
        let killed = killed_while_the_receiver_is_away(&dest, &spool);
        let program = start(&dest, &spool, &["-maxLoops", "3"]);
        let mut bytes = Vec::new();
        accept(folder.path()).read_to_end(&mut bytes).unwrap();
        ends_well(program, &spool);
        assert_both(&rows::envelopes(&bytes).concat(), killed);
        drop(sockets);
    });
}

#[test]
fn a_tcp_stream_gets_what_a_killed_daemon_left() {
    through_a_stream(
        "a_tcp_stream_gets_what_a_killed_daemon_left",
        |_| "tcp:127.0.0.1:7001".to_owned(),
        |_| TcpListener::bind("127.0.0.1:7001").unwrap().accept().unwrap().0,
    );
}

#[test]
fn a_unix_stream_gets_what_a_killed_daemon_left() {
    let path = |folder: &Path| folder.join("receiver");
    through_a_stream(
        "a_unix_stream_gets_what_a_killed_daemon_left",
        |folder| format!("unix:{}", path(folder).display()),
        |folder| UnixListener::bind(path(folder)).unwrap().accept().unwrap().0,
    );
}

#[test]
fn unix_datagrams_bring_what_a_killed_daemon_left() {
    sandbox::run("unix_datagrams_bring_what_a_killed_daemon_left", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(100));
        let (spool, path) = (folder.path().join("spool"), folder.path().join("receiver"));
        let dest = format!("unixgram:{}", path.display());
        let killed = killed_while_the_receiver_is_away(&dest, &spool);
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut program = start(&dest, &spool, &["-maxLoops", "3"]);
        let mut seen = Vec::new();
        let mut datagram = vec![0; 1 << 20];
        let mut more = true;
        while more || program.is_running() {
            more = receiver.recv(&mut datagram).is_ok_and(|length| {
                seen.extend(rows::envelopes(&datagram[..length]).concat());
                true
            });
        }
        ends_well(program, &spool);
        assert_both(&seen, killed);
        drop(sockets);
    });
}

/// Answers every POST with 200; hands on what was asked for and the body.
fn serve(listener: &TcpListener, requests: &mpsc::Sender<(String, Vec<u8>)>) {
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).unwrap_or(0) == 0 {
                    break;
                }
            }
            let Some(length) = head.split("Content-Length: ").nth(1) else {
                break;
            };
            let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            requests.send((head, body)).unwrap();
            let ok = b"HTTP/1.1 200 OK\r\nX-ClickHouse-Query-Id: 1\r\nContent-Length: 0\r\n\r\n";
            stream.get_mut().write_all(ok).unwrap();
        }
    }
}

fn through_http(name: &str, dest: &str, identity_of: impl Fn(&str) -> String) {
    sandbox::run(name, || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(100));
        let spool = folder.path().join("spool");
        let killed = killed_while_the_receiver_is_away(dest, &spool);
        let listener = TcpListener::bind("127.0.0.1:7002").unwrap();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || serve(&listener, &sender));
        ends_well(start(dest, &spool, &["-maxLoops", "3"]), &spool);
        let requests: Vec<(String, Vec<u8>)> = requests.try_iter().collect();
        let mut seen = Vec::new();
        let mut sequences = BTreeMap::<u64, u64>::new();
        for (head, body) in &requests {
            let rows = rows::envelopes(body).concat();
            let sequence = sequences.entry(rows[0].instance_id).or_default();
            *sequence += 1;
            assert_eq!(
                identity_of(head),
                format!("{:016x}-{sequence}", rows[0].instance_id)
            );
            seen.extend(rows);
        }
        assert_both(&seen, killed);
        drop(sockets);
    });
}

#[test]
fn http_gets_what_a_killed_daemon_left_under_its_old_identity() {
    through_http(
        "http_gets_what_a_killed_daemon_left_under_its_old_identity",
        "http://127.0.0.1:7002/rows",
        |head| {
            let after = head.split("Idempotency-Key: ").nth(1).unwrap();
            after.split("\r\n").next().unwrap().to_owned()
        },
    );
}

#[test]
fn clickhouse_gets_what_a_killed_daemon_left_under_its_old_token() {
    through_http(
        "clickhouse_gets_what_a_killed_daemon_left_under_its_old_token",
        "clickhouse:http://127.0.0.1:7002/xtcp.rows",
        |head| {
            let after = head.split("insert_deduplication_token=").nth(1).unwrap();
            after.split(' ').next().unwrap().to_owned()
        },
    );
}

const TOPIC: &str = "rows";

/// Messages of the topic: so many.
fn topic(bootstrap: &str, count: usize) -> Vec<(String, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut seen = Vec::new();
    let end = Instant::now() + SOON;
    while seen.len() < count && Instant::now() < end {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            seen.push((key, message.payload().unwrap().to_vec()));
        }
    }
    seen
}

#[test]
fn kafka_gets_what_a_killed_daemon_left_under_its_old_key() {
    sandbox::run("kafka_gets_what_a_killed_daemon_left_under_its_old_key", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(100));
        let spool = folder.path().join("spool");
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        let dest = format!("kafka:{}", cluster.bootstrap_servers());
        cluster.broker_down(1).unwrap();
        let killed = killed_while_the_receiver_is_away(&dest, &spool);
        cluster.broker_up(1).unwrap();
        let program = start(&dest, &spool, &["-maxLoops", "3", "-topic", TOPIC]);
        ends_well(program, &spool);
        let messages = journal::read(&spool).unwrap().len();
        let seen = topic(&cluster.bootstrap_servers(), messages);
        for (key, value) in &seen {
            assert!(key.starts_with(&format!("{:016x}-", rows::envelopes(value)[0][0].instance_id)));
        }
        let rows: Vec<Head> = seen
            .iter()
            .flat_map(|(_, value)| rows::envelopes(value).concat())
            .collect();
        assert_both(&rows, killed);
        drop(sockets);
    });
}

#[test]
fn kafka_takes_no_more_threads_than_it_is_said_to() {
    sandbox::run("kafka_takes_no_more_threads_than_it_is_said_to", || {
        ip("link set lo up");
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic(TOPIC, 3, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let bootstrap = brokers.split(',').next().unwrap();
        let dest = format!("kafka:{bootstrap}");
        let arguments = [
            "-dest",
            &dest,
            "-topic",
            TOPIC,
            "-frequency",
            "20ms",
            "-promListen",
            "127.0.0.1:0",
        ];
        let mut program = Program::start(&arguments);
        let most_within = |time: Duration| {
            let (mut most, end) = (Vec::new(), Instant::now() + time);
            while Instant::now() < end {
                let threads = program.threads();
                if threads.len() > most.len() {
                    most = threads;
                }
                thread::sleep(Duration::from_millis(1));
            }
            most
        };
        let most = most_within(Duration::from_secs(5));
        // Ours, librdkafka's main and internal threads, one bootstrap address, three brokers.
        assert!(most.len() > 3 && most.len() <= 7, "{most:?}");
        for _ in 0..5 {
            program.signal(Signal::SIGHUP);
            let most = most_within(Duration::from_secs(1));
            // The one that waits for the end of the others, and then as many anew.
            assert!(most.len() > 3 && most.len() <= 8, "{most:?}");
        }
        program.metric_when("xtcp2_kafka_brokers", |brokers| brokers == 3.0);
        assert!(program.metrics().value("xtcp2_output_delivered_rows_total") > 0.0);
        program.signal(Signal::SIGTERM);
        assert!(program.wait().success());
    });
}

#[test]
fn a_secret_is_neither_in_the_log_nor_in_proc_nor_printed() {
    sandbox::run("a_secret_is_neither_in_the_log_nor_in_proc_nor_printed", || {
        ip("link set lo up");
        const SECRET: &str = "correct-horse-battery";
        let folder = sandbox::folder();
        let file = folder.path().join("password");
        fs::write(&file, format!("{SECRET}\n")).unwrap();
        let cluster = MockCluster::new(1).unwrap();
        let dest = format!("kafka:{}", cluster.bootstrap_servers());
        let password = format!("sasl.password=@{}", file.display());
        let arguments = [
            "-dest",
            &dest,
            "--kafka-property",
            "security.protocol=SASL_PLAINTEXT",
            "--kafka-property",
            "sasl.mechanism=PLAIN",
            "--kafka-property",
            "sasl.username=xtcp",
            "--kafka-property",
            &password,
            "-frequency",
            "50ms",
            "--log-level",
            "trace",
            "-promListen",
            "127.0.0.1:0",
        ];
        let mut program = Program::start(&arguments);
        // The mock cluster does not speak SASL: there is something to complain about.
        program.metric_when("xtcp2_output_errors_total", |errors| errors >= 1.0);
        let metrics = program.get("/metrics").text().to_owned();
        program.signal(Signal::SIGHUP);
        program.log_line("SIGHUP");
        for page in ["cmdline", "environ", "status"] {
            let bytes = fs::read(format!("/proc/{}/{page}", program.id())).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(SECRET), "{page}");
        }
        assert!(!metrics.contains(SECRET));
        program.signal(Signal::SIGTERM);
        program.signal(Signal::SIGTERM);
        program.wait();
        let log = program.log().join("\n");
        assert!(log.contains("output kafka:") && !log.contains(SECRET), "{log}");
        // Given itself, it is refused, and not repeated.
        let given = format!("sasl.password={SECRET}");
        let mut program = Program::start(&["-dest", &dest, "--kafka-property", &given]);
        assert_eq!(program.wait().code(), Some(78));
        let log = program.log().join("\n");
        assert!(
            log.contains("sasl.password=@FILE") && !log.contains(SECRET),
            "{log}"
        );
    });
}

#[test]
fn a_second_daemon_and_another_format_are_refused_by_name() {
    sandbox::run("a_second_daemon_and_another_format_are_refused_by_name", || {
        ip("link set lo up");
        let folder = sandbox::folder();
        let spool = folder.path().join("spool");
        let dest = "tcp:127.0.0.1:7003";
        let mut first = start(dest, &spool, &[]);
        first.metric_when("xtcp2_spool_messages_total", |messages| messages >= 1.0);
        let mut second = start(dest, &spool, &[]);
        // It may be a predecessor that is about to end.
        assert_eq!(second.wait().code(), Some(1));
        assert!(
            second.log().join("\n").contains(&format!("{}", first.id())),
            "{:?}",
            second.log()
        );
        // With everything on disk and nobody there, the end waits for nobody.
        let begin = Instant::now();
        assert!(first.terminate().success());
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        assert!(
            first
                .log()
                .join("\n")
                .contains("stay in the spool for the next start")
        );
        assert_eq!(first.summary().dropped, 0);
        let mut other = start(dest, &spool, &["-marshal", "jsonl"]);
        assert_eq!(other.wait().code(), Some(78));
        let log = other.log().join("\n");
        assert!(log.contains("protobufList") && log.contains("--marshal"), "{log}");
        let file = folder.path().join("rows").display().to_string();
        let mut to_file = start(&format!("file:{file}"), &spool, &[]);
        assert_eq!(to_file.wait().code(), Some(78));
        assert!(to_file.log().join("\n").contains("destination on the network"));
    });
}
