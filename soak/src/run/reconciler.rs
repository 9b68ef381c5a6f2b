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
    child: Option<Child>,
}

impl Reconciler {
    /// Of the table at `clickhouse`, by the journal of `spool`; reports go to `folder`.
    pub fn new(clickhouse: &str, spool: &Path, folder: &Path) -> Reconciler {
        let flag = |name: &str, value: String| [name.to_owned(), value];
        let mut flags = vec!["reconcile".to_owned(), "--json".to_owned()];
        flags.extend(flag("--clickhouse", clickhouse.to_owned()));
        flags.extend(flag("--spool-dir", spool.display().to_string()));
        Reconciler {
            flags,
            report: folder.join("reconcile.json"),
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
        let mut command = Command::new(program);
        command.args(&self.flags).args(more);
        command.stdin(Stdio::null()).stdout(out).stderr(Stdio::inherit());
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
        (report.total.instances_unknown == 0).then_some(Found(report.total))
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

/// Totals of a reconciliation.
#[derive(Debug)]
pub struct Found(Total);

impl Found {
    /// As an event of the run; of the last daemon `rows_made` rows are known to have been made, whatever its journal
    /// says.
    pub fn event(&self, last: bool, rows_made: u64) -> What {
        let unknown = rows_made.saturating_sub(self.0.produced);
        What::Reconciled {
            produced: self.0.produced + unknown,
            stored: self.0.stored,
            missing: self.0.missing + unknown,
            admitted: self.0.admitted,
            double: self.0.double,
            last,
        }
    }

    /// Rows in the table, each counted once.
    pub fn stored(&self) -> u64 {
        self.0.stored
    }
}
