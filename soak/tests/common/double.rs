//! A double of the daemon, for those who watch one: it serves /metrics, polls on a schedule, logs, and has one
//! fault. It is the test binary itself, started again.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of seconds"
)]

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, Command},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Its fault, for the process that is to be the double.
const FAULT: &str = "XTCP2_DOUBLE_FAULT";
/// Where it listens.
const LISTEN: &str = "XTCP2_DOUBLE_LISTEN";
/// From poll to poll.
pub const FREQUENCY: Duration = Duration::from_millis(200);
/// Rows of each poll.
pub const ROWS: u64 = 100;
/// That each poll reads.
pub const NAMESPACES: u32 = 10;
/// Faults that happen once happen at this age.
const FAULT_AFTER: Duration = Duration::from_millis(2500);
/// Between two looks at the clock and the listener.
const REST: Duration = Duration::from_millis(5);

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// One each half second.
    LeaksThreads,
    /// Four a second.
    LeaksFds,
    /// 2 MiB a second.
    LeaksMemory,
    /// A thread each 5 s, a descriptor and 64 KiB a second.
    LeaksSlowly,
    /// 64 MiB from the start.
    IsFat,
    Exits0,
    Exits2,
    /// Once, with status 1, and at once after its start no more.
    ExitsOnce,
    Panics,
    Aborts,
    IsKilled,
    /// SIGSTOP.
    IsStopped,
    /// Answers nobody and does nothing.
    Deadlocks,
    /// Another instance under the same pid.
    ExecsInPlace,
    StopsPolling,
    /// Every other poll starts 150 ms after it was due.
    PollsLate,
    /// One poll takes 800 ms.
    PollsLongOnce,
    /// All polls take 130 ms.
    PollsSlowly,
    /// A thread that lives 50 ms, of which a scrape and a sample see nothing.
    HasAShortThread,
    CountsBack,
    /// A poll has a row less.
    LosesARow,
    /// From then on.
    LosesANamespace,
    LogsAnError,
    BurnsCpu,
}

impl Fault {
    const ALL: [Fault; 25] = [
        Fault::None,
        Fault::LeaksThreads,
        Fault::LeaksFds,
        Fault::LeaksMemory,
        Fault::LeaksSlowly,
        Fault::IsFat,
        Fault::Exits0,
        Fault::Exits2,
        Fault::ExitsOnce,
        Fault::Panics,
        Fault::Aborts,
        Fault::IsKilled,
        Fault::IsStopped,
        Fault::Deadlocks,
        Fault::ExecsInPlace,
        Fault::StopsPolling,
        Fault::PollsLate,
        Fault::PollsLongOnce,
        Fault::PollsSlowly,
        Fault::HasAShortThread,
        Fault::CountsBack,
        Fault::LosesARow,
        Fault::LosesANamespace,
        Fault::LogsAnError,
        Fault::BurnsCpu,
    ];
}

/// How the double is started. `test` is the test that calls [`run_if_asked`], in this binary.
pub fn command(test: &str, fault: Fault, listen: &str) -> (PathBuf, Vec<String>, Vec<(String, String)>) {
    let arguments = [test, "--exact", "--nocapture", "--test-threads=1"].map(str::to_owned);
    let environment = [(FAULT, format!("{fault:?}")), (LISTEN, listen.to_owned())];
    (
        std::env::current_exe().unwrap(),
        arguments.to_vec(),
        environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
    )
}

/// Is the double, and does not return, in a process that [`command`] started.
pub fn run_if_asked() {
    let Ok(fault) = std::env::var(FAULT) else { return };
    let fault = Fault::ALL
        .into_iter()
        .find(|known| format!("{known:?}") == fault)
        .unwrap();
    Double::new(fault).run();
}

struct Double {
    fault: Fault,
    listener: TcpListener,
    start: Instant,
    due: Instant,
    instance_id: u128,
    polls: u64,
    rows: u64,
    last: (u64, Duration),
    namespaces: u32,
    durations: Duration,
    delayed: u64,
    has_acted: bool,
    leaked_threads: u64,
    memory: VecDeque<Vec<u8>>,
    files: Vec<File>,
}

