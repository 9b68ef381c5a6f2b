//! Settings: command line, environment, configuration file, destinations.

use crate::{Damage, damaged};
use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt};
use tempfile::TempDir;
use xtcp2::{
    cli::{self, Command},
    output::Destination,
};

/// Words that get far: commands, flags in each spelling, and values, right and wrong.
const WORDS: [&str; 40] = [
    "run",
    "replay",
    "check",
    "schema",
    "man",
    "completions",
    "proto",
    "bash",
    "a.pcap",
    "--",
    "-",
    "",
    "-frequency",
    "--frequency",
    "--frequency=",
    "10s",
    "1m30s",
    "18446744073709551616s",
    "-dest",
    "--dest",
    "file:/",
    "udp:[::1]:5",
    "-marshal",
    "csv",
    "--columns",
    "tag,label",
    "--states",
    "listen",
    "--netns-dirs",
    "/a,/b",
    "--envelope-flush-bytes",
    "16MiB",
    "-1",
    "--prom-listen",
    ":9088",
    "-d",
    "100000",
    "-netlinkers",
    "--record",
    "ü\n",
];

/// A file with every kind of value.
const VALID: &str = "# comment\nfrequency = \"10s\"\nmax_loops = 0x10\nenvelope_flush_bytes = \"1MiB\"\n\
    states = [\"LISTEN\",\n  \"established\"]\nmarshal = 'csv'\ncolumns = \"tag,label\"\nlabel = \"\"\"x\"\"\"\n\
    dest = \"udp:[::1]:9000\"\nprom_listen = \":9088\"\n";

/// Parses; whatever is wrong is one line.
fn parse(arguments: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> Option<Command> {
    match cli::parse(arguments, environment) {
        Ok(invocation) => {
            for line in invocation.warnings.iter().chain(&invocation.infos) {
                assert!(!line.contains('\n'), "{line:?}");
            }
            Some(invocation.command)
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
            None
        }
    }
}

/// A random argument may name a file that there is; none is to be opened here.
fn names_a_file(argument: &[u8]) -> bool {
    String::from_utf8_lossy(argument).contains("config")
}

#[test]
fn any_command_line() {
    target!().with_type::<Vec<Vec<u8>>>().for_each(|arguments| {
        if !arguments.iter().any(|argument| names_a_file(argument)) {
            parse(
                arguments.iter().cloned().map(OsString::from_vec).collect(),
                Vec::new(),
            );
        }
    });
}

#[test]
fn any_flags_with_any_values() {
    target!()
        .with_type::<Vec<(u8, bool, Vec<u8>)>>()
        .for_each(|choices| {
            let mut arguments = Vec::new();
            for (word, is_word, bytes) in choices {
                let word = WORDS[usize::from(*word) % WORDS.len()].as_bytes();
                let argument = if *is_word { word } else { bytes };
                arguments.push(OsString::from_vec(argument.to_vec()));
                if !is_word && word.ends_with(b"=") {
                    arguments.push(OsString::from_vec([word, bytes].concat()));
                }
            }
            if !arguments
                .iter()
                .any(|argument| names_a_file(argument.as_encoded_bytes()))
            {
                parse(arguments, Vec::new());
            }
        });
}

#[test]
fn any_environment() {
    let names = [
        "XTCP2_LABEL",
        "XTCP2_DEST",
        "XTCP2_FREQUENCY",
        "XTCP2_STATES",
        "XTCP2_X\n",
        "DEST",
        "POLL_FREQUENCY",
    ];
    target!().with_type::<Vec<(u8, Vec<u8>)>>().for_each(|variables| {
        let environment = variables.iter().map(|(name, value)| {
            let name = names[usize::from(*name) % names.len()];
            (name.into(), OsString::from_vec(value.clone()))
        });
        parse(Vec::new(), environment.collect());
    });
}

/// A configuration file with these bytes, read by the program's own parser.
struct File(TempDir);

impl File {
    fn parse(&self, bytes: &[u8]) -> Option<Command> {
        let path = self.0.path().join("xtcp2.toml");
        fs::write(&path, bytes).unwrap();
        parse(vec!["--config".into(), path.into()], Vec::new())
    }
}

#[test]
fn any_configuration_file() {
    let file = File(TempDir::new().unwrap());
    target!().for_each(|bytes: &[u8]| drop(file.parse(bytes)));
}

#[test]
fn configuration_file_damaged() {
    let file = File(TempDir::new().unwrap());
    assert!(file.parse(VALID.as_bytes()).is_some());
    target!()
        .with_type::<Damage>()
        .for_each(|damage| drop(file.parse(&damaged(VALID.as_bytes(), damage))));
}

#[test]
fn any_destination() {
    let schemes = [
        "file:",
        "udp:",
        "tcp:",
        "unix:",
        "unixgram:",
        "http://",
        "https://",
        "kafka:",
        "",
        "stdout",
    ];
    target!().with_type::<(u8, Vec<u8>)>().for_each(|(scheme, rest)| {
        let rest = String::from_utf8_lossy(rest);
        let text = format!("{}{rest}", schemes[usize::from(*scheme) % schemes.len()]);
        if let Ok(destination) = text.parse::<Destination>() {
            assert_eq!(destination.to_string().parse(), Ok(destination), "{text:?}");
        }
    });
}

#[test]
fn destinations_damaged() {
    for valid in [
        "https://[2001:db8::1]:8443/a?b",
        "kafka:a:9092,[::1]:9093",
        "udp:host:5",
    ] {
        target!().with_type::<Damage>().for_each(|damage| {
            let text = String::from_utf8_lossy(&damaged(valid.as_bytes(), damage)).into_owned();
            if let Ok(destination) = text.parse::<Destination>() {
                assert_eq!(destination.to_string().parse(), Ok(destination), "{text:?}");
            }
        });
    }
}
