//! Kafka, ClickHouse and the feeder, by scripts/pipeline; what is done to them takes seconds, so it is done
//! by processes that the runner looks after.

use crate::load::trace::{self, Made, Marker, ProcessId};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Where scripts/pipeline is looked for, unless it is named.
pub const SCRIPT: &str = "scripts/pipeline";

#[derive(Debug, Deserialize)]
struct State {
    ports: BTreeMap<String, u16>,
    processes: BTreeMap<String, Option<Known>>,
}

#[derive(Debug, Deserialize)]
struct Known {
    pid: i32,
    /// In clock ticks since boot.
    started: Option<u64>,
}

fn state(folder: &Path) -> Result<State, String> {
    let path = folder.join("state.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a pipeline has started, by the state in its folder: name and process. Nothing without a state.
pub fn processes(folder: &Path) -> Vec<(String, ProcessId)> {
    let Ok(state) = state(folder) else {
        return Vec::new();
    };
    let known = state.processes.into_iter();
    let process = |(name, known): (String, Option<Known>)| {
        let Known { pid, started } = known?;
        let start_ticks = started?;
        Some((name, ProcessId { pid, start_ticks }))
    };
    known.filter_map(process).collect()
}

/// A running pipeline; ends with this value.
#[derive(Debug)]
pub struct Pipeline {
    script: PathBuf,
    folder: PathBuf,
    log: PathBuf,
}

impl Pipeline {
    /// Starts all parts and waits for them. `binaries` has xtcp2-soak.
    ///
    /// # Errors
    /// What scripts/pipeline says.
    pub fn up(script: &Path, folder: &Path, binaries: &Path) -> Result<Pipeline, String> {
        if !script.is_file() {
            return Err(format!(
                "{}: expected the script of the repository, found none: start in the repository, or give --pipeline",
                script.display()
            ));
        }
        let pipeline = Pipeline {
            script: script.to_owned(),
            folder: folder.to_owned(),
            log: folder.with_extension("log"),
        };
        let path = std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        trace::note(Marker::own()?, &Made::Pipeline { path })?;
        let binaries = binaries.display().to_string();
        let mut up = pipeline.begin(&["up", "--binaries", &binaries])?;
        let status = up.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            let said = fs::read_to_string(&pipeline.log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            return Err(format!("{} up: {status}: {}", script.display(), last.join("; ")));
        }
        Ok(pipeline)
    }

    /// Begins a command of scripts/pipeline.
    ///
    /// # Errors
    /// When the script cannot be started.
    pub fn begin(&self, words: &[&str]) -> Result<Child, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.script.display());
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(failed)?;
        let log_too = log.try_clone().map_err(failed)?;
        let mut command = Command::new(&self.script);
        command.arg("--dir").arg(&self.folder).args(words);
        // Ctrl-C is for the runner, which ends them in their order.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        command.spawn().map_err(failed)
    }

    /// Port of `kafka`, `clickhouse` or `feeder`.
    ///
    /// # Errors
    /// When the state of the pipeline cannot be read.
    pub fn port(&self, part: &str) -> Result<u16, String> {
        let ports = state(&self.folder)?.ports;
        ports
            .get(part)
            .copied()
            .ok_or_else(|| format!("the pipeline has no {part}"))
    }

    /// The process of a part, if it runs.
    pub fn pid(&self, part: &str) -> Option<i32> {
        let mut known = processes(&self.folder).into_iter();
        let (_, process) = known.find(|(name, process)| name == part && process.is_alive())?;
        Some(process.pid)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Ok(mut down) = self.begin(&["down"]) {
            let _ = down.wait();
        }
    }
}
