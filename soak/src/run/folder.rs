//! The folder of a run: what is written there while it runs.

use crate::record::{Event, Sample};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

/// Samples, a line each.
pub const SAMPLES: &str = "samples.jsonl";
/// Events, a line each.
pub const EVENTS: &str = "events.jsonl";
/// The scenario as it was run.
pub const SCENARIO: &str = "scenario.toml";

/// The folder, open for writing.
#[derive(Debug)]
pub struct Folder {
    samples: BufWriter<File>,
    events: BufWriter<File>,
}

impl Folder {
    /// Makes it; one that holds a run already is refused.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, scenario: &str) -> Result<Folder, String> {
        let failed = |what: &str, error: io::Error| format!("{}: {what}: {error}", path.display());
        fs::create_dir_all(path).map_err(|error| failed("make the folder", error))?;
        let create = |name: &str| {
            let file = File::create_new(path.join(name));
            file.map(BufWriter::new).map_err(|error| failed(name, error))
        };
        let folder = Folder {
            samples: create(SAMPLES)?,
            events: create(EVENTS)?,
        };
        fs::write(path.join(SCENARIO), scenario).map_err(|error| failed(SCENARIO, error))?;
        Ok(folder)
    }

    /// Writes a sample down, so that it is there after kill -9.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn sample(&mut self, sample: &Sample) -> io::Result<()> {
        line(&mut self.samples, sample)
    }

    /// As [`Folder::sample`].
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        line(&mut self.events, event)
    }
}

fn line(file: &mut BufWriter<File>, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, value)?;
    file.write_all(b"\n")?;
    file.flush()
}
