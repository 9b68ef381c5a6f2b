//! Everything that a run has around it, in the order in which it ends: the daemon first, then who feeds the
//! table, then the load.

use super::{
    actions::{Actions, On},
    daemon::Daemon,
    discovery::Discovery,
    event,
    loads::Loads,
    now,
    pipeline::Pipeline,
    receiver::Receiver,
    reconciler::Reconciler,
    service::{JOURNALCTL, SYSTEMCTL, Service, UNIT},
    spool_disk::SpoolDisk,
};
use crate::{
    load::trace::{self, Made, Marker, STATES},
    record::{Event, Sample, What},
    scenario::{self, Load, Scenario},
    watch::{
        Source, Watcher, scrape,
        supervisor::{Options, Supervisor},
        systemd::Unit,
    },
};
use nix::sys::signal::Signal;
use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// From the start of the daemon to its first complete poll.
const FIRST_POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// What is left of outages at the end: a broker's start, and a backlog.
const HEAL_TIMEOUT: Duration = Duration::from_secs(180);
/// An ended daemon delivers what it has within its `--shutdown-timeout`.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// What is on its way to the receiver, of a daemon that has ended, takes no longer.
const ARRIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// All of it.
pub struct Setup {
    watcher: Watcher,
    daemon: Daemon,
    metrics_address: String,
    reconciler: Option<Reconciler>,
    reconcile_every: Option<Duration>,
    next_reconcile: Duration,
    pipeline: Option<Pipeline>,
    disk: Option<SpoolDisk>,
    receiver: Option<Receiver>,
    discovery: Option<Discovery>,
    actions: Actions,
    loads: Loads,
    frequency: Duration,
    stored_rows: Option<u64>,
    /// What was seen outside of a turn.
    pending: Vec<Event>,
    /// Instance and rows of the last answer of /metrics.
    last_answer: Option<(u64, u64)>,
}

impl Setup {
    /// Starts load, pipeline and daemon, and waits until the first poll is complete, or should be. The daemon is run by this
    /// program, or, with `by_systemd`, by the unit that is installed here.
    ///
    /// # Errors
    /// When something does not start: then there is nothing to judge.
    pub fn new(
        scenario: &Scenario,
        out: &Path,
        program: &Path,
        script: &Path,
        by_systemd: bool,
    ) -> Result<Setup, String> {
        let marker = Marker::own()?;
        let runtime = Path::new(STATES).join(marker.name(0));
        trace::note(
            marker,
            &Made::Temporary {
                path: runtime.clone(),
            },
        )?;
        let namespaces = runtime.join("ns");
        fs::create_dir_all(&namespaces).map_err(|error| format!("{}: {error}", namespaces.display()))?;
        let out = fs::canonicalize(out).map_err(|error| format!("{}: {error}", out.display()))?;
        let binaries = program.parent().unwrap_or(Path::new("."));
        let pipeline = match scenario.pipeline {
            Some(_) => Some(Pipeline::up(script, &out.join("pipeline"), binaries)?),
            None => None,
        };
        let events = runtime.join("namespaces.jsonl");
        let has_churn = scenario
            .loads
            .iter()
            .any(|load| matches!(load, Load::Churn { .. }));
        // Rows of a pipeline are not seen here, but the load writes to somebody all the same.
        let discovery = match has_churn {
            true => Some(
                Discovery::listen(&events, &namespaces)
                    .map_err(|error| format!("{}: {error}", events.display()))?,
            ),
            false => None,
        };
        let loads = Loads::start(&scenario.loads, &namespaces, &events, &out)?;
        let metrics_address = free_address()?;
        let mut arguments = scenario.daemon.flags.clone();
        let flag = |name: &str, value: String| [name.to_owned(), value];
        arguments.extend(flag("--frequency", scenario.daemon.frequency.to_string()));
        arguments.extend(flag("--prom-listen", metrics_address.clone()));
        let has_containers = scenario
            .loads
            .iter()
            .any(|load| matches!(load, Load::Containers { .. }));
        let docker = if has_containers { ",/run/docker/netns" } else { "" };
        arguments.extend(flag("--netns-dirs", format!("{}{docker}", namespaces.display())));
        let (mut receiver, mut reconciler, mut disk) = (None, None, None);
        match &pipeline {
            Some(pipeline) => {
                let spool = out.join("spool");
                if scenario
                    .actions
                    .iter()
                    .any(|action| action.what == scenario::What::FillDisk)
                {
                    disk = Some(
                        SpoolDisk::mount(&spool).map_err(|error| format!("{}: {error}", spool.display()))?,
                    );
                }
                arguments.extend(flag(
                    "--dest",
                    format!("kafka:127.0.0.1:{}", pipeline.port("kafka")?),
                ));
                arguments.extend(flag("--spool-dir", spool.display().to_string()));
                let clickhouse = format!("http://127.0.0.1:{}", pipeline.port("clickhouse")?);
                reconciler = Some(Reconciler::new(&clickhouse, &spool, &out));
            }
            None => {
                // In the place of an output that discards: every row is looked at.
                let socket = runtime.join("rows.sock");
                let failed = |error| format!("{}: {error}", socket.display());
                receiver = Some(Receiver::listen(&socket).map_err(failed)?);
                // The unit has a user of its own.
                fs::set_permissions(&socket, Permissions::from_mode(0o666)).map_err(failed)?;
                arguments.extend(flag("--dest", format!("unix:{}", socket.display())));
                arguments.extend(flag("--marshal", "protobufList".to_owned()));
            }
        }
        let mut daemon = Daemon::new(program.to_owned(), arguments.clone());
        let source = match by_systemd {
            true => Source::Unit(start_unit(&mut daemon, &out)?),
            false => Source::Supervisor(start_supervised(program, arguments, &out, marker)?),
        };
        let mut setup = Setup {
            watcher: Watcher::open(source, &metrics_address),
            daemon,
            metrics_address,
            reconciler,
            reconcile_every: scenario
                .pipeline
                .as_ref()
                .map(|pipeline| pipeline.reconcile_every.0),
            next_reconcile: scenario
                .pipeline
                .as_ref()
                .map_or(Duration::MAX, |pipeline| pipeline.reconcile_every.0),
            pipeline,
            disk,
            receiver,
            discovery,
            actions: Actions::new(&scenario.actions),
            loads,
            stored_rows: None,
            pending: Vec::new(),
            last_answer: None,
            frequency: scenario.daemon.frequency.0,
        };
        setup.wait_for_first_poll();
        Ok(setup)
    }

    fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics_address)
    }

    /// A daemon that does not come to it is measured as it is: gates say what it does instead.
    fn wait_for_first_poll(&mut self) {
        let until = Instant::now() + FIRST_POLL_TIMEOUT;
        loop {
            let polls = self.metric("xtcp2_polls_total");
            if polls.is_some_and(|polls| polls >= 1.0) {
                return;
            }
            if Instant::now() > until || self.watcher.source().pid().is_none() {
                log::error!("the daemon made no poll: its log is daemon.log in the folder of the run");
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Looks, and keeps what happened for the next turn.
    fn look(&mut self) -> Sample {
        let (sample, events) = self.watcher.sample();
        self.pending.extend(events);
        self.note_answer(&sample);
        sample
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and counts are exact"
    )]
    fn note_answer(&mut self, sample: &Sample) {
        let answer = sample.metrics.as_ref().and_then(|metrics| {
            let instance_id = u64::from_str_radix(scrape::instance_id(metrics)?, 16).ok()?;
            Some((instance_id, *metrics.get("xtcp2_rows_total")? as u64))
        });
        self.last_answer = answer.or(self.last_answer);
    }

    /// The measured part begins now.
    pub fn begin(&mut self) {
        self.watcher.begin();
        for event in &mut self.pending {
            event.elapsed_seconds = 0.0;
        }
        if let Some(discovery) = &mut self.discovery {
            discovery.begins(self.frequency, now_ns());
        }
    }

    /// What a turn of the loop does and sees.
    ///
    /// # Errors
    /// When an action cannot be done: the run is not what the scenario says any more.
    pub fn turn(&mut self, elapsed: Duration) -> Result<(Sample, Vec<Event>), String> {
        let acted = self.act(elapsed)?;
        let mut events = std::mem::take(&mut self.pending);
        events.extend(acted.into_iter().map(|what| event(elapsed, what)));
        if let Some(found) = self.reconciler.as_mut().and_then(Reconciler::finished) {
            self.stored_rows = Some(found.stored());
            events.push(event(elapsed, found.event(None)));
        }
        let url = self.metrics_url();
        if elapsed >= self.next_reconcile
            && let Some(reconciler) = &mut self.reconciler
        {
            self.next_reconcile += self.reconcile_every.unwrap_or(Duration::MAX);
            reconciler.begin(&["--metrics", &url, "--settle", "20s"])?;
        }
        let (mut sample, seen) = self.watcher.sample();
        self.note_answer(&sample);
        let restarted = seen
            .iter()
            .any(|event| matches!(event.what, What::DaemonStarted { .. }));
        if let Some(discovery) = &mut self.discovery {
            if restarted {
                discovery.begins(self.frequency, now_ns());
            }
            if let Some(receiver) = &self.receiver {
                let verdicts = discovery.verdicts(receiver, now_ns());
                events.extend(verdicts.into_iter().map(|what| event(elapsed, what)));
            }
        }
        for seen in &seen {
            if let What::DaemonStarted { pid, .. } = seen.what {
                super::note_process("daemon", pid)?;
            }
        }
        events.extend(seen);
        sample.load = self.loads.sum();
        sample.stored_rows = self.stored_rows;
        Ok((sample, events))
    }

    fn act(&mut self, elapsed: Duration) -> Result<Vec<What>, String> {
        let mut on = On {
            source: self.watcher.source(),
            daemon: &mut self.daemon,
            pipeline: self.pipeline.as_ref(),
            disk: self.disk.as_mut(),
        };
        self.actions.tick(elapsed, &mut on)
    }

    /// Heals what is away, ends the daemon, and compares for the last time.
    pub fn finish(&mut self, scenario: &Scenario) -> Vec<Event> {
        let elapsed = self.watcher.elapsed();
        let mut problems = Vec::new();
        if let Err(error) = self.heal() {
            problems.push(error);
        }
        self.look();
        let stopped = match (self.watcher.source(), self.daemon.service()) {
            (Source::Supervisor(supervisor), _) => supervisor.stop(Signal::SIGTERM, END_TIMEOUT),
            (Source::Unit(unit), service) => {
                unit.expect_end();
                service.map_or(Ok(()), Service::stop)
            }
        };
        if let Err(error) = stopped {
            problems.push(error);
        }
        // How it ended, and what it said at its end.
        self.look();
        let mut events = std::mem::take(&mut self.pending);
        for why in problems {
            log::error!("{why}");
            events.push(event(elapsed, What::BrokeOff { why }));
        }
        if scenario.gates.reconciled
            && let Some(what) = self.last_reconciliation()
        {
            events.push(event(elapsed, what));
        }
        events
    }

    /// None when it is not known what was made, or what came: then nobody can judge.
    fn last_reconciliation(&mut self) -> Option<What> {
        let (instance_id, rows_made) = self.last_answer?;
        if let Some(receiver) = &self.receiver {
            receiver.wait_for_end(ARRIVE_TIMEOUT);
            return Some(receiver.reconciled(instance_id, rows_made));
        }
        let reconciler = self.reconciler.as_mut()?;
        let wait = |reconciler: &mut Reconciler| {
            let until = Instant::now() + HEAL_TIMEOUT;
            loop {
                let found = reconciler.finished();
                if found.is_some() || !reconciler.is_under_way() || Instant::now() > until {
                    return found;
                }
                thread::sleep(Duration::from_millis(100));
            }
        };
        // One of the loop may be under way.
        wait(reconciler);
        if let Err(error) = reconciler.begin(&["--settle", "120s"]) {
            log::error!("{error}");
            return None;
        }
        wait(reconciler).map(|found| found.event(Some((instance_id, rows_made))))
    }

    /// Brings back what an action took away, and waits until nothing waits.
    fn heal(&mut self) -> Result<(), String> {
        if let Some(disk) = &mut self.disk {
            // It may not be full.
            let _ = disk.empty();
        }
        let Some(pipeline) = &self.pipeline else {
            return Ok(());
        };
        if let Some(pid) = pipeline.pid("kafka") {
            super::signal(pid, Signal::SIGCONT);
        }
        for part in ["kafka", "clickhouse", "feeder"] {
            let status = pipeline
                .begin(&["start", part])?
                .wait()
                .map_err(|error| error.to_string())?;
            if !status.success() {
                return Err(format!("start {part}: {status}"));
            }
        }
        let until = Instant::now() + HEAL_TIMEOUT;
        while Instant::now() < until {
            let (queued, sockets) = (
                self.metric("xtcp2_output_queued_rows"),
                self.metric("xtcp2_sockets"),
            );
            // The poll under way always waits a little.
            if queued
                .zip(sockets)
                .is_some_and(|(queued, sockets)| queued <= 2.0 * sockets)
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Err(format!(
            "{}: rows still wait after {HEAL_TIMEOUT:?}",
            self.metrics_url()
        ))
    }

    fn metric(&mut self, name: &str) -> Option<f64> {
        self.look().metrics?.get(name).copied()
    }
}

fn start_supervised(
    program: &Path,
    arguments: Vec<String>,
    out: &Path,
    marker: Marker,
) -> Result<Supervisor, String> {
    let mut supervisor = Supervisor::new(Options {
        program: program.to_owned(),
        arguments,
        environment: Vec::new(),
        folder: out.to_owned(),
    })?;
    if let Some(path) = supervisor.cgroup() {
        let path = path.to_owned();
        trace::note(marker, &Made::Cgroup { path })?;
    }
    super::note_process("daemon", supervisor.start()?)?;
    Ok(supervisor)
}

fn start_unit(daemon: &mut Daemon, out: &Path) -> Result<Unit, String> {
    daemon.run_by(Service::take()?)?;
    // Before its start, so that the log is read from the first line on.
    let unit = Unit::new(UNIT, Path::new(SYSTEMCTL), Path::new(JOURNALCTL), out);
    daemon.service().map_or(Ok(()), Service::start)?;
    Ok(unit)
}

/// A port of the loopback that is free now; the daemon keeps it through its restarts.
fn free_address() -> Result<String, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address
        .map(|address| address.to_string())
        .map_err(|error| format!("a free port: {error}"))
}

fn now_ns() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(u64::MAX)
}
