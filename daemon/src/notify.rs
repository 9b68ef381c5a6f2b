//! What the service manager is told (sd_notify(3)); nothing is said where there is none.
//!
//! A manager that does not listen is not waited for: once its queue is full (net.unix.max_dgram_qlen),
//! what will be said again anyway is dropped, and a change of state is tried again.

use nix::time::{ClockId, clock_gettime};
use std::{
    collections::VecDeque,
    env,
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::{Duration, Instant},
};

/// From a change of state that the manager's queue had no room for to the next try.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Tells the service manager.
#[derive(Debug)]
pub struct Notify {
    /// A socket that does not block, and where to send; `None` where nobody listens.
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    ready: bool,
    /// Changes of state that the manager's queue had no room for, in order.
    unsent: VecDeque<String>,
    retry_at: Option<Instant>,
}

impl Notify {
    /// Reads from the environment where the manager listens, and whether a watchdog waits for us.
    pub fn from_environment() -> Notify {
        Notify::new(env::var_os("NOTIFY_SOCKET"), watchdog())
    }

    fn new(name: Option<OsString>, watchdog: Option<Duration>) -> Notify {
        let manager = name.and_then(|name| match open(&name) {
            Ok(manager) => Some(manager),
            Err(error) => {
                log::debug!("sd_notify: {error}");
                None
            }
        });
        Notify {
            manager,
            watchdog,
            ready: false,
            unsent: VecDeque::new(),
            retry_at: None,
        }
    }

    /// How often the watchdog wants to hear of progress at the latest: half of its time.
    pub fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 2)
    }

    /// When to call [`Notify::retry`]; `None` while there is nothing to try again.
    pub fn retry_due(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries again what the manager's queue had no room for. Returns whether nothing is left of it.
    pub fn retry(&mut self) -> bool {
        while let Some(message) = self.unsent.front() {
            if !self.send(message) {
                self.retry_at = Some(Instant::now() + RETRY_EVERY);
                return false;
            }
            self.unsent.pop_front();
        }
        self.retry_at = None;
        true
    }

    /// Whether there was room for it in the manager's queue. Other errors would not go by waiting.
    fn send(&self, message: &str) -> bool {
        let Some((socket, address)) = &self.manager else {
            return true;
        };
        match socket.send_to_addr(message.as_bytes(), address) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => {
                log::debug!("sd_notify: {error}");
                true
            }
            Ok(_) => true,
        }
    }

    /// Says what is said again before long, or of no use later.
    fn say(&mut self, message: &str) {
        if self.retry() {
            self.send(message);
        }
    }

    /// Says what the manager has to hear, now or later.
    fn insist(&mut self, message: String) {
        self.unsent.push_back(message);
        self.retry();
    }

    /// READY=1, once: the first poll is over.
    pub fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            self.insist("READY=1\n".to_owned());
        }
    }

    /// EXTEND_TIMEOUT_USEC: the first poll takes longer than the manager expects, and goes on.
    pub fn extend_timeout(&mut self, by: Duration) {
        self.say(&extend_timeout(by));
    }

    /// WATCHDOG=1: polls make progress.
    pub fn watchdog(&mut self) {
        self.say("WATCHDOG=1\n");
    }

    /// STATUS=, the line that `systemctl status` shows.
    pub fn status(&mut self, line: &str) {
        self.say(&format!("STATUS={line}\n"));
    }

    /// STOPPING=1, and EXTEND_TIMEOUT_USEC: the end may take so long.
    pub fn stopping(&mut self, at_most: Duration) {
        self.insist(format!("STOPPING=1\n{}", extend_timeout(at_most)));
    }

    /// RELOADING=1 with the time, then READY=1 once it is done. Nothing before the first READY=1: the
    /// manager would take the second for it.
    pub fn reloading(&mut self) {
        if !self.ready {
            return;
        }
        // Of reloads that the manager has not heard of, the newest will do. What is in front may be the READY=1
        // that it waits for.
        self.unsent.truncate(1);
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let usec = Duration::from(now).as_micros();
                self.insist(format!("RELOADING=1\nMONOTONIC_USEC={usec}\n"));
            }
            Err(error) => log::debug!("sd_notify: {error}"),
        }
    }

    /// READY=1 after a reload.
    pub fn reloaded(&mut self) {
        if self.ready {
            self.insist("READY=1\n".to_owned());
        }
    }
}

fn extend_timeout(by: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}\n", by.as_micros())
}

/// A path, or `@` and an abstract name.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// The time of the watchdog, where it is this process that it watches (sd_watchdog_enabled(3)).
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
    let usec = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0)?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn told(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut all = Vec::new();
        while let Ok(length) = manager.recv(&mut buffer) {
            all.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        all
    }

    /// As many as the queue takes.
    fn fill(notify: &Notify) {
        while notify.send("full") {}
    }

    #[test]
    fn an_abstract_name_will_do() {
        let name = format!("xtcp2-notify-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut notify = Notify::new(Some(format!("@{name}").into()), None);
        notify.status("well");
        notify.stopping(Duration::from_secs(2));
        let expected = ["STATUS=well\n", "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\n"];
        assert_eq!(told(&manager), expected);
    }

    #[test]
    fn a_full_queue_holds_nothing_up_and_changes_of_state_come_later() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut notify = Notify::new(Some(path.into()), None);
        fill(&notify);
        notify.status("poll 1");
        assert_eq!(notify.retry_due(), None, "the next poll has a status too");
        notify.ready();
        assert!(notify.retry_due().is_some());
        for _ in 0..1000 {
            notify.reloading();
            notify.reloaded();
            notify.status("no room");
            notify.watchdog();
        }
        notify.stopping(Duration::ZERO);
        told(&manager);
        assert!(notify.retry());
        assert_eq!(notify.retry_due(), None);
        let told = told(&manager);
        let states: Vec<_> = told.iter().filter_map(|message| message.lines().next()).collect();
        assert_eq!(states, ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]);
    }

    #[test]
    fn a_manager_that_is_gone_is_not_waited_for() {
        let mut notify = Notify::new(Some("/absent/notify".into()), None);
        notify.ready();
        assert_eq!(notify.retry_due(), None);
        let mut nobody = Notify::new(None, None);
        nobody.ready();
        assert_eq!(nobody.retry_due(), None);
    }
}
