//! What the kernel counts of TCP in one namespace: /proc/net of a thread that is there.
//!
//! The files are opened during the visit; they stay with their namespace and are read at home.

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::{stat::Mode, uio::pread},
};
use std::os::fd::OwnedFd;

/// Longest of the files: the two long lines of `Tcp:` in snmp stand within its first 4 KiB.
const READ_BYTES: usize = 4096;

/// Sockets in a namespace at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `inuse` of sockstat and sockstat6: full sockets of both families, listeners too.
    pub full: u64,
    /// `tw` of sockstat: sockets in TIME_WAIT of both families.
    pub time_wait: u64,
}

/// The open files of one namespace.
#[derive(Debug)]
pub struct CountFiles {
    sockstat: OwnedFd,
    /// `None` where the kernel has no IPv6.
    sockstat6: Option<OwnedFd>,
    snmp: OwnedFd,
}

impl CountFiles {
    /// Opens the files of the namespace that the calling thread is in.
    ///
    /// # Errors
    /// When /proc is not mounted, or no descriptor is left.
    pub fn open() -> Result<CountFiles, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let folder = open("/proc/thread-self/net", flags | OFlag::O_DIRECTORY, Mode::empty())?;
        let file = |name: &str| openat(&folder, name, flags, Mode::empty());
        Ok(CountFiles {
            sockstat: file("sockstat")?,
            sockstat6: match file("sockstat6") {
                Err(Errno::ENOENT) => None,
                opened => Some(opened?),
            },
            snmp: file("snmp")?,
        })
    }

    /// How many sockets there are now; `None` when the files do not say.
    pub fn counts(&self) -> Option<Counts> {
        let mut text = [0; READ_BYTES];
        // IPv6 first: a socket can be turned into an IPv4 one (IPV6_ADDRFORM), never back. One that is
        // in between may be counted twice, which costs a walk; not counted, it would hide another.
        let full6 = match &self.sockstat6 {
            Some(sockstat6) => value_behind(find_line(read(sockstat6, &mut text)?, "TCP6:")?, "inuse")?,
            None => 0,
        };
        let line = find_line(read(&self.sockstat, &mut text)?, "TCP:")?;
        Some(Counts {
            full: full6 + value_behind(line, "inuse")?,
            time_wait: value_behind(line, "tw")?,
        })
    }

    /// ActiveOpens + PassiveOpens of snmp: connections opened since the namespace was made. `None`
    /// when the file does not say.
    pub fn opens(&self) -> Option<u64> {
        let mut text = [0; READ_BYTES];
        opens(read(&self.snmp, &mut text)?)
    }
}

fn read<'a>(file: &OwnedFd, buffer: &'a mut [u8]) -> Option<&'a str> {
    let length = pread(file, buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()
}

fn find_line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(start))
}

/// `TCP: inuse 4 orphan 0 tw 1 ...`: names and values in turn.
fn value_behind(line: &str, name: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != name);
    words.nth(1)?.parse().ok()
}

/// Two lines that start with `Tcp:`: the names, and below them the values.
fn opens(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut found = 0;
    let mut sum = 0u64;
    for (name, value) in names
        .split_ascii_whitespace()
        .zip(values.split_ascii_whitespace())
    {
        if name == "ActiveOpens" || name == "PassiveOpens" {
            sum = sum.wrapping_add(value.parse().ok()?);
            found += 1;
        }
    }
    (found == 2).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_lines_of_the_kernel_are_understood() {
        let sockstat = "sockets: used 14\nTCP: inuse 5 orphan 1 tw 7 alloc 9 mem 189\nUDP: inuse 3 mem 0\n";
        let line = find_line(sockstat, "TCP:").unwrap();
        assert_eq!(
            (value_behind(line, "inuse"), value_behind(line, "tw")),
            (Some(5), Some(7))
        );
        assert_eq!(value_behind(line, "none"), None);
        let snmp = "Ip: A\nIp: 1\nTcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens\nTcp: 1 -1 20 3\n";
        assert_eq!(opens(snmp), Some(23));
        assert_eq!(opens("Tcp: ActiveOpens\nTcp: 3\n"), None);
        assert_eq!(opens("Tcp: ActiveOpens PassiveOpens\n"), None);
    }

    #[test]
    fn this_kernel_counts_a_connection() {
        let files = CountFiles::open().unwrap();
        let (counts, opens) = (files.counts().unwrap(), files.opens().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // Other tests open and close sockets at the same time: only the lower bound of opens holds.
        assert!(files.opens().unwrap() >= opens + 2);
        assert!(files.counts().unwrap() != counts);
    }
}
