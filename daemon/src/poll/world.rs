//! Everything the core asks of the world, in one narrow trait: the kernel answers in the daemon,
//! a seeded simulation in tests. Static dispatch, no state shared.

use crate::{
    namespaces::{Counts, Identity},
    netlink::receive_batch::ReceiveBatch,
};
use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};

/// A namespace that was entered and left again.
#[derive(Debug)]
pub struct Arrival<S> {
    /// An open netlink socket that stays in the namespace it was opened in.
    pub socket: S,
    /// Which namespace that is, read on that socket.
    pub identity: Identity,
    /// Path by which it was entered.
    pub name: Rc<str>,
    /// The number that rows carry as `socket_fd`.
    pub socket_number: u64,
}

/// What the poll does next.
#[derive(Debug)]
pub enum Next<S> {
    /// Read this namespace; it was not read before in this poll.
    Namespace(Arrival<S>),
    /// A step was made that led to no namespace: ask again.
    Again,
    /// Nothing to do until then.
    WaitUntil(Instant),
    /// No namespace is left in this poll.
    Done,
}

/// The world as the poll sees it.
pub trait World {
    /// An open netlink socket of some namespace.
    type Socket;

    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Nanoseconds since 1970-01-01 UTC.
    fn realtime_ns(&self) -> i64;

    /// Begins a poll: what namespaces there are is looked up afresh.
    fn start_poll(&mut self);

    /// The next namespace of the poll, one step at a time. Each is handed out once, whatever
    /// names it has; one that cannot be entered is counted and passed over.
    fn next_namespace(&mut self) -> Next<Self::Socket>;

    /// Sends one request.
    ///
    /// # Errors
    /// EAGAIN when the socket has no room, or whatever the kernel says.
    fn send(&mut self, socket: &Self::Socket, request: &[u8]) -> io::Result<()>;

    /// Receives one datagram; returns its length, which is larger than the buffer when its end
    /// was cut off.
    ///
    /// # Errors
    /// EAGAIN when there is none yet, ENOBUFS when the kernel had to drop some.
    fn receive(&mut self, socket: &Self::Socket, buffer: &mut [u8]) -> io::Result<usize>;

    /// Receives several datagrams at once.
    ///
    /// # Errors
    /// As [`World::receive`].
    fn receive_batch(&mut self, socket: &Self::Socket, batch: &mut ReceiveBatch) -> io::Result<usize>;

    /// How many sockets the kernel counts in the namespace; `None` when it does not say.
    fn counts(&mut self, socket: &Self::Socket) -> Option<Counts>;

    /// Connections that the kernel counted as opened in the namespace since that was made; `None`
    /// when it does not say.
    fn opens(&mut self, socket: &Self::Socket) -> Option<u64>;

    /// CPU time that the thread used so far.
    fn thread_cpu(&self) -> Duration;
}
