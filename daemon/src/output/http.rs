//! http:// and https://: one POST a message, one request in flight, keep-alive.
//!
//! Delivered means answered 2xx. An answer that finds fault with the message itself would be the same
//! next time: it is dropped as rejected. Every other is asked again after the backoff, or after the
//! receiver's Retry-After when that is longer: a token expires, a proxy is in the midst of a
//! deployment, and somebody mends it. Redirects are not followed: the destination is the operator's
//! choice. A request whose answer never came is sent again, so a receiver may get a message twice;
//! the identity in the headers tells.

use super::{
    ClickhouseUrl, Credentials, DropReason, HttpUrl, Options, clickhouse, http_headers,
    http_response::{Answer, Response},
    link::{Change, Link},
    queue::Queue,
    transport::{Tls, Transport},
};
use crate::{
    epoll::{Epoll, Event, Interest},
    setting_error::SettingError,
};
use nix::sys::socket::SockType;
use std::{
    io::{self, ErrorKind, IoSlice},
    path::PathBuf,
    time::{Duration, Instant},
};

/// From the first byte of a request to the last of its answer: an insert into a busy database takes
/// seconds; a receiver that takes longer is no better than one that is away.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// A receiver may not silence us for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Received at a time; answers are small.
const READ_BYTES: usize = 8 << 10;

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Any server.
    Http,
    /// ClickHouse: the URL ends in the identity, and its exceptions tell more than the status.
    Clickhouse,
}

#[derive(Debug)]
struct Exchange {
    head: Vec<u8>,
    /// Of head, preamble and message together.
    sent: usize,
    sending: bool,
    response: Response,
    until: Instant,
}

/// An HTTP client for one URL.
#[derive(Debug)]
pub(super) struct Http {
    link: Link,
    /// What the request line asks for; behind it comes the identity of the message, for ClickHouse.
    target: String,
    dialect: Dialect,
    /// Headers that are the same each time.
    headers: String,
    headers_file: Option<PathBuf>,
    credentials: Credentials,
    /// The lines of that file.
    file_headers: String,
    preamble: Vec<u8>,
    tls: Option<Tls>,
    transport: Transport,
    exchange: Option<Exchange>,
    /// Answered on this connection. A kept connection may be closed by the receiver at any time; that
    /// is no failure, not even in the middle of the next request.
    answered: u64,
    retry_at: Option<Instant>,
    rejection_logged: bool,
}

impl Http {
    pub fn new(url: &HttpUrl, options: &Options) -> Result<Http, SettingError> {
        Http::speaking(Dialect::Http, url, url.path_and_query.clone(), options)
    }

    /// INSERTs into a table.
    pub fn clickhouse(url: &ClickhouseUrl, options: &Options) -> Result<Http, SettingError> {
        Http::speaking(Dialect::Clickhouse, &url.server, clickhouse::target(url), options)
    }

