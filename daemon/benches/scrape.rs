//! What a scrape costs the loop: `cargo bench --bench scrape`.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot start has nothing to say"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Instant,
};
use xtcp2::{
    admin::{self, Admin, listen::Listener, routes::Status},
    epoll::{Epoll, Event},
    metrics::{self, Snapshot, poll_duration_histogram, poll_start_delay_histogram},
    namespaces, output,
    poll::{PollReport, ReadCounters},
    record::Anomalies,
    rows::RowCounters,
};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
const END: &[u8] = b"# EOF\n";

/// A daemon that has done nothing yet; its numbers are as many as any other's.
struct Daemon;

impl Status for Daemon {
    fn ready(&self) -> Result<(), &str> {
        Ok(())
    }

    fn render_metrics(&mut self, text: &mut String) -> fmt::Result {
        let snapshot = Snapshot {
            instance_id: 7,
            start_seconds: 0.0,
            last_poll: PollReport::default(),
            polls: 1,
            completed_poll_rows: 0,
            polls_late: 0,
            output_stalls: 0,
            poll_durations: &poll_duration_histogram(),
            poll_start_delays: &poll_start_delay_histogram(),
            last_poll_end_seconds: 1.8e9,
            dumps: ReadCounters::default(),
            known_sockets: (0, 0),
            rows: RowCounters::default(),
            anomalies: Anomalies::default(),
            namespaces: namespaces::Counters::default(),
            output: &output::Counters::default(),
            output_queued: output::Tally::default(),
            spool: None,
            admin: admin::server::Counters::default(),
        };
        metrics::render(&snapshot, text)
    }
}

fn scrape(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scrape");
    group.bench_function("text alone", |bencher| {
        bencher.iter(|| {
            let mut text = String::new();
            Daemon.render_metrics(&mut text).unwrap();
            text
        });
    });

    let mut epoll = Epoll::new().unwrap();
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut admin = Admin::new(listener, "/metrics", &epoll).unwrap();
    let mut answer = Vec::new();
    group.bench_function("over loopback", |bencher| {
        bencher.iter(|| {
            client.write_all(REQUEST).unwrap();
            answer.clear();
            while !answer.ends_with(END) {
                let events: Vec<Event> = epoll.wait(None).unwrap().collect();
                for event in &events {
                    admin.ready(&epoll, event, Instant::now(), &mut Daemon);
                }
                match client.read_to_end(&mut answer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => panic!("the connection ended: {other:?}"),
                }
            }
        });
    });
}

criterion_group!(benches, scrape);
criterion_main!(benches);
