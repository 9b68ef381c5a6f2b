//! Where the admin HTTP server listens.

use crate::{setting_error::SettingError, sys::socket_activation};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, getsockopt, listen,
        setsockopt, socket, sockopt,
    },
};
use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Connections the kernel keeps for us between two turns of the loop.
const BACKLOG: i32 = 128;

/// A listening TCP socket that does not block.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on `host:port`; without a host (`:9088`) on all addresses, IPv4 and IPv6. A name is
    /// resolved now, once.
    ///
    /// # Errors
    /// One line that says what is wrong; when the port is taken, by which process, where that can
    /// be found out.
    pub fn bind(host_port: &str) -> Result<Listener, SettingError> {
        let place = format!("cannot listen on {host_port:?}");
        // The address, its name or its port is not to be had, which may change.
        let error = |why: &dyn fmt::Display| SettingError::system(why).of(&place);
        let (host, port) = split(host_port).map_err(|why| SettingError::never(why).of(&place))?;
        let addresses = resolve(host, port).map_err(|why| error(&why))?;
        let mut failure = error(&"the name has no address");
        for address in addresses {
            match listen_on(address) {
                Ok(listener) => return Ok(Listener(listener)),
                Err(nix::errno::Errno::EADDRINUSE) => {
                    let holder = super::holder::find(Path::new("/proc"), address);
                    return Err(error(&match holder {
                        Some(holder) => format!("port {} is in use by {holder}", address.port()),
                        None => format!("port {} is in use (ss -ltnp tells root by whom)", address.port()),
                    }));
                }
                // An address family this host does not have: the next address may do.
                Err(errno) => failure = error(&format_args!("{address}: {}", errno.desc())),
            }
        }
        Err(failure)
    }

    /// The listening socket that a service manager passed, by the LISTEN_FDS protocol; `None` when
    /// none was passed to this process.
    ///
    /// # Errors
    /// When something other than one listening TCP socket was passed.
    pub fn from_environment() -> Result<Option<Listener>, String> {
        let variable = |name| std::env::var(name).ok();
        let count = passed_fds(
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDS").as_deref(),
        );
        match count {
            0 => Ok(None),
            1 => socket_activation::take_first_fd()
                .map(Listener::from_fd)
                .transpose(),
            _ => Err(format!("LISTEN_FDS: expected 1 socket, got {count}")),
        }
    }

    fn from_fd(fd: OwnedFd) -> Result<Listener, String> {
        let error = |why: &dyn fmt::Display| format!("LISTEN_FDS: expected a listening TCP socket: {why}");
        let tcp = getsockopt(&fd, sockopt::AcceptConn).map_err(|errno| error(&errno.desc()))?
            && getsockopt(&fd, sockopt::SockType).map_err(|errno| error(&errno.desc()))? == SockType::Stream;
        if !tcp {
            return Err(error(&"it does not listen"));
        }
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| error(&errno.desc()))?;
        let listener = TcpListener::from(fd);
        listener.local_addr().map_err(|why| error(&why))?;
        listener.set_nonblocking(true).map_err(|why| error(&why))?;
        Ok(Listener(listener))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Not for a socket that is bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Takes a connection, as one that does not block.
    pub(super) fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.0.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn split(host_port: &str) -> Result<(&str, u16), String> {
    let (host, port) = host_port.rsplit_once(':').ok_or("expected host:port or :port")?;
    match port.parse() {
        Ok(port) => Ok((host, port)),
        Err(_) => Err(format!("expected a port from 0 to 65535, got {port:?}")),
    }
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.is_empty() {
        // Where IPv6 is switched off, the second one does.
        return Ok(vec![
            (Ipv6Addr::UNSPECIFIED, port).into(),
            (Ipv4Addr::UNSPECIFIED, port).into(),
        ]);
    }
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let mut addresses: Vec<SocketAddr> = (literal, port).to_socket_addrs()?.collect();
    // Most scrape configurations say 127.0.0.1 for what is called localhost here.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

fn listen_on(address: SocketAddr) -> nix::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // A restart does not wait for the connections of its predecessor to leave TIME_WAIT.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    match address {
        SocketAddr::V4(address) => bind_to(&fd, &SockaddrIn::from(address))?,
        SocketAddr::V6(address) => {
            setsockopt(&fd, sockopt::Ipv6V6Only, &!address.ip().is_unspecified())?;
            bind_to(&fd, &SockaddrIn6::from(address))?;
        }
    }
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(fd))
}

fn bind_to(fd: &OwnedFd, address: &dyn nix::sys::socket::SockaddrLike) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    bind(fd.as_raw_fd(), address)
}

/// How many descriptors were passed to this process: LISTEN_PID tells whether the variables were
/// meant for it, or for a parent that did not clear them.
fn passed_fds(listen_pid: Option<&str>, listen_fds: Option<&str>) -> u32 {
    let ours = listen_pid.and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let count = listen_fds.and_then(|count| count.parse().ok());
    count.filter(|_| ours).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_reported_with_its_holder() {
        let first = Listener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        for clash in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!(":{port}"),
        ] {
            let error = Listener::bind(&clash).unwrap_err().to_string();
            let pid = std::process::id();
            assert!(
                error.contains(&format!("{clash:?}: port {port} is in use by ")),
                "{error}"
            );
            assert!(error.contains(&format!("(pid {pid})")), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn without_a_host_both_families_are_served() {
        let listener = Listener::bind(":0").unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_wrong_address_is_one_clear_line() {
        for (text, part) in [
            ("9088", "expected host:port or :port"),
            ("localhost:http", "expected a port from 0 to 65535, got \"http\""),
            (
                "localhost:65536",
                "expected a port from 0 to 65535, got \"65536\"",
            ),
            ("192.0.2.1:0", "192.0.2.1:0: Cannot assign requested address"),
        ] {
            let error = Listener::bind(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("cannot listen on {text:?}: ")),
                "{error}"
            );
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn descriptors_passed_to_another_process_are_left_alone() {
        let own = std::process::id().to_string();
        assert_eq!(passed_fds(None, None), 0);
        assert_eq!(passed_fds(None, Some("1")), 0);
        assert_eq!(passed_fds(Some("1"), Some("1")), 0);
        assert_eq!(passed_fds(Some(&own), Some("x")), 0);
        assert_eq!(passed_fds(Some(&own), Some("1")), 1);
        assert_eq!(passed_fds(Some(&own), Some("2")), 2);
    }

    #[test]
    fn only_a_listening_tcp_socket_is_accepted_from_outside() {
        let good = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::from_fd(good.into()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);

        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let folder = tempdir();
        let unix = std::os::unix::net::UnixListener::bind(folder.join("s")).unwrap();
        for wrong in [OwnedFd::from(udp), OwnedFd::from(file), OwnedFd::from(unix)] {
            let error = Listener::from_fd(wrong).unwrap_err();
            assert!(
                error.starts_with("LISTEN_FDS: expected a listening TCP socket: "),
                "{error}"
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn tempdir() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("xtcp2-listen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}
