//! The words that may come first on the command line.

use super::flags::{did_you_mean, nearest};
use std::borrow::Cow;

/// One command, for help, man page and completions.
#[derive(Debug)]
pub struct CommandWord {
    /// The word.
    pub name: &'static str,
    /// What follows it.
    pub arguments: &'static str,
    /// The words that may follow it; empty where files or nothing do.
    pub words: &'static [&'static str],
    /// Whether files follow it.
    pub takes_files: bool,
    /// One line, without a full stop.
    pub doc: &'static str,
}

/// Every command. `run` is what happens without one.
pub static COMMANDS: &[CommandWord] = &[
    CommandWord {
        name: "run",
        arguments: "",
        words: &[],
        takes_files: false,
        doc: "Poll and deliver rows; the same as no command",
    },
    CommandWord {
        name: "replay",
        arguments: "FILE...",
        words: &[],
        takes_files: true,
        doc: "Deliver the rows of pcap or pcapng captures of netlink",
    },
    CommandWord {
        name: "check",
        arguments: "",
        words: &[],
        takes_files: false,
        doc: "Say whether the daemon would start here, and what to do",
    },
    CommandWord {
        name: "schema",
        arguments: "proto|clickhouse-proto|clickhouse|clickhouse-kafka|json",
        words: &[
            "proto",
            "clickhouse-proto",
            "clickhouse",
            "clickhouse-kafka",
            "json",
        ],
        takes_files: false,
        doc: "Print the schema of the rows",
    },
    CommandWord {
        name: "man",
        arguments: "",
        words: &[],
        takes_files: false,
        doc: "Print the manual page",
    },
    CommandWord {
        name: "completions",
        arguments: "bash|zsh|fish",
        words: &["bash", "zsh", "fish"],
        takes_files: false,
        doc: "Print completions for a shell",
    },
    CommandWord {
        name: "help",
        arguments: "",
        words: &[],
        takes_files: false,
        doc: "Print the long help",
    },
];

/// The command of that name, or what is wrong with it.
pub fn find(name: &str) -> Result<&'static CommandWord, String> {
    COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
            let hint = did_you_mean(nearest(name, names.iter().map(|name| Cow::Borrowed(*name))));
            format!("command: expected one of {}, got {name:?}{hint}", names.join(" "))
        })
}
