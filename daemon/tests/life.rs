//! The life of the real program: its start, its polls, its end, and what it says of them.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::{
    host::{Sockets, ip},
    program::{Program, command, wait_for, xtcp2},
    rows, sandbox,
};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        signal::{Signal, kill},
        stat::fstat,
    },
    unistd::Pid,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixDatagram, UnixStream},
    },
    path::Path,
    process::Stdio,
    thread,
    time::Duration,
};

const NO_ADMIN: [&str; 2] = ["-promListen", "none"];

fn to_file(path: &Path) -> Vec<String> {
    let dest = format!("file:{}", path.display());
    ["-promListen", "none", "-dest", &dest]
        .map(str::to_owned)
        .to_vec()
}

/// Starts with the rows in `path`.
fn start_to_file(path: &Path, arguments: &[&str]) -> Program {
    let all = to_file(path);
    let all: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .chain(arguments.iter().copied())
        .collect();
    Program::start(&all)
}

#[test]
fn the_first_poll_starts_at_once_and_max_loops_ends() {
    sandbox::run("the_first_poll_starts_at_once_and_max_loops_ends", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(50));
        let file = folder.path().join("rows");
        let mut program = start_to_file(&file, &["-frequency", "1h", "-maxLoops", "1"]);
        assert!(program.wait().success());
        let rows = rows::in_file(&file);
        assert_eq!(rows.len(), 101);
        assert_eq!(rows::assert_complete(&rows), 1);
        let summary = program.summary();
        assert_eq!(
            (summary.polls, summary.rows, summary.delivered, summary.dropped),
            (1, 101, 101, 0)
        );
        drop(sockets);
    });
}

#[test]
fn sigterm_delivers_every_row_and_ends_with_success() {
    sandbox::run("sigterm_delivers_every_row_and_ends_with_success", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(100));
        let file = folder.path().join("rows");
        let mut program = start_to_file(&file, &["-frequency", "10ms", "-envelopeFlushRows", "64"]);
        wait_for("ten polls", || {
            (file.exists() && rows_so_far(&file) > 2010).then_some(())
        });
        assert!(program.terminate().success());
        let rows = rows::in_file(&file);
        let polls = rows::assert_complete(&rows);
        let summary = program.summary();
        assert_eq!(rows.len() as u64, polls * 201, "the last poll is a whole one");
        assert_eq!(
            (summary.polls, summary.rows, summary.delivered),
            (polls, polls * 201, polls * 201)
        );
        assert_eq!(summary.dropped, 0);
        drop(sockets);
    });
}

/// Rows in the whole envelopes of a file that still grows.
fn rows_so_far(file: &Path) -> usize {
    let bytes = fs::read(file).unwrap();
    let mut rest = bytes.as_slice();
    let mut whole = 0;
    while let Ok(length) = prost::decode_length_delimiter(&mut rest) {
        if rest.len() < length {
            break;
        }
        rest = &rest[length..];
        whole = bytes.len() - rest.len();
    }
    rows::envelopes(&bytes[..whole]).concat().len()
}

#[test]
fn a_second_sigterm_ends_at_once() {
    sandbox::run("a_second_sigterm_ends_at_once", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(300));
        // Nobody listens there: what is made cannot be delivered.
        let dest = format!("unix:{}", folder.path().join("nobody").display());
        let mut program = Program::start(&["-dest", &dest, "-frequency", "50ms", "-shutdownTimeout", "1h"]);
        program.metric_when("xtcp2_polls_total", |polls| polls >= 3.0);
        program.signal(Signal::SIGTERM);
        program.log_line("a second one ends at once");
        thread::sleep(Duration::from_millis(300));
        assert!(
            program.is_running(),
            "there is something to deliver, and an hour for it"
        );
        assert!(program.terminate().success());
        let summary = program.summary();
        assert!(summary.rows >= 3 * 601 && summary.delivered == 0);
        assert_eq!(summary.dropped, summary.rows, "what was not delivered is counted");
        program.log_line("were not delivered within --shutdown-timeout");
        drop(sockets);
    });
}

