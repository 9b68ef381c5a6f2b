//! stdout and stderr: whatever the shell, the supervisor or the next program of a pipe put there.
//!
//! The open file description behind them is shared with whoever started the daemon, so O_NONBLOCK is
//! never set on it: a pipe or terminal is opened again through /proc/self/fd, a socket is written with
//! a flag that makes each call non-blocking, a regular file does not block. Where opening again is not
//! possible (a terminal of another user), the shared description is written in small pieces, each only
//! after the kernel reported room for it.

use super::{
    DropReason,
    backoff::Backoff,
    queue::Queue,
    registration::Registration,
    transmission::{Transmission, Transmitted},
};
use crate::epoll::{Epoll, Event, Interest};
use nix::sys::socket::{MsgFlags, send};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    time::Instant,
};

/// A pipe that is reported writable takes this much without blocking (PIPE_BUF of pipe(7)).
const BLOCKING_PIECE_BYTES: usize = 4096;

/// How the descriptor is written without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// A regular file: plain writes.
    Plain,
    /// A description of our own, with O_NONBLOCK.
    Own,
    /// A shared socket: MSG_DONTWAIT.
    Socket,
    /// A shared description: one piece per report of room.
    Pieces,
}

/// A description of our own of the pipe or terminal behind `fd`, which does not block.
///
/// # Errors
/// Where it may not be opened again, such as a terminal of another user.
pub(crate) fn reopened(fd: BorrowedFd<'_>) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Standard output or standard error.
#[derive(Debug)]
pub(super) struct Stdio {
    name: &'static str,
    file: File,
    means: Means,
    preamble: Vec<u8>,
    transmission: Transmission,
    registration: Registration,
    backoff: Backoff,
    /// Of plain files, which the loop cannot wait for: when to write again.
    retry_at: Option<Instant>,
    closed: bool,
}

impl Stdio {
    pub fn open(
        name: &'static str,
        fd: BorrowedFd<'_>,
        options: &super::Options,
        epoll: &Epoll,
        queue: &mut Queue,
    ) -> io::Result<Stdio> {
        let shared = File::from(fd.try_clone_to_owned()?);
        let kind = shared.metadata()?.file_type();
        let (file, means) = if kind.is_socket() {
            (shared, Means::Socket)
        } else if kind.is_fifo() || kind.is_char_device() {
            match reopened(fd) {
                Ok(own) => (own, Means::Own),
                Err(_) => (shared, Means::Pieces),
            }
        } else {
            (shared, Means::Plain)
        };
        let mut registration = Registration::default();
        // Even with nothing to write, the loop reports that the reader went away.
        let means = match registration.enter(epoll, &file, Interest::NONE) {
            Ok(()) => means,
            // EPERM: /dev/null and the like, which never block.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Means::Plain,
            Err(error) => return Err(error),
        };
        queue.counters.connected = true;
        Ok(Stdio {
            name,
            file,
            means,
            preamble: options.preamble.clone(),
            transmission: Transmission::default(),
            registration,
            backoff: Backoff::new(options.seed),
            retry_at: None,
            closed: false,
        })
    }

    /// Whether its reader left. The end of the daemon is another matter: what is lost by that is an error.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    pub fn offered(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.closed {
            queue.all_dropped(DropReason::WriteError);
        } else if self.means == Means::Pieces {
            self.wait_for_room(queue, epoll);
        } else if self.retry_at.is_none() && !self.registration.waits_for_room() {
            self.write(queue, epoll, now);
        }
    }

    pub fn ready(&mut self, event: &Event, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.closed || !self.registration.is_current(event) {
            return;
        }
        if event.failed {
            self.close("its reader went away", queue, epoll);
        } else if event.writable {
            self.write(queue, epoll, now);
        }
    }

    pub fn tick(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.write(queue, epoll, now);
        }
    }

    /// The loop forgets it. Closing would not do: whoever started us has the description open too.
    pub fn leave(&mut self, epoll: &Epoll) {
        // ENOENT: a plain file never was in the loop.
        let _ = epoll.delete(&self.file);
        self.registration.leave();
    }

    /// Nothing follows: a message that was half written stays half written.
    pub fn end(&mut self) {
        self.retry_at = None;
    }

    fn write(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let (file, means) = (&mut self.file, self.means);
        let mut pieces = 0;
        let stepped = self
            .transmission
            .step(queue, &self.preamble, |bytes| match means {
                Means::Plain | Means::Own => file.write(bytes),
                Means::Socket => {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    Ok(send(file.as_raw_fd(), bytes, flags)?)
                }
                Means::Pieces if pieces > 0 => Err(ErrorKind::WouldBlock.into()),
                Means::Pieces => {
                    pieces += 1;
                    file.write(&bytes[..bytes.len().min(BLOCKING_PIECE_BYTES)])
                }
            });
        match stepped {
            Ok(Transmitted::Drained) => {
                self.backoff.reset();
                if self.registration.waits_for_room()
                    && let Err(error) = self.registration.want(epoll, &self.file, Interest::NONE)
                {
                    self.close(&error.to_string(), queue, epoll);
                }
            }
            Ok(Transmitted::More) if means == Means::Plain => self.retry_at = Some(now),
            Ok(Transmitted::More) => self.wait_for_room(queue, epoll),
            // A full disk: the rest of the message follows when there is room again.
            Err(error) if means == Means::Plain => {
                queue.counters.errors += 1;
                let first = self.backoff.is_reset();
                let wait = self.backoff.next_wait();
                if first {
                    log::warn!("output {}: {error}; next try in {wait:?}", self.name);
                }
                self.retry_at = Some(now + wait);
            }
            Err(error) => self.close(&error.to_string(), queue, epoll),
        }
    }

    fn wait_for_room(&mut self, queue: &mut Queue, epoll: &Epoll) {
        if let Err(error) = self.registration.want(epoll, &self.file, Interest::WRITE) {
            self.close(&error.to_string(), queue, epoll);
        }
    }

    /// For good: nothing can be written here any more.
    fn close(&mut self, why: &str, queue: &mut Queue, epoll: &Epoll) {
        log::info!("output {}: {why}; nothing more can be delivered", self.name);
        self.closed = true;
        self.retry_at = None;
        // The descriptor stays open, so it must be taken out, or its hang-up wakes the loop for ever.
        let _ = epoll.delete(&self.file);
        self.registration.leave();
        queue.counters.connected = false;
        queue.all_dropped(DropReason::WriteError);
    }
}
