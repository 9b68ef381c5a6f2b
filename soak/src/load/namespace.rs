//! A network namespace with a listener and connections, mounted on a file. Made by system calls alone.

use super::{
    connections::{Connection, Kind},
    loopback,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

/// Namespace of the thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Where the thread is at home.
#[derive(Debug)]
pub struct Home(File);

impl Home {
    /// Remembers where the thread is now.
    ///
    /// # Errors
    /// Without /proc.
    pub fn here() -> Result<Home, String> {
        File::open(OWN)
            .map(Home)
            .map_err(|error| format!("{OWN}: {error}"))
    }

    /// Goes to a namespace that is mounted, for good.
    ///
    /// # Errors
    /// When it is not there.
    pub fn leave_for(self, path: &Path) -> Result<(), String> {
        let gone = File::open(path).and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?));
        gone.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Does something in a new namespace, and comes back.
    ///
    /// # Errors
    /// When there is no new namespace, no way home, or in what is done.
    pub fn away<T>(&self, act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("new network namespace (needs root): {error}"))?;
        let result = act();
        setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(|error| format!("way home: {error}"))?;
        result
    }
}

/// What is in a namespace.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// Established sockets; two are a connection.
    pub sockets: u32,
    /// Of which kind connection number so and so is.
    pub kind: &'a Kind,
    /// netem on its loopback.
    pub delay_ms: u32,
    /// netem on its loopback.
    pub loss_percent: f64,
}

/// A namespace that is there until it is dropped.
#[derive(Debug)]
pub struct Namespace {
    /// What is accepted there.
    pub listener: TcpListener,
    /// Its connections.
    pub connections: Vec<Connection>,
    mount: Mount,
}

impl Namespace {
    /// Makes it and mounts it on a new file. It is mounted last, so who finds it finds everything.
    ///
    /// # Errors
    /// One line: what could not be done. Nothing is left then.
    pub fn make(home: &Home, path: &Path, contents: &Contents<'_>) -> Result<Namespace, String> {
        home.away(|| {
            loopback::up()?;
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
                .map_err(|error| format!("listener: {error}"))?;
            let connections = (0..contents.sockets / 2)
                .map(|number| Connection::open(&listener, Ipv4Addr::LOCALHOST, contents.kind.of(number)))
                .collect::<Result<_, String>>()?;
            if contents.delay_ms > 0 || contents.loss_percent > 0.0 {
                loopback::slow_down(contents.delay_ms, contents.loss_percent)?;
            }
            Ok(Namespace {
                listener,
                connections,
                mount: Mount::of_own_namespace(path)?,
            })
        })
    }

    /// Closes its sockets and takes away its mount and its file.
    ///
    /// # Errors
    /// When the mount or the file did not go.
    pub fn delete(self) -> Result<(), String> {
        let Namespace {
            listener,
            connections,
            mut mount,
        } = self;
        drop((listener, connections));
        mount.remove()
    }

    /// Name of its file.
    pub fn name(&self) -> String {
        let name = self.mount.path.file_name();
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

/// A namespace on a file.
#[derive(Debug)]
struct Mount {
    path: PathBuf,
    is_there: bool,
}

impl Mount {
    fn of_own_namespace(path: &Path) -> Result<Mount, String> {
        File::create_new(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (bind, none) = (MsFlags::MS_BIND, None::<&str>);
        mount(Some(OWN), path, none, bind, none).map_err(|error| {
            let _ = fs::remove_file(path);
            format!("mount on {}: {error}", path.display())
        })?;
        Ok(Mount {
            path: path.to_owned(),
            is_there: true,
        })
    }

    fn remove(&mut self) -> Result<(), String> {
        self.is_there = false;
        unmount_and_unlink(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_there
            && let Err(problem) = self.remove()
        {
            eprintln!("xtcp2-soak: {problem}");
        }
    }
}

/// Takes away a mount and the file below it.
///
/// # Errors
/// Of the system. The file is tried also where the mount did not go.
pub fn unmount_and_unlink(path: &Path) -> io::Result<()> {
    let unmounted = umount2(path, MntFlags::MNT_DETACH);
    fs::remove_file(path)?;
    Ok(unmounted?)
}
