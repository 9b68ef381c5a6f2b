//! From a command line and an environment to what is to be done.

use super::{
    arguments::{self, Arguments},
    commands, completions, config_file,
    environment::Environment,
    error::{Error, Source},
    flags::{Show, did_you_mean, nearest},
    help, man, print_config, reference,
    settings::{self, Settings},
    validate,
};
use crate::{
    config::Config,
    schema::{self, Schema},
    version,
};
use std::{borrow::Cow, ffi::OsString, path::PathBuf};

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Poll and deliver.
    Run(Config),
    /// Deliver the rows of captures.
    Replay {
        /// Settings of rows and output; the others are the defaults.
        config: Config,
        /// The captures.
        files: Vec<PathBuf>,
    },
    /// Say whether the daemon would start.
    Check(Config),
    /// Print the schema.
    Schema(Schema),
    /// Print the manual page.
    Man,
    /// Print completions.
    Completions(Shell),
    /// Print help.
    Help(Help),
    /// Print the version.
    Version,
    /// Print this text: the settings as TOML.
    PrintConfig(String),
}

impl Command {
    /// What a command prints that does nothing else; `None` for one that is to be run.
    pub fn text(&self) -> Option<String> {
        match self {
            Command::Help(help) => Some(help::render(*help)),
            Command::Version => Some(format!("{}\n", version::LINE)),
            Command::Man => Some(man::render(version::VERSION, version::BUILD_DATE)),
            Command::Completions(shell) => Some(completions::render(*shell)),
            Command::PrintConfig(text) => Some(text.clone()),
            Command::Schema(schema) => Some(schema::text(*schema)),
            Command::Run(_) | Command::Replay { .. } | Command::Check(_) => None,
        }
    }
}

/// A shell that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// How long the help is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// `-h`: a line a flag.
    Short,
    /// `--help`: all of it.
    Long,
}

/// A command, and what is to be logged before it is run.
#[derive(Debug)]
pub struct Invocation {
    /// What is to be done.
    pub command: Command,
    /// Lines for the log, at level warn.
    pub warnings: Vec<String>,
    /// Lines for the log, at level info.
    pub infos: Vec<String>,
    /// The configuration file that was read.
    pub config_file: Option<PathBuf>,
}

/// Reads a command line (without the program's own name) and an environment. Touches nothing but
/// the configuration file, if one is named; help, version, schemas, man page and completions
/// depend on neither file nor environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, Error> {
    let mut arguments = arguments::split(arguments);
    // Help answers a wrong command line, too.
    match arguments.show.iter().min() {
        Some(Show::Help) if arguments.short_help => return Ok(quiet(Command::Help(Help::Short))),
        Some(Show::Help) => return Ok(quiet(Command::Help(Help::Long))),
        Some(Show::Version) => return Ok(quiet(Command::Version)),
        Some(Show::Config) | None => {}
    }
    if let Some(error) = arguments.error.take() {
        return Err(error);
    }
    let word = arguments
        .words
        .first()
        .map_or(Cow::Borrowed("run"), |word| word.to_string_lossy());
    let command = commands::find(&word).map_err(Error::Arguments)?;
    let behind = arguments.words.get(1..).unwrap_or_default();
    if let (false, true, Some(extra)) = (command.takes_files, command.words.is_empty(), behind.first()) {
        return Err(Error::Arguments(format!(
            "{}: expected no argument, got {extra:?}",
            command.name
        )));
    }
    match command.name {
        "replay" => replay(&arguments, behind, environment),
        "check" | "run" => {
            let settled = settle(&arguments, environment)?;
            let settings = settled.settings;
            let command = match (arguments.show.contains(&Show::Config), command.name) {
                (true, _) => Command::PrintConfig(print_config::render(&settings)),
                (false, "check") => Command::Check(settings.config),
                (false, _) => Command::Run(settings.config),
            };
            Ok(Invocation {
                command,
                warnings: settled.warnings,
                infos: settled.infos,
                config_file: settled.config_file,
            })
        }
        name => {
            no_flags(&arguments, name)?;
            Ok(quiet(match name {
                "schema" => Command::Schema(one_word(
                    command,
                    behind,
                    &Schema::ALL.map(|(schema, _, _)| schema),
                )?),
                "completions" => Command::Completions(one_word(
                    command,
                    behind,
                    &[Shell::Bash, Shell::Zsh, Shell::Fish],
                )?),
                "man" => Command::Man,
                _ => Command::Help(Help::Long),
            }))
        }
    }
}

