//! From settings to the parts of a daemon that depend on them: at start, on SIGHUP, and for a
//! replay.

use super::Fatal;
use crate::{
    admin::{Admin, listen::Listener},
    config::{Config, PollPlan},
    envelope::Envelope,
    epoll::Epoll,
    format::{Format, Formatter},
    output::{self, Destination, Output, Tail, kafka},
    poll::PollOptions,
    record::{Encoder, Identity},
    rows::Rows,
    spool::{self, Spool},
    sys::random::random_u64,
    version::VERSION,
};
use std::{io, time::Instant};

/// `None` for an output that discards.
fn formatter(config: &Config) -> Result<Option<Formatter>, Fatal> {
    match config.dest {
        Destination::Null => Ok(None),
        _ => Formatter::new(config.marshal, &config.columns)
            .map(Some)
            .map_err(Fatal::configuration),
    }
}

/// Opens the output that the configuration says.
///
/// # Errors
/// When it can never work as given, or the system refuses it now.
pub fn open_output(config: &Config, epoll: &Epoll, seed: u64) -> Result<Output, Fatal> {
    let options = output_options(config, seed)?;
    Output::open(&config.dest, options, epoll, Instant::now()).map_err(Fatal::from)
}

/// Opens the output that the configuration says, with its spool if there is to be one.
///
/// # Errors
/// When either can never work as given, or the system refuses it now.
pub(super) fn open_output_with_spool(config: &Config, epoll: &Epoll, seed: u64) -> Result<Output, Fatal> {
    let Some(dir) = &config.spool_dir else {
        return open_output(config, epoll, seed);
    };
    let options = spool::Options {
        dir: dir.clone(),
        bytes_max: config.spool_bytes_max,
        format: config.marshal.to_string(),
    };
    let (spool, waiting) = Spool::open(&options)?;
    if !waiting.is_empty() {
        let rows: u64 = waiting.iter().map(|kept| u64::from(kept.rows)).sum();
        log::info!(
            "spool {}: {rows} rows in {} messages wait from earlier runs",
            dir.display(),
            waiting.len()
        );
    }
    let options = output_options(config, seed)?;
    Output::open_with_spool(&config.dest, options, (spool, waiting), epoll, Instant::now())
        .map_err(Fatal::from)
}

/// What the output that the configuration says needs to know.
///
/// # Errors
/// When a column is unknown.
pub(super) fn output_options(config: &Config, seed: u64) -> Result<output::Options, Fatal> {
    let formatter = Formatter::new(config.marshal, &config.columns).map_err(Fatal::configuration)?;
    Ok(output::Options {
        queue_bytes_max: config.output_queue_bytes,
        preamble: formatter.preamble(),
        content_type: formatter.content_type(),
        tail: tail(config.marshal),
        seed,
        kafka: kafka_settings(config),
        http_headers_file: config.http_headers_file.clone(),
        ..output::Options::default()
    })
}

/// What the configuration says of Kafka, beside its brokers.
pub fn kafka_settings(config: &Config) -> kafka::Settings {
    kafka::Settings {
        topic: config.topic.clone(),
        compression: config.kafka_compression.clone(),
        properties: config.kafka_properties.clone(),
    }
}

/// How the torn end of a file of that format is found. (A newline that csv quotes, from a path say, looks
/// like the end of a line too.)
fn tail(format: Format) -> Tail {
    match format {
        Format::ProtobufList => Tail::Frames,
        Format::Msgpack => Tail::Opaque,
        Format::ProtoJson | Format::Jsonl | Format::Json => Tail::Lines(b"{"),
        Format::ProtoText => Tail::Lines(b"row {"),
        // Other columns have another header.
        Format::Csv | Format::Tsv => Tail::Lines(b""),
    }
}

/// Rows as the configuration wants them, for `output`.
///
/// # Errors
/// When a column is unknown.
pub fn rows(config: &Config, instance_id: u64, output: &Output) -> Result<Rows, Fatal> {
    let identity = Identity {
        instance_id,
        daemon_version: VERSION.to_owned(),
        hostname: config.hostname.clone(),
        location: config.location.clone(),
        label: config.label.clone(),
        tag: config.tag.clone(),
    };
    let message_bytes_max = output.message_bytes_max();
    let envelope_bytes_max = config.envelope_flush_bytes.min(message_bytes_max);
    let envelope = Envelope::new(config.envelope_flush_rows, envelope_bytes_max);
    let encoder = Encoder::new(identity, config.deserializers);
    Ok(Rows::new(
        instance_id,
        encoder,
        envelope,
        formatter(config)?,
        message_bytes_max,
    ))
}

/// What the configuration says of polls.
pub(super) fn poll_options(config: &Config) -> PollOptions {
    PollOptions {
        timeout: config.timeout,
        idiag_ext: config.deserializers.idiag_ext(),
        states: config.states,
        plans: config.poll_plan == PollPlan::Auto,
        walk_every: config.walk_every,
    }
}

/// A new random id, never 0.
///
/// # Errors
/// When the system has no random numbers.
pub fn instance_id() -> Result<u64, Fatal> {
    let random = random_u64().map_err(Fatal::system("getrandom"))?;
    Ok(random.max(1))
}

/// The name of the host, for a configuration that gives none.
///
/// # Errors
/// When the system does not tell.
pub(super) fn name_host(config: &mut Config) -> Result<(), Fatal> {
    if config.hostname.is_empty() {
        let hostname = nix::unistd::gethostname().map_err(io::Error::from);
        let hostname = hostname.map_err(Fatal::system("hostname"))?;
        config.hostname = hostname.to_string_lossy().into_owned();
    }
    Ok(())
}

/// The admin server, if there is to be one.
///
/// # Errors
/// When its port cannot be had.
pub(super) fn open_admin(config: &Config, epoll: &Epoll) -> Result<Option<Admin>, Fatal> {
    let listener = match Listener::from_environment().map_err(Fatal::configuration)? {
        Some(passed) => passed,
        None if config.prom_listen.is_empty() => return Ok(None),
        None => Listener::bind(&config.prom_listen).map_err(|error| error.of("--prom-listen"))?,
    };
    if let Ok(address) = listener.local_addr() {
        log::info!("admin HTTP on http://{address}{}", config.prom_path);
    }
    Admin::new(listener, &config.prom_path, epoll)
        .map(Some)
        .map_err(Fatal::system("epoll"))
}
