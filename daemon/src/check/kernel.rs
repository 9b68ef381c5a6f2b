//! What the kernel can do, asked of it rather than guessed from its version.

use super::Report;
use crate::{
    epoll::{Epoll, Interest, Source, Token},
    namespaces::Home,
    netlink::{
        inet_diag::{
            AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY, States, TCPDIAG_GETSOCK, dump_both_families,
            dump_one_family,
        },
        message::{Messages, NLMSG_DONE, NLMSG_ERROR, done_error, error_code},
    },
    poll::RECEIVE_BYTES,
};
use nix::sys::socket::{MsgFlags, recv, send};
use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

/// How long a dump may be silent: one of a namespace's listeners takes 50 us.
const REPLY_TIMEOUT: Duration = Duration::from_millis(250);

pub(super) fn check(home: &Home, report: &mut Report<'_>) {
    let release = match nix::sys::utsname::uname() {
        Ok(name) => name.release().to_string_lossy().into_owned(),
        Err(errno) => format!("uname: {}", errno.desc()),
    };
    match home.visit_own() {
        Ok(visit) => {
            match visit.identity.cookie {
                Some(_) => report.ok(
                    "kernel",
                    format_args!("{release}: namespaces have cookies (5.14), which are never given out twice"),
                ),
                None => report.warn(
                    "kernel",
                    format_args!("{release}: no SO_NETNS_COOKIE (5.14): rows tell namespaces apart by path and inode only, and inodes are given out again"),
                ),
            }
            sock_diag(&visit.socket, report);
        }
        Err(error) => {
            report.ok("kernel", &release);
            report.fail(
                "sock_diag",
                format_args!("{error}; the kernel needs CONFIG_INET_DIAG, a service AF_NETLINK in RestrictAddressFamilies="),
            );
        }
    }
    sizing(report);
}

fn sock_diag(socket: &OwnedFd, report: &mut Report<'_>) {
    let modules = "try modprobe tcp_diag (CONFIG_INET_TCP_DIAG)";
    let listen = States::LISTEN;
    let refused = match listeners(socket, &dump_both_families(0, listen, 1)) {
        Ok(count) => {
            return report.ok(
                "sock_diag",
                format_args!("{count} listening TCP sockets here, IPv4 and IPv6 in one dump"),
            );
        }
        Err(error) => error,
    };
    let one = |family, sequence| listeners(socket, &dump_one_family(family, 0, listen, sequence));
    match (one(AF_INET, 2), one(AF_INET6, 3)) {
        (Ok(v4), Ok(v6)) => report.warn(
            "sock_diag",
            format_args!(
                "{} listening TCP sockets here, by two dumps a namespace: the kernel refuses one for both \
                 families ({refused}), so polls cost more",
                v4 + v6
            ),
        ),
        (Ok(v4), Err(error)) => report.warn(
            "sock_diag",
            format_args!("{v4} listening TCP sockets here by IPv4; none can be read by IPv6: {error}"),
        ),
        (Err(error), _) => report.fail(
            "sock_diag",
            format_args!("no TCP socket can be read: {error}; {modules}"),
        ),
    }
}

/// Makes a dump and counts its sockets.
fn listeners(socket: &OwnedFd, request: &[u8]) -> io::Result<u64> {
    let mut epoll = Epoll::new()?;
    epoll.add(socket, Token::only(Source::Netlink), Interest::READ)?;
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut count = 0;
    loop {
        if epoll.wait(Some(REPLY_TIMEOUT))?.next().is_none() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for message in Messages::new(&buffer[..length]) {
            let message = message.map_err(|error| io::Error::other(error.to_string()))?;
            let error = match message.message_type {
                TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => {
                    count += 1;
                    continue;
                }
                NLMSG_DONE => done_error(message.payload),
                NLMSG_ERROR => error_code(message.payload),
                _ => continue,
            };
            return match error {
                None => Ok(count),
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            };
        }
    }
}

/// What a poll costs depends on: each dump walks the table of established sockets, which all
/// namespaces share unless they got one of their own when they were made.
fn sizing(report: &mut Report<'_>) {
    let sockets = [
        "/proc/thread-self/net/sockstat",
        "/proc/thread-self/net/sockstat6",
    ]
    .iter()
    .filter_map(|path| tcp_in_use(&fs::read_to_string(path).ok()?))
    .sum::<u64>();
    let sysctl = |name| {
        let value = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
        value.trim().parse::<i64>().ok()
    };
    let table = match sysctl("tcp_ehash_entries") {
        // The kernel says by the sign that the table is the common one.
        Some(slots) if slots < 0 => format!("a shared hash table of {} slots", -slots),
        Some(slots) => format!("a hash table of {slots} slots"),
        None => "a hash table of unknown size (before Linux 6.1)".to_owned(),
    };
    let child = match sysctl("tcp_child_ehash_entries") {
        Some(0) => "; new namespaces share it: net.ipv4.tcp_child_ehash_entries=4096, set before they are made, lets \
                    each dump walk a table of its own"
            .to_owned(),
        Some(slots) => format!("; new namespaces get {slots} slots of their own"),
        None => String::new(),
    };
    report.ok(
        "sizing",
        format_args!("{sockets} TCP sockets here, in {table}{child}"),
    );
}

/// `inuse` of the line of TCP, or TCP6, of a sockstat file.
fn tcp_in_use(sockstat: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP: ").or(line.strip_prefix("TCP6: ")))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "inuse")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockstat_of_both_families_is_read() {
        let v4 = "sockets: used 16\nTCP: inuse 31 orphan 0 tw 3 alloc 1 mem 444\nUDP: inuse 2 mem 0\n";
        assert_eq!(tcp_in_use(v4), Some(31));
        assert_eq!(tcp_in_use("TCP6: inuse 2\nUDP6: inuse 0\n"), Some(2));
        assert_eq!(tcp_in_use("UDP: inuse 2"), None);
        assert_eq!(tcp_in_use(""), None);
    }

    #[test]
    fn a_dump_counts_the_listeners_of_this_namespace() {
        let home = Home::open().unwrap();
        let mine: Vec<_> = (0..3)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let count = || {
            let socket = home.visit_own().unwrap().socket;
            listeners(&socket, &dump_both_families(0, States::LISTEN, 1)).unwrap()
        };
        assert!(count() >= 3);
        drop(mine);
    }

    #[test]
    fn a_refused_dump_is_an_error() {
        let socket = Home::open().unwrap().visit_own().unwrap().socket;
        // AF_UNIX has no dump of TCP sockets.
        assert!(listeners(&socket, &dump_one_family(77, 0, States::LISTEN, 1)).is_err());
    }
}
