//! SIGHUP, with the real program: what changes, what stays, and that no row is lost on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::{UnixDatagram, UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// For what the daemon does within milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, polling its own namespace only, with a configuration file in a folder of its own.
struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    folder: TempDir,
    /// Sockets to make rows of.
    _listeners: Vec<TcpListener>,
}

impl Daemon {
    /// Starts with `settings` behind those that every test here has.
    fn start(settings: &str) -> Daemon {
        Daemon::start_in(TempDir::new().unwrap(), settings, &[])
    }

    /// Starts with `wrapper` before the program's name.
    fn start_in(folder: TempDir, settings: &str, wrapper: &[&str]) -> Daemon {
        configure(folder.path(), settings);
        let mut words = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_xtcp2")]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg("--config")
            .arg(folder.path().join("xtcp2.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Daemon {
            child,
            log,
            folder,
            _listeners: (0..3)
                .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
                .collect(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, settings: &str) {
        configure(self.folder.path(), settings);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log says `text` for the time `times`.
    fn wait_for_log(&self, text: &str, times: usize) {
        self.wait(&format!("{times} x {text:?} in the log"), || {
            self.log().matches(text).count() >= times
        });
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !done() {
            assert!(
                Instant::now() < give_up,
                "waiting for {what}; log:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for `count` more rows in a file.
    fn wait_for_rows(&self, name: &str, count: usize) {
        let before = lines(&self.file(name));
        self.wait(&format!("{count} rows more in {name}"), || {
            lines(&self.file(name)) >= before + count
        });
    }

    fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}; log:\n{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(folder: &Path, settings: &str) {
    let rows = folder.join("rows");
    let mut text = format!("netns_dirs = []\nproc_scan_every = \"0s\"\nprom_listen = \"none\"\n{settings}");
    if !settings.contains("dest") {
        text.push_str(&format!("\ndest = \"file:{}\"\n", rows.display()));
    }
    // Never half a file under the daemon's eyes.
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join("xtcp2.toml")).unwrap();
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// (record counter, label) of each row of a jsonl file.
fn rows(path: &Path) -> Vec<(u64, String)> {
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let counter = row["recordCounter"].as_str().unwrap().parse().unwrap();
        (counter, row["label"].as_str().unwrap_or_default().to_owned())
    });
    rows.collect()
}

fn assert_without_gap(rows: &[(u64, String)]) {
    assert!(rows.len() > 5, "{} rows prove little", rows.len());
    for (place, (counter, _)) in (1..).zip(rows) {
        assert_eq!(*counter, place, "a row is missing or double");
    }
}

#[test]
fn label_and_frequency_change_and_the_record_counter_goes_on() {
    let mut daemon = Daemon::start("frequency = \"1h\"\nmarshal = \"jsonl\"\nlabel = \"old\"");
    daemon.wait_for_rows("rows", 3);
    let of_old = rows(&daemon.file("rows")).len();
    daemon.configure("frequency = \"20ms\"\nmarshal = \"jsonl\"\nlabel = \"new\"");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("in force now: frequency, label", 1);
    daemon.wait_for_rows("rows", 20);
    daemon.end();
    let rows = rows(&daemon.file("rows"));
    assert_without_gap(&rows);
    let (old, new) = rows.split_at(of_old);
    assert!(old.iter().all(|(_, label)| label == "old"));
    assert!(new.iter().all(|(_, label)| label == "new"));
}

#[test]
fn a_broken_file_changes_nothing_and_is_reported_with_its_line() {
    let mut daemon = Daemon::start("frequency = \"20ms\"\nmarshal = \"jsonl\"\nlabel = \"old\"");
    daemon.wait_for_rows("rows", 3);
    daemon.configure("label = \"new\"\nfrequenzy = \"1s\"");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the settings stay as they are", 1);
    let file = daemon.file("xtcp2.toml");
    daemon.wait_for_log(&format!("{}:5 key frequenzy: no such key", file.display()), 1);
    fs::remove_file(&file).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the settings stay as they are", 2);
    daemon.wait_for_rows("rows", 10);
    daemon.end();
    let rows = rows(&daemon.file("rows"));
    assert_without_gap(&rows);
    assert!(rows.iter().all(|(_, label)| label == "old"));
}

#[test]
fn rotation_by_rename_and_sighup_loses_no_row() {
    let mut daemon = Daemon::start("frequency = \"5ms\"\nmarshal = \"jsonl\"");
    let mut all = Vec::new();
    for turn in 0..5 {
        daemon.wait("the file", || daemon.file("rows").exists());
        daemon.wait_for_rows("rows", 5);
        fs::rename(daemon.file("rows"), daemon.file(&format!("rows.{turn}"))).unwrap();
        daemon.signal(Signal::SIGHUP);
    }
    daemon.wait("the file", || daemon.file("rows").exists());
    daemon.end();
    for name in (0..5)
        .map(|turn| format!("rows.{turn}"))
        .chain(["rows".to_owned()])
    {
        all.extend(rows(&daemon.file(&name)));
    }
    assert_without_gap(&all);
}

#[test]
fn another_destination_takes_over_where_the_old_one_ended() {
    let mut daemon = Daemon::start("frequency = \"5ms\"\nmarshal = \"jsonl\"");
    daemon.wait_for_rows("rows", 5);
    let other = daemon.file("other");
    let to = |path: &Path| {
        format!(
            "frequency = \"5ms\"\nmarshal = \"jsonl\"\ndest = \"file:{}\"",
            path.display()
        )
    };
    daemon.configure(&to(&other));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("in force now: dest", 1);
    daemon.wait_for_rows("other", 5);
    // One that cannot be opened is an error, and the one before stays.
    daemon.configure(&to(&daemon.file("absent/rows")));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the settings stay as they are", 1);
    daemon.wait_for_rows("other", 5);
    daemon.end();
    let mut all = rows(&daemon.file("rows"));
    all.extend(rows(&other));
    assert_without_gap(&all);
}

#[test]
fn other_columns_begin_a_file_with_their_header() {
    let mut daemon = Daemon::start("frequency = \"5ms\"\nmarshal = \"csv\"\ncolumns = [\"recordCounter\"]");
    daemon.wait_for_rows("rows", 5);
    daemon.configure(
        "frequency = \"5ms\"\nmarshal = \"csv\"\ncolumns = [\"label\", \"recordCounter\"]\nlabel = \"x\"",
    );
    fs::rename(daemon.file("rows"), daemon.file("rows.0")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait("the file", || daemon.file("rows").exists());
    daemon.wait_for_rows("rows", 5);
    daemon.end();
    let (old, new) = ["rows.0", "rows"]
        .map(|name| fs::read_to_string(daemon.file(name)).unwrap())
        .into();
    assert!(old.starts_with("recordCounter\n1\n2\n"), "{old}");
    let next = old.lines().count();
    assert!(
        new.starts_with(&format!("label,recordCounter\nx,{next}\n")),
        "{next}: {new}"
    );
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_applies() {
    let mut daemon = Daemon::start("frequency = \"5ms\"\nmarshal = \"jsonl\"");
    daemon.wait_for_rows("rows", 3);
    let record = daemon.file("record.pcapng");
    daemon.configure(&format!(
        "frequency = \"5ms\"\nmarshal = \"jsonl\"\nlabel = \"new\"\nrecord = \"{}\"\nprom_path = \"/m\"",
        record.display()
    ));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("only after a restart: record, prom-path", 1);
    daemon.wait_for_log("in force now: label", 1);
    daemon.end();
    assert!(!record.exists());
}

/// Answers each request that comes, and says what its head was.
fn http_server() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (heads, seen) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut reader, heads) = (BufReader::new(stream), heads.clone());
            thread::spawn(move || {
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {
                    if !head.ends_with("\r\n\r\n") {
                        continue;
                    }
                    let (_, length) = head.split_once("Content-Length: ").unwrap();
                    let mut body = vec![0; length.trim().parse().unwrap()];
                    reader.read_exact(&mut body).unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    reader.get_mut().write_all(answer).unwrap();
                    // The test may be over.
                    let _ = heads.send(std::mem::take(&mut head));
                }
            });
        }
    });
    (address, seen)
}

/// Requests went out without what a pipe had said at the start; and a FIFO in a file's place stopped the loop, deaf
/// to SIGTERM.
#[test]
fn headers_that_cannot_be_read_again_stay_in_force() {
    let folder = TempDir::new().unwrap();
    let (address, seen) = http_server();
    let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let writer = thread::spawn({
        let pipe = pipe.clone();
        // Returns when the daemon opens it.
        move || fs::write(pipe, "Authorization: from the pipe\n").unwrap()
    });
    let settings = |headers: &Path, query: &str| {
        let headers = headers.display();
        format!("frequency = \"5ms\"\ndest = \"http://{address}/{query}\"\nhttp_headers_file = \"{headers}\"")
    };
    let expect = |query: &str, authorization: &str| {
        let line = format!("\r\nAuthorization: {authorization}\r\n");
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            let head = seen.recv_timeout(PATIENCE).unwrap();
            assert!(head.contains("\r\nAuthorization: "), "{head}");
            if head.starts_with(&format!("POST /{query} ")) && head.contains(&line) {
                return;
            }
        }
        panic!("no request to {query} with {authorization}");
    };
    let mut daemon = Daemon::start_in(folder, &settings(&pipe, ""), &[]);
    writer.join().unwrap();
    expect("", "from the pipe");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("what was read before stays in force", 1);
    while seen.try_recv().is_ok() {}
    expect("", "from the pipe");
    // A new destination is opened with it too.
    daemon.configure(&settings(&pipe, "other"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("in force now: dest", 1);
    expect("other", "from the pipe");

    fs::write(&file, "Authorization: from the file\n").unwrap();
    daemon.configure(&settings(&file, "other"));
    daemon.signal(Signal::SIGHUP);
    expect("other", "from the file");
    fs::remove_file(&file).unwrap();
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("what was read before stays in force", 3);
    while seen.try_recv().is_ok() {}
    expect("other", "from the file");
    // One that was never read is refused with all other changes.
    let never = daemon.file("never");
    mkfifo(&never, Mode::S_IRWXU).unwrap();
    daemon.configure(&settings(&never, "third"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("never: expected a regular file in a running daemon", 1);
    expect("other", "from the file");
    daemon.end();
}

/// Nobody writes to the pipe, or reads from it: the start hung, deaf to SIGTERM.
#[test]
fn no_pipe_holds_a_start_up_for_ever() {
    let folder = TempDir::new().unwrap();
    // The recording has one of its own: those that read would be its readers.
    let [pipe, recording] = ["pipe", "recording"].map(|name| folder.path().join(name));
    for pipe in [&pipe, &recording] {
        mkfifo(pipe, Mode::S_IRWXU).unwrap();
    }
    let name = pipe.to_str().unwrap();
    let recording = recording.to_str().unwrap();
    let no_file = format!("--record {recording}: expected a file, got a FIFO or a socket that nobody reads");
    let property = format!("sasl.password=@{name}");
    let silent = format!("{name}: expected a file, or a pipe that is written and closed within 5s");
    let starts = [
        (&["--config", name][..], silent.as_str()),
        (
            &["--dest", "http://127.0.0.1:1/", "--http-headers-file", name],
            &silent,
        ),
        (
            &["--dest", "kafka:127.0.0.1:1", "--kafka-property", &property],
            &silent,
        ),
        (&["--dest", "null", "--record", recording], &no_file),
        (
            &[
                "--dest",
                "http://127.0.0.1:1/",
                "--http-headers-file",
                "/dev/zero",
            ],
            "/dev/zero: expected at most 4096 bytes, got more",
        ),
    ];
    let children = starts.map(|(arguments, expected)| {
        let child = Command::new(env!("CARGO_BIN_EXE_xtcp2"))
            .args([
                "--prom-listen",
                "none",
                "--netns-dirs",
                "",
                "--proc-scan-every",
                "0s",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (child, arguments, expected)
    });
    let give_up = Instant::now() + PATIENCE;
    for (mut child, arguments, expected) in children {
        while child.try_wait().unwrap().is_none() && Instant::now() < give_up {
            thread::sleep(Duration::from_millis(10));
        }
        // Of one that hangs, which the assertion tells.
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code().is_some_and(|status| status != 0) && log.contains(expected),
            "{arguments:?}: {}: {log}",
            output.status
        );
    }
}

#[test]
fn rows_that_wait_for_a_receiver_go_to_its_successor() {
    let absent = "frequency = \"5ms\"\nmarshal = \"jsonl\"\ndest = \"unix:/nonexistent/socket\"";
    let mut daemon = Daemon::start(absent);
    daemon.wait_for_log("poll 1: ", 1);
    thread::sleep(Duration::from_millis(50));
    daemon.configure("frequency = \"5ms\"\nmarshal = \"jsonl\"");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("in force now: dest", 1);
    daemon.wait_for_rows("rows", 5);
    daemon.end();
    assert_without_gap(&rows(&daemon.file("rows")));
}

#[test]
fn another_format_waits_until_the_rows_of_the_old_one_are_delivered() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    let settings = |columns: &str| {
        let dest = socket.display();
        format!("frequency = \"1h\"\nmarshal = \"csv\"\ncolumns = [{columns}]\ndest = \"unix:{dest}\"")
    };
    let daemon = Daemon::start_in(folder, &settings("\"recordCounter\""), &[]);
    daemon.wait_for_log("poll 1: ", 1);
    daemon.configure(&settings("\"recordCounter\", \"tag\"").replace("1h", "5ms"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("bytes of the old format are delivered", 1);
    let receiver = UnixListener::bind(&socket).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let accept = || {
        let give_up = Instant::now() + PATIENCE;
        let connection = loop {
            match receiver.accept() {
                Ok((connection, _)) => break connection,
                Err(error) => assert!(Instant::now() < give_up, "{error}; log:\n{}", daemon.log()),
            }
            thread::sleep(Duration::from_millis(5));
        };
        connection.set_nonblocking(false).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    };
    let old = std::io::read_to_string(accept()).unwrap();
    let new = accept();
    let mut new = BufReader::new(new).lines().map(Result::unwrap);
    assert!(old.starts_with("recordCounter\n1\n"), "{old}");
    assert_eq!(new.next().unwrap(), "recordCounter,tag");
    assert_eq!(new.next().unwrap(), format!("{},", old.lines().count()));
}

/// The spool went on to write the old format's name, and the next start refused what waited.
#[test]
fn what_waits_in_the_spool_after_a_reload_is_of_the_new_format() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    let settings = |marshal: &str| {
        let (spool, dest) = (folder.path().join("spool"), socket.display());
        let spool = spool.display();
        format!(
            "frequency = \"100ms\"\nmarshal = \"{marshal}\"\nspool_dir = \"{spool}\"\ndest = \"unix:{dest}\""
        )
    };
    // Nobody needs to accept: the kernel takes what is sent.
    let receiver = UnixListener::bind(&socket).unwrap();
    let mut daemon = Daemon::start(&settings("protobufList"));
    daemon.wait_for_log("poll 1: ", 1);
    daemon.configure(&settings("jsonl"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("in force now: marshal", 1);
    drop(receiver);
    fs::remove_file(&socket).unwrap();
    thread::sleep(Duration::from_millis(500));
    daemon.end();
    daemon.wait_for_log("stay in the spool for the next start", 1);

    let receiver = UnixListener::bind(&socket).unwrap();
    let daemon = Daemon::start(&settings("jsonl"));
    daemon.wait_for_log("wait from earlier runs", 1);
    let (connection, _) = receiver.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let line = BufReader::new(connection).lines().next().unwrap().unwrap();
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
}

/// The signal is there before the program is: held back by its mask, it comes with the loop's first
/// wait.
#[test]
fn a_reload_before_the_first_poll_is_safe_and_the_service_manager_hears_ready_first() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let to_itself = "kill -HUP $$; exec \"$@\"";
    let held_back = [
        "env",
        "--block-signal=HUP",
        &variable,
        "sh",
        "-c",
        to_itself,
        "sh",
    ];
    if !Command::new("env")
        .args([held_back[1], "true"])
        .status()
        .unwrap()
        .success()
    {
        return eprintln!("skipped, env cannot block signals here");
    }
    let settings = "frequency = \"1h\"\nmarshal = \"jsonl\"";
    let mut daemon = Daemon::start_in(folder, settings, &held_back);
    let next = || loop {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let mut lines = text.lines();
        if let Some(line) = lines.find(|line| ["READY=1", "RELOADING=1"].contains(line)) {
            return line.to_owned();
        }
    };
    assert_eq!(next(), "READY=1", "there is nothing to reload before");
    daemon.wait_for_log("SIGHUP: the output is opened anew", 1);
    for (label, times) in [("a", 1), ("b", 2)] {
        daemon.configure(&format!("{settings}\nlabel = \"{label}\""));
        daemon.signal(Signal::SIGHUP);
        assert_eq!(next(), "RELOADING=1");
        assert_eq!(next(), "READY=1");
        daemon.wait_for_log("in force now: label", times);
    }
    daemon.end();
}
