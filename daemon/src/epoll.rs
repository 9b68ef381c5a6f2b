//! The one place where the process waits.
//!
//! Every descriptor is registered with a [`Token`]: what it is, which slot of its owner, and the
//! generation of that slot. Descriptors are reused by the kernel as soon as they are closed, so an
//! event that was already queued for a closed descriptor must not reach its successor: owners
//! compare the generation and drop what is stale.

use nix::sys::epoll::{Epoll as NixEpoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::{io, os::fd::AsFd, time::Duration};

/// What a descriptor in the loop belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// The timerfd that carries the earliest deadline of all components.
    Timer = 0,
    /// The signalfd.
    Signals = 1,
    /// inotify on the folders that hold namespaces.
    Inotify = 2,
    /// The netlink socket of the namespace that is being polled.
    Netlink = 3,
    /// The listening socket of the admin HTTP server.
    AdminListener = 4,
    /// One client of the admin HTTP server.
    AdminClient = 5,
    /// The socket of the output.
    Output = 6,
}

impl Source {
    const ALL: [Source; 7] = [
        Source::Timer,
        Source::Signals,
        Source::Inotify,
        Source::Netlink,
        Source::AdminListener,
        Source::AdminClient,
        Source::Output,
    ];
}

/// Identity of a registration; packed into the 64 bits that epoll hands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who owns the descriptor.
    pub source: Source,
    /// The owner's slot.
    pub slot: u16,
    /// How often the slot was used before; an event with another generation is stale.
    pub generation: u32,
}

impl Token {
    /// A token for a source that has only one descriptor, for ever.
    pub const fn only(source: Source) -> Token {
        Token {
            source,
            slot: 0,
            generation: 0,
        }
    }

    const fn pack(self) -> u64 {
        (self.source as u64) << 48 | (self.slot as u64) << 32 | self.generation as u64
    }

    fn unpack(data: u64) -> Option<Token> {
        let [source, slot_high, slot_low, g3, g2, g1, g0] = {
            let b = data.to_be_bytes();
            [b[1], b[2], b[3], b[4], b[5], b[6], b[7]]
        };
        Some(Token {
            source: *Source::ALL.get(usize::from(source))?,
            slot: u16::from_be_bytes([slot_high, slot_low]),
            generation: u32::from_be_bytes([g3, g2, g1, g0]),
        })
    }
}

/// What a component wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Data, a connection, an event can be read.
    pub readable: bool,
    /// There is room to write again.
    pub writable: bool,
}

impl Interest {
    /// Readable only.
    pub const READ: Interest = Interest {
        readable: true,
        writable: false,
    };
    /// Writable only.
    pub const WRITE: Interest = Interest {
        readable: false,
        writable: true,
    };
    /// Both.
    pub const BOTH: Interest = Interest {
        readable: true,
        writable: true,
    };
    /// Neither: only errors and hang-ups, which epoll always reports.
    pub const NONE: Interest = Interest {
        readable: false,
        writable: false,
    };

    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        if self.readable {
            flags |= EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        }
        if self.writable {
            flags |= EpollFlags::EPOLLOUT;
        }
        flags
    }
}

/// One event of a wait.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Which registration.
    pub token: Token,
    /// Something to read, or the peer closed its side.
    pub readable: bool,
    /// Room to write.
    pub writable: bool,
    /// EPOLLERR or EPOLLHUP: a read or write will tell the error.
    pub failed: bool,
}

/// Events taken per wait. More only delays the slice of the poll that follows.
const EVENTS_PER_WAIT: usize = 64;

/// Level-triggered epoll.
#[derive(Debug)]
pub struct Epoll {
    inner: NixEpoll,
    ready: [EpollEvent; EVENTS_PER_WAIT],
}

impl Epoll {
    /// Creates the epoll instance.
    ///
    /// # Errors
    /// When the process or the system has no descriptor left.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll {
            inner: NixEpoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            ready: [EpollEvent::empty(); EVENTS_PER_WAIT],
        })
    }

    /// Registers a descriptor.
    ///
    /// # Errors
    /// EEXIST when it is registered already; EPERM when it cannot be polled (a regular file).
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self
            .inner
            .add(fd, EpollEvent::new(interest.flags(), token.pack()))?)
    }

    /// Changes what is wanted of a registered descriptor.
    ///
    /// # Errors
    /// ENOENT when it is not registered.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self
            .inner
            .modify(fd, &mut EpollEvent::new(interest.flags(), token.pack()))?)
    }

    /// Takes a descriptor out. Closing it does the same, unless it was duplicated.
    ///
    /// # Errors
    /// ENOENT when it is not registered.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.inner.delete(fd)?)
    }

    /// Waits until something is ready, or for `timeout`; `None` waits without end. A signal that
    /// interrupts the wait counts as no event.
    ///
    /// # Errors
    /// Only when epoll itself fails, which the caller cannot repair.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<impl Iterator<Item = Event> + use<>> {
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(wait) => EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX),
        };
        let count = match self.inner.wait(&mut self.ready, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        // Copied, so that handlers may use the epoll instance while they go through the events.
        let ready = self.ready;
        Ok((0..count).filter_map(move |i| {
            let flags = ready[i].events();
            Some(Event {
                token: Token::unpack(ready[i].data())?,
                readable: flags
                    .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP),
                writable: flags.contains(EpollFlags::EPOLLOUT),
                failed: flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_through_the_kernel() {
        for source in Source::ALL {
            let token = Token {
                source,
                slot: 0xBEEF,
                generation: 0xDEAD_C0DE,
            };
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(u64::MAX), None);
    }

    #[test]
    fn a_readable_pipe_is_reported_under_its_token() {
        let mut epoll = Epoll::new().unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let token = Token {
            source: Source::AdminClient,
            slot: 3,
            generation: 7,
        };
        epoll.add(&read, token, Interest::READ).unwrap();
        assert_eq!(epoll.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        nix::unistd::write(&write, b"x").unwrap();
        let events: Vec<Event> = epoll.wait(None).unwrap().collect();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].token, token);
        assert!(events[0].readable && !events[0].writable && !events[0].failed);
    }
}
