//! `compare`: two runs side by side, by their result.json.

use super::{
    RESULT, RunResult,
    figures::NAMES,
    number,
    result::{SCHEMA_VERSION, Spread},
};
use crate::cli::{Command, Given};
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The command.
pub const COMMAND: Command = Command {
    name: "compare",
    doc: "shows two runs side by side",
    long_doc: "A and B are folders of runs. Gates, figures with what B has more or less, and where the two ran, if that \
               differs: figures of different machines say little about the daemon.\n\n\
               Exit status: 0 however much they differ; 2 when one cannot be read.",
    words: "A B",
    flags: &[],
    run,
};

fn run(given: &Given) -> Result<ExitCode, String> {
    let [a, b] = given.words() else {
        return Err(format!(
            "compare: expected the folders of two runs, got {}",
            given.words().len()
        ));
    };
    print!("{}", text([a, b], [&read(Path::new(a))?, &read(Path::new(b))?]));
    Ok(ExitCode::SUCCESS)
}

fn read(folder: &Path) -> Result<RunResult, String> {
    let path: PathBuf = folder.join(RESULT);
    let at = path.display();
    let bytes = fs::read(&path).map_err(|error| format!("{at}: {error}"))?;
    let result: RunResult = serde_json::from_slice(&bytes).map_err(|error| format!("{at}: {error}"))?;
    if result.schema_version != SCHEMA_VERSION {
        return Err(format!(
            "{at}: expected schema_version {SCHEMA_VERSION}, got {}",
            result.schema_version
        ));
    }
    Ok(result)
}

/// Everything.
fn text(names: [&str; 2], [a, b]: [&RunResult; 2]) -> String {
    let mut text = String::new();
    for (letter, name, run) in [("A", names[0], a), ("B", names[1], b)] {
        let _ = writeln!(
            text,
            "{letter}  {name}: {}, {}, {}",
            run.scenario,
            number::utc(run.started_unix_ms),
            run.verdict
        );
    }
    differences(&mut text, a, b);
    gates(&mut text, a, b);
    figures(&mut text, a, b);
    text
}

/// Where they ran, and what: only what is not the same.
fn differences(text: &mut String, a: &RunResult, b: &RunResult) {
    let (of_a, of_b) = (&a.environment, &b.environment);
    let seconds = |seconds: f64| format!("{seconds:.0} s");
    let mut pairs = vec![
        ("scenario".to_owned(), a.scenario.clone(), b.scenario.clone()),
        ("target".to_owned(), a.target.clone(), b.target.clone()),
        (
            "measured".to_owned(),
            seconds(a.measured_seconds),
            seconds(b.measured_seconds),
        ),
        ("kernel".to_owned(), of_a.kernel.clone(), of_b.kernel.clone()),
        (
            "processors".to_owned(),
            of_a.cpus.to_string(),
            of_b.cpus.to_string(),
        ),
        (
            "processor".to_owned(),
            of_a.cpu_model.clone(),
            of_b.cpu_model.clone(),
        ),
        (
            "memory, MiB".to_owned(),
            of_a.memory_mib.to_string(),
            of_b.memory_mib.to_string(),
        ),
        ("commit".to_owned(), of_a.commit.clone(), of_b.commit.clone()),
    ];
    let programs: BTreeSet<&String> = of_a.versions.keys().chain(of_b.versions.keys()).collect();
    for program in programs {
        let version = |of: &super::Environment| of.versions.get(program).map_or("none", |v| v).to_owned();
        pairs.push((program.clone(), version(of_a), version(of_b)));
    }
    pairs.retain(|(_, a, b)| a != b);
    if a.scenario == b.scenario && a.definition != b.definition {
        pairs.push(("scenario's file".into(), "one".into(), "another".into()));
    }
    if pairs.is_empty() {
        text.push_str("\nSame scenario, machine and programs.\n");
        return;
    }
    text.push_str("\nNot the same:\n");
    let width = |column: fn(&(String, String, String)) -> &String| {
        pairs
            .iter()
            .map(|pair| column(pair).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second) = (width(|pair| &pair.0), width(|pair| &pair.1));
    for (what, a, b) in &pairs {
        let _ = writeln!(text, "  {what:<first$}  {a:<second$}  {b}");
    }
}

fn gates(text: &mut String, a: &RunResult, b: &RunResult) {
    let mut names: Vec<&str> = a.gates.iter().map(|gate| gate.name.as_str()).collect();
    for gate in &b.gates {
        if !names.contains(&gate.name.as_str()) {
            names.push(&gate.name);
        }
    }
    let cell = |run: &RunResult, name: &str| match run.gates.iter().find(|gate| gate.name == name) {
        Some(gate) => format!("{}: {}", gate.status, gate.figure),
        None => "not asked".to_owned(),
    };
    let rows: Vec<[String; 3]> = names
        .into_iter()
        .map(|name| [name.to_owned(), cell(a, name), cell(b, name)])
        .collect();
    let width = |column: usize, least: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(least)
    };
    let (first, second) = (width(0, 4), width(1, 1));
    let _ = writeln!(text, "\n{:<first$}  {:<second$}  B", "Gate", "A");
    for [name, of_a, of_b] in &rows {
        let status = |cell: &str| cell.split(':').next().map(str::to_owned);
        let mark = if status(of_a) == status(of_b) { "" } else { "  <--" };
        let _ = writeln!(text, "{name:<first$}  {of_a:<second$}  {of_b}{mark}");
    }
}

fn figures(text: &mut String, a: &RunResult, b: &RunResult) {
    // In the order of the reports.
    let seen = |name: &&str| a.figures.contains_key(*name) || b.figures.contains_key(*name);
    let names: Vec<&str> = NAMES.map(|(name, _)| name).into_iter().filter(seen).collect();
    let first = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let _ = write!(text, "\n{:<first$}", "Figure");
    for title in ["median", "p99", "max"] {
        let _ = write!(text, "  {:>8} {:>9} {:>8}", format!("{title} A"), "B", "B/A");
    }
    text.push('\n');
    for name in names {
        let _ = write!(text, "{name:<first$}");
        let pick: [fn(&Spread) -> f64; 3] = [|of| of.median, |of| of.p99, |of| of.max];
        for value in pick {
            let [of_a, of_b] = [a, b].map(|run| run.figures.get(name).map(value));
            let cell = |value: Option<f64>| value.map_or("none".to_owned(), number::text);
            let change = of_a.zip(of_b).map_or(String::new(), |(a, b)| change(a, b));
            let _ = write!(text, "  {:>8} {:>9} {change:>8}", cell(of_a), cell(of_b));
        }
        text.push('\n');
    }
}

/// From a to b, in percent of a.
fn change(a: f64, b: f64) -> String {
    if a == b {
        return "=".to_owned();
    }
    if a == 0.0 {
        return "new".to_owned();
    }
    let percent = (b / a - 1.0) * 100.0;
    if percent.abs() < 0.05 {
        "=".to_owned()
    } else if percent >= 1000.0 {
        format!("x{:.0}", b / a)
    } else {
        format!("{percent:+.1} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_in_percent_of_the_first() {
        for (a, b, expected) in [
            (4.0, 4.0, "="),
            (4.0, 4.001, "="),
            (4.0, 5.0, "+25.0 %"),
            (4.0, 0.0, "-100.0 %"),
            (0.0, 3.0, "new"),
            (1.0, 64.0, "x64"),
        ] {
            assert_eq!(change(a, b), expected);
        }
    }
}
