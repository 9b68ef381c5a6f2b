//! The program: command line in, one of a few things done, exit status out.

use std::{
    io::{self, Write},
    process::ExitCode,
};
use xtcp2::{
    cli::{self, Command, EX_CONFIG},
    config::Config,
    daemon::{self, Daemon, Fatal},
    logger, output,
};

fn main() -> ExitCode {
    // A child of our own, made to look a name up so that the loop need not wait for it.
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into())
        .collect();
    if let Some(status) = output::resolve::child(&arguments) {
        return status;
    }
    let invocation = match cli::parse(std::env::args_os().skip(1), std::env::vars_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("xtcp2: {error}");
            return ExitCode::from(error.exit_status());
        }
    };
    if let Some(text) = invocation.command.text() {
        return print(&text);
    }
    match invocation.command {
        Command::Run(config) => {
            logger::start(config.log_level, config.log_format);
            invocation.warnings.iter().for_each(|line| log::warn!("{line}"));
            invocation.infos.iter().for_each(|line| log::info!("{line}"));
            end(run(config))
        }
        Command::Replay { config, files } => {
            logger::start(config.log_level, config.log_format);
            end(xtcp2::replay::run(config, &files))
        }
        // All others are text.
        _ => ExitCode::SUCCESS,
    }
}

fn run(config: Config) -> Result<ExitCode, Fatal> {
    let signals = daemon::block_signals().map_err(Fatal::system("sigprocmask"))?;
    Daemon::start(config, &signals)?.run()
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
