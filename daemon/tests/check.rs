//! `xtcp2 check`, with the real program: verdicts, exit status, and that it never takes long.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::sandbox;
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What the program promises.
const TIME_MAX: Duration = Duration::from_secs(10);

struct Checked {
    status: i32,
    lines: Vec<String>,
}

impl Checked {
    /// The lines with that verdict and subject.
    fn lines(&self, verdict: &str, subject: &str) -> Vec<&str> {
        let of = |line: &&str| {
            let mut words = line.split_ascii_whitespace();
            (words.next(), words.next()) == (Some(verdict), Some(subject))
        };
        self.lines.iter().map(String::as_str).filter(of).collect()
    }

    #[track_caller]
    fn assert(&self, verdict: &str, subject: &str, text: &str) {
        let found = self
            .lines(verdict, subject)
            .iter()
            .any(|line| line.contains(text));
        assert!(
            found,
            "expected {verdict} {subject} with {text:?}, got:\n{}",
            self.lines.join("\n")
        );
    }
}

/// Runs the check with `arguments`, under `wrapper`; nothing but a folder of its own is taken from the
/// machine.
fn check_under(wrapper: &[&str], arguments: &[&str]) -> Checked {
    let program = env!("CARGO_BIN_EXE_xtcp2");
    let mut words = wrapper
        .iter()
        .copied()
        .chain([program, "check"])
        .chain(arguments.iter().copied());
    let started = Instant::now();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(["ok  ", "warn", "fail"].contains(&&line[..4]), "{line}");
    }
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    Checked {
        status: output.status.code().unwrap(),
        lines,
    }
}

fn check(arguments: &[&str]) -> Checked {
    let quiet = ["--prom-listen", "none", "--netns-dirs", "/nonexistent/netns"];
    check_under(&[], &[&quiet[..], arguments].concat())
}

#[test]
fn a_daemon_that_would_start_is_told_so_with_a_verdict_on_each_line() {
    let checked = check(&["--dest", "null", "--proc-scan-every", "0s"]);
    assert_eq!(checked.status, 0, "{}", checked.lines.join("\n"));
    checked.assert("ok", "version", "xtcp2 ");
    checked.assert("ok", "settings", "no --config");
    checked.assert("ok", "kernel", ".");
    checked.assert("ok", "sock_diag", "listening TCP sockets");
    checked.assert("ok", "namespaces", "/nonexistent/netns: does not exist");
    checked.assert("ok", "output", "null");
    assert!(checked.lines.last().unwrap().contains("the daemon would start"));
}

#[test]
fn a_taken_port_is_a_failure_that_names_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let checked = check_under(&[], &["--dest", "null", "--prom-listen", &address]);
    assert_eq!(checked.status, 78);
    checked.assert("fail", "admin", &format!("(pid {})", std::process::id()));
    drop(holder);
    let checked = check_under(&[], &["--dest", "null", "--prom-listen", &address]);
    assert_eq!(checked.status, 0);
    checked.assert("ok", "admin", "is free");
}

#[test]
fn a_daemon_that_runs_already_is_recognised() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_xtcp2"))
        .args([
            "--dest",
            "null",
            "--prom-listen",
            &port,
            "--proc-scan-every",
            "0s",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let give_up = Instant::now() + TIME_MAX;
    while std::net::TcpStream::connect(&port).is_err() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(10));
    }
    let checked = check_under(&[], &["--dest", "null", "--prom-listen", &port]);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(checked.status, 78);
    checked.assert("fail", "admin", "a daemon runs here already");
}

#[test]
fn a_receiver_that_is_away_is_a_warning() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for dest in [
        format!("tcp:{free}"),
        format!("http://{free}/ingest"),
        "unix:/nonexistent/socket".to_owned(),
        "unixgram:/nonexistent/socket".to_owned(),
        "tcp:name.invalid:9000".to_owned(),
    ] {
        let checked = check(&["--dest", &dest]);
        assert_eq!(checked.status, 0, "{dest}");
        checked.assert("warn", "output", &format!("{dest}: "));
        checked.assert("warn", "result", "the daemon would start");
    }
}

