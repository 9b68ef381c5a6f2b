//! Reads one HTTP/1.1 response as its bytes arrive: the status counts, the body is skipped. Of the body
//! of a failure the beginning is kept, for the log.

use std::time::Duration;

/// Bytes of status line and headers, of a chunk's size line, or of trailers; real ones take under 2 KB.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines of a response.
const HEADERS_MAX: usize = 64;
/// A longer body is not waited for: the status is known, and a new connection is cheaper.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// Of what a server says of a failure, for one line of the log.
const PROBLEM_BYTES_MAX: usize = 300;

/// What the receiver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 2xx: it has the message.
    pub status: u16,
    /// The connection may carry another request.
    pub keep_alive: bool,
    /// Retry-After in seconds; one with a date is ignored.
    pub retry_after: Option<Duration>,
    /// X-ClickHouse-Exception-Code.
    pub exception_code: Option<u32>,
    /// X-ClickHouse-Query-Id is there, which only ClickHouse sends, with every answer to a query.
    pub is_clickhouse: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// Bytes of the body still to skip.
    Length(u64),
    ChunkSize,
    /// Bytes of the chunk still to skip, the line end after it included.
    Chunk(u64),
    Trailers,
    UntilClose,
    Done,
}

/// A response under way.
#[derive(Debug, Default)]
pub struct Response {
    buffer: Vec<u8>,
    part: Part,
    body_bytes: u64,
    answer: Option<Answer>,
    started: bool,
    problem: Vec<u8>,
}

impl Response {
    /// The status, and what the server says of it.
    pub fn problem(&self) -> String {
        let status = self.answer.map_or(0, |answer| answer.status);
        let text = String::from_utf8_lossy(&self.problem);
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .collect();
        match words.join(" ").trim() {
            "" => format!("HTTP {status}"),
            text => format!("HTTP {status}: {text}"),
        }
    }

    /// Bytes that wait for the rest of what they begin: fewer than [`HEAD_BYTES_MAX`].
    pub fn unread_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether any byte of it has arrived.
    pub fn started(&self) -> bool {
        self.started
    }

    /// The connection ended. What is known by now is the answer: only the status matters.
    pub fn closed(&self) -> Option<Answer> {
        self.answer.map(|answer| Answer {
            keep_alive: false,
            ..answer
        })
    }

