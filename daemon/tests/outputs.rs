//! Where the rows of the real program go: every kind of output, and what a slow one does to polls.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;

use common::{
    host::Sockets,
    program::{Program, command},
    rows::{self, Head},
    sandbox,
};
use nix::sys::resource::{Resource, setrlimit};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    process::Stdio,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// The largest payload of a UDP datagram over IPv4.
const UDP_BYTES_MAX: usize = 65_507;

/// Each is one whole envelope; returns the rows of all.
fn one_each(messages: &[Vec<u8>]) -> Vec<Head> {
    let envelopes = messages
        .iter()
        .map(|message| match rows::envelopes(message).as_slice() {
            [one] => one.clone(),
            others => panic!("expected one envelope, got {}", others.len()),
        });
    envelopes.collect::<Vec<_>>().concat()
}

#[test]
fn a_slow_reader_loses_nothing_and_holds_the_polls_back() {
    sandbox::run("a_slow_reader_loses_nothing_and_holds_the_polls_back", || {
        let sockets = Sockets::open(500);
        // A queue of a few rows, and a namespace that may take less time than the reader does.
        let arguments = [
            "-frequency",
            "30s",
            "-timeout",
            "2s",
            "-procScanEvery",
            "100ms",
            "-envelopeFlushRows",
            "1",
            "-envelopeFlushBytes",
            "8KiB",
            "-outputQueueBytes",
            "24KiB",
        ];
        let mut program = Program::spawn(command(&arguments).stdout(Stdio::piped()));
        let stdout = program.take_stdout();
        program.metric_when("xtcp2_output_stalls_total", |stalls| stalls >= 1.0);

        // The first poll is under way, and everything else goes on.
        assert_eq!(program.get("/readyz").status, 503);
        assert_eq!(program.get("/healthz").status, 200);
        let (before, begin) = (program.cpu(), Instant::now());
        // Longer than `-timeout`, which is for the kernel alone.
        thread::sleep(Duration::from_secs(3));
        let (busy, time) = (program.cpu() - before, begin.elapsed());
        assert!(
            busy < time / 2,
            "it waits, and does not try again and again: {busy:?} of {time:?}"
        );
        let metrics = program.metrics();
        assert_eq!(metrics.value("xtcp2_polls_total"), 0.0);
        assert!(metrics.value("xtcp2_output_queued_bytes") > 10_000.0);

        let mut lines = BufReader::new(stdout).lines();
        let mut counters: Vec<u64> = lines.by_ref().take(1001).map(counter).collect();
        let metrics = program.metrics();
        assert_eq!(program.get("/readyz").status, 200);
        assert_eq!(metrics.sum("xtcp2_output_dropped_rows_total"), 0.0);
        assert_eq!(
            metrics.sum("xtcp2_dump_events_total"),
            0.0,
            "the namespace was not too slow"
        );
        assert!(program.terminate().success());
        counters.extend(lines.map(counter));
        let rows = program.summary().rows;
        assert!(rows > 1001, "those of the test, and the admin server's");
        assert_eq!(counters, (1..=rows).collect::<Vec<u64>>());
        drop(sockets);
    });
}

