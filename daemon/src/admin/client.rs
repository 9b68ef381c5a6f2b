//! One connection: bytes in, one request at a time, bytes out. Never blocks.

use super::{
    request::{Method, Parsed, REQUEST_BYTES_MAX, Request, parse_request},
    response::{Answer, Code, Response},
    server::Counters,
};
use crate::epoll::{Event, Interest};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// From a connection or its next first byte to the end of the request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first to the last byte of an answer; a slower reader is cut off.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests. Prometheus scrapes every 15 to 60 s.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// For an answer that comes later: the longest profile takes 60 s.
pub const LATER_TIMEOUT: Duration = Duration::from_secs(75);
/// From our last byte to the client's. Closing while bytes of the client are unread makes the
/// kernel send a reset, which can overtake the answer.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are thrown away while lingering.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// An answer larger than this is a fault of ours. `CLIENTS_MAX` times this bounds the memory.
const RESPONSE_BYTES_MAX: usize = 8 << 20;

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of another request.
    Idle,
    /// The rest of a request.
    Reading,
    /// Its turn: a pipelined request lies in the buffer. One a turn, so that a client that sends
    /// hundreds at once does not hold up the poll.
    Pipelined,
    /// [`Client::complete`].
    Later {
        head: bool,
        connection: Option<&'static str>,
        close: bool,
    },
    /// Room to write the rest of the answer.
    Writing { close: bool },
    /// The end of what the client sends.
    Lingering { discarded: usize },
}

/// What the server does with the connection next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait(Interest),
    Close,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    input: Box<[u8]>,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    phase: Phase,
    deadline: Instant,
}

impl Client {
    /// Takes over an accepted, non-blocking connection.
    pub(super) fn new(stream: TcpStream, now: Instant) -> Client {
        Client {
            stream,
            input: vec![0; REQUEST_BYTES_MAX].into_boxed_slice(),
            filled: 0,
            output: Vec::new(),
            written: 0,
            phase: Phase::Reading,
            deadline: now + REQUEST_TIMEOUT,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it waits for [`Client::complete`].
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Later { .. })
    }

    /// Whether it is kept for a request that has not begun.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    pub(super) fn ready(
        &mut self,
        event: &Event,
        now: Instant,
        counters: &mut Counters,
        handler: &mut dyn FnMut(&Request<'_>) -> Answer,
    ) -> Next {
        match self.phase {
            Phase::Idle | Phase::Reading => match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => Next::Close,
                Ok(count) => {
                    self.filled += count;
                    self.serve(now, counters, handler)
                }
                Err(error) if is_transient(&error) => Next::Wait(Interest::READ),
                Err(_) => Next::Close,
            },
            Phase::Pipelined => self.serve(now, counters, handler),
            Phase::Later { .. } if event.failed => Next::Close,
            Phase::Later { .. } => Next::Wait(Interest::NONE),
            Phase::Writing { .. } => self.flush(now),
            Phase::Lingering { discarded } => self.discard(discarded),
        }
    }

    /// The deadline has passed.
    pub(super) fn expire(&mut self, now: Instant, counters: &mut Counters) -> Next {
        match self.phase {
            Phase::Idle | Phase::Lingering { .. } => Next::Close,
            Phase::Reading if self.filled > 0 => {
                counters.timed_out += 1;
                let late = Response::text(Code::RequestTimeout, "the request was not complete within 5 s");
                self.respond(late, false, Some("close"), true, now, counters)
            }
            Phase::Reading | Phase::Pipelined | Phase::Later { .. } | Phase::Writing { .. } => {
                counters.timed_out += 1;
                Next::Close
            }
        }
    }

    /// The answer to a request that got [`Answer::Later`].
    pub(super) fn complete(&mut self, response: Response, now: Instant, counters: &mut Counters) -> Next {
        match self.phase {
            Phase::Later {
                head,
                connection,
                close,
            } => self.respond(response, head, connection, close, now, counters),
            _ => Next::Close,
        }
    }

    fn serve(
        &mut self,
        now: Instant,
        counters: &mut Counters,
        handler: &mut dyn FnMut(&Request<'_>) -> Answer,
    ) -> Next {
        let (request, length) = match parse_request(&self.input[..self.filled]) {
            Parsed::Complete(request, length) => (request, length),
            Parsed::Partial => {
                if self.phase != Phase::Reading {
                    self.phase = Phase::Reading;
                    self.deadline = now + REQUEST_TIMEOUT;
                }
                return Next::Wait(Interest::READ);
            }
            Parsed::Refused(code, reason) => {
                let refusal = Response::text(code, reason);
                return self.respond(refusal, false, Some("close"), true, now, counters);
            }
        };
        let head = request.method == Method::Head;
        let close = !request.keep_alive;
        let connection = match (request.keep_alive, request.http_1_0) {
            (false, _) => Some("close"),
            (true, true) => Some("keep-alive"),
            (true, false) => None,
        };
        let answer = handler(&request);
        self.input.copy_within(length..self.filled, 0);
        self.filled -= length;
        match answer {
            Answer::Now(response) => self.respond(response, head, connection, close, now, counters),
            Answer::Later => {
                self.phase = Phase::Later {
                    head,
                    connection,
                    close,
                };
                self.deadline = now + LATER_TIMEOUT;
                Next::Wait(Interest::NONE)
            }
        }
    }

    fn respond(
        &mut self,
        mut response: Response,
        head: bool,
        connection: Option<&'static str>,
        close: bool,
        now: Instant,
        counters: &mut Counters,
    ) -> Next {
        if response.body.len() > RESPONSE_BYTES_MAX {
            let size = response.body.len();
            let fault = format!("the answer has {size} bytes, expected {RESPONSE_BYTES_MAX} at most");
            response = Response::text(Code::InternalError, &fault);
        }
        counters.count_response(response.code);
        self.output = response.into_bytes(head, connection);
        self.written = 0;
        self.phase = Phase::Writing { close };
        self.deadline = now + RESPONSE_TIMEOUT;
        self.flush(now)
    }

    fn flush(&mut self, now: Instant) -> Next {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Next::Close,
                Ok(count) => self.written += count,
                Err(error) if is_transient(&error) => return Next::Wait(Interest::WRITE),
                Err(_) => return Next::Close,
            }
        }
        // Freed, not kept: 32 idle connections would hold on to 32 answers.
        self.output = Vec::new();
        if self.phase == (Phase::Writing { close: true }) {
            if self.stream.shutdown(Shutdown::Write).is_err() {
                return Next::Close;
            }
            self.phase = Phase::Lingering { discarded: 0 };
            self.deadline = now + LINGER_TIMEOUT;
            Next::Wait(Interest::READ)
        } else if self.filled > 0 {
            self.phase = Phase::Pipelined;
            self.deadline = now + REQUEST_TIMEOUT;
            Next::Wait(Interest::WRITE)
        } else {
            self.phase = Phase::Idle;
            self.deadline = now + IDLE_TIMEOUT;
            Next::Wait(Interest::READ)
        }
    }

    fn discard(&mut self, discarded: usize) -> Next {
        match self.stream.read(&mut self.input) {
            Ok(count) if count > 0 && discarded + count <= LINGER_BYTES_MAX => {
                self.phase = Phase::Lingering {
                    discarded: discarded + count,
                };
                Next::Wait(Interest::READ)
            }
            Err(error) if is_transient(&error) => Next::Wait(Interest::READ),
            Ok(_) | Err(_) => Next::Close,
        }
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
