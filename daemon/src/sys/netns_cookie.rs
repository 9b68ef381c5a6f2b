//! `SO_NETNS_COOKIE` (Linux 5.14): the number of the network namespace that a socket lives in.

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// include/uapi/asm-generic/socket.h; libc does not have it for every target.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of the namespace that `socket` was made in. A cookie is never given out twice while
/// the machine runs, unlike the inode of a namespace. `Ok(None)` on kernels that have no cookies.
///
/// # Errors
/// Whatever getsockopt says, ENOPROTOOPT excepted.
pub fn netns_cookie(socket: impl AsFd) -> Result<Option<u64>, Errno> {
    let mut cookie: u64 = 0;
    let mut length: libc::socklen_t = 8;
    // SAFETY: getsockopt writes at most `length` = 8 bytes to `cookie`, a u64 that outlives the
    // call, and the length it wrote to `length`; the descriptor is open, for it is borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(Some(cookie)),
        Err(Errno::ENOPROTOOPT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
