//! file:/path: appended to, opened again on SIGHUP.
//!
//! A message is in the file whole or not at all: when the disk is full, what was written of it is cut
//! off again, and it waits in the queue for the next try. Writes go to the page cache; fdatasync is
//! called when the file is left (SIGHUP, end of the daemon), not per message: a crash of the daemon
//! loses nothing that was delivered, a crash of the machine what the kernel had not written back
//! (30 s by its default). Regular files never report EAGAIN: a write takes as long as the disk does.

use super::{Options, backoff::Backoff, queue::Queue, tail, transmission::BYTES_PER_TURN};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

/// Rows name hosts and peers: not for everybody's eyes.
const MODE: u32 = 0o640;

/// A file that grows.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// `None`: it could not be opened again, and is tried at `retry_at`.
    file: Option<fs::File>,
    preamble: Vec<u8>,
    /// The file begins otherwise, with another header: ours comes before our first message.
    preamble_due: bool,
    tail: tail::Tail,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

impl File {
    pub fn open(path: &Path, options: &Options, queue: &mut Queue) -> io::Result<File> {
        let file = open(path, options.tail, &options.preamble)?;
        let preamble_due = !begins_with(&file, &options.preamble)?;
        queue.counters.connected = true;
        Ok(File {
            path: path.to_owned(),
            file: Some(file),
            preamble: options.preamble.clone(),
            preamble_due,
            tail: options.tail,
            backoff: Backoff::new(options.seed),
            retry_at: None,
        })
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    pub fn offered(&mut self, queue: &mut Queue, now: Instant) {
        if self.retry_at.is_none() {
            self.write(queue, now);
        }
    }

    pub fn tick(&mut self, queue: &mut Queue, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.write(queue, now);
        }
    }

    /// The file was renamed by a rotation: leaves it, and opens what is at the path now.
    pub fn reopen(&mut self, queue: &mut Queue, now: Instant) {
        self.sync();
        self.file = None;
        queue.counters.connected = false;
        self.retry_at = None;
        self.write(queue, now);
    }

    pub fn sync(&mut self) {
        if let Some(file) = &self.file
            && let Err(error) = file.sync_data()
        {
            log::warn!("output file:{}: fdatasync: {error}", self.path.display());
        }
    }

    fn write(&mut self, queue: &mut Queue, now: Instant) {
        match self.try_write(queue, now) {
            Ok(()) => {
                if !self.backoff.is_reset() {
                    log::info!("output file:{}: delivering again", self.path.display());
                    self.backoff.reset();
                }
            }
            Err(error) => {
                queue.counters.errors += 1;
                queue.counters.retried += u64::from(!queue.is_empty());
                let first = self.backoff.is_reset();
                let wait = self.backoff.next_wait();
                if first {
                    let path = self.path.display();
                    log::warn!("output file:{path}: {error}; next try in {wait:?}");
                }
                self.retry_at = Some(now + wait);
            }
        }
    }

    fn try_write(&mut self, queue: &mut Queue, now: Instant) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = open(&self.path, self.tail, &self.preamble)?;
                self.preamble_due = !begins_with(&file, &self.preamble)?;
                let file = none.insert(file);
                queue.counters.connected = true;
                queue.counters.reconnects += 1;
                file
            }
        };
        let mut budget = BYTES_PER_TURN;
        while let Some(message) = queue.front() {
            if budget == 0 {
                self.retry_at = Some(now);
                break;
            }
            budget = budget.saturating_sub(message.bytes.len().max(1));
            append(file, &self.preamble, self.preamble_due, &message.bytes)?;
            self.preamble_due = false;
            queue.front_delivered();
        }
        Ok(())
    }
}

