//! tcp:host:port and unix:/path: messages one after the other on a stream.
//!
//! Delivered means accepted by the kernel's socket buffer; there is no acknowledgement by the
//! receiver, so what was in that buffer when a connection broke is lost without a trace here. The
//! message in mid-transmission is sent again, whole, on the next connection: the receiver may see a
//! torn first copy, at the very end of the old connection. A receiver that closes its sending side
//! counts as gone, since a closed connection looks just the same from here.

use super::{
    Options,
    link::{Change, Link},
    queue::Queue,
    transmission::{Transmission, Transmitted},
};
use crate::epoll::{Epoll, Event, Interest};
use std::{
    io::{self, ErrorKind, Read},
    time::Instant,
};

/// Reads per event of what a receiver sends, which nobody asked for: it is thrown away.
const READS_PER_EVENT_MAX: usize = 16;

/// A stream socket that is connected again when it breaks.
#[derive(Debug)]
pub(super) struct Stream {
    link: Link,
    preamble: Vec<u8>,
    transmission: Transmission,
}

impl Stream {
    pub fn new(link: Link, options: &Options) -> Stream {
        Stream {
            link,
            preamble: options.preamble.clone(),
            transmission: Transmission::default(),
        }
    }

    pub fn begin(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let change = self.link.begin(queue, epoll, now);
        self.changed(change, queue, epoll, now);
    }

    pub fn offered(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.link.is_connected() && !self.link.waits_for_room() {
            self.send(queue, epoll, now);
        }
    }

    pub fn ready(&mut self, event: &Event, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        match self.link.ready(event, queue, epoll, now) {
            Change::Io => match self.discard(event.readable || event.failed) {
                Ok(()) => self.send(queue, epoll, now),
                Err(error) => self.lost(&error, queue, now),
            },
            change => self.changed(change, queue, epoll, now),
        }
    }

    pub fn tick(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let change = self.link.tick(queue, epoll, now);
        self.changed(change, queue, epoll, now);
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.link.deadline()
    }

    pub fn reopen(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        self.transmission.restart(queue);
        let change = self.link.restart(queue, epoll, now);
        self.changed(change, queue, epoll, now);
    }

    pub fn end(&mut self, queue: &mut Queue) {
        self.transmission.restart(queue);
        self.link.rest(queue);
    }

    fn changed(&mut self, change: Change, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if change == Change::Connected {
            self.transmission.restart(queue);
            self.send(queue, epoll, now);
        }
    }

    fn send(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let Some(socket) = self.link.socket() else { return };
        let delivered_before = queue.counters.delivered.messages;
        let stepped = self
            .transmission
            .step(queue, &self.preamble, |bytes| io::Write::write(socket, bytes));
        if queue.counters.delivered.messages > delivered_before {
            self.link.settled();
        }
        let wanted = stepped.and_then(|progress| match progress {
            Transmitted::Drained => self.link.want(epoll, Interest::READ),
            Transmitted::More => self.link.want(epoll, Interest::BOTH),
        });
        if let Err(error) = wanted {
            self.lost(&error, queue, now);
        }
    }

    /// Throws away what the receiver sent; an error when it is gone.
    fn discard(&mut self, readable: bool) -> io::Result<()> {
        let (Some(socket), true) = (self.link.socket(), readable) else {
            return Ok(());
        };
        let mut waste = [0; 4096];
        for _ in 0..READS_PER_EVENT_MAX {
            match socket.read(&mut waste) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the receiver closed")),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lost(&mut self, error: &io::Error, queue: &mut Queue, now: Instant) {
        self.transmission.restart(queue);
        self.link.lost(&error.to_string(), queue, now);
    }
}