    fn speaking(
        dialect: Dialect,
        url: &HttpUrl,
        target: String,
        options: &Options,
    ) -> Result<Http, SettingError> {
        let scheme = if url.tls { "https" } else { "http" };
        let host = url.authority.to_string();
        if !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("expected a host of printable ASCII, got {host:?}").into());
        }
        let default_port = if url.tls { ":443" } else { ":80" };
        let host = host.strip_suffix(default_port).unwrap_or(&host);
        let path = url.path_and_query.split('?').next().unwrap_or("/");
        // The query may hold a password: it is not logged.
        let name = format!("{scheme}://{host}{path}");
        let headers = format!(
            "Host: {host}\r\nUser-Agent: xtcp2/{}\r\nContent-Type: {}\r\n",
            env!("CARGO_PKG_VERSION"),
            options.content_type,
        );
        let headers_file = options.http_headers_file.clone();
        let file_headers = headers_file.as_deref().map_or(Ok(String::new()), |path| {
            http_headers::read(path, &options.credentials)
        })?;
        let tls = match url.tls {
            true => Some(Tls::new(&url.authority.host, options.tls_roots.clone())?),
            false => None,
        };
        Ok(Http {
            link: Link::to_host(name, &url.authority, SockType::Stream, options),
            target,
            dialect,
            headers,
            headers_file,
            credentials: options.credentials.clone(),
            file_headers,
            preamble: options.preamble.clone(),
            tls,
            transport: Transport::Plain,
            exchange: None,
            answered: 0,
            retry_at: None,
            rejection_logged: false,
        })
    }

    pub fn begin(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let change = self.link.begin(queue, epoll, now);
        self.changed(change, queue, epoll, now);
    }

    pub fn offered(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if self.exchange.is_none() {
            self.advance(queue, epoll, now);
        }
    }

    pub fn ready(&mut self, event: &Event, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        match self.link.ready(event, queue, epoll, now) {
            Change::Io => self.advance(queue, epoll, now),
            change => self.changed(change, queue, epoll, now),
        }
    }

    pub fn tick(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let change = self.link.tick(queue, epoll, now);
        self.changed(change, queue, epoll, now);
        if self
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.until <= now)
        {
            self.failed(&format!("no answer within {EXCHANGE_TIMEOUT:?}"), queue, now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.advance(queue, epoll, now);
        }
    }

    /// Whether a request could be sent: connected, and the TLS handshake is over.
    pub fn is_established(&self) -> bool {
        self.link.is_connected() && !self.transport.is_handshaking()
    }

    pub fn deadline(&self) -> Option<Instant> {
        let exchange = self.exchange.as_ref().map(|exchange| exchange.until);
        [self.link.deadline(), exchange, self.retry_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Connects anew, unless a request is under way: then the next failure resolves the name anyway.
    pub fn reopen(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        let read = |path| http_headers::read(path, &self.credentials);
        match self.headers_file.as_deref().map(read) {
            None => {}
            Some(Ok(lines)) => self.file_headers = lines,
            Some(Err(error)) => log::error!("--http-headers-file: {error}; the headers stay as they are"),
        }
        if self.exchange.is_none() {
            let change = self.link.restart(queue, epoll, now);
            self.changed(change, queue, epoll, now);
        }
    }

    pub fn end(&mut self, queue: &mut Queue) {
        self.exchange = None;
        self.link.rest(queue);
    }

    fn changed(&mut self, change: Change, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        if change != Change::Connected {
            return;
        }
        self.answered = 0;
        match Transport::new(self.tls.as_ref()) {
            Ok(transport) => {
                self.transport = transport;
                self.advance(queue, epoll, now);
            }
            Err(error) => self.failed(&error, queue, now),
        }
    }

    /// Goes on as far as possible without waiting.
    fn advance(&mut self, queue: &mut Queue, epoll: &Epoll, now: Instant) {
        loop {
            if !self.link.is_connected() {
                if !queue.is_empty() && self.retry_at.is_none() {
                    self.begin(queue, epoll, now);
                }
                return;
            }
            if self.exchange.is_none() && self.retry_at.is_none() {
                self.start(queue, now);
            }
            // After a failed write there may still be an answer that says why.
            let sent = self.send(queue);
            match (self.receive(), sent) {
                (Ok(Some(answer)), _) => self.answered(answer, queue, now),
                (Err(error), _) | (Ok(None), Err(error)) => self.broken(&error, queue, now),
                (Ok(None), Ok(())) => break,
            }
        }
        let sending = self.exchange.as_ref().is_some_and(|exchange| exchange.sending);
        let wanted = Interest {
            readable: true,
            writable: self.transport.waits_for_room(sending),
        };
        if let Err(error) = self.link.want(epoll, wanted) {
            self.failed(&error.to_string(), queue, now);
        }
    }

    fn start(&mut self, queue: &mut Queue, now: Instant) {
        let Some(message) = queue.front() else { return };
        let identity = message.identity;
        let token = match self.dialect {
            Dialect::Http => String::new(),
            Dialect::Clickhouse => identity.to_string(),
        };
        let head = format!(
            "POST {}{token} HTTP/1.1\r\n{}{}X-Xtcp2-Instance-Id: {}\r\nX-Xtcp2-Envelope-Sequence: {}\r\n\
             Idempotency-Key: {identity}\r\nContent-Length: {}\r\n\r\n",
            self.target,
            self.headers,
            self.file_headers,
            identity.instance_id,
            identity.envelope_sequence,
            self.preamble.len() + message.bytes.len(),
        );
        queue.set_front_begun(true);
        self.exchange = Some(Exchange {
            head: head.into_bytes(),
            sent: 0,
            sending: true,
            response: Response::default(),
            until: now + EXCHANGE_TIMEOUT,
        });
    }

    /// Writes what the socket takes.
    fn send(&mut self, queue: &Queue) -> io::Result<()> {
        let Some(socket) = self.link.socket() else {
            return Ok(());
        };
        let (Some(exchange), Some(message)) = (&mut self.exchange, queue.front()) else {
            return Ok(());
        };
        while exchange.sending {
            // At once: a small request is one segment.
            let mut parts = [&exchange.head, &self.preamble, &message.bytes].map(|part| IoSlice::new(part));
            let mut rest = &mut parts[..];
            IoSlice::advance_slices(&mut rest, exchange.sent);
            let written = match rest.is_empty() {
                false => self.transport.write(socket, rest),
                true => self.transport.flush(socket).map(|()| 0),
            };
            match written {
                Ok(0) if !rest.is_empty() => return Err(ErrorKind::WriteZero.into()),
                Ok(0) => exchange.sending = false,
                Ok(count) => exchange.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is; `Some` when the answer is complete.
    fn receive(&mut self) -> io::Result<Option<Answer>> {
        let Some(socket) = self.link.socket() else {
            return Ok(None);
        };
        let mut buffer = [0; READ_BYTES];
        loop {
            let error = match (self.transport.read(socket, &mut buffer), &mut self.exchange) {
                (Ok(0), _) => ErrorKind::UnexpectedEof.into(),
                (Ok(count), Some(exchange)) => match exchange.response.feed(&buffer[..count]) {
                    Ok(None) => continue,
                    Ok(answer) => return Ok(answer.map(|answer| exchange.finish(answer))),
                    Err(error) => return Err(io::Error::other(error)),
                },
                (Ok(_), None) => io::Error::other("expected nothing, got an answer without a request"),
                (Err(error), _) if error.kind() == ErrorKind::Interrupted => continue,
                (Err(error), _) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                (Err(error), _) => error,
            };
            let known = self
                .exchange
                .as_ref()
                .and_then(|exchange| exchange.response.closed());
            return known.map_or(Err(error), |answer| Ok(Some(answer)));
        }
    }

    fn answered(&mut self, answer: Answer, queue: &mut Queue, now: Instant) {
        let problem = self.exchange.take().map(|exchange| exchange.response.problem());
        let problem = problem.unwrap_or_default();
        self.answered += 1;
        match self.verdict(&answer) {
            Verdict::Delivered => {
                queue.front_delivered();
                self.link.settled();
                self.rejection_logged = false;
            }
            Verdict::Again => {
                let problem = match answer.status {
                    200..300 => format!("{problem} without X-ClickHouse-Query-Id, of another server"),
                    _ => problem,
                };
                queue.retry_front();
                let asked = answer.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                let wait = self.link.failed(&problem, asked, queue);
                self.retry_at = Some(now + wait);
            }
            Verdict::Rejected => {
                if !std::mem::replace(&mut self.rejection_logged, true) {
                    let name = self.link.name();
                    log::error!(
                        "output {name}: expected HTTP 2xx, got {problem}; messages it rejects are dropped"
                    );
                }
                queue.front_dropped(DropReason::Rejected);
            }
        }
        if !answer.keep_alive {
            self.link.rest(queue);
        }
    }

    fn verdict(&self, answer: &Answer) -> Verdict {
        match (answer.status, self.dialect) {
            (200..300, Dialect::Http) => Verdict::Delivered,
            // Without it, success is another server's: a load balancer's, or who else has the port.
            (200..300, Dialect::Clickhouse) if answer.is_clickhouse => Verdict::Delivered,
            (400 | 413 | 415 | 422 | 431, Dialect::Http) => Verdict::Rejected,
            (_, Dialect::Http) => Verdict::Again,
            (413, Dialect::Clickhouse) => Verdict::Rejected,
            (_, Dialect::Clickhouse) => match clickhouse::refuses_the_bytes(answer.exception_code) {
                true => Verdict::Rejected,
                false => Verdict::Again,
            },
        }
    }

    /// The connection ended where an answer was due, or where nothing was.
    fn broken(&mut self, error: &io::Error, queue: &mut Queue, now: Instant) {
        let closed = matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        );
        let unanswered = self.exchange.as_ref().is_none_or(|e| !e.response.started());
        let kept_or_idle = self.answered > 0 || self.exchange.is_none();
        if closed && unanswered && kept_or_idle {
            self.exchange = None;
            queue.retry_front();
            self.link.rest(queue);
        } else {
            self.failed(&error.to_string(), queue, now);
        }
    }

    fn failed(&mut self, error: &str, queue: &mut Queue, now: Instant) {
        self.exchange = None;
        queue.retry_front();
        self.link.lost(error, queue, now);
    }
}

/// What becomes of a message that was answered.
enum Verdict {
    Delivered,
    /// After a while, the same message.
    Again,
    /// It would be refused again.
    Rejected,
}

impl Exchange {
    /// An answer that came before the request was out leaves a connection that cannot be used again.
    fn finish(&self, answer: Answer) -> Answer {
        Answer {
            keep_alive: answer.keep_alive && !self.sending,
            ..answer
        }
    }
}
