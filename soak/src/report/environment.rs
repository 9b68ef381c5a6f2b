//! The machine and the programs of a run: figures of two runs are comparable where these are the same.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// What figures depend on besides the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Release of the kernel.
    pub kernel: String,
    /// Processors that may be used.
    pub cpus: u32,
    /// What they are.
    pub cpu_model: String,
    /// Whether a program plays the processor: what is said of speed then is that program's.
    #[serde(default)]
    pub emulated: bool,
    /// Memory of the machine.
    pub memory_mib: u64,
    /// Commit that the daemon was built from.
    pub commit: String,
    /// Versions by name of program.
    pub versions: BTreeMap<String, String>,
}

impl Environment {
    /// This machine, and the daemon `program`, by what it says of itself. What cannot be read is `unknown` or 0.
    pub fn of(program: &Path) -> Environment {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, key: &str| {
            text.lines()
                .find(|line| line.starts_with(key))
                .and_then(|line| line.split(':').nth(1))
                .map(|value| value.trim().to_owned())
        };
        let memory_kib = value(&read("/proc/meminfo"), "MemTotal")
            .and_then(|value| value.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0);
        // "xtcp2 0.1.0 (commit 0123abcd, built 2026-11-25)".
        let version = Command::new(program).arg("--version").output();
        let version = version.map_or(String::new(), |output| {
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        let said = |before: &str| {
            let after = version.split_once(before).map(|(_, after)| after);
            let word = after.and_then(|after| after.split([' ', ',', ')']).next());
            word.unwrap_or("unknown").trim().to_owned()
        };
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        Environment {
            kernel: if kernel.is_empty() {
                "unknown".into()
            } else {
                kernel
            },
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            cpu_model: value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            emulated: is_emulated(),
            memory_mib: memory_kib / 1024,
            commit: said("(commit "),
            versions: BTreeMap::from([("xtcp2".to_owned(), said("xtcp2 "))]),
        }
    }
}

/// systemd tells QEMU's own processor (`qemu`) from one that KVM lends it (`kvm`). Without systemd it is taken
/// for real.
fn is_emulated() -> bool {
    let output = Command::new("systemd-detect-virt").arg("--vm").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"qemu")
}
