//! The daemon: one loop, one wait, everything that waits a descriptor in it.

use crate::{
    admin::{Admin, listen::Listener, routes::Status},
    config::Config,
    envelope::Envelope,
    epoll::{Epoll, Event, Interest, Source, Token},
    format::{Format, Formatter},
    kernel::Kernel,
    metrics::{self, Snapshot},
    namespaces::{Discovery, Home},
    notify::Notify,
    output::{self, Destination, Output, Tail},
    poll::{Poll, PollOptions, PollReport, Progress, World},
    record::{Encoder, Identity},
    rows::Rows,
    schedule::Schedule,
    version::VERSION,
};
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    timer::Expiration,
    timerfd::{ClockId, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use prometheus_client::metrics::histogram::Histogram;
use std::{
    fmt, io,
    os::fd::OwnedFd,
    process::ExitCode,
    time::{Duration, Instant},
};

/// How long the loop works on a poll before it looks at its other descriptors: a scrape waits no
/// longer than this and one datagram.
const POLL_SLICE: Duration = Duration::from_millis(2);

/// The service manager is asked for so much more time to start, again and again, while the first
/// poll runs.
const START_EXTENSION: Duration = Duration::from_secs(10);
const START_EXTENSION_EVERY: Duration = Duration::from_secs(3);

/// Progress may take this much longer than a namespace's time-out before the watchdog is left to
/// bite.
const PROGRESS_SLACK: Duration = Duration::from_secs(1);

/// Why the daemon could not start or go on.
#[derive(Debug)]
pub struct Fatal {
    what: String,
    is_configuration: bool,
}

impl Fatal {
    /// A setting that cannot work.
    pub fn configuration(what: impl fmt::Display) -> Fatal {
        Fatal {
            what: what.to_string(),
            is_configuration: true,
        }
    }

    /// What the system refused, and its error.
    pub fn system(what: &str) -> impl FnOnce(io::Error) -> Fatal {
        move |error| Fatal {
            what: format!("{what}: {error}"),
            is_configuration: false,
        }
    }

    /// Whether another configuration would help; a restart alone would not.
    pub fn is_configuration(&self) -> bool {
        self.is_configuration
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Signals that the loop takes. Blocked before anything else happens, so that none comes too early;
/// SIGPROF stays as it is, profiles need it.
pub fn block_signals() -> io::Result<SigSet> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1]
        .into_iter()
        .collect();
    signals.thread_block()?;
    Ok(signals)
}

/// A formatter for what the configuration says, `None` for an output that discards.
///
/// # Errors
/// When a column is unknown.
pub fn formatter(config: &Config) -> Result<Option<Formatter>, Fatal> {
    match config.dest {
        Destination::Null => Ok(None),
        _ => Formatter::new(config.marshal, &config.columns)
            .map(Some)
            .map_err(Fatal::configuration),
    }
}

/// Opens the output that the configuration says.
///
/// # Errors
/// When it can never work as given.
pub fn open_output(config: &Config, epoll: &Epoll, seed: u64) -> Result<Output, Fatal> {
    let formatter = Formatter::new(config.marshal, &config.columns).map_err(Fatal::configuration)?;
    let options = output::Options {
        queue_bytes_max: config.output_queue_bytes,
        preamble: formatter.preamble(),
        content_type: formatter.content_type(),
        tail: tail(config.marshal),
        seed,
        ..output::Options::default()
    };
    Output::open(&config.dest, options, epoll, Instant::now()).map_err(Fatal::configuration)
}

fn tail(format: Format) -> Tail {
    match format {
        Format::ProtobufList => Tail::Frames,
        Format::Msgpack => Tail::Opaque,
        Format::ProtoJson | Format::Jsonl | Format::Json | Format::Csv | Format::Tsv | Format::ProtoText => {
            Tail::Lines
        }
    }
}

/// Rows as the configuration wants them, for `output`.
///
/// # Errors
/// When a column is unknown.
pub fn rows(config: &Config, instance_id: u64, output: &Output) -> Result<Rows, Fatal> {
    let identity = Identity {
        instance_id,
        daemon_version: VERSION.to_owned(),
        hostname: config.hostname.clone(),
        location: config.location.clone(),
        label: config.label.clone(),
        tag: config.tag.clone(),
    };
    let message_bytes_max = output.message_bytes_max();
    let envelope_bytes_max = config
        .envelope_flush_bytes
        .min(message_bytes_max.unwrap_or(usize::MAX));
    let envelope = Envelope::new(config.envelope_flush_rows, envelope_bytes_max);
    let encoder = Encoder::new(identity, config.deserializers);
    Ok(Rows::new(
        instance_id,
        encoder,
        envelope,
        formatter(config)?,
        message_bytes_max,
    ))
}

/// The daemon.
pub struct Daemon {
    epoll: Epoll,
    timer: TimerFd,
    signals: SignalFd,
    admin: Option<Admin>,
    core: Core,
}

/// All but the descriptors of the loop itself, so that the admin server can look at it.
struct Core {
    config: Config,
    notify: Notify,
    schedule: Schedule,
    kernel: Kernel,
    poll: Poll<OwnedFd>,
    rows: Rows,
    output: Output,
    poll_state: PollState,
    /// The output stayed full for too long: polls no longer wait for it, the oldest messages go.
    drops_oldest: bool,
    poll_durations: Histogram,
    polls: u64,
    output_stalls: u64,
    last_poll: PollReport,
    last_poll_end_seconds: f64,
    /// The end has begun, and is to be reached by then.
    ending: Option<Ending>,
    watchdog_due: Option<Instant>,
    start_extension_due: Option<Instant>,
    /// The last time that polls were seen to make progress, and how many steps that were.
    progress: (Instant, u64),
    admin_counters: crate::admin::server::Counters,
}

#[derive(Clone, Copy, Debug)]
struct Ending {
    deadline: Instant,
    by_signal: bool,
}

/// What the loop knows of the poll under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PollState {
    /// None is under way.
    Idle,
    /// It can go on at once.
    Ready,
    /// It waits for its socket, or until then.
    Waiting { until: Instant },
    /// It waits for the output to take messages, but not longer than that.
    Stalled { since: Instant, until: Instant },
}

