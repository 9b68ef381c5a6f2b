//! Reports of made-up runs: one that passes, one that fails, one that cannot be judged, one that was cut off.
//! `XTCP2_REPORTS=DIR` keeps them, to be looked at in a browser.

use super::*;
use crate::{
    gates::{Judge, Status},
    record::{Cgroup, Event, Load, Machine, Process, Sample, What},
    scenario::read,
};
use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

/// What a log may hold to do harm, or to break a file.
const FOREIGN: &str = "<script>alert(1)</script> \"quoted\" & ]]> \u{1b}[31mred\u{0}";

/// How a made-up run goes.
#[derive(Clone, Copy, PartialEq)]
enum Course {
    Good,
    /// Crashes at 10 minutes, leaks threads.
    Bad,
    /// Ends after 40 samples.
    Short,
    /// Good, but its runner was killed in the middle of a line.
    CutOff,
}

/// Of each poll.
const ROWS: u64 = 2100;
/// Before and after the crash.
const INSTANCES: [&str; 2] = [
    "xtcp2_instance_info{instance_id=\"00f3\"}",
    "xtcp2_instance_info{instance_id=\"00f4\"}",
];

struct Made {
    dir: PathBuf,
    result: RunResult,
    _temporary: tempfile::TempDir,
}

fn scenario(name: &str) -> Scenario {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../microvms/scenarios");
    read::file(&Path::new(folder).join(format!("{name}.toml"))).unwrap()
}

/// Small numbers that look like noise, always the same.
fn noise(second: u32, salt: u32) -> f64 {
    f64::from(
        (second.wrapping_mul(2_654_435_761) ^ salt.wrapping_mul(40_503)).wrapping_mul(2_246_822_519) >> 16,
    ) / 65_536.0
}

/// How long the poll of a second took; one was slow.
fn poll_ms(second: u32) -> f64 {
    62.0 + noise(second, 8) * 30.0 + if second == 433 { 310.0 } else { 0.0 }
}

/// Second by second, what a run writes down; `polls_ms` is what this instance's polls took together.
fn sample(second: u32, course: Course, polls_ms: f64) -> Sample {
    let time = f64::from(second);
    let crashed = course == Course::Bad && second >= 600;
    let (pid, start) = if crashed { (5001, 600) } else { (4711, 0) };
    let up = second - start;
    let away = course == Course::Bad && (600..604).contains(&second);
    let leaked = if course == Course::Bad { second / 60 } else { 0 };
    let rows = ROWS * u64::from(up + 1);
    let outage = (700..820).contains(&second);
    let queued = if outage {
        f64::from(second - 700) * 900_000.0
    } else {
        20_000.0
    };
    Sample {
        elapsed_seconds: time + 0.003,
        time_unix_ms: 1_764_064_800_000 + u64::from(second) * 1000,
        process: (!away).then(|| Process {
            pid,
            start_ticks: u64::from(start) * 100,
            state: 'S',
            threads: BTreeMap::from([("xtcp2".to_owned(), 1 + leaked)]),
            rss_kib: 5600 + u64::from(up.min(300)) + u64::from(second * 37 % 90),
            pss_kib: second.is_multiple_of(10).then_some(4900),
            fds: 12 + u32::from(noise(second, 2) > 0.8),
            cpu_seconds: f64::from(up) * 0.081 + noise(second, 3) * 0.02,
            voluntary_switches: u64::from(up) * 40,
            involuntary_switches: u64::from(up),
            ..Process::default()
        }),
        cgroup: (course != Course::Bad).then_some(Cgroup {
            pids_current: 1,
            pids_peak: Some(1),
        }),
        metrics: (!away).then(|| {
            let (polls, rows) = (f64::from(up + 1), rows as f64);
            BTreeMap::from(
                [
                    (if crashed { INSTANCES[1] } else { INSTANCES[0] }, 1.0),
                    ("xtcp2_rows_total", rows),
                    ("xtcp2_completed_poll_rows_total", rows),
                    ("xtcp2_polls_total", polls),
                    ("xtcp2_polls_late_total", 0.0),
                    ("xtcp2_poll_start_delay_seconds_count", polls),
                    ("xtcp2_poll_start_delay_seconds_bucket{le=\"0.1\"}", polls),
                    ("xtcp2_poll_duration_seconds_sum", polls_ms / 1e3),
                    ("xtcp2_last_poll_sequence", polls),
                    ("xtcp2_last_poll_rows", ROWS as f64),
                    ("xtcp2_last_poll_duration_seconds", poll_ms(second) / 1e3),
                    ("xtcp2_namespaces", 250.0 + (noise(second, 4) * 6.0).floor()),
                    ("xtcp2_output_queued_bytes", queued),
                    ("xtcp2_spool_bytes", 8e6 + queued),
                ]
                .map(|(name, value)| (name.to_owned(), value)),
            )
        }),
        scrape_ms: (!away).then(|| 0.4 + noise(second, 5)),
        machine: Machine {
            cpus: 2,
            busy_percent: 38.0 + noise(second, 6) * 12.0,
            steal_percent: noise(second, 7) * 1.5,
            cpu_pressure_percent: Some(3.0),
            memory_available_kib: 1_500_000,
        },
        load: Load {
            namespaces_created: 200 + 10 * u64::from(second),
            namespaces_deleted: 10 * u64::from(second),
            namespaces: 250,
            sockets: 1800,
            bytes: 500_000 * u64::from(second),
            ..Load::default()
        },
        stored_rows: second
            .is_multiple_of(10)
            .then_some(ROWS * u64::from(if outage { 700 } else { second })),
    }
}

