//! Programs that are made as they are needed.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

/// Writes a program that can be started by everyone.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
