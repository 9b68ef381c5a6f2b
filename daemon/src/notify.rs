//! What the service manager is told (sd_notify(3)); nothing is said where there is none.

use sd_notify::NotifyState;
use std::time::Duration;

/// Tells the service manager.
#[derive(Debug)]
pub struct Notify {
    watchdog: Option<Duration>,
    ready: bool,
}

impl Notify {
    /// Reads from the environment whether a watchdog waits for us.
    pub fn from_environment() -> Notify {
        Notify {
            watchdog: sd_notify::watchdog_enabled(),
            ready: false,
        }
    }

    /// How often the watchdog wants to hear of progress at the latest: half of its time.
    pub fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 2)
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            log::debug!("sd_notify: {error}");
        }
    }

    /// READY=1, once: the first poll is over.
    pub fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            self.send(&[NotifyState::Ready]);
        }
    }

    /// EXTEND_TIMEOUT_USEC: the first poll, or the end, takes longer than the manager expects, and
    /// goes on.
    pub fn extend_timeout(&self, by: Duration) {
        let usec = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(usec)]);
    }

    /// WATCHDOG=1: polls make progress.
    pub fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// STATUS=, the line that `systemctl status` shows.
    pub fn status(&self, line: &str) {
        self.send(&[NotifyState::Status(line)]);
    }

    /// STOPPING=1.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// RELOADING=1 with the time, then READY=1 once it is done. Nothing before the first READY=1: the
    /// manager would take the second for it.
    pub fn reloading(&self) {
        if !self.ready {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => log::debug!("sd_notify: {error}"),
        }
    }

    /// READY=1 after a reload.
    pub fn reloaded(&self) {
        if self.ready {
            self.send(&[NotifyState::Ready]);
        }
    }
}