impl Double {
    fn new(fault: Fault) -> Double {
        let listener = TcpListener::bind(std::env::var(LISTEN).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let now = Instant::now();
        Double {
            fault,
            listener,
            start: now,
            due: now,
            instance_id: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
                & u128::from(u64::MAX),
            polls: 0,
            rows: 0,
            last: (0, Duration::ZERO),
            namespaces: 0,
            durations: Duration::ZERO,
            delayed: 0,
            has_acted: false,
            leaked_threads: 0,
            memory: VecDeque::new(),
            files: Vec::new(),
        }
    }

    fn run(mut self) -> ! {
        eprintln!("xtcp2: info: the double begins, {:?}", self.fault);
        if self.fault == Fault::IsFat {
            self.memory.push_back(vec![1; 64 << 20]);
        }
        loop {
            if Instant::now() >= self.due && !(self.fault == Fault::StopsPolling && self.is_time()) {
                self.poll();
            }
            while let Ok((client, _)) = self.listener.accept() {
                self.answer(client);
            }
            self.err();
            match self.fault {
                // Half a processor.
                Fault::BurnsCpu => {
                    let until = Instant::now() + REST;
                    while Instant::now() < until {}
                    thread::sleep(REST);
                }
                _ => thread::sleep(REST),
            }
        }
    }

    fn is_time(&self) -> bool {
        self.start.elapsed() >= FAULT_AFTER
    }

    /// Once.
    fn is_first_time(&mut self) -> bool {
        let is_first = self.is_time() && !self.has_acted;
        self.has_acted |= is_first;
        is_first
    }

    fn poll(&mut self) {
        let late = self.polls % 2 == 1 && self.fault == Fault::PollsLate;
        if late {
            thread::sleep(Duration::from_millis(150));
            self.delayed += 1;
        }
        let start = Instant::now();
        let errs = matches!(self.fault, Fault::PollsLongOnce | Fault::LosesARow) && self.is_first_time();
        thread::sleep(match self.fault {
            Fault::PollsSlowly => Duration::from_millis(130),
            Fault::PollsLongOnce if errs => Duration::from_millis(800),
            _ => Duration::from_millis(2),
        });
        let rows = match self.fault {
            Fault::LosesARow if errs => ROWS - 1,
            _ => ROWS,
        };
        self.namespaces = match self.fault {
            Fault::LosesANamespace if self.is_time() => NAMESPACES - 1,
            _ => NAMESPACES,
        };
        self.last = (rows, start.elapsed());
        self.durations += self.last.1;
        self.polls += 1;
        self.rows += rows;
        self.due = (self.due + FREQUENCY).max(Instant::now());
    }

    fn err(&mut self) {
        let is_first = match self.fault {
            // These err in a poll.
            Fault::PollsLongOnce | Fault::LosesARow => false,
            _ => self.is_first_time(),
        };
        match self.fault {
            Fault::LeaksThreads => self.leak(2.0, 0.0, 0.0),
            Fault::LeaksFds => self.leak(0.0, 4.0, 0.0),
            Fault::LeaksMemory => self.leak(0.0, 0.0, 2048.0),
            Fault::LeaksSlowly => self.leak(0.2, 1.0, 64.0),
            Fault::ExitsOnce if self.is_time() => {
                let done = std::env::temp_dir().join(format!("{}-once", std::env::var(LISTEN).unwrap()));
                if File::create_new(done).is_ok() {
                    process::exit(1);
                }
            }
            _ if !self.is_time() => {}
            Fault::Exits0 => process::exit(0),
            Fault::Exits2 => process::exit(2),
            // In the loop's thread, where a panic of the daemon would be.
            Fault::Panics => panic!("a bug"),
            Fault::Aborts => process::abort(),
            Fault::IsKilled => signal_self(nix::sys::signal::Signal::SIGKILL),
            Fault::IsStopped => signal_self(nix::sys::signal::Signal::SIGSTOP),
            Fault::Deadlocks => loop {
                thread::park();
            },
            Fault::ExecsInPlace if is_first => {
                let (program, arguments, _) = command("double", Fault::None, "");
                let mut again = Command::new(program);
                panic!("{}", again.args(arguments).env(FAULT, "None").exec());
            }
            Fault::HasAShortThread if is_first => {
                thread::spawn(|| thread::sleep(Duration::from_millis(50)));
            }
            Fault::CountsBack if is_first => self.rows -= ROWS * 3,
            Fault::LogsAnError if is_first => eprintln!("xtcp2: error: something is wrong"),
            _ => {}
        }
    }

    /// So many a second, and KiB.
    fn leak(&mut self, threads: f64, fds: f64, kib: f64) {
        let so_far = |rate: f64| (self.start.elapsed().as_secs_f64() * rate) as u64;
        while self.leaked_threads < so_far(threads) {
            let thread = thread::Builder::new().stack_size(1 << 16);
            thread
                .spawn(|| {
                    loop {
                        thread::park()
                    }
                })
                .unwrap();
            self.leaked_threads += 1;
        }
        while (self.files.len() as u64) < so_far(fds) {
            self.files.push(File::open("/dev/null").unwrap());
        }
        while (self.memory.len() as u64) < so_far(kib / 16.0) {
            self.memory.push_back(vec![1; 16 << 10]);
        }
    }

    fn answer(&self, mut client: TcpStream) {
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let _ = client.read(&mut [0; 4096]);
        let mut text = format!(
            "xtcp2_instance_info{{instance_id=\"{:016x}\"}} 1\n",
            self.instance_id
        );
        let mut add = |name: &str, value: f64| text.push_str(&format!("xtcp2_{name} {value}\n"));
        add("polls_total", self.polls as f64);
        add("polls_late_total", 0.0);
        add("rows_total", self.rows as f64);
        add(
            "completed_poll_rows_total",
            self.polls as f64 * ROWS as f64
                - f64::from(u8::from(self.fault == Fault::LosesARow && self.has_acted)),
        );
        add("namespaces", self.namespaces.into());
        add("last_poll_rows", self.last.0 as f64);
        add("last_poll_sequence", self.polls as f64);
        add("last_poll_duration_seconds", self.last.1.as_secs_f64());
        add("poll_duration_seconds_sum", self.durations.as_secs_f64());
        add("poll_start_delay_seconds_count", self.polls as f64);
        add(
            "poll_start_delay_seconds_bucket{le=\"0.1\"}",
            (self.polls - self.delayed) as f64,
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        let _ = client.write_all((head + &text).as_bytes());
    }
}

fn signal_self(signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::this(), signal).unwrap();
}
