//! The HTTP server: a listener and a fixed number of connections, in the daemon's own loop.

use super::{
    client::{Client, Next},
    listen::Listener,
    request::Request,
    response::{Answer, Code, Response},
};
use crate::epoll::{Epoll, Event, Interest, Source, Token};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// Connections at a time. A handful of scrapers and a person use fewer; each may hold 8 KiB of
/// request and one answer.
pub const CLIENTS_MAX: u16 = 32;
/// Connections taken per turn; level-triggered epoll reports what is left.
const ACCEPTS_PER_TURN: usize = 16;
/// How long no connection is taken after the process ran out of descriptors or memory. The
/// listener stays readable meanwhile, so that without this the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken, those turned away included.
    pub connections: u64,
    /// Connections turned away since all slots were in use.
    pub rejected: u64,
    /// Connections that could not be taken, such as for want of a descriptor.
    pub accept_errors: u64,
    /// Connections cut off since the request or the reading of the answer took too long.
    pub timed_out: u64,
    /// Answers with a 2xx status.
    pub responses_2xx: u64,
    /// Answers with a 4xx status.
    pub responses_4xx: u64,
    /// Answers with a 5xx status.
    pub responses_5xx: u64,
}

impl Counters {
    pub(super) fn count_response(&mut self, code: Code) {
        match code as u16 {
            500.. => self.responses_5xx += 1,
            400.. => self.responses_4xx += 1,
            _ => self.responses_2xx += 1,
        }
    }
}

/// Names a request whose answer comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: u16,
    generation: u32,
}

#[derive(Debug, Default)]
struct Slot {
    /// How many clients were here before.
    generation: u32,
    client: Option<(Client, Interest)>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    slots: Vec<Slot>,
    paused_until: Option<Instant>,
    /// What happened so far.
    pub counters: Counters,
}

impl Server {
    /// Registers the listener.
    ///
    /// # Errors
    /// When epoll refuses it.
    pub fn new(listener: Listener, epoll: &Epoll) -> io::Result<Server> {
        epoll.add(&listener, Token::only(Source::AdminListener), Interest::READ)?;
        Ok(Server {
            listener,
            slots: (0..CLIENTS_MAX).map(|_| Slot::default()).collect(),
            paused_until: None,
            counters: Counters::default(),
        })
    }

    /// Connections that are open.
    pub fn clients(&self) -> usize {
        self.slots.iter().filter(|slot| slot.client.is_some()).count()
    }

    /// Connections but those that are kept between two requests.
    pub fn clients_to_answer(&self) -> usize {
        let clients = self.slots.iter().filter_map(|slot| slot.client.as_ref());
        clients.filter(|(client, _)| !client.is_idle()).count()
    }