    /// Takes what was received; `Some` when the response is complete.
    ///
    /// # Errors
    /// What is no answer to a request, or has a head too long; in one line.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Answer>, String> {
        self.started |= !bytes.is_empty();
        self.buffer.extend_from_slice(bytes);
        while self.part != Part::Done {
            let consumed = match self.part {
                Part::Head => self.head()?,
                Part::Length(left) => self.skip(left, Part::Length, Part::Done),
                Part::Chunk(left) => self.skip(left, Part::Chunk, Part::ChunkSize),
                Part::ChunkSize => self.chunk_size()?,
                Part::Trailers => self.trailer_line(),
                Part::UntilClose => self.skip(u64::MAX, |_| Part::UntilClose, Part::Done),
                Part::Done => 0,
            };
            if self.body_bytes > BODY_BYTES_MAX {
                return Ok(self.closed());
            }
            if consumed == 0 && self.part != Part::Done {
                return match self.buffer.len() {
                    0..HEAD_BYTES_MAX => Ok(None),
                    _ => Err(format!(
                        "expected a head of at most {HEAD_BYTES_MAX} bytes, got more"
                    )),
                };
            }
            self.buffer.drain(..consumed);
        }
        // Bytes after the end answer nothing that was asked: do not go on with such a connection.
        match self.buffer.is_empty() {
            true => Ok(self.answer),
            false => Ok(self.closed()),
        }
    }

    fn skip(&mut self, left: u64, more: impl Fn(u64) -> Part, end: Part) -> usize {
        let here = left.min(self.buffer.len() as u64);
        self.body_bytes = self.body_bytes.saturating_add(here);
        self.part = if here == left { end } else { more(left - here) };
        let here = usize::try_from(here).unwrap_or(0);
        if self.answer.is_some_and(|answer| answer.status >= 300) {
            let room = PROBLEM_BYTES_MAX - self.problem.len();
            self.problem.extend_from_slice(&self.buffer[..here.min(room)]);
        }
        here
    }

    fn head(&mut self) -> Result<usize, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.buffer);
        let consumed = match parsed.map_err(|error| format!("expected an HTTP/1.1 answer: {error}"))? {
            httparse::Status::Partial => return Ok(0),
            httparse::Status::Complete(consumed) => consumed,
        };
        let status = head.code.unwrap_or(0);
        let header = |name: &str| {
            let mut found = head.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
            found.next().and_then(|h| std::str::from_utf8(h.value).ok())
        };
        let says = |name, word: &str| {
            header(name).is_some_and(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
        };
        if status == 101 {
            return Err("expected an answer, got a change of protocol".to_owned());
        }
        if (100..200).contains(&status) {
            return Ok(consumed);
        }
        let keep_alive = match head.version {
            Some(1) => !says("connection", "close"),
            _ => says("connection", "keep-alive"),
        };
        self.part = if status == 204 || status == 304 {
            Part::Done
        } else if says("transfer-encoding", "chunked") {
            Part::ChunkSize
        } else if let Some(length) = header("content-length") {
            let length = length.trim();
            match length.parse() {
                Ok(0) => Part::Done,
                Ok(length) => Part::Length(length),
                Err(_) => return Err(format!("expected a Content-Length in bytes, got {length:?}")),
            }
        } else {
            Part::UntilClose
        };
        let exception_code =
            header("x-clickhouse-exception-code").and_then(|value| value.trim().parse().ok());
        let seconds = header("retry-after").and_then(|value| value.trim().parse().ok());
        self.answer = Some(Answer {
            status,
            keep_alive: keep_alive && self.part != Part::UntilClose,
            // The form with a date is ignored: it needs a clock that agrees with the receiver's.
            retry_after: seconds.map(Duration::from_secs),
            exception_code,
            is_clickhouse: header("x-clickhouse-query-id").is_some(),
        });
        Ok(consumed)
    }

    fn chunk_size(&mut self) -> Result<usize, String> {
        match httparse::parse_chunk_size(&self.buffer) {
            Ok(httparse::Status::Partial) => Ok(0),
            Ok(httparse::Status::Complete((consumed, 0))) => {
                self.part = Part::Trailers;
                Ok(consumed)
            }
            Ok(httparse::Status::Complete((consumed, size))) => {
                self.part = Part::Chunk(size.saturating_add(2));
                Ok(consumed)
            }
            Err(_) => Err("expected the size of a chunk in hex".to_owned()),
        }
    }

    /// Trailers end with an empty line.
    fn trailer_line(&mut self) -> usize {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return 0;
        };
        if matches!(&self.buffer[..end], b"" | b"\r") {
            self.part = Part::Done;
        }
        // Counted, so that trailers without end are not read without end.
        self.body_bytes += end as u64 + 1;
        end + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, keep_alive: bool) -> Answer {
        Answer {
            status,
            keep_alive,
            retry_after: None,
            exception_code: None,
            is_clickhouse: false,
        }
    }

    /// However the bytes are cut, the answer comes with the last one and not before.
    fn at_every_cut(response: &[u8], expected: Answer) {
        for cut in 0..response.len() {
            let mut reader = Response::default();
            assert_eq!(reader.feed(&response[..cut]).unwrap(), None, "cut at {cut}");
            assert_eq!(
                reader.feed(&response[cut..]).unwrap(),
                Some(expected),
                "cut at {cut}"
            );
        }
        let mut reader = Response::default();
        for byte in &response[..response.len() - 1] {
            assert_eq!(reader.feed(&[*byte]).unwrap(), None);
        }
        assert_eq!(
            reader.feed(&response[response.len() - 1..]).unwrap(),
            Some(expected)
        );
    }

    #[test]
    fn every_framing_ends_where_it_should() {
        at_every_cut(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            answer(200, true),
        );
        at_every_cut(b"HTTP/1.1 204 No Content\r\n\r\n", answer(204, true));
        at_every_cut(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
            answer(200, true),
        );
        at_every_cut(
            b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
            answer(500, true),
        );
        at_every_cut(
            b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            answer(413, false),
        );
        at_every_cut(
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
            answer(200, false),
        );
    }

    #[test]
    fn a_closed_connection_keeps_the_status() {
        let mut reader = Response::default();
        assert_eq!(reader.closed(), None);
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\n\r\nanything").unwrap(), None);
        assert_eq!(reader.closed(), Some(answer(200, false)));
    }

    #[test]
    fn what_never_ends_is_bounded() {
        let mut reader = Response::default();
        let junk = vec![b'a'; HEAD_BYTES_MAX];
        let head = [b"HTTP/1.1 200 OK\r\nX: ", &junk[..]].concat();
        assert!(reader.feed(&head).unwrap_err().contains("at most"));
        let mut reader = Response::default();
        let mut last = reader
            .feed(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
            .unwrap();
        let mut fed = 0;
        while last.is_none() {
            last = reader.feed(&junk).unwrap();
            fed += junk.len() as u64;
            assert!(fed <= BODY_BYTES_MAX + HEAD_BYTES_MAX as u64);
        }
        assert_eq!(last, Some(answer(200, false)));
    }

    #[test]
    fn retry_after_and_nonsense() {
        let mut reader = Response::default();
        let head = b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
        let answer = reader.feed(head).unwrap().unwrap();
        assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
        assert!(Response::default().feed(b"SSH-2.0-x\r\n").is_err());
        assert!(
            Response::default()
                .feed(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
                .is_err()
        );
    }
}
