//! Reads the same dumps by recv(2) and by io_uring: `receive_ways recv|io_uring ROUNDS` dumps the TCP
//! sockets of each namespace of /run/netns ROUNDS times, over one netlink socket for each that stays
//! open, and discards the replies. Prints what it cost, tab-separated; scripts/bench-io-uring makes a table of both.
//! Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unsafe_code,
    reason = "a tool for measurements; a ring takes pointers"
)]

use io_uring::{IoUring, cqueue, opcode, squeue, types::Fd};
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
    os::fd::{AsRawFd, OwnedFd, RawFd},
    time::Instant,
};
use xtcp2::{
    netlink::{
        inet_diag::{Attributes, States, TCPDIAG_GETSOCK, dump_both_families},
        message::{Messages, NLMSG_DONE, NLMSG_ERROR},
    },
    poll::RECEIVE_BYTES,
};

/// Receives in flight: the reference program's setting.
const IN_FLIGHT: usize = 64;
/// Entries of the submission queue, that is, what one io_uring_enter(2) submits at most: the reference's batch.
const BATCH: u32 = 128;
/// Sends carry this as user data, receives the number of their buffer.
const SEND: u64 = u64::MAX;

/// What was read.
#[derive(Default)]
struct Read {
    sockets: u64,
    datagrams: u64,
    syscalls: u64,
}

impl Read {
    /// Counts what is in a datagram; true with the last one of a dump.
    fn datagram(&mut self, bytes: &[u8]) -> bool {
        self.datagrams += 1;
        for message in Messages::new(bytes) {
            match message.unwrap().message_type {
                TCPDIAG_GETSOCK => self.sockets += 1,
                NLMSG_DONE => return true,
                NLMSG_ERROR => panic!("the kernel refuses the dump"),
                _ => {}
            }
        }
        false
    }
}

/// One after the other, as the daemon does.
fn by_recv(sockets: &[OwnedFd], request: &[u8], rounds: u32) -> Read {
    let mut read = Read::default();
    let mut buffer = vec![0; RECEIVE_BYTES];
    for _ in 0..rounds {
        for socket in sockets {
            send(socket.as_raw_fd(), request, MsgFlags::empty()).unwrap();
            read.syscalls += 1;
            loop {
                read.syscalls += 1;
                let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
                if read.datagram(&buffer[..length]) {
                    break;
                }
            }
        }
    }
    read
}

/// A ring, [`IN_FLIGHT`] buffers, and who receives into which.
struct Ring {
    ring: IoUring,
    buffers: Vec<Vec<u8>>,
    receivers: Vec<RawFd>,
    syscalls: u64,
}

impl Ring {
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to, the request and a buffer of `self.buffers`, is neither moved nor dropped
            // before its completion was taken.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            self.syscalls += 1;
            self.ring.submit().unwrap();
        }
    }

    fn receive(&mut self, buffer: usize) {
        let bytes = &mut self.buffers[buffer];
        let length = u32::try_from(bytes.len()).unwrap();
        let entry = opcode::Recv::new(Fd(self.receivers[buffer]), bytes.as_mut_ptr(), length).build();
        self.push(&entry.user_data(buffer as u64));
    }

    fn dump(&mut self, buffer: usize, socket: RawFd, request: &[u8]) {
        self.receivers[buffer] = socket;
        let length = u32::try_from(request.len()).unwrap();
        let entry = opcode::Send::new(Fd(socket), request.as_ptr(), length).build();
        // The receive comes after the send: a netlink dump begins with it.
        self.push(&entry.user_data(SEND).flags(squeue::Flags::IO_LINK));
        self.receive(buffer);
    }
}

/// As many as [`IN_FLIGHT`] namespaces at once.
fn by_io_uring(sockets: &[OwnedFd], request: &[u8], rounds: u32) -> Read {
    let mut ring = Ring {
        ring: IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(BATCH)
            .unwrap(),
        buffers: vec![vec![0; RECEIVE_BYTES]; IN_FLIGHT],
        receivers: vec![-1; IN_FLIGHT],
        syscalls: 0,
    };
    let mut read = Read::default();
    for _ in 0..rounds {
        let mut waiting = sockets.iter().map(AsRawFd::as_raw_fd);
        let mut under_way = 0;
        for (buffer, socket) in (0..IN_FLIGHT).zip(waiting.by_ref()) {
            ring.dump(buffer, socket, request);
            under_way += 1;
        }
        while under_way > 0 {
            ring.syscalls += 1;
            ring.ring.submit_and_wait(1).unwrap();
            let completions: Vec<cqueue::Entry> = ring.ring.completion().collect();
            for completion in completions {
                let length = completion.result();
                assert!(length >= 0, "error {}", -length);
                if completion.user_data() == SEND {
                    continue;
                }
                let buffer = usize::try_from(completion.user_data()).unwrap();
                let length = usize::try_from(length).unwrap();
                if !read.datagram(&ring.buffers[buffer][..length]) {
                    ring.receive(buffer);
                } else if let Some(socket) = waiting.next() {
                    ring.dump(buffer, socket, request);
                } else {
                    under_way -= 1;
                }
            }
        }
    }
    read.syscalls = ring.syscalls;
    read
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [way, rounds] = arguments.as_slice() else {
        panic!("expected recv|io_uring ROUNDS");
    };
    let rounds: u32 = rounds.parse().expect("ROUNDS");
    let open = |entry: std::io::Result<fs::DirEntry>| {
        setns(
            File::open(entry.unwrap().path()).unwrap(),
            CloneFlags::CLONE_NEWNET,
        )
        .unwrap();
        let (kind, diag) = (SockType::Raw, SockProtocol::NetlinkSockDiag);
        socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, diag).unwrap()
    };
    let sockets: Vec<OwnedFd> = fs::read_dir("/run/netns").unwrap().map(open).collect();
    let request = dump_both_families(Attributes::DEFAULT.idiag_ext(), States::ALL, 1);

    let usage = || getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let (before, start) = (usage(), Instant::now());
    let read = match way.as_str() {
        "recv" => by_recv(&sockets, &request, rounds),
        "io_uring" => by_io_uring(&sockets, &request, rounds),
        other => panic!("expected recv or io_uring, got {other}"),
    };
    let (after, wall) = (usage(), start.elapsed());
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds and counts of some minutes"
    )]
    let report = {
        let of = |count: fn(&Usage) -> i64| (count(&after) - count(&before)) as f64;
        let datagrams = read.datagrams as f64;
        [
            read.sockets as f64 / f64::from(rounds),
            datagrams / f64::from(rounds),
            wall.as_secs_f64() * 1000.0 / f64::from(rounds),
            of(|usage| usage.user_time().num_microseconds()) / datagrams,
            of(|usage| usage.system_time().num_microseconds()) / datagrams,
            read.syscalls as f64 / datagrams,
            of(|usage| usage.voluntary_context_switches() + usage.involuntary_context_switches())
                / f64::from(rounds),
            after.max_rss() as f64 / 1024.0,
        ]
    };
    println!("{}", report.map(|figure| format!("{figure:.3}")).join("\t"));
}
