//! The signal that a write past a limit on the size of files (RLIMIT_FSIZE) would bring.

use nix::sys::signal::{SigHandler, Signal, signal};
use std::io;

/// From now on such a write fails with EFBIG, which is a disk that is full, where SIGXFSZ would kill the process
/// without a word. Programs that are started inherit it.
///
/// # Errors
/// When the system refuses it.
pub fn report_as_error() -> io::Result<()> {
    // SAFETY: SIG_IGN runs no code of ours, and nothing else in the process has a handler for this signal.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
    Ok(())
}
