//! udp:host:port and unixgram:/path: one message a datagram.
//!
//! Delivered means handed to the kernel: udp tells nothing of arrival. When the host of a udp receiver
//! answers that nobody listens, that answer is about an earlier datagram, which is lost; it is counted
//! as an error, and the present one is sent all the same. A unix receiver that is gone is known at
//! once: the message is kept until it is back.

use super::{
    DropReason,
    link::{Change, Link},
    queue::Queue,
    transmission::BYTES_PER_TURN,
};
use crate::epoll::{Epoll, Event, Interest};
use nix::libc::{ECONNREFUSED, EMSGSIZE, ENOBUFS};
use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

/// Largest payload of a UDP datagram over IPv4: 65,535 bytes less 20 of IP and 8 of UDP header.
pub(super) const UDP_BYTES_MAX_IPV4: usize = 65_507;
/// Over IPv6 the 65,535 bytes do not count the IP header, so only the 8 of UDP come off.
pub(super) const UDP_BYTES_MAX_IPV6: usize = 65_527;
/// Wait after ENOBUFS: the device's queue is full, and no event tells when it drains.
const NO_BUFFERS_WAIT: Duration = Duration::from_millis(10);

/// What to do after an attempt to send.
enum Sent {
    Next,
    WaitForRoom,
    WaitUntil(Instant),
    Lost(String),
}

/// A connected datagram socket.
#[derive(Debug)]
pub(super) struct Datagram {
    link: Link,
    /// udp: a refusal is news of an earlier datagram. unixgram: of this one.
    is_udp: bool,
    bytes_max: usize,
    retry_at: Option<Instant>,
}

impl Datagram {
    pub fn new(link: Link, is_udp: bool, bytes_max: usize) -> Datagram {
        Datagram {
            link,
            is_udp,
            bytes_max,
            retry_at: None,
        }
    }

    pub fn message_bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub fn begin(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let change = self.link.begin(queue, epoll, now);
        self.changed(change, queue, epoll, now);
    }

    pub fn offered(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if !self.link.waits_for_room() && self.retry_at.is_none() {
            self.send(queue, epoll, now);
        }
    }

    pub fn ready(&mut self, event: &Event, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        match self.link.ready(event, queue, epoll, now) {
            Change::Io => {
                if event.failed {
                    // Taken even when nothing is to be sent: an untaken error wakes the loop for ever.
                    self.take_pending_error(queue, now);
                }
                self.send(queue, epoll, now);
            }
            change => self.changed(change, queue, epoll, now),
        }
    }

    pub fn tick(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let change = self.link.tick(queue, epoll, now);
        self.changed(change, queue, epoll, now);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.send(queue, epoll, now);
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.link.deadline().or(self.retry_at)
    }

    pub fn reopen(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let change = self.link.restart(queue, epoll, now);
        self.changed(change, queue, epoll, now);
    }

    fn changed(&mut self, change: Change, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if change == Change::Connected {
            self.retry_at = None;
            self.send(queue, epoll, now);
        }
    }

    fn take_pending_error(&mut self, queue: &mut Queue, now: Instant) {
        let pending = self.link.socket().map(|socket| socket.take_error());
        if let Some(Err(error)) = pending {
            if self.is_udp && error.raw_os_error() == Some(ECONNREFUSED) {
                queue.counters.errors += 1;
            } else {
                self.link.lost(&error.to_string(), queue, now);
            }
        }
    }

    fn send(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let mut budget = BYTES_PER_TURN;
        let interest = loop {
            if !self.link.is_connected() || self.retry_at.is_some() {
                return;
            }
            let Some(bytes) = queue.front().map(|message| message.bytes.len()) else {
                break Interest::NONE;
            };
            if budget == 0 {
                break Interest::WRITE;
            }
            budget = budget.saturating_sub(bytes.max(1));
            match self.send_front(queue, now) {
                Sent::Next => {}
                Sent::WaitForRoom => break Interest::WRITE,
                Sent::WaitUntil(at) => {
                    self.retry_at = Some(at);
                    break Interest::NONE;
                }
                Sent::Lost(error) => self.link.lost(&error, queue, now),
            }
        };
        if let Err(error) = self.link.want(epoll, interest) {
            self.link.lost(&error.to_string(), queue, now);
        }
    }

    fn send_front(&mut self, queue: &mut Queue, now: Instant) -> Sent {
        let (Some(message), Some(socket)) = (queue.front(), self.link.socket()) else {
            return Sent::Next;
        };
        match socket.send_datagram(&message.bytes) {
            Ok(()) => {
                queue.front_delivered();
                self.link.settled();
                Sent::Next
            }
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (ErrorKind::Interrupted, _) => Sent::Next,
                (ErrorKind::WouldBlock, _) => Sent::WaitForRoom,
                (_, Some(EMSGSIZE)) => {
                    queue.front_dropped(DropReason::TooLarge);
                    Sent::Next
                }
                (_, Some(ENOBUFS)) => Sent::WaitUntil(now + NO_BUFFERS_WAIT),
                (_, Some(ECONNREFUSED)) if self.is_udp => {
                    // The report is taken by now; the message was not sent, and is next again.
                    queue.counters.errors += 1;
                    Sent::Next
                }
                _ => Sent::Lost(error.to_string()),
            },
        }
    }
}
