use super::*;
use std::{
    io::Read,
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixListener,
};

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Reads all there is into `into`.
fn drain(mut stream: &TcpStream, into: &mut Vec<u8>) {
    let mut buffer = [0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        into.extend_from_slice(&buffer[..count]);
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = format!("tcp:{}", listener.local_addr().unwrap());
    (listener, destination)
}

fn csv() -> Options {
    Options {
        preamble: b"header\n".to_vec(),
        ..Options::default()
    }
}

#[test]
fn every_connection_starts_with_the_preamble() {
    let (listener, destination) = listen();
    let mut driver = Driver::open(&destination, csv());
    let mut got = Vec::new();
    driver.run_until("connected", |output| output.counters().connected);
    let first = accept(&listener);
    driver.offer(message(0, 5));
    driver.offer(message(1, 5));
    driver.run_until("received", |_| {
        drain(&first, &mut got);
        got == b"header\naaaaabbbbb"
    });
    drop(first);
    driver.run_until("the loss is noticed", |output| !output.counters().connected);
    driver.offer(message(2, 5));
    driver.run_until("connected again", |output| output.counters().connected);
    let second = accept(&listener);
    got.clear();
    driver.run_until("received", |_| {
        drain(&second, &mut got);
        got == b"header\nccccc"
    });
    assert_eq!(driver.counters().reconnects, 1);
    assert_eq!(driver.counters().retried, 0);
    driver.assert_quiet();
}

#[test]
fn a_slow_reader_loses_the_oldest_and_never_half_a_message() {
    const BYTES: usize = 100_000;
    let (listener, destination) = listen();
    let options = Options {
        queue_bytes_max: 10 * BYTES,
        ..Options::default()
    };
    let mut driver = Driver::open(&destination, options);
    driver.run_until("connected", |output| output.counters().connected);
    let reader = accept(&listener);
    // More than the kernel's buffers on both sides and the queue together.
    for sequence in 0..200 {
        driver.offer(message(sequence, BYTES));
        driver.turn(Duration::ZERO);
        assert!(driver.output.queued().bytes <= 10 * BYTES as u64);
    }
    assert!(driver.output.is_full());
    driver.assert_quiet();
    let dropped = driver.counters().dropped(DropReason::QueueFull);
    assert!(dropped.messages > 0);
    let mut got = Vec::new();
    driver.run_until("all read", |output| {
        drain(&reader, &mut got);
        output.is_idle() && got.len() as u64 == output.counters().delivered.bytes
    });
    for whole in got.chunks(BYTES) {
        assert!(whole.iter().all(|byte| *byte == whole[0]), "a message was cut");
    }
    assert_eq!(driver.counters().delivered.messages + dropped.messages, 200);
    assert_eq!(got[got.len() - 1], message(199, 1).bytes[0], "the newest survive");
}

#[test]
fn a_message_cut_by_a_killed_receiver_is_sent_again_whole() {
    const BYTES: usize = 16 << 20;
    let (listener, destination) = listen();
    let mut driver = Driver::open(&destination, Options::default());
    driver.run_until("connected", |output| output.counters().connected);
    let first = accept(&listener);
    driver.offer(message(0, BYTES));
    let mut got = Vec::new();
    driver.run_until("partly received", |_| {
        drain(&first, &mut got);
        !got.is_empty()
    });
    assert!(!driver.output.is_idle());
    drop(first);
    driver.run_until("the retry", |output| output.counters().retried == 1);
    driver.run_until("connected again", |output| output.counters().connected);
    let second = accept(&listener);
    got.clear();
    driver.run_until("received whole", |output| {
        drain(&second, &mut got);
        output.is_idle() && got.len() == BYTES
    });
}

#[test]
fn a_receiver_that_closes_its_sending_side_counts_as_gone() {
    let (listener, destination) = listen();
    let mut driver = Driver::open(&destination, Options::default());
    driver.run_until("connected", |output| output.counters().connected);
    let first = accept(&listener);
    first.shutdown(Shutdown::Write).unwrap();
    driver.run_until("reconnected", |output| output.counters().reconnects == 1);
}

#[test]
fn a_receiver_that_is_away_is_found_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut driver = Driver::open(&format!("unix:{}", path.display()), csv());
    driver.offer(message(0, 3));
    driver.run_until("an error", |output| output.counters().errors > 1);
    let listener = UnixListener::bind(&path).unwrap();
    driver.run_until_idle();
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = [0; 10];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"header\naaa");
    assert_eq!(driver.counters().reconnects, 0, "the first connection is none");
}