impl Daemon {
    /// Opens everything that can fail. `signals` are those that [`block_signals`] blocked.
    ///
    /// # Errors
    /// When the configuration cannot work here, or the system refuses what every daemon needs.
    pub fn start(mut config: Config, signals: &SigSet) -> Result<Daemon, Fatal> {
        if config.hostname.is_empty() {
            let hostname = nix::unistd::gethostname().map_err(io::Error::from);
            config.hostname = hostname
                .map_err(Fatal::system("hostname"))?
                .to_string_lossy()
                .into_owned();
        }
        let epoll = Epoll::new().map_err(Fatal::system("epoll"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        );
        let timer = timer.map_err(io::Error::from).map_err(Fatal::system("timerfd"))?;
        let signals = SignalFd::with_flags(signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        let signals = signals
            .map_err(io::Error::from)
            .map_err(Fatal::system("signalfd"))?;
        epoll
            .add(&timer, Token::only(Source::Timer), Interest::READ)
            .map_err(Fatal::system("epoll"))?;
        epoll
            .add(&signals, Token::only(Source::Signals), Interest::READ)
            .map_err(Fatal::system("epoll"))?;

        let admin = open_admin(&config, &epoll)?;
        let now = Instant::now();
        let instance_id = instance_id()?;
        let output = open_output(&config, &epoll, instance_id)?;
        let rows = rows(&config, instance_id, &output)?;
        let home =
            Home::open().map_err(|error| Fatal::system("own network namespace")(io::Error::other(error)))?;
        let discovery = Discovery::new(
            home.name(),
            &config.netns_dirs,
            "/proc".into(),
            config.proc_scan_every,
        );
        if let Some(inotify) = discovery.inotify() {
            epoll
                .add(inotify, Token::only(Source::Inotify), Interest::READ)
                .map_err(Fatal::system("epoll"))?;
        }
        let record = config.record.as_deref();
        let kernel = Kernel::new(home, discovery, record)
            .map_err(|error| Fatal::configuration(format_args!("--record: {error}")))?;
        let notify = Notify::from_environment();
        let core = Core {
            schedule: Schedule::new(config.frequency, config.poll_jitter_percent, instance_id, now),
            poll: Poll::new(poll_options(&config)),
            watchdog_due: notify.watchdog_every().map(|_| now),
            start_extension_due: Some(now),
            notify,
            config,
            kernel,
            rows,
            output,
            poll_state: PollState::Idle,
            drops_oldest: false,
            poll_durations: metrics::poll_duration_histogram(),
            polls: 0,
            output_stalls: 0,
            last_poll: PollReport::default(),
            last_poll_end_seconds: 0.0,
            ending: None,
            progress: (now, 0),
            admin_counters: crate::admin::server::Counters::default(),
        };
        log::info!(
            "xtcp2 {VERSION} started, instance {instance_id:016x}: every {:?} to {} as {}",
            core.config.frequency,
            core.config.dest,
            core.config.marshal
        );
        Ok(Daemon {
            epoll,
            timer,
            signals,
            admin,
            core,
        })
    }

    /// Runs until a signal, the last poll, or the end of whoever reads the rows.
    ///
    /// # Errors
    /// When the loop itself fails.
    pub fn run(mut self) -> Result<ExitCode, Fatal> {
        loop {
            let now = Instant::now();
            if self.core.is_over(now) {
                return Ok(self.core.finish());
            }
            let timeout = self.arm_timer(now)?;
            let events = self.epoll.wait(timeout).map_err(Fatal::system("epoll_wait"))?;
            let now = Instant::now();
            for event in events {
                self.dispatch(&event, now);
            }
            if let Some(admin) = &mut self.admin
                && admin.deadline().is_some_and(|due| due <= now)
            {
                admin.expire(&self.epoll, now);
            }
            self.core.do_what_is_due(&self.epoll, now);
            self.core.go_on_with_poll(&self.epoll);
        }
    }

    /// Sets the timer to the earliest deadline; returns how long the wait may take, which is not at
    /// all when the poll can go on.
    fn arm_timer(&mut self, now: Instant) -> Result<Option<Duration>, Fatal> {
        if self.core.poll_state == PollState::Ready {
            return Ok(Some(Duration::ZERO));
        }
        let admin = self.admin.as_ref().and_then(Admin::deadline);
        let Some(due) = self.core.deadlines().into_iter().flatten().chain(admin).min() else {
            return Ok(None);
        };
        let wait = due.saturating_duration_since(now);
        if wait.is_zero() {
            return Ok(Some(wait));
        }
        let armed = self
            .timer
            .set(Expiration::OneShot(wait.into()), TimerSetTimeFlags::empty());
        armed
            .map_err(io::Error::from)
            .map_err(Fatal::system("timerfd_settime"))?;
        Ok(None)
    }

    fn dispatch(&mut self, event: &Event, now: Instant) {
        match event.token.source {
            // Its only use is to end the wait.
            Source::Timer => {
                let _ = self.timer.wait();
            }
            Source::Signals => {
                while let Ok(Some(signal)) = self.signals.read_signal() {
                    let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
                    if let Ok(signal) = Signal::try_from(number) {
                        self.core.signal(signal, &self.epoll, now);
                    }
                }
            }
            Source::Inotify => self.core.kernel.discovery_mut().inotify_ready(),
            Source::Netlink => self.core.netlink_ready(&self.epoll),
            Source::AdminListener | Source::AdminClient => {
                if let Some(admin) = &mut self.admin {
                    self.core.admin_counters = admin.counters();
                    admin.ready(&self.epoll, event, now, &mut self.core);
                }
            }
            Source::Output => self.core.output.ready(event, &self.epoll, now),
        }
    }
}

fn poll_options(config: &Config) -> PollOptions {
    PollOptions {
        timeout: config.timeout,
        idiag_ext: config.deserializers.idiag_ext(),
        states: config.states,
    }
}

/// A new random id, never 0.
///
/// # Errors
/// When the system has no random numbers.
pub fn instance_id() -> Result<u64, Fatal> {
    let mut bytes = [0; 8];
    let random =
        std::fs::File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    random.map_err(Fatal::system("/dev/urandom"))?;
    Ok(u64::from_ne_bytes(bytes).max(1))
}

fn open_admin(config: &Config, epoll: &Epoll) -> Result<Option<Admin>, Fatal> {
    let listener = match Listener::from_environment().map_err(Fatal::configuration)? {
        Some(passed) => passed,
        None if config.prom_listen.is_empty() => return Ok(None),
        None => Listener::bind(&config.prom_listen)
            .map_err(|error| Fatal::configuration(format_args!("--prom-listen: {error}")))?,
    };
    if let Ok(address) = listener.local_addr() {
        log::info!("admin HTTP on http://{address}{}", config.prom_path);
    }
    Admin::new(listener, &config.prom_path, epoll)
        .map(Some)
        .map_err(Fatal::system("epoll"))
}

impl Core {
    /// Everything that the loop has to wake up for.
    fn deadlines(&self) -> [Option<Instant>; 7] {
        let poll = match self.poll_state {
            PollState::Idle if self.ending.is_none() => Some(self.schedule.due()),
            PollState::Waiting { until } | PollState::Stalled { until, .. } => Some(until),
            PollState::Idle | PollState::Ready => None,
        };
        // A poll that is due while one runs is counted, once. The scan between polls has to wait.
        let (missed, scan) = match self.poll_state {
            PollState::Idle => (None, self.kernel.discovery().scan_due()),
            _ => (self.schedule.missed_due(), None),
        };
        [
            poll,
            missed,
            self.output.deadline(),
            self.watchdog_due,
            self.start_extension_due,
            scan,
            self.ending.map(|ending| ending.deadline),
        ]
    }

    fn do_what_is_due(&mut self, epoll: &Epoll, now: Instant) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.output.deadline()) {
            self.output.tick(epoll, now);
        }
        if self.poll_state == PollState::Idle {
            if self.ending.is_none() && is_due(Some(self.schedule.due())) {
                self.start_poll(now);
            } else if is_due(self.kernel.discovery().scan_due()) {
                self.kernel.scan();
            }
        } else if is_due(self.schedule.missed_due()) {
            self.schedule.missed();
        }
        if is_due(self.start_extension_due) {
            self.notify.extend_timeout(START_EXTENSION);
            self.start_extension_due = Some(now + START_EXTENSION_EVERY);
        }
        if is_due(self.watchdog_due) {
            self.watchdog_due = self.notify.watchdog_every().map(|every| now + every);
            if now.duration_since(self.progress.0) <= self.config.timeout + PROGRESS_SLACK {
                self.notify.watchdog();
            }
        }
    }

