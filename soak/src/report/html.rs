//! `report.html`: one file, nothing outside it, no script. Everything from outside this program is escaped: a
//! log line is foreign text.

use super::{
    RunResult,
    events::{Events, Kind, Line},
    figures::{Figure, NAMES},
    fold::Folded,
    junit::escape,
    number, plot,
    result::Gate,
};
use crate::{
    duration::Seconds,
    gates::Status,
    scenario::gates::{GATES, MACHINE},
};
use std::{fmt::Write, time::Duration};

const STYLE: &str = include_str!("style.css");

/// One plot of the page: a title, up to two figures, the gate whose threshold is its limit, and by how much to
/// divide that for the plot's unit.
struct Plot {
    title: &'static str,
    figures: &'static [(&'static str, &'static str)],
    gate: &'static str,
    divide: f64,
}

const fn plot(
    title: &'static str,
    figures: &'static [(&'static str, &'static str)],
    gate: &'static str,
    divide: f64,
) -> Plot {
    Plot {
        title,
        figures,
        gate,
        divide,
    }
}

const PLOTS: [Plot; 11] = [
    plot(
        "Threads",
        &[
            ("threads", "by /proc"),
            ("cgroup_pids_peak", "peak of the cgroup"),
        ],
        "threads_max",
        1.0,
    ),
    plot(
        "Memory, MiB",
        &[("rss_mib", "resident"), ("pss_mib", "proportional")],
        "rss_kib_max",
        1024.0,
    ),
    plot(
        "CPU of the daemon, % of a processor",
        &[("cpu_percent", "")],
        "cpu_percent_max",
        1.0,
    ),
    plot("Duration of polls, ms", &[("poll_ms", "")], "poll_max_ms", 1.0),
    plot(
        "Namespaces",
        &[
            ("namespaces_polled", "polled"),
            ("namespaces_of_load", "of the load"),
        ],
        "",
        1.0,
    ),
    plot(
        "Rows a second",
        &[("rows_per_second", "made"), ("stored_rows_per_second", "stored")],
        "",
        1.0,
    ),
    plot(
        "Namespaces made and deleted a second",
        &[("load_events_per_second", "")],
        "",
        1.0,
    ),
    plot(
        "Waiting in the daemon, MiB",
        &[("queued_mib", "queue"), ("spool_mib", "segments of the spool")],
        "",
        1.0,
    ),
    plot("Open descriptors", &[("fds", "")], "", 1.0),
    plot("Sockets of the load", &[("sockets_of_load", "")], "", 1.0),
    plot(
        "The machine, %",
        &[
            ("machine_busy_percent", "busy"),
            ("machine_steal_percent", "stolen by the hypervisor"),
        ],
        "",
        1.0,
    ),
];

/// The page.
pub fn render(result: &RunResult, folded: &Folded) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(&result.scenario),
        result.verdict
    );
    head(&mut page, result);
    gates(&mut page, result);
    plots(&mut page, result, folded);
    environment(&mut page, result);
    summary(&mut page, result);
    events(&mut page, &folded.events);
    page.push_str("</body>\n</html>\n");
    page
}

fn class(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Fail => "fail",
        Status::CannotJudge => "cannot-judge",
    }
}

/// The verdict in plain words.
pub fn verdict(result: &RunResult) -> (String, String) {
    let of = |status| -> Vec<&str> {
        let names = result.gates.iter().filter(|gate| gate.status == status);
        names.map(|gate| gate.name.as_str()).collect()
    };
    let (failed, unknown) = (of(Status::Fail), of(Status::CannotJudge));
    let all = result.gates.len();
    let unknown_too = match unknown.len() {
        0 => String::new(),
        count => format!(" {count} could not be judged: {}.", unknown.join(", ")),
    };
    match result.verdict {
        Status::Pass => ("Passed".to_owned(), format!("All {all} gates were kept.")),
        Status::Fail => (
            "Failed".to_owned(),
            format!(
                "{} of {all} gates {} broken: {}.{unknown_too}",
                failed.len(),
                if failed.len() == 1 { "was" } else { "were" },
                failed.join(", ")
            ),
        ),
        Status::CannotJudge => (
            "Cannot judge".to_owned(),
            format!("This is not a pass. No gate was broken, of {all}.{unknown_too}"),
        ),
    }
}

