//! What gates say of series that no real run of minutes can have: hours, starved machines, noise of every kind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a failure here is a failed test"
)]

use xtcp2_soak::{
    gates::{Judge, Status, Verdict, overall},
    record::{Cgroup, Event, Load, Process, Sample, What},
    scenario::Scenario,
};

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
/// Of the daemon that is made up here.
const RSS_KIB: f64 = 16_000.0;

/// Over in a second: each test goes on for as long as it wants.
fn scenario() -> Scenario {
    toml::from_str(
        "title = 't'\ndescription = 'd'\nduration = '1s'\nwarm_up = '10s'\n\
         [machine]\ncpus = 1\nmemory_mib = 100\n[daemon]\nflags = []\nfrequency = '1s'\n\
         [[load]]\nkind = 'churn'\nevents_per_second = 20.0\nnamespaces = 200\nsockets = 2\n\
         [gates]\nthreads_max = 1\nrestarts_max = 0\nrss_kib_max = 65536\nrss_growth_kib_per_hour_max = 1024.0\n\
         fds_growth_per_hour_max = 4.0\nthreads_growth_per_hour_max = 1.0\npoll_p99_ms_max = 100.0\n\
         poll_max_ms = 500.0\npolls_late_percent_max = 1.0\ncounters_only_grow = true\nrows_per_poll_min = 400\n\
         cpu_percent_max = 10.0\nerror_lines_max = 0\nload_percent_min = 90.0\nreconciled = true\n",
    )
    .unwrap()
}

/// The sample that a healthy daemon gives, `second` after the start. `rss_kib` is what it has then.
fn healthy(second: u32, rss_kib: f64) -> Sample {
    let polls = f64::from(second);
    let metrics = [
        ("xtcp2_instance_info{instance_id=\"00000000000000ff\"}", 1.0),
        ("xtcp2_polls_total", polls),
        ("xtcp2_polls_late_total", 0.0),
        ("xtcp2_completed_poll_rows_total", 500.0 * polls),
        ("xtcp2_last_poll_rows", 500.0),
        ("xtcp2_last_poll_sequence", polls),
        ("xtcp2_last_poll_duration_seconds", 0.03125),
        ("xtcp2_poll_duration_seconds_sum", 0.03125 * polls),
        ("xtcp2_poll_start_delay_seconds_count", polls),
        ("xtcp2_poll_start_delay_seconds_bucket{le=\"0.1\"}", polls),
    ];
    Sample {
        elapsed_seconds: second.into(),
        process: Some(Process {
            pid: 7,
            start_ticks: 70,
            state: 'S',
            threads: [("xtcp2".to_owned(), 1)].into(),
            rss_kib: rss_kib as u64,
            fds: 15,
            cpu_seconds: 0.04 * polls,
            run_delay_seconds: Some(0.001 * polls),
            ..Process::default()
        }),
        cgroup: Some(Cgroup {
            pids_current: 1,
            pids_peak: Some(1),
        }),
        metrics: Some(metrics.map(|(name, value)| (name.to_owned(), value)).into()),
        load: Load {
            namespaces: 200,
            sockets: 600,
            namespaces_created: 10 * u64::from(second),
            namespaces_deleted: 10 * u64::from(second),
            ..Load::default()
        },
        ..Sample::default()
    }
}

fn event(second: u32, what: What) -> Event {
    Event {
        elapsed_seconds: second.into(),
        what,
    }
}

/// All rows are there, after everything has come to rest.
fn complete(judge: &mut Judge, second: u32) {
    let what = What::Reconciled {
        produced: 1,
        stored: 1,
        missing: 0,
        admitted: 0,
        double: 0,
        last: true,
    };
    judge.event(&event(second, what));
}

/// Judges `seconds` of samples that `change` was done to.
fn judged(seconds: u32, change: impl Fn(u32, &mut Sample)) -> Vec<Verdict> {
    let mut judge = Judge::new(&scenario());
    for second in 0..seconds {
        let mut sample = healthy(second, RSS_KIB);
        change(second, &mut sample);
        judge.sample(&sample);
    }
    complete(&mut judge, seconds);
    judge.verdicts()
}

fn status(verdicts: &[Verdict], name: &str) -> Status {
    let verdict = verdicts.iter().find(|verdict| verdict.name == name).unwrap();
    println!("{verdict:?}");
    verdict.status
}

