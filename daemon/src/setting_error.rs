//! Why something that the settings ask for cannot be had.

use std::{fmt, io};

/// One line of words, and whether it may be had another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    problem: String,
    is_system: bool,
}

impl SettingError {
    /// It can never work as given.
    pub fn never(problem: impl fmt::Display) -> SettingError {
        SettingError {
            problem: problem.to_string(),
            is_system: false,
        }
    }

    /// The system refuses it, or somebody else has it: that may change.
    pub fn system(problem: impl fmt::Display) -> SettingError {
        SettingError {
            is_system: true,
            ..SettingError::never(problem)
        }
    }

    /// `problem` tells of `error`, which is the system's if it has a number.
    pub fn caused_by(error: &io::Error, problem: impl fmt::Display) -> SettingError {
        SettingError {
            is_system: error.raw_os_error().is_some(),
            ..SettingError::never(problem)
        }
    }

    /// Says what it is about.
    #[must_use]
    pub fn of(self, what: impl fmt::Display) -> SettingError {
        SettingError {
            problem: format!("{what}: {self}"),
            ..self
        }
    }

    /// Whether the system refused something, as a file that is not there yet: it may do another time.
    pub fn is_system(&self) -> bool {
        self.is_system
    }
}

impl From<io::Error> for SettingError {
    fn from(error: io::Error) -> SettingError {
        SettingError::caused_by(&error, &error)
    }
}

/// What can never work as given.
impl From<String> for SettingError {
    fn from(problem: String) -> SettingError {
        SettingError::never(problem)
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for SettingError {}
