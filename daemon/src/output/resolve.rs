//! Names to addresses, without ever blocking the loop.
//!
//! getaddrinfo may block for as long as /etc/resolv.conf and the NSS modules please (the systemd one
//! waits two minutes), and this process has one thread. So the look-up runs in a short-lived child,
//! which is this same executable again; its answer arrives on a pipe of the loop, and the child is
//! killed when the answer takes longer than [`LOOKUP_TIMEOUT`]. NSS, /etc/hosts and mDNS keep working,
//! which a resolver of our own would not give. Address literals never come here.

use nix::sys::{prctl, signal::Signal};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, ToSocketAddrs},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    time::Duration,
};

/// The bound on a look-up: two tries of the resolver's default 5 s.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses kept of an answer; more would only prolong a failing round of attempts.
const ADDRESSES_MAX: usize = 16;
/// An answer that is longer is cut: an address takes 60 bytes at most.
const ANSWER_BYTES_MAX: usize = 4096;
const _: () = assert!(ADDRESSES_MAX * 60 <= ANSWER_BYTES_MAX);
/// First argument of the child.
const ARGUMENT: &str = "resolve-name";

/// The child's side; `main` calls this before anything else. `None`: this is no look-up.
///
/// Prints one socket address a line, or one line that says what went wrong.
pub fn child(arguments: &[String]) -> Option<ExitCode> {
    let [_, argument, host, port] = arguments else {
        return None;
    };
    if argument != ARGUMENT {
        return None;
    }
    // A daemon that is killed leaves no look-up behind.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let mut out = io::stdout().lock();
    let looked_up = match port.parse::<u16>() {
        Ok(port) => (host.as_str(), port).to_socket_addrs(),
        Err(error) => Err(io::Error::new(ErrorKind::InvalidInput, error)),
    };
    let written = match looked_up {
        Ok(addresses) => addresses
            .take(ADDRESSES_MAX)
            .try_for_each(|address| writeln!(out, "{address}")),
        Err(error) => writeln!(out, "{error}"),
    };
    Some(match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// A look-up under way.
#[derive(Debug)]
pub(super) struct Lookup {
    child: Child,
    stdout: ChildStdout,
    answer: Vec<u8>,
}

impl Lookup {
    /// Starts `executable` as the child.
    pub fn start(executable: &Path, host: &str, port: u16) -> io::Result<Lookup> {
        let mut child = Command::new(executable)
            .args([ARGUMENT, host, &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                let text = format!("start {} to resolve {host}: {error}", executable.display());
                io::Error::new(error.kind(), text)
            })?;
        let stdout = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&stdout, nix::fcntl::FcntlArg::F_SETFL(flags))?;
        Ok(Lookup {
            child,
            stdout,
            answer: Vec::with_capacity(ANSWER_BYTES_MAX),
        })
    }

    /// Reads what is there; `None` while the answer is not complete.
    pub fn read(&mut self) -> Option<Result<Vec<SocketAddr>, String>> {
        let mut chunk = [0; ANSWER_BYTES_MAX];
        loop {
            match self.stdout.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error.to_string())),
                Ok(0) => return Some(parse(&self.answer)),
                Ok(count) => {
                    let room = ANSWER_BYTES_MAX - self.answer.len();
                    self.answer.extend_from_slice(&chunk[..count.min(room)]);
                }
            }
        }
    }
}

impl AsFd for Lookup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

impl Drop for Lookup {
    /// Leaves no zombie. After SIGKILL the wait is short: the child holds nothing to clean up.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(answer: &[u8]) -> Result<Vec<SocketAddr>, String> {
    let text = String::from_utf8_lossy(answer);
    let addresses: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.parse().ok())
        .take(ADDRESSES_MAX)
        .collect();
    match addresses.is_empty() {
        false => Ok(addresses),
        true => Err(text.lines().next().unwrap_or("no answer").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_addresses_or_a_reason() {
        let both = parse(b"127.0.0.1:80\n[::1]:80\n").unwrap();
        assert_eq!(
            both,
            ["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()]
        );
        assert_eq!(
            parse(b"Name or service not known\n").unwrap_err(),
            "Name or service not known"
        );
        assert_eq!(parse(b"").unwrap_err(), "no answer");
    }

    #[test]
    fn other_arguments_are_not_a_look_up() {
        let arguments = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert!(child(&arguments(&["xtcp2"])).is_none());
        assert!(child(&arguments(&["xtcp2", "check", "a", "1"])).is_none());
    }
}
