//! What a run leaves for people and for CI: `result.json`, `junit.xml` and `report.html`, made of its verdicts
//! and of the samples and events it wrote down. docs/soak.md has the schema of the first.

mod compare;
mod environment;
mod events;
mod figures;
mod fold;
mod html;
mod junit;
mod number;
mod plot;
pub mod result;
mod series;
mod spread;
#[cfg(test)]
mod tests;

pub use compare::COMMAND as COMPARE;
pub use environment::Environment;
pub use result::RunResult;

use crate::{gates::Verdict, scenario::Scenario};
use std::{fs, io, path::Path};

/// File of [`RunResult`].
pub const RESULT: &str = "result.json";
/// For CI.
pub const JUNIT: &str = "junit.xml";
/// For people.
pub const HTML: &str = "report.html";

/// What only the runner knows of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the scenario: that of its file.
    pub scenario: String,
    /// `host` or `vm`.
    pub target: String,
    /// The command that does the same again, ready for a shell.
    pub command: String,
    /// Start of the measured part, since 1970.
    pub started_unix_ms: u64,
    /// Its end.
    pub ended_unix_ms: u64,
    /// Why it ended before its time, if it did: Ctrl-C, for example.
    pub ended_early: Option<String>,
    /// The machine and the programs.
    pub environment: Environment,
    /// Gates of the scenario that could say nothing on this machine, and were left out.
    pub not_asked: Vec<String>,
}

/// Writes the three files into the folder of a run, which holds samples.jsonl and events.jsonl.
///
/// # Errors
/// When one cannot be written, or samples and events cannot be read. That they are cut off or hold a
/// damaged line is no error; the report says so.
pub fn write(dir: &Path, scenario: &Scenario, run: &Run, verdicts: &[Verdict]) -> io::Result<RunResult> {
    let folded = fold::read(dir)?;
    let result = result::of(scenario, run, verdicts, &folded);
    let mut json = serde_json::to_vec_pretty(&result)?;
    json.push(b'\n');
    for (name, bytes) in [
        (RESULT, json),
        (JUNIT, junit::render(&result).into_bytes()),
        (HTML, html::render(&result, &folded).into_bytes()),
    ] {
        // Whole or not at all: CI may look at any time.
        let unfinished = dir.join(format!("{name}.new"));
        fs::write(&unfinished, bytes)?;
        fs::rename(&unfinished, dir.join(name))?;
    }
    Ok(result)
}