#[test]
fn sighup_connects_anew() {
    let (listener, destination) = listen();
    let mut driver = Driver::open(&destination, Options::default());
    driver.run_until("connected", |output| output.counters().connected);
    driver.output.reopen(&driver.epoll, Instant::now());
    driver.run_until("reconnected", |output| output.counters().reconnects == 1);
    let _closed = accept(&listener);
    let open = accept(&listener);
    driver.offer(message(0, 4));
    let mut got = Vec::new();
    driver.run_until("received", |_| {
        drain(&open, &mut got);
        got == b"aaaa"
    });
}

#[test]
fn an_event_of_a_closed_connection_does_not_reach_its_successor() {
    let (listener, destination) = listen();
    let mut driver = Driver::open(&destination, Options::default());
    driver.run_until("connected", |output| output.counters().connected);
    drop(accept(&listener));
    let stale: Vec<Event> = driver.epoll.wait(Some(PATIENCE)).unwrap().collect();
    assert!(stale[0].readable);
    driver.output.reopen(&driver.epoll, Instant::now());
    driver.run_until("reconnected", |output| output.counters().reconnects == 1);
    driver.output.ready(&stale[0], &driver.epoll, Instant::now());
    // Even one that claims the worst.
    let failed = Event {
        failed: true,
        ..stale[0]
    };
    driver.output.ready(&failed, &driver.epoll, Instant::now());
    assert!(driver.counters().connected);
    assert_eq!(driver.counters().errors, 0);
}

/// An executable that answers a look-up as the script says.
fn resolver(dir: &tempfile::TempDir, script: &str) -> Options {
    let path = dir.path().join("resolver");
    // Written by another process: a descriptor of ours that a concurrent test's child inherited for a
    // moment would make the file "busy".
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#;
    let mut shell = std::process::Command::new("sh");
    let status = shell.args(["-c", write]).arg(&path).arg(script).status();
    assert!(status.unwrap().success());
    Options {
        resolver: path,
        ..Options::default()
    }
}

#[test]
fn a_name_is_tried_at_each_of_its_addresses() {
    let (dir, (listener, _)) = (tempfile::tempdir().unwrap(), listen());
    let port = listener.local_addr().unwrap().port();
    // Nobody listens at the first address; the arguments are the interface between the two sides.
    let script = r#"test "$1 $2" = "resolve-name receiver" && echo "127.0.0.2:$3" && echo "127.0.0.1:$3""#;
    let mut driver = Driver::open(&format!("tcp:receiver:{port}"), resolver(&dir, script));
    driver.offer(message(0, 4));
    driver.run_until_idle();
    let mut got = Vec::new();
    let stream = accept(&listener);
    driver.run_until("received", |_| {
        drain(&stream, &mut got);
        got == b"aaaa"
    });
}

#[test]
fn a_look_up_that_hangs_is_killed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut driver = Driver::open("tcp:receiver:1", resolver(&dir, "exec sleep 1000"));
    assert_eq!(driver.turn(Duration::from_millis(20)), 0);
    let due = driver.output.deadline().unwrap();
    assert!(due <= Instant::now() + resolve::LOOKUP_TIMEOUT);
    driver.output.tick(&driver.epoll, due);
    assert_eq!(driver.counters().errors, 1);
    let retry = driver.output.deadline().unwrap();
    assert!(retry > due && retry < due + Duration::from_secs(1));
}

/// A folder in place of the segment: it cannot be opened for reading and writing, and it is there.
#[test]
fn a_spool_that_cannot_be_read_for_a_moment_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = crate::spool::Options {
        dir: dir.path().to_owned(),
        bytes_max: 1 << 20,
        format: "test".to_owned(),
    };
    let (mut spool, _) = Spool::open(&options).unwrap();
    spool.append_all(&[message(0, 5), message(1, 5)]).unwrap();
    drop(spool);
    let opened = Spool::open(&options).unwrap();
    let (segment, aside) = (dir.path().join("0000000001.spool"), dir.path().join("aside"));
    std::fs::rename(&segment, &aside).unwrap();
    std::fs::create_dir(&segment).unwrap();
    let (listener, destination) = listen();
    let destination = Destination::from_str(&destination).unwrap();
    let epoll = Epoll::new().unwrap();
    let now = Instant::now();
    let output = Output::open_with_spool(&destination, Options::default(), opened, &epoll, now).unwrap();
    let mut driver = Driver::new(epoll, output);
    driver.offered = driver.counters().recovered;
    driver.run_until("connected", |output| output.counters().connected);
    let stream = accept(&listener);
    assert!(driver.output.deadline().is_some());
    driver.assert_quiet();
    std::fs::remove_dir(&segment).unwrap();
    std::fs::rename(&aside, &segment).unwrap();
    driver.run_until_idle();
    let mut got = Vec::new();
    drain(&stream, &mut got);
    assert_eq!(got, b"aaaaabbbbb");
    assert_eq!(driver.counters().dropped_total().messages, 0);
    assert_eq!(driver.output.deadline(), None);
}