fn head(page: &mut String, result: &RunResult) {
    let (word, sentence) = verdict(result);
    let _ = write!(
        page,
        "<h1>xtcp2-soak: {}: {}</h1>\n<div class=\"verdict {}\"><strong>{word}</strong>\n<p>{}</p>\n<p>{}</p>\n",
        escape(&result.scenario),
        escape(&result.title),
        class(result.verdict),
        escape(&sentence),
        escape(&ran(result)),
    );
    if let Some(why) = &result.ended_early {
        let _ = writeln!(page, "<p>It ended before its time: {}.</p>", escape(why));
    }
    if result.events.unreadable_lines > 0 {
        let _ = writeln!(
            page,
            "<p>{} lines of samples and events could not be read: the runner was killed, or a disk was full.</p>",
            result.events.unreadable_lines
        );
    }
    page.push_str("</div>\n");
}

/// When and how long.
fn ran(result: &RunResult) -> String {
    let whole = |seconds: f64| {
        Seconds(Duration::from_secs_f64(
            seconds.round().clamp(0.0, f64::from(u32::MAX)),
        ))
    };
    format!(
        "Ran for {} of {} on {}, from {} to {}.",
        whole(result.measured_seconds),
        whole(result.duration_seconds),
        result.target,
        number::utc(result.started_unix_ms),
        number::utc(result.ended_unix_ms)
    )
}

fn gates(page: &mut String, result: &RunResult) {
    page.push_str(
        "<h2>Gates</h2>\n<div class=\"scroll\"><table class=\"gates\">\n<tr><th>Verdict</th><th>Gate</th><th>Seen</th><th>Allowed</th>\
         <th>Why</th></tr>\n",
    );
    let mut sorted: Vec<&Gate> = result.gates.iter().collect();
    // What is wrong first, else in their order.
    sorted.sort_by_key(|gate| match gate.status {
        Status::Fail => 0,
        Status::CannotJudge => 1,
        Status::Pass => 2,
    });
    for gate in sorted {
        let meaning = GATES
            .iter()
            .find(|known| known.key == gate.name)
            .map_or(MACHINE.meaning, |known| known.meaning);
        let _ = writeln!(
            page,
            "<tr class=\"{}\"><td class=\"status\">{}</td><td class=\"name\"><code>{}</code><small>{meaning}</small></td>\
             <td>{}</td><td>{}</td><td>{}</td></tr>",
            class(gate.status),
            gate.status,
            escape(&gate.name),
            escape(&gate.figure),
            escape(&gate.threshold),
            escape(&gate.why)
        );
    }
    page.push_str("</table></div>\n");
}

fn plots(page: &mut String, result: &RunResult, folded: &Folded) {
    page.push_str("<h2>Over time</h2>\n");
    let has = |kind: Kind| folded.events.markers.iter().any(|marker| marker.kind == kind);
    if has(Kind::Action) || has(Kind::Bad) {
        page.push_str("<p><small>Upright lines:");
        if has(Kind::Action) {
            page.push_str(" <i class=\"action\"></i>an action of the scenario");
        }
        if has(Kind::Bad) {
            page.push_str(" <i class=\"unannounced\"></i>an end, a new instance or a line of the kernel that no action announced");
        }
        page.push_str("</small></p>\n");
    }
    page.push_str("<div class=\"plots\">\n");
    let mut unseen = Vec::new();
    for plot in &PLOTS {
        let figures: Vec<(&Figure, &str)> = plot
            .figures
            .iter()
            .filter_map(|(name, title)| Some((folded.figures.get(name)?, *title)))
            .filter(|(figure, _)| figure.spread.range().is_some_and(|(_, max)| max > 0.0))
            .collect();
        if figures.is_empty() {
            unseen.push(plot.title);
            continue;
        }
        let limit = result
            .definition
            .pointer(&format!("/gates/{}", plot.gate))
            .and_then(serde_json::Value::as_f64)
            .map(|limit| limit / plot.divide);
        let series: Vec<_> = figures.iter().map(|(figure, _)| &figure.series).collect();
        let drawn = plot::svg(&series, limit, &folded.events.markers, folded.last_seconds);
        let Ok(svg) = drawn else {
            unseen.push(plot.title);
            continue;
        };
        let _ = write!(page, "<figure><figcaption>{}", plot.title);
        for ((_, title), color) in figures.iter().zip(["a", "b"]) {
            if !title.is_empty() {
                let _ = write!(page, " <span><i class=\"{color}\"></i>{title}</span>");
            }
        }
        if let Some(limit) = limit {
            let _ = write!(
                page,
                " <span><i class=\"limit\"></i>limit {}</span>",
                number::text(limit)
            );
        }
        let _ = writeln!(page, "</figcaption>\n{svg}</figure>");
    }
    page.push_str("</div>\n");
    if !unseen.is_empty() {
        let _ = writeln!(
            page,
            "<p><small>Not seen, or 0 all the time: {}.</small></p>",
            unseen.join("; ")
        );
    }
}

