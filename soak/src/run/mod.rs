//! `run`: a scenario, on this machine or in a guest. Sets up load and daemon, watches, acts, judges, reports.
//!
//! One loop, a turn each second: what is due is done, a sample is taken and written down, the gates take it
//! in. What takes longer than a moment is a process that the loop looks after.

mod actions;
mod daemon;
mod discovery;
mod emulated;
mod folder;
mod guest;
mod loads;
pub mod pipeline;
mod progress;
mod receiver;
mod reconciler;
mod service;
mod setup;
mod spool_disk;

use crate::{
    clean,
    cli::{Command, Flag, Given},
    gates::{self, Judge, Status, Verdict},
    load::trace::{self, Made, Marker, ProcessId},
    record::{Event, What},
    report::{self, Environment},
    scenario::{self, Scenario, read, validate},
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use progress::Progress;
use setup::Setup;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Between samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    doc: "runs a scenario and says whether the daemon passed",
    long_doc: "NAME is that of a scenario, or the path of its file. Needs root: it makes namespaces, mounts and a cgroup. \
               Ctrl-C ends it early: what failed until then has failed, and nothing passes. The folder of the run has \
               result.json, junit.xml, report.html, every sample and every event.\n\n\
               Exit status: 0 when every gate passes, 1 when one fails, 2 when it could not run or judge.",
    words: "NAME",
    flags: &[
        Flag {
            name: "duration",
            value: "DURATION",
            default: "",
            doc: "How long the measured part lasts; else what the scenario says",
        },
        Flag {
            name: "warm-up",
            value: "DURATION",
            default: "",
            doc: "How long growth and speed are not judged; else what the scenario says",
        },
        Flag {
            name: "target",
            value: "host|vm|guest",
            default: "host",
            doc: "Where it runs: on this machine; or in a guest with systemd, whose unit runs the daemon. The third is \
                  what the second does in the guest: here, with the unit that is installed, and no way back for \
                  what is configured",
        },
        Flag {
            name: "out",
            value: "DIR",
            default: "",
            doc: "Folder of the run, made. Else soak-NAME-TIME in the current one",
        },
        Flag {
            name: "daemon",
            value: "FILE",
            default: "",
            doc: "The program under test. Else xtcp2 beside this one",
        },
        Flag {
            name: "pipeline",
            value: "FILE",
            default: pipeline::SCRIPT,
            doc: "The script that starts Kafka and ClickHouse, for scenarios that need them",
        },
        Flag {
            name: "guest",
            value: "FILE",
            default: guest::SCRIPT,
            doc: "The script that boots a guest, for --target vm",
        },
        Flag {
            name: "packages",
            value: "DIR",
            default: guest::PACKAGES,
            doc: "Packages that are installed there: what scripts/package deb makes",
        },
        scenario::SCENARIOS,
    ],
    run,
};

