//! Alone in its process, since it takes the descriptors away from all of it.

#![allow(clippy::unwrap_used)]

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use xtcp2::{
    admin::{Admin, listen::Listener, routes::Status},
    epoll::{Epoll, Event},
};

struct Daemon;

impl Status for Daemon {
    fn ready(&self) -> Result<(), &str> {
        Ok(())
    }

    fn render_metrics(&mut self, _: &mut String) -> fmt::Result {
        Ok(())
    }
}

fn turn(epoll: &mut Epoll, admin: &mut Admin, now: Instant) -> usize {
    let events: Vec<Event> = epoll.wait(Some(Duration::from_millis(5))).unwrap().collect();
    for event in &events {
        admin.ready(epoll, event, now, &mut Daemon);
    }
    events.len()
}

#[test]
fn without_descriptors_the_loop_does_not_spin_and_recovers() {
    let mut now = Instant::now();
    let mut epoll = Epoll::new().unwrap();
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut admin = Admin::new(listener, "/metrics", &epoll).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_nonblocking(true).unwrap();
    client
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();

    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
        if hoard.len() == 4 {
            // Few are enough: as many as are open by now.
            let (_, hard) =
                nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
            let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
            nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, open, hard).unwrap();
        }
    }
    assert_eq!(turn(&mut epoll, &mut admin, now), 1);
    assert_eq!(admin.counters().accept_errors, 1);
    for _ in 0..20 {
        assert_eq!(
            turn(&mut epoll, &mut admin, now),
            0,
            "the listener is left alone for a while"
        );
    }
    let resume = admin.deadline().unwrap();
    assert!(resume > now && resume <= now + Duration::from_secs(1));

    drop(hoard);
    now = resume;
    admin.expire(&epoll, now);
    let mut answer = Vec::new();
    for _ in 0..100 {
        turn(&mut epoll, &mut admin, now);
        match client.read_to_end(&mut answer) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if answer.ends_with(b"ok\n") {
            break;
        }
    }
    assert!(
        answer.ends_with(b"ok\n"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(
        (admin.counters().connections, admin.counters().accept_errors),
        (1, 1)
    );
}
