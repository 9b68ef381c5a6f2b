//! Something to poll: `load_sockets NAMESPACES SOCKETS [FOLDER]` mounts as many network namespaces in the
//! folder (/run/netns), with as many sockets in each, says "ready", and takes everything away again at
//! SIGTERM or SIGINT. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a tool for tests and measurements"
)]

#[path = "../tests/common/load.rs"]
mod load;

use load::Load;
use nix::sys::signal::{SigSet, Signal};
use std::{env, path::Path, process::Command};

fn main() {
    // The end of a child is the end of its input; a Ctrl-C on the terminal would come too early.
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    ends.thread_block().unwrap();
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
    let load = Load::start(again, Path::new(folder), namespaces, sockets);
    println!("ready: {sockets} sockets in each of {namespaces} namespaces");
    let _ = ends.wait();
    drop(load);
}