/// The counter of a row in JSON.
fn counter(line: std::io::Result<String>) -> u64 {
    let row: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
    row["recordCounter"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_receiver_that_stands_still_costs_the_oldest_rows_and_no_poll() {
    sandbox::run(
        "a_receiver_that_stands_still_costs_the_oldest_rows_and_no_poll",
        || {
            let sockets = Sockets::open(300);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let dest = format!("tcp:{}", listener.local_addr().unwrap());
            let mut program = Program::start(&[
                "-dest",
                &dest,
                "-marshal",
                "jsonl",
                "-frequency",
                "100ms",
                "-pollJitterPct",
                "0",
                "-envelopeFlushBytes",
                "16KiB",
                "-outputQueueBytes",
                "256KiB",
                "-shutdownTimeout",
                "100ms",
            ]);
            let _silent = listener.accept().unwrap();
            let dropped = "xtcp2_output_dropped_rows_total{reason=\"queue_full\"}";
            program.metric_when(dropped, |rows| rows > 0.0);
            let metrics = program.metrics();
            assert!(
                metrics.value("xtcp2_output_stalls_total") >= 1.0,
                "the receiver had its time"
            );
            let polls = metrics.value("xtcp2_polls_total");
            let later = program.metric_when("xtcp2_polls_total", |now| now >= polls + 5.0);
            assert!(later < polls + 100.0);
            let metrics = program.metrics();
            assert!(metrics.value("xtcp2_output_queued_bytes") <= 256.0 * 1024.0);
            assert!(metrics.value("xtcp2_output_queued_bytes") > 0.0);
            assert!(program.terminate().success());
            let summary = program.summary();
            assert_eq!(summary.rows, summary.delivered + summary.dropped, "{summary:?}");
            assert!(summary.dropped > 0);
            drop(sockets);
        },
    );
}

#[test]
fn a_limit_on_the_size_of_files_is_like_a_full_disk() {
    sandbox::run("a_limit_on_the_size_of_files_is_like_a_full_disk", || {
        const BYTES_MAX: u64 = 8 << 10;
        let (folder, sockets) = (sandbox::folder(), Sockets::open(300));
        // Of this process, which writes to pipes alone, and with it of those that it starts.
        setrlimit(Resource::RLIMIT_FSIZE, BYTES_MAX, BYTES_MAX).unwrap();
        let path = |name: &str| folder.path().join(name);
        let start = |arguments: &[&str]| {
            let fixed = [
                "-promListen",
                "none",
                "-maxLoops",
                "1",
                "-shutdownTimeout",
                "100ms",
            ];
            let one_by_one = ["-marshal", "jsonl", "-envelopeFlushRows", "1"];
            command(&[&fixed[..], &one_by_one, arguments].concat())
        };
        let refused = "File too large (os error 27); next try in ";

        let dest = format!("file:{}", path("rows").display());
        let mut program = Program::spawn(&mut start(&["-dest", &dest]));
        assert_eq!(program.wait().code(), Some(1));
        program.log_line(refused);
        let rows = fs::read_to_string(path("rows")).unwrap();
        assert!(
            rows.len() as u64 <= BYTES_MAX && rows.ends_with("}\n"),
            "no half line"
        );
        assert_eq!(rows.lines().count() as u64, program.summary().delivered);

        let stdout = fs::File::create(path("stdout")).unwrap();
        let mut program = Program::spawn(start(&[]).stdout(stdout));
        assert_eq!(program.wait().code(), Some(1));
        program.log_line(refused);
        assert_eq!(fs::metadata(path("stdout")).unwrap().len(), BYTES_MAX);

        let recording = path("recording");
        let recording = ["-dest", "null", "--record", recording.to_str().unwrap()];
        let mut program = Program::spawn(&mut start(&recording));
        assert!(program.wait().success(), "rows were asked for first");
        program.log_line("--record: File too large (os error 27); the recording ends here");

        let (nobody, spool) = (format!("unix:{}", path("nobody").display()), path("spool"));
        let spooled = ["-dest", &nobody, "--spool-dir", spool.to_str().unwrap()];
        let mut program = Program::spawn(&mut start(&spooled));
        assert_eq!(program.wait().code(), Some(1));
        program.log_line("File too large (os error 27); messages are kept in memory only");
        drop(sockets);
    });
}

#[test]
fn each_udp_datagram_is_a_message() {
    sandbox::run("each_udp_datagram_is_a_message", || {
        let sockets = Sockets::open(400);
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        nix::sys::socket::setsockopt(&receiver, nix::sys::socket::sockopt::RcvBuf, &(4 << 20)).unwrap();
        let dest = format!("udp:{}", receiver.local_addr().unwrap());
        let mut program = Program::start(&["-promListen", "none", "-dest", &dest, "-maxLoops", "1"]);
        assert!(program.wait().success());
        receiver.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; UDP_BYTES_MAX + 1];
        let mut messages = Vec::new();
        while let Ok(length) = receiver.recv(&mut buffer) {
            messages.push(buffer[..length].to_vec());
        }
        assert!(messages.len() > 2 && messages.iter().all(|message| message.len() <= UDP_BYTES_MAX));
        let rows = one_each(&messages);
        rows::assert_complete(&rows);
        assert_eq!(rows.len(), 801);
        assert_eq!(program.summary().delivered, 801);
        drop(sockets);
    });
}

#[test]
fn each_unix_datagram_is_a_message() {
    sandbox::run("each_unix_datagram_is_a_message", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(400));
        let path = folder.path().join("receiver");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let dest = format!("unixgram:{}", path.display());
        let arguments = [
            "-promListen",
            "none",
            "-dest",
            &dest,
            "-maxLoops",
            "1",
            "-envelopeFlushRows",
            "10",
        ];
        let mut program = Program::start(&arguments);
        receiver
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut messages = Vec::new();
        let mut buffer = vec![0; 1 << 20];
        // The queue of the socket is short: it is read while the program waits for room.
        while messages.len() < 81 || program.is_running() {
            if let Ok(length) = receiver.recv(&mut buffer) {
                messages.push(buffer[..length].to_vec());
            }
        }
        assert!(program.wait().success());
        let rows = one_each(&messages);
        rows::assert_complete(&rows);
        assert_eq!((rows.len(), messages.len()), (801, 81));
        drop(sockets);
    });
}

