//! `load short`: connections that live for milliseconds, in one namespace of their own.

use super::{
    DURATION, FOLDER, LONG_DOC,
    connections::{BUFFER_BYTES, Connection, Kind},
    namespace::{Contents, Home, Namespace},
    number, rate,
    worker::{self, SOCKETS_MAX, Worker},
};
use crate::cli::{Command, Flag, Given, of_flag};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// The command.
pub const COMMAND: Command = Command {
    name: "load short",
    doc: "connections that live for milliseconds",
    long_doc: LONG_DOC,
    words: "",
    flags: &[
        FOLDER,
        Flag {
            name: "connections-per-second",
            value: "RATE",
            default: "",
            doc: "How many are opened, and closed again. Each leaves a TIME_WAIT for a minute. Required.",
        },
        Flag {
            name: "lifetime-ms",
            value: "COUNT",
            default: "",
            doc: "From open to close. Required.",
        },
        DURATION,
    ],
    run: |given| super::run(given, shares),
};

/// Connections that are late by more than this are left out: a burst would be another load.
const LATE_MAX: Duration = Duration::from_secs(1);
/// How often a worker with nothing to do looks.
const IDLE: Duration = Duration::from_secs(1);
/// Sent over each, and sent back.
const BYTES: usize = 100;
/// Addresses of the loopback that are connected to in turn. An address has 28,000 ports for clients, each of
/// which waits a minute for its next use: with one address, 470 connections a second would be the end.
const ADDRESSES: u64 = 250;

/// Share of a worker: of the only one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    connections_per_second: f64,
    lifetime_ms: u32,
}

fn shares(given: &Given) -> Result<Vec<worker::Work>, String> {
    let connections_per_second = rate(given, "connections-per-second")?;
    let lifetime_ms: u32 = number(given, "lifetime-ms")?;
    let sockets = 2.0 * connections_per_second * f64::from(lifetime_ms) / 1e3;
    if sockets > f64::from(SOCKETS_MAX) {
        let problem = format!("expected {SOCKETS_MAX} sockets at a time at most, got {sockets:.0}");
        return of_flag("lifetime-ms", Err(problem));
    }
    Ok(vec![worker::Work::Short(Work {
        connections_per_second,
        lifetime_ms,
    })])
}

/// Does a share.
///
/// # Errors
/// When there is no namespace for it. What fails later is counted.
pub fn work(worker: &mut Worker, work: &Work) -> Result<(), String> {
    let path = worker.next_path();
    let contents = Contents {
        sockets: 0,
        kind: &Kind::default(),
        delay_ms: 0,
        loss_percent: 0.0,
    };
    let namespace = Namespace::make(&worker.home, &path, &contents)?;
    Home::here()?.leave_for(&path)?;
    worker.load.namespaces_created = 1;
    worker.load.namespaces = 1;
    worker.ready();
    let ended = open_and_close(worker, work, &namespace);
    if let Err(problem) = namespace.delete() {
        worker.failed(&problem);
    }
    worker.load.namespaces_deleted = 1;
    worker.load.namespaces = 0;
    worker.load.sockets = 0;
    ended
}

/// Until it is time to end.
fn open_and_close(worker: &mut Worker, work: &Work, namespace: &Namespace) -> Result<(), String> {
    let lifetime = Duration::from_millis(work.lifetime_ms.into());
    let between = match work.connections_per_second {
        0.0 => IDLE,
        rate => Duration::from_secs_f64((1.0 / rate).min(IDLE.as_secs_f64() * 1e6)),
    };
    let mut buffer = Box::new([0x5a; BUFFER_BYTES]);
    let mut alive: VecDeque<(Instant, Connection)> = VecDeque::new();
    let mut due = Instant::now() + between;
    let mut number: u64 = 0;
    loop {
        let now = Instant::now();
        while alive.front().is_some_and(|(end, _)| *end <= now) {
            let Some((_, mut connection)) = alive.pop_front() else {
                break;
            };
            match connection.turn(BYTES, &mut buffer) {
                Ok(received) => worker.load.bytes += received,
                Err(error) => worker.failed(&format!("a connection is lost: {error}")),
            }
            worker.load.connections += 1;
        }
        let is_due = now >= due;
        if is_due {
            due += between;
        }
        if is_due && work.connections_per_second > 0.0 {
            let last = u8::try_from(1 + number % ADDRESSES).unwrap_or(1);
            number += 1;
            match Connection::open(&namespace.listener, Ipv4Addr::new(127, 0, 0, last), None) {
                Ok(connection) => alive.push_back((Instant::now() + lifetime, connection)),
                Err(problem) => worker.failed(&problem),
            }
        }
        let now = Instant::now();
        if now.saturating_duration_since(due) > LATE_MAX {
            due = now;
        }
        worker.load.sockets = 2 * alive.len() as u64;
        let next_end = alive.front().map(|(end, _)| *end);
        if worker.wait(next_end.map_or(due, |end| end.min(due)))? {
            return Ok(());
        }
    }
}
