//! The one place of an output in the loop: at most one descriptor, and no stale event.

use crate::epoll::{Epoll, Event, Interest, Source, Token};
use std::{io, os::fd::AsFd};

/// Which of the output's successive descriptors is in the loop, and what is wanted of it.
#[derive(Debug, Default)]
pub(super) struct Registration {
    /// Counts both entering and leaving, so that an event of a descriptor that has left matches
    /// neither it nor its successor.
    generation: u32,
    interest: Option<Interest>,
}

impl Registration {
    fn token(&self) -> Token {
        Token {
            source: Source::Output,
            slot: 0,
            generation: self.generation,
        }
    }

    pub fn enter(&mut self, epoll: &Epoll, fd: impl AsFd, interest: Interest) -> io::Result<()> {
        self.leave();
        epoll.add(fd, self.token(), interest)?;
        self.interest = Some(interest);
        Ok(())
    }

    /// The caller closes the descriptor, which takes it out of the kernel's list.
    pub fn leave(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.interest = None;
    }

    pub fn want(&mut self, epoll: &Epoll, fd: impl AsFd, interest: Interest) -> io::Result<()> {
        if self.interest != Some(interest) {
            epoll.modify(fd, self.token(), interest)?;
            self.interest = Some(interest);
        }
        Ok(())
    }

    /// Whether room to write is being waited for.
    pub fn waits_for_room(&self) -> bool {
        self.interest.is_some_and(|interest| interest.writable)
    }

    pub fn is_current(&self, event: &Event) -> bool {
        self.interest.is_some() && event.token == self.token()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_event_is_current_only_while_its_descriptor_is_in_the_loop() {
        let mut epoll = Epoll::new().unwrap();
        let (_read, write) = nix::unistd::pipe().unwrap();
        let mut registration = Registration::default();
        registration.enter(&epoll, &write, Interest::WRITE).unwrap();
        let event = epoll.wait(Some(Duration::ZERO)).unwrap().next().unwrap();
        assert!(registration.is_current(&event));
        epoll.delete(&write).unwrap();
        registration.leave();
        assert!(!registration.is_current(&event), "it has left");
        registration.enter(&epoll, &write, Interest::WRITE).unwrap();
        assert!(!registration.is_current(&event), "this is its successor");
    }
}
