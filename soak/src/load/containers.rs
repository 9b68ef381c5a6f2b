//! stub
use super::{
    DURATION, FOLDER, LONG_DOC,
    worker::{self, Worker},
};
use crate::cli::{Command, Flag};
use serde::{Deserialize, Serialize};
/// The command.
pub const COMMAND: Command = Command {
    name: "load containers",
    doc: "x",
    long_doc: LONG_DOC,
    flags: &[
        FOLDER,
        DURATION,
        Flag {
            name: "containers",
            value: "COUNT",
            default: "",
            doc: "",
        },
        Flag {
            name: "sockets",
            value: "COUNT",
            default: "",
            doc: "",
        },
        Flag {
            name: "restarts-per-minute",
            value: "COUNT",
            default: "",
            doc: "",
        },
    ],
    run: |given| super::run(given, |_| Ok(Vec::<worker::Work>::new())),
};
/// Share
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {}
/// Does.
pub fn work(_: &mut Worker, _: &Work) -> Result<(), String> {
    Ok(())
}