#[test]
fn a_receiver_that_is_there_is_reached() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = receiver.local_addr().unwrap();
    for dest in [
        format!("tcp:{address}"),
        format!("tcp:localhost:{}", address.port()),
        format!("http://{address}/ingest"),
        format!("udp:{address}"),
    ] {
        let checked = check(&["--dest", &dest]);
        assert_eq!(checked.status, 0, "{dest}");
        checked.assert("ok", "output", &dest);
    }
    let (mut accepted, _) = receiver.accept().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut accepted, &mut bytes).unwrap();
    assert_eq!(bytes, b"", "a check sends nothing");
}

#[test]
fn a_server_that_never_agrees_on_tls_is_given_up_in_time() {
    let roots = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("roots.pem");
    fs::write(&pem, roots.cert.pem()).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dest = format!("https://localhost:{}/", silent.local_addr().unwrap().port());
    let environment = format!("SSL_CERT_FILE={}", pem.display());
    let arguments = ["--dest", &dest, "--prom-listen", "none"];
    let checked = check_under(&["env", &environment], &arguments);
    assert_eq!(checked.status, 0);
    checked.assert("warn", "output", "connected, but TLS was not agreed on within 5s");
}

#[test]
fn what_cannot_be_written_is_a_failure_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (rows, record) = (format!("file:{}", path("rows")), path("record"));
    let checked = check(&["--dest", &rows, "--record", &record]);
    assert_eq!(checked.status, 0);
    checked.assert("ok", "output", "can be made");
    checked.assert("ok", "record", "can be made");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let (rows, record) = (format!("file:{}", path("absent/rows")), path("absent/record"));
    let checked = check(&["--dest", &rows, "--record", &record]);
    assert_eq!(checked.status, 78);
    checked.assert("fail", "output", "absent; make it");
    checked.assert("fail", "record", "absent; make it");
    checked.assert("fail", "result", "things to put right: 2");
}

#[test]
fn settings_that_cannot_work_are_failures() {
    let checked = check(&["--marshal", "csv", "--columns", "tag,nonsense"]);
    assert_eq!(checked.status, 78);
    checked.assert("fail", "format", "nonsense");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, "marshal = \"csv\"\n").unwrap();
    let checked = check(&["--config", file.to_str().unwrap()]);
    assert_eq!(checked.status, 0);
    checked.assert("ok", "settings", file.to_str().unwrap());
    checked.assert("ok", "format", "csv");
}

/// Root of namespaces of its own, and the same user without a single capability.
#[test]
fn without_privileges_it_works_and_says_what_is_lost() {
    sandbox::run("without_privileges_it_works_and_says_what_is_lost", || {
        let arguments = ["--prom-listen", "none", "--dest", "null"];
        let ip = Command::new("ip").args(["netns", "add", "blue"]).output();
        if !ip.is_ok_and(|ip| ip.status.success()) {
            return eprintln!("skipped, no ip netns here");
        }
        fs::write("/run/netns/file", "").unwrap();
        let checked = check_under(&[], &arguments);
        assert_eq!(checked.status, 0);
        assert_eq!(checked.lines("ok", "privileges").len(), 4);
        checked.assert("ok", "namespaces", "/run/netns: 2 names");
        checked.assert("ok", "namespaces", "/run/docker/netns: does not exist");
        checked.assert(
            "warn",
            "namespaces",
            "1 not entered, as /run/netns/file: expected a mounted namespace",
        );
        checked.assert("ok", "namespaces", "entered, the own one included");

        fs::create_dir_all("/run/docker/netns").unwrap();
        fs::set_permissions("/run/docker", fs::Permissions::from_mode(0o000)).unwrap();
        let none = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
        if Command::new("setpriv").arg("true").status().is_err() {
            return eprintln!("skipped in part, no setpriv program here");
        }
        let checked = check_under(&none, &arguments);
        assert_eq!(checked.status, 0, "{}", checked.lines.join("\n"));
        assert_eq!(checked.lines("warn", "privileges").len(), 4);
        checked.assert(
            "warn",
            "privileges",
            "CAP_SYS_ADMIN is missing: no network namespace but the own one",
        );
        checked.assert("ok", "sock_diag", "listening TCP sockets");
        checked.assert("warn", "namespaces", "/run/docker/netns: Permission denied");
        checked.assert(
            "warn",
            "namespaces",
            "only the own one can be polled: Operation not permitted",
        );
    });
}
