//! Many namespaces with many connections each, held by processes of their own: one process may not
//! open as many descriptors as this takes.

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::socket::{setsockopt, sockopt},
};
use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Lines, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
};

/// Tells a child its share: folder, first and number of namespaces, sockets in each.
const SHARE: &str = "XTCP2_LOAD_SHARE";
/// What a child says when its share is there.
const READY: &str = "all sockets are open";
/// What a child is told to make all its connections anew.
const RENEW: &[u8] = b"\n";
/// Sockets that one process holds; the usual bound of descriptors is 20,000 at the least.
const SOCKETS_PER_PROCESS: usize = 8_000;

/// Namespaces full of established connections, until it is dropped.
pub struct Load {
    children: Vec<Child>,
    answers: Vec<Lines<BufReader<ChildStdout>>>,
}

impl Load {
    /// Mounts `namespaces` in `folder`, with `sockets` (an even number) in each, none of them listening.
    /// `again` starts this program anew, such that it comes to [`hold_share`].
    pub fn start(again: impl Fn() -> Command, folder: &Path, namespaces: usize, sockets: usize) -> Load {
        assert!(sockets.is_multiple_of(2), "a connection is two sockets");
        fs::create_dir_all(folder).unwrap();
        let each = (SOCKETS_PER_PROCESS / sockets.max(1)).max(1);
        let start = |first: usize| {
            let count = each.min(namespaces - first);
            let share = format!("{first} {count} {sockets} {}", folder.display());
            let mut command = again();
            command
                .env(SHARE, share)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let mut children: Vec<Child> = (0..namespaces).step_by(each).map(start).collect();
        let answers = children
            .iter_mut()
            .map(|child| BufReader::new(child.stdout.take().unwrap()).lines());
        let mut load = Load {
            answers: answers.collect(),
            children,
        };
        load.wait();
        load
    }

    /// Closes every connection, and opens as many new ones.
    pub fn renew(&mut self) {
        for child in &mut self.children {
            child.stdin.as_mut().unwrap().write_all(RENEW).unwrap();
        }
        self.wait();
    }

    fn wait(&mut self) {
        for lines in &mut self.answers {
            let ready = lines.any(|line| line.is_ok_and(|line| line.ends_with(READY)));
            assert!(ready, "a process of the load ended");
        }
    }
}

impl Drop for Load {
    /// Ends the children by the end of their input, which comes also when this process is killed.
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// A namespace mounted on a file, until it is dropped.
struct Namespace {
    path: PathBuf,
    connections: Vec<(TcpStream, TcpStream)>,
}

/// So many connections within the namespace that the thread is in.
fn connections(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |_| {
        let client = TcpStream::connect(address).unwrap();
        (client, listener.accept().unwrap().0)
    };
    (0..count).map(connect).collect()
}

impl Namespace {
    /// Makes it from a thread of its own, since a thread that was elsewhere stays there.
    fn make(path: PathBuf, sockets: usize) -> Namespace {
        let make = move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::create_new(&path).unwrap();
            let own = Some("/proc/thread-self/ns/net");
            mount(own, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.unwrap().success(), "ip link set lo up");
            Namespace {
                connections: connections(sockets / 2),
                path,
            }
        };
        thread::spawn(make).join().unwrap()
    }

    /// Resets the connections, which leaves no TIME_WAIT behind, and opens new ones.
    fn renew(&mut self) {
        let old = std::mem::take(&mut self.connections);
        let count = old.len();
        for (client, server) in &old {
            for stream in [client, server] {
                setsockopt(
                    stream,
                    sockopt::Linger,
                    &libc::linger {
                        l_onoff: 1,
                        l_linger: 0,
                    },
                )
                .unwrap();
            }
        }
        drop(old);
        let path = self.path.clone();
        let renew = move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            connections(count)
        };
        self.connections = thread::spawn(renew).join().unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether this process was started to hold a share.
pub fn has_share() -> bool {
    env::var_os(SHARE).is_some()
}

/// Holds the share that the environment names until standard input ends; renews it when told so.
pub fn hold_share() {
    let share = env::var(SHARE).unwrap();
    let mut words = share.splitn(4, ' ');
    let mut number = || words.next().unwrap().parse::<usize>().unwrap();
    let (first, count, sockets) = (number(), number(), number());
    let folder = Path::new(words.next().unwrap());
    let mut namespaces: Vec<Namespace> = (first..first + count)
        .map(|index| Namespace::make(folder.join(format!("load-{index}")), sockets))
        .collect();
    loop {
        println!("{READY}");
        let mut told = [0];
        match io::stdin().read(&mut told) {
            Ok(1..) => namespaces.iter_mut().for_each(Namespace::renew),
            _ => return drop(namespaces),
        }
    }
}
