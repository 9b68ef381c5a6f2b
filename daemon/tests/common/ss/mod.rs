//! What `ss` of iproute2 says of TCP sockets, and what it should say of our rows.

pub mod context;
pub mod expected;
mod numbers;
pub mod output;
mod tcp_info;
pub mod tolerance;
mod words;

use super::{captures, scenes::MD5_KEY};
use output::Line;
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// As issue 3 has it, and the options that print still more. Cgroups come with `-e`.
const ARGUMENTS: [&str; 3] = ["-tinmeoaOH", "--tos", "--inet-sockopt"];

/// Version of the installed `ss`, e.g. (6, 1): later ones print more. `None` where there is none.
pub fn version() -> Option<(u32, u32)> {
    let output = Command::new("ss").arg("-V").output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text
        .split("iproute2-")
        .nth(1)?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Asks the kernel for the sockets of the calling thread's namespace.
pub fn live() -> Vec<Line> {
    lines(Command::new("ss").args(ARGUMENTS))
}

/// Has `ss` print these replies instead of asking the kernel.
pub fn of_replies(replies: &[Vec<u8>], folder: &Path) -> Vec<Line> {
    let dump = folder.join("replies");
    std::fs::write(&dump, captures::dump(replies)).unwrap();
    lines(Command::new("ss").args(ARGUMENTS).env("TCPDIAG_FILE", dump))
}

/// What `ss` says of an id in a recording that is no cgroup of this host.
const CGROUP_OF_ANOTHER_HOST: &str = "Failed to open cgroup2 by ID";

fn lines(command: &mut Command) -> Vec<Line> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // It prints "unreachable" then, which is compared.
    let other = errors.lines().find(|line| *line != CGROUP_OF_ANOTHER_HOST);
    assert!(output.status.success() && other.is_none(), "ss: {errors}");
    // Up to 6.12 or so, ss prints the keys of TCP-MD5 out of turn, before everything else.
    let text = String::from_utf8(output.stdout).unwrap().replace(MD5_KEY, "");
    text.lines()
        .map(|line| output::parse(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}
