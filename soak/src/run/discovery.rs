//! Whether namespaces that lasted were polled: what the churn load made and deleted, against what came.

use super::receiver::Receiver;
use crate::{load::NamespaceEvent, record::What};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

/// A namespace has to be alive through a whole interval and so much longer: the way from the kernel to the
/// daemon's list, and from its row to here.
const GRACE: Duration = Duration::from_secs(1);
/// After its deletion a row may still be on its way.
const LATE: Duration = Duration::from_secs(2);

/// Reads the events of the load as they come.
#[derive(Debug)]
pub struct Discovery {
    path: PathBuf,
    /// Rows name a namespace by its path.
    namespaces: PathBuf,
    lines: Option<BufReader<File>>,
    partial: String,
    alive: BTreeMap<String, u64>,
    /// Deleted, and to be asked for a little later.
    deleted: Vec<(String, u64)>,
    lasts: Duration,
    /// Nothing is asked of namespaces that were alive while no daemon was there to see them.
    not_before_ns: u64,
}

impl Discovery {
    /// Of a daemon that polls each `frequency`; `events` is what the load writes of the folder `namespaces`.
    pub fn new(events: &Path, namespaces: &Path, frequency: Duration) -> Discovery {
        Discovery {
            path: events.to_owned(),
            namespaces: namespaces.to_owned(),
            lines: None,
            partial: String::new(),
            alive: BTreeMap::new(),
            deleted: Vec::new(),
            lasts: frequency + GRACE,
            not_before_ns: 0,
        }
    }

    /// A daemon began to poll at that time: what was made before counts as made then.
    pub fn begins(&mut self, time_unix_ns: u64) {
        self.not_before_ns = time_unix_ns;
    }

    /// What is known of namespaces that are gone by now.
    pub fn verdicts(&mut self, receiver: &Receiver, now_unix_ns: u64) -> Vec<What> {
        self.read();
        let late_ns = u64::try_from(LATE.as_nanos()).unwrap_or(u64::MAX);
        let (due, wait) = std::mem::take(&mut self.deleted)
            .into_iter()
            .partition(|(_, at)| at + late_ns <= now_unix_ns);
        self.deleted = wait;
        let due: Vec<(String, u64)> = due;
        due.into_iter()
            .map(|(name, _)| What::LastingNamespace {
                polled: receiver.has_seen(&self.namespaces.join(&name).to_string_lossy()),
                name,
            })
            .collect()
    }

    fn read(&mut self) {
        if self.lines.is_none() {
            self.lines = File::open(&self.path).ok().map(BufReader::new);
        }
        let Some(lines) = &mut self.lines else { return };
        while lines.read_line(&mut self.partial).is_ok_and(|bytes| bytes > 0) && self.partial.ends_with('\n')
        {
            if let Ok(line) = serde_json::from_str::<NamespaceEvent>(&self.partial) {
                let NamespaceEvent {
                    time_unix_ns,
                    name,
                    created,
                } = line;
                if created {
                    self.alive.insert(name, time_unix_ns);
                } else if let Some(made) = self.alive.remove(&name) {
                    let lived = time_unix_ns.saturating_sub(made.max(self.not_before_ns));
                    if u128::from(lived) >= self.lasts.as_nanos() {
                        self.deleted.push((name, time_unix_ns));
                    }
                }
            }
            self.partial.clear();
        }
    }
}
