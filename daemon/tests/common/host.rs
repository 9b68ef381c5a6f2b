//! The host that the program finds: the sandbox's namespaces, and sockets in them.

use std::{
    net::{TcpListener, TcpStream},
    process::Command,
};

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {why}");
}

/// Connections of this process to itself.
pub struct Sockets {
    _listener: TcpListener,
    _pairs: Vec<(TcpStream, TcpStream)>,
}

impl Sockets {
    /// One that listens, and two for each of `pairs` connections, in the namespace of this thread.
    pub fn open(pairs: usize) -> Sockets {
        ip("link set lo up");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pair = |_| {
            let client = TcpStream::connect(address).unwrap();
            (client, listener.accept().unwrap().0)
        };
        Sockets {
            _pairs: (0..pairs).map(pair).collect(),
            _listener: listener,
        }
    }
}