fn happened(second: u32, course: Course) -> Vec<What> {
    let bad = course == Course::Bad;
    let mut happened = vec![What::Poll {
        instance_id: "00f3".into(),
        sequence: u64::from(second),
        rows: ROWS,
        duration_ms: poll_ms(second),
    }];
    match second {
        0 => happened.push(What::DaemonStarted {
            pid: 4711,
            start_ticks: 0,
            announced: true,
        }),
        600 if bad => happened.push(What::DaemonEnded {
            pid: 4711,
            code: None,
            signal: Some(6),
            announced: false,
        }),
        601 if bad => happened.push(What::KernelLine {
            line: FOREIGN.to_owned(),
        }),
        604 if bad => happened.push(What::DaemonStarted {
            pid: 5001,
            start_ticks: 60_000,
            announced: false,
        }),
        1799 => happened.push(What::Reconciled {
            produced: 3_600_000,
            stored: 3_600_000,
            missing: 0,
            admitted: 0,
            double: 0,
            last: true,
        }),
        700 => happened.push(What::Action {
            name: "stop-kafka".into(),
            done: false,
        }),
        820 => happened.push(What::Action {
            name: "start-kafka".into(),
            done: false,
        }),
        _ => {}
    }
    if second.is_multiple_of(10) {
        let name = format!("xtcp2-soak-{second}");
        happened.push(What::LastingNamespace { name, polled: true });
    }
    if bad && second >= 604 && second.is_multiple_of(4) {
        let line = format!("{second}: {FOREIGN}");
        happened.push(What::ErrorLine { line });
    }
    happened
}

