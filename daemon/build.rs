//! Tells the crate which commit it is built from, and that commit's date.

use std::{env, path::Path, process::Command};

/// Seconds from 1970 to the first year of five digits.
const YEAR_10000: u64 = 253_402_300_800;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=XTCP2_COMMIT");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // Only where the repository is this one: an unpacked archive may lie inside another.
    let in_git = Path::new("../.git").exists();
    if in_git && let Some(head_log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        // This file grows with each commit and checkout, and with nothing else. A path that does
        // not exist would make every build start over.
        if Path::new(&head_log).exists() {
            println!("cargo::rerun-if-changed={head_log}");
        }
    }
    let from_git = |arguments: &[&str]| if in_git { git(arguments) } else { None };
    let commit = from_git(&["rev-parse", "--short=12", "HEAD"])
        .or_else(|| env::var("XTCP2_COMMIT").ok())
        .map(|commit| {
            commit
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(12)
                .collect::<String>()
        })
        .filter(|commit| !commit.is_empty());
    let epoch_seconds = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| from_git(&["show", "--no-patch", "--format=%ct", "HEAD"]))
        .and_then(|seconds| seconds.trim().parse::<u64>().ok())
        .filter(|seconds| *seconds < YEAR_10000);
    let unknown = || "unknown".to_owned();
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.unwrap_or_else(unknown));
    println!(
        "cargo::rustc-env=BUILD_DATE={}",
        epoch_seconds.map_or_else(unknown, date)
    );
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The UTC date of a time, by counting years and months from 1970.
fn date(epoch_seconds: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut day = epoch_seconds / 86_400;
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}
