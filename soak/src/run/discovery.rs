//! Whether namespaces that lasted were polled: what the churn load made and deleted, against what came.

use super::receiver::Receiver;
use crate::{load::NamespaceEvent, record::What};
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// A namespace has to be alive through a whole interval and so much longer: the way from the kernel to the
/// daemon's list, and from its row to here.
const GRACE: Duration = Duration::from_secs(1);
/// After its deletion a row may still be on its way.
const LATE: Duration = Duration::from_secs(2);

/// Hears of each namespace of the load as it comes and goes.
#[derive(Debug)]
pub struct Discovery {
    heard: mpsc::Receiver<NamespaceEvent>,
    /// Rows name a namespace by its path.
    namespaces: PathBuf,
    alive: BTreeMap<String, u64>,
    /// Deleted, and to be asked for a little later.
    deleted: Vec<(String, u64)>,
    lasts: Duration,
    /// Nothing is asked of namespaces that were alive while no daemon was there to see them.
    not_before_ns: u64,
}

impl Discovery {
    /// Makes the pipe `events`, for the load to write what it does in the folder `namespaces`: a file would grow all the
    /// time.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen(events: &Path, namespaces: &Path) -> io::Result<Discovery> {
        mkfifo(events, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // For writing as well: it then has no end when a worker goes.
        let pipe = File::options().read(true).write(true).open(events)?;
        let (sender, heard) = mpsc::channel();
        thread::Builder::new()
            .name("namespaces".to_owned())
            .spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if let Ok(event) = serde_json::from_str(&line)
                        && sender.send(event).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Discovery {
            heard,
            namespaces: namespaces.to_owned(),
            alive: BTreeMap::new(),
            deleted: Vec::new(),
            lasts: Duration::MAX,
            not_before_ns: 0,
        })
    }

    /// A daemon that polls each `frequency` began to at that time: what was made before counts as made then.
    pub fn begins(&mut self, frequency: Duration, time_unix_ns: u64) {
        self.lasts = frequency + GRACE;
        self.not_before_ns = time_unix_ns;
    }

    /// What is known of namespaces that are gone by now.
    pub fn verdicts(&mut self, receiver: &Receiver, now_unix_ns: u64) -> Vec<What> {
        self.hear();
        let late_ns = u64::try_from(LATE.as_nanos()).unwrap_or(u64::MAX);
        let (due, wait): (Vec<_>, Vec<_>) = std::mem::take(&mut self.deleted)
            .into_iter()
            .partition(|(_, at)| at + late_ns <= now_unix_ns);
        self.deleted = wait;
        let mut verdicts = Vec::new();
        let mut count = 0;
        for (name, _) in due {
            match receiver.has_seen(&self.namespaces.join(&name).to_string_lossy()) {
                true => count += 1,
                false => verdicts.push(What::LastingNamespace { name, polled: false }),
            }
        }
        if count > 0 {
            verdicts.push(What::LastingNamespacesPolled { count });
        }
        verdicts
    }

    fn hear(&mut self) {
        for NamespaceEvent {
            time_unix_ns,
            name,
            created,
        } in self.heard.try_iter()
        {
            if created {
                self.alive.insert(name, time_unix_ns);
            } else if let Some(made) = self.alive.remove(&name) {
                let lived = time_unix_ns.saturating_sub(made.max(self.not_before_ns));
                if u128::from(lived) >= self.lasts.as_nanos() {
                    self.deleted.push((name, time_unix_ns));
                }
            }
        }
    }
}
