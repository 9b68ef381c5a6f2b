//! Receives the daemon's rows where no database does: a socket, and a thread that reads it. So every row
//! of a run is looked at: whether one is missing or double, and of which namespace it is.

use crate::record::What;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, Read},
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use xtcp2::record::{Row, Value, index_of, rows_of};

/// Field numbers of the wire contract.
const NETNS: u32 = 30;
const RECORD_COUNTER: u32 = 60;
const INSTANCE_ID: u32 = 70;

/// The daemon's largest envelope, and some.
const ENVELOPE_BYTES_MAX: u64 = 32 << 20;
/// Names of deleted namespaces that are remembered: they are asked for when their deletion is known, a
/// second or two later.
const NAMES_MAX: usize = 1 << 16;
/// Between looks at whether something is on its way.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What arrived of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// Different rows.
    pub rows: u64,
    /// Highest record_counter.
    pub last: u64,
    /// Rows that were there before.
    pub double: u64,
}

impl Instance {
    /// Rows between the first and the last that never came.
    pub fn missing(&self) -> u64 {
        self.last - self.rows
    }
}

#[derive(Debug, Default)]
struct State {
    instances: BTreeMap<u64, Instance>,
    names: BTreeSet<String>,
    names_by_age: VecDeque<String>,
    malformed: u64,
    /// A daemon is connected, or what it sent has not been read to its end.
    is_open: bool,
}

/// The socket and what came through it.
#[derive(Debug)]
pub struct Receiver {
    state: Arc<Mutex<State>>,
}

impl Receiver {
    /// Listens at `path`, in a thread that lives as long as the program.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(path: &Path) -> io::Result<Receiver> {
        let listener = UnixListener::bind(path)?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || {
                for mut stream in listener.incoming().map_while(Result::ok) {
                    lock(&shared).is_open = true;
                    // A daemon that was killed in the middle of an envelope: what came whole counts.
                    let _ = read_all(&mut stream, &shared);
                    lock(&shared).is_open = false;
                }
            })?;
        Ok(Receiver { state })
    }

    /// Whether a row of that namespace ever came.
    pub fn has_seen(&self, name: &str) -> bool {
        lock(&self.state).names.contains(name)
    }

    /// Waits until the daemon, which has ended, has nothing more on its way; no longer than `patience`.
    pub fn wait_for_end(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while lock(&self.state).is_open && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What it comes to: nothing is missing if of each instance all rows came, and of the last one, `instance_id`, as
    /// many as it said that it made. Of one before it the last rows may be missing unseen: so scenarios that end one by
    /// order may not ask.
    pub fn reconciled(&self, instance_id: u64, rows_made: u64) -> What {
        let state = lock(&self.state);
        let sum = |of: &dyn Fn(&Instance) -> u64| state.instances.values().map(of).sum::<u64>();
        let last = state.instances.get(&instance_id).copied().unwrap_or_default();
        let tail = rows_made.saturating_sub(last.last);
        let stored = sum(&|instance| instance.rows);
        let missing = sum(&Instance::missing) + tail;
        What::Reconciled {
            produced: stored + missing,
            stored,
            missing,
            admitted: 0,
            double: sum(&|instance| instance.double) + state.malformed,
            last: true,
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_all(stream: &mut impl Read, state: &Mutex<State>) -> io::Result<()> {
    let mut stream = io::BufReader::with_capacity(256 << 10, stream);
    let mut envelope = Vec::new();
    while let Some(length) = read_length(&mut stream)? {
        if length > ENVELOPE_BYTES_MAX {
            lock(state).malformed += 1;
            return Ok(());
        }
        envelope.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        stream.read_exact(&mut envelope)?;
        lock(state).envelope(&envelope);
    }
    Ok(())
}

/// The varint before an envelope; `None` at the end of the stream.
fn read_length(stream: &mut impl Read) -> io::Result<Option<u64>> {
    let mut length = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        match stream.read_exact(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && shift == 0 => return Ok(None),
            result => result?,
        }
        length |= u64::from(byte[0] & 0x7F) << shift;
        if byte[0] < 0x80 {
            return Ok(Some(length));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

impl State {
    fn envelope(&mut self, envelope: &[u8]) {
        for row in rows_of(envelope) {
            match row.ok().and_then(|bytes| Row::decode(bytes).ok()) {
                Some(row) => self.row(&row),
                None => self.malformed += 1,
            }
        }
    }

    fn row(&mut self, row: &Row<'_>) {
        let (instance_id, counter) = (row.uint(INSTANCE_ID), row.uint(RECORD_COUNTER));
        let instance = self.instances.entry(instance_id).or_default();
        // The stream keeps order, so a counter that does not grow is a copy; one that jumps leaves a gap,
        // which nothing fills later.
        if counter > instance.last {
            instance.rows += 1;
            instance.last = counter;
        } else {
            instance.double += 1;
        }
        let name = index_of(NETNS).and_then(|index| row.get(index));
        if let Some(Value::Text(name)) = name
            && !self.names.contains(name)
        {
            self.names.insert(name.to_owned());
            self.names_by_age.push_back(name.to_owned());
            if self.names_by_age.len() > NAMES_MAX
                && let Some(oldest) = self.names_by_age.pop_front()
            {
                self.names.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::net::UnixStream};

    fn put(out: &mut Vec<u8>, number: u64, value: u64) {
        varint(out, number << 3);
        varint(out, value);
    }

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(u8::try_from(value & 0x7F).unwrap() | 0x80);
            value >>= 7;
        }
        out.push(u8::try_from(value).unwrap());
    }

    fn envelope(rows: &[(u64, u64, u64, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (instance, poll, counter, netns) in rows {
            let mut row = Vec::new();
            varint(&mut row, u64::from(NETNS) << 3 | 2);
            varint(&mut row, netns.len() as u64);
            row.extend_from_slice(netns.as_bytes());
            put(&mut row, RECORD_COUNTER.into(), *counter);
            put(&mut row, INSTANCE_ID.into(), *instance);
            put(&mut row, 71, *poll);
            varint(&mut body, 10 << 3 | 2);
            varint(&mut body, row.len() as u64);
            body.extend(row);
        }
        let mut out = Vec::new();
        varint(&mut out, body.len() as u64);
        out.extend(body);
        out
    }

    #[test]
    fn gaps_and_copies_are_seen_on_every_connection() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let receiver = Receiver::listen(&path).unwrap();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .write_all(&envelope(&[(7, 1, 1, "/a"), (7, 1, 2, "/b")]))
            .unwrap();
        stream
            .write_all(&envelope(&[(7, 2, 3, "/a"), (7, 2, 5, "/c")]))
            .unwrap();
        stream.write_all(&envelope(&[(7, 2, 5, "/c")])).unwrap();
        let torn = envelope(&[(7, 3, 6, "/d")]);
        stream.write_all(&torn[..torn.len() - 1]).unwrap();
        drop(stream);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&envelope(&[(8, 1, 1, "/a")])).unwrap();
        drop(stream);
        for _ in 0..500 {
            if lock(&receiver.state).instances.contains_key(&8) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let first = lock(&receiver.state).instances[&7];
        assert_eq!((first.rows, first.missing(), first.double), (4, 1, 1));
        assert!(
            receiver.has_seen("/c") && !receiver.has_seen("/d"),
            "its envelope was torn"
        );
        let What::Reconciled {
            produced,
            stored,
            missing,
            double,
            ..
        } = receiver.reconciled(8, 3)
        else {
            panic!("expected a reconciliation");
        };
        assert_eq!(
            (produced, stored, missing, double),
            (8, 5, 3, 1),
            "two of the last instance never came"
        );
    }
}
