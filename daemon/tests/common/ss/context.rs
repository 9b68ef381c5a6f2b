//! Names that `ss` prints for numbers: interfaces and cgroups.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What `ss` knows beside the socket.
pub struct Context {
    /// Version of iproute2.
    pub version: (u32, u32),
    /// Names of interfaces by their index.
    pub interfaces: HashMap<u64, String>,
    /// Paths of cgroups by their id.
    pub cgroups: HashMap<u64, String>,
}

impl Context {
    /// That of the calling thread's namespace.
    pub fn new(version: (u32, u32)) -> Context {
        let interfaces = nix::net::if_::if_nameindex().unwrap();
        let mut cgroups = HashMap::new();
        if let Some(mount) = cgroup2_mount() {
            list_cgroups(&mount, &mount, &mut cgroups);
        }
        Context {
            version,
            interfaces: interfaces
                .iter()
                .map(|interface| {
                    (
                        interface.index().into(),
                        interface.name().to_str().unwrap().to_owned(),
                    )
                })
                .collect(),
            cgroups,
        }
    }
}

/// The first one, as ss takes it.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    mounts.lines().find_map(|mount| {
        let words: Vec<&str> = mount.split(' ').collect();
        (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
    })
}

/// The id of a cgroup is the inode of its folder.
fn list_cgroups(mount: &Path, folder: &Path, cgroups: &mut HashMap<u64, String>) {
    let name = folder.strip_prefix(mount).unwrap().display();
    cgroups.insert(fs::metadata(folder).unwrap().ino(), format!("/{name}"));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        list_cgroups(mount, &entry.path(), cgroups);
    }
}
