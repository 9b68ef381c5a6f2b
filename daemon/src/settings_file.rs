//! Small files that settings are in: read within bounds of bytes and time, whatever kind of file is there.

use crate::setting_error::SettingError;
use nix::{
    errno::Errno,
    libc::{O_NOCTTY, O_NONBLOCK},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    fmt,
    fs::File,
    io::{self, ErrorKind, Read},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    time::{Duration, Instant},
};

/// How long a start waits for what is written to a pipe, all of it. It hears no signal meanwhile.
const PIPE_TIMEOUT: Duration = Duration::from_secs(5);

/// When a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before there is a loop that could stand: pipes are waited for, as `<(...)` of a shell is one.
    Start,
    /// In a running daemon, which does not wait: regular files only. A pipe is empty the second time.
    Running,
}

/// Why there is no content.
#[derive(Debug)]
pub enum Unread {
    /// What the system says; or it is no UTF-8.
    Io(io::Error),
    /// It has more bytes than that.
    TooLarge(u64),
    /// A pipe that has no end, or no writer, for too long.
    Silent,
    /// A pipe whose writer wrote nothing.
    Empty,
    /// No regular file, where it has to be one.
    Kind,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Io(error) => error.fmt(f),
            Unread::TooLarge(bytes_max) => write!(f, "expected at most {bytes_max} bytes, got more"),
            Unread::Silent => write!(
                f,
                "expected a file, or a pipe that is written and closed within {PIPE_TIMEOUT:?}"
            ),
            Unread::Empty => f.write_str("expected a pipe with content, got an empty one"),
            Unread::Kind => f.write_str("expected a regular file in a running daemon, got another kind"),
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Io(error)
    }
}

impl From<Unread> for SettingError {
    fn from(unread: Unread) -> SettingError {
        match unread {
            Unread::Io(error) => error.into(),
            // Who writes it may do so another time.
            Unread::Silent | Unread::Empty => SettingError::system(unread),
            Unread::TooLarge(_) | Unread::Kind => SettingError::never(unread),
        }
    }
}

/// Reads a file of up to `bytes_max` bytes. Looks no further than the byte behind them, as there are files
/// without an end.
///
/// # Errors
/// When it cannot be read, or is not what it has to be; without its name.
pub fn read(path: &Path, bytes_max: u64, when: When) -> Result<String, Unread> {
    let file = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK | O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if when == When::Running && !kind.is_file() {
        return Err(Unread::Kind);
    }
    let until = Instant::now() + PIPE_TIMEOUT;
    let mut bytes = Vec::new();
    let mut bounded = (&file).take(bytes_max.saturating_add(1));
    loop {
        // Before the first read too: a FIFO that has no writer yet would be at its end.
        if !kind.is_file() {
            wait(&file, until)?;
        }
        match bounded.read_to_end(&mut bytes) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    if bytes.len() as u64 > bytes_max {
        return Err(Unread::TooLarge(bytes_max));
    }
    if bytes.is_empty() && kind.is_fifo() {
        return Err(Unread::Empty);
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "expected UTF-8, got other bytes").into())
}

fn wait(file: &File, until: Instant) -> Result<(), Unread> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(Unread::Silent),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::{fs, io::Write, os::fd::AsRawFd, path::PathBuf, thread};

    fn fifo() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_without_an_end_is_read_up_to_the_bound() {
        let path = Path::new("/dev/zero");
        assert!(matches!(
            read(path, 4_096, When::Start),
            Err(Unread::TooLarge(4_096))
        ));
        assert_eq!(read(Path::new("/dev/null"), 4_096, When::Start).unwrap(), "");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read(&path, 4, When::Running).unwrap(), "four");
        assert!(matches!(read(&path, 3, When::Running), Err(Unread::TooLarge(3))));
    }

    #[test]
    fn a_pipe_is_waited_for_at_the_start_and_not_for_ever() {
        let (_folder, path) = fifo();
        let writer = thread::spawn({
            let path = path.clone();
            move || {
                // It waits for the reader, which waits for it.
                let mut pipe = File::options().write(true).open(path).unwrap();
                for part in ["a", "b", "c"] {
                    thread::sleep(Duration::from_millis(20));
                    pipe.write_all(part.as_bytes()).unwrap();
                }
            }
        });
        assert_eq!(read(&path, 4_096, When::Start).unwrap(), "abc");
        writer.join().unwrap();

        // As `<(...)` of a shell: it was written and closed before anybody looked.
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x: y\n").unwrap();
        drop(writer);
        let substituted = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        assert_eq!(read(&substituted, 4_096, When::Start).unwrap(), "x: y\n");
        assert!(matches!(
            read(&substituted, 4_096, When::Start),
            Err(Unread::Empty)
        ));

        let begun = Instant::now();
        let error = read(&path, 4_096, When::Start).unwrap_err();
        assert!(error.to_string().contains("within 5s"), "{error}");
        assert!(begun.elapsed() < 3 * PIPE_TIMEOUT);
    }

    #[test]
    fn a_running_daemon_does_not_wait() {
        let (_folder, path) = fifo();
        let begun = Instant::now();
        assert!(matches!(read(&path, 4_096, When::Running), Err(Unread::Kind)));
        assert!(begun.elapsed() < PIPE_TIMEOUT);
    }
}