    fn start_poll(&mut self, now: Instant) {
        self.schedule.started(now);
        self.drops_oldest &= self.output.is_full();
        self.poll.start(&mut self.kernel, &self.rows);
        self.poll_state = PollState::Ready;
    }

    fn netlink_ready(&mut self, epoll: &Epoll) {
        if let Some(socket) = self.poll.socket() {
            // Registered only while it is waited for.
            let _ = epoll.delete(socket);
        }
        self.poll_state = PollState::Ready;
    }

    /// A slice of the poll, if there is one and nothing holds it up.
    fn go_on_with_poll(&mut self, epoll: &Epoll) {
        let now = Instant::now();
        match self.poll_state {
            PollState::Waiting { until } if until <= now => self.netlink_ready(epoll),
            PollState::Stalled { since, until } => {
                if until <= now && self.must_wait_for_output() {
                    log::warn!("the output takes nothing: the oldest messages are given up for new ones");
                    self.drops_oldest = true;
                }
                self.offer_messages(epoll);
                if !self.must_wait_for_output() {
                    self.poll.was_held_up(now.duration_since(since));
                    self.poll_state = PollState::Ready;
                }
            }
            PollState::Ready if self.must_wait_for_output() => self.stall(epoll, now),
            _ => {}
        }
        if self.poll_state == PollState::Ready {
            let progress = self.poll.advance(&mut self.kernel, &mut self.rows, POLL_SLICE);
            self.offer_messages(epoll);
            match progress {
                Progress::More => {}
                Progress::Idle => self.poll_state = PollState::Idle,
                Progress::Waiting(until) => {
                    if let Some(socket) = self.poll.socket() {
                        // A socket that cannot be waited for is tried again at its deadline.
                        let _ = epoll.add(socket, Token::only(Source::Netlink), Interest::READ);
                    }
                    self.poll_state = PollState::Waiting { until };
                }
                Progress::Finished(report) => {
                    self.poll_state = PollState::Idle;
                    self.poll_finished(report);
                }
            }
            if self.rows.has_messages() {
                self.stall(epoll, Instant::now());
            }
        }
        let now = Instant::now();
        let may_rest = matches!(self.poll_state, PollState::Idle | PollState::Stalled { .. });
        if may_rest || self.poll.steps() != self.progress.1 {
            self.progress = (now, self.poll.steps());
        }
    }