/// Whether a file is empty or begins with `preamble`.
fn begins_with(file: &fs::File, preamble: &[u8]) -> io::Result<bool> {
    let mut start = vec![0; preamble.len()];
    if preamble.is_empty() || file.metadata()?.len() == 0 {
        return Ok(true);
    }
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => Ok(start == preamble),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Appends all of a message, or nothing; after the preamble when that is due or the file is empty,
/// which it also is again after a rotation that copies and truncates.
fn append(file: &mut fs::File, preamble: &[u8], preamble_due: bool, message: &[u8]) -> io::Result<()> {
    let start = file.metadata()?.len();
    let preamble = if preamble_due || start == 0 { preamble } else { &[] };
    let written = file.write_all(preamble).and_then(|()| file.write_all(message));
    written.map_err(|error| {
        let ours_bytes_max = (preamble.len() + message.len()) as u64;
        match file.metadata() {
            // What is longer than our own write is not ours to cut.
            Ok(now) if now.is_file() && now.len() > start && now.len() - start <= ours_bytes_max => {
                match file.set_len(start) {
                    Ok(()) => error,
                    Err(cut) => io::Error::new(error.kind(), format!("{error}; cutting it off: {cut}")),
                }
            }
            _ => error,
        }
    })
}

fn open(path: &Path, tail: tail::Tail, preamble: &[u8]) -> io::Result<fs::File> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        // A FIFO without a reader fails instead of stopping the daemon; regular files do not care.
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        tail::repair(&mut file, path, tail, preamble)?;
    } else if !kind.is_char_device() {
        let what = if kind.is_fifo() {
            "a FIFO"
        } else {
            "another kind of file"
        };
        let text = format!("expected a regular file or a character device, got {what}");
        return Err(io::Error::other(text));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, Message, Options, tests::message};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn line(text: &str) -> Message {
        Message {
            identity: Identity {
                instance_id: 1,
                envelope_sequence: 1,
                part: 0,
            },
            poll_sequence: 1,
            first_record_counter: 1,
            rows: 1,
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn csv() -> Options {
        Options {
            preamble: b"header\n".to_vec(),
            tail: tail::Tail::Lines(b""),
            ..Options::default()
        }
    }

    #[test]
    fn rotation_by_rename_continues_in_a_new_file_with_its_own_header() {
        let dir = tempfile::tempdir().unwrap();
        let (path, rotated) = (dir.path().join("rows"), dir.path().join("rows.1"));
        let (mut queue, now) = (Queue::new(1000), Instant::now());
        let mut file = File::open(&path, &csv(), &mut queue).unwrap();
        for (i, text) in ["a\n", "b\n", "c\n"].into_iter().enumerate() {
            if i == 1 {
                fs::rename(&path, &rotated).unwrap();
            }
            if i == 2 {
                file.reopen(&mut queue, now);
            }
            queue.push(vec![line(text)]);
            file.offered(&mut queue, now);
        }
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "header\na\nb\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "header\nc\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7137, 0);
        assert_eq!(queue.counters.delivered.messages, 3);
        assert_eq!(queue.counters.reconnects, 1);
    }

    #[test]
    fn a_restart_cuts_the_torn_line_and_repeats_no_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        fs::write(&path, "header\na\nhalf a li").unwrap();
        let mut queue = Queue::new(1000);
        let mut file = File::open(&path, &csv(), &mut queue).unwrap();
        queue.push(vec![line("b\n")]);
        file.offered(&mut queue, Instant::now());
        assert_eq!(fs::read_to_string(&path).unwrap(), "header\na\nb\n");
    }

    #[test]
    fn a_file_with_another_header_gets_ours_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        fs::write(&path, "other header\na\n").unwrap();
        let (mut queue, now) = (Queue::new(1000), Instant::now());
        let mut file = File::open(&path, &csv(), &mut queue).unwrap();
        for text in ["b\n", "c\n"] {
            queue.push(vec![line(text)]);
            file.offered(&mut queue, now);
        }
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "other header\na\nheader\nb\nc\n"
        );
    }

    #[test]
    fn a_full_disk_keeps_the_message_and_the_bound() {
        let (mut queue, now) = (Queue::new(100), Instant::now());
        let mut file = File::open(Path::new("/dev/full"), &Options::default(), &mut queue).unwrap();
        queue.push(vec![message(0, 60)]);
        file.offered(&mut queue, now);
        assert_eq!(queue.queued().bytes, 60);
        let first_retry = file.deadline().unwrap();
        file.tick(&mut queue, first_retry);
        assert!(file.deadline().unwrap() > first_retry);
        queue.push(vec![message(1, 60)]);
        file.offered(&mut queue, now);
        assert_eq!((queue.counters.errors, queue.counters.retried), (2, 2));
        assert_eq!(queue.counters.dropped_total().messages, 1);
    }

    /// Cut in mid-message by a disk that really is full: a tmpfs in a mount namespace of this thread.
    #[test]
    fn what_was_written_before_the_disk_was_full_is_cut_off() {
        use nix::{mount, mount::MsFlags, sched, sched::CloneFlags};
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = sched::unshare(CloneFlags::CLONE_NEWNS) {
            eprintln!("skipped: unshare a mount namespace: {error}");
            return;
        }
        let none = None::<&str>;
        mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let size = Some("size=64k");
        mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), size).unwrap();
        let (path, filler) = (dir.path().join("rows"), dir.path().join("filler"));
        fs::write(&filler, [0; 40_000]).unwrap();
        let mut queue = Queue::new(100_000);
        let mut file = File::open(&path, &Options::default(), &mut queue).unwrap();
        for sequence in 0..2 {
            queue.push(vec![message(sequence, 15_000)]);
            file.offered(&mut queue, Instant::now());
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 15_000, "no half message");
        assert_eq!(queue.queued().bytes, 15_000);
        fs::remove_file(&filler).unwrap();
        let due = file.deadline().unwrap();
        file.tick(&mut queue, due);
        let both = [message(0, 15_000).bytes, message(1, 15_000).bytes].concat();
        assert!(fs::read(&path).unwrap() == both);
        assert_eq!((queue.counters.errors, queue.counters.retried), (1, 1));
        drop(file);
        mount::umount(dir.path()).unwrap();
    }

    #[test]
    fn a_fifo_is_refused_instead_of_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = File::open(&path, &Options::default(), &mut Queue::new(1)).unwrap_err();
        assert!(error.to_string().contains("FIFO"), "{error}");
    }
}
