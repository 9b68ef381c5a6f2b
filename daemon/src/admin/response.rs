//! What goes back to a client.

use std::io::Write as _;

/// The status codes in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs)]
pub enum Code {
    Ok = 200,
    BadRequest = 400,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    Conflict = 409,
    ContentTooLarge = 413,
    HeaderTooLarge = 431,
    InternalError = 500,
    NotImplemented = 501,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Code {
    fn phrase(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::BadRequest => "Bad Request",
            Code::NotFound => "Not Found",
            Code::MethodNotAllowed => "Method Not Allowed",
            Code::RequestTimeout => "Request Timeout",
            Code::Conflict => "Conflict",
            Code::ContentTooLarge => "Content Too Large",
            Code::HeaderTooLarge => "Request Header Fields Too Large",
            Code::InternalError => "Internal Server Error",
            Code::NotImplemented => "Not Implemented",
            Code::Unavailable => "Service Unavailable",
            Code::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// Plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// HTML.
pub const HTML: &str = "text/html; charset=utf-8";
/// What prometheus-client writes.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Bytes, such as a profile.
pub const OCTETS: &str = "application/octet-stream";

/// An answer: status, type of the content, content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub code: Code,
    /// Value of the Content-Type header.
    pub content_type: &'static str,
    /// The content.
    pub body: Vec<u8>,
}

impl Response {
    /// A line of text; the line end is added.
    pub fn text(code: Code, line: &str) -> Response {
        Response {
            code,
            content_type: TEXT,
            body: format!("{line}\n").into_bytes(),
        }
    }

    /// Content of a type of its own.
    pub fn content(content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response {
            code: Code::Ok,
            content_type,
            body: body.into(),
        }
    }

    /// The bytes on the wire. `connection` is the value of the header of that name, left out when
    /// it is what the version implies.
    pub(super) fn into_bytes(self, head: bool, connection: Option<&str>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.body.len());
        // Writing to a Vec does not fail.
        let _ = write!(
            bytes,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            self.code as u16,
            self.code.phrase(),
            self.content_type,
            self.body.len()
        );
        if self.code != Code::Ok {
            bytes.extend_from_slice(b"X-Go-Pprof: 1\r\n"); // makes `go tool pprof` show the reason
        }
        if self.code == Code::MethodNotAllowed {
            bytes.extend_from_slice(b"Allow: GET, HEAD\r\n");
        }
        if let Some(connection) = connection {
            bytes.extend_from_slice(b"Connection: ");
            bytes.extend_from_slice(connection.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if !head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// What a handler says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer.
    Now(Response),
    /// The answer comes with [`super::server::Server::complete`], under the ticket of the request.
    Later,
}
