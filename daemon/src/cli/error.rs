//! What is wrong with a command line, an environment or a configuration file: one line each.

use std::{fmt, path::PathBuf};

/// Exit status of a wrong configuration: EX_CONFIG of sysexits.h.
pub const EX_CONFIG: u8 = 78;

/// Where a setting came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nothing gave it.
    #[default]
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key as it is there.
        key: String,
    },
    /// The environment variable of that name.
    Environment(String),
    /// A flag, spelt like that, dashes included.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line, key } => {
                write!(
                    f,
                    "{}:{line} key {}",
                    one_line(&path.to_string_lossy()),
                    one_line(key)
                )
            }
            Source::Environment(name) => write!(f, "environment {}", one_line(name)),
            Source::Flag(spelling) => write!(f, "flag {}", one_line(spelling)),
        }
    }
}

/// A configuration that cannot be used. Prints as one line: where, what was expected, what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A flag, variable or key whose value or name is wrong.
    Wrong {
        /// Which one.
        source: Source,
        /// Expected and got.
        problem: String,
    },
    /// An argument that is not a flag, or one too few.
    Arguments(String),
    /// Settings that do not go together.
    Conflict(String),
    /// A configuration file that cannot be read, or is not TOML.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1, where it is known.
        line: Option<usize>,
        /// What is wrong there.
        problem: String,
    },
}

impl Error {
    /// The status the process ends with.
    pub fn exit_status(&self) -> u8 {
        EX_CONFIG
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Wrong { source, problem } => write!(f, "{source}: {problem}"),
            Error::Arguments(problem) | Error::Conflict(problem) => f.write_str(problem),
            Error::File { path, line, problem } => {
                f.write_str(&one_line(&path.to_string_lossy()))?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                write!(f, ": {problem}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// Text with its control characters escaped: what others named must not break the line.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}
