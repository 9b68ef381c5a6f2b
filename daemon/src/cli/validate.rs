//! What must hold between settings. What must hold for one alone is in its `apply`.

use super::{error::Error, settings::Settings};
use crate::{format::Format, output::Destination};

/// Checks the settings against each other; the error names where both came from.
pub fn validate(settings: &Settings) -> Result<(), Error> {
    let config = &settings.config;
    let from = |name: &str| format!("--{name} ({})", settings.source(name));

    // One envelope may be on its way to the receiver while the next is being queued; with room
    // for one only, every second would be dropped.
    let queue_min = 2 * config.envelope_flush_bytes;
    if config.output_queue_bytes < queue_min {
        return Err(Error::Conflict(format!(
            "{}: expected at least {queue_min} bytes, twice {}, got {}",
            from("output-queue-bytes"),
            from("envelope-flush-bytes"),
            config.output_queue_bytes
        )));
    }
    if matches!(config.dest, Destination::Clickhouse(_)) && config.marshal != Format::ProtobufList {
        return Err(Error::Conflict(format!(
            "{}: expected protobufList for clickhouse: as {}, got {}",
            from("marshal"),
            from("dest"),
            config.marshal
        )));
    }
    if config.spool_dir.is_some() && !config.dest.is_network() {
        return Err(Error::Conflict(format!(
            "{}: expected a destination on the network as {}, got {}",
            from("spool-dir"),
            from("dest"),
            config.dest
        )));
    }
    if !config.columns.is_empty() && !matches!(config.marshal, Format::Csv | Format::Tsv) {
        return Err(Error::Conflict(format!(
            "{}: expected csv or tsv as {}, got {}",
            from("columns"),
            from("marshal"),
            config.marshal
        )));
    }
    Ok(())
}
