//! The program: command line in, one command done, exit status out.

use std::process::ExitCode;
use xtcp2_soak::cli;

fn main() -> ExitCode {
    let (command, given) = match cli::parse(std::env::args_os().skip(1)) {
        Ok(cli::Parsed::Run(command, given)) => (command, given),
        Ok(cli::Parsed::Help(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error),
    };
    (command.run)(&given).unwrap_or_else(|error| refuse(&error))
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("xtcp2-soak: {error}");
    ExitCode::from(cli::STATUS_USAGE)
}