#[test]
fn a_request_that_has_begun_is_answered_before_the_end() {
    sandbox::run("a_request_that_has_begun_is_answered_before_the_end", || {
        ip("link set lo up");
        let mut program = Program::start(&["-dest", "null"]);
        let mut client = TcpStream::connect(program.admin()).unwrap();
        client.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
        program.metric_when("xtcp2_admin_connections_total", |connections| connections >= 1.0);
        program.signal(Signal::SIGTERM);
        program.log_line("SIGTERM: ending");
        client.write_all(b"Host: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(program.wait().success());
    });
}

#[test]
fn the_end_keeps_its_bound() {
    sandbox::run("the_end_keeps_its_bound", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(10));
        let dest = format!("unix:{}", folder.path().join("nobody").display());
        let mut program = Program::start(&["-dest", &dest, "-maxLoops", "1", "-shutdownTimeout", "200ms"]);
        let status = program.wait();
        assert_eq!(
            status.code(),
            Some(1),
            "nobody asked for the end, and the rows are not there"
        );
        drop(sockets);
    });
}

/// A unit is not started again after 78: what a restart can help ends with 1.
#[test]
fn only_settings_that_can_never_work_end_with_78() {
    sandbox::run("only_settings_that_can_never_work_end_with_78", || {
        // Where no address was ever given, the kernel has no table of them and lets any be bound.
        ip("link set lo up");
        let folder = sandbox::folder();
        let headers = folder.path().join("headers");
        fs::write(&headers, "no header\n").unwrap();
        let headers = headers.to_str().unwrap();
        let http = "http://127.0.0.1:9/";
        let kafka = ["-dest", "kafka:127.0.0.1:9", "--kafka-property"];
        let file = format!("file:{}/absent/rows", folder.path().display());
        for (status, arguments) in [
            (1, vec!["-dest", "null", "-promListen", "192.0.2.1:0"]),
            (1, vec!["-dest", "null", "-promListen", "name.invalid:9088"]),
            (1, vec!["-dest", &file]),
            (1, vec!["-dest", "null", "--record", "/absent/record"]),
            (1, [&kafka[..], &["sasl.password=@/absent/secret"]].concat()),
            (1, vec!["-dest", http, "--http-headers-file", "/absent/headers"]),
            (1, vec!["-dest", http, "--spool-dir", "/dev/null/spool"]),
            (78, vec!["-dest", "null", "-promListen", "192.0.2.1:http"]),
            (
                78,
                vec!["-dest", "null", "-marshal", "csv", "--columns", "nonsense"],
            ),
            (78, [&kafka[..], &["linger.ms=often"]].concat()),
            (78, vec!["-dest", http, "--http-headers-file", headers]),
            (78, vec!["-dest", "nowhere:"]),
        ] {
            let more: &[&str] = match arguments.contains(&"-promListen") {
                true => &[],
                false => &NO_ADMIN,
            };
            let mut program = Program::start(&[&arguments, more].concat());
            assert_eq!(program.wait().code(), Some(status), "{arguments:?}");
            assert_eq!(program.log().len(), 1, "{arguments:?}");
        }
    });
}

#[test]
fn a_wrong_setting_ends_with_78_whatever_stderr_is() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (reader, broken) = std::io::pipe().unwrap();
    drop(reader);
    for stderr in [Stdio::from(full()), Stdio::from(broken)] {
        let status = xtcp2().arg("--bogus").stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(78), "{status}");
    }
    // No end of another kind with stdout either.
    let status = xtcp2().arg("--help").stdout(full()).status().unwrap();
    assert_eq!(status.code(), Some(1), "{status}");
}

