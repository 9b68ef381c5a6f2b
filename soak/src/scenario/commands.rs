//! `list`, `show` and `check`.

use super::{
    Scenario, explain,
    read::{self, Folder},
    validate::validate,
};
use crate::cli::{Command, Flag, Given};
use std::{path::Path, process::ExitCode};

/// Where scenarios are.
pub const SCENARIOS: Flag = Flag {
    name: "scenarios",
    value: "DIR",
    default: "",
    doc: "Folder of scenarios. Else microvms/scenarios of the repository one is in, else ../share/xtcp2/scenarios \
          beside the program",
};

/// `list`
pub const LIST: Command = Command {
    name: "list",
    doc: "lists the scenarios",
    long_doc: "Name, title, how long it lasts, and what a machine has to have for it.",
    words: "",
    flags: &[SCENARIOS],
    run: list,
};

/// `show`
pub const SHOW: Command = Command {
    name: "show",
    doc: "explains a scenario: its load, what is done to the daemon and when, what it has to pass",
    long_doc: "NAME is that of a scenario, or the path of its file.",
    words: "NAME",
    flags: &[SCENARIOS],
    run: show,
};

/// `check`
pub const CHECK: Command = Command {
    name: "check",
    doc: "says whether scenarios can be read and make sense",
    long_doc: "All of them, or those that are named, by name or path. What is wrong is said with its line: keys that \
               do not exist, gates that could not fail or not pass, actions after the end, outages that nothing ends, a \
               machine too small for its load.\n\n\
               Exit status: 0 when all is well, 1 when something is wrong, 2 when that is not known.",
    words: "[NAME|FILE...]",
    flags: &[SCENARIOS],
    run: check,
};

fn list(given: &Given) -> Result<ExitCode, String> {
    let mut rows = Vec::new();
    for (name, path) in Folder::find(given.path("scenarios"))?.files()? {
        let scenario = read::file(&path)?;
        let needs = explain::needs(&scenario).join("; ");
        rows.push([name, scenario.duration.to_string(), scenario.title, needs]);
    }
    print!("{}", columns(&rows));
    Ok(ExitCode::SUCCESS)
}

/// Aligned, two blanks apart.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(&format!("{cell:<0$}  ", width(column)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn show(given: &Given) -> Result<ExitCode, String> {
    let [name] = given.words() else {
        return Err(format!(
            "show: expected the name of one scenario, got {}: see list",
            given.words().len()
        ));
    };
    let path = path_of(given, name)?;
    let scenario = read::file(&path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    print!("{}", explain::text(&name, &scenario));
    Ok(ExitCode::SUCCESS)
}

/// The file of a scenario, by its name or its path. A path needs no folder of scenarios.
///
/// # Errors
/// When no scenario has that name.
pub fn path_of(given: &Given, name: &str) -> Result<std::path::PathBuf, String> {
    if name.contains('/') || name.ends_with(".toml") {
        return Ok(name.into());
    }
    Folder::find(given.path("scenarios"))?.path_of(name)
}

fn check(given: &Given) -> Result<ExitCode, String> {
    let paths: Vec<std::path::PathBuf> = match given.words() {
        [] => {
            let files = Folder::find(given.path("scenarios"))?.files()?;
            files.into_iter().map(|(_, path)| path).collect()
        }
        names => names
            .iter()
            .map(|name| path_of(given, name))
            .collect::<Result<_, _>>()?,
    };
    let mut well = true;
    for path in paths {
        match problems(&path)? {
            Ok(scenario) => println!(
                "{}: good; needs {}",
                path.display(),
                explain::needs(&scenario).join("; ")
            ),
            Err(lines) => {
                well = false;
                lines.iter().for_each(|line| println!("{line}"));
            }
        }
    }
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A scenario, or what is wrong with it, a line each. An error is that it cannot be read at all.
fn problems(path: &Path) -> Result<Result<Scenario, Vec<String>>, String> {
    let text = read::text(path)?;
    let scenario = match read::parse(path, &text) {
        Ok(scenario) => scenario,
        Err(line) => return Ok(Err(vec![line])),
    };
    let problems = validate(&scenario);
    if problems.is_empty() {
        return Ok(Ok(scenario));
    }
    let line = |problem: &super::Problem| {
        let line = read::line_of(&text, problem.table, problem.index, problem.key);
        let dot = if problem.table.is_empty() || problem.key.is_empty() {
            ""
        } else {
            "."
        };
        format!(
            "{}:{line}: {}{dot}{}: {}",
            path.display(),
            problem.table,
            problem.key,
            problem.text
        )
    };
    Ok(Err(problems.iter().map(line).collect()))
}
