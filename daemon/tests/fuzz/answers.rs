//! Answers of HTTP receivers, as their bytes arrive.

use xtcp2::output::http_response::{HEAD_BYTES_MAX, Response};

const VALID: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nRetry-After: 3\r\n\r\n\
    4\r\nabcd\r\n0\r\nx: y\r\n\r\n";

#[test]
fn any_answer_in_any_pieces() {
    target!()
        .with_type::<(Vec<(u16, u8)>, Vec<u8>, bool)>()
        .for_each(|(overwrite, bytes, is_damaged)| {
            let damaged = crate::damaged(VALID, &(overwrite.clone(), None));
            let answer = if *is_damaged { &damaged } else { bytes };
            let mut reader = Response::default();
            for piece in answer.chunks(7) {
                match reader.feed(piece) {
                    Ok(Some(answer)) => return assert!(answer.status >= 200 || answer.status < 100),
                    Ok(None) => assert!(reader.unread_bytes() < HEAD_BYTES_MAX),
                    Err(error) => return assert!(!error.contains('\n')),
                }
            }
        });
}
