//! What the process may do: capabilities, open files.

use super::Report;
use crate::admin::server::CLIENTS_MAX;
use nix::sys::resource::{Resource, getrlimit};

/// A capability that the daemon uses.
struct Capability {
    name: &'static str,
    /// Its number in linux/capability.h.
    number: u32,
    gives: &'static str,
    lost: &'static str,
}

/// None is needed to poll the own namespace.
const CAPABILITIES: [Capability; 4] = [
    Capability {
        name: "CAP_SYS_ADMIN",
        number: 21,
        gives: "other network namespaces can be entered",
        lost: "no network namespace but the own one can be entered",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        number: 19,
        gives: "namespaces that only processes of other users hold are found",
        lost: "namespaces that only processes of other users hold stay unseen",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        number: 2,
        gives: "folders closed to others, as /run/docker is, can be listed",
        lost: "folders closed to others, as /run/docker is, cannot be listed",
    },
    Capability {
        name: "CAP_NET_ADMIN",
        number: 12,
        gives: "socket marks are in the rows",
        lost: "socket marks are missing in the rows",
    },
];

/// Descriptors that the daemon may have open at a time: the clients of the admin server, and three
/// dozen for standard streams, loop, timer, signals, inotify, listener, output, look-ups, a recording,
/// a visit, the scan of /proc and what libraries open.
const OPEN_FILES_MIN: u64 = CLIENTS_MAX as u64 + 36;

pub(super) fn check(report: &mut Report<'_>) {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    match status {
        Ok(status) => capabilities(status.capeff, report),
        Err(error) => report.warn("privileges", format_args!("/proc/self/status: {error}")),
    }
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft < OPEN_FILES_MIN => report.warn(
            "limits",
            format_args!(
                "{soft} open files, expected at least {OPEN_FILES_MIN}; raise it by ulimit -n or LimitNOFILE="
            ),
        ),
        Ok((soft, _)) => report.ok(
            "limits",
            format_args!("{soft} open files, {OPEN_FILES_MIN} are enough"),
        ),
        Err(errno) => report.warn("limits", format_args!("getrlimit: {}", errno.desc())),
    }
}

fn capabilities(effective: u64, report: &mut Report<'_>) {
    for Capability {
        name,
        number,
        gives,
        lost,
    } in CAPABILITIES
    {
        if effective >> number & 1 == 1 {
            report.ok("privileges", format_args!("{name}: {gives}"));
        } else {
            report.warn(
                "privileges",
                format_args!("{name} is missing: {lost}; run as root or with AmbientCapabilities={name}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn each_capability_has_a_line_of_its_own() {
        for (effective, warned) in [(u64::MAX, 0), (0, 4), (1 << 21, 3)] {
            let mut out = Vec::new();
            let mut report = Report {
                out: &mut out,
                counts: [0; 3],
                error: None,
            };
            capabilities(effective, &mut report);
            assert_eq!(report.counts[Verdict::Warn as usize], warned);
            assert_eq!(report.counts.iter().sum::<usize>(), CAPABILITIES.len());
        }
    }
}
