//! The command line: a command, its flags and their values, each declared once in a table that the
//! command keeps; parsing, help and hints are loops over it.

use crate::{clean, gates, kafka_to_clickhouse, load, reconcile, report, run, scenario};
use lexopt::{Arg, Parser};
use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

/// Exit status of a command line that cannot be used, and of everything else that leaves a question
/// unanswered.
pub const STATUS_USAGE: u8 = 2;

/// Columns of help.
const COLUMNS: usize = 80;
/// Where the text of a flag begins.
const LEFT: usize = 10;

/// One command.
#[derive(Debug)]
pub struct Command {
    /// Its word; or two, where there are several of a kind.
    pub name: &'static str,
    /// What it does, a line.
    pub doc: &'static str,
    /// What else there is to say, in whole sentences.
    pub long_doc: &'static str,
    /// What its words behind the command are, as help shows them; empty for one that takes none.
    pub words: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// Does it. An error is a line for a person; the exit status is then [`STATUS_USAGE`].
    pub run: fn(&Given) -> Result<ExitCode, String>,
}

/// One flag of a command.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What its value looks like; empty for one that takes none.
    pub value: &'static str,
    /// The value where none is given; empty for none.
    pub default: &'static str,
    /// What it does, a line or two.
    pub doc: &'static str,
}

/// Every command.
pub const COMMANDS: [&Command; 13] = {
    let [sockets, churn, containers, short] = load::COMMANDS;
    [
        &scenario::LIST,
        &scenario::SHOW,
        &scenario::CHECK,
        &run::COMMAND,
        &gates::command::COMMAND,
        &report::COMPARE,
        &reconcile::COMMAND,
        &kafka_to_clickhouse::COMMAND,
        sockets,
        churn,
        containers,
        short,
        &clean::COMMAND,
    ]
};

/// What is to be done.
#[derive(Debug)]
pub enum Parsed {
    /// A command, and what was given to it.
    Run(&'static Command, Given),
    /// Print this.
    Help(String),
}

/// The flags that were given, in their order.
#[derive(Debug)]
pub struct Given {
    flags: &'static [Flag],
    values: Vec<(&'static str, String)>,
    words: Vec<String>,
}

impl Given {
    /// The words that are no flags, in their order.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Every value of a flag that may come several times.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let of_name = move |(given, _): &&(&str, String)| *given == name;
        self.values
            .iter()
            .filter(of_name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a flag was given.
    pub fn has(&self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }

    /// The last value of a flag, or its default.
    pub fn one(&self, name: &'static str) -> Option<&str> {
        let default = || self.flags.iter().find(|flag| flag.name == name)?.default.into();
        self.all(name)
            .last()
            .or_else(default)
            .filter(|value: &&str| !value.is_empty())
    }

    /// As [`Given::one`], for a flag that must be given.
    ///
    /// # Errors
    /// When it was not.
    pub fn required(&self, name: &'static str) -> Result<&str, String> {
        self.one(name)
            .ok_or_else(|| format!("expected --{name}, got none: see --help"))
    }

    /// A path, where one was given.
    pub fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.one(name).map(PathBuf::from)
    }

    /// A duration, where one was given.
    ///
    /// # Errors
    /// When it is none.
    pub fn duration(&self, name: &'static str) -> Result<Option<Duration>, String> {
        self.one(name)
            .map(|value| of_flag(name, xtcp2::cli::duration::parse(value)))
            .transpose()
    }
}

/// Says which flag an error is about.
///
/// # Errors
/// The one given.
pub fn of_flag<T>(name: &str, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|problem| format!("flag --{name}: {problem}"))
}

/// Reads a command line, without the program's own name.
///
/// # Errors
/// One line: what was expected, what came, what was perhaps meant.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut parser = Parser::from_args(arguments);
    let names = || COMMANDS.map(|command| command.name);
    let word = match parser.next().map_err(|error| error.to_string())? {
        None => {
            return Err(format!(
                "expected a command ({}), got none: see --help",
                names().join(", ")
            ));
        }
        Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Parsed::Help(overview())),
        Some(Arg::Long("version") | Arg::Short('V')) => {
            return Ok(Parsed::Help(format!("xtcp2-soak {}\n", xtcp2::version::VERSION)));
        }
        Some(Arg::Value(word)) => word.to_string_lossy().into_owned(),
        Some(flag) => {
            return Err(format!(
                "expected a command before its flags, got {}",
                spelling(&flag)
            ));
        }
    };
    let word = match names().iter().any(|name| name.starts_with(&format!("{word} "))) {
        true => match parser.next().map_err(|error| error.to_string())? {
            Some(Arg::Value(second)) => format!("{word} {}", second.to_string_lossy()),
            Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Parsed::Help(overview())),
            _ => word,
        },
        false => word,
    };
    let Some(command) = COMMANDS.into_iter().find(|command| command.name == word) else {
        let hint = did_you_mean(&word, names());
        return Err(format!(
            "expected a command ({}), got {word:?}{hint}",
            names().join(", ")
        ));
    };
    let mut values = Vec::new();
    let mut words = Vec::new();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let name = match &argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Parsed::Help(help(command))),
            Arg::Long(name) => name,
            Arg::Value(word) if !command.words.is_empty() => {
                words.push(word.to_string_lossy().into_owned());
                continue;
            }
            _ => {
                let got = spelling(&argument);
                return Err(format!("{}: expected flags, got {got}: see --help", command.name));
            }
        };
        let Some(flag) = command.flags.iter().find(|flag| flag.name == *name) else {
            let hint = did_you_mean(name, command.flags.iter().map(|flag| flag.name));
            return Err(format!(
                "{}: there is no flag --{name}{hint}: see --help",
                command.name
            ));
        };
        let value = match flag.value {
            "" => "yes".into(),
            expected => {
                let missing = |_| format!("flag --{}: expected {expected}, got nothing", flag.name);
                parser
                    .value()
                    .map_err(missing)?
                    .into_string()
                    .map_err(|value| format!("flag --{}: expected UTF-8, got {value:?}", flag.name))?
            }
        };
        values.push((flag.name, value));
    }
    Ok(Parsed::Run(
        command,
        Given {
            flags: command.flags,
            values,
            words,
        },
    ))
}

