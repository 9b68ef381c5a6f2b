//! The real program, started by a test and watched from outside.

use super::open_metrics::{self, Exposition};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long anything may take that takes milliseconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks `probe` until it has an answer.
///
/// # Panics
/// When there is none [`SOON`].
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < until, "waited {SOON:?} in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An answer of the admin server.
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Page {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The program, running.
pub struct Program {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    log_reader: Option<JoinHandle<()>>,
}

/// What a sanitizer is told that the program may be built with.
const SANITIZERS: [&str; 3] = ["ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"];

/// The program, in which nothing else of the tester's environment has a say.
pub fn xtcp2() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtcp2"));
    command.env_clear().stdin(Stdio::null());
    command.envs(
        SANITIZERS
            .iter()
            .filter_map(|name| Some((name, env::var_os(name)?))),
    );
    command
}

/// The program with these arguments, to be started by [`Program::spawn`]. Nothing outside the sandbox has a say.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = xtcp2();
    command.stdout(Stdio::null());
    // Other programs of the machine come and go: their namespaces are not the tests'.
    command.args(["-procScanEvery", "0s"]).args(arguments);
    command
}

impl Program {
    pub fn start(arguments: &[&str]) -> Program {
        Program::spawn(&mut command(arguments))
    }

    pub fn spawn(command: &mut Command) -> Program {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = Arc::clone(&log);
        let log_reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("| {line}");
                written.lock().unwrap().push(line);
            }
        });
        Program {
            child,
            log,
            log_reader: Some(log_reader),
        }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first line of the log with `part` in it, when it comes.
    pub fn log_line(&self, part: &str) -> String {
        wait_for(part, || self.log().into_iter().find(|line| line.contains(part)))
    }

    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What the kernel says of the process.
    pub fn process(&self) -> procfs::process::Process {
        let process = procfs::process::Process::new(self.child.id().cast_signed()).unwrap();
        assert_eq!(process.stat().unwrap().num_threads, 1, "one thread, at any time");
        process
    }

    /// The names of its threads.
    pub fn threads(&self) -> Vec<String> {
        let folder = format!("/proc/{}/task", self.child.id());
        // One that ends meanwhile is none any more.
        let name =
            |entry: io::Result<fs::DirEntry>| fs::read_to_string(entry.unwrap().path().join("comm")).ok();
        fs::read_dir(folder).unwrap().filter_map(name).collect()
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Duration {
        let stat = self.process().stat().unwrap();
        Duration::from_secs(stat.utime + stat.stime) / u32::try_from(procfs::ticks_per_second()).unwrap()
    }

    /// What its open descriptors are.
    pub fn descriptors(&self) -> Vec<PathBuf> {
        let folder = format!("/proc/{}/fd", self.child.id());
        // One that is closed meanwhile was not held.
        fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .collect()
    }

    /// `host:port` of its admin server.
    pub fn admin(&self) -> String {
        let line = self.log_line("admin HTTP on http://");
        let address = line.split_once("http://").unwrap().1;
        address.split('/').next().unwrap().to_owned()
    }

    pub fn get(&self, path: &str) -> Page {
        let address = self.admin();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let body = answer.split_off(end + 4);
        let head = String::from_utf8(answer).unwrap();
        Page {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body,
        }
    }

    pub fn metrics(&self) -> Exposition {
        open_metrics::parse(self.get("/metrics").text()).unwrap()
    }

    /// A metric's value, once `enough` says that it is.
    pub fn metric_when(&self, sample: &str, enough: impl Fn(f64) -> bool) -> f64 {
        wait_for(sample, || {
            Some(self.metrics().value(sample)).filter(|value| enough(*value))
        })
    }

    /// SIGTERM, and how the program ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process();
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// How the program ended; all of its log is there then.
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait_for("the end of the program", || self.child.try_wait().unwrap());
        if let Some(reader) = self.log_reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// The numbers of the last line of the log, by the word before each: what it did in all.
    pub fn summary(&self) -> Summary {
        let lines = self.log();
        let line = lines
            .iter()
            .rfind(|line| line.contains(" envelopes; delivered "))
            .unwrap();
        let numbers: Vec<u64> = line
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        // "xtcp2: info: N polls, N rows in N envelopes; delivered N rows, dropped N, N bytes waiting; ..."
        Summary {
            polls: numbers[1],
            rows: numbers[2],
            delivered: numbers[4],
            dropped: numbers[5],
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program says at its end that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub polls: u64,
    pub rows: u64,
    pub delivered: u64,
    pub dropped: u64,
}
