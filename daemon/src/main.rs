//! The program: command line in, one of a few things done, exit status out.

use log::LevelFilter;
use std::{
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};
use xtcp2::{
    check::{self, Verdict},
    cli::{self, Command, EX_CONFIG},
    config::{Config, LogFormat},
    daemon::{self, Daemon, Fatal, Reload},
    logger, output,
    sys::file_size_limit,
};

fn main() -> ExitCode {
    // A child of our own, made to look a name up so that the loop need not wait for it.
    let words: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into())
        .collect();
    if let Some(status) = output::resolve::child(&words) {
        return status;
    }
    start_log_early();
    // Before anything else: a signal that comes early waits, instead of killing what is starting.
    let signals = match daemon::block_signals() {
        Ok(signals) => signals,
        Err(error) => return end(Err(Fatal::system("sigprocmask")(error))),
    };
    if let Err(error) = file_size_limit::report_as_error() {
        return end(Err(Fatal::system("signal")(error)));
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let read = move || cli::parse(arguments.iter().cloned(), environment.iter().cloned());
    let invocation = match read() {
        Ok(invocation) => invocation,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::from(error.exit_status());
        }
    };
    if !matches!(invocation.command, Command::Run(_)) {
        // Nothing else listens to them.
        let _ = signals.thread_unblock();
    }
    match invocation.command {
        Command::Run(config) => {
            logger::start(config.log_level, config.log_format);
            invocation.warnings.iter().for_each(|line| log::warn!("{line}"));
            invocation.infos.iter().for_each(|line| log::info!("{line}"));
            let reload = Reload::new(Box::new(read), invocation.config_file);
            end(Daemon::start(config, reload, &signals).and_then(Daemon::run))
        }
        Command::Replay { config, files } => {
            logger::start(config.log_level, config.log_format);
            end(xtcp2::replay::run(config, &files))
        }
        Command::Check(config) => check(&config, invocation.config_file.as_deref(), &invocation.warnings),
        Command::Schema(_)
        | Command::Man
        | Command::Completions(_)
        | Command::Help(_)
        | Command::Version
        | Command::PrintConfig(_) => print(&invocation.command.text().unwrap_or_default()),
    }
}

/// For what ends the program before its settings are known: as the environment says, which nothing has checked.
fn start_log_early() {
    let format = match std::env::var("XTCP2_LOG_FORMAT").as_deref() {
        Ok("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    logger::start(LevelFilter::Error, format);
}

fn check(config: &Config, config_file: Option<&Path>, warnings: &[String]) -> ExitCode {
    match check::run(config, config_file, warnings, &mut io::stdout()) {
        Ok(Verdict::Fail) => ExitCode::from(EX_CONFIG),
        Ok(Verdict::Ok | Verdict::Warn) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn end(result: Result<ExitCode, Fatal>) -> ExitCode {
    match result {
        Ok(status) => status,
        Err(error) => {
            log::error!("{error}");
            if error.is_configuration() {
                ExitCode::from(EX_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        // `xtcp2 man | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
