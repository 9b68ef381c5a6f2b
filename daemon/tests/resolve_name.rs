//! The look-up child, as the daemon starts it: the real executable.

#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, process::Command};

fn resolve(host: &str, port: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtcp2"));
    let output = command.args(["resolve-name", host, port]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_name_becomes_socket_addresses_one_a_line() {
    let answer = resolve("localhost", "9000");
    let addresses: Vec<SocketAddr> = answer.lines().map(|line| line.parse().unwrap()).collect();
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 9000));
}

#[test]
fn a_failure_is_one_line_and_no_address() {
    for (host, port) in [("", "1"), ("localhost", "70000")] {
        let answer = resolve(host, port);
        assert_eq!(answer.lines().count(), 1, "{answer}");
        assert!(answer.trim().parse::<SocketAddr>().is_err());
    }
}