fn failed(verdicts: &[Verdict]) -> Vec<&'static str> {
    let is_failed = |verdict: &&Verdict| verdict.status == Status::Fail;
    verdicts
        .iter()
        .filter(is_failed)
        .map(|verdict| verdict.name)
        .collect()
}

/// Resident memory over time, judged.
fn rss(seconds: u32, rss_kib: impl Fn(u32) -> f64) -> Status {
    let verdicts = judged(seconds, |second, sample| {
        sample.process.as_mut().unwrap().rss_kib = rss_kib(second) as u64;
    });
    status(&verdicts, "rss_growth_kib_per_hour_max")
}

/// Between 0 and 1, always the same for a seed and a second.
fn random(seed: u32, second: u32) -> f64 {
    let mut state = (u64::from(seed) << 32 | u64::from(second)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    for _ in 0..3 {
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    (state >> 40) as f64 / f64::from(1 << 24)
}

#[test]
fn a_healthy_hour_passes_everything() {
    for verdict in judged(HOUR, |_, _| {}) {
        assert_eq!(verdict.status, Status::Pass, "{verdict:?}");
    }
}

#[test]
fn one_that_ended_before_its_time_is_no_pass_and_what_failed_has_failed() {
    let mut scenario = scenario();
    scenario.duration.0 = std::time::Duration::from_secs(HOUR.into());
    let until = |last: u32, pid: i32| {
        let mut judge = Judge::new(&scenario);
        for second in 0..=last {
            let mut sample = healthy(second, RSS_KIB);
            if second > 100 {
                sample.process.as_mut().unwrap().pid = pid;
            }
            judge.sample(&sample);
        }
        complete(&mut judge, last);
        judge.verdicts()
    };
    let verdicts = until(HOUR - 1, 7);
    assert_eq!(status(&verdicts, "machine"), Status::CannotJudge);
    assert_eq!(overall(&verdicts), Status::CannotJudge);
    assert_eq!(overall(&until(HOUR - 1, 8)), Status::Fail);
    assert_eq!(overall(&until(HOUR, 7)), Status::Pass);
}

#[test]
fn without_samples_nothing_passes() {
    let scenario = scenario();
    for seconds in [0, 5] {
        let mut judge = Judge::new(&scenario);
        (0..seconds).for_each(|second| {
            judge.sample(&Sample {
                elapsed_seconds: second.into(),
                ..Sample::default()
            })
        });
        let verdicts = judge.verdicts();
        assert!(
            verdicts.iter().all(|verdict| verdict.status != Status::Pass),
            "{verdicts:?}"
        );
        assert_ne!(overall(&verdicts), Status::Pass);
    }
    assert_eq!(overall(&[]), Status::CannotJudge);
    // A daemon that is there, and of which nothing but that is known for long enough.
    let verdicts = judged(12, |_, _| {});
    assert_eq!(overall(&verdicts), Status::CannotJudge, "{verdicts:?}");
}

#[test]
fn a_leak_of_64_kib_a_second_is_caught_in_a_minute_through_noise() {
    for seed in 0..20 {
        let leak = |second| RSS_KIB + 64.0 * f64::from(second) + 400.0 * random(seed, second);
        assert_eq!(rss(70, leak), Status::Fail, "{seed}");
    }
}

#[test]
fn a_leak_of_2_kib_a_second_is_caught_in_an_hour_through_a_saw() {
    let leak = |second: u32| RSS_KIB + 2.0 * f64::from(second) + 50.0 * f64::from(second % 40);
    assert_eq!(rss(HOUR, leak), Status::Fail);
}

#[test]
fn noise_teeth_steps_and_warm_up_are_no_leak() {
    for seed in 0..20 {
        let noise = |second| RSS_KIB + 300.0 * random(seed, second);
        assert_eq!(rss(5 * MINUTE, noise), Status::Pass, "{seed}");
        assert_eq!(rss(HOUR, noise), Status::Pass, "{seed}");
    }
    for period in [7, 40, 61, 120] {
        let teeth = |second: u32| RSS_KIB + 2000.0 * f64::from(second % period) / f64::from(period);
        assert_eq!(rss(HOUR, teeth), Status::Pass, "{period}");
    }
    // Teeth as long as a twelfth of the run hide as much as they are high.
    let long = |second: u32| RSS_KIB + 4000.0 * f64::from(second % 300) / 300.0;
    assert_ne!(rss(HOUR, long), Status::Fail);
    let step = |second| RSS_KIB + if second > 1200 { 3000.0 } else { 0.0 };
    assert_eq!(rss(HOUR, step), Status::Pass);
    let warm_up = |second: u32| RSS_KIB + 1000.0 * f64::from(second.min(10));
    assert_eq!(rss(5 * MINUTE, warm_up), Status::Pass);
}

#[test]
fn a_run_that_could_not_have_seen_the_leak_does_not_pass() {
    // One tooth and a half: growth, or the next one about to fall?
    let teeth = |second: u32| RSS_KIB + 8000.0 * f64::from(second % 40) / 40.0;
    assert_eq!(rss(70, teeth), Status::CannotJudge);
    // No growth to be seen, and none that could have been.
    let noise = |second| RSS_KIB + 8000.0 * random(3, second / 8);
    assert_eq!(rss(70, noise), Status::CannotJudge);
    assert_eq!(
        rss(25, |_| RSS_KIB),
        Status::CannotJudge,
        "15 samples after the warm-up"
    );
}

#[test]
fn memory_is_flat_over_twelve_hours() {
    let mut judge = Judge::new(&scenario());
    let mut size = 0;
    for second in 0..12 * HOUR {
        for what in [
            What::ErrorLine {
                line: "x".repeat(100),
            },
            What::KernelLine {
                line: format!("y[{second}]: segfault at 0"),
            },
            What::LastingNamespace {
                name: format!("n{second}"),
                polled: false,
            },
            What::DaemonStarted {
                pid: 7,
                start_ticks: 70,
                announced: true,
            },
        ] {
            judge.event(&event(second, what));
        }
        judge.sample(&healthy(second, RSS_KIB + 100.0 * random(1, second)));
        match second {
            HOUR => size = format!("{judge:?}").len(),
            // Numbers get longer, lists do not.
            _ if second % HOUR == 0 && second > 0 => assert!(format!("{judge:?}").len() < size * 5 / 4),
            _ => {}
        }
    }
}

#[test]
fn a_hang_and_a_dead_load_at_the_end_of_twelve_hours_are_caught() {
    let hang = 12 * HOUR - 15;
    let verdicts = judged(12 * HOUR, |second, sample| {
        let stuck = healthy(second.min(hang), RSS_KIB);
        sample.metrics = stuck.metrics.filter(|_| second % 2 == 0);
    });
    assert_eq!(
        failed(&verdicts),
        ["polls_late_percent_max"],
        "a 2,880th of the polls"
    );
    let verdicts = judged(12 * HOUR, |second, sample| {
        let created = sample.load.namespaces_created.min(10 * u64::from(12 * HOUR - 90));
        sample.load.namespaces_created = created;
        sample.load.namespaces_deleted = created;
        sample.load.namespaces = if second > 12 * HOUR - 90 { 0 } else { 200 };
    });
    assert_eq!(failed(&verdicts), ["load_percent_min"], "a 480th of the events");
}

#[test]
fn a_starved_machine_is_no_pass_and_no_excuse_for_a_crash() {
    let starved = |second: u32, sample: &mut Sample| {
        sample.machine.steal_percent = 60.0;
        sample.process.as_mut().unwrap().run_delay_seconds = Some(0.5 * f64::from(second));
        // Every tenth poll is late, and takes a second.
        let late = f64::from(second / 10);
        let metrics = sample.metrics.as_mut().unwrap();
        metrics.insert("xtcp2_polls_late_total".into(), late);
        metrics.insert("xtcp2_last_poll_duration_seconds".into(), 1.0);
        metrics.insert("xtcp2_poll_duration_seconds_sum".into(), f64::from(second));
    };
    let verdicts = judged(5 * MINUTE, starved);
    assert_eq!(failed(&verdicts), [""; 0]);
    for name in [
        "machine",
        "polls_late_percent_max",
        "poll_max_ms",
        "poll_p99_ms_max",
    ] {
        assert_eq!(status(&verdicts, name), Status::CannotJudge);
    }
    assert_eq!(overall(&verdicts), Status::CannotJudge);

    let verdicts = judged(5 * MINUTE, |second, sample| {
        starved(second, sample);
        sample.process.as_mut().unwrap().pid = if second < 100 { 7 } else { 8 };
    });
    assert_eq!(failed(&verdicts), ["restarts_max"]);
    assert_eq!(overall(&verdicts), Status::Fail);

    // The same lateness on a machine that had time is the daemon's.
    let verdicts = judged(5 * MINUTE, |second, sample| {
        starved(second, sample);
        sample.machine.steal_percent = 0.0;
        sample.process.as_mut().unwrap().run_delay_seconds = Some(0.0);
    });
    assert_eq!(
        failed(&verdicts),
        ["poll_p99_ms_max", "poll_max_ms", "polls_late_percent_max"]
    );
}

#[test]
fn a_runner_that_samples_late_does_not_judge() {
    let mut judge = Judge::new(&scenario());
    for second in 0..10 * MINUTE {
        // Every fifth sample comes 5 s after the one before.
        if second % 9 < 5 {
            judge.sample(&healthy(second, RSS_KIB));
        }
    }
    complete(&mut judge, 10 * MINUTE);
    let verdicts = judge.verdicts();
    assert_eq!(status(&verdicts, "machine"), Status::CannotJudge);
    assert_eq!(failed(&verdicts), [""; 0]);
}

#[test]
fn ordered_restarts_and_outages_are_excused_and_nothing_else_is() {
    let restart_at = 100;
    let run = |announced: bool| {
        let mut judge = Judge::new(&scenario());
        for second in 0..5 * MINUTE {
            if second == restart_at {
                let end = What::DaemonEnded {
                    pid: 7,
                    code: Some(0),
                    signal: None,
                    announced,
                };
                let start = What::DaemonStarted {
                    pid: 8,
                    start_ticks: 80,
                    announced,
                };
                let instance = What::Instance {
                    instance_id: "1".into(),
                    announced,
                };
                for what in [end, start, instance] {
                    judge.event(&event(second, what));
                }
            }
            let mut sample = healthy(second, RSS_KIB);
            if second >= restart_at {
                sample = healthy(second - restart_at, RSS_KIB);
                sample.elapsed_seconds = second.into();
                sample.load = healthy(second, RSS_KIB).load;
                let process = sample.process.as_mut().unwrap();
                (process.pid, process.start_ticks) = (8, 80);
                let metrics = sample.metrics.as_mut().unwrap();
                metrics.retain(|name, _| !name.starts_with("xtcp2_instance_info"));
                metrics.insert(
                    "xtcp2_instance_info{instance_id=\"0000000000000001\"}".into(),
                    1.0,
                );
            }
            judge.sample(&sample);
        }
        complete(&mut judge, 5 * MINUTE);
        judge.verdicts()
    };
    assert_eq!(overall(&run(true)), Status::Pass, "{:?}", run(true));
    let broken = |what: What| {
        let mut judge = Judge::new(&scenario());
        for second in 0..5 * MINUTE {
            judge.sample(&healthy(second, RSS_KIB));
        }
        judge.event(&event(5 * MINUTE, what));
        complete(&mut judge, 5 * MINUTE);
        overall(&judge.verdicts())
    };
    assert_eq!(broken(What::BrokeOff { why: "w".into() }), Status::CannotJudge);
    assert_eq!(failed(&run(false)), ["restarts_max"]);

    let error = || What::ErrorLine {
        line: "xtcp2: error: broker".into(),
    };
    let missing = |last| What::Reconciled {
        produced: 9,
        stored: 8,
        missing: 1,
        admitted: 0,
        double: 0,
        last,
    };
    let action = |name: &str, done| What::Action {
        name: name.into(),
        done,
    };
    let outage = |more: Vec<Event>| {
        let mut judge = Judge::new(&scenario());
        let mut events = vec![
            event(50, action("kill-kafka", false)),
            event(50, action("kill-kafka", true)),
            event(60, error()),
            event(90, missing(false)),
            event(100, action("start-kafka", false)),
            event(105, action("start-kafka", true)),
            event(110, error()),
        ];
        events.extend(more);
        for second in 0..5 * MINUTE {
            events
                .iter()
                .filter(|event| event.elapsed_seconds == f64::from(second))
                .for_each(|event| judge.event(event));
            judge.sample(&healthy(second, RSS_KIB));
        }
        complete(&mut judge, 5 * MINUTE);
        judge.verdicts()
    };
    assert_eq!(overall(&outage(vec![])), Status::Pass);
    assert_eq!(failed(&outage(vec![event(200, error())])), ["error_lines_max"]);
    assert_eq!(
        overall(&outage(vec![event(200, missing(false))])),
        Status::Pass,
        "rows on their way, which had come at the end"
    );
    assert_eq!(
        failed(&outage(vec![event(90, missing(true))])),
        ["reconciled"],
        "the last is never excused"
    );
}
