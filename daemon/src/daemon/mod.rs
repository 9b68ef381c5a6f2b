//! The daemon: one loop, one wait, everything that waits a descriptor in it.

mod core;
mod parts;
mod reload;

pub use parts::{instance_id, kafka_settings, open_output, rows};
pub use reload::{ReadSettings, Reload};

use crate::{
    admin::Admin,
    config::Config,
    epoll::{Epoll, Event, Interest, Source, Token},
    kernel::Kernel,
    namespaces::{Discovery, Home},
    pipeline::PollState,
    setting_error::SettingError,
    version::VERSION,
};
use core::Core;
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    timer::Expiration,
    timerfd::{ClockId, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use std::{
    fmt, io,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

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

/// A restart alone may help where the system refuses something now.
impl From<SettingError> for Fatal {
    fn from(error: SettingError) -> Fatal {
        Fatal {
            is_configuration: !error.is_system(),
            ..Fatal::configuration(error)
        }
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

/// How long the end waits for requests that have begun: a scrape takes 10 ms, and a client that sends nothing is not to
/// hold a restart up.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(500);

/// The daemon.
pub struct Daemon {
    epoll: Epoll,
    timer: TimerFd,
    signals: SignalFd,
    admin: Option<Admin>,
    core: Core,
}

impl Daemon {
    /// Opens everything that can fail. `reload` says how SIGHUP finds the settings, `signals` are those
    /// that [`block_signals`] blocked.
    ///
    /// # Errors
    /// When the configuration cannot work here, or the system refuses what every daemon needs.
    pub fn start(mut config: Config, reload: Reload, signals: &SigSet) -> Result<Daemon, Fatal> {
        parts::name_host(&mut config)?;
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

        let admin = parts::open_admin(&config, &epoll)?;
        let instance_id = instance_id()?;
        let output = parts::open_output_with_spool(&config, &epoll, instance_id)?;
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
        let kernel = Kernel::new(home, discovery, record).map_err(|error| {
            let path = record.unwrap_or(Path::new("")).display();
            SettingError::from(error).of(format_args!("--record {path}"))
        })?;
        let core = Core::new(config, reload, instance_id, kernel, output, Instant::now())?;
        log::info!(
            "xtcp2 {VERSION} started, instance {instance_id:016x}: every {:?} to {} as {}",
            core.config.frequency,
            core.config.dest.public_name(),
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
                self.answer_last_requests()?;
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

    /// Whoever connected before the end gets an answer. Later ones wait for the next daemon, where the listener is systemd's.
    fn answer_last_requests(&mut self) -> Result<(), Fatal> {
        let Some(admin) = &mut self.admin else {
            return Ok(());
        };
        // In the loop's own, what nobody serves any more would end each wait at once. Without a descriptor for another,
        // the end goes on: rows are to be delivered yet.
        let Ok(mut epoll) = Epoll::new() else {
            return Ok(());
        };
        epoll
            .add(&self.signals, Token::only(Source::Signals), Interest::READ)
            .map_err(Fatal::system("epoll"))?;
        admin.stop_accepting(&epoll);
        let end = Instant::now() + LAST_ANSWERS_MAX;
        // At first, what has come already: a connection that was kept may have a new request.
        let mut wait = Duration::ZERO;
        loop {
            let events = epoll.wait(Some(wait)).map_err(Fatal::system("epoll_wait"))?;
            for event in events {
                match event.token.source {
                    Source::AdminClient => admin.ready(&epoll, &event, Instant::now(), &mut self.core),
                    // A second one ends at once.
                    _ => return Ok(()),
                }
            }
            wait = end.saturating_duration_since(Instant::now());
            if wait.is_zero() || admin.clients_to_answer() == 0 {
                return Ok(());
            }
        }
    }

    /// Sets the timer to the earliest deadline; returns how long the wait may take, which is not at
    /// all when the poll can go on.
    fn arm_timer(&mut self, now: Instant) -> Result<Option<Duration>, Fatal> {
        if self.core.pipeline.state() == PollState::Ready {
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
