//! Random numbers from the kernel itself: in a chroot there may be no /dev/urandom.

use std::io::{self, ErrorKind};

/// 64 random bits. Early in a boot it waits until the kernel has some.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    loop {
        // SAFETY: the kernel writes no more than `bytes.len()` bytes to `bytes`, which lives through the call.
        let length = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        // As few come all at once.
        if length >= 0 {
            return Ok(u64::from_ne_bytes(bytes));
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
