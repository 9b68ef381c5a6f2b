//! Whether rows would get anywhere. A receiver that is away is no reason not to start: rows wait for
//! it, up to a bound.

use super::{Report, files};
use crate::{
    config::Config,
    daemon,
    epoll::{Epoll, Source},
    output::{
        Destination, HostPort, Output,
        kafka::{self, Reached},
    },
};
use std::time::{Duration, Instant};

/// How long resolving, connecting and agreeing on TLS may take.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a receiver was not reached.
enum Unreached {
    /// It can never work as given.
    Never(String),
    /// Not now.
    Now(String),
}

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let dest = &config.dest;
    match dest {
        Destination::Stdout | Destination::Stderr => report.ok("output", dest),
        Destination::Null => report.ok("output", "null: rows are made, counted and discarded"),
        Destination::File(path) => match files::writable(path) {
            Ok(file) if file.exists => file.report("output", path, "can be appended to", report),
            Ok(file) => file.report("output", path, "can be made", report),
            Err(problem) => report.fail("output", format_args!("{dest}: {problem}")),
        },
        Destination::Udp(_) => reach(
            config,
            "can be sent to; udp does not tell whether anybody listens",
            report,
        ),
        Destination::Tcp(_)
        | Destination::Unix(_)
        | Destination::UnixDatagram(_)
        | Destination::Http(_)
        | Destination::Clickhouse(_) => reach(config, "reached", report),
        Destination::Kafka(brokers) => reach_kafka(config, brokers, report),
    }
}

fn reach_kafka(config: &Config, brokers: &[HostPort], report: &mut Report<'_>) {
    let settings = daemon::kafka_settings(config);
    let (dest, topic) = (&config.dest, &config.topic);
    match kafka::reach(brokers, &settings, REACH_TIMEOUT) {
        Ok(Reached {
            brokers,
            partitions: Some(partitions),
        }) => report.ok(
            "output",
            format_args!("{dest}: reached, brokers {brokers}; topic {topic} has partitions {partitions}"),
        ),
        Ok(Reached { brokers, .. }) => report.warn(
            "output",
            format_args!(
                "{dest}: reached, brokers {brokers}, but it knows no topic {topic}: make it, unless the brokers do \
                 (auto.create.topics.enable)"
            ),
        ),
        Err(kafka::Unreached::Never(problem)) => report.fail("output", format_args!("{dest}: {problem}")),
        Err(kafka::Unreached::Now(problem)) => report.warn("output", away(config, &dest.to_string(), &problem)),
    }
}

/// What the daemon would do while the receiver is away.
fn away(config: &Config, name: &str, problem: &str) -> String {
    let (bytes, place) = match &config.spool_dir {
        Some(folder) => (config.spool_bytes_max, format!("in {}", folder.display())),
        None => (config.output_queue_bytes as u64, "in memory".to_owned()),
    };
    format!(
        "{name}: {problem}; the daemon would start, try again and again, and keep {bytes} bytes of rows {place}"
    )
}

fn reach(config: &Config, reached: &str, report: &mut Report<'_>) {
    let name = config.dest.public_name();
    match connect(config) {
        Ok(took) => report.ok("output", format_args!("{name}: {reached}, in {took:.1?}")),
        Err(Unreached::Never(problem)) => report.fail("output", problem),
        Err(Unreached::Now(problem)) => report.warn("output", away(config, &name, &problem)),
    }
}

/// Connects as the daemon would, and sends nothing.
fn connect(config: &Config) -> Result<Duration, Unreached> {
    let started = Instant::now();
    let until = started + REACH_TIMEOUT;
    // What is wrong with the columns is said on a line of its own.
    let config = &Config {
        columns: Vec::new(),
        ..config.clone()
    };
    let broken = |error: std::io::Error| Unreached::Now(error.to_string());
    let mut epoll = Epoll::new().map_err(broken)?;
    let mut output =
        daemon::open_output(config, &epoll, 1).map_err(|error| Unreached::Never(error.to_string()))?;
    let mut was_connected = false;
    let result = loop {
        let now = Instant::now();
        if output.is_established() {
            break Ok(now - started);
        }
        was_connected |= output.counters().connected;
        if let Some(error) = output.last_error() {
            break Err(Unreached::Now(error.to_owned()));
        }
        if was_connected && !output.counters().connected {
            break Err(Unreached::Now(
                "the receiver closed the connection at once".to_owned(),
            ));
        }
        if now >= until {
            let what = match was_connected {
                true => "connected, but TLS was not agreed on",
                false => "no answer",
            };
            break Err(Unreached::Now(format!("{what} within {REACH_TIMEOUT:?}")));
        }
        let wake = output.deadline().map_or(until, |deadline| deadline.min(until));
        let events = epoll
            .wait(Some(wake.saturating_duration_since(now)))
            .map_err(broken)?;
        let now = Instant::now();
        for event in events {
            if event.token.source == Source::Output {
                output.ready(&event, &epoll, now);
            }
        }
        if output.deadline().is_some_and(|deadline| deadline <= now) {
            output.tick(&epoll, now);
        }
    };
    Output::shutdown(&mut output);
    result
}
