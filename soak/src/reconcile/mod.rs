//! reconcile
use crate::cli::{Command, Flag, Given};
use std::process::ExitCode;
/// The command.
pub const COMMAND: Command = Command {
    name: "reconcile",
    doc: "x",
    long_doc: "y",
    flags: &[
        Flag {
            name: "json",
            value: "",
            default: "",
            doc: "j",
        },
        Flag {
            name: "clickhouse",
            value: "URL",
            default: "",
            doc: "j",
        },
    ],
    run,
};
fn run(_: &Given) -> Result<ExitCode, String> {
    Ok(ExitCode::SUCCESS)
}
