//! A ClickHouse that answers as it is told, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of the URL, decoded.
    pub parameters: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn token(&self) -> &str {
        &self.parameters["insert_deduplication_token"]
    }

    pub fn query(&self) -> &str {
        &self.parameters["query"]
    }
}

pub struct Answer {
    status: u16,
    /// A whole line.
    header: String,
    body: String,
}

pub fn ok() -> Answer {
    Answer {
        status: 200,
        header: "X-ClickHouse-Query-Id: 1\r\n".to_owned(),
        body: String::new(),
    }
}

pub fn exception(code: u32, text: &str) -> Answer {
    Answer {
        status: 500,
        header: format!("X-ClickHouse-Exception-Code: {code}\r\n"),
        body: format!("Code: {code}. DB::Exception: {text}"),
    }
}

/// Of something in front of ClickHouse, or in its place.
pub fn stranger(status: u16, body: &str) -> Answer {
    Answer {
        status,
        header: String::new(),
        body: body.to_owned(),
    }
}

type Rule = Box<dyn FnMut(&Request) -> Answer + Send>;

struct Shared {
    requests: Mutex<Vec<Request>>,
    rule: Mutex<Rule>,
    ends: AtomicBool,
}

pub struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Answers what `rule` says.
    pub fn start(rule: impl FnMut(&Request) -> Answer + Send + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            rule: Mutex::new(Box::new(rule)),
            ends: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if of_thread.ends.load(Ordering::Acquire) {
                    break;
                }
                let shared = Arc::clone(&of_thread);
                connections.push(thread::spawn(move || serve(&stream.unwrap(), &shared)));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Stub {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/xtcp.xtcp_flat_records", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn set_rule(&self, rule: impl FnMut(&Request) -> Answer + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Waits until there were so many requests.
    pub fn wait_for(&self, requests: usize) {
        let start = Instant::now();
        while self.requests().len() < requests {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "expected {requests} requests, got {}",
                self.requests().len()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the stub failed");
        }
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    // A connection that is kept open must not keep the stub.
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut reader = BufReader::new(stream);
    while !shared.ends.load(Ordering::Acquire) {
        match reader.fill_buf() {
            Ok([]) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => continue,
            Err(_) => return,
        }
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let Some(request) = read(&mut reader) else { return };
        shared.requests.lock().unwrap().push(request.clone());
        let Answer { status, header, body } = (shared.rule.lock().unwrap())(&request);
        let length = body.len();
        let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{header}\r\n{body}");
        let mut out = stream;
        if out.write_all(head.as_bytes()).is_err() {
            return;
        }
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let parameters = pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    Some(Request {
        parameters,
        headers,
        body,
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
