//! All of the daemon but the descriptors of its loop: what is due, and what follows from it.

use super::{Fatal, parts, reload::Reload};
use crate::{
    admin::routes::Status,
    config::Config,
    epoll::{Epoll, Interest, Source, Token},
    kernel::{Kernel, NamespaceSocket},
    metrics::{self, Snapshot},
    notify::Notify,
    output::{Message, Output},
    pipeline::{Pipeline, PollState, Surroundings},
    poll::{Poll, PollReport, World},
    schedule::Schedule,
};
use nix::sys::signal::Signal;
use prometheus_client::metrics::histogram::Histogram;
use std::{
    fmt,
    process::ExitCode,
    time::{Duration, Instant},
};

/// The service manager is asked for so much more time to start, again and again, while the first
/// poll runs.
const START_EXTENSION: Duration = Duration::from_secs(10);
const START_EXTENSION_EVERY: Duration = Duration::from_secs(3);

/// Progress may take this much longer than a namespace's time-out before the watchdog is left to
/// bite.
const PROGRESS_SLACK: Duration = Duration::from_secs(1);

/// All but the descriptors of the loop itself, so that the admin server can look at it.
pub(super) struct Core {
    pub config: Config,
    pub instance_id: u64,
    start_seconds: f64,
    pub reload: Reload,
    pub notify: Notify,
    pub schedule: Schedule,
    pub kernel: Kernel,
    pub pipeline: Pipeline<NamespaceSocket>,
    pub output: Output,
    poll_durations: Histogram,
    poll_start_delays: Histogram,
    polls: u64,
    completed_poll_rows: u64,
    last_poll: PollReport,
    last_poll_end_seconds: f64,
    /// The end has begun, and is to be reached by then.
    pub ending: Option<Ending>,
    watchdog_due: Option<Instant>,
    start_extension_due: Option<Instant>,
    /// The last time that polls were seen to make progress, and how many steps that were.
    progress: (Instant, u64),
    pub admin_counters: crate::admin::server::Counters,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    deadline: Instant,
    by_signal: bool,
}

/// The output and the loop, as the pipeline sees them.
struct Around<'a> {
    output: &'a mut Output,
    epoll: &'a Epoll,
}

impl Surroundings<NamespaceSocket> for Around<'_> {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.output.has_room_for(bytes)
    }

    fn is_full(&self) -> bool {
        self.output.is_full()
    }

    fn is_idle(&self) -> bool {
        self.output.is_idle()
    }

    fn offer(&mut self, messages: Vec<Message>) {
        self.output.offer(messages, self.epoll, Instant::now());
    }

    fn watch(&mut self, socket: &NamespaceSocket) {
        let _ = self
            .epoll
            .add(socket, Token::only(Source::Netlink), Interest::READ);
    }

    fn unwatch(&mut self, socket: &NamespaceSocket) {
        let _ = self.epoll.delete(socket);
    }
}

impl Core {
    /// Nothing polled yet; the first poll is due at once.
    ///
    /// # Errors
    /// When a column is unknown.
    pub fn new(
        config: Config,
        reload: Reload,
        instance_id: u64,
        kernel: Kernel,
        output: Output,
        now: Instant,
    ) -> Result<Core, Fatal> {
        let notify = Notify::from_environment();
        Ok(Core {
            schedule: Schedule::new(config.frequency, config.poll_jitter_percent, instance_id, now),
            pipeline: Pipeline::new(
                Poll::new(parts::poll_options(&config)),
                parts::rows(&config, instance_id, &output)?,
            ),
            watchdog_due: notify.watchdog_every().map(|_| now),
            start_extension_due: Some(now),
            notify,
            config,
            instance_id,
            start_seconds: realtime_seconds(&kernel),
            reload,
            kernel,
            output,
            poll_durations: metrics::poll_duration_histogram(),
            poll_start_delays: metrics::poll_start_delay_histogram(),
            polls: 0,
            completed_poll_rows: 0,
            last_poll: PollReport::default(),
            last_poll_end_seconds: 0.0,
            ending: None,
            progress: (now, 0),
            admin_counters: crate::admin::server::Counters::default(),
        })
    }

    /// Everything that the loop has to wake up for.
    pub fn deadlines(&self) -> [Option<Instant>; 8] {
        let poll = match self.pipeline.state() {
            PollState::Idle if self.ending.is_none() => Some(self.schedule.due()),
            PollState::Waiting { until } | PollState::Stalled { until, .. } => Some(until),
            PollState::Idle | PollState::Ready => None,
        };
        // A poll that is due while one runs is counted, once. The scan between polls has to wait.
        let (missed, scan) = match self.pipeline.state() {
            PollState::Idle => (None, self.kernel.discovery().scan_due()),
            _ => (self.schedule.missed_due(), None),
        };
        [
            poll,
            missed,
            self.output.deadline(),
            self.watchdog_due,
            self.start_extension_due,
            self.notify.retry_due(),
            scan,
            self.ending.map(|ending| ending.deadline),
        ]
    }

