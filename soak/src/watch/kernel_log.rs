//! The kernel's log, from now on: who was killed for want of memory, who crashed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

/// A record of /dev/kmsg is at most this long; a shorter buffer is an error.
const RECORD_BYTES_MAX: usize = 8192;
/// So many records are read at a time: a flood does not hold up sampling.
const RECORDS_MAX: usize = 1000;
/// What makes a line one of ours.
const MARKS: [&str; 6] = [
    "Out of memory: Killed process",
    "Memory cgroup out of memory: Killed process",
    "segfault at",
    "general protection",
    "trap invalid opcode",
    "traps: ",
];

/// An open kernel log.
#[derive(Debug)]
pub struct KernelLog(File);

impl KernelLog {
    /// Opens it behind its last record.
    ///
    /// # Errors
    /// Mostly that only root may (kernel.dmesg_restrict), or that a container has none.
    pub fn open() -> Result<KernelLog, String> {
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/kmsg")?;
            file.seek(SeekFrom::End(0))?;
            Ok(KernelLog(file))
        };
        open().map_err(|error: io::Error| format!("/dev/kmsg: {error}"))
    }

    /// Lines about killed and crashed processes since the last call.
    pub fn lines(&mut self) -> Vec<String> {
        let mut record = [0; RECORD_BYTES_MAX];
        let mut lines = Vec::new();
        for _ in 0..RECORDS_MAX {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => lines.extend(line(&String::from_utf8_lossy(&record[..length]))),
                // The oldest were overwritten before they were read; what is left goes on.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => break,
            }
        }
        lines
    }
}

/// The text of a record `priority,sequence,time,flags;text`, when it says that a process was killed or crashed.
pub fn line(record: &str) -> Option<String> {
    let (_, text) = record.split_once(';')?;
    // Continuation lines hold a dictionary.
    let text = text.lines().next()?;
    MARKS
        .iter()
        .any(|mark| text.contains(mark))
        .then(|| text.to_owned())
}

/// Whether the line is about the process, which the kernel names by its id.
pub fn names(line: &str, pid: i32) -> bool {
    [
        format!("process {pid} "),
        format!("[{pid}]"),
        format!(" pid {pid} "),
    ]
    .iter()
    .any(|mark| line.contains(mark))
}

/// Whether the line is about want of memory.
pub fn is_out_of_memory(line: &str) -> bool {
    line.to_ascii_lowercase().contains("out of memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines_are_known_and_others_are_not() {
        let oom = "3,1234,5678901,-;Out of memory: Killed process 4242 (xtcp2) total-vm:109612kB, anon-rss:98304kB, \
            file-rss:3584kB, shmem-rss:0kB, UID:0 pgtables:252kB oom_score_adj:0\n SUBSYSTEM=x\n";
        let killed = line(oom).unwrap();
        assert!(
            names(&killed, 4242) && !names(&killed, 424) && is_out_of_memory(&killed),
            "{killed}"
        );
        let crash =
            "6,1,2,-;xtcp2[77]: segfault at 0 ip 0000563f6d0f1149 sp 00007ffd error 6 in xtcp2[1149,1000]";
        let crashed = line(crash).unwrap();
        assert!(names(&crashed, 77) && !is_out_of_memory(&crashed));
        assert!(names(
            &line("4,1,2,-;traps: xtcp2[78] trap invalid opcode ip:1 sp:2 error:0").unwrap(),
            78
        ));
        assert_eq!(line("6,1,2,-;eth0: link becomes ready"), None);
        assert_eq!(line("no record"), None);
    }

    #[test]
    fn the_log_of_this_machine_is_readable_or_says_why_not() {
        match KernelLog::open() {
            Ok(mut log) => drop(log.lines()),
            Err(problem) => assert!(problem.contains("/dev/kmsg"), "{problem}"),
        }
    }
}
