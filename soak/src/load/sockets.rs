//! `load sockets`: a lasting population. Namespaces with established connections that carry data.

use super::{
    DURATION, FOLDER, LONG_DOC,
    connections::{BUFFER_BYTES, Kind},
    loopback,
    namespace::{Contents, Home, Namespace},
    number, rate, sockets_each,
    worker::{self, SOCKETS_PER_WORKER, Worker},
};
use crate::cli::{Command, Flag, Given, of_flag};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The command.
pub const COMMAND: Command = Command {
    name: "load sockets",
    doc: "namespaces with established connections that carry data",
    long_doc: LONG_DOC,
    words: "",
    flags: &[
        FOLDER,
        Flag {
            name: "namespaces",
            value: "COUNT",
            default: "",
            doc: "How many. Each has a listener as well. Required.",
        },
        Flag {
            name: "sockets",
            value: "COUNT",
            default: "",
            doc: "Established sockets in each; two are a connection. Required.",
        },
        Flag {
            name: "bytes-per-second",
            value: "COUNT",
            default: "0",
            doc: "Over each connection, both ways together.",
        },
        Flag {
            name: "delay-ms",
            value: "COUNT",
            default: "0",
            doc: "netem on each loopback; a kernel without it is named on stderr, and the load goes on.",
        },
        Flag {
            name: "loss-percent",
            value: "PERCENT",
            default: "0",
            doc: "netem on each loopback, as --delay-ms.",
        },
        Flag {
            name: "congestion-control",
            value: "NAME",
            default: "",
            doc: "Given to the connections of a namespace in turn; may be repeated. Those that the kernel lacks \
                  are named on stderr and left out.",
        },
        DURATION,
    ],
    run: |given| super::run(given, shares),
};

/// Turns of a connection that carries much. One that carries little has one a second, so that thousands cost
/// little.
const TURNS_PER_SECOND: u32 = 20;
/// What one turn sends without more turns being needed: it fits a send buffer of the kernel's.
const BYTES_PER_TURN: u64 = 32 << 10;
/// What [`TURNS_PER_SECOND`] turns can carry.
const BYTES_PER_SECOND_MAX: u64 = 64 << 20;

/// Share of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    namespaces: u32,
    sockets: u32,
    bytes_per_second: u64,
    delay_ms: u32,
    loss_percent: f64,
    congestion_control: Vec<String>,
}

fn shares(given: &Given) -> Result<Vec<worker::Work>, String> {
    let sockets = sockets_each(given)?;
    let mut left: u32 = number(given, "namespaces")?;
    let bytes_per_second = number(given, "bytes-per-second")?;
    if bytes_per_second > BYTES_PER_SECOND_MAX {
        let problem = format!("expected {BYTES_PER_SECOND_MAX} at most, got {bytes_per_second}");
        return of_flag("bytes-per-second", Err(problem));
    }
    let (mut delay_ms, mut loss_percent): (u32, f64) =
        (number(given, "delay-ms")?, rate(given, "loss-percent")?);
    if delay_ms > 0 || loss_percent > 0.0 {
        let probe = Home::here()?.away(|| Ok(loopback::slow_down(delay_ms, loss_percent)))?;
        if let Err(problem) = probe {
            eprintln!("xtcp2-soak: no delay and no loss: {problem}");
            (delay_ms, loss_percent) = (0, 0.0);
        }
    }
    let wanted: Vec<String> = given.all("congestion-control").map(str::to_owned).collect();
    let kind = Kind::available(&wanted, |name, error| {
        eprintln!("xtcp2-soak: congestion control {name} left out: {error}");
    })?;
    let each = (SOCKETS_PER_WORKER / (sockets + 1)).max(1);
    let mut shares = Vec::new();
    while left > 0 {
        let namespaces = each.min(left);
        left -= namespaces;
        shares.push(worker::Work::Sockets(Work {
            namespaces,
            sockets,
            bytes_per_second,
            delay_ms,
            loss_percent,
            congestion_control: kind.names(),
        }));
    }
    Ok(shares)
}

/// Does a share.
///
/// # Errors
/// When not everything could be made.
pub fn work(worker: &mut Worker, work: &Work) -> Result<(), String> {
    let kind = Kind::named(&work.congestion_control);
    let contents = Contents {
        sockets: work.sockets,
        kind: &kind,
        delay_ms: work.delay_ms,
        loss_percent: work.loss_percent,
    };
    let mut namespaces = Vec::new();
    for _ in 0..work.namespaces {
        if worker.wait(Instant::now())? {
            return Ok(());
        }
        let path = worker.next_path();
        let namespace = Namespace::make(&worker.home, &path, &contents)?;
        worker.event(namespace.name(), true)?;
        namespaces.push(namespace);
        worker.load.namespaces_created += 1;
        worker.load.namespaces += 1;
        worker.load.sockets += u64::from(work.sockets);
    }
    worker.ready();
    traffic(worker, &mut namespaces, work.bytes_per_second)?;
    for namespace in namespaces {
        worker.event(namespace.name(), false)?;
        let sockets = 2 * namespace.connections.len() as u64;
        if let Err(problem) = namespace.delete() {
            worker.failed(&problem);
        }
        worker.load.namespaces_deleted += 1;
        worker.load.namespaces -= 1;
        worker.load.sockets -= sockets;
    }
    Ok(())
}

/// Sends and receives until it is time to end. The turns of a second are spread over it.
fn traffic(worker: &mut Worker, namespaces: &mut [Namespace], bytes_per_second: u64) -> Result<(), String> {
    // The server sends back what it gets.
    let one_way = bytes_per_second.div_ceil(2);
    let turns = match one_way {
        0..=BYTES_PER_TURN => 1,
        _ => TURNS_PER_SECOND,
    };
    let bytes = usize::try_from(one_way.div_ceil(u64::from(turns))).unwrap_or(usize::MAX);
    // A slot is a part of a second; a connection with one turn a second has it in slot number mod slots.
    let slots = (TURNS_PER_SECOND / turns) as usize;
    let slot_length = Duration::from_secs(1) / TURNS_PER_SECOND;
    let mut buffer = Box::new([0x5a; BUFFER_BYTES]);
    let mut due = Instant::now();
    for slot in 0_usize.. {
        due = (due + slot_length).max(Instant::now());
        if worker.wait(due)? {
            break;
        }
        if bytes == 0 {
            continue;
        }
        let mut number = 0;
        for namespace in &mut *namespaces {
            namespace.connections.retain_mut(|connection| {
                number += 1;
                if number % slots != slot % slots {
                    return true;
                }
                match connection.turn(bytes, &mut buffer) {
                    Ok(received) => worker.load.bytes += received,
                    Err(error) => {
                        worker.failed(&format!("a connection is lost: {error}"));
                        worker.load.sockets -= 2;
                        return false;
                    }
                }
                true
            });
        }
    }
    Ok(())
}