#[test]
fn a_unix_stream_carries_envelope_after_envelope() {
    sandbox::run("a_unix_stream_carries_envelope_after_envelope", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(200));
        let path = folder.path().join("receiver");
        let listener = UnixListener::bind(&path).unwrap();
        let dest = format!("unix:{}", path.display());
        let arguments = [
            "-promListen",
            "none",
            "-dest",
            &dest,
            "-maxLoops",
            "3",
            "-frequency",
            "20ms",
        ];
        let mut program = Program::start(&arguments);
        let mut stream = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut stream).unwrap();
        assert!(program.wait().success());
        let rows = rows::envelopes(&stream).concat();
        assert_eq!(rows::assert_complete(&rows), 3);
        assert_eq!(rows.len(), 3 * 401);
        drop(sockets);
    });
}

/// Answers one POST after the other with 200 until the client goes; hands the bodies on.
fn serve(stream: impl Read + Write, bodies: &mpsc::Sender<Vec<u8>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => head.push(line.trim_end().to_ascii_lowercase()),
            }
        }
        assert!(head[0].starts_with("post /rows http/1.1"), "{head:?}");
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        bodies.send(body).unwrap();
        reader
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        reader.get_mut().flush().unwrap();
    }
}

#[test]
fn the_log_says_the_wait_that_the_receiver_asked_for() {
    sandbox::run("the_log_says_the_wait_that_the_receiver_asked_for", || {
        let sockets = Sockets::open(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dest = format!("http://{}/rows", listener.local_addr().unwrap());
        let program = Program::start(&["-promListen", "none", "-dest", &dest]);
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let busy = b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
        stream.get_mut().write_all(busy).unwrap();
        program.log_line("HTTP 429; next try in 7s");
        drop(sockets);
    });
}

fn assert_bodies(mut program: Program, bodies: &mpsc::Receiver<Vec<u8>>) {
    assert!(program.wait().success());
    let bodies: Vec<Vec<u8>> = bodies.try_iter().collect();
    assert!(bodies.len() >= 3);
    let rows = one_each(&bodies);
    assert_eq!(rows::assert_complete(&rows), 2);
    assert_eq!(program.summary().delivered, rows.len() as u64);
}

#[test]
fn each_http_body_is_one_envelope() {
    sandbox::run("each_http_body_is_one_envelope", || {
        let sockets = Sockets::open(200);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dest = format!("http://{}/rows", listener.local_addr().unwrap());
        let (sender, bodies) = mpsc::channel();
        thread::spawn(move || {
            listener
                .incoming()
                .for_each(|stream| serve(stream.unwrap(), &sender));
        });
        let program = Program::start(&[
            "-promListen",
            "none",
            "-dest",
            &dest,
            "-maxLoops",
            "2",
            "-frequency",
            "50ms",
            "-envelopeFlushRows",
            "100",
        ]);
        assert_bodies(program, &bodies);
        drop(sockets);
    });
}

#[test]
fn https_is_trusted_by_the_system_s_certificates() {
    sandbox::run("https_is_trusted_by_the_system_s_certificates", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(200));
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let roots = folder.path().join("roots.pem");
        fs::write(&roots, own.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth();
        let config = Arc::new(
            config
                .with_single_cert(vec![own.cert.der().clone()], key)
                .unwrap(),
        );

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dest = format!("https://localhost:{}/rows", listener.local_addr().unwrap().port());
        let (sender, bodies) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                serve(StreamOwned::new(connection, stream.unwrap()), &sender);
            }
        });
        let mut command = command(&[
            "-promListen",
            "none",
            "-dest",
            &dest,
            "-maxLoops",
            "2",
            "-frequency",
            "50ms",
            "-envelopeFlushRows",
            "100",
        ]);
        let program = Program::spawn(command.env("SSL_CERT_FILE", &roots));
        assert_bodies(program, &bodies);
        drop(sockets);
    });
}

