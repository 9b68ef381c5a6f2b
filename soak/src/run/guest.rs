//! `--target vm`: the same command in a guest, which scripts/guest boots: Debian with systemd, the packages
//! installed, the daemon run by its unit. The folder of the run comes back, and the exit status is the guest's.

use super::folder;
use crate::{
    program,
    scenario::{Load, Scenario},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

/// From the repository's root.
pub const SCRIPT: &str = "scripts/guest";
/// What `scripts/package deb` makes.
pub const PACKAGES: &str = "target/package";

/// Boot, population of the load, and a report: on an emulated processor, and a busy host.
const AROUND: Duration = Duration::from_secs(600);

/// What the guest needs to know.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Boots it.
    pub script: &'a Path,
    /// Folder with the packages.
    pub packages: &'a Path,
    /// Folder of the run.
    pub out: &'a Path,
    /// Name of the scenario.
    pub name: &'a str,
}

impl Guest<'_> {
    /// Runs the scenario, whose text is given too.
    ///
    /// # Errors
    /// When it needs what the guest lacks, or nothing could be started.
    pub fn run(&self, scenario: &Scenario, text: &str) -> Result<ExitCode, String> {
        if scenario.pipeline.is_some() {
            return Err(
                "--target vm: the guest has neither Kafka nor ClickHouse, which the scenario needs"
                    .to_owned(),
            );
        }
        if scenario
            .loads
            .iter()
            .any(|load| matches!(load, Load::Containers { .. }))
        {
            return Err("--target vm: the guest has no Docker, which the scenario needs".to_owned());
        }
        if self.out.join(folder::SAMPLES).exists() {
            return Err(format!(
                "{}: expected no run there yet, found one",
                self.out.display()
            ));
        }
        let input = self.out.join("guest");
        self.fill(&input, text)?;
        let deadline = scenario.duration.0 + AROUND;
        let status = Command::new(self.script)
            .arg("run")
            .args(["--cpus", &scenario.machine.cpus.to_string()])
            .args(["--memory-mib", &scenario.machine.memory_mib.to_string()])
            .args(["--deadline", &deadline.as_secs().to_string()])
            .arg("--out")
            .args([self.out, &input])
            .status()
            .map_err(|error| format!("{}: {error}: give --guest", self.script.display()))?;
        let _ = fs::remove_dir_all(&input);
        let status = status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(2);
        if !self.out.join(crate::report::RESULT).is_file() {
            return Err(format!(
                "the guest left no verdict: {0}/progress.log and {0}/console.log say why",
                self.out.display()
            ));
        }
        println!("{}/report.html", self.out.display());
        Ok(ExitCode::from(status))
    }

    /// What the guest finds in its working directory.
    fn fill(&self, input: &Path, text: &str) -> Result<(), String> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| format!("{path}: {error}")
        };
        fs::create_dir_all(input).map_err(failed(input))?;
        let packages = packages(self.packages)?;
        for package in &packages {
            let name = package.file_name().unwrap_or_default();
            fs::copy(package, input.join(name)).map_err(failed(package))?;
        }
        let scenario = input.join(format!("{}.toml", self.name));
        fs::write(&scenario, text).map_err(failed(&scenario))?;
        let script = input.join("command");
        program::write(&script, command(self.name)).map_err(failed(&script))
    }
}

fn packages(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let packages: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    let has = |name: &str| {
        packages.iter().any(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.starts_with(&format!("{name}_"))
        })
    };
    match has("xtcp2") && has("xtcp2-soak") {
        true => Ok(packages),
        false => Err(format!(
            "{}: expected packages of xtcp2 and xtcp2-soak there, found {}: scripts/package deb makes them",
            folder.display(),
            packages.len()
        )),
    }
}

/// A shell script. What cannot be set up is exit status 2: there is nothing to judge then.
fn command(name: &str) -> String {
    format!(
        "dpkg --install ./*.deb || exit 2\n\
         systemctl is-active xtcp2.service || exit 2\n\
         xtcp2-soak run ./{name}.toml --target guest --out \"$OUT/run\"\n\
         status=$?\n\
         mv \"$OUT\"/run/* \"$OUT\"\n\
         rmdir \"$OUT/run\"\n\
         journalctl --boot --unit xtcp2.service >\"$OUT/journal.log\"\n\
         exit $status\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read;

    #[test]
    fn what_the_guest_cannot_do_is_refused_before_it_boots() {
        let scenario = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../microvms/scenarios/");
            read::file(Path::new(&format!("{folder}{name}.toml"))).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let guest = Guest {
            script: Path::new("/nonexistent/guest"),
            packages: folder.path(),
            out: &out,
            name: "x",
        };
        for (name, problem) in [
            ("clickhouse-pipeline", "neither Kafka nor ClickHouse"),
            ("tcp-stress", "no Docker"),
            ("lifecycle", "scripts/package deb"),
        ] {
            let error = guest.run(&scenario(name), "").unwrap_err();
            assert!(error.contains(problem), "{name}: {error}");
        }
    }
}