/// Writes a run down, judges it, reports on it.
fn made(course: Course) -> Made {
    let temporary = tempfile::tempdir().unwrap();
    let name = match course {
        Course::Good => "pass",
        Course::Bad => "fail",
        Course::Short => "cannot-judge",
        Course::CutOff => "cut-off",
    };
    let dir = match env::var_os("XTCP2_REPORTS") {
        Some(kept) => PathBuf::from(kept).join(name),
        None => temporary.path().join(name),
    };
    fs::create_dir_all(&dir).unwrap();
    let seconds = if course == Course::Short { 40 } else { 1801 };
    let scenario = scenario("namespace-churn");
    let mut judge = Judge::new(&scenario);
    let (mut samples, mut events) = (String::new(), String::new());
    let mut polls_ms = 0.0;
    for second in 0..seconds {
        for what in happened(second, course) {
            let event = Event {
                elapsed_seconds: f64::from(second),
                what,
            };
            judge.event(&event);
            writeln!(events, "{}", serde_json::to_string(&event).unwrap()).unwrap();
        }
        if course == Course::Bad && second == 604 {
            polls_ms = 0.0;
        }
        polls_ms += poll_ms(second);
        let sample = sample(second, course, polls_ms);
        judge.sample(&sample);
        writeln!(samples, "{}", serde_json::to_string(&sample).unwrap()).unwrap();
    }
    if course == Course::CutOff {
        samples.truncate(samples.len() - 200);
    }
    fs::write(dir.join("samples.jsonl"), samples).unwrap();
    fs::write(dir.join("events.jsonl"), events).unwrap();
    let run = Run {
        scenario: "namespace-churn".into(),
        target: "host".into(),
        command: "xtcp2-soak run namespace-churn --target host --duration 30m".into(),
        started_unix_ms: 1_764_064_800_000,
        ended_unix_ms: 1_764_064_800_000 + u64::from(seconds) * 1000,
        ended_early: (course == Course::Short).then(|| "Ctrl-C".into()),
        environment: Environment::of(Path::new("/nonexistent/xtcp2")),
        not_asked: Vec::new(),
    };
    let mut verdicts = judge.verdicts();
    if course == Course::Bad {
        verdicts[0].why = FOREIGN.to_owned();
    }
    let result = write(&dir, &scenario, &run, &verdicts).unwrap();
    Made {
        dir,
        result,
        _temporary: temporary,
    }
}

impl Made {
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join(file)).unwrap()
    }
}

#[test]
fn a_run_that_passed_says_so_in_all_three_files() {
    let made = made(Course::Good);
    let read: RunResult = serde_json::from_str(&made.text(RESULT)).unwrap();
    assert_eq!(read, made.result);
    assert_eq!(read.verdict, Status::Pass);
    assert_eq!(
        (read.schema_version, read.events.samples),
        (result::SCHEMA_VERSION, 1801)
    );
    assert_eq!(read.totals.polls, read.figures["poll_ms"].count);
    assert!(
        read.totals.namespaces_created > 0 && read.totals.rows > 0,
        "{:?}",
        read.totals
    );
    let threads = read.figures["threads"];
    assert_eq!((threads.min, threads.median, threads.max), (1.0, 1.0, 1.0));
    // 81 ms of processor time a second.
    let cpu = read.figures["cpu_percent"];
    assert!((cpu.median - 8.1).abs() < 1.0, "{cpu:?}");
    // A spike of a second is there.
    let poll = read.figures["poll_ms"];
    assert!(poll.max > 370.0 && poll.median < 100.0, "{poll:?}");
    let html = made.text(HTML);
    assert!(html.contains("<strong>Passed</strong>") && html.contains("Duration of polls, ms"));
    assert_eq!(made.text(JUNIT).matches("<failure").count(), 0);
}

#[test]
fn a_run_that_failed_names_its_gates_first_and_escapes_what_was_logged() {
    let made = made(Course::Bad);
    assert_eq!(made.result.verdict, Status::Fail);
    assert_eq!(made.result.events.unannounced_ends, 1);
    assert!(
        !made.result.figures.contains_key("cgroup_pids_peak"),
        "never seen is not 0"
    );
    let failed = made.result.count(Status::Fail);
    assert!(failed >= 3, "{:?}", made.result.gates);
    assert_eq!(made.text(JUNIT).matches("<failure ").count(), failed);
    let html = made.text(HTML);
    assert!(html.contains("<strong>Failed</strong>"));
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
    assert!(!html.contains('\u{0}') && !html.contains('\u{1b}'));
    assert!(html.contains(" more here, in events.jsonl"));
    let table = html.split("<h2>Gates</h2>").nth(1).unwrap();
    assert!(table.find("\"fail\"").unwrap() < table.find("\"pass\"").unwrap());
}

