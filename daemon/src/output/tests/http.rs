use super::*;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

/// What a server does with one request.
#[derive(Clone, Copy)]
enum Act {
    Answer(&'static str),
    AnswerAndClose(&'static str),
    Close,
    /// Answers without reading the body, and closes.
    AnswerEarly(&'static str),
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const INSERTED: &str = "HTTP/1.1 200 OK\r\nX-ClickHouse-Query-Id: 6b2d\r\nContent-Length: 0\r\n\r\n";

struct Request {
    head: String,
    body: Vec<u8>,
    connection: usize,
}

/// Reads one request; `None` when the client closed.
fn request<S: Read>(stream: &mut BufReader<S>, read_body: bool) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.split("Content-Length: ").nth(1)?.split("\r\n").next()?;
    let mut body = vec![0; if read_body { length.parse().ok()? } else { 0 }];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Serves `acts`, one a request, over as many connections as it takes.
fn serve<S: Read + Write>(
    acts: Vec<Act>,
    wrap: impl Fn(TcpStream) -> S + Send + 'static,
) -> (u16, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut acts = acts.into_iter().peekable();
        for (connection, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(wrap(stream.unwrap()));
            while let Some(&act) = acts.peek() {
                let early = matches!(act, Act::AnswerEarly(_));
                let Some((head, body)) = request(&mut stream, !early) else {
                    break;
                };
                acts.next();
                let _ = sender.send(Request {
                    head,
                    body,
                    connection,
                });
                if let Act::Answer(text) | Act::AnswerAndClose(text) | Act::AnswerEarly(text) = act {
                    stream.get_mut().write_all(text.as_bytes()).unwrap();
                    stream.get_mut().flush().unwrap();
                }
                if !matches!(act, Act::Answer(_)) {
                    break;
                }
            }
        }
    });
    (port, receiver)
}

fn plain(acts: &[Act]) -> (String, mpsc::Receiver<Request>) {
    let (port, requests) = serve(acts.to_vec(), |stream| stream);
    (format!("http://127.0.0.1:{port}/in?x=y"), requests)
}

fn next(requests: &mpsc::Receiver<Request>) -> Request {
    requests.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn messages_are_posted_one_after_the_other_on_one_connection() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (url, requests) = plain(&[Act::Answer(OK), Act::Answer(chunked), Act::Answer(OK)]);
    let options = Options {
        preamble: b"header\n".to_vec(),
        content_type: "text/csv",
        ..Options::default()
    };
    let mut driver = Driver::open(&url, options);
    for sequence in 0..3 {
        driver.offer(message(sequence, 5));
    }
    driver.run_until_idle();
    for sequence in 0..3 {
        let request = next(&requests);
        assert_eq!(
            request.body,
            [b"header\n", &message(sequence, 5).bytes[..]].concat()
        );
        assert_eq!(request.connection, 0);
        let head = request.head;
        assert!(
            head.starts_with("POST /in?x=y HTTP/1.1\r\nHost: 127.0.0.1:"),
            "{head}"
        );
        for line in [
            "Content-Type: text/csv",
            "Content-Length: 12",
            concat!("User-Agent: xtcp2/", env!("CARGO_PKG_VERSION")),
            "X-Xtcp2-Instance-Id: 7",
            &format!("X-Xtcp2-Envelope-Sequence: {sequence}"),
            &format!("Idempotency-Key: {:016x}-{sequence}", 7),
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
    }
    assert_eq!(driver.counters().delivered.messages, 3);
    assert_eq!((driver.counters().errors, driver.counters().retried), (0, 0));
    driver.assert_quiet();
}

#[test]
fn a_500_is_asked_again_and_a_413_is_not() {
    let busy = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
    let large = "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n";
    let (url, requests) = plain(&[
        Act::Answer(busy),
        Act::Answer(OK),
        Act::Answer(large),
        Act::Answer(OK),
    ]);
    let mut driver = Driver::open(&url, Options::default());
    for sequence in 0..3 {
        driver.offer(message(sequence, 5));
    }
    driver.run_until_idle();
    let bodies: Vec<u8> = (0..4).map(|_| next(&requests).body[0]).collect();
    assert_eq!(bodies, b"aabc");
    assert_eq!(driver.counters().retried, 1);
    assert_eq!(driver.counters().delivered.messages, 2);
    assert_eq!(driver.counters().dropped(DropReason::Rejected).rows, 3);
}

/// An expired token, a proxy in the midst of a deployment: somebody mends it, and the rows are still there.
#[test]
fn what_is_not_the_fault_of_the_message_is_asked_again() {
    let (url, _requests) = plain(&[
        Act::Answer("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
        Act::Answer("HTTP/1.1 302 No\r\nContent-Length: 0\r\n\r\n"),
        Act::Answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        Act::Answer(OK),
    ]);
    let mut driver = Driver::open(&url, Options::default());
    driver.offer(message(0, 5));
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 1);
    assert_eq!(driver.counters().dropped_total().messages, 0);
    assert_eq!((driver.counters().errors, driver.counters().retried), (3, 3));
}

#[test]
fn retry_after_is_obeyed() {
    let wait = "HTTP/1.1 429 No\r\nRetry-After: 40\r\nContent-Length: 0\r\n\r\n";
    let (url, _requests) = plain(&[Act::Answer(wait), Act::Answer(OK)]);
    let mut driver = Driver::open(&url, Options::default());
    driver.offer(message(0, 5));
    driver.run_until("refused", |output| output.counters().retried == 1);
    let due = driver.output.deadline().unwrap();
    assert!(due > Instant::now() + Duration::from_secs(30));
    driver.assert_quiet();
    driver.output.tick(&driver.epoll, due);
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 1);
}

#[test]
fn a_kept_connection_may_be_closed_between_requests() {
    let (url, requests) = plain(&[
        Act::AnswerAndClose(OK),
        Act::Answer(OK),
        Act::Close,
        Act::Answer(OK),
    ]);
    let mut driver = Driver::open(&url, Options::default());
    driver.offer(message(0, 5));
    driver.run_until_idle();
    driver.run_until("the close", |output| !output.counters().connected);
    // The third request is read and then dropped with its connection, the second on it: a race that
    // every keep-alive client must expect.
    for sequence in 1..3 {
        driver.offer(message(sequence, 5));
    }
    driver.run_until_idle();
    let seen: Vec<(u8, usize)> = (0..4)
        .map(|_| next(&requests))
        .map(|request| (request.body[0], request.connection))
        .collect();
    assert_eq!(seen, [(b'a', 0), (b'b', 1), (b'c', 1), (b'c', 2)]);
    assert_eq!(driver.counters().errors, 0);
    assert_eq!(driver.counters().retried, 1);
}

#[test]
fn a_new_connection_that_is_closed_is_an_error() {
    let (url, _requests) = plain(&[Act::Close, Act::Answer(OK)]);
    let mut driver = Driver::open(&url, Options::default());
    driver.offer(message(0, 5));
    driver.run_until_idle();
    assert_eq!((driver.counters().errors, driver.counters().retried), (1, 1));
}

#[test]
fn an_answer_before_the_body_was_read_counts() {
    let large = "HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (url, _requests) = plain(&[Act::AnswerEarly(large), Act::Answer(OK)]);
    let mut driver = Driver::open(&url, Options::default());
    driver.offer(message(0, 32 << 20));
    driver.offer(message(1, 5));
    driver.run_until_idle();
    assert_eq!(driver.counters().dropped(DropReason::Rejected).messages, 1);
    assert_eq!(driver.counters().delivered.messages, 1);
}

#[test]
fn a_silent_server_is_given_up_in_time() {
    for scheme in ["http", "https"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        let options = Options {
            tls_roots: Some(RootCertStore::empty()),
            ..Options::default()
        };
        let mut driver = Driver::open(&url, options);
        driver.offer(message(0, 5));
        driver.run_until("connected", |output| output.counters().connected);
        driver.assert_quiet();
        let due = driver.output.deadline().unwrap();
        driver.output.tick(&driver.epoll, due);
        assert_eq!((driver.counters().errors, driver.counters().retried), (1, 1));
        assert!(!driver.counters().connected);
    }
}

#[test]
fn an_idle_http_output_is_quiet() {
    let (url, _requests) = plain(&[Act::Answer(OK)]);
    let mut driver = Driver::open(&url, Options::default());
    driver.run_until("connected", |output| output.counters().connected);
    driver.assert_quiet();
}

/// With the head in a segment of its own, the body waited 40 ms for the receiver to acknowledge that.
#[test]
fn a_small_request_arrives_in_one_piece() {
    const REQUESTS: u64 = 50;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut buffer = [0; 4096];
        let mut pieces = 0;
        for sequence in 0..REQUESTS {
            let body = [b"header\n", &message(sequence, 5).bytes[..]].concat();
            let mut got = 0;
            while !buffer[..got].ends_with(&body) {
                got += stream.read(&mut buffer[got..]).unwrap();
                pieces += 1;
            }
            stream.write_all(OK.as_bytes()).unwrap();
        }
        pieces
    });
    let options = Options {
        preamble: b"header\n".to_vec(),
        ..Options::default()
    };
    let mut driver = Driver::open(&url, options);
    for sequence in 0..REQUESTS {
        driver.offer(message(sequence, 5));
    }
    driver.run_until_idle();
    assert_eq!(server.join().unwrap(), REQUESTS);
}

