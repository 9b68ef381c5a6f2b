//! Reconciliations in the middle of a run: this program again, so that sampling goes on meanwhile.

use crate::record::What;
use serde::Deserialize;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Of its report: what the event takes.
#[derive(Debug, Deserialize)]
struct Report {
    total: Total,
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    /// In hexadecimal digits.
    instance_id: String,
    produced: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Total {
    produced: u64,
    stored: u64,
    missing: u64,
    admitted: u64,
    double: u64,
    /// Instances of which nobody knows what they produced.
    instances_unknown: u64,
}

/// Compares what was produced with the table.
#[derive(Debug)]
pub struct Reconciler {
    flags: Vec<String>,
    report: PathBuf,
    /// What they say besides: in an outage of the database, that it does not answer.
    log: PathBuf,
    child: Option<Child>,
}

impl Reconciler {
    /// Of the table at `clickhouse`, by the journal of `spool`; reports and log go to `folder`.
    pub fn new(clickhouse: &str, spool: &Path, folder: &Path) -> Reconciler {
        let flag = |name: &str, value: String| [name.to_owned(), value];
        let mut flags = vec!["reconcile".to_owned(), "--json".to_owned()];
        flags.extend(flag("--clickhouse", clickhouse.to_owned()));
        flags.extend(flag("--spool-dir", spool.display().to_string()));
        Reconciler {
            flags,
            report: folder.join("reconcile.json"),
            log: folder.join("reconcile.log"),
            child: None,
        }
    }

    /// Begins one, unless one is under way. `more` are flags besides.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin(&mut self, more: &[&str]) -> Result<(), String> {
        if self.child.is_some() {
            return Ok(());
        }
        let failed = |error: std::io::Error| format!("reconcile: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let out = File::create(&self.report).map_err(failed)?;
        let mut log = File::options();
        let log = log.create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(&self.flags).args(more);
        command.stdin(Stdio::null()).stdout(out).stderr(log);
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// What one found that has ended by now. None without an answer of the database, or when it is not known what an
    /// instance produced.
    pub fn finished(&mut self) -> Option<Found> {
        let status = self.child.as_mut()?.try_wait();
        if matches!(status, Ok(None)) {
            return None;
        }
        self.child = None;
        let text = fs::read_to_string(&self.report).ok()?;
        let report: Report = serde_json::from_str(&text).ok()?;
        (report.total.instances_unknown == 0).then_some(Found(report))
    }

    /// Whether one is under way.
    pub fn is_under_way(&self) -> bool {
        self.child.is_some()
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a reconciliation says.
#[derive(Debug)]
pub struct Found(Report);

impl Found {
    /// As an event of the run. Of the last daemon, at the end, an instance and the rows that it is known to have made are
    /// given, whatever its journal says.
    pub fn event(&self, last: Option<(u64, u64)>) -> What {
        let total = &self.0.total;
        // Against what that instance is known to have produced: the sum would hide its tail behind the others.
        let unknown = last.map_or(0, |(instance_id, rows_made)| {
            rows_made.saturating_sub(self.produced_by(instance_id))
        });
        What::Reconciled {
            produced: total.produced + unknown,
            stored: total.stored,
            missing: total.missing + unknown,
            admitted: total.admitted,
            double: total.double,
            last: last.is_some(),
        }
    }

    /// Nothing, if neither journal nor table knows it.
    fn produced_by(&self, instance_id: u64) -> u64 {
        let is_it = |instance: &&Instance| u64::from_str_radix(&instance.instance_id, 16) == Ok(instance_id);
        let found = self.0.instances.iter().find(is_it);
        found.and_then(|instance| instance.produced).unwrap_or(0)
    }

    /// Rows in the table, each counted once.
    pub fn stored(&self) -> u64 {
        self.0.total.stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_the_last_daemon_never_wrote_down_are_missing_however_many_others_did() {
        let report = r#"{
            "total": {"produced": 1050, "stored": 1050, "missing": 0, "admitted": 0, "double": 0, "instances_unknown": 0},
            "instances": [
                {"instance_id": "00000000000000ff", "produced": 1000},
                {"instance_id": "0000000000000100", "produced": 50}
            ]
        }"#;
        let found = Found(serde_json::from_str(report).unwrap());
        let missing = |last| match found.event(last) {
            What::Reconciled {
                produced, missing, ..
            } => (produced, missing),
            other => panic!("expected a reconciliation, got {other:?}"),
        };
        assert_eq!(missing(Some((0x100, 80))), (1080, 30));
        assert_eq!(missing(Some((0x100, 50))), (1050, 0));
        assert_eq!(missing(Some((0x101, 7))), (1057, 7), "nothing is known of it");
        assert_eq!(missing(None), (1050, 0));
    }
}
