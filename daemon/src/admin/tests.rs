//! The server over real sockets of the loopback interface, under a clock that the test moves.

use super::{
    Admin,
    client::{IDLE_TIMEOUT, REQUEST_TIMEOUT, RESPONSE_TIMEOUT},
    listen::Listener,
    request::REQUEST_BYTES_MAX,
    routes::Status,
    server::CLIENTS_MAX,
};
use crate::epoll::{Epoll, Event, Interest, Source, Token};
use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

struct Daemon {
    ready: bool,
    metrics: String,
}

impl Status for Daemon {
    fn ready(&self) -> Result<(), &str> {
        self.ready.then_some(()).ok_or("the first poll is not done")
    }

    fn render_metrics(&mut self, text: &mut String) -> fmt::Result {
        text.push_str(&self.metrics);
        Ok(())
    }
}

/// A daemon that does nothing but serve.
struct Host {
    epoll: Epoll,
    admin: Admin,
    daemon: Daemon,
    address: SocketAddr,
    now: Instant,
}

impl Host {
    fn new() -> Host {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let epoll = Epoll::new().unwrap();
        Host {
            admin: Admin::new(listener, "/metrics", &epoll).unwrap(),
            epoll,
            daemon: Daemon {
                ready: true,
                metrics: "# EOF\n".to_owned(),
            },
            address,
            now: Instant::now(),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// One turn of the loop; tells how many events it had.
    fn turn(&mut self) -> usize {
        let events: Vec<Event> = self.epoll.wait(Some(Duration::from_millis(1))).unwrap().collect();
        for event in &events {
            self.admin.ready(&self.epoll, event, self.now, &mut self.daemon);
        }
        events.len()
    }

    /// Turns until nothing happens any more.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..10_000 {
            quiet = if self.turn() == 0 { quiet + 1 } else { 0 };
            if quiet == 3 {
                return;
            }
        }
        panic!("the loop spins");
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.admin.expire(&self.epoll, self.now);
        self.settle();
    }

    /// Everything the client can read by now, and whether the server closed.
    fn read(&mut self, stream: &mut TcpStream) -> (String, bool) {
        let mut bytes = Vec::new();
        loop {
            self.settle();
            let before = bytes.len();
            let end = match stream.read_to_end(&mut bytes) {
                Ok(_) => return (String::from_utf8(bytes).unwrap(), true),
                Err(error) => error.kind(),
            };
            if end == ErrorKind::ConnectionReset {
                return (String::from_utf8(bytes).unwrap(), true);
            }
            if bytes.len() == before {
                return (String::from_utf8(bytes).unwrap(), false);
            }
        }
    }