fn spelling(argument: &Arg<'_>) -> String {
    match argument {
        Arg::Long(name) => format!("--{name}"),
        Arg::Short(letter) => format!("-{letter}"),
        Arg::Value(value) => format!("{value:?}"),
    }
}

/// Names that differ by more than a third are another word, not a slip.
pub(crate) fn did_you_mean<'a>(got: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let distance = |name: &&str| strsim::damerau_levenshtein(got, name);
    match names.into_iter().min_by_key(distance) {
        Some(name) if 3 * distance(&name) <= name.len().max(3) => format!(" (did you mean {name}?)"),
        _ => String::new(),
    }
}

fn overview() -> String {
    let mut text = String::from(
        "xtcp2-soak: proves that xtcp2 loses nothing.\n\nUsage: xtcp2-soak COMMAND [FLAG...]\n\nCommands:\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {}\n", command.name));
        wrap(&mut text, command.doc, LEFT);
    }
    text.push_str("\nCOMMAND --help says more.\n");
    text
}

fn help(command: &Command) -> String {
    let mut text = String::new();
    wrap(
        &mut text,
        &format!("xtcp2-soak {}: {}", command.name, command.doc),
        0,
    );
    let usage = format!("Usage: xtcp2-soak {} {}", command.name, command.words);
    text.push_str(&format!("\n{} [FLAG...]\n\n", usage.trim_end()));
    for paragraph in command.long_doc.split("\n\n") {
        wrap(&mut text, paragraph, 0);
        text.push('\n');
    }
    text.push_str("Flags:\n");
    for flag in command.flags {
        text.push_str(format!("  --{} {}", flag.name, flag.value).trim_end());
        text.push('\n');
        wrap(&mut text, flag.doc, LEFT);
        if !flag.default.is_empty() {
            wrap(&mut text, &format!("[default: {}]", flag.default), LEFT);
        }
    }
    text.push_str("\nDurations are written 10s, 500ms, 1m30s.\n");
    text
}

/// Appends `what`, at most [`COLUMNS`] wide, each line indented.
pub(crate) fn wrap(text: &mut String, what: &str, indent: usize) {
    let mut line = " ".repeat(indent);
    for word in what.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            text.push_str(line.trim_end());
            text.push('\n');
            line.truncate(indent);
        }
        if line.len() > indent {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Parsed, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_have_values_and_defaults_and_the_last_one_counts() {
        let line = "kafka-to-clickhouse --brokers a:1 --topic one --topic=two --kafka-property a=b --kafka-property c=d";
        let Parsed::Run(command, given) = parsed(line).unwrap() else {
            panic!()
        };
        assert_eq!(command.name, "kafka-to-clickhouse");
        assert_eq!(given.one("topic"), Some("two"));
        assert_eq!(given.one("group"), Some("xtcp-clickhouse"));
        assert_eq!(given.one("max-idle"), None);
        assert_eq!(given.all("kafka-property").collect::<Vec<_>>(), ["a=b", "c=d"]);
        assert_eq!(given.required("brokers"), Ok("a:1"));
        assert!(given.required("clickhouse").unwrap_err().contains("--clickhouse"));
    }

    #[test]
    fn what_is_wrong_is_said_and_what_was_meant() {
        for (line, hint) in [
            ("", "expected a command"),
            ("reconcil", "did you mean reconcile?"),
            ("--json reconcile", "before its flags"),
            ("reconcile --jsn", "did you mean json?"),
            (
                "reconcile --frobnicate-all",
                "there is no flag --frobnicate-all: see",
            ),
            ("reconcile x", "got \"x\""),
            ("reconcile --clickhouse", "got nothing"),
            ("reconcile --json=yes", "unexpected"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn help_names_every_flag_and_fits_a_terminal() {
        let texts = COMMANDS.map(|command| match parsed(&format!("{} --help", command.name)) {
            Ok(Parsed::Help(text)) => (command, text),
            other => panic!("{other:?}"),
        });
        for (command, text) in texts {
            for flag in command.flags {
                assert!(text.contains(&format!("\n  --{}", flag.name)), "{}", flag.name);
            }
            assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        }
    }
}
