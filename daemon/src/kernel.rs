//! The world as it is: this machine's kernel, its namespaces, its clocks.

use crate::{
    capture::{self, Direction, Recorder},
    namespaces::{self, CountFiles, Counts, Discovery, Home, SCAN_SLICE, Visit},
    netlink::receive_batch::ReceiveBatch,
    poll::{Arrival, Next, World},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{MsgFlags, recv, send},
};
use std::{
    fs::{File, Permissions},
    io::{self, BufWriter},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What is open of the namespace that is being read, and of no other.
#[derive(Debug)]
pub struct NamespaceSocket {
    netlink: OwnedFd,
    counts: Option<CountFiles>,
}

impl AsFd for NamespaceSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// Answers the poll with what the kernel says.
pub struct Kernel {
    home: Home,
    discovery: Discovery,
    recorder: Option<Recorder<BufWriter<File>>>,
    /// Name and cookie of the namespace that the datagrams to record belong to.
    recorded: (Rc<str>, u64),
}

impl Kernel {
    /// Polls from `home` what `discovery` finds, and records to `record` if it is given.
    ///
    /// # Errors
    /// When the file to record to cannot be made.
    pub fn new(home: Home, discovery: Discovery, record: Option<&Path>) -> io::Result<Kernel> {
        let recorder = match record {
            Some(path) => Some(Recorder::new(
                BufWriter::new(create_private(path)?),
                &operating_system(),
            )?),
            None => None,
        };
        Ok(Kernel {
            home,
            discovery,
            recorder,
            recorded: ("".into(), 0),
        })
    }

    /// Who is there.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Who is there, to tell it of events.
    pub fn discovery_mut(&mut self) -> &mut Discovery {
        &mut self.discovery
    }

    /// A slice of the scan of processes, between polls.
    pub fn scan(&mut self) {
        let until = Instant::now() + SCAN_SLICE;
        self.discovery.scan(Instant::now(), || Instant::now() < until);
    }

    /// Writes out what is still buffered of the recording.
    pub fn flush_recording(&mut self) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.flush()
        {
            self.stop_recording(&error);
        }
    }

    fn record(&mut self, direction: Direction, datagram: &[u8]) {
        let now_ns = self.realtime_ns().cast_unsigned();
        let netns = capture::Namespace {
            name: &self.recorded.0,
            cookie: self.recorded.1,
        };
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.datagram(now_ns, direction, netns, datagram)
        {
            self.stop_recording(&error);
        }
    }

    /// Polling goes on without the recording: what was asked for first is rows.
    fn stop_recording(&mut self, error: &io::Error) {
        log::error!("--record: {error}; the recording ends here, polling goes on");
        self.recorder = None;
    }

    fn arrival(&mut self, candidate: &namespaces::Candidate, visit: Visit) -> Arrival<NamespaceSocket> {
        if self.recorder.is_some() {
            let cookie = visit.identity.cookie.unwrap_or(0);
            self.recorded = (candidate.name().clone(), cookie);
        }
        Arrival {
            identity: visit.identity,
            name: candidate.name().clone(),
            socket_number: u64::try_from(visit.socket.as_raw_fd()).unwrap_or(0),
            socket: NamespaceSocket {
                netlink: visit.socket,
                counts: visit.counts,
            },
        }
    }
}

impl World for Kernel {
    type Socket = NamespaceSocket;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn realtime_ns(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
    }

    fn start_poll(&mut self) {
        self.discovery.start_poll();
    }

    fn next_namespace(&mut self) -> Next<NamespaceSocket> {
        match self.discovery.next(Instant::now()) {
            namespaces::Next::Done => Next::Done,
            namespaces::Next::WaitUntil(then) => Next::WaitUntil(then),
            namespaces::Next::Scan => {
                self.scan();
                Next::Again
            }
            namespaces::Next::Visit(candidate) => {
                let visit = match candidate.path() {
                    Some(path) => self.home.visit(path),
                    None => self.home.visit_own(),
                };
                match visit {
                    Ok(visit) if self.discovery.visited(&candidate, visit.identity) => {
                        Next::Namespace(self.arrival(&candidate, visit))
                    }
                    Ok(_) => Next::Again,
                    Err(error) => {
                        self.discovery.failed(candidate, &error, Instant::now());
                        Next::Again
                    }
                }
            }
        }
    }

    fn send(&mut self, socket: &NamespaceSocket, request: &[u8]) -> io::Result<()> {
        let sent = send(socket.netlink.as_raw_fd(), request, MsgFlags::empty())?;
        if sent != request.len() {
            return Err(Errno::EMSGSIZE.into());
        }
        self.record(Direction::ToKernel, request);
        Ok(())
    }

    fn receive(&mut self, socket: &NamespaceSocket, buffer: &mut [u8]) -> io::Result<usize> {
        // MSG_TRUNC: the length is that of the datagram, not of what fitted.
        let length = recv(socket.netlink.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?;
        if self.recorder.is_some() {
            self.record(Direction::ToUser, &buffer[..length.min(buffer.len())]);
        }
        Ok(length)
    }

    fn receive_batch(&mut self, socket: &NamespaceSocket, batch: &mut ReceiveBatch) -> io::Result<usize> {
        let length = batch.receive(socket.as_fd())?;
        if self.recorder.is_some() {
            for datagram in batch.datagrams().flatten() {
                self.record(Direction::ToUser, datagram);
            }
        }
        Ok(length)
    }

    fn counts(&mut self, socket: &NamespaceSocket) -> Option<Counts> {
        socket.counts.as_ref()?.counts()
    }

    fn opens(&mut self, socket: &NamespaceSocket) -> Option<u64> {
        socket.counts.as_ref()?.opens()
    }

    fn thread_cpu(&self) -> Duration {
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
            .map_or(Duration::ZERO, Duration::from)
    }
}

/// A recording holds all that the kernel sent, secrets of TCP-MD5 among it.
const RECORDING_MODE: u32 = 0o600;

/// A FIFO needs a reader that is there already; one that stops reading later stands the polls still.
fn create_private(path: &Path) -> io::Result<File> {
    let opened = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(RECORDING_MODE)
        // Without it, a FIFO that nobody reads would be waited for, deaf to signals.
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ENXIO) => {
            io::Error::other("expected a file, got a FIFO or a socket that nobody reads")
        }
        _ => error,
    })?;
    // Only to open it: a recording has no gaps.
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    if file.metadata()?.is_file() {
        // One that was there has a mode already; until it is ours to read alone, nothing is written or cut off.
        file.set_permissions(Permissions::from_mode(RECORDING_MODE))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// What uname(2) says, for a recording.
fn operating_system() -> String {
    match nix::sys::utsname::uname() {
        Ok(name) => {
            let parts = [name.sysname(), name.release(), name.machine()];
            parts.map(|part| part.to_string_lossy().into_owned()).join(" ")
        }
        Err(_) => "Linux".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_recording_is_for_its_owner_alone_wherever_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        fs::write(&path, "an older and longer one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let write = |bytes: &[u8]| io::Write::write_all(&mut create_private(&path).unwrap(), bytes).unwrap();
        for _ in 0..2 {
            write(b"new");
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            fs::remove_file(&path).unwrap();
        }
        // Others may want to write to a device, too.
        let mode = || fs::metadata("/dev/null").unwrap().permissions().mode();
        let before = mode();
        create_private(Path::new("/dev/null")).unwrap();
        assert_eq!(mode(), before);
    }
}
