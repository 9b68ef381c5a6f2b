//! Settings as they pile up: default, then file, then environment, then flags. Remembers where
//! each came from.

use super::{
    arguments::Given,
    config_file::Entry,
    environment::Environment,
    error::{Error, Source},
    flags::{Action, Apply, Flag, default_config},
    table::FLAGS,
};
use crate::{config::Config, format::Format, output::Destination};
use std::{collections::BTreeMap, path::Path};

/// Settings and where they came from.
#[derive(Debug)]
pub struct Settings {
    /// The values so far.
    pub config: Config,
    sources: BTreeMap<&'static str, Source>,
}

impl Settings {
    /// The defaults.
    pub fn new() -> Settings {
        Settings {
            config: default_config(),
            sources: BTreeMap::new(),
        }
    }

    /// Where a setting came from.
    pub fn source(&self, name: &str) -> &Source {
        self.sources.get(name).unwrap_or(&Source::Default)
    }

    /// Takes a configuration file in. Every entry must be right, also those that a variable or a
    /// flag overrides: the mistake would come out on the day the flag is taken away.
    pub fn add_file(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        for Entry { flag, value, source } in entries {
            self.apply(flag, &value, source)?;
        }
        Ok(())
    }

    /// Takes the environment in, and returns a line for each name of the reference that counted.
    /// Such names are general (`DEST`, `LABEL`), so one is only looked at where neither a flag nor
    /// our own name sets the same thing.
    pub fn add_environment(
        &mut self,
        environment: &Environment,
        given: &[Given],
    ) -> Result<Vec<String>, Error> {
        let mut notes = Vec::new();
        for flag in FLAGS {
            let (Some(setting), Some(ours)) = (flag.setting(), flag.environment()) else {
                continue;
            };
            if let Some(value) = environment.get(&ours)? {
                self.apply(flag, value, Source::Environment(ours))?;
                continue;
            }
            let Some(theirs) = setting.reference_environment else {
                continue;
            };
            if given.iter().any(|given| sets(given.flag) == Some(flag.name)) {
                continue;
            }
            if let Some(value) = environment.get(theirs)? {
                self.apply(flag, value, Source::Environment(theirs.to_owned()))?;
                notes.push(format!(
                    "environment {theirs}: sets --{} as in the reference program; the name of our own is {ours}",
                    flag.name
                ));
            }
        }
        Ok(notes)
    }

    /// Takes the flags in; of several for the same thing the last counts.
    pub fn add_flags(&mut self, given: &[Given]) -> Result<(), Error> {
        for Given {
            flag,
            spelling,
            value,
        } in given
        {
            self.apply(flag, value, Source::Flag(spelling.clone()))?;
        }
        Ok(())
    }

    /// Fills in what depends on several settings.
    pub fn settle(&mut self) {
        let console = matches!(self.config.dest, Destination::Stdout | Destination::Stderr);
        if console && *self.source("marshal") == Source::Default {
            self.config.marshal = Format::Jsonl;
        }
    }

    fn apply(&mut self, flag: &'static Flag, value: &str, source: Source) -> Result<(), Error> {
        let (apply, name): (Apply, &'static str) = match &flag.action {
            Action::Set(setting) => (setting.apply, flag.name),
            Action::Also { of, apply } => (*apply, of),
            Action::ConfigFile | Action::Show(_) => return Ok(()),
        };
        if let Err(problem) = apply(&mut self.config, value) {
            return Err(Error::Wrong { source, problem });
        }
        self.sources.insert(name, source);
        Ok(())
    }
}

/// Name of what a flag sets.
fn sets(flag: &Flag) -> Option<&'static str> {
    match flag.action {
        Action::Set(_) => Some(flag.name),
        Action::Also { of, .. } => Some(of),
        Action::ConfigFile | Action::Show(_) => None,
    }
}

/// The configuration file that flags or environment name: the last flag, else the variable.
pub fn config_file(given: &[Given], environment: &Environment) -> Result<Option<String>, Error> {
    let is_config = |flag: &Flag| matches!(flag.action, Action::ConfigFile);
    if let Some(given) = given.iter().rev().find(|given| is_config(given.flag)) {
        if Path::new(&given.value).as_os_str().is_empty() {
            let source = Source::Flag(given.spelling.clone());
            return Err(Error::Wrong {
                source,
                problem: "expected a file, got \"\"".to_owned(),
            });
        }
        return Ok(Some(given.value.clone()));
    }
    let Some(name) = FLAGS
        .iter()
        .find(|flag| is_config(flag))
        .and_then(Flag::environment)
    else {
        return Ok(None);
    };
    Ok(environment.get(&name)?.map(str::to_owned))
}
