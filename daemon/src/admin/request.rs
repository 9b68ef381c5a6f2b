//! One HTTP/1.x request, read from bytes that may be anything.

use super::response::Code;

/// Bytes of a request line with its headers; a scrape of Prometheus has about 400.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Headers of a request; Prometheus sends 6, a browser about 20.
const HEADERS_MAX: usize = 64;

/// The methods that are read; which path takes which is not decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    /// Its body is thrown away unread, and the connection ends with the answer: all that is posted
    /// here are addresses for which there is no name.
    Post,
}

/// A request without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path, as sent: no percent-decoding, since no path of ours needs it.
    pub path: &'a str,
    /// What follows the first `?`; empty without one.
    pub query: &'a str,
    /// HTTP/1.0: keeping the connection must be said in the answer.
    pub http_1_0: bool,
    /// The client will use the connection again.
    pub keep_alive: bool,
}

impl<'a> Request<'a> {
    /// The value of the first `name=value` of the query.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// What the bytes received so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a request.
    Partial,
    /// A request, and how many bytes it took; what follows is the next one.
    Complete(Request<'a>, usize),
    /// Not a request that can be served. Where it ends is unknown, so the connection ends.
    Refused(Code, &'static str),
}

/// Reads the first request of `bytes`.
pub fn parse_request(bytes: &[u8]) -> Parsed<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut raw = httparse::Request::new(&mut headers);
    let length = match raw.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= REQUEST_BYTES_MAX => {
            return Parsed::Refused(Code::HeaderTooLarge, "request line and headers exceed 8 KiB");
        }
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Refused(Code::HeaderTooLarge, "more than 64 headers");
        }
        Err(httparse::Error::Version) => {
            return Parsed::Refused(Code::VersionNotSupported, "expected HTTP/1.0 or HTTP/1.1");
        }
        Err(_) => return Parsed::Refused(Code::BadRequest, "not an HTTP/1 request"),
    };
    match check(&raw) {
        Ok(request) => Parsed::Complete(request, length),
        Err((code, reason)) => Parsed::Refused(code, reason),
    }
}

fn check<'a>(raw: &httparse::Request<'_, 'a>) -> Result<Request<'a>, (Code, &'static str)> {
    let bad = |reason| (Code::BadRequest, reason);
    let (Some(method), Some(target), Some(version)) = (raw.method, raw.path, raw.version) else {
        return Err(bad("incomplete request line"));
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => return Err((Code::MethodNotAllowed, "expected GET or HEAD")),
    };
    let http_1_0 = version == 0;
    let mut keep_alive = !http_1_0;
    let mut hosts = 0_usize;
    let mut content_length = None;
    for header in raw.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
        } else if is("transfer-encoding") && method != Method::Post {
            return Err((Code::ContentTooLarge, "a request body is not taken here"));
        } else if is("content-length") {
            if content_length.is_some_and(|earlier| earlier != header.value) {
                return Err(bad("two different Content-Length headers"));
            }
            content_length = Some(header.value);
        } else if is("connection") {
            for option in header.value.split(|byte| *byte == b',') {
                match option.trim_ascii() {
                    option if option.eq_ignore_ascii_case(b"close") => keep_alive = false,
                    option if option.eq_ignore_ascii_case(b"keep-alive") && http_1_0 => keep_alive = true,
                    _ => {}
                }
            }
        }
    }
    match content_length {
        None => {}
        Some(digits) if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) => {
            return Err(bad("Content-Length is not a number"));
        }
        Some(digits) if digits.iter().any(|digit| *digit != b'0') && method != Method::Post => {
            return Err((Code::ContentTooLarge, "a request body is not taken here"));
        }
        Some(_) => {}
    }
    if hosts > 1 || (hosts == 0 && !http_1_0) {
        return Err(bad("expected exactly one Host header"));
    }
    let path_and_query = origin_form(target).ok_or(bad("expected a path that starts with /"))?;
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    Ok(Request {
        method,
        path,
        query,
        http_1_0,
        keep_alive: keep_alive && method != Method::Post,
    })
}

/// The path of a request target, which a client that was told to use a proxy sends as a whole URL.
fn origin_form(target: &str) -> Option<&str> {
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<Code> {
        match parse_request(text.as_bytes()) {
            Parsed::Refused(code, _) => Some(code),
            _ => None,
        }
    }

    #[test]
    fn a_request_is_read_to_its_end_and_no_further() {
        let text = b"GET /debug/pprof/profile?seconds=3&hz=10 HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
        let Parsed::Complete(request, length) = parse_request(text) else {
            panic!("not complete");
        };
        assert_eq!(&text[length..], b"GET /next");
        assert_eq!(request.path, "/debug/pprof/profile");
        assert_eq!(request.parameter("seconds"), Some("3"));
        assert_eq!(request.parameter("hz"), Some("10"));
        assert_eq!(request.parameter("z"), None);
        assert!(request.keep_alive && request.method == Method::Get && !request.http_1_0);
    }

    #[test]
    fn keeping_the_connection_follows_version_and_header() {
        for (text, keep) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nconnection: x, close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n", false),
        ] {
            let Parsed::Complete(request, _) = parse_request(text.as_bytes()) else {
                panic!("{text:?} is not complete");
            };
            assert_eq!(request.keep_alive, keep, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_its_code() {
        for (text, code) in [
            ("\x16\x03\x01\x02\0", Code::BadRequest),
            ("GET\r\n\r\n", Code::BadRequest),
            ("GET / HTTP/1.1\r\n\r\n", Code::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Code::BadRequest),
            ("GET / HTTP/1.1\r\nHo st: a\r\n\r\n", Code::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Code::BadRequest),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Code::BadRequest),
            ("GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", Code::BadRequest),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Code::VersionNotSupported),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Code::VersionNotSupported),
            ("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", Code::MethodNotAllowed),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Code::MethodNotAllowed),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
                Code::ContentTooLarge,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                Code::ContentTooLarge,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                Code::BadRequest,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
                Code::BadRequest,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
                Code::BadRequest,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                Code::ContentTooLarge,
            ),
        ] {
            assert_eq!(refused(text), Some(code), "{text:?}");
        }
    }

    #[test]
    fn the_body_of_a_post_ends_the_connection() {
        for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
            let Parsed::Complete(request, _) = parse_request(text.as_bytes()) else {
                panic!("{framing}: not complete");
            };
            assert!(request.method == Method::Post && !request.keep_alive);
        }
    }

    #[test]
    fn a_body_of_no_bytes_is_no_body() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(parse_request(text.as_bytes()), Parsed::Complete(..)));
    }

    #[test]
    fn every_beginning_of_a_request_is_partial() {
        let text = b"HEAD http://host:9088/metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 0..text.len() {
            assert_eq!(parse_request(&text[..length]), Parsed::Partial, "{length} bytes");
        }
        let Parsed::Complete(request, _) = parse_request(text) else {
            panic!("not complete");
        };
        assert_eq!(request.method, Method::Head);
        assert_eq!(request.path, "/metrics");
    }

    #[test]
    fn too_large_is_told_from_unfinished() {
        let long = format!("GET /{}", "a".repeat(REQUEST_BYTES_MAX));
        assert_eq!(refused(&long), Some(Code::HeaderTooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(refused(&many), Some(Code::HeaderTooLarge));
    }
}
