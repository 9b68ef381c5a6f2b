//! `load churn`: namespaces that come and go.
//!
//! In turn one is made and the oldest is deleted, each at its time, so that the population is never smaller
//! than asked for. What cannot be kept up with is not made up for: the counters say what really happened.

use super::{
    DURATION, FOLDER, LONG_DOC,
    connections::Kind,
    namespace::{Contents, Namespace},
    number, rate, sockets_each,
    worker::{self, SOCKETS_PER_WORKER, Worker},
};
use crate::cli::{Command, Flag, Given};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The command.
pub const COMMAND: Command = Command {
    name: "load churn",
    doc: "namespaces that come and go, each with a listener and connections",
    long_doc: LONG_DOC,
    words: "",
    flags: &[
        FOLDER,
        Flag {
            name: "events-per-second",
            value: "RATE",
            default: "",
            doc: "Creations and deletions together. Required.",
        },
        Flag {
            name: "namespaces",
            value: "COUNT",
            default: "",
            doc: "Alive at a time: so many, or one more. Required.",
        },
        Flag {
            name: "sockets",
            value: "COUNT",
            default: "0",
            doc: "Established sockets in each; two are a connection.",
        },
        Flag {
            name: "events",
            value: "FILE",
            default: "",
            doc: "Appends a line for each that comes or goes: {\"time_unix_ns\", \"name\", \"created\"}. It was \
                  complete between the two times.",
        },
        DURATION,
    ],
    run: |given| super::run(given, shares),
};

/// Events that are late by more than this are left out: a burst would be another load.
const LATE_MAX: Duration = Duration::from_secs(1);
/// How often a worker without events looks.
const IDLE: Duration = Duration::from_secs(1);

/// Share of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    events_per_second: f64,
    namespaces: u32,
    sockets: u32,
}

fn shares(given: &Given) -> Result<Vec<worker::Work>, String> {
    let sockets = sockets_each(given)?;
    let namespaces: u32 = number(given, "namespaces")?;
    let events_per_second = rate(given, "events-per-second")?;
    // One namespace more than the population, in each.
    let workers = (namespaces.saturating_mul(sockets + 1))
        .div_ceil(SOCKETS_PER_WORKER)
        .max(1);
    let share = |index: u32| {
        let own = namespaces / workers + u32::from(index < namespaces % workers);
        worker::Work::Churn(Work {
            events_per_second: events_per_second / f64::from(workers),
            namespaces: own,
            sockets,
        })
    };
    Ok((0..workers).map(share).collect())
}

/// Does a share.
///
/// # Errors
/// When not everything could be made at first. What fails later is counted.
pub fn work(worker: &mut Worker, work: &Work) -> Result<(), String> {
    let mut alive = VecDeque::new();
    for _ in 0..work.namespaces {
        if worker.wait(Instant::now())? {
            break;
        }
        alive.push_back(create(worker, work.sockets)?);
    }
    worker.ready();
    come_and_go(worker, work, &mut alive)?;
    for namespace in alive {
        delete(worker, namespace)?;
    }
    Ok(())
}

/// Until it is time to end.
fn come_and_go(worker: &mut Worker, work: &Work, alive: &mut VecDeque<Namespace>) -> Result<(), String> {
    let between = match work.events_per_second {
        0.0 => None,
        rate => Some(Duration::from_secs_f64(
            (1.0 / rate).min(IDLE.as_secs_f64() * 1e6),
        )),
    };
    let mut due = Instant::now();
    let mut is_creation = true;
    loop {
        let Some(between) = between else {
            if worker.wait(Instant::now() + IDLE)? {
                return Ok(());
            }
            continue;
        };
        due += between;
        let now = Instant::now();
        if now.saturating_duration_since(due) > LATE_MAX {
            due = now;
        }
        if worker.wait(due)? {
            return Ok(());
        }
        if is_creation {
            match create(worker, work.sockets) {
                Ok(namespace) => alive.push_back(namespace),
                Err(problem) => {
                    worker.failed(&problem);
                    continue;
                }
            }
        } else if let Some(oldest) = alive.pop_front() {
            delete(worker, oldest)?;
        }
        is_creation = !is_creation;
    }
}

fn create(worker: &mut Worker, sockets: u32) -> Result<Namespace, String> {
    let contents = Contents {
        sockets,
        kind: &Kind::default(),
        delay_ms: 0,
        loss_percent: 0.0,
    };
    let path = worker.next_path();
    let namespace = Namespace::make(&worker.home, &path, &contents)?;
    worker.event(namespace.name(), true)?;
    worker.load.namespaces_created += 1;
    worker.load.namespaces += 1;
    worker.load.sockets += u64::from(sockets);
    Ok(namespace)
}

/// Counts one that did not go as one that is still there, and as an error.
fn delete(worker: &mut Worker, namespace: Namespace) -> Result<(), String> {
    worker.event(namespace.name(), false)?;
    let sockets = 2 * namespace.connections.len() as u64;
    worker.load.sockets -= sockets;
    match namespace.delete() {
        Ok(()) => {
            worker.load.namespaces_deleted += 1;
            worker.load.namespaces -= 1;
        }
        Err(problem) => worker.failed(&problem),
    }
    Ok(())
}
