//! Which namespaces a poll would find, and whether they can be entered: each is visited once.

use super::Report;
use crate::{
    config::Config,
    namespaces::{Candidate, Discovery, FailureKind, Home, Next},
};
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long finding and visiting may take: 100,000 processes, or as many namespaces.
const VISITS_TIMEOUT: Duration = Duration::from_millis(1500);

/// What the visits showed.
#[derive(Default)]
struct Visits {
    paths: BTreeSet<PathBuf>,
    entered: u64,
    held_by_processes: u64,
    /// An example of each kind of failure, by its number.
    examples: [Option<String>; FailureKind::ALL.len()],
    timed_out: bool,
}

pub(super) fn check(config: &Config, home: &Home, report: &mut Report<'_>) {
    let mut discovery = Discovery::new(
        home.name(),
        &config.netns_dirs,
        "/proc".into(),
        config.proc_scan_every,
    );
    let visits = visit_all(&mut discovery, home);
    for folder in &config.netns_dirs {
        folder_line(folder, &visits, report);
    }
    let counters = discovery.counters();
    let scan = counters.scan;
    if config.proc_scan_every.is_zero() {
        report.ok("namespaces", "processes are not looked at (--proc-scan-every 0s)");
    } else {
        let line = format!(
            "{} held only by processes, of {} processes looked at",
            visits.held_by_processes, scan.processes
        );
        match (scan.failed, scan.processes_refused) {
            (0, 0) => report.ok("namespaces", line),
            (0, refused) => report.warn(
                "namespaces",
                format_args!(
                    "{line}; {refused} could not be looked at (needs CAP_SYS_PTRACE, in their user namespace)"
                ),
            ),
            _ => report.warn("namespaces", "/proc cannot be listed; is it mounted?"),
        }
    }
    if let Err(errno) = home.may_visit_others() {
        return report.warn(
            "namespaces",
            format_args!(
                "only the own one can be polled: {} (needs CAP_SYS_ADMIN, in the user namespace that owns the \
                 daemon's own network namespace)",
                errno.desc()
            ),
        );
    }
    report.ok(
        "namespaces",
        format_args!("{} entered, the own one included", visits.entered),
    );
    for kind in FailureKind::ALL {
        let count = counters.failed[kind as usize];
        if let (1.., Some(example)) = (count, &visits.examples[kind as usize]) {
            report.warn("namespaces", format_args!("{count} not entered, as {example}"));
        }
    }
    if visits.timed_out {
        let seconds = VISITS_TIMEOUT.as_secs_f64();
        report.warn(
            "namespaces",
            format_args!("stopped looking after {seconds} s; there are more"),
        );
    }
}

/// A poll without its dumps.
fn visit_all(discovery: &mut Discovery, home: &Home) -> Visits {
    let until = Instant::now() + VISITS_TIMEOUT;
    let mut visits = Visits::default();
    discovery.start_poll();
    loop {
        let now = Instant::now();
        match discovery.next(now) {
            Next::Done => return visits,
            _ if now >= until => {
                visits.timed_out = true;
                return visits;
            }
            Next::Scan => discovery.scan(now, || Instant::now() < until),
            Next::WaitUntil(then) => thread::sleep(then.saturating_duration_since(now)),
            Next::Visit(candidate) => visits.make(candidate, discovery, home),
        }
    }
}

impl Visits {
    fn make(&mut self, candidate: Candidate, discovery: &mut Discovery, home: &Home) {
        let path = candidate.path().map(Path::to_owned);
        let visit = match &path {
            Some(path) => home.visit(path),
            None => home.visit_own(),
        };
        match visit {
            Ok(visit) => {
                let is_first = discovery.visited(&candidate, visit.identity);
                self.entered += u64::from(is_first);
                if let Some(path) = path {
                    self.held_by_processes += u64::from(is_first && path.starts_with("/proc"));
                    self.paths.insert(path);
                }
            }
            Err(error) => {
                self.examples[error.kind as usize]
                    .get_or_insert_with(|| format!("{}: {error}", candidate.name()));
                self.paths.extend(path);
                discovery.failed(candidate, &error, Instant::now());
            }
        }
    }
}

fn folder_line(folder: &Path, visits: &Visits, report: &mut Report<'_>) {
    let shown = folder.display();
    match fs::read_dir(folder) {
        Ok(_) => {
            let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            let inside = visits
                .paths
                .iter()
                .filter(|path| path.parent() == Some(&absolute));
            report.ok("namespaces", format_args!("{shown}: {} names", inside.count()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => report.ok(
            "namespaces",
            format_args!("{shown}: does not exist; it is taken in as soon as it does"),
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => report.warn(
            "namespaces",
            format_args!("{shown}: {error}; what is in it stays unseen (needs CAP_DAC_READ_SEARCH)"),
        ),
        Err(error) => report.warn("namespaces", format_args!("{shown}: {error}; expected a folder")),
    }
}
