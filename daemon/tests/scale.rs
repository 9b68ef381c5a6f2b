//! Every socket of every namespace, in every poll, from one thread, however many there are.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::{
    load::{self, Load},
    program::Program,
    rows, sandbox,
};
use std::{collections::BTreeMap, env, path::Path, process::Command};

const POLLS: u64 = 5;

/// Polls `namespaces` of `sockets` each and looks at every row of every poll.
fn polls_see_all(namespaces: usize, sockets: usize) {
    let folder = sandbox::folder();
    let again = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "a_share_of_the_load", "--ignored", "--nocapture"]);
        command
    };
    let load = Load::start(again, Path::new("/run/netns"), namespaces, sockets);
    let file = folder.path().join("rows");
    let (dest, polls) = (format!("file:{}", file.display()), POLLS.to_string());
    let mut program = Program::start(&[
        "-promListen",
        "none",
        "-dest",
        &dest,
        "-frequency",
        "100ms",
        "-maxLoops",
        &polls,
    ]);
    program.process();
    assert!(program.wait().success());
    drop(load);

    let rows = rows::in_file(&file);
    assert_eq!(rows::assert_complete(&rows), POLLS);
    let mut found: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for row in &rows {
        *found.entry((row.poll_sequence, row.netns_cookie)).or_default() += 1;
    }
    assert!(found.values().all(|count| *count == sockets), "{found:?}");
    assert_eq!(found.len(), namespaces * usize::try_from(POLLS).unwrap());
    eprintln!(
        "{POLLS} polls of {namespaces} namespaces of {sockets} sockets: {} rows, each socket once in each poll",
        rows.len()
    );
}

#[test]
#[ignore = "a part of the others"]
fn a_share_of_the_load() {
    if load::has_share() {
        load::hold_share();
    }
}

#[test]
fn every_socket_of_20_namespaces_in_every_poll() {
    sandbox::run("every_socket_of_20_namespaces_in_every_poll", || {
        polls_see_all(20, 20)
    });
}

#[test]
#[ignore = "20,000 sockets take a while: scripts/test --full"]
fn every_socket_of_200_namespaces_in_every_poll() {
    sandbox::run("every_socket_of_200_namespaces_in_every_poll", || {
        polls_see_all(200, 100)
    });
}