fn quiet(command: Command) -> Invocation {
    Invocation {
        command,
        warnings: Vec::new(),
        infos: Vec::new(),
        config_file: None,
    }
}

/// All settings, checked, and what an [`Invocation`] says beside them.
struct Settled {
    settings: Settings,
    warnings: Vec<String>,
    infos: Vec<String>,
    config_file: Option<PathBuf>,
}

fn settle(
    arguments: &Arguments,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settled, Error> {
    let environment = Environment::new(environment);
    let mut settings = Settings::new();
    let config_file = settings::config_file(&arguments.given, &environment)?.map(PathBuf::from);
    if let Some(path) = &config_file {
        settings.add_file(config_file::parse(&config_file::read(path)?, path)?)?;
    }
    let infos = settings.add_environment(&environment, &arguments.given)?;
    settings.add_flags(&arguments.given)?;
    settings.settle();
    validate::validate(&settings)?;
    let mut warnings = environment.unknown();
    if !arguments.not_needed.is_empty() {
        let flags = arguments.not_needed.join(" ");
        warnings.push(format!(
            "taken and not needed: {flags}: {}",
            reference::WHY_NOT_NEEDED
        ));
    }
    Ok(Settled {
        settings,
        warnings,
        infos,
        config_file,
    })
}

fn replay(
    arguments: &Arguments,
    files: &[OsString],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, Error> {
    // File and environment may be the daemon's; a flag on this command line was meant for it.
    let useless = arguments
        .given
        .iter()
        .find(|given| !given.flag.category.is_for_replay());
    if let Some(given) = useless {
        return Err(Error::Wrong {
            source: Source::Flag(given.spelling.clone()),
            problem: "expected a flag of rows or output, got one that replay has no use for".to_owned(),
        });
    }
    let settled = settle(arguments, environment)?;
    let settings = settled.settings;
    let command = match arguments.show.contains(&Show::Config) {
        true => Command::PrintConfig(print_config::render(&settings)),
        false if files.is_empty() => {
            return Err(Error::Arguments(
                "replay: expected pcap or pcapng files, got none".to_owned(),
            ));
        }
        false => Command::Replay {
            config: settings.config,
            files: files.iter().map(PathBuf::from).collect(),
        },
    };
    Ok(Invocation {
        command,
        warnings: settled.warnings,
        infos: settled.infos,
        config_file: settled.config_file,
    })
}

fn no_flags(arguments: &Arguments, name: &str) -> Result<(), Error> {
    let settings = arguments.given.iter().map(|given| given.spelling.as_str());
    let shows = arguments.show.iter().map(|_| "--print-config");
    let mut all = settings
        .chain(arguments.not_needed.iter().map(String::as_str))
        .chain(shows);
    match all.next() {
        Some(spelling) => Err(Error::Wrong {
            source: Source::Flag(spelling.to_owned()),
            problem: format!("expected no flag, as {name} has no settings, got one"),
        }),
        None => Ok(()),
    }
}

/// The meaning of the one word behind a command; `meanings` go with its words, in their order.
fn one_word<T: Copy>(
    command: &commands::CommandWord,
    behind: &[OsString],
    meanings: &[T],
) -> Result<T, Error> {
    let expected = format!("{}: expected one of {}", command.name, command.words.join(" "));
    let word = match behind {
        [] => return Err(Error::Arguments(format!("{expected}, got nothing"))),
        [word] => word.to_string_lossy(),
        [_, extra, ..] => return Err(Error::Arguments(format!("{expected}, got {extra:?} as well"))),
    };
    let position = command.words.iter().position(|known| *known == word);
    position.and_then(|i| meanings.get(i)).copied().ok_or_else(|| {
        let hint = did_you_mean(nearest(
            &word,
            command.words.iter().map(|word| Cow::Borrowed(*word)),
        ));
        Error::Arguments(format!("{expected}, got {word:?}{hint}"))
    })
}
