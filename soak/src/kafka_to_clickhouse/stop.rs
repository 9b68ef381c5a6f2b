//! How a signal ends it.

use nix::sys::signal::{SigSet, Signal};
use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How long an INSERT that is under way, and the last commit, may go on after a signal: with what else there
/// is to do, the end comes within two seconds.
const GRACE: Duration = Duration::from_millis(1500);

/// From now on SIGTERM and SIGINT set `stop`. What then still waits for an answer after [`GRACE`] is left
/// alone: that is as good as a kill -9, after which the message comes again with the same token.
///
/// # Errors
/// When the system refuses the thread that waits for them.
pub fn on_signals(stop: &Arc<AtomicBool>) -> Result<(), String> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    // Before librdkafka starts its threads, which inherit it.
    signals
        .thread_block()
        .map_err(|error| format!("sigprocmask: {error}"))?;
    let stop = Arc::clone(stop);
    let wait = move || {
        if signals.wait().is_err() {
            return;
        }
        stop.store(true, Ordering::Release);
        thread::sleep(GRACE);
        log::warn!(
            "ends while ClickHouse or Kafka has not answered; what was under way comes again at the next start"
        );
        process::exit(0);
    };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread
        .map(drop)
        .map_err(|error| format!("thread for signals: {error}"))
}