    fn exchange(&mut self, request: &str) -> (String, bool) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        self.read(&mut stream)
    }

    fn get(&mut self, target: &str) -> String {
        self.exchange(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .0
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn every_page_answers() {
    let mut host = Host::new();
    for (target, status, part) in [
        ("/metrics", "200 OK", "# EOF"),
        ("/metrics?name=x", "200 OK", "# EOF"),
        ("/", "200 OK", "href=\"/metrics\""),
        ("/healthz", "200 OK", "ok"),
        ("/readyz", "200 OK", "ready"),
        ("/debug/pprof/", "200 OK", "/debug/pprof/profile"),
        ("/debug/pprof/heap", "501 Not Implemented", "heaptrack"),
        (
            "/debug/pprof/profile?seconds=0",
            "400 Bad Request",
            "seconds: expected a whole number from 1 to 60, got \"0\"",
        ),
        ("/debug/pprof/profile?seconds=61", "400 Bad Request", "got \"61\""),
        (
            "/debug/pprof/profile?seconds=1&hz=9999",
            "400 Bad Request",
            "hz: expected",
        ),
        ("/nothing", "404 Not Found", "no such page"),
        ("/metrics/", "404 Not Found", "no such page"),
    ] {
        let answer = host.get(target);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{target}: {answer}"
        );
        assert!(body(&answer).contains(part), "{target}: {answer}");
        let length = format!("Content-Length: {}\r\n", body(&answer).len());
        assert!(answer.contains(&length), "{target}: {answer}");
    }
    assert!(
        host.get("/metrics")
            .contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
    );
    host.daemon.ready = false;
    let answer = host.get("/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert_eq!(body(&answer), "the first poll is not done\n");
    let counters = host.admin.counters();
    assert_eq!(
        (
            counters.responses_2xx,
            counters.responses_4xx,
            counters.responses_5xx
        ),
        (7, 5, 2)
    );
}

#[test]
fn head_sends_the_length_but_not_the_body() {
    let mut host = Host::new();
    let (answer, closed) = host.exchange("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.contains("Content-Length: 6\r\n") && answer.ends_with("\r\n\r\n"));
    assert!(!closed);
}

#[test]
fn the_connection_is_kept_when_and_only_when_the_client_wants_it() {
    let mut host = Host::new();
    for (request, header, closes) in [
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", None, false),
        (
            "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            Some("close"),
            true,
        ),
        ("GET /healthz HTTP/1.0\r\n\r\n", Some("close"), true),
        (
            "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            Some("keep-alive"),
            false,
        ),
    ] {
        let (answer, closed) = host.exchange(request);
        assert!(answer.ends_with("\r\n\r\nok\n"), "{request:?}: {answer}");
        assert_eq!(closed, closes, "{request:?}");
        let found = answer.lines().find_map(|line| line.strip_prefix("Connection: "));
        assert_eq!(found, header, "{request:?}");
    }
}

#[test]
fn bad_requests_are_answered_and_the_connection_ends() {
    let mut host = Host::new();
    let large_body = format!(
        "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{}",
        "x".repeat(300_000)
    );
    let long_header = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(REQUEST_BYTES_MAX));
    for (request, status) in [
        ("\x16\x03\x01\x02\x00\x01\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (
            "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
            "405 Method Not Allowed",
        ),
        (
            "GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "413 Content Too Large",
        ),
        (
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
            "505 HTTP Version Not Supported",
        ),
        (&long_header, "431 Request Header Fields Too Large"),
        (&large_body, "405 Method Not Allowed"),
    ] {
        let mut stream = host.connect();
        let mut sent = 0;
        while sent < request.len() {
            match stream.write(&request.as_bytes()[sent..]) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            host.turn();
        }
        let (answer, closed) = host.read(&mut stream);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{status}: {answer}"
        );
        assert!(answer.contains("Connection: close\r\n") && closed, "{status}");
        assert_eq!(answer.contains("Allow: GET, HEAD\r\n"), status.starts_with("405"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_one_a_turn() {
    let mut host = Host::new();
    let mut stream = host.connect();
    let one = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(one.repeat(50).as_bytes()).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHo").unwrap();
    host.turn(); // accept
    host.turn(); // one request
    assert_eq!(host.admin.counters().responses_2xx, 1);
    assert_eq!(host.admin.counters().responses_4xx, 0);
    let (answers, closed) = host.read(&mut stream);
    let codes: Vec<&str> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(codes, ["200", "404"].repeat(50));
    assert!(!closed);
    stream.write_all(b"st: a\r\nConnection: close\r\n\r\n").unwrap();
    let (answer, closed) = host.read(&mut stream);
    assert!(answer.ends_with("ready\n") && closed);
}

#[test]
fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let mut host = Host::new();
    let mut stream = host.connect();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (answer, closed) = host.read(&mut stream);
    assert!(answer.ends_with("ok\n") && closed);
    assert_eq!(host.admin.clients(), 0);
}

#[test]
fn a_request_that_trickles_in_is_cut_off() {
    let mut host = Host::new();
    let mut slow = host.connect();
    let mut silent = host.connect();
    for byte in b"GET / HTTP/1" {
        slow.write_all(&[*byte]).unwrap();
        host.advance(REQUEST_TIMEOUT / 20);
    }
    assert_eq!(host.admin.clients(), 2);
    host.advance(REQUEST_TIMEOUT);
    let (answer, closed) = host.read(&mut slow);
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n") && closed,
        "{answer}"
    );
    assert_eq!(host.read(&mut silent), (String::new(), true));
    assert_eq!(host.admin.counters().timed_out, 2);
}

#[test]
fn an_idle_connection_is_closed_after_its_time_and_not_before() {
    let mut host = Host::new();
    let mut stream = host.connect();
    for _ in 0..2 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert!(host.read(&mut stream).0.ends_with("ok\n"));
        host.advance(IDLE_TIMEOUT - Duration::from_secs(1));
    }
    assert_eq!(host.admin.clients(), 1);
    assert_eq!(host.admin.deadline(), Some(host.now + Duration::from_secs(1)));
    host.advance(Duration::from_secs(1));
    assert_eq!(host.read(&mut stream), (String::new(), true));
    assert_eq!(host.admin.counters().timed_out, 0);
    assert_eq!(host.admin.deadline(), None);
}

/// Prometheus keeps its connection: every stop once waited for it.
#[test]
fn the_end_waits_for_requests_and_not_for_connections_that_are_kept() {
    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut host = Host::new();
    let (mut kept, mut begun, new) = (host.connect(), host.connect(), host.connect());
    kept.write_all(REQUEST).unwrap();
    assert!(host.read(&mut kept).0.ends_with("ok\n"));
    begun.write_all(&REQUEST[..9]).unwrap();
    host.settle();
    assert_eq!((host.admin.clients(), host.admin.clients_to_answer()), (3, 2));

    host.epoll = Epoll::new().unwrap();
    host.admin.stop_accepting(&host.epoll);
    begun.write_all(&REQUEST[9..]).unwrap();
    assert!(host.read(&mut begun).0.ends_with("ok\n"));
    drop(new);
    host.settle();
    assert_eq!((host.admin.clients(), host.admin.clients_to_answer()), (2, 0));
    let mut late = host.connect();
    late.write_all(REQUEST).unwrap();
    assert_eq!(host.read(&mut late), (String::new(), false));
}

#[test]
fn an_answer_larger_than_the_socket_buffers_arrives_whole() {
    let mut host = Host::new();
    host.daemon.metrics = "0123456789abcdef".repeat(400_000);
    let (answer, _) = host.exchange("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(body(&answer).len(), 6_400_000);
    assert!(body(&answer) == host.daemon.metrics);
    host.daemon.metrics = "x".repeat(9 << 20);
    assert!(host.get("/metrics").starts_with("HTTP/1.1 500 "));
}

#[test]
fn a_reader_that_does_not_read_is_cut_off_and_its_answer_freed() {
    let mut host = Host::new();
    host.daemon.metrics = "x".repeat(7 << 20);
    let mut stream = host.connect();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    host.settle();
    host.advance(RESPONSE_TIMEOUT - Duration::from_millis(1));
    assert_eq!(host.admin.clients(), 1);
    host.advance(Duration::from_millis(1));
    assert_eq!(host.admin.clients(), 0);
    assert_eq!(host.admin.counters().timed_out, 1);
}

#[test]
fn more_clients_than_slots_are_told_so_and_later_ones_served() {
    let mut host = Host::new();
    let mut streams: Vec<TcpStream> = (0..CLIENTS_MAX).map(|_| host.connect()).collect();
    host.settle();
    assert_eq!(host.admin.clients(), usize::from(CLIENTS_MAX));
    let (answer, closed) = host.exchange("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && closed);
    assert_eq!(host.admin.counters().rejected, 1);
    for stream in &mut streams {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    for stream in &mut streams {
        assert!(host.read(stream).0.ends_with("ok\n"));
    }
    streams.pop();
    assert!(host.get("/healthz").ends_with("ok\n"));
}

#[test]
fn stale_events_do_not_reach_the_next_client_of_the_slot() {
    let mut host = Host::new();
    let first = host.connect();
    host.settle();
    drop(first);
    host.settle();
    assert_eq!(host.admin.clients(), 0);
    let mut second = host.connect();
    host.settle();
    // Both were in slot 0, the first as generation 0. Its late event claims that the peer is gone.
    let event = |generation| Event {
        token: Token {
            source: Source::AdminClient,
            slot: 0,
            generation,
        },
        readable: true,
        writable: true,
        failed: true,
    };
    second
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let Host {
        admin,
        epoll,
        daemon,
        now,
        ..
    } = &mut host;
    admin.ready(epoll, &event(0), *now, daemon);
    assert_eq!(admin.counters().responses_2xx, 0);
    admin.ready(epoll, &event(1), *now, daemon);
    assert_eq!(admin.counters().responses_2xx, 1);
    let beyond = Token {
        source: Source::AdminClient,
        slot: u16::MAX,
        generation: 0,
    };
    admin.ready(
        epoll,
        &Event {
            token: beyond,
            ..event(0)
        },
        *now,
        daemon,
    );
}

#[test]
fn an_event_of_the_same_batch_for_a_closed_client_is_ignored() {
    let mut host = Host::new();
    let streams = [host.connect(), host.connect()];
    host.settle();
    drop(streams);
    std::thread::sleep(Duration::from_millis(5));
    let events: Vec<Event> = host.epoll.wait(Some(Duration::ZERO)).unwrap().collect();
    assert_eq!(events.len(), 2);
    for event in events.iter().chain(&events) {
        host.admin.ready(&host.epoll, event, host.now, &mut host.daemon);
    }
    assert_eq!(host.admin.clients(), 0);
    assert_eq!(host.turn(), 0);
}

#[test]
fn the_server_does_not_hear_of_descriptors_of_others() {
    let mut host = Host::new();
    let (read, _write) = nix::unistd::pipe().unwrap();
    host.epoll
        .add(&read, Token::only(Source::Output), Interest::READ)
        .unwrap();
    assert_eq!(host.turn(), 0);
    assert!(host.get("/healthz").ends_with("ok\n"));
}

/// One test, since a process takes one profile at a time.
#[test]
fn a_profile_is_taken_of_the_loop_and_sent_when_it_ends() {
    let mut host = Host::new();
    let mut stream = host.connect();
    let request = b"GET /debug/pprof/profile?seconds=1&hz=250 HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(host.read(&mut stream), (String::new(), false));
    assert!(
        host.get("/debug/pprof/profile?seconds=1")
            .starts_with("HTTP/1.1 409 Conflict\r\n")
    );
    assert_eq!(host.admin.deadline(), Some(host.now + Duration::from_secs(1)));

    let begin = Instant::now();
    let mut sum = 0_u64;
    while begin.elapsed() < Duration::from_millis(300) {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
    }
    host.now += Duration::from_secs(1);
    host.admin.expire(&host.epoll, host.now);
    host.settle();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"),
        "{text}"
    );
    let program = std::env::current_exe().unwrap();
    assert!(
        text.contains(program.to_str().unwrap()),
        "the program is named as a mapping"
    );
    assert!(
        text.ends_with("ok\n"),
        "the pipelined request is answered after the profile"
    );

    // A client that goes away meanwhile costs nothing but its profile.
    let mut gone = host.connect();
    gone.write_all(request).unwrap();
    host.settle();
    drop(gone);
    host.advance(Duration::from_secs(1));
    assert!(host.get("/healthz").ends_with("ok\n"));
}
