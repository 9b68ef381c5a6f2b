//! A non-blocking socket of any family, with the options every output wants.

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect,
        getpeername, getsockname, recv, send, sendmsg, setsockopt, socket, sockopt,
    },
};
use std::{
    io::{self, IoSlice, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Idle time before the first keep-alive probe: a dead receiver is noticed also between polls.
const KEEPALIVE_IDLE_SECONDS: u32 = 60;
/// From probe to probe.
const KEEPALIVE_INTERVAL_SECONDS: u32 = 10;
/// Unanswered probes until the connection is given up: 60 + 6 x 10 s, as long as the next limit.
const KEEPALIVE_PROBES: u32 = 6;
/// How long sent bytes, or a closed window, may stay unacknowledged. Long enough for a receiver that
/// is stopped or swapped out, far shorter than the kernel's own quarter of an hour.
const USER_TIMEOUT_MILLIS: u32 = 120_000;
/// What the kernel keeps of a unix socket's send buffer for itself (unix_dgram_sendmsg).
const UNIX_DATAGRAM_OVERHEAD_BYTES: usize = 32;
/// The kernel wants most of a unix datagram in one piece of physical memory, so that a larger one may
/// never go out, however large the send buffer (net.core.wmem_default) is.
const UNIX_DATAGRAM_BYTES_MAX: usize = 1 << 20;

/// How a connection attempt began.
pub(super) enum Connecting {
    /// Connected at once.
    Done(Socket),
    /// The socket turns writable when it is decided.
    Started(Socket),
}

/// A non-blocking, close-on-exec socket; never raises SIGPIPE.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub fn connect_inet(address: SocketAddr, kind: SockType) -> io::Result<Connecting> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let socket = Socket::new(family, kind)?;
        if kind == SockType::Stream {
            // What is sent is whole messages. Nagle would hold the end of one back until the receiver, which may wait for
            // just that, has acknowledged what came before: 40 ms.
            setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
            setsockopt(&socket, sockopt::KeepAlive, &true)?;
            setsockopt(&socket, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_SECONDS)?;
            setsockopt(&socket, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_SECONDS)?;
            setsockopt(&socket, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
            setsockopt(&socket, sockopt::TcpUserTimeout, &USER_TIMEOUT_MILLIS)?;
        }
        socket.connect(&SockaddrStorage::from(address))
    }

    pub fn connect_unix(path: &Path, kind: SockType) -> io::Result<Connecting> {
        let socket = Socket::new(AddressFamily::Unix, kind)?;
        socket.connect(&UnixAddr::new(path)?)
    }

    /// The largest datagram a unix socket of ours takes.
    pub fn unix_datagram_bytes_max() -> io::Result<usize> {
        let socket = Socket::new(AddressFamily::Unix, SockType::Datagram)?;
        let buffer_bytes = nix::sys::socket::getsockopt(&socket, sockopt::SndBuf)?;
        let bytes_max = buffer_bytes.saturating_sub(UNIX_DATAGRAM_OVERHEAD_BYTES);
        Ok(bytes_max.min(UNIX_DATAGRAM_BYTES_MAX))
    }

    fn new(family: AddressFamily, kind: SockType) -> io::Result<Socket> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        Ok(Socket(socket(family, kind, flags, None)?))
    }

    fn connect(self, address: &dyn SockaddrLike) -> io::Result<Connecting> {
        match connect(self.0.as_raw_fd(), address) {
            Ok(()) => self.connect_outcome().map(|()| Connecting::Done(self)),
            Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(Connecting::Started(self)),
            // Of a unix socket: the listener's backlog is full, and nothing was started.
            Err(Errno::EAGAIN) => Err(io::Error::other("the receiver's backlog is full")),
            Err(error) => Err(error.into()),
        }
    }

    /// A datagram goes whole or not at all.
    pub fn send_datagram(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// What became of a connection attempt.
    ///
    /// While a local receiver is away, an attempt may be given the receiver's port as its own and then
    /// connects to itself: the output would read what it wrote, and keep the port from the receiver.
    pub fn connect_outcome(&self) -> io::Result<()> {
        self.take_error()?;
        let ours = getsockname::<SockaddrStorage>(self.0.as_raw_fd())?;
        match getpeername::<SockaddrStorage>(self.0.as_raw_fd()) {
            Ok(peer) if peer == ours && ours.as_unix_addr().is_none() => {
                Err(io::Error::other("connected to itself: nobody listens there"))
            }
            // No peer yet: the event was about something else.
            _ => Ok(()),
        }
    }

    /// Takes the pending error; it is reported once.
    pub fn take_error(&self) -> io::Result<()> {
        match nix::sys::socket::getsockopt(&self.0, sockopt::SocketError)? {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::empty())?)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(sendmsg::<()>(
            self.0.as_raw_fd(),
            parts,
            &[],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_message_waits_for_no_acknowledgement() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (Connecting::Done(socket) | Connecting::Started(socket)) =
            Socket::connect_inet(listener.local_addr().unwrap(), SockType::Stream).unwrap();
        assert!(nix::sys::socket::getsockopt(&socket, sockopt::TcpNoDelay).unwrap());
    }

    #[test]
    fn a_connection_to_itself_is_none() {
        let socket = Socket::new(AddressFamily::Inet, SockType::Stream).unwrap();
        let any_port = "127.0.0.1:0".parse::<SocketAddr>().unwrap();
        nix::sys::socket::bind(socket.0.as_raw_fd(), &SockaddrStorage::from(any_port)).unwrap();
        let own: SockaddrStorage = getsockname(socket.0.as_raw_fd()).unwrap();
        let outcome = match socket.connect(&own) {
            Ok(Connecting::Done(_)) => Ok(()),
            Ok(Connecting::Started(socket)) => socket.connect_outcome(),
            Err(error) => Err(error),
        };
        assert!(outcome.unwrap_err().to_string().contains("itself"));
    }
}