#[test]
fn a_run_that_cannot_be_judged_is_no_pass_anywhere() {
    let made = made(Course::Short);
    assert_eq!(made.result.verdict, Status::CannotJudge);
    assert!(made.text(RESULT).contains("\"verdict\": \"cannot-judge\""));
    assert!(made.text(HTML).contains("This is not a pass."));
    let junit = made.text(JUNIT);
    assert!(junit.contains("<skipped message=\"cannot judge: ") && junit.matches("<error ").count() == 1);
}

#[test]
fn polls_and_rows_are_the_daemons_own_count_however_late_samples_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut totals = Vec::new();
    let mut samples = String::new();
    // The last one is another instance, which was quick.
    for (second, instance, polls) in [(0, 0, 10.0), (4, 0, 14.0), (9, 0, 19.0), (60, 1, 20.0)] {
        let mut sample = sample(second, Course::Good, 0.0);
        let metrics = [
            (INSTANCES[instance], 1.0),
            ("xtcp2_polls_total", polls),
            ("xtcp2_rows_total", polls * 100.0),
        ];
        sample.metrics = Some(metrics.map(|(name, value)| (name.to_owned(), value)).into());
        writeln!(samples, "{}", serde_json::to_string(&sample).unwrap()).unwrap();
        fs::write(folder.path().join("samples.jsonl"), &samples).unwrap();
        let folded = fold::read(folder.path()).unwrap();
        totals.push((folded.totals.polls, folded.totals.rows));
    }
    assert_eq!(totals, [(10, 1000), (14, 1400), (19, 1900), (39, 3900)]);
}

#[test]
fn half_a_line_at_the_end_costs_that_sample_only() {
    let made = made(Course::CutOff);
    assert_eq!(made.result.events.unreadable_lines, 1);
    assert_eq!(made.result.events.samples, 1800);
    assert!(made.text(HTML).contains("could not be read"));
}

#[test]
fn what_result_json_holds_is_documented() {
    let docs = include_str!("../../../docs/soak.md");
    let json: serde_json::Value = serde_json::from_str(&made(Course::Good).text(RESULT)).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let nested = ["environment", "events", "figures"].map(|key| keys(&json[key]));
    for key in nested
        .into_iter()
        .flatten()
        .chain(keys(&json))
        .chain(keys(&json["gates"][0]))
    {
        assert!(docs.contains(&format!("`{key}`")), "{key}");
    }
    for gate in crate::scenario::gates::GATES {
        assert!(docs.contains(&format!("`{}`", gate.key)), "{}", gate.key);
    }
    for (figure, _) in figures::NAMES {
        assert!(docs.contains(&format!("`{figure}`")), "{figure}");
    }
}

#[test]
fn a_folder_without_samples_has_a_report_too() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run {
        scenario: "lifecycle".into(),
        target: "host".into(),
        command: String::new(),
        started_unix_ms: 0,
        ended_unix_ms: 0,
        ended_early: Some("the daemon did not start".into()),
        environment: Environment::default(),
        not_asked: Vec::new(),
    };
    let result = write(folder.path(), &scenario("lifecycle"), &run, &[]).unwrap();
    assert_eq!(result.verdict, Status::CannotJudge);
    assert!(result.figures.is_empty());
}

#[test]
fn junit_is_xml_to_a_parser() {
    // Fails where a tag does not end, a character is none of XML, or a count is wrong.
    const CHECK: &str = "import sys, xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot()[0]
cases = suite.findall('testcase')
assert len(cases) == int(suite.get('tests')), cases
for tag, count in (('failure', 'failures'), ('error', 'errors'), ('skipped', 'skipped')):
    assert len(suite.findall('testcase/' + tag)) == int(suite.get(count)), tag
";
    let python = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !python.is_ok_and(|status| status.success()) {
        println!("skipped: python3 is not installed");
        return;
    }
    for course in [Course::Good, Course::Bad, Course::Short] {
        let made = made(course);
        let output = Command::new("python3")
            .args(["-c", CHECK])
            .arg(made.dir.join(JUNIT))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
