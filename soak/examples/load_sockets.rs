//! Something to poll: `load_sockets NAMESPACES SOCKETS [FOLDER]` mounts as many network namespaces in the
//! folder (/run/netns), with as many sockets in each, says "ready", makes all connections anew and says so
//! again at SIGUSR1, and takes everything away at SIGTERM or SIGINT. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a tool for tests and measurements"
)]

#[path = "../../daemon/tests/common/load.rs"]
mod load;

use load::Load;
use nix::sys::signal::{SigSet, Signal};
use std::{env, path::Path, process::Command};

fn main() {
    // The end of a child is the end of its input; a Ctrl-C on the terminal would come too early.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1]
        .into_iter()
        .collect();
    signals.thread_block().unwrap();
    if load::has_share() {
        return load::hold_share();
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|number| number.parse::<usize>().ok());
    let (Some(namespaces), Some(sockets)) =
        (number(0), number(1).filter(|sockets| sockets.is_multiple_of(2)))
    else {
        panic!("expected NAMESPACES SOCKETS [FOLDER], with an even number of sockets, got {arguments:?}");
    };
    let folder = arguments.get(2).map_or("/run/netns", String::as_str);
    let again = || Command::new(env::current_exe().unwrap());
    let mut load = Load::start(again, Path::new(folder), namespaces, sockets);
    loop {
        println!("ready: {sockets} sockets in each of {namespaces} namespaces");
        match signals.wait() {
            Ok(Signal::SIGUSR1) => load.renew(),
            _ => return drop(load),
        }
    }
}
