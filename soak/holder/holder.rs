//! What runs in a container of `load containers`: a listener and connections over the loopback, with a
//! little traffic. Its image holds this one static file, so it has the standard library and nothing else;
//! soak/build.rs compiles it and puts it into the program.
//!
//! As the first process of a container it is deaf to signals that it does not handle, and the standard
//! library handles none: the container has SIGKILL as the signal that ends it.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// Over each connection there and back, each second.
const MESSAGE: [u8; 50] = [0x5a; 50];
/// Bytes that were received so far, for who looks into the container from outside. Made when all is there.
const BYTES: &str = "/bytes";

fn main() -> io::Result<()> {
    let sockets: usize = env::args()
        .nth(1)
        .and_then(|argument| argument.parse().ok())
        .ok_or_else(|| io::Error::other("expected a number of sockets"))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let connect = |_| io::Result::Ok((TcpStream::connect(address)?, listener.accept()?.0));
    let mut connections = (0..sockets / 2).map(connect).collect::<io::Result<Vec<_>>>()?;
    let mut received = 0;
    loop {
        // Renamed, since a reader may come at any time.
        fs::write("/bytes.new", format!("{received}\n"))?;
        fs::rename("/bytes.new", BYTES)?;
        thread::sleep(Duration::from_secs(1));
        for (client, server) in &mut connections {
            let mut buffer = MESSAGE;
            for (from, to) in [(&*client, &*server), (&*server, &*client)] {
                (&mut &*from).write_all(&MESSAGE)?;
                (&mut &*to).read_exact(&mut buffer)?;
                received += MESSAGE.len();
            }
        }
    }
}