/// What it says until its end to a stderr that systemd says is the journal.
fn said_to_the_journal(arguments: &[&str]) -> String {
    let (mut journal, stderr) = UnixStream::pair().unwrap();
    let status = fstat(&stderr).unwrap();
    let name = format!("{}:{}", status.st_dev, status.st_ino);
    command(arguments)
        .env("JOURNAL_STREAM", name)
        .stderr(OwnedFd::from(stderr))
        .status()
        .unwrap();
    let mut said = String::new();
    journal.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn what_is_wrong_with_a_setting_is_a_line_like_any_other() {
    let said = |name: &str, value: &str| {
        let output = xtcp2().arg("--bogus").env(name, value).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let text = said("XTCP2_LOG_FORMAT", "text");
    assert!(text.starts_with("xtcp2: error: flag --bogus: "), "{text}");
    let journal = said_to_the_journal(&["--bogus"]);
    assert!(journal.starts_with("<3>flag --bogus: "), "{journal}");
    // A child of a service, whose stderr somebody keeps.
    let elsewhere = said("JOURNAL_STREAM", "8:1");
    assert!(
        elsewhere.starts_with("xtcp2: error: flag --bogus: "),
        "{elsewhere}"
    );
    let json: serde_json::Value = serde_json::from_str(&said("XTCP2_LOG_FORMAT", "json")).unwrap();
    assert_eq!(json["level"], "error");
    assert!(
        json["message"].as_str().unwrap().starts_with("flag --bogus: "),
        "{json}"
    );
}

#[test]
fn a_filter_ends_with_success_when_its_reader_goes() {
    sandbox::run("a_filter_ends_with_success_when_its_reader_goes", || {
        let sockets = Sockets::open(10);
        let mut command = command(&[&NO_ADMIN[..], &["-frequency", "20ms"]].concat());
        let mut program = Program::spawn(command.stdout(Stdio::piped()));
        let mut stdout = BufReader::new(program.take_stdout());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&row["recordCounter"], &row["pollSequence"]),
            (&"1".into(), &"1".into())
        );
        drop(stdout);
        assert!(program.wait().success());
        drop(sockets);
    });
}

#[test]
fn rows_that_stdout_does_not_take_are_an_error_at_the_end() {
    sandbox::run("rows_that_stdout_does_not_take_are_an_error_at_the_end", || {
        let sockets = Sockets::open(300);
        let bounded = [&NO_ADMIN[..], &["-shutdownTimeout", "100ms"]].concat();
        let once = [&bounded[..], &["-maxLoops", "1"]].concat();
        let full_disk = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let lost = "601 rows were not delivered within --shutdown-timeout";

        let mut program = Program::spawn(command(&once).stdout(full_disk()));
        assert_eq!(program.wait().code(), Some(1));
        program.log_line(lost);

        // More than a pipe takes.
        let mut program = Program::spawn(command(&once).stdout(Stdio::piped()));
        let _unread = program.take_stdout();
        assert_eq!(program.wait().code(), Some(1));
        program.log_line(" rows were not delivered within --shutdown-timeout");

        let mut program = Program::spawn(command(&bounded).stdout(full_disk()));
        program.log_line("poll 1: ");
        assert!(program.terminate().success(), "asked for");
        program.log_line(lost);
        drop(sockets);
    });
}

/// As in a chroot.
#[test]
fn an_instance_id_takes_no_device() {
    sandbox::run("an_instance_id_takes_no_device", || {
        let nothing = sandbox::folder().keep().join("nothing");
        File::create(&nothing).unwrap();
        let random = "/dev/urandom";
        mount(
            Some(&nothing),
            random,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        assert_eq!(fs::read(random).unwrap(), b"");
        let mut ids = [0, 1].map(|_| {
            let mut program = Program::start(&[&NO_ADMIN[..], &["-dest", "null", "-maxLoops", "1"]].concat());
            assert!(program.wait().success());
            program.log_line(" started, instance ")
        });
        ids.sort();
        assert_ne!(ids[0], ids[1], "new at each start");
    });
}

/// What the service manager was told so far, in order.
fn told(manager: &UnixDatagram) -> Vec<String> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = manager.recv(&mut buffer) {
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        all.extend(text.lines().map(str::to_owned));
    }
    all
}

fn service_manager(folder: &Path) -> UnixDatagram {
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    manager.set_nonblocking(true).unwrap();
    manager
}

