//! What the daemon under test is started with, and how the runner starts it anew.

use crate::watch::Source;
use nix::sys::signal::Signal;
use std::{path::PathBuf, time::Duration};

/// Capabilities that are taken away, one after the other; then it has all of them again. Those of
/// docs/operations.md.
const CAPABILITIES: [&str; 4] = ["sys_admin", "sys_ptrace", "dac_read_search", "net_admin"];

/// Its command.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    arguments: Vec<String>,
    /// Which of [`CAPABILITIES`] it is without.
    without: Option<usize>,
}

impl Daemon {
    /// With all capabilities.
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Daemon {
        Daemon {
            program,
            arguments,
            without: None,
        }
    }

    /// Program and arguments of the next start.
    pub fn command(&self) -> (PathBuf, Vec<String>) {
        let Some(capability) = self.without.and_then(|index| CAPABILITIES.get(index)) else {
            return (self.program.clone(), self.arguments.clone());
        };
        let mut arguments = vec![
            format!("--bounding-set=-{capability}"),
            format!("--inh-caps=-{capability}"),
            self.program.display().to_string(),
        ];
        arguments.extend(self.arguments.iter().cloned());
        (PathBuf::from("setpriv"), arguments)
    }

    /// From the next start on it is without the next capability, in the end without none.
    pub fn drop_next_capability(&mut self) {
        let next = self.without.map_or(0, |index| index + 1);
        self.without = (next < CAPABILITIES.len()).then_some(next);
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When somebody else runs it.
    pub fn signal(&self, source: &mut Source, signal: Signal) -> Result<(), String> {
        let Source::Supervisor(supervisor) = source else {
            return Err("expected a daemon of the runner's own, got a unit of systemd".to_owned());
        };
        supervisor.signal(signal);
        Ok(())
    }

    /// Ends it by `signal` and starts it anew, both announced.
    ///
    /// # Errors
    /// When it does not end within `patience`, or does not start.
    pub fn restart(&self, source: &mut Source, signal: Signal, patience: Duration) -> Result<(), String> {
        let Source::Supervisor(supervisor) = source else {
            return Err("expected a daemon of the runner's own, got a unit of systemd".to_owned());
        };
        supervisor.stop(signal, patience)?;
        let (program, arguments) = self.command();
        supervisor.set_command(program, arguments);
        supervisor.start().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_go_one_after_the_other_and_come_back() {
        let mut daemon = Daemon::new("/x/xtcp2".into(), vec!["-a".to_owned()]);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let (program, arguments) = daemon.command();
            seen.push((
                program.display().to_string(),
                arguments.first().cloned().unwrap_or_default(),
            ));
            daemon.drop_next_capability();
        }
        let without = |name: &str| ("setpriv".to_owned(), format!("--bounding-set=-{name}"));
        let all = ("/x/xtcp2".to_owned(), "-a".to_owned());
        let middle = CAPABILITIES.map(without);
        assert_eq!(seen[0], all);
        assert_eq!(seen[1..5], middle);
        assert_eq!(seen[5], all);
    }
}
