//! What it did so far, for a scrape: a thread that waits for requests and answers them one by one.

use super::Counters;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

/// A client that says or takes nothing for so long is left.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The head of a request of any scraper.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// After an accept that failed (out of descriptors): the next one would fail at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers GET /metrics at `listen`, `host:port`, until the process ends; returns where that is.
///
/// # Errors
/// When nobody can listen there.
pub fn serve(listen: &str, counters: Arc<Counters>) -> Result<SocketAddr, String> {
    let failed = |error: io::Error| format!("{listen}: {error}");
    let listener = TcpListener::bind(listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let answer_all = move || {
        for stream in listener.incoming() {
            match stream {
                // A client that went away needs no answer.
                Ok(stream) => drop(answer(stream, &counters)),
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    };
    let thread = thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(answer_all);
    thread.map_err(failed)?;
    Ok(address)
}

fn answer(mut stream: TcpStream, counters: &Counters) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&bytes[..length]),
        }
    }
    let (status, body) = match request.starts_with(b"GET /metrics ") {
        true => ("200 OK", text(counters)),
        false => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn text(counters: &Counters) -> String {
    let counts = counters.now();
    let mut text = String::new();
    for (name, help, value) in [
        (
            "messages",
            "Messages stored or put aside, and committed",
            counts.messages,
        ),
        ("rows", "Rows stored", counts.rows),
        ("dead_letters", "Messages put aside", counts.dead_letters),
        ("retries", "Attempts that came to nothing", counts.retries),
        (
            "foreign_keys",
            "Messages without a key of xtcp2's",
            counts.foreign_keys,
        ),
    ] {
        let name = format!("xtcp2_kafka_to_clickhouse_{name}");
        text.push_str(&format!(
            "# HELP {name} {help}\n# TYPE {name} counter\n{name}_total {value}\n"
        ));
    }
    text + "# EOF\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_scrape_is_answered_and_nothing_else() {
        let address = serve("127.0.0.1:0", Arc::default()).unwrap();
        // Says nothing and goes.
        drop(TcpStream::connect(address).unwrap());
        let answer = asked(address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains(&format!("Content-Length: {}", body.len()))
        );
        assert!(body.contains("\nxtcp2_kafka_to_clickhouse_rows_total 0\n") && body.ends_with("# EOF\n"));
        assert!(asked(address, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    }
}
