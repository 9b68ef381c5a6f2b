//! Reads what a run wrote down, a line at a time: twelve hours are not held whole.

use super::{
    events::Events,
    figures::{Figures, POLL_MS},
    result::Totals,
};
use crate::{
    record::{Event, Load, Sample, What},
    watch::scrape::{self, Metrics},
};
use serde::de::DeserializeOwned;
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// A sample is about 2 KiB; a line beyond this is damage.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What is left of samples and events.
pub struct Folded {
    /// Of samples, and the durations of polls.
    pub figures: Figures,
    /// What happened.
    pub events: Events,
    /// Samples read.
    pub samples: u64,
    /// Age of the last one.
    pub last_seconds: f64,
    /// What was done, from the first sample to the last.
    pub totals: Totals,
    /// Lines that could not be read; that a killed runner leaves half a line is one of them.
    pub unreadable_lines: u64,
}

/// Reads samples.jsonl and events.jsonl of a folder; either may be absent.
///
/// # Errors
/// When one is there and cannot be read.
pub fn read(dir: &Path) -> io::Result<Folded> {
    let mut folded = Folded {
        figures: Figures::new(),
        events: Events::default(),
        samples: 0,
        last_seconds: 0.0,
        totals: Totals::default(),
        unreadable_lines: 0,
    };
    let mut first_load = None;
    let (mut rows, mut polls) = (Counter::of("xtcp2_rows_total"), Counter::of("xtcp2_polls_total"));
    let mut unreadable = lines(&dir.join("samples.jsonl"), |sample: Sample| {
        // Before the measured part begins, load and daemon come up.
        if sample.elapsed_seconds < 0.0 {
            return;
        }
        folded.samples += 1;
        folded.last_seconds = folded.last_seconds.max(sample.elapsed_seconds);
        folded.figures.sample(&sample);
        folded.totals.load(
            first_load.get_or_insert_with(|| sample.load.clone()),
            &sample.load,
        );
        if let Some(metrics) = &sample.metrics {
            folded.totals.rows += rows.grown(metrics);
            // Not by their events: where samples are late, not every poll has one.
            folded.totals.polls += polls.grown(metrics);
        }
    })?;
    unreadable += lines(&dir.join("events.jsonl"), |event: Event| {
        if let What::Poll { duration_ms, .. } = event.what
            && event.elapsed_seconds >= 0.0
        {
            folded
                .figures
                .push(POLL_MS, event.elapsed_seconds, Some(duration_ms));
        }
        folded.events.event(&event);
    })?;
    folded.unreadable_lines = unreadable;
    Ok(folded)
}

/// A count of the daemon's own, which begins at 0 with each instance.
struct Counter {
    name: &'static str,
    instance_id: Option<String>,
    value: u64,
}

impl Counter {
    fn of(name: &'static str) -> Counter {
        Counter {
            name,
            instance_id: None,
            value: 0,
        }
    }

    /// By how much, since the scrape before.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and counts are exact"
    )]
    fn grown(&mut self, metrics: &Metrics) -> u64 {
        let Some(value) = metrics.get(self.name).map(|value| *value as u64) else {
            return 0;
        };
        let instance_id = scrape::instance_id(metrics);
        let is_same = self.instance_id.as_deref() == instance_id && self.value <= value;
        let before = if is_same { self.value } else { 0 };
        self.instance_id = instance_id.map(str::to_owned);
        self.value = value;
        value - before
    }
}

impl Totals {
    /// What the load did between the two.
    fn load(&mut self, first: &Load, last: &Load) {
        self.namespaces_created = last.namespaces_created.saturating_sub(first.namespaces_created);
        self.namespaces_deleted = last.namespaces_deleted.saturating_sub(first.namespaces_deleted);
        self.containers_restarted = last
            .containers_restarted
            .saturating_sub(first.containers_restarted);
        self.connections = last.connections.saturating_sub(first.connections);
        self.bytes = last.bytes.saturating_sub(first.bytes);
    }
}

/// Hands on what each line holds; how many could not be read.
fn lines<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> io::Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut unreadable = 0;
    while next_line(&mut reader, &mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => take(value),
            Err(_) => unreadable += 1,
        }
    }
    Ok(unreadable)
}

/// The next line, of an endless one its first [`LINE_BYTES_MAX`] bytes. False at the end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(bytes.len());
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..taken.min(room)]);
        let consumed = taken + usize::from(end.is_some());
        reader.consume(consumed);
        if end.is_some() {
            return Ok(true);
        }
    }
}
