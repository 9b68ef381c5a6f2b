//! The folder of `--spool-dir`: whether it could be used, found out without making or locking it.

use super::{Report, files};
use crate::config::Config;
use nix::unistd::{AccessFlags, eaccess};
use std::path::Path;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let Some(folder) = &config.spool_dir else {
        return;
    };
    let name = folder.display();
    match usable(folder) {
        Err(problem) => report.fail("spool", format_args!("{name}: {problem}")),
        Ok(on) => {
            let wanted_mib = config.spool_bytes_max >> 20;
            match files::free_mib(on) {
                Some(free) if free < wanted_mib => report.warn(
                    "spool",
                    format_args!(
                        "{name}: can be used, but it may take {wanted_mib} MiB (--spool-max-bytes) and {free} MiB are free"
                    ),
                ),
                _ => report.ok("spool", format_args!("{name}: can be used, up to {wanted_mib} MiB")),
            }
        }
    }
}

/// The folder that is there: this one, or the one that it would be made in.
fn usable(folder: &Path) -> Result<&Path, String> {
    let place = match folder.parent() {
        _ if folder.exists() => folder,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let show = place.display();
    if !place.is_dir() {
        return Err(format!(
            "expected a folder {show}, got none: make it, writable for the daemon's user"
        ));
    }
    let rights = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    eaccess(place, rights).map_err(|errno| format!("cannot use {show}: {}", errno.desc()))?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_need_not_be_there_but_its_place_must() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(usable(dir.path()).unwrap(), dir.path());
        let to_make = dir.path().join("spool");
        assert_eq!(usable(&to_make).unwrap(), dir.path());
        assert!(!to_make.exists(), "it is not made");
        assert!(usable(&dir.path().join("a/b")).unwrap_err().contains("make it"));
        std::fs::write(&to_make, "").unwrap();
        assert!(usable(&to_make).unwrap_err().contains("expected a folder"));
    }
}
