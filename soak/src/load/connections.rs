//! A connection over the loopback, both ends of it, and what goes back and forth.
//!
//! Nothing waits for a single socket: each connection has its turn, in which both ends take what has come,
//! without blocking. That is four system calls a connection and second, and no descriptor more.

use nix::sys::socket::{setsockopt, sockopt};
use std::{
    ffi::OsString,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

/// What one call reads or writes at most.
pub const BUFFER_BYTES: usize = 64 << 10;

/// Congestion controls that connections get in turn; none leaves the kernel's own.
#[derive(Clone, Debug, Default)]
pub struct Kind(Vec<OsString>);

impl Kind {
    /// Those of `wanted` that the kernel has; the others are handed to `lacking`.
    ///
    /// # Errors
    /// When there are no sockets here.
    pub fn available(wanted: &[String], mut lacking: impl FnMut(&str, nix::Error)) -> Result<Kind, String> {
        let probe = TcpListener::bind("127.0.0.1:0")
            .map_err(|error| format!("probe of congestion controls: {error}"))?;
        let is_there =
            |name: &&String| match setsockopt(&probe, sockopt::TcpCongestion, &OsString::from(name)) {
                Ok(()) => true,
                Err(error) => {
                    lacking(name, error);
                    false
                }
            };
        Ok(Kind::named(wanted.iter().filter(is_there)))
    }

    /// Those of that name.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> Kind {
        Kind(names.into_iter().map(OsString::from).collect())
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    /// What connection number so and so gets.
    pub fn of(&self, number: u32) -> Option<&OsString> {
        let number = usize::try_from(number).unwrap_or_default();
        self.0.get(number.checked_rem(self.0.len())?)
    }
}

/// Both ends of a connection.
#[derive(Debug)]
pub struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Came to the server, and did not go back yet: its buffer was full.
    owed_bytes: usize,
}

impl Connection {
    /// Connects to `listener`, in the namespace that the thread is in, by one of its own addresses.
    ///
    /// # Errors
    /// One line.
    pub fn open(
        listener: &TcpListener,
        to: Ipv4Addr,
        congestion: Option<&OsString>,
    ) -> Result<Connection, String> {
        let open = || {
            let client = TcpStream::connect((to, listener.local_addr()?.port()))?;
            let (server, _) = listener.accept()?;
            for stream in [&client, &server] {
                stream.set_nonblocking(true)?;
                if let Some(name) = congestion {
                    setsockopt(stream, sockopt::TcpCongestion, name)?;
                }
            }
            std::io::Result::Ok(Connection {
                client,
                server,
                owed_bytes: 0,
            })
        };
        open().map_err(|error| format!("connection: {error}"))
    }

    /// One turn: the client sends, the server sends back what came, and what came back is taken. Returns how
    /// many bytes were received, at both ends.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn turn(&mut self, send_bytes: usize, buffer: &mut [u8; BUFFER_BYTES]) -> std::io::Result<u64> {
        send(&mut self.client, send_bytes, buffer)?;
        let came = receive(&mut self.server, buffer)?;
        let owed = self.owed_bytes + came;
        self.owed_bytes = owed - send(&mut self.server, owed, buffer)?;
        let back = receive(&mut self.client, buffer)?;
        Ok((came + back) as u64)
    }
}

/// Sends as much of so many bytes as there is room for.
fn send(stream: &mut TcpStream, bytes: usize, buffer: &[u8]) -> std::io::Result<usize> {
    let mut sent = 0;
    while sent < bytes {
        match stream.write(&buffer[..(bytes - sent).min(buffer.len())]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Takes what has come.
fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut came = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                came += count;
                // Less than there was room for: that was all.
                if count < buffer.len() {
                    return Ok(came);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(came),
            Err(error) => return Err(error),
        }
    }
}