/// An https server with a certificate of its own making, and that certificate.
fn tls(acts: &[Act]) -> (u16, mpsc::Receiver<Request>, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let config = Arc::new(config);
    let (port, requests) = serve(acts.to_vec(), move |stream| {
        StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
    });
    (port, requests, roots)
}

#[test]
fn https_delivers_large_bodies_and_survives_a_closed_connection() {
    let (port, requests, roots) = tls(&[Act::Answer(OK), Act::AnswerAndClose(OK), Act::Answer(OK)]);
    let options = Options {
        tls_roots: Some(roots),
        ..Options::default()
    };
    let mut driver = Driver::open(&format!("https://127.0.0.1:{port}/"), options);
    for (sequence, bytes) in [(0, 5), (1, 8 << 20), (2, 100_000)] {
        driver.offer(message(sequence, bytes));
    }
    driver.run_until_idle();
    for (sequence, bytes) in [(0, 5), (1, 8 << 20), (2, 100_000)] {
        assert!(
            next(&requests).body == message(sequence, bytes).bytes,
            "message {sequence}"
        );
    }
    assert_eq!(driver.counters().delivered.messages, 3);
    driver.assert_quiet();
}

#[test]
fn https_does_not_talk_to_a_stranger() {
    let (port, _requests, _) = tls(&[Act::Answer(OK)]);
    let (_, _, other_roots) = tls(&[]);
    let options = Options {
        tls_roots: Some(other_roots),
        ..Options::default()
    };
    let mut driver = Driver::open(&format!("https://127.0.0.1:{port}/"), options);
    driver.offer(message(0, 5));
    driver.run_until("two errors", |output| output.counters().errors >= 2);
    assert_eq!(driver.counters().delivered.messages, 0);
}