/// All rows of one poll, as JSON.
fn rows_of_a_poll(arguments: &[&str]) -> Vec<serde_json::Value> {
    let folder = sandbox::folder();
    let file = folder.path().join("rows");
    let dest = format!("file:{}", file.display());
    let fixed = [
        "-promListen",
        "none",
        "-maxLoops",
        "1",
        "-marshal",
        "jsonl",
        "-dest",
        &dest,
    ];
    assert!(Program::start(&[&fixed[..], arguments].concat()).wait().success());
    let text = fs::read_to_string(&file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A row of JSON is several times as long as on the wire: each full envelope was larger than the queue, and
/// dropped.
#[test]
fn a_full_envelope_of_a_longer_format_fits_the_smallest_queue() {
    sandbox::run(
        "a_full_envelope_of_a_longer_format_fits_the_smallest_queue",
        || {
            let sockets = Sockets::open(100);
            let rows = rows_of_a_poll(&["-envelopeFlushBytes", "16KiB", "-outputQueueBytes", "32KiB"]);
            assert_eq!(rows.len(), 201);
            drop(sockets);
        },
    );
}

#[test]
fn states_and_deserializers_say_what_is_in_the_rows() {
    sandbox::run("states_and_deserializers_say_what_is_in_the_rows", || {
        let sockets = Sockets::open(10);
        let names = |rows: &[serde_json::Value]| -> BTreeSet<String> {
            let keys = rows
                .iter()
                .flat_map(|row| row.as_object().unwrap().keys().cloned());
            keys.collect()
        };
        let all = rows_of_a_poll(&["-deserializers", "all"]);
        assert_eq!(all.len(), 21);
        let established: Vec<_> = all.iter().filter(|row| row["inetDiagMsgState"] == 1).collect();
        assert_eq!(established.len(), 20);
        assert_eq!(rows_of_a_poll(&["-states", "established"]).len(), 20);
        assert_eq!(rows_of_a_poll(&["-states", "listen"]).len(), 1);
        assert_eq!(rows_of_a_poll(&["-states", "close_wait"]).len(), 0);

        let (all, none) = (names(&all), names(&rows_of_a_poll(&["-deserializers", "none"])));
        for attribute in ["tcpInfoRtt", "skMemInfoRcvBuf", "congestionAlgorithmString"] {
            assert!(all.contains(attribute), "{attribute} is not among {all:?}");
            assert!(!none.contains(attribute), "{attribute} is among {none:?}");
        }
        assert!(none.contains("inetDiagMsgSocketSourcePort") && none.is_subset(&all));
        let list = names(&rows_of_a_poll(&["-deserializers", "info"]));
        assert!(
            list.contains("tcpInfoRtt") && !list.contains("skMemInfoRcvBuf"),
            "{list:?}"
        );
        drop(sockets);
    });
}