    /// Does what is due at `now`.
    pub fn do_what_is_due(&mut self, epoll: &Epoll, now: Instant) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.output.deadline()) {
            self.output.tick(epoll, now);
        }
        // Behind the output, whose last message it may wait for, and before the next poll.
        self.apply_reload(epoll, now);
        if self.pipeline.state() == PollState::Idle {
            if self.ending.is_none() && is_due(Some(self.schedule.due())) {
                self.start_poll(epoll, now);
            } else if is_due(self.kernel.discovery().scan_due()) {
                self.kernel.scan();
            }
        } else if is_due(self.schedule.missed_due()) {
            self.schedule.missed();
        }
        if is_due(self.notify.retry_due()) {
            self.notify.retry();
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

    fn start_poll(&mut self, epoll: &Epoll, now: Instant) {
        let delay = now.saturating_duration_since(self.schedule.due());
        self.poll_start_delays.observe(delay.as_secs_f64());
        self.schedule.started(now);
        let output = &mut self.output;
        self.pipeline
            .start(&mut self.kernel, &mut Around { output, epoll });
    }

    pub fn netlink_ready(&mut self, epoll: &Epoll) {
        let output = &mut self.output;
        self.pipeline.socket_ready(&mut Around { output, epoll });
    }

    /// A slice of the poll, if there is one and nothing holds it up.
    pub fn go_on_with_poll(&mut self, epoll: &Epoll) {
        let output = &mut self.output;
        let around = &mut Around { output, epoll };
        let ended = self
            .pipeline
            .go_on(&mut self.kernel, around, self.config.frequency);
        if let Some(report) = ended {
            self.poll_finished(report);
            self.apply_reload(epoll, Instant::now());
        }
        let now = Instant::now();
        let may_rest = matches!(self.pipeline.state(), PollState::Idle | PollState::Stalled { .. });
        let steps = self.pipeline.poll.steps();
        if may_rest || steps != self.progress.1 {
            self.progress = (now, steps);
        }
    }

    fn poll_finished(&mut self, report: PollReport) {
        self.polls += 1;
        self.completed_poll_rows += report.rows;
        self.last_poll = report;
        self.poll_durations.observe(report.duration.as_secs_f64());
        self.last_poll_end_seconds = realtime_seconds(&self.kernel);
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
        // A reload may have lowered it.
        if self.config.max_loops != 0 && self.polls >= self.config.max_loops {
            self.end(Instant::now(), false);
        }
    }

    pub fn signal(&mut self, signal: Signal, epoll: &Epoll, now: Instant) {
        match signal {
            Signal::SIGHUP => self.reload(epoll, now),
            Signal::SIGUSR1 => log::info!("{}", self.summary()),
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
        self.notify.stopping(self.config.shutdown_timeout);
        self.ending = Some(Ending {
            deadline: now + self.config.shutdown_timeout,
            by_signal,
        });
    }

    /// Whether there is nothing left to do, or no time left for it.
    pub fn is_over(&self, now: Instant) -> bool {
        if self.output.is_closed() {
            return true;
        }
        match self.ending {
            None => false,
            Some(ending) => {
                // After the last of --max-loops everything is to be delivered; whoever sends a signal wants an end.
                let is_done = match ending.by_signal {
                    true => self.output.is_safe(),
                    false => self.output.is_idle(),
                };
                ending.deadline <= now || self.pipeline.state() == PollState::Idle && is_done
            }
        }
    }

    /// The last things: what was read is delivered or counted.
    pub fn finish(mut self) -> ExitCode {
        let dropped_before = self.output.counters().dropped_total().rows;
        self.output.came_too_late(self.pipeline.end());
        self.output.shutdown();
        let undelivered = self.output.counters().dropped_total().rows - dropped_before;
        let waiting = self.output.queued();
        if waiting.messages > 0 {
            log::info!("{} rows stay in the spool for the next start", waiting.rows);
        }
        self.kernel.flush_recording();
        // From a place of its own, so that the log does not hold it back for those of SIGUSR1.
        log::info!("{}", self.summary());
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

    /// All that was done so far, in one line.
    fn summary(&self) -> String {
        let rows = self.pipeline.rows.counters();
        let counters = self.output.counters();
        format!(
            "{} polls, {} rows in {} envelopes; delivered {} rows, dropped {}, {} bytes waiting; last: {} namespaces, {} sockets, {:.1?}",
            self.polls,
            rows.rows,
            rows.envelopes,
            counters.delivered.rows,
            counters.dropped_total().rows,
            self.output.queued().bytes,
            self.last_poll.namespaces,
            self.last_poll.sockets,
            self.last_poll.duration
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
fn realtime_seconds(kernel: &Kernel) -> f64 {
    (kernel.realtime_ns() / 1000) as f64 / 1e6
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
            instance_id: self.instance_id,
            start_seconds: self.start_seconds,
            polls: self.polls,
            completed_poll_rows: self.completed_poll_rows,
            polls_late: self.schedule.late(),
            output_stalls: self.pipeline.stalls(),
            poll_durations: &self.poll_durations,
            poll_start_delays: &self.poll_start_delays,
            last_poll_end_seconds: self.last_poll_end_seconds,
            dumps: self.pipeline.poll.counters(),
            known_sockets: self.pipeline.poll.known_sockets(),
            rows: self.pipeline.rows.counters(),
            anomalies: self.pipeline.rows.anomalies(),
            namespaces: self.kernel.discovery().counters(),
            output: self.output.counters(),
            output_queued: self.output.queued(),
            spool: self.output.spool(),
            admin: self.admin_counters,
        };
        metrics::render(&snapshot, text)
    }
}
