//! The log: one line an event on stderr, in the levels of journald; the same message is not
//! repeated a thousand times.

use crate::{config::LogFormat, output};
use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::sys::{
    socket::{MsgFlags, send},
    stat::fstat,
};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileTypeExt,
    },
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// So many lines of one place in the code are let through in a [`WINDOW`].
const LINES_MAX: u32 = 5;
/// After it, a place that was held back says how much it kept back, and may speak again.
const WINDOW: Duration = Duration::from_secs(60);

/// Target of lines whose number their place in the code bounds itself: they are not held back.
pub const BOUNDED: &str = "xtcp2::bounded";

struct Logger {
    is_json: AtomicBool,
    /// Whether stderr is the journal.
    is_journal: bool,
    means: Means,
    backlog: Mutex<Backlog>,
    sites: Mutex<HashMap<(&'static str, u32), Site>>,
}

/// How much a place in the code said in its window.
struct Site {
    since: Instant,
    lines: u32,
}

/// How stderr is written, so that a reader that stops, as a container runtime or journald may, does not stop
/// the polls.
enum Means {
    /// A pipe, opened again: its writes do not block.
    Pipe(File),
    /// A shared socket: MSG_DONTWAIT.
    Socket(File),
    /// A file, or what cannot be opened again: plain writes.
    Plain,
}

/// What stderr did not take.
#[derive(Default)]
struct Backlog {
    /// The rest of a line that it took a part of. It goes before any other.
    rest: Vec<u8>,
    /// Lines that no line tells of yet.
    lost: u64,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts logging. A second call changes level and format.
pub fn start(level: LevelFilter, format: LogFormat) {
    let logger = LOGGER.get_or_init(|| Logger {
        is_json: AtomicBool::default(),
        is_journal: is_journal(),
        means: Means::of_stderr(),
        backlog: Mutex::default(),
        sites: Mutex::default(),
    });
    logger.is_json.store(format == LogFormat::Json, Ordering::Relaxed);
    // Fails when there is a logger already, which then is this one.
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

/// systemd names device and inode of the journal in the environment (systemd.exec(5)), which is also there where stderr goes
/// elsewhere.
fn is_journal() -> bool {
    fstat(io::stderr()).is_ok_and(|stderr| {
        let name = format!("{}:{}", stderr.st_dev, stderr.st_ino);
        std::env::var_os("JOURNAL_STREAM").is_some_and(|journal| *journal == *name)
    })
}

impl Means {
    fn of_stderr() -> Means {
        let stderr = io::stderr();
        let Ok(shared) = stderr.as_fd().try_clone_to_owned().map(File::from) else {
            return Means::Plain;
        };
        let Ok(kind) = shared.metadata().map(|metadata| metadata.file_type()) else {
            return Means::Plain;
        };
        if kind.is_socket() {
            return Means::Socket(shared);
        }
        if kind.is_fifo() {
            return output::reopened(stderr.as_fd()).map_or(Means::Plain, Means::Pipe);
        }
        Means::Plain
    }

    /// How much was taken.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Means::Pipe(pipe) => (&*pipe).write(bytes),
            Means::Socket(socket) => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(socket.as_raw_fd(), bytes, flags)?)
            }
            Means::Plain => {
                // There is nowhere left to report that stderr is gone.
                let _ = io::stderr().write_all(bytes);
                Ok(bytes.len())
            }
        }
    }
}

impl Backlog {
    /// Writes a line behind what is left of the one before. Returns whether it was taken, or begun.
    fn write(&mut self, line: &str, means: &Means) -> bool {
        if !self.rest.is_empty() {
            let Ok(taken) = means.write(&self.rest) else {
                return false;
            };
            self.rest.drain(..taken);
            if !self.rest.is_empty() {
                return false;
            }
        }
        let Ok(taken) = means.write(line.as_bytes()) else {
            return false;
        };
        self.rest.extend_from_slice(&line.as_bytes()[taken..]);
        true
    }
}

/// The priority of syslog(3), as sd-daemon(3) wants it before a line.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

impl Logger {
    /// Whether the line may be written, and how many of its kind were not.
    fn admit(&self, record: &Record<'_>, now: Instant) -> Option<u32> {
        if record.target() == BOUNDED {
            return Some(0);
        }
        let site = (record.file_static()?, record.line()?);
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = sites.entry(site).or_insert(Site { since: now, lines: 0 });
        let mut held_back = 0;
        if now.duration_since(entry.since) >= WINDOW {
            held_back = entry.lines.saturating_sub(LINES_MAX);
            *entry = Site { since: now, lines: 0 };
        }
        entry.lines += 1;
        (entry.lines <= LINES_MAX).then_some(held_back)
    }

