//! Gates are tested by faults: a double of the daemon has one, is run and watched as the daemon is, and the gate
//! that is meant for it has to fail, by name, and no other one without a reason of its own. The healthy double
//! passes all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod common;

use common::double::{self, FREQUENCY, Fault, NAMESPACES, ROWS};
use nix::sys::signal::Signal;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};
use xtcp2_soak::{
    gates::{Judge, Status, Verdict, overall},
    record::{Event, Sample, What},
    scenario::{
        Scenario,
        gates::{GATES, Gate},
    },
    watch::{
        Source, Watcher,
        supervisor::{Options, Supervisor},
    },
};

/// Ten times as often as a soak, so that a run is ten times as short.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Measured, the warm-up included.
const RUN: Duration = Duration::from_secs(7);

/// Where the double is itself. Everybody else finds it empty.
#[test]
fn double() {
    double::run_if_asked();
}

/// A scenario with every gate but that of processor time, which needs longer. The test harness, in which the
/// double is, has a thread besides its own.
fn scenario() -> Scenario {
    let frequency_ms = FREQUENCY.as_millis();
    toml::from_str(&format!(
        "title = 't'\ndescription = 'd'\nduration = '7s'\nwarm_up = '1500ms'\n\
         [machine]\ncpus = 1\nmemory_mib = 100\n\
         [daemon]\nflags = []\nfrequency = '{frequency_ms}ms'\n\
         [[load]]\nkind = 'sockets'\nnamespaces = 10\nsockets = 10\n\
         [gates]\nthreads_max = 2\nrestarts_max = 0\nrss_kib_max = 49152\n\
         rss_growth_kib_per_hour_max = 1024.0\nfds_growth_per_hour_max = 1.0\nthreads_growth_per_hour_max = 1.0\n\
         poll_p99_ms_max = 100.0\npoll_max_ms = 500.0\npolls_late_percent_max = 15.0\ncounters_only_grow = true\n\
         every_lasting_namespace_is_polled = true\nrows_per_poll_min = {ROWS}\n\
         namespaces_per_poll_min = {NAMESPACES}\nreconciled = true\n\
         error_lines_max = 0\nload_percent_min = 90.0\n"
    ))
    .unwrap()
}

/// A run, and what it ended with.
struct Run {
    fault: Fault,
    /// The daemon itself, instead of a double.
    program: Option<PathBuf>,
    scenario: Scenario,
    duration: Duration,
    sample_every: Duration,
    /// What else is wrong: with the loads, the machine, the table.
    tamper: fn(&mut Sample, &mut Vec<Event>),
}

impl Run {
    fn of(fault: Fault) -> Run {
        Run {
            fault,
            program: None,
            scenario: scenario(),
            duration: RUN,
            sample_every: SAMPLE_EVERY,
            tamper: |_, _| {},
        }
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let folder = tempfile::tempdir().unwrap();
        let (mut watcher, mut judge) = (self.watcher(folder.path()), Judge::new(&self.scenario));
        let mut is_last = false;
        while !is_last {
            is_last = watcher.elapsed() >= self.duration;
            if is_last && let Source::Supervisor(supervisor) = watcher.source() {
                // It may hang.
                let _ = supervisor.stop(Signal::SIGKILL, Duration::from_secs(10));
            }
            let (mut sample, mut events) = watcher.sample();
            sample.load.namespaces = 10;
            sample.load.sockets = 100;
            events.extend(reconciled(sample.elapsed_seconds, is_last));
            (self.tamper)(&mut sample, &mut events);
            for event in &events {
                judge.event(event);
            }
            judge.sample(&sample);
            thread::sleep(self.sample_every);
        }
        judge.verdicts()
    }

