//! Whether the admin server would get its port.

use super::Report;
use crate::{admin::listen::Listener, config::Config};
use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// How long a name to listen on may take to resolve, and the holder of a taken port to be found.
const BIND_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    if config.prom_listen.is_empty() {
        return report.ok("admin", "no server (--prom-listen none)");
    }
    let address = config.prom_listen.clone();
    // A thread, since only it can be left behind when the look-up of a name takes its time. The port
    // is free again before the answer is taken.
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || {
        let bound = Listener::bind(&address)
            .map(drop)
            .map_err(|error| error.to_string());
        let _ = answer.send(bound);
    });
    match answered.recv_timeout(BIND_TIMEOUT) {
        Ok(Ok(())) => report.ok(
            "admin",
            format_args!("http://{}{} is free", config.prom_listen, config.prom_path),
        ),
        Ok(Err(problem)) if problem.contains("in use by xtcp2 ") => report.fail(
            "admin",
            format_args!(
                "{problem}: a daemon runs here already, and a second one needs another --prom-listen"
            ),
        ),
        Ok(Err(problem)) => report.fail(
            "admin",
            format_args!("{problem}; give another --prom-listen, or none"),
        ),
        Err(RecvTimeoutError::Timeout) => report.warn(
            "admin",
            format_args!(
                "{:?} took longer than {BIND_TIMEOUT:?} to be looked up; give --prom-listen an address",
                config.prom_listen
            ),
        ),
        Err(RecvTimeoutError::Disconnected) => report.warn("admin", "the check of the port broke off"),
    }
}
