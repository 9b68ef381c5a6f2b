//! `judge`: the verdicts on a run by what it wrote down, also on one that was cut short.

use super::{Judge, Status, Verdict, exit_status, overall};
use crate::{
    cli::{Command, Given},
    record::{Event, Sample},
    scenario::read,
};
use serde::de::DeserializeOwned;
use std::{
    fs::File,
    io::{BufRead, BufReader, Lines},
    iter::Peekable,
    path::Path,
    process::ExitCode,
};

/// The command.
pub const COMMAND: Command = Command {
    name: "judge",
    doc: "judges a run by what it wrote down",
    long_doc: "DIR holds scenario.toml, samples.jsonl and events.jsonl. A last line that was cut off is passed over. A run \
               that ended before its time does not pass.\n\n\
               Exit status: 0 when every gate passes, 1 when one fails, 2 when one cannot judge or the run cannot be read.",
    words: "DIR",
    flags: &[],
    run,
};

fn run(given: &Given) -> Result<ExitCode, String> {
    let [folder] = given.words() else {
        return Err(format!(
            "judge: expected the folder of one run, got {}",
            given.words().len()
        ));
    };
    let verdicts = folder_verdicts(Path::new(folder))?;
    print!("{}", table(&verdicts));
    Ok(ExitCode::from(exit_status(overall(&verdicts))))
}

/// The verdicts on the run of a folder.
///
/// # Errors
/// When a file is missing.
pub fn folder_verdicts(folder: &Path) -> Result<Vec<Verdict>, String> {
    let mut judge = Judge::new(&read::file(&folder.join("scenario.toml"))?);
    let mut events: Peekable<Objects<Event>> = Objects::open(&folder.join("events.jsonl"))?.peekable();
    for sample in Objects::<Sample>::open(&folder.join("samples.jsonl"))? {
        // Events of a sample come before it.
        while let Some(event) = events.next_if(|event| event.elapsed_seconds <= sample.elapsed_seconds) {
            judge.event(&event);
        }
        judge.sample(&sample);
    }
    events.for_each(|event| judge.event(&event));
    Ok(judge.verdicts())
}

/// A JSON object a line; what is none is passed over.
struct Objects<T> {
    lines: Lines<BufReader<File>>,
    of: std::marker::PhantomData<T>,
}

impl<T> Objects<T> {
    fn open(path: &Path) -> Result<Objects<T>, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Objects {
            lines: BufReader::new(file).lines(),
            of: std::marker::PhantomData,
        })
    }
}

impl<T: DeserializeOwned> Iterator for Objects<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| serde_json::from_str(&line).ok())
    }
}

fn table(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        text.push_str(&format!("{verdict}\n"));
    }
    let all: Status = overall(verdicts);
    text + &format!("{all}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_run_that_was_cut_short_is_judged_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let scenarios = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../microvms/scenarios/lifecycle.toml"
        );
        fs::copy(scenarios, folder.path().join("scenario.toml")).unwrap();
        assert!(
            folder_verdicts(folder.path())
                .unwrap_err()
                .contains("events.jsonl")
        );
        write(
            "events.jsonl",
            "{\"elapsed_seconds\":1.0,\"event\":\"daemon-ended\",\"pid\":7,\"code\":1,\"signal\":null,\"announced\":false}\n{\"elap",
        );
        write("samples.jsonl", "{\"elapsed_seconds\":");
        let verdicts = folder_verdicts(folder.path()).unwrap();
        let restarts = verdicts
            .iter()
            .find(|verdict| verdict.name == "restarts_max")
            .unwrap();
        assert_eq!(restarts.status, Status::Fail, "{restarts:?}");
        let threads = verdicts
            .iter()
            .find(|verdict| verdict.name == "threads_max")
            .unwrap();
        assert_eq!(threads.status, Status::CannotJudge, "{threads:?}");
        assert_eq!(exit_status(overall(&verdicts)), 1);
    }
}