    fn watcher(&self, folder: &Path) -> Watcher {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // An address that no other run on this machine has.
        let [a, b, c, d] = (std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
        let listen = format!("127.{}.{c}.{d}:19088", (a ^ b).max(1));
        let (program, arguments, mut environment) = match &self.program {
            Some(program) => (program.clone(), real_arguments(&listen, folder), Vec::new()),
            None => double::command("double", self.fault, &listen),
        };
        environment.push(("TMPDIR".to_owned(), folder.to_str().unwrap().to_owned()));
        // The backtrace of a panic takes 100 MiB of debug information, which another gate would see.
        environment.push(("RUST_BACKTRACE".to_owned(), "0".to_owned()));
        let mut supervisor = Supervisor::new(Options {
            program,
            arguments,
            environment,
            folder: folder.to_owned(),
        })
        .unwrap();
        supervisor.start().unwrap();
        Watcher::open(Source::Supervisor(supervisor), &listen)
    }
}

/// Polls nothing but its own namespace.
fn real_arguments(listen: &str, folder: &Path) -> Vec<String> {
    let frequency = format!("{}ms", FREQUENCY.as_millis());
    let folder = folder.to_str().unwrap();
    let pairs = [
        ["--dest", "null"],
        ["--frequency", &frequency],
        ["--poll-jitter-pct", "0"],
        ["--netns-dirs", folder],
        ["--proc-scan-every", "0s"],
        ["--prom-listen", listen],
    ];
    pairs.iter().flatten().map(|&word| word.to_owned()).collect()
}

/// All is well in the table, and in a namespace.
fn reconciled(elapsed_seconds: f64, last: bool) -> [Event; 2] {
    let reconciled = What::Reconciled {
        produced: 10_000,
        stored: 10_000,
        missing: 0,
        admitted: 0,
        double: 0,
        last,
    };
    let lasting = What::LastingNamespace {
        name: "n".to_owned(),
        polled: true,
    };
    [reconciled, lasting].map(|what| Event {
        elapsed_seconds,
        what,
    })
}

/// What a gate said, a line.
fn line(
    Verdict {
        name,
        status,
        figure,
        threshold,
        why,
    }: &Verdict,
) -> String {
    format!("{status:<12} {name}: {figure} (allowed: {threshold}): {why}")
}

/// A run, the gate that is meant to fail, and others that fail with reason.
type Case = (Run, &'static str, &'static [&'static str]);

/// Judges the runs, all at the same time. Each fails by the gate it names, and by nothing else than what it
/// lists behind. A machine that gave no time is no verdict on the gates: then that is said.
fn all_are_caught(runs: Vec<Case>) {
    let judge = |(run, gate, also): Case| {
        let verdicts = run.verdicts();
        let all: Vec<String> = verdicts.iter().map(line).collect();
        let all = all.join("\n");
        let failed: Vec<&Verdict> = verdicts
            .iter()
            .filter(|verdict| verdict.status == Status::Fail)
            .collect();
        for verdict in &failed {
            println!("{:?} -> {}", run.fault, line(verdict));
            let is_meant = verdict.name == gate || also.contains(&verdict.name);
            assert!(is_meant, "{:?}: {} failed\n{all}", run.fault, verdict.name);
        }
        let is_caught = failed.iter().any(|verdict| verdict.name == gate);
        assert!(is_caught, "{:?}: {gate} did not fail\n{all}", run.fault);
        assert_eq!(overall(&verdicts), Status::Fail);
    };
    thread::scope(|scope| {
        for run in runs {
            scope.spawn(move || judge(run));
        }
    });
}

/// Whether this machine counts the tasks of a cgroup, and remembers the peak.
fn counts_tasks() -> bool {
    let cgroup = xtcp2_soak::watch::cgroup::Own::make(&format!("xtcp2-soak-probe-{}", std::process::id()));
    cgroup.is_ok_and(|cgroup| cgroup.path().join("pids.peak").exists())
}

/// A run in which threads are no matter.
fn of_threads(fault: Fault) -> Run {
    let mut run = Run::of(fault);
    run.scenario.gates.threads_max = Some(1000);
    run
}

#[test]
fn a_healthy_daemon_passes_every_gate_each_time() {
    let runs: Vec<_> = (0..3).map(|_| Run::of(Fault::None)).collect();
    thread::scope(|scope| {
        for run in &runs {
            scope.spawn(|| {
                for verdict in run.verdicts() {
                    let is_busy = verdict.status == Status::CannotJudge && verdict.why.contains("machine");
                    assert!(verdict.status == Status::Pass || is_busy, "{}", line(&verdict));
                    println!("healthy -> {}", line(&verdict));
                }
            });
        }
    });
}

/// What the double is a double of: metrics that gates need are there under their names.
#[test]
fn the_daemon_itself_passes_every_gate() {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("xtcp2");
    if !program.exists() {
        eprintln!("skipped: {} is not built", program.display());
        return;
    }
    let mut run = Run::of(Fault::None);
    run.program = Some(program);
    run.scenario.gates.threads_max = Some(1);
    // Its own listener, in its own namespace.
    run.scenario.gates.rows_per_poll_min = Some(1);
    run.scenario.gates.namespaces_per_poll_min = Some(1);
    for verdict in run.verdicts() {
        let is_busy = verdict.status == Status::CannotJudge && verdict.why.contains("machine");
        assert!(verdict.status == Status::Pass || is_busy, "{}", line(&verdict));
        println!("the daemon -> {}", line(&verdict));
    }
}

fn leaks() -> Vec<Case> {
    vec![
        (
            of_threads(Fault::LeaksThreads),
            "threads_growth_per_hour_max",
            &[],
        ),
        (Run::of(Fault::LeaksFds), "fds_growth_per_hour_max", &[]),
        (Run::of(Fault::LeaksMemory), "rss_growth_kib_per_hour_max", &[]),
        (Run::of(Fault::IsFat), "rss_kib_max", &[]),
    ]
}

#[test]
fn leaks_are_caught() {
    all_are_caught(leaks());
}

#[test]
fn slow_leaks_are_caught_in_a_minute() {
    let run = || {
        let mut run = of_threads(Fault::LeaksSlowly);
        run.duration = Duration::from_secs(35);
        run.sample_every = Duration::from_millis(500);
        // Samples are rarer than polls.
        run.scenario.gates.poll_p99_ms_max = None;
        run.scenario.gates.poll_max_ms = None;
        run.scenario.gates.rows_per_poll_min = None;
        run.scenario.gates.namespaces_per_poll_min = None;
        run
    };
    let gates = [
        "threads_growth_per_hour_max",
        "fds_growth_per_hour_max",
        "rss_growth_kib_per_hour_max",
    ];
    let verdicts = run().verdicts();
    for verdict in &verdicts {
        println!("LeaksSlowly -> {}", line(verdict));
        assert_eq!(
            verdict.status == Status::Fail,
            gates.contains(&verdict.name),
            "{}",
            line(verdict)
        );
    }
}

fn ends() -> Vec<Case> {
    let restarts = "restarts_max";
    vec![
        // It stays away, so it does not poll either.
        (Run::of(Fault::Exits0), restarts, &["polls_late_percent_max"]),
        (Run::of(Fault::Exits2), restarts, &[]),
        (Run::of(Fault::ExitsOnce), restarts, &[]),
        // What a panic says is an error.
        (Run::of(Fault::Panics), restarts, &["error_lines_max"]),
        (Run::of(Fault::Aborts), restarts, &[]),
        (Run::of(Fault::IsKilled), restarts, &[]),
        (Run::of(Fault::ExecsInPlace), restarts, &[]),
    ]
}

#[test]
fn every_kind_of_end_is_caught() {
    all_are_caught(ends());
}

fn hangs() -> Vec<Case> {
    const LATE: &str = "polls_late_percent_max";
    vec![
        (Run::of(Fault::IsStopped), LATE, &[]),
        (Run::of(Fault::Deadlocks), LATE, &[]),
        (Run::of(Fault::StopsPolling), LATE, &[]),
        (Run::of(Fault::PollsLate), LATE, &[]),
        // One of thirty is more than one of a hundred, and the polls that were due meanwhile are missing.
        (
            Run::of(Fault::PollsLongOnce),
            "poll_max_ms",
            &["poll_p99_ms_max", LATE],
        ),
        // A pause of the machine on top may be more than a single poll may take.
        (Run::of(Fault::PollsSlowly), "poll_p99_ms_max", &["poll_max_ms"]),
    ]
}

#[test]
fn hangs_and_lateness_are_caught() {
    all_are_caught(hangs());
}

fn counts() -> Vec<Case> {
    vec![
        (Run::of(Fault::CountsBack), "counters_only_grow", &[]),
        (Run::of(Fault::LosesARow), "rows_per_poll_min", &[]),
        (Run::of(Fault::LosesANamespace), "namespaces_per_poll_min", &[]),
        (Run::of(Fault::LogsAnError), "error_lines_max", &[]),
    ]
}

fn tasks() -> Vec<Case> {
    let mut run = Run::of(Fault::HasAShortThread);
    run.sample_every = Duration::from_millis(300);
    vec![(run, "threads_max", &[])]
}

#[test]
fn what_happens_between_samples_and_in_counters_is_caught() {
    all_are_caught(counts());
    match counts_tasks() {
        true => all_are_caught(tasks()),
        false => eprintln!("skipped: no pids cgroup with a peak here"),
    }
}

fn of_processor_time(fault: Fault) -> Run {
    let mut run = Run::of(fault);
    run.duration = Duration::from_secs(13);
    run.scenario.gates.cpu_percent_max = Some(15.0);
    run
}

fn processor_time() -> Vec<Case> {
    vec![(of_processor_time(Fault::BurnsCpu), "cpu_percent_max", &[])]
}

#[test]
fn burnt_processor_time_is_caught() {
    all_are_caught(processor_time());
    let verdicts = of_processor_time(Fault::None).verdicts();
    let cpu = verdicts
        .iter()
        .find(|verdict| verdict.name == "cpu_percent_max")
        .unwrap();
    assert_eq!(cpu.status, Status::Pass, "{}", line(cpu));
}

fn surroundings() -> Vec<Case> {
    fn tampered(tamper: fn(&mut Sample, &mut Vec<Event>)) -> Run {
        Run {
            tamper,
            ..Run::of(Fault::None)
        }
    }
    let one_missing = |_: &mut Sample, events: &mut Vec<Event>| {
        for event in events {
            if let What::Reconciled { stored, missing, .. } = &mut event.what {
                (*stored, *missing) = (9_999, 1);
            }
        }
    };
    let one_double = |sample: &mut Sample, events: &mut Vec<Event>| {
        for event in events {
            if let What::Reconciled {
                double, last: false, ..
            } = &mut event.what
            {
                *double = u64::from(sample.elapsed_seconds > 3.0 && sample.elapsed_seconds < 4.0);
            }
        }
    };
    let load_died = |sample: &mut Sample, _: &mut Vec<Event>| sample.load.dead = sample.elapsed_seconds > 6.5;
    let half_a_load = |sample: &mut Sample, _: &mut Vec<Event>| sample.load.sockets = 50;
    let not_found = |_: &mut Sample, events: &mut Vec<Event>| {
        for event in events {
            if let What::LastingNamespace { polled, .. } = &mut event.what {
                *polled = false;
            }
        }
    };
    let out_of_memory = |sample: &mut Sample, events: &mut Vec<Event>| {
        let pid = sample.process.as_ref().map_or(0, |process| process.pid);
        let line = format!("Out of memory: Killed process {pid} (xtcp2) total-vm:109612kB, anon-rss:98304kB");
        events.push(Event {
            elapsed_seconds: sample.elapsed_seconds,
            what: What::KernelLine { line },
        });
    };
    vec![
        (tampered(one_missing), "reconciled", &[]),
        (tampered(one_double), "reconciled", &[]),
        (tampered(load_died), "load_percent_min", &[]),
        (tampered(half_a_load), "load_percent_min", &[]),
        (tampered(not_found), "every_lasting_namespace_is_polled", &[]),
        (tampered(out_of_memory), "restarts_max", &[]),
    ]
}

#[test]
fn a_healthy_daemon_whose_rows_loads_or_namespaces_are_not_well_fails() {
    all_are_caught(surroundings());
}

#[test]
fn every_gate_is_asked_and_has_a_fault_that_it_catches() {
    let asked = scenario().gates;
    let is_not_asked = |gate: &&Gate| (gate.threshold)(&asked).is_none();
    let not_asked = GATES.iter().filter(is_not_asked).map(|gate| gate.key);
    assert_eq!(not_asked.collect::<Vec<_>>(), ["cpu_percent_max"]);
    let all = [leaks, ends, hangs, counts, tasks, processor_time, surroundings];
    let caught: Vec<&str> = all
        .iter()
        .flat_map(|cases| cases())
        .map(|(_, gate, _)| gate)
        .collect();
    for gate in &GATES {
        assert!(caught.contains(&gate.key), "{}", gate.key);
    }
}