fn clickhouse(acts: &[Act]) -> (String, mpsc::Receiver<Request>) {
    let (port, requests) = serve(acts.to_vec(), |stream| stream);
    (
        format!("clickhouse:http://127.0.0.1:{port}/xtcp.rows?user=u"),
        requests,
    )
}

#[test]
fn an_insert_carries_the_identity_as_its_token_and_again_when_it_is_repeated() {
    let no_table = "HTTP/1.1 404 Not Found\r\nX-ClickHouse-Exception-Code: 60\r\nContent-Length: 22\r\n\r\n\
                    Code: 60. No table yet";
    let garbage = "HTTP/1.1 400 Bad Request\r\nX-ClickHouse-Exception-Code: 33\r\nContent-Length: 0\r\n\r\n";
    let (url, requests) = clickhouse(&[
        Act::Answer(no_table),
        Act::Close,
        Act::Answer(INSERTED),
        Act::Answer(garbage),
        Act::Answer(INSERTED),
    ]);
    let mut driver = Driver::open(&url, Options::default());
    for sequence in 1..=3 {
        driver.offer(message(sequence, 5));
    }
    driver.run_until_idle();
    let told = driver.output.last_error().unwrap();
    assert_eq!(told, "HTTP 404: Code: 60. No table yet");
    for sequence in [1, 1, 1, 2, 3] {
        let request = next(&requests);
        let line = request.head.lines().next().unwrap().to_owned();
        assert!(
            line.starts_with("POST /?query=INSERT%20INTO%20xtcp.rows%20FORMAT%20ProtobufList&"),
            "{line}"
        );
        assert!(
            line.ends_with(&format!(
                "&insert_deduplication_token={:016x}-{sequence} HTTP/1.1",
                7
            )),
            "{line}"
        );
        assert!(
            line.contains("&user=u&") && line.contains("&wait_end_of_query=1&"),
            "{line}"
        );
        assert_eq!(request.body, message(sequence, 5).bytes);
    }
    let counters = driver.counters();
    assert_eq!(
        (
            counters.delivered.messages,
            counters.dropped(DropReason::Rejected).messages
        ),
        (2, 1)
    );
}

#[test]
fn success_that_is_not_clickhouse_s_delivers_nothing() {
    let (url, requests) = clickhouse(&[Act::Answer(OK), Act::Answer(INSERTED)]);
    let mut driver = Driver::open(&url, Options::default());
    driver.offer(message(1, 5));
    driver.run_until_idle();
    assert_eq!(
        [next(&requests).body, next(&requests).body],
        [message(1, 5).bytes, message(1, 5).bytes]
    );
    assert_eq!(
        driver.output.last_error().unwrap(),
        "HTTP 200 without X-ClickHouse-Query-Id, of another server"
    );
    assert_eq!(driver.counters().delivered.messages, 1);
}

#[test]
fn headers_of_the_operator_go_with_each_request() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headers");
    std::fs::write(&file, "X-ClickHouse-User: xtcp\nX-ClickHouse-Key: secret\n").unwrap();
    let (url, requests) = clickhouse(&[Act::Answer(INSERTED), Act::Answer(INSERTED)]);
    let options = Options {
        http_headers_file: Some(file.clone()),
        ..Options::default()
    };
    let mut driver = Driver::open(&url, options);
    driver.offer(message(1, 5));
    driver.run_until_idle();
    let head = next(&requests).head;
    assert!(
        head.contains("\r\nX-ClickHouse-User: xtcp\r\nX-ClickHouse-Key: secret\r\n"),
        "{head}"
    );
    // A rotated key is in force after SIGHUP.
    std::fs::write(&file, "X-ClickHouse-Key: other\n").unwrap();
    let Driver { output, epoll, .. } = &mut driver;
    output.reopen(epoll, Instant::now());
    driver.offer(message(2, 5));
    driver.run_until_idle();
    let head = next(&requests).head;
    assert!(
        head.contains("\r\nX-ClickHouse-Key: other\r\n") && !head.contains("secret"),
        "{head}"
    );
}
