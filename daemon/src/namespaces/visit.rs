//! One visit to a network namespace: go in, open a socket that stays there, come home.
//!
//! Nothing is held per namespace: the path is closed before the visit returns, so a deleted
//! namespace is pinned only by the socket, for as long as its dump is read, a standstill of the poll included.

use super::system::{Linux, System};
use nix::errno::Errno;
use std::{fmt, io::Write, os::unix::fs::MetadataExt, path::Path};

/// The step at which every visit fails when the daemon may not return to its own namespace.
pub(super) const NO_WAY_HOME: &str = "setns to the own network namespace";

/// Which namespace a socket is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `SO_NETNS_COOKIE`, unique while the machine runs; `None` before Linux 5.14.
    pub cookie: Option<u64>,
    /// Inode of the namespace. The kernel gives the inode of a deleted namespace out again at
    /// once, so it tells two namespaces apart only while both are alive.
    pub inode: u64,
}

impl Identity {
    /// What to compare: the cookie, or the inode where there is none.
    pub fn key(self) -> u64 {
        self.cookie.unwrap_or(self.inode)
    }
}

/// What a visit brings home.
#[derive(Debug)]
pub struct Visit<S: System = Linux> {
    /// A non-blocking `NETLINK_SOCK_DIAG` socket in the visited namespace.
    pub socket: S::Socket,
    /// What the kernel counts there; without it the namespace can only be walked.
    pub counts: Option<S::Counts>,
    /// Read on that very socket, so it cannot be another namespace's.
    pub identity: Identity,
}

/// Why a visit failed, in the terms a reader of the counters needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailureKind {
    /// The path or the process has gone.
    Vanished = 0,
    /// A file that no namespace is mounted on, as `ip netns add` leaves one for a moment.
    NotYetMounted = 1,
    /// A namespace, but of mounts, users, ... and not of the network.
    NotANetworkNamespace = 2,
    /// The daemon lacks the privileges.
    Permission = 3,
    /// No descriptor or memory left.
    Resources = 4,
    /// Anything else.
    Other = 5,
}

impl FailureKind {
    /// Every kind, in the order of its number.
    pub const ALL: [FailureKind; 6] = [
        FailureKind::Vanished,
        FailureKind::NotYetMounted,
        FailureKind::NotANetworkNamespace,
        FailureKind::Permission,
        FailureKind::Resources,
        FailureKind::Other,
    ];

    /// The value of the metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            FailureKind::Vanished => "vanished",
            FailureKind::NotYetMounted => "not_a_namespace",
            FailureKind::NotANetworkNamespace => "not_a_network_namespace",
            FailureKind::Permission => "permission",
            FailureKind::Resources => "resources",
            FailureKind::Other => "other",
        }
    }
}

/// The step of a visit that failed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisitError {
    /// What the failure means.
    pub kind: FailureKind,
    /// The call that failed.
    pub step: &'static str,
    /// What it said; 0 when it was its answer that was wrong.
    pub errno: Errno,
}

impl VisitError {
    fn new(step: &'static str, errno: Errno) -> VisitError {
        let kind = match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESRCH | Errno::ENODEV => FailureKind::Vanished,
            Errno::EACCES | Errno::EPERM => FailureKind::Permission,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS => FailureKind::Resources,
            _ => FailureKind::Other,
        };
        VisitError { kind, step, errno }
    }

    fn at(step: &'static str) -> impl FnOnce(Errno) -> VisitError {
        move |errno| VisitError::new(step, errno)
    }
}

impl fmt::Display for VisitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, errno) = (self.step, self.errno.desc());
        match self.kind {
            FailureKind::NotYetMounted => write!(f, "expected a mounted namespace, got another kind of file"),
            FailureKind::NotANetworkNamespace => {
                write!(f, "expected a network namespace, got one of another kind")
            }
            FailureKind::Permission => {
                let needed = match step {
                    "open" => "CAP_SYS_PTRACE for a process, CAP_DAC_READ_SEARCH for a file",
                    _ => "CAP_SYS_ADMIN",
                };
                write!(f, "{step}: {errno} (needs {needed})")
            }
            FailureKind::Resources => write!(f, "{step}: {errno} (see the limits on open files and memory)"),
            FailureKind::Vanished | FailureKind::Other => write!(f, "{step}: {errno}"),
        }
    }
}

impl std::error::Error for VisitError {}

/// The namespace the daemon lives in, and the way back to it.
#[derive(Debug)]
pub struct Home<S: System = Linux> {
    system: S,
    namespace: S::File,
    inode: u64,
    /// What setns to here answered when nothing was at stake. Who may not come home must not go
    /// out: a daemon in a user namespace of its own may enter namespaces made there, but not
    /// return to the one it was started in.
    way_home: Result<(), Errno>,
}

