//! Requests to the admin HTTP server.

use crate::{Damage, damaged};
use xtcp2::admin::request::{Parsed, parse_request};

const VALID: &[u8] =
    b"GET /debug/pprof/profile?seconds=3&hz=10 HTTP/1.1\r\nHost: a:9088\r\nConnection: keep-alive\r\n\
    Accept: */*\r\nContent-Length: 0\r\n\r\nGET /next";

fn parse(bytes: &[u8]) {
    let Parsed::Complete(request, length) = parse_request(bytes) else {
        return;
    };
    assert!(request.path.starts_with('/'), "{request:?}");
    assert!(!request.path.contains(['\r', '\n', '?']), "{request:?}");
    let _ = request.parameter("seconds");
    // What comes behind it is the next request's.
    assert_eq!(parse_request(&bytes[..length]), Parsed::Complete(request, length));
    assert_eq!(parse_request(&bytes[..length - 1]), Parsed::Partial);
}

#[test]
fn any_request() {
    target!().for_each(parse);
}

#[test]
fn request_damaged() {
    assert!(matches!(parse_request(VALID), Parsed::Complete(..)));
    target!()
        .with_type::<Damage>()
        .for_each(|damage| parse(&damaged(VALID, damage)));
}