    /// Takes waiting connections: the answer to an event of [`Source::AdminListener`].
    pub fn accept(&mut self, epoll: &Epoll, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok(stream) => self.admit(epoll, stream, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.counters.accept_errors += 1;
                    if is_exhaustion(&error) {
                        self.pause(epoll, now);
                        return;
                    }
                }
            }
        }
    }

    /// Takes no more connections: those that wait are left to whoever else holds the listener. Clients are waited for in
    /// `epoll` from now on, another one than so far.
    pub fn stop_accepting(&mut self, epoll: &Epoll) {
        self.paused_until = None;
        for (number, slot) in (0..CLIENTS_MAX).zip(&mut self.slots) {
            let token = client_token(Ticket {
                slot: number,
                generation: slot.generation,
            });
            slot.client
                .take_if(|(client, interest)| epoll.add(&client.stream, token, *interest).is_err());
        }
    }

    /// Serves a connection: the answer to an event of [`Source::AdminClient`]. An event for a
    /// connection that is gone is ignored, also when its slot or descriptor is in use again.
    pub fn ready(
        &mut self,
        epoll: &Epoll,
        event: &Event,
        now: Instant,
        handler: &mut dyn FnMut(&Request<'_>, Ticket) -> Answer,
    ) {
        let Token {
            source: Source::AdminClient,
            slot,
            generation,
        } = event.token
        else {
            return;
        };
        let ticket = Ticket { slot, generation };
        self.with_client(epoll, ticket, |client, counters| {
            client.ready(event, now, counters, &mut |request| handler(request, ticket))
        });
    }

    /// Sends the answer to a request that got [`Answer::Later`]. Nothing happens when the client
    /// has gone meanwhile.
    pub fn complete(&mut self, epoll: &Epoll, ticket: Ticket, response: Response, now: Instant) {
        self.with_client(epoll, ticket, |client, counters| match client.is_waiting() {
            true => client.complete(response, now, counters),
            false => Next::Close,
        });
    }

    /// When [`Server::expire`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let clients = self.slots.iter().filter_map(|slot| slot.client.as_ref());
        clients
            .map(|(client, _)| client.deadline())
            .chain(self.paused_until)
            .min()
    }

    /// Cuts off what took too long, and takes connections again after a pause.
    pub fn expire(&mut self, epoll: &Epoll, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            let resumed = epoll.modify(&self.listener, Token::only(Source::AdminListener), Interest::READ);
            if resumed.is_err() {
                self.paused_until = Some(now + ACCEPT_PAUSE);
            }
        }
        for slot in 0..CLIENTS_MAX {
            let Some(generation) = self.slots.get(usize::from(slot)).and_then(|slot| {
                let (client, _) = slot.client.as_ref()?;
                (client.deadline() <= now).then_some(slot.generation)
            }) else {
                continue;
            };
            self.with_client(epoll, Ticket { slot, generation }, |client, counters| {
                client.expire(now, counters)
            });
        }
    }

    /// Lets the client that `ticket` names act, then follows its wish.
    fn with_client(
        &mut self,
        epoll: &Epoll,
        ticket: Ticket,
        act: impl FnOnce(&mut Client, &mut Counters) -> Next,
    ) {
        let Some(slot) = self.slots.get_mut(usize::from(ticket.slot)) else {
            return;
        };
        if slot.generation != ticket.generation {
            return;
        }
        let Some((client, interest)) = slot.client.as_mut() else {
            return;
        };
        let keep = match act(client, &mut self.counters) {
            Next::Close => false,
            Next::Wait(wanted) if wanted == *interest => true,
            Next::Wait(wanted) => {
                *interest = wanted;
                epoll.modify(&client.stream, client_token(ticket), wanted).is_ok()
            }
        };
        if !keep {
            // Dropping it closes the descriptor, which takes it out of the epoll set.
            slot.client = None;
            slot.generation = slot.generation.wrapping_add(1);
        }
    }

    fn admit(&mut self, epoll: &Epoll, stream: TcpStream, now: Instant) {
        self.counters.connections += 1;
        let mut free = (0..CLIENTS_MAX).zip(self.slots.iter_mut());
        let Some((number, slot)) = free.find(|(_, slot)| slot.client.is_none()) else {
            self.counters.rejected += 1;
            self.counters.count_response(Code::Unavailable);
            turn_away(stream);
            return;
        };
        let token = client_token(Ticket {
            slot: number,
            generation: slot.generation,
        });
        match epoll.add(&stream, token, Interest::READ) {
            Ok(()) => slot.client = Some((Client::new(stream, now), Interest::READ)),
            Err(_) => self.counters.accept_errors += 1,
        }
    }

    fn pause(&mut self, epoll: &Epoll, now: Instant) {
        self.paused_until = Some(now + ACCEPT_PAUSE);
        // When epoll fails here, the next event of the listener tries again.
        let _ = epoll.modify(&self.listener, Token::only(Source::AdminListener), Interest::NONE);
    }
}

const fn client_token(ticket: Ticket) -> Token {
    Token {
        source: Source::AdminClient,
        slot: ticket.slot,
        generation: ticket.generation,
    }
}

/// Says no, as well as that goes without waiting: what the client sent already is read first, since
/// closing with unread bytes would reset the connection before the answer is seen.
fn turn_away(mut stream: TcpStream) {
    let busy = format!("all {CLIENTS_MAX} connections are in use, try again");
    let answer = Response::text(Code::Unavailable, &busy).into_bytes(false, Some("close"));
    let mut request = [0; 1024];
    let _ = stream.read(&mut request);
    let _ = stream.write(&answer);
    let _ = stream.shutdown(Shutdown::Write);
}

/// No descriptor or memory for another connection: accept(2) fails at once again.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
