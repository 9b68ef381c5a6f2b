//! Reads scenarios: where they are, and what is wrong with a file, by its line.

use super::Scenario;
use crate::cli::did_you_mean;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// In a checkout.
const IN_REPOSITORY: &str = "microvms/scenarios";
/// Beside the folder of an installed program.
const INSTALLED: &str = "../share/xtcp2/scenarios";
/// No scenario is as long; a mistaken path may be.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A folder of scenarios.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder that was given; or that of the repository one is in; or that beside the program.
    ///
    /// # Errors
    /// When there is none: where was looked.
    pub fn find(given: Option<PathBuf>) -> Result<Folder, String> {
        let working = env::current_dir().unwrap_or_default();
        let beside_program = env::current_exe()
            .ok()
            .and_then(|program| Some(program.parent()?.join(INSTALLED)));
        let looked_at: Vec<PathBuf> = match given {
            Some(folder) => vec![folder],
            None => working
                .ancestors()
                .map(|folder| folder.join(IN_REPOSITORY))
                .chain(beside_program)
                .collect(),
        };
        match looked_at.iter().find(|folder| folder.is_dir()) {
            Some(folder) => Ok(Folder(folder.clone())),
            None => {
                let all: Vec<String> = looked_at
                    .iter()
                    .map(|folder| folder.display().to_string())
                    .collect();
                Err(format!(
                    "expected a folder of scenarios, got none; looked at {}: --scenarios names another",
                    all.join(", ")
                ))
            }
        }
    }

    /// Names and files of the scenarios in it, by name.
    ///
    /// # Errors
    /// When it cannot be read, or holds none.
    pub fn files(&self) -> Result<Vec<(String, PathBuf)>, String> {
        let at = self.0.display();
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(|error| format!("{at}: {error}"))? {
            let path = entry.map_err(|error| format!("{at}: {error}"))?.path();
            if let (Some(name), Some("toml")) = (
                path.file_stem().and_then(|name| name.to_str()),
                path.extension().and_then(|extension| extension.to_str()),
            ) {
                files.push((name.to_owned(), path.clone()));
            }
        }
        if files.is_empty() {
            return Err(format!("{at}: expected scenarios (NAME.toml), got none"));
        }
        files.sort();
        Ok(files)
    }

    /// The file of a scenario, by its name.
    ///
    /// # Errors
    /// When there is none of that name: what there is.
    pub fn path_of(&self, name: &str) -> Result<PathBuf, String> {
        let files = self.files()?;
        if let Some((_, path)) = files.iter().find(|(known, _)| known == name) {
            return Ok(path.clone());
        }
        let names: Vec<&str> = files.iter().map(|(known, _)| known.as_str()).collect();
        let hint = did_you_mean(name, names.iter().copied());
        Err(format!(
            "{}: expected a scenario ({}), got {name:?}{hint}",
            self.0.display(),
            names.join(", ")
        ))
    }
}

/// Text of a file of a scenario.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: &Path) -> Result<String, String> {
    let at = path.display();
    let bytes = fs::metadata(path)
        .map_err(|error| format!("{at}: {error}"))?
        .len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!(
            "{at}: expected at most {FILE_BYTES_MAX} bytes, got {bytes}"
        ));
    }
    fs::read_to_string(path).map_err(|error| format!("{at}: {error}"))
}

/// Reads a scenario; whether it makes sense is [`super::validate()`]'s to say.
///
/// # Errors
/// `FILE:LINE: what was expected, what came, what was perhaps meant`.
pub fn file(path: &Path) -> Result<Scenario, String> {
    parse(path, &text(path)?)
}

/// As [`file()`], with its text.
pub fn parse(path: &Path, text: &str) -> Result<Scenario, String> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().trim_end();
        let unknown = unknown_word(message);
        // Of a load, serde reads the kind first and keeps the rest without its place in the file.
        let offset = match unknown {
            Some((word, _)) => error
                .span()
                .map(|span| span.start)
                .and_then(|from| Some(from + text.get(from..)?.find(word)?)),
            None => error.span().map(|span| span.start),
        };
        let line = offset
            .and_then(|offset| text.get(..offset))
            .map_or(1, |before| before.matches('\n').count() + 1);
        let hint = unknown.map_or_else(String::new, |(word, known)| did_you_mean(word, known));
        format!("{}:{line}: {message}{hint}", path.display())
    })
}

/// The word that serde does not know, and those that it does: all are in backticks.
fn unknown_word(message: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted))
}

/// The line of a key, by its table and which of the tables of that name it is in; that of the table where
/// the key is not there.
pub fn line_of(text: &str, table: &str, index: usize, key: &str) -> usize {
    let (mut in_table, mut seen, mut found) = (table.is_empty(), 0, 1);
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if let Some(name) = line
            .strip_prefix('[')
            .map(|rest| rest.trim_matches(|c| c == '[' || c == ']'))
        {
            let is_it = name == table;
            in_table = is_it && seen == index;
            seen += usize::from(is_it);
            if in_table {
                found = number;
            }
        } else if in_table
            && line
                .strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
        {
            return number;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHURN: &str = include_str!("../../../microvms/scenarios/namespace-churn.toml");

    fn error_of(from: &str, to: &str) -> String {
        assert!(CHURN.contains(from));
        parse(Path::new("a.toml"), &CHURN.replacen(from, to, 1)).unwrap_err()
    }

    fn line(what: &str) -> usize {
        let before = &CHURN[..CHURN.find(what).unwrap()];
        before.matches('\n').count() + 1
    }

    #[test]
    fn what_is_wrong_has_its_line_and_a_hint() {
        for (from, to, hint) in [
            ("threads_max =", "thread_max =", "did you mean threads_max?"),
            ("memory_mib =", "memory_mb =", "did you mean memory_mib?"),
            (
                "bytes_per_second =",
                "byte_per_second =",
                "did you mean bytes_per_second?",
            ),
            (
                "events_per_second =",
                "event_per_second =",
                "did you mean events_per_second?",
            ),
            ("kind = \"churn\"", "kind = \"chrun\"", "did you mean churn?"),
            ("frequency = \"1s\"", "frequency = \"1\"", "expected a duration"),
            ("rss_kib_max = 16384", "rss_kib_max = \"16 MiB\"", "invalid type"),
            ("cpus = 2", "cpus 2", "expected"),
        ] {
            let error = error_of(from, to);
            let place = format!("a.toml:{}: ", line(from));
            assert!(
                error.starts_with(&place) && error.contains(hint),
                "{from}: {error}"
            );
        }
        assert!(error_of("frequency = \"1s\"", "").contains("missing field `frequency`"));
    }

    #[test]
    fn keys_have_lines() {
        assert_eq!(line_of(CHURN, "", 0, "title"), line("title ="));
        assert_eq!(line_of(CHURN, "load", 1, "sockets"), line("sockets = 20"));
        assert_eq!(
            line_of(CHURN, "load", 1, "delay_ms"),
            line("[[load]]\n# What must")
        );
        assert_eq!(line_of(CHURN, "gates", 0, "poll_max_ms"), line("poll_max_ms ="));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none");
        let error = Folder::find(Some(missing.clone())).unwrap_err();
        assert!(error.contains(&missing.display().to_string()), "{error}");
        let empty = Folder::find(Some(folder.path().into())).unwrap();
        assert!(empty.files().unwrap_err().contains("got none"));
        fs::write(folder.path().join("faults.toml"), "").unwrap();
        assert!(
            empty
                .path_of("fault")
                .unwrap_err()
                .contains("did you mean faults?")
        );
        assert!(empty.path_of("faults").is_ok());
    }
}
