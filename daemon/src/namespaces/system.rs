//! What visits ask of the system: in a trait, so that the same visits can be made where a test is the
//! system.

use super::counts::CountFiles;
use crate::sys::netns_cookie::netns_cookie;
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sched::{CloneFlags, setns},
    sys::{
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
        stat::{Mode, fstat},
        statfs::{NSFS_MAGIC, fstatfs},
    },
};
use std::{fmt, os::fd::OwnedFd, path::Path};

/// What visits ask of the system, in one narrow trait: the calls of [`Linux`] in the daemon, a simulated
/// thread that moves between simulated namespaces in tests. Static dispatch.
pub trait System {
    /// An open file that a namespace may be mounted on.
    type File: fmt::Debug;
    /// A netlink socket.
    type Socket: fmt::Debug;
    /// Open files of /proc/net.
    type Counts: fmt::Debug;

    /// Opens the network namespace that the calling thread is in.
    ///
    /// # Errors
    /// What the system says; so for all calls below.
    fn open_own(&self) -> Result<Self::File, Errno>;

    /// Opens what is at a path.
    ///
    /// # Errors
    /// As above.
    fn open(&self, path: &Path) -> Result<Self::File, Errno>;

    /// Whether it is a namespace, of any kind.
    ///
    /// # Errors
    /// As above.
    fn is_namespace(&self, file: &Self::File) -> Result<bool, Errno>;

    /// Inode of the file.
    ///
    /// # Errors
    /// As above.
    fn inode(&self, file: &Self::File) -> Result<u64, Errno>;

    /// The thread goes into the network namespace.
    ///
    /// # Errors
    /// EINVAL when it is a namespace of another kind; as above.
    fn enter(&self, namespace: &Self::File) -> Result<(), Errno>;

    /// A non-blocking `NETLINK_SOCK_DIAG` socket in the namespace that the thread is in; it stays there.
    ///
    /// # Errors
    /// As above.
    fn socket(&self) -> Result<Self::Socket, Errno>;

    /// What the kernel counts in the namespace that the thread is in; stays there too.
    ///
    /// # Errors
    /// As above.
    fn counts(&self) -> Result<Self::Counts, Errno>;

    /// Cookie of the namespace that the socket is in; `None` from kernels that have none.
    ///
    /// # Errors
    /// As above.
    fn cookie(&self, socket: &Self::Socket) -> Result<Option<u64>, Errno>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

impl System for Linux {
    type File = OwnedFd;
    type Socket = OwnedFd;
    type Counts = CountFiles;

    fn open_own(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        open("/proc/thread-self/ns/net", flags, Mode::empty())
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        // A FIFO in the folder must not block the loop, a terminal not become ours.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        open(path, flags, Mode::empty())
    }

    fn is_namespace(&self, file: &OwnedFd) -> Result<bool, Errno> {
        Ok(fstatfs(file)?.filesystem_type() == NSFS_MAGIC)
    }

    fn inode(&self, file: &OwnedFd) -> Result<u64, Errno> {
        Ok(fstat(file)?.st_ino)
    }

    fn enter(&self, namespace: &OwnedFd) -> Result<(), Errno> {
        // With the kind given, the kernel refuses namespaces of other kinds with EINVAL, before it
        // looks at privileges; and a service under RestrictNamespaces=net may not pass 0.
        setns(namespace, CloneFlags::CLONE_NEWNET)
    }

    fn socket(&self) -> Result<OwnedFd, Errno> {
        socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )
    }

    fn counts(&self) -> Result<CountFiles, Errno> {
        CountFiles::open()
    }

    fn cookie(&self, socket: &OwnedFd) -> Result<Option<u64>, Errno> {
        netns_cookie(socket)
    }
}
