//! A poll by a loop that opens, dumps and discards: `bare_loop ROUNDS` enters each namespace of /run/netns, dumps its
//! TCP sockets with the request that the daemon sends by default, and discards the replies.
//! Prints per round: sockets, milliseconds of user time, system time and wall time. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool for measurements")]

use nix::{
    sched::{CloneFlags, setns},
    sys::{
        resource::{Usage, UsageWho, getrusage},
        socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
        time::TimeValLike,
    },
};
use std::{
    env,
    fs::{self, File},
    os::fd::AsRawFd,
    time::Instant,
};
use xtcp2::{
    netlink::{
        inet_diag::{Attributes, States, TCPDIAG_GETSOCK, dump_both_families},
        message::{Messages, NLMSG_DONE, NLMSG_ERROR},
    },
    poll::RECEIVE_BYTES,
};

/// Sockets of the namespace that the thread is in.
fn dump(request: &[u8], buffer: &mut [u8]) -> u64 {
    let diag = SockProtocol::NetlinkSockDiag;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        diag,
    )
    .unwrap();
    send(socket.as_raw_fd(), request, MsgFlags::empty()).unwrap();
    let mut sockets = 0;
    loop {
        let length = recv(socket.as_raw_fd(), buffer, MsgFlags::empty()).unwrap();
        for message in Messages::new(&buffer[..length]) {
            match message.unwrap().message_type {
                TCPDIAG_GETSOCK => sockets += 1,
                NLMSG_DONE => return sockets,
                NLMSG_ERROR => panic!("the kernel refuses the dump"),
                _ => {}
            }
        }
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [rounds] = arguments.as_slice() else {
        panic!("expected ROUNDS");
    };
    let rounds: u32 = rounds.parse().expect("ROUNDS");
    let open = |entry: std::io::Result<fs::DirEntry>| File::open(entry.unwrap().path()).unwrap();
    let namespaces: Vec<File> = fs::read_dir("/run/netns").unwrap().map(open).collect();
    let home = File::open("/proc/self/ns/net").unwrap();
    let request = dump_both_families(Attributes::DEFAULT.idiag_ext(), States::ALL, 1);
    let mut buffer = vec![0; RECEIVE_BYTES];

    let usage = || getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let (before, start) = (usage(), Instant::now());
    let mut sockets = 0;
    for _ in 0..rounds {
        for namespace in [&home].into_iter().chain(&namespaces) {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            sockets += dump(&request, &mut buffer);
        }
    }
    let (after, wall) = (usage(), start.elapsed());
    #[expect(clippy::cast_precision_loss, reason = "microseconds of some minutes")]
    let per_round = |of: fn(&Usage) -> i64| (of(&after) - of(&before)) as f64 / 1000.0 / f64::from(rounds);
    println!(
        "{} {:.1} {:.1} {:.1}",
        sockets / u64::from(rounds),
        per_round(|usage| usage.user_time().num_microseconds()),
        per_round(|usage| usage.system_time().num_microseconds()),
        wall.as_secs_f64() * 1000.0 / f64::from(rounds)
    );
}
