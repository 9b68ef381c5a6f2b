//! `xtcp2 check`: whether the daemon would start here, what it would see, and what to do where that is
//! less than all. One verdict a line. Works without privileges, and says what is missing.
//!
//! Everything that may wait has a bound, and all bounds together stay below 10 s.

mod admin;
mod files;
mod kernel;
mod namespaces;
mod output;
mod privileges;
mod spool;

use crate::{config::Config, format::Formatter, namespaces::Home, version};
use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The daemon starts, and sees or does less than it could.
    Warn,
    /// The daemon would not start, or never make a row.
    Fail,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        }
    }
}

/// Where the lines go, and how many there were of each verdict.
struct Report<'a> {
    out: &'a mut dyn Write,
    counts: [usize; 3],
    error: Option<io::Error>,
}

impl Report<'_> {
    /// Writes a line. At once, since the next may take seconds.
    fn say(&mut self, verdict: Verdict, subject: &str, text: impl fmt::Display) {
        self.counts[verdict as usize] += 1;
        // What others named must not begin a line of its own.
        let text: String = text
            .to_string()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let written = writeln!(self.out, "{:<4}  {subject:<10}  {text}", verdict.word());
        if let Err(error) = written.and_then(|()| self.out.flush()) {
            self.error.get_or_insert(error);
        }
    }

    fn ok(&mut self, subject: &str, text: impl fmt::Display) {
        self.say(Verdict::Ok, subject, text);
    }

    fn warn(&mut self, subject: &str, text: impl fmt::Display) {
        self.say(Verdict::Warn, subject, text);
    }

    fn fail(&mut self, subject: &str, text: impl fmt::Display) {
        self.say(Verdict::Fail, subject, text);
    }
}

/// Checks what a daemon with this configuration would need, and writes a line each to `out`. Returns
/// the worst verdict.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(
    config: &Config,
    config_file: Option<&Path>,
    warnings: &[String],
    out: &mut dyn Write,
) -> io::Result<Verdict> {
    let mut report = Report {
        out,
        counts: [0; 3],
        error: None,
    };
    report.ok("version", version::LINE);
    settings(config, config_file, warnings, &mut report);
    privileges::check(&mut report);
    match Home::open() {
        Ok(home) => {
            kernel::check(&home, &mut report);
            namespaces::check(config, &home, &mut report);
        }
        Err(error) => report.fail("namespaces", format_args!("own network namespace: {error}")),
    }
    output::check(config, &mut report);
    spool::check(config, &mut report);
    files::check_record(config, &mut report);
    admin::check(config, &mut report);
    let [_, warned, failed] = report.counts;
    let worst = match (warned, failed) {
        (0, 0) => Verdict::Ok,
        (_, 0) => Verdict::Warn,
        _ => Verdict::Fail,
    };
    match worst {
        Verdict::Ok => report.ok("result", "the daemon would start"),
        Verdict::Warn => report.warn(
            "result",
            format_args!("the daemon would start; things to look at: {warned}"),
        ),
        Verdict::Fail => report.fail(
            "result",
            format_args!("the daemon would not work; things to put right: {failed}"),
        ),
    }
    match report.error {
        Some(error) => Err(error),
        None => Ok(worst),
    }
}

fn settings(config: &Config, config_file: Option<&Path>, warnings: &[String], report: &mut Report<'_>) {
    match config_file {
        Some(path) => report.ok(
            "settings",
            format_args!("{}, environment and command line", path.display()),
        ),
        None => report.ok("settings", "environment and command line, no --config"),
    }
    for warning in warnings {
        report.warn("settings", warning);
    }
    match Formatter::new(config.marshal, &config.columns) {
        Ok(_) if config.columns.is_empty() => report.ok("format", config.marshal),
        Ok(_) => report.ok(
            "format",
            format_args!("{}, {} columns", config.marshal, config.columns.len()),
        ),
        Err(problem) => report.fail("format", problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_the_columns_are_aligned() {
        let mut out = Vec::new();
        let mut report = Report {
            out: &mut out,
            counts: [0; 3],
            error: None,
        };
        report.ok("a", "x\ny");
        report.warn("namespaces", "z");
        assert_eq!(report.counts, [1, 1, 0]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ok    a           x y\nwarn  namespaces  z\n"
        );
    }
}
