//! A worker: one process with a share of a load. It ends when its standard input does, whatever ended its
//! parent, and says each second what it did.

use super::{churn, containers, namespace::Home, short, sockets, trace::Marker};
use crate::record::Load;
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        time::TimeSpec,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Tells a process that it is a worker, and its share, as JSON.
pub const SHARE: &str = "XTCP2_SOAK_SHARE";
/// Sockets that one worker holds, unless a single namespace has more; the usual bound of descriptors is
/// 20,000 at the least.
pub const SOCKETS_PER_WORKER: u32 = 8_000;
/// Sockets of one namespace, which is never divided: what one process may open, less what else it needs.
pub const SOCKETS_MAX: u32 = 19_000;
/// What a worker may open, if the system lets it: [`SOCKETS_MAX`], and what else it needs.
const DESCRIPTORS: u64 = 20_000;
/// Between two reports.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A wait may not be longer: whatever is told a worker, it is not for longer than a year.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Whose it is.
    pub marker: Marker,
    /// Where namespaces are mounted.
    pub folder: PathBuf,
    /// Where namespaces that come and go are written down.
    pub events: Option<PathBuf>,
    /// Number of its first name; the next are `step` apart.
    pub first: u64,
    /// As many as there are workers.
    pub step: u64,
    /// What it has to do.
    pub work: Work,
}

/// What there is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the kinds of scenario::Load")]
pub enum Work {
    Sockets(sockets::Work),
    Churn(churn::Work),
    Containers(containers::Work),
    Short(short::Work),
}

/// A namespace came or went, as `--events` has it, a JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceEvent {
    /// Created: from then on everything was there. Deleted: until then everything was there.
    pub time_unix_ns: u64,
    /// Of its file in the folder.
    pub name: String,
    /// Or deleted.
    pub created: bool,
}

/// The share of this process, if it is a worker.
///
/// # Errors
/// When the share cannot be understood: it was not our parent that wrote it.
pub fn share() -> Result<Option<Share>, String> {
    match env::var(SHARE) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| format!("{SHARE}: {error}")),
        Err(_) => Ok(None),
    }
}

/// Does a share until standard input ends.
///
/// # Errors
/// One line. What was made is gone then.
pub fn run(share: Share) -> Result<(), String> {
    // It was started through /proc/self/exe, so that a new file of that name does not matter; its name is
    // "exe" then.
    prctl::set_name(c"soak-load").map_err(|error| format!("name of the process: {error}"))?;
    raise_descriptors()?;
    let work = share.work.clone();
    let mut worker = Worker::new(share)?;
    match work {
        Work::Sockets(work) => sockets::work(&mut worker, &work),
        Work::Churn(work) => churn::work(&mut worker, &work),
        Work::Containers(work) => containers::work(&mut worker, &work),
        Work::Short(work) => short::work(&mut worker, &work),
    }?;
    // Also what was taken away at the end counts.
    worker.report();
    Ok(())
}

/// A usual shell may open 1,024 descriptors, and as many as it likes if it asks.
fn raise_descriptors() -> Result<(), String> {
    let said = |error| format!("bound of open descriptors: {error}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(said)?;
    match soft < DESCRIPTORS.min(hard) {
        true => setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard), hard).map_err(said),
        false => Ok(()),
    }
}

/// What every kind of work needs.
#[derive(Debug)]
pub struct Worker {
    /// What it was told.
    pub share: Share,
    /// What it did.
    pub load: Load,
    /// Its own namespace.
    pub home: Home,
    events: Option<File>,
    names: u64,
    /// When the next report is due; none before everything is there.
    report_at: Option<Instant>,
}

impl Worker {
    fn new(share: Share) -> Result<Worker, String> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|error| format!("{}: {error}", path.display()))
        };
        Ok(Worker {
            events: share.events.as_deref().map(open).transpose()?,
            home: Home::here()?,
            load: Load::default(),
            names: 0,
            report_at: None,
            share,
        })
    }

    /// A name that nothing else has, nor had.
    pub fn next_name(&mut self) -> String {
        let number = self.share.first + self.share.step * self.names;
        self.names += 1;
        self.share.marker.name(number)
    }

    /// Where a namespace of such a name is mounted.
    pub fn next_path(&mut self) -> PathBuf {
        let name = self.next_name();
        self.share.folder.join(name)
    }

    /// Everything is there: says so, now and each second.
    pub fn ready(&mut self) {
        self.report();
        self.report_at = Some(Instant::now() + REPORT_EVERY);
    }

    /// Says what was done so far. That nobody listens is seen at standard input.
    fn report(&self) {
        if let Ok(line) = serde_json::to_string(&self.load) {
            let _ = writeln!(io::stdout(), "{line}");
        }
    }

    /// Something could not be done, and the load goes on.
    pub fn failed(&mut self, problem: &str) {
        self.load.errors += 1;
        eprintln!("xtcp2-soak: {problem}");
    }

    /// Waits until then, and says whether it is time to end.
    ///
    /// # Errors
    /// When the system does not let it wait.
    pub fn wait(&mut self, until: Instant) -> Result<bool, String> {
        loop {
            let now = Instant::now();
            if let Some(due) = self.report_at.filter(|due| *due <= now) {
                self.report();
                self.report_at = Some((due + REPORT_EVERY).max(now));
            }
            let next = self.report_at.map_or(until, |due| due.min(until));
            let timeout = next.saturating_duration_since(now).min(WAIT_MAX);
            if is_input_at_end(timeout)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    /// Writes down that a namespace came or goes.
    ///
    /// # Errors
    /// When it cannot be written: what was not written down would be held against the daemon.
    pub fn event(&mut self, name: String, created: bool) -> Result<(), String> {
        let Some(file) = &mut self.events else {
            return Ok(());
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = NamespaceEvent {
            time_unix_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
            name,
            created,
        };
        let mut write = || -> io::Result<()> {
            let mut line = serde_json::to_string(&event)?;
            line.push('\n');
            // One call: workers append to the same file.
            file.write_all(line.as_bytes())
        };
        write().map_err(|error| format!("events: {error}"))
    }
}

/// Whether standard input ends within that time.
fn is_input_at_end(timeout: Duration) -> Result<bool, String> {
    let input = io::stdin();
    let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    match ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None) {
        Ok(0) | Err(nix::Error::EINTR) => Ok(false),
        Ok(_) => Ok(io::stdin().read(&mut [0]).is_ok_and(|bytes| bytes == 0)),
        Err(error) => Err(format!("poll of standard input: {error}")),
    }
}
