//! The daemon's process, as /proc shows it.

use crate::record;
use procfs::{ProcResult, process};
use std::collections::BTreeMap;

/// Who a process is: the pid alone is given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub pid: i32,
    /// Field 22 of its stat.
    pub start_ticks: u64,
}

/// Who runs under `pid`; `None` when nobody does.
pub fn identity(pid: i32) -> Option<Identity> {
    let start_ticks = process::Process::new(pid)
        .and_then(|process| process.stat())
        .ok()?
        .starttime;
    Some(Identity { pid, start_ticks })
}

/// Reads the process; `None` when it is gone, or goes meanwhile. With `with_pss` the kernel has to walk all
/// its mappings.
pub fn read(pid: i32, with_pss: bool) -> Option<record::Process> {
    try_read(pid, with_pss).ok()
}

fn try_read(pid: i32, with_pss: bool) -> ProcResult<record::Process> {
    let process = process::Process::new(pid)?;
    let stat = process.stat()?;
    let status = process.status()?;
    let mut threads = BTreeMap::new();
    for task in process.tasks()? {
        // A thread may end between the listing and this.
        let name = task.and_then(|task| task.status()).map(|status| status.name);
        *threads.entry(name.unwrap_or_default()).or_insert(0) += 1;
    }
    threads.remove("");
    #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are 2.8 million years")]
    let cpu_seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 ns are 104 days of waiting, exact enough behind"
    )]
    let run_delay_seconds = process
        .schedstat()
        .ok()
        .map(|schedstat| schedstat.run_delay as f64 / 1e9);
    Ok(record::Process {
        pid,
        start_ticks: stat.starttime,
        state: stat.state,
        threads,
        rss_kib: stat.rss * procfs::page_size() / 1024,
        pss_kib: with_pss.then(|| pss_kib(&process)).flatten(),
        fds: u32::try_from(process.fd_count()?).unwrap_or(u32::MAX),
        cpu_seconds,
        voluntary_switches: status.voluntary_ctxt_switches.unwrap_or(0),
        involuntary_switches: status.nonvoluntary_ctxt_switches.unwrap_or(0),
        run_delay_seconds,
    })
}

fn pss_kib(process: &process::Process) -> Option<u64> {
    let rollup = process.smaps_rollup().ok()?;
    let map = rollup.memory_map_rollup.iter().next()?;
    map.extension.map.get("Pss").map(|bytes| bytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read_whole() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = read(pid, true).unwrap();
        assert_eq!(identity(pid).unwrap().start_ticks, process.start_ticks);
        assert!(process.threads.values().sum::<u32>() >= 1);
        assert!(process.fds >= 3 && process.rss_kib > 100, "{process:?}");
        // In some sandboxes the kernel does not say the share. It is read a moment later, while other tests allocate.
        assert!(
            process
                .pss_kib
                .is_none_or(|pss| pss <= process.rss_kib * 11 / 10 + 1024),
            "{process:?}"
        );
    }

    #[test]
    fn nobody_is_none() {
        assert_eq!(read(i32::MAX, false), None);
        assert_eq!(identity(i32::MAX), None);
    }
}