fn run(given: &Given) -> Result<ExitCode, String> {
    let [name] = given.words() else {
        return Err(format!("run: expected one scenario, got {}", given.words().len()));
    };
    xtcp2::logger::start(log::LevelFilter::Info, xtcp2::config::LogFormat::Text);
    let target = Target::of(given)?;
    if target != Target::Vm && !nix::unistd::geteuid().is_root() {
        return Err("expected to be root: network namespaces, mounts and a cgroup are made".to_owned());
    }
    let path = scenario::path_of(given, name)?;
    let text = read::text(&path)?;
    let mut scenario = read::parse(&path, &text)?;
    if let Some(problem) = validate(&scenario).first() {
        return Err(format!(
            "{}: {}.{}: {}",
            path.display(),
            problem.table,
            problem.key,
            problem.text
        ));
    }
    if let Some(duration) = given.duration("duration")? {
        scenario.duration.0 = duration;
    }
    if let Some(warm_up) = given.duration("warm-up")? {
        scenario.warm_up.0 = warm_up;
    }
    if !scenario.actions.is_empty()
        && scenario
            .actions
            .iter()
            .all(|action| action.at.0 >= scenario.duration.0)
    {
        return Err(format!(
            "--duration {}: none of the actions would happen, which the scenario is about",
            scenario.duration
        ));
    }
    // As it is run, so that `judge` comes to the same.
    let text = |scenario: &Scenario| {
        toml::to_string(scenario).map_err(|error| format!("{}: {error}", path.display()))
    };
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let out = given
        .path("out")
        .unwrap_or_else(|| PathBuf::from(format!("soak-{name}-{}", now().as_secs())));
    if target == Target::Vm {
        let path = |name| given.path(name).unwrap_or_default();
        let guest = guest::Guest {
            script: &path("guest"),
            packages: &path("packages"),
            out: &out,
            name: &name,
        };
        return guest.run(&scenario, &text(&scenario)?);
    }
    let program = match given.path("daemon") {
        Some(program) => program,
        None => beside("xtcp2")?,
    };
    let environment = Environment::of(&program);
    let not_asked = match environment.emulated {
        true => emulated::adapt(&mut scenario),
        false => Vec::new(),
    };
    let stop = stop_on_signals()?;
    let script = given.path("pipeline").unwrap_or_default();
    let folder = folder::Folder::create(&out, &text(&scenario)?)?;
    let by_systemd = target == Target::Guest;
    let about = About {
        command: match by_systemd {
            // What was typed outside.
            true => format!(
                "xtcp2-soak run {name} --target vm --duration {} --warm-up {}",
                scenario.duration, scenario.warm_up
            ),
            false => command(),
        },
        name,
        target: if by_systemd { "vm" } else { "host" },
        environment,
        not_asked,
    };
    let result = Setup::new(&scenario, &out, &program, &script, by_systemd)
        .and_then(|setup| judged(&scenario, setup, folder, &out, about, &stop));
    // Also of what did not start.
    let left = clean::after(Marker::own()?);
    let status = result?;
    left.map(|()| status)
}

/// What does the same again: what was typed, but for the folder.
fn command() -> String {
    let mut words = vec!["xtcp2-soak".to_owned()];
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        match word.as_str() {
            "--out" => drop(given.next()),
            _ if word.starts_with("--out=") => {}
            _ => words.push(word),
        }
    }
    words.join(" ")
}

/// Where the load and the daemon are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Host,
    Vm,
    /// Here, and here is the guest.
    Guest,
}

impl Target {
    fn of(given: &Given) -> Result<Target, String> {
        match given.one("target").unwrap_or_default() {
            "host" => Ok(Target::Host),
            "vm" => Ok(Target::Vm),
            "guest" => Ok(Target::Guest),
            other => Err(format!("--target: expected host, vm or guest, got {other:?}")),
        }
    }
}

/// What only the command line and the machine know of a run.
struct About {
    name: String,
    target: &'static str,
    command: String,
    environment: Environment,
    not_asked: Vec<String>,
}

/// The run itself, from the first sample to the report.
fn judged(
    scenario: &Scenario,
    mut setup: Setup,
    mut folder: folder::Folder,
    out: &Path,
    about: About,
    stop: &AtomicBool,
) -> Result<ExitCode, String> {
    let mut judge = Judge::new(scenario);
    let started_unix_ms = millis(now());
    let outcome = measure(scenario, &mut setup, &mut judge, &mut folder, stop);
    let ended_unix_ms = millis(now());
    let ended_early = match outcome {
        Ok(ended_early) => ended_early,
        Err(why) => {
            let elapsed = Duration::from_millis(ended_unix_ms.saturating_sub(started_unix_ms));
            let broke_off = event(elapsed, What::BrokeOff { why: why.clone() });
            write(&mut folder, &mut judge, &broke_off)?;
            Some(why)
        }
    };
    for event in setup.finish(scenario) {
        write(&mut folder, &mut judge, &event)?;
    }
    drop(setup);
    let verdicts = judge.verdicts();
    let run = report::Run {
        scenario: about.name,
        target: about.target.to_owned(),
        command: about.command,
        started_unix_ms,
        ended_unix_ms,
        ended_early: ended_early.clone(),
        environment: about.environment,
        not_asked: about.not_asked,
    };
    report::write(out, scenario, &run, &verdicts).map_err(|error| format!("{}: {error}", out.display()))?;
    print(&verdicts, &run.not_asked, ended_early.as_deref(), out);
    Ok(ExitCode::from(gates::exit_status(gates::overall(&verdicts))))
}