    fn line(&self, level: Level, message: &str, unix_time: Duration) -> String {
        match self.is_json.load(Ordering::Relaxed) {
            true => {
                let seconds = unix_time.as_secs_f64();
                let line = serde_json::json!({ "time": seconds, "level": name(level), "message": message });
                format!("{line}\n")
            }
            // A line break would start a line without a level.
            false if self.is_journal => {
                format!("<{}>{}\n", priority(level), message.replace('\n', " "))
            }
            false => format!("xtcp2: {}: {}\n", name(level), message.replace('\n', " ")),
        }
    }

    /// Writes a line, after one that tells of those lost before it.
    fn write(&self, line: &str, unix_time: Duration) {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = backlog.lost;
        if lost > 0 {
            let message = format!("{lost} lines of the log were lost: nobody read them");
            if !backlog.write(&self.line(Level::Warn, &message, unix_time), &self.means) {
                backlog.lost += 1;
                return;
            }
            backlog.lost = 0;
        }
        if !backlog.write(line, &self.means) {
            backlog.lost += 1;
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let held_back = match self.admit(record, Instant::now()) {
            Some(held_back) => held_back,
            None => return,
        };
        let mut message = record.args().to_string();
        if held_back > 0 {
            message.push_str(&format!(
                " (and {held_back} more of this kind in the last minute)"
            ));
        }
        let unix_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = self.line(record.level(), &message, unix_time);
        self.write(&line, unix_time);
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{setsockopt, sockopt::SndBuf};
    use std::{
        io::{BufRead, BufReader},
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    fn logger(format: LogFormat, is_journal: bool) -> Logger {
        Logger {
            is_json: AtomicBool::new(format == LogFormat::Json),
            is_journal,
            means: Means::Plain,
            backlog: Mutex::default(),
            sites: Mutex::default(),
        }
    }

    #[test]
    fn each_format_keeps_a_message_on_one_line() {
        let line = |format, is_journal| {
            logger(format, is_journal).line(Level::Warn, "a\n\"b\"", Duration::from_millis(1500))
        };
        assert_eq!(line(LogFormat::Text, true), "<4>a \"b\"\n");
        assert_eq!(line(LogFormat::Text, false), "xtcp2: warning: a \"b\"\n");
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, true)).unwrap();
        assert_eq!(json["message"], "a\n\"b\"");
        assert_eq!((&json["time"], &json["level"]), (&1.5.into(), &"warning".into()));
    }

    #[test]
    fn a_line_that_a_socket_took_a_part_of_is_ended_before_the_next() {
        let (stderr, reader) = UnixStream::pair().unwrap();
        // The kernel's least, which is less than the line.
        setsockopt(&stderr, SndBuf, &0).unwrap();
        let logger = Logger {
            means: Means::Socket(OwnedFd::from(stderr).into()),
            ..logger(LogFormat::Text, false)
        };
        let long = format!("{}\n", "long ".repeat(10_000));
        logger.write(&long, Duration::ZERO);
        logger.write("lost\n", Duration::ZERO);
        logger.write("lost too\n", Duration::ZERO);
        let lines = std::thread::spawn(|| BufReader::new(reader).lines().collect::<Result<Vec<_>, _>>());
        // The reader makes room little by little.
        let is_all_out = || {
            let backlog = logger.backlog.lock().unwrap();
            backlog.rest.is_empty() && backlog.lost == 0
        };
        while !is_all_out() {
            logger.write("last\n", Duration::ZERO);
        }
        drop(logger);
        let lines = lines.join().unwrap().unwrap();
        assert!(
            lines[0] == long.trim_end_matches('\n'),
            "all of it: {} bytes",
            lines[0].len()
        );
        assert!(lines[1].starts_with("xtcp2: warning: ") && lines[1].contains(" lines of the log were lost"));
        assert_eq!(lines.last().unwrap(), "last");
    }

    #[test]
    fn a_place_that_repeats_itself_is_held_back_and_says_how_much() {
        let logger = logger(LogFormat::Text, false);
        let start = Instant::now();
        let at = |line, after| {
            let record = Record::builder()
                .file_static(Some("a.rs"))
                .line(Some(line))
                .build();
            logger.admit(&record, start + after)
        };
        for _ in 0..LINES_MAX {
            assert_eq!(at(1, Duration::ZERO), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(at(1, WINDOW / 2), None);
        }
        assert_eq!(at(2, WINDOW / 2), Some(0), "another place is not concerned");
        assert_eq!(at(1, WINDOW), Some(1000));
        assert_eq!(at(1, WINDOW), Some(0));
    }

    #[test]
    fn a_place_with_a_bound_of_its_own_is_not_held_back() {
        let logger = logger(LogFormat::Text, false);
        let record = Record::builder()
            .target(BOUNDED)
            .file_static(Some("a.rs"))
            .line(Some(1))
            .build();
        let now = Instant::now();
        assert!((0..=LINES_MAX).all(|_| logger.admit(&record, now) == Some(0)));
    }
}
