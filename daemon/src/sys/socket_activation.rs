//! The descriptor that a service manager passes to a socket-activated process.

use std::{
    os::fd::{FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// The first passed descriptor, by the protocol of sd_listen_fds(3).
const FIRST_FD: i32 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes descriptor 3 into ownership; `None` from the second call on. Only for a process whose
/// LISTEN_PID and LISTEN_FDS say that it was passed one.
pub fn take_first_fd() -> Option<OwnedFd> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: LISTEN_PID names this process, so the service manager opened descriptor 3 for it and
    // nothing else in the process knows of it; TAKEN makes us its only owner. Were the variables a
    // lie, the descriptor is at worst closed, and using it fails with EBADF or ENOTSOCK.
    Some(unsafe { OwnedFd::from_raw_fd(FIRST_FD) })
}