    /// Hands over what the output has room for. What is left is at most the messages of a slice.
    fn offer_messages(&mut self, epoll: &Epoll) {
        let now = Instant::now();
        while !self.must_wait_for_output()
            && let Some(message) = self.rows.take_message()
        {
            self.output.offer(message, epoll, now);
        }
    }

    /// Whether the next message might push one out that could still be delivered.
    fn must_wait_for_output(&self) -> bool {
        self.output.is_full() && !self.drops_oldest
    }

    /// The poll goes on when the output has room, or when the next poll would be due.
    fn stall(&mut self, epoll: &Epoll, now: Instant) {
        self.output_stalls += 1;
        if let Some(socket) = self.poll.socket() {
            // Asked again after the stall; until then its replies would only wake the loop.
            let _ = epoll.delete(socket);
        }
        self.poll_state = PollState::Stalled {
            since: now,
            until: now + self.config.frequency,
        };
    }

    fn poll_finished(&mut self, report: PollReport) {
        self.polls += 1;
        self.last_poll = report;
        self.poll_durations.observe(report.duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
        let seconds = (self.kernel.realtime_ns() / 1000) as f64 / 1e6;
        self.last_poll_end_seconds = seconds;
        self.kernel.flush_recording();
        let line = format!(
            "poll {}: {} rows from {} namespaces in {:.1?}",
            report.sequence, report.rows, report.namespaces, report.duration
        );
        log::debug!("{line}");
        self.notify.status(&line);
        self.start_extension_due = None;
        if self.polls == 1 {
            log::info!("{line}");
        }
        self.notify.ready();
        if self.polls == self.config.max_loops {
            self.end(Instant::now(), false);
        }
    }

    fn signal(&mut self, signal: Signal, epoll: &Epoll, now: Instant) {
        match signal {
            Signal::SIGHUP => {
                log::info!("SIGHUP: the output is opened anew");
                self.notify.reloading();
                self.output.reopen(epoll, now);
                self.notify.reloaded();
            }
            Signal::SIGUSR1 => self.log_summary(),
            _ if self.ending.is_none() => {
                log::info!("{signal}: ending; a second one ends at once");
                self.end(now, true);
            }
            _ => {
                self.ending = Some(Ending {
                    deadline: now,
                    by_signal: true,
                })
            }
        }
    }

    fn end(&mut self, now: Instant, by_signal: bool) {
        self.notify.stopping();
        self.notify.extend_timeout(self.config.shutdown_timeout);
        self.ending = Some(Ending {
            deadline: now + self.config.shutdown_timeout,
            by_signal,
        });
    }

    /// Whether there is nothing left to do, or no time left for it.
    fn is_over(&self, now: Instant) -> bool {
        if self.output.is_closed() {
            return true;
        }
        match self.ending {
            None => false,
            Some(ending) => {
                ending.deadline <= now || self.poll_state == PollState::Idle && self.output.is_idle()
            }
        }
    }

    /// The last things: what was read is delivered or counted.
    fn finish(mut self) -> ExitCode {
        self.rows.flush();
        let dropped_before = self.output.counters().dropped_total().rows;
        while let Some(message) = self.rows.take_message() {
            self.output.came_too_late(&message);
        }
        self.output.shutdown();
        let undelivered = self.output.counters().dropped_total().rows - dropped_before;
        self.kernel.flush_recording();
        self.log_summary();
        let reader_left = self.output.is_closed();
        let by_signal = self.ending.is_some_and(|ending| ending.by_signal);
        if undelivered > 0 && !reader_left {
            log::error!("{undelivered} rows were not delivered within --shutdown-timeout");
            if !by_signal {
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }

    fn log_summary(&self) {
        let rows = self.rows.counters();
        let counters = self.output.counters();
        log::info!(
            "{} polls, {} rows in {} envelopes; delivered {} rows, dropped {}, {} bytes waiting; last: {} namespaces, {} sockets, {:.1?}",
            self.polls,
            rows.rows,
            rows.envelopes,
            counters.delivered.rows,
            counters.dropped_total().rows,
            self.output.queued_bytes(),
            self.last_poll.namespaces,
            self.last_poll.sockets,
            self.last_poll.duration
        );
    }
}

impl Status for Core {
    fn ready(&self) -> Result<(), &str> {
        match self.polls {
            0 => Err("the first poll is not complete yet"),
            _ => Ok(()),
        }
    }

    fn render_metrics(&mut self, text: &mut String) -> fmt::Result {
        let snapshot = Snapshot {
            last_poll: self.last_poll,
            polls: self.polls,
            polls_late: self.schedule.late(),
            output_stalls: self.output_stalls,
            poll_durations: &self.poll_durations,
            last_poll_end_seconds: self.last_poll_end_seconds,
            dumps: self.poll.counters(),
            rows: self.rows.counters(),
            anomalies: self.rows.anomalies(),
            namespaces: self.kernel.discovery().counters(),
            output: self.output.counters(),
            output_queued_bytes: self.output.queued_bytes(),
            admin: self.admin_counters,
        };
        metrics::render(&snapshot, text)
    }
}
