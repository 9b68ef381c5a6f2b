//! Network namespaces with a name, inside the sandbox.

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

/// Where `ip netns` keeps them, and the daemon looks for them.
const FOLDER: &str = "/run/netns";

/// A network namespace with a name. It goes with the sandbox.
#[derive(Clone)]
pub struct Namespace {
    path: Option<PathBuf>,
}

impl Namespace {
    /// The sandbox's own.
    pub fn own() -> Namespace {
        Namespace { path: None }
    }

    /// Makes one, as `ip netns add` does: of a thread, mounted on a file.
    pub fn add(name: &str) -> Namespace {
        fs::create_dir_all(FOLDER).unwrap();
        let path = Path::new(FOLDER).join(name);
        File::create_new(&path).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                let source = Some("/proc/thread-self/ns/net");
                mount(source, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
            });
        });
        Namespace { path: Some(path) }
    }

    /// What rows call it.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Calls `action` in it, on a thread of its own. Sockets and processes made there stay there.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Some(path) = &self.path {
                    setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                }
                action()
            });
            thread.join().unwrap()
        })
    }

    /// Has `ip` do each of the lines, in it.
    pub fn ip(&self, lines: &str) {
        let output = self.enter(|| {
            let mut ip = Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
            ip.wait_with_output().unwrap()
        });
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip: {error}in {lines}");
    }

    /// Sets a sysctl of it, e.g. `net/ipv4/tcp_ecn`; false where the kernel refuses.
    pub fn sysctl(&self, name: &str, value: &str) -> bool {
        self.enter(|| fs::write(Path::new("/proc/sys").join(name), value).is_ok())
    }
}