impl Home {
    /// Remembers the namespace of the calling thread, the only one that may make visits.
    ///
    /// # Errors
    /// When /proc is not mounted or no descriptor is left.
    pub fn open() -> Result<Home, VisitError> {
        Home::on(Linux)
    }

    /// What rows of the own namespace carry as its name: init's path where it is init's namespace.
    pub fn name(&self) -> &'static str {
        match std::fs::metadata("/proc/1/ns/net") {
            Ok(init) if init.ino() == self.inode => "/proc/1/ns/net",
            _ => "/proc/self/ns/net",
        }
    }
}

impl<S: System> Home<S> {
    /// As [`Home::open`], on another system than this machine's.
    ///
    /// # Errors
    /// As there.
    pub fn on(system: S) -> Result<Home<S>, VisitError> {
        let namespace = system.open_own().map_err(VisitError::at(
            "open /proc/thread-self/ns/net (is /proc mounted?)",
        ))?;
        let inode = system.inode(&namespace).map_err(VisitError::at("fstat"))?;
        let way_home = system.enter(&namespace);
        Ok(Home {
            system,
            namespace,
            inode,
            way_home,
        })
    }

    /// Whether namespaces other than the own one can be visited.
    ///
    /// # Errors
    /// What the kernel says against it; EPERM without CAP_SYS_ADMIN.
    pub fn may_visit_others(&self) -> Result<(), Errno> {
        self.way_home
    }

    /// Inode of the own namespace.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// A socket in the own namespace; needs no privileges.
    ///
    /// # Errors
    /// When no descriptor or memory is left, or the kernel has no sock_diag.
    pub fn visit_own(&self) -> Result<Visit<S>, VisitError> {
        let socket = self.system.socket().map_err(VisitError::at("socket"))?;
        self.arrived(socket, self.system.counts(), self.inode)
    }

    /// A socket in the namespace mounted on, or linked from, `path`.
    ///
    /// # Errors
    /// Each is a matter of this namespace alone: the thread is home again.
    pub fn visit(&self, path: &Path) -> Result<Visit<S>, VisitError> {
        self.way_home.map_err(VisitError::at(NO_WAY_HOME))?;
        let namespace = self.system.open(path).map_err(VisitError::at("open"))?;
        let is_namespace = self.system.is_namespace(&namespace);
        if !is_namespace.map_err(VisitError::at("fstatfs"))? {
            return Err(VisitError {
                kind: FailureKind::NotYetMounted,
                step: "fstatfs",
                errno: Errno::UnknownErrno,
            });
        }
        let inode = self.system.inode(&namespace).map_err(VisitError::at("fstat"))?;
        self.system.enter(&namespace).map_err(|errno| match errno {
            Errno::EINVAL => VisitError {
                kind: FailureKind::NotANetworkNamespace,
                step: "setns",
                errno,
            },
            errno => VisitError::new("setns", errno),
        })?;
        let socket = self.system.socket();
        let counts = self.system.counts();
        self.come_home();
        self.arrived(socket.map_err(VisitError::at("socket"))?, counts, inode)
    }

    fn come_home(&self) {
        if let Err(errno) = self.system.enter(&self.namespace) {
            // Whatever came next would carry a wrong namespace. Not through the logger, which may
            // do more than write to stderr.
            let line = format!("<2>cannot return to the own network namespace: {errno}; aborting\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            std::process::abort();
        }
    }

    /// A socket keeps its namespace, so all questions about it are asked at home.
    fn arrived(
        &self,
        socket: S::Socket,
        counts: Result<S::Counts, Errno>,
        inode: u64,
    ) -> Result<Visit<S>, VisitError> {
        let cookie = self.system.cookie(&socket);
        let cookie = cookie.map_err(VisitError::at("getsockopt SO_NETNS_COOKIE"))?;
        Ok(Visit {
            socket,
            counts: counts
                .map_err(|errno| log::debug!("counts of a namespace: {errno}"))
                .ok(),
            identity: Identity { cookie, inode },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_needs_no_privileges_and_has_one_identity() {
        let home = Home::open().unwrap();
        let first = home.visit_own().unwrap();
        let second = home.visit_own().unwrap();
        assert_eq!(first.identity, second.identity);
        assert_eq!(first.identity.inode, home.inode());
        let link = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(link.to_str().unwrap(), format!("net:[{}]", home.inode()));
    }

    #[test]
    fn every_kind_has_the_number_of_its_place() {
        for (place, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{kind:?}");
        }
    }

    #[test]
    fn errors_become_the_kind_their_cause_has() {
        let kind = |errno| VisitError::new("open", errno).kind;
        assert_eq!(kind(Errno::ESRCH), FailureKind::Vanished);
        assert_eq!(kind(Errno::EPERM), FailureKind::Permission);
        assert_eq!(kind(Errno::EMFILE), FailureKind::Resources);
        assert_eq!(kind(Errno::ELOOP), FailureKind::Other);
    }
}