/// A pipe with a name, for which the program waits when it records there; its reading end.
fn fifo(path: &Path) -> File {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // With a writing end of our own, opening does not wait.
    let both = OpenOptions::new().read(true).write(true).open(path).unwrap();
    nix::fcntl::fcntl(both.as_fd(), nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    both
}

/// Reads the pipe until it is dropped, so that the program can go on.
fn drain(mut fifo: File) {
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while fifo.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
}

#[test]
fn the_service_manager_hears_of_start_progress_and_end() {
    sandbox::run("the_service_manager_hears_of_start_progress_and_end", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(300));
        let manager = service_manager(folder.path());
        let recording = folder.path().join("recording");
        let fifo = fifo(&recording);
        let arguments = ["-dest", "null", "-frequency", "20ms"];
        let mut command = command(&[&NO_ADMIN[..], &arguments].concat());
        command.arg("--record").arg(&recording);
        command.env("NOTIFY_SOCKET", folder.path().join("notify"));
        command.env("WATCHDOG_USEC", "100000");
        let mut program = Program::spawn(&mut command);

        // The first poll stands still: its replies are more than the pipe takes.
        program.log_line("started");
        thread::sleep(Duration::from_millis(500));
        let before = told(&manager);
        assert!(
            before.contains(&"EXTEND_TIMEOUT_USEC=10000000".to_owned()),
            "{before:?}"
        );
        assert!(!before.contains(&"READY=1".to_owned()), "{before:?}");
        let alive = before.iter().filter(|line| *line == "WATCHDOG=1").count();
        assert!(alive <= 1, "no progress, no sign of life: {before:?}");

        drain(fifo);
        let mut since = Vec::new();
        wait_for("signs of life", || {
            since.extend(told(&manager));
            let alive = since.iter().filter(|line| *line == "WATCHDOG=1").count();
            (alive >= 4).then_some(())
        });
        let status = since
            .iter()
            .position(|line| line.starts_with("STATUS=poll 1: 601 rows from 1 namespaces"));
        let ready = since.iter().position(|line| line == "READY=1");
        assert!(status.is_some() && status < ready, "{since:?}");
        assert_eq!(since.iter().filter(|line| *line == "READY=1").count(), 1);
        assert!(program.terminate().success());
        assert!(told(&manager).contains(&"STOPPING=1".to_owned()));
        drop(sockets);
    });
}

#[test]
fn a_service_manager_that_does_not_listen_stops_no_poll() {
    sandbox::run("a_service_manager_that_does_not_listen_stops_no_poll", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(1));
        let (manager, rows) = (service_manager(folder.path()), folder.path().join("rows"));
        // Full before the daemon says a word.
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        other.connect(folder.path().join("notify")).unwrap();
        while other.send(b"full").is_ok() {}
        let arguments = [to_file(&rows), vec!["-frequency".into(), "10ms".into()]].concat();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = command(&arguments);
        command.env("NOTIFY_SOCKET", folder.path().join("notify"));
        command.env("WATCHDOG_USEC", "100000");
        let mut program = Program::spawn(&mut command);
        wait_for("ten polls", || {
            (rows.exists() && rows_so_far(&rows) >= 30).then_some(())
        });
        let mut since = Vec::new();
        wait_for("what it could not say", || {
            since.extend(told(&manager));
            since.contains(&"READY=1".to_owned()).then_some(())
        });
        // Full again by now, or soon.
        program.signal(Signal::SIGHUP);
        program.log_line("SIGHUP: the output is opened anew");
        thread::sleep(Duration::from_millis(500));
        assert!(program.terminate().success(), "it hears signals");
        drop(sockets);
    });
}

