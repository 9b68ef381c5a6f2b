//! The daemon as systemd runs it: the installed unit, all of its hardening in force, and a drop-in with what a run
//! wants of it. For a machine that is thrown away afterwards.

use crate::load::trace::{self, Made, Marker};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The unit of modules/xtcp2.service.
pub const UNIT: &str = "xtcp2.service";
/// Asked of who is there.
pub const SYSTEMCTL: &str = "systemctl";
/// Asked for what it logs.
pub const JOURNALCTL: &str = "journalctl";

/// That unit, with a drop-in of ours until it is dropped.
#[derive(Debug)]
pub struct Service {
    systemctl: PathBuf,
    drop_in: PathBuf,
}

impl Service {
    /// Stops it, if it runs; it is not started yet.
    ///
    /// # Errors
    /// Where systemd does not run, or has no such unit.
    pub fn take() -> Result<Service, String> {
        let folder = PathBuf::from(format!("/run/systemd/system/{UNIT}.d"));
        let service = Service {
            systemctl: SYSTEMCTL.into(),
            drop_in: folder.join("90-soak.conf"),
        };
        service.run(&["cat", "--", UNIT])?;
        service.run(&["stop", "--", UNIT])?;
        let made = Made::File {
            path: service.drop_in.clone(),
        };
        trace::note(Marker::own()?, &made)?;
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(service)
    }

    /// From its next start on it runs that program with these arguments, without one of its capabilities.
    ///
    /// # Errors
    /// When systemd cannot read its units anew.
    pub fn configure(
        &self,
        program: &Path,
        arguments: &[String],
        without: Option<&str>,
    ) -> Result<(), String> {
        let path = &self.drop_in;
        fs::write(path, drop_in(program, arguments, without))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        self.run(&["daemon-reload"])
    }

    /// Starts it, and waits until it says that it is ready: a first poll is complete.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn start(&self) -> Result<(), String> {
        self.run(&["start", "--", UNIT])
    }

    /// Stops it, and waits for its end.
    ///
    /// # Errors
    /// When systemd had to kill it.
    pub fn stop(&self) -> Result<(), String> {
        self.run(&["stop", "--", UNIT])
    }

    /// Begins something that takes long: `systemctl` with these words in front of the unit's name.
    ///
    /// # Errors
    /// When there is no systemctl.
    pub fn begin(&self, words: &[&str]) -> Result<Child, String> {
        self.command(words).arg("--").arg(UNIT).spawn().map_err(failed)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.systemctl);
        command.args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Result<(), String> {
        let output = self.command(words).output().map_err(failed)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "{SYSTEMCTL} {}: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.drop_in);
        let _ = self.run(&["daemon-reload"]);
    }
}

fn failed(error: std::io::Error) -> String {
    format!("{SYSTEMCTL}: {error}")
}

fn drop_in(program: &Path, arguments: &[String], without: Option<&str>) -> String {
    let mut text = String::from("[Service]\n");
    if let Some(capability) = without {
        // What begins with a tilde is taken away from what the unit has.
        let name = capability.to_ascii_uppercase();
        text.push_str(&format!(
            "AmbientCapabilities=~CAP_{name}\nCapabilityBoundingSet=~CAP_{name}\n"
        ));
    }
    // The empty one takes away the unit's own.
    text.push_str("ExecStart=\nExecStart=");
    text.push_str(&quoted(&program.display().to_string()));
    for argument in arguments {
        text.push(' ');
        text.push_str(&quoted(argument));
    }
    text.push('\n');
    text
}

/// A word that systemd takes as it is: nothing in it is a variable, a specifier or a separator.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '%' | '$' => text.extend([letter, letter]),
            _ => text.push(letter),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
impl Service {
    /// Of another systemctl, with a drop-in somewhere else.
    pub fn of(systemctl: &Path, drop_in: &Path) -> Service {
        Service {
            systemctl: systemctl.to_owned(),
            drop_in: drop_in.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_replaces_the_command_and_takes_a_capability_away() {
        let arguments = ["--label".to_owned(), "a \"$b\" 5% \\".to_owned()];
        assert_eq!(
            drop_in(Path::new("/usr/bin/xtcp2"), &arguments, Some("sys_admin")),
            "[Service]\nAmbientCapabilities=~CAP_SYS_ADMIN\nCapabilityBoundingSet=~CAP_SYS_ADMIN\n\
             ExecStart=\nExecStart=\"/usr/bin/xtcp2\" \"--label\" \"a \\\"$$b\\\" 5%% \\\\\"\n"
        );
        assert_eq!(
            drop_in(Path::new("/x"), &[], None),
            "[Service]\nExecStart=\nExecStart=\"/x\"\n"
        );
    }
}
