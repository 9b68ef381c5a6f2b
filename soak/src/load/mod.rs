//! Loads: what the daemon has to look at. Each is a command of its own, and ends by SIGTERM, SIGINT or
//! `--duration`.
//!
//! The process that was started divides the work among processes of this same program (`parent`), since
//! one may not open as many descriptors as a load takes. A worker ends when its standard input does, so
//! also after a kill -9 of its parent, and takes away what it made. What then still is there is removed by
//! `xtcp2-soak clean`, which finds it by its name and by what was written down (`trace`).

mod churn;
mod connections;
mod containers;
pub mod engine;
mod loopback;
mod namespace;
mod parent;
mod short;
mod sockets;
pub mod trace;
mod worker;

pub use worker::NamespaceEvent;

use crate::{
    cli::{Command, Flag, Given, of_flag},
    scenario::Load,
};
use std::{
    fmt::Display,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

/// The commands, one for each kind.
pub const COMMANDS: [&Command; 4] = [
    &sockets::COMMAND,
    &churn::COMMAND,
    &containers::COMMAND,
    &short::COMMAND,
];

/// Where namespaces are mounted.
const FOLDER: Flag = Flag {
    name: "folder",
    value: "DIR",
    default: "",
    doc: "Where namespaces are mounted: a folder that the daemon watches. Made if there is none. Required.",
};
/// When it ends by itself.
const DURATION: Flag = Flag {
    name: "duration",
    value: "DURATION",
    default: "",
    doc: "Ends so long after everything was there; otherwise by SIGTERM or SIGINT.",
};
/// What every kind says about itself.
const LONG_DOC: &str = "Prints record::Load as a JSON object a line, each second, the first when everything is \
                        there: what was made since the start, and what there is now. Takes away what it made when \
                        it ends, also when it is killed; `xtcp2-soak clean` removes what is left if its workers \
                        are killed too. Needs root.\n\n\
                        Exit status: 0 when it ended as it was told; 2 when it could not do what it should.";

/// The arguments of a process that makes this load, with namespaces mounted in `folder`.
pub fn command(load: &Load, folder: &Path) -> Vec<String> {
    let (kind, flags): (&str, Vec<(&str, String)>) = match load {
        Load::Sockets {
            namespaces,
            sockets,
            bytes_per_second,
            delay_ms,
            loss_percent,
            congestion_control,
        } => {
            let mut flags = vec![
                ("namespaces", namespaces.to_string()),
                ("sockets", sockets.to_string()),
                ("bytes-per-second", bytes_per_second.to_string()),
                ("delay-ms", delay_ms.to_string()),
                ("loss-percent", loss_percent.to_string()),
            ];
            let named = congestion_control.iter().cloned();
            flags.extend(named.map(|name| ("congestion-control", name)));
            ("sockets", flags)
        }
        Load::Churn {
            events_per_second,
            namespaces,
            sockets,
        } => (
            "churn",
            vec![
                ("events-per-second", events_per_second.to_string()),
                ("namespaces", namespaces.to_string()),
                ("sockets", sockets.to_string()),
            ],
        ),
        Load::Containers {
            containers,
            sockets,
            restarts_per_minute,
        } => (
            "containers",
            vec![
                ("containers", containers.to_string()),
                ("sockets", sockets.to_string()),
                ("restarts-per-minute", restarts_per_minute.to_string()),
            ],
        ),
        Load::Short {
            connections_per_second,
            lifetime_ms,
        } => (
            "short",
            vec![
                ("connections-per-second", connections_per_second.to_string()),
                ("lifetime-ms", lifetime_ms.to_string()),
            ],
        ),
    };
    let mut arguments = vec!["load".to_owned(), kind.to_owned()];
    let folder = ("folder", folder.display().to_string());
    for (name, value) in flags.into_iter().chain([folder]) {
        arguments.extend([format!("--{name}"), value]);
    }
    arguments
}

/// What every kind is told.
struct Common {
    folder: PathBuf,
    events: Option<PathBuf>,
    duration: Option<Duration>,
}

impl Common {
    fn of(given: &Given) -> Result<Common, String> {
        Ok(Common {
            folder: PathBuf::from(given.required("folder")?),
            events: given.path("events"),
            duration: given.duration("duration")?,
        })
    }
}

/// Divides `work` into `shares`, and does it; in a worker, does its share.
fn run(
    given: &Given,
    shares: impl FnOnce(&Given) -> Result<Vec<worker::Work>, String>,
) -> Result<ExitCode, String> {
    if let Some(share) = worker::share()? {
        return worker::run(share).map(|()| ExitCode::SUCCESS);
    }
    let common = Common::of(given)?;
    parent::run(common, shares(given)?)
}

/// A number, as a flag that has a default or must be given.
fn number<T: FromStr<Err: Display>>(given: &Given, name: &'static str) -> Result<T, String> {
    let value = given.required(name)?;
    let parsed = value
        .parse()
        .map_err(|error| format!("expected a number, got {value:?}: {error}"));
    of_flag(name, parsed)
}

/// As [`number`], for a rate, which is 0 or more.
fn rate(given: &Given, name: &'static str) -> Result<f64, String> {
    let rate: f64 = number(given, name)?;
    match rate.is_finite() && rate >= 0.0 {
        true => Ok(rate),
        false => of_flag(name, Err(format!("expected 0 or more, got {rate}"))),
    }
}

/// Sockets of a namespace: two make a connection.
fn sockets_each(given: &Given) -> Result<u32, String> {
    let sockets: u32 = number(given, "sockets")?;
    let problem = if !sockets.is_multiple_of(2) {
        format!("expected an even number, since a connection is two, got {sockets}")
    } else if sockets > worker::SOCKETS_MAX {
        format!(
            "expected {} at most in one namespace, got {sockets}",
            worker::SOCKETS_MAX
        )
    } else {
        return Ok(sockets);
    };
    of_flag("sockets", Err(problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Parsed};

    /// What a scenario asks for reaches the command: its line is understood, and every flag is there.
    #[test]
    fn the_command_of_a_load_is_one_that_is_understood() {
        let loads = [
            Load::Sockets {
                namespaces: 3,
                sockets: 4,
                bytes_per_second: 5,
                delay_ms: 6,
                loss_percent: 0.5,
                congestion_control: vec!["cubic".to_owned(), "bbr".to_owned()],
            },
            Load::Churn {
                events_per_second: 20.5,
                namespaces: 200,
                sockets: 2,
            },
            Load::Containers {
                containers: 20,
                sockets: 100,
                restarts_per_minute: 1.5,
            },
            Load::Short {
                connections_per_second: 100.0,
                lifetime_ms: 5,
            },
        ];
        let common = ["duration", "events"];
        for load in loads {
            let arguments = command(&load, Path::new("/run/soak"));
            let parsed = cli::parse(arguments.iter().map(Into::into)).unwrap();
            let Parsed::Run(command, given) = parsed else {
                panic!("{arguments:?}")
            };
            assert_eq!(command.name, arguments[..2].join(" "));
            assert_eq!(given.one("folder"), Some("/run/soak"));
            for flag in command.flags.iter().filter(|flag| !common.contains(&flag.name)) {
                assert!(given.has(flag.name), "{}: no --{}", command.name, flag.name);
            }
        }
    }
}