#[test]
fn no_watchdog_is_fed_while_polls_stand_still() {
    sandbox::run("no_watchdog_is_fed_while_polls_stand_still", || {
        let (folder, sockets) = (sandbox::folder(), Sockets::open(300));
        let manager = service_manager(folder.path());
        let recording = folder.path().join("recording");
        let mut fifo = fifo(&recording);
        let arguments = ["-dest", "null", "-frequency", "20ms"];
        let mut command = command(&[&NO_ADMIN[..], &arguments].concat());
        command.arg("--record").arg(&recording);
        command.env("NOTIFY_SOCKET", folder.path().join("notify"));
        command.env("WATCHDOG_USEC", "50000");
        let program = Program::spawn(&mut command);
        // Some polls, then a recording that takes no more.
        let mut buffer = [0; 65536];
        let mut alive = 0;
        while alive < 3 {
            assert!(fifo.read(&mut buffer).unwrap() > 0);
            alive += told(&manager).iter().filter(|line| *line == "WATCHDOG=1").count();
        }
        thread::sleep(Duration::from_millis(200));
        told(&manager);
        thread::sleep(Duration::from_millis(500));
        assert!(told(&manager).is_empty(), "a poll stands still");
        drain(fifo);
        wait_for("life", || {
            told(&manager).contains(&"WATCHDOG=1".to_owned()).then_some(())
        });
        drop((program, sockets));
    });
}

#[test]
fn a_poll_that_takes_longer_than_the_frequency_is_counted_and_never_stacked() {
    sandbox::run(
        "a_poll_that_takes_longer_than_the_frequency_is_counted_and_never_stacked",
        || {
            let (folder, sockets) = (sandbox::folder(), Sockets::open(700));
            let file = folder.path().join("rows");
            let dest = format!("file:{}", file.display());
            let mut program = Program::start(&["-dest", &dest, "-frequency", "1ms", "-pollJitterPct", "0"]);
            let late = program.metric_when("xtcp2_polls_late_total", |late| late >= 5.0);
            let polls = program.metrics().value("xtcp2_polls_total");
            assert!(
                polls + 1.0 >= late,
                "each late start is counted once: {polls} polls, {late} late"
            );
            assert!(program.terminate().success());
            // Asserts that no poll's rows are among those of another.
            rows::assert_complete(&rows::in_file(&file));
            drop(sockets);
        },
    );
}

/// stdin, stdout, stderr; epoll, timer, signals, inotify; the admin's listener, the own namespace, and
/// what the process inherited.
const AT_REST: usize = 12;

#[test]
fn descriptors_do_not_grow_and_no_namespace_is_held_between_polls() {
    sandbox::run(
        "descriptors_do_not_grow_and_no_namespace_is_held_between_polls",
        || {
            let sockets = Sockets::open(10);
            for name in ["one", "two", "three"] {
                ip(&format!("netns add {name}"));
            }
            let program = Program::start(&["-dest", "null", "-frequency", "30ms", "-pollJitterPct", "0"]);
            let few = |polls| program.metric_when("xtcp2_polls_total", |now| now >= polls);
            let polls = few(10.0);
            assert!(program.metrics().value("xtcp2_namespaces") >= 4.0);
            // During a poll there is a socket more, and a namespace while it is entered.
            let at_rest = || {
                (0..50)
                    .map(|_| program.descriptors())
                    .min_by_key(Vec::len)
                    .unwrap()
            };
            let before = wait_for("no client", || Some(at_rest()).filter(|all| all.len() <= AT_REST));
            few(polls + 200.0);
            let after = wait_for("as few as before", || {
                Some(at_rest()).filter(|all| all.len() <= before.len())
            });
            let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
            let foreign =
                |link: &&std::path::PathBuf| link.to_string_lossy().starts_with("net:[") && **link != own;
            assert_eq!(after.iter().filter(foreign).count(), 0, "{after:?}");
            drop(sockets);
        },
    );
}

/// `stderr` is the other end of `log`, and full: of a line of points, and empty ones.
fn a_full_log_stops_no_poll(stderr: OwnedFd, log: impl Read) {
    let (folder, sockets) = (sandbox::folder(), Sockets::open(1));
    let rows = folder.path().join("rows");
    let arguments = [to_file(&rows), vec!["-frequency".into(), "10ms".into()]].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&arguments).stderr(stderr).spawn().unwrap();
    wait_for("ten polls", || {
        (rows.exists() && rows_so_far(&rows) >= 30).then_some(())
    });
    let mut lines = BufReader::new(log)
        .lines()
        .map(Result::unwrap)
        .filter(|line| !line.is_empty());
    assert!(lines.next().unwrap().starts_with("..."));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let line = lines.next().unwrap();
    assert!(
        line.starts_with("xtcp2: warning: ") && line.contains(" lines of the log were lost"),
        "{line}"
    );
    assert!(lines.any(|line| line.contains("SIGTERM: ending")));
    assert!(child.wait().unwrap().success());
    drop(sockets);
}