fn environment(page: &mut String, result: &RunResult) {
    let environment = &result.environment;
    let mut facts = vec![
        ("Kernel", environment.kernel.clone()),
        (
            "Processors",
            format!(
                "{} ({}){}",
                environment.cpus,
                environment.cpu_model,
                if environment.emulated { ", emulated" } else { "" }
            ),
        ),
        ("Memory", format!("{} MiB", environment.memory_mib)),
        ("Commit", environment.commit.clone()),
    ];
    if !result.not_asked.is_empty() {
        facts.push(("Gates not asked, as it is emulated", result.not_asked.join(", ")));
    }
    for (program, version) in &environment.versions {
        facts.push((program, version.clone()));
    }
    page.push_str("<h2>Where it ran</h2>\n<table class=\"facts\">\n");
    for (name, value) in facts {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            escape(name),
            escape(&value)
        );
    }
    let _ = writeln!(
        page,
        "</table>\n<h2>The same again</h2>\n<pre>{}</pre>",
        escape(&result.command)
    );
}

fn events(page: &mut String, events: &Events) {
    let _ = writeln!(page, "<h2>What happened</h2>");
    let (first, left_out, last) = events.shown();
    if first.is_empty() {
        page.push_str("<p>Nothing that is worth a line.</p>\n");
        return;
    }
    page.push_str("<table class=\"events\">\n");
    first.iter().for_each(|line| event(page, line));
    if left_out > 0 {
        let _ = writeln!(
            page,
            "<tr><td></td><td><em>{left_out} more here, in events.jsonl</em></td></tr>"
        );
    }
    last.for_each(|line| event(page, line));
    page.push_str("</table>\n");
}

fn event(page: &mut String, line: &Line) {
    let kind = match line.kind {
        Kind::Plain => "",
        Kind::Action => "action",
        Kind::Bad => "bad",
    };
    let _ = writeln!(
        page,
        "<tr class=\"{kind}\"><td class=\"time\">{}</td><td class=\"what log\">{}</td></tr>",
        number::clock(line.seconds),
        escape(&line.text)
    );
}

fn summary(page: &mut String, result: &RunResult) {
    let totals = &result.totals;
    let all = [
        ("polls", totals.polls),
        ("rows", totals.rows),
        ("namespaces made", totals.namespaces_created),
        ("namespaces deleted", totals.namespaces_deleted),
        ("containers restarted", totals.containers_restarted),
        ("short connections", totals.connections),
        ("bytes sent by the load", totals.bytes),
    ];
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let all = all
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{} {what}", number::text(count as f64)));
    let all = all.collect::<Vec<_>>().join("; ");
    let _ = write!(
        page,
        "<h2>Figures</h2>\n<p>In all: {all}.</p>\n<p><small>{} samples, those of the warm-up included.</small></p>\n<div class=\"scroll\"><table>\n\
         <tr><th>Figure</th><th class=\"number\">least</th><th class=\"number\">median</th><th class=\"number\">99 of 100</th>\
         <th class=\"number\">greatest</th><th class=\"number\">samples</th></tr>\n",
        result.events.samples
    );
    for (name, title) in NAMES {
        let Some(spread) = result.figures.get(name) else {
            continue;
        };
        let _ = write!(page, "<tr><td>{title}</td>");
        for value in [spread.min, spread.median, spread.p99, spread.max] {
            let _ = write!(page, "<td class=\"number\">{}</td>", number::text(value));
        }
        let _ = writeln!(page, "<td class=\"number\">{}</td></tr>", spread.count);
    }
    page.push_str("</table></div>\n");
}
