//! Which process holds a listening port.

use std::{
    collections::HashSet,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// Processes and descriptors looked at. This runs once, on the way out, but a host may have many.
const PROCESSES_MAX: usize = 32_768;
const DESCRIPTORS_MAX: usize = 262_144;

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub comm: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.comm, self.pid)
    }
}

/// The process that listens where `address` would. Without privileges only processes of the same
/// user can be seen: `None` then.
pub fn find(proc: &Path, address: SocketAddr) -> Option<Holder> {
    let sockets: HashSet<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| listening(&table, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let mut descriptors_left = DESCRIPTORS_MAX;
    for process in fs::read_dir(proc).ok()?.flatten().take(PROCESSES_MAX) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            descriptors_left = descriptors_left.checked_sub(1)?;
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if target.to_str().is_some_and(|target| sockets.contains(target)) {
                let comm = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                let comm = comm.trim_end().escape_debug().to_string();
                return Some(Holder { pid, comm });
            }
        }
    }
    None
}

/// Inodes of the listening sockets of a /proc/net/tcp table that exclude `address`.
fn listening(table: &str, address: SocketAddr) -> Vec<u64> {
    const STATE_LISTEN: &str = "0A";
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let &[_, local, _, STATE_LISTEN, _, _, _, _, _, inode] = columns.as_slice() else {
            return None;
        };
        let (ip, port) = local.split_once(':')?;
        let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
        let (theirs, ours) = (ip_of(ip)?, address.ip().to_canonical());
        let same_ip = theirs.is_unspecified() || ours.is_unspecified() || theirs == ours;
        (same_port && same_ip).then_some(inode.parse().ok()?)
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// An address as the kernel prints it: 32-bit words in the byte order of the host, as hex.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = hex.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&word(index)?);
    }
    Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Lines of a real table: 127.0.0.1:9088 and 127.0.0.2:9088 listening, one established.
    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 0100007F:2380 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
        \x20  1: 0200007F:2380 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
        \x20  2: 0100007F:2380 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 20 4 0 10 -1\n\
        \x20  3: cut";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listeners_in_the_way_are_found() {
        for (address, inodes) in [
            ("127.0.0.1:9088", &[4711][..]),
            ("127.0.0.2:9088", &[4712]),
            ("[::ffff:127.0.0.2]:9088", &[4712]),
            ("0.0.0.0:9088", &[4711, 4712]),
            ("[::]:9088", &[4711, 4712]),
            ("127.0.0.3:9088", &[]),
            ("127.0.0.1:54321", &[]),
        ] {
            assert_eq!(listening(TABLE, address.parse().unwrap()), inodes, "{address}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_both_tables_are_read() {
        assert_eq!(ip_of("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(
            ip_of("00000000000000000000000001000000"),
            Some(Ipv6Addr::LOCALHOST.into())
        );
        assert_eq!(
            ip_of("0000000000000000FFFF00000100007F"),
            Some(Ipv4Addr::LOCALHOST.into())
        );
        assert_eq!(ip_of("0100"), None);
        assert_eq!(ip_of("zz00007F"), None);
    }
}