#[test]
fn a_log_that_nobody_reads_stops_no_poll() {
    sandbox::run("a_log_that_nobody_reads_stops_no_poll", || {
        let folder = sandbox::folder();
        let mut pipe = fifo(&folder.path().join("log"));
        // Full, as a container runtime that hangs leaves it.
        pipe.write_all(&[b'.'; 4095]).unwrap();
        pipe.write_all(b"\n").unwrap();
        a_full_log_stops_no_poll(pipe.try_clone().unwrap().into(), pipe);
    });
}

#[test]
fn a_journal_that_hangs_stops_no_poll() {
    sandbox::run("a_journal_that_hangs_stops_no_poll", || {
        let (mut stderr, log) = UnixStream::pair().unwrap();
        stderr.write_all(b"...\n").unwrap();
        stderr.set_nonblocking(true).unwrap();
        while stderr.write(b"\n").is_ok() {}
        stderr.set_nonblocking(false).unwrap();
        a_full_log_stops_no_poll(stderr.into(), log);
    });
}

#[test]
fn the_log_suits_the_journal_machines_and_patience() {
    sandbox::run("the_log_suits_the_journal_machines_and_patience", || {
        let arguments = [&NO_ADMIN[..], &["-dest", "null", "-frequency", "20ms"]].concat();
        let journal = said_to_the_journal(&[&arguments[..], &["-max-loops", "1"]].concat());
        assert!(journal.contains("<6>poll 1: "), "{journal}");
        assert!(
            journal
                .lines()
                .all(|line| line.starts_with("<6>") || line.starts_with("<4>")),
            "{journal}"
        );

        let mut program = Program::start(&[&arguments[..], &["--log-format", "json"]].concat());
        program.log_line("poll 1: ");
        for sent in 1..=1000 {
            program.signal(Signal::SIGUSR1);
            if sent == 1 {
                program.log_line(" envelopes; delivered ");
            }
            thread::sleep(Duration::from_micros(200));
        }
        assert!(program.terminate().success());
        let mut summaries = 0;
        let mut last = String::new();
        for line in program.log() {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(line["time"].as_f64().unwrap() > 1.7e9 && line["level"].is_string());
            last = line["message"].as_str().unwrap().to_owned();
            summaries += usize::from(last.contains(" envelopes; delivered "));
        }
        assert!(
            (2..20).contains(&summaries),
            "{summaries} summaries for 1000 signals"
        );
        assert!(
            last.contains(" envelopes; delivered "),
            "the end says it once more: {last}"
        );
    });
}

#[test]
fn namespaces_that_fail_are_named_up_to_the_bound_of_a_poll() {
    sandbox::run("namespaces_that_fail_are_named_up_to_the_bound_of_a_poll", || {
        ip("link set lo up");
        let folder = sandbox::folder();
        let some = |name: &str| {
            for number in 0..10 {
                File::create(folder.path().join(format!("{name}{number}"))).unwrap();
            }
        };
        let folders = folder.path().to_str().unwrap();
        let arguments = ["-dest", "null", "-frequency", "20ms", "--netns-dirs", folders];
        some("early");
        let mut program = Program::start(&arguments);
        let named = |program: &Program, name: &str| {
            let is_named = |line: &String| line.contains(name) && line.contains(": not polled: ");
            program.log().iter().filter(|line| is_named(line)).count()
        };
        program.metric_when("xtcp2_polls_total", |polls| polls >= 3.0);
        assert_eq!(named(&program, "early"), 10);
        // Each is retried for a while, and fails in the poll that it was met in.
        some("late");
        let polls = program.metrics().value("xtcp2_polls_total");
        program.metric_when("xtcp2_polls_total", |now| now >= polls + 3.0);
        assert_eq!(named(&program, "late"), 10);
        assert!(program.terminate().success());
    });
}