/// The measured part. `Some`: why it ended early.
fn measure(
    scenario: &Scenario,
    setup: &mut Setup,
    judge: &mut Judge,
    folder: &mut folder::Folder,
    stop: &AtomicBool,
) -> Result<Option<String>, String> {
    let mut progress = Progress::new(scenario.duration.0);
    setup.begin();
    let start = Instant::now();
    let mut due = start;
    loop {
        if stop.load(Ordering::Acquire) {
            return Ok(Some("it was told to end".to_owned()));
        }
        let (sample, events) = setup.turn(start.elapsed())?;
        for event in &events {
            write(folder, judge, event)?;
        }
        folder.sample(&sample).map_err(|error| error.to_string())?;
        judge.sample(&sample);
        progress.show(&sample, judge);
        // By the sample, as `judge` will see it.
        if sample.elapsed_seconds >= scenario.duration.0.as_secs_f64() {
            return Ok(None);
        }
        due += SAMPLE_EVERY;
        let wait = due.saturating_duration_since(Instant::now());
        thread::sleep(wait);
        if wait.is_zero() {
            // Late by more than a turn: the missed ones are not made up for.
            due = Instant::now();
        }
    }
}

fn write(folder: &mut folder::Folder, judge: &mut Judge, event: &Event) -> Result<(), String> {
    judge.event(event);
    folder.event(event).map_err(|error| error.to_string())
}

fn print(verdicts: &[Verdict], not_asked: &[String], ended_early: Option<&str>, out: &Path) {
    println!();
    for verdict in verdicts {
        println!("{verdict}");
    }
    if !not_asked.is_empty() {
        println!(
            "this processor is emulated: a tenth of the load, half as many polls, and not asked were {}",
            not_asked.join(", ")
        );
    }
    if let Some(why) = ended_early {
        println!("ended early: {why}");
    }
    let words = match gates::overall(verdicts) {
        Status::Pass => "passed",
        Status::Fail => "FAILED",
        Status::CannotJudge => "cannot be judged: this is not a pass",
    };
    println!("{words}; {}/report.html", out.display());
}

/// SIGTERM and SIGINT end the run early, which is no pass. By a handler: what a thread waits for would have to be
/// blocked, and the daemon would inherit that.
fn stop_on_signals() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        signal_hook::flag::register(signal as i32, Arc::clone(&stop))
            .map_err(|error| format!("sigaction: {error}"))?;
    }
    Ok(stop)
}

fn signal(pid: i32, signal: Signal) {
    // One that has ended needs none.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Writes down for `clean` that a process was started.
fn note_process(role: &str, pid: i32) -> Result<(), String> {
    // One that has ended by now leaves nothing.
    let Some(process) = ProcessId::of(pid) else {
        return Ok(());
    };
    let role = role.to_owned();
    trace::note(Marker::own()?, &Made::Process { role, process })
}

fn beside(program: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("the own program: {error}"))?;
    let path = own.with_file_name(program);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!(
            "{}: expected the daemon there, found none: give --daemon",
            path.display()
        )),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An event at a time of the run.
fn event(elapsed: Duration, what: What) -> Event {
    Event {
        elapsed_seconds: elapsed.as_secs_f64(),
        what,
    }
}
