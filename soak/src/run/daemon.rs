//! What the daemon under test is started with, and how the runner starts it anew.

use super::service::Service;
use crate::watch::Source;
use nix::sys::signal::Signal;
use std::{path::PathBuf, process::Child, time::Duration};

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
    /// Where systemd runs it.
    service: Option<Service>,
}

impl Daemon {
    /// With all capabilities.
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Daemon {
        Daemon {
            program,
            arguments,
            without: None,
            service: None,
        }
    }

    /// From now on systemd runs it.
    ///
    /// # Errors
    /// When the unit cannot be configured.
    pub fn run_by(&mut self, service: Service) -> Result<(), String> {
        service.configure(&self.program, &self.arguments, None)?;
        self.service = Some(service);
        Ok(())
    }

    /// The unit, where systemd runs it.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// Program and arguments of the next start.
    pub fn command(&self) -> (PathBuf, Vec<String>) {
        let Some(capability) = self.without() else {
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

    fn without(&self) -> Option<&'static str> {
        CAPABILITIES.get(self.without?).copied()
    }

    /// From the next start on it is without the next capability, in the end without none.
    ///
    /// # Errors
    /// When the unit cannot be configured.
    pub fn drop_next_capability(&mut self) -> Result<(), String> {
        let next = self.without.map_or(0, |index| index + 1);
        self.without = (next < CAPABILITIES.len()).then_some(next);
        match &self.service {
            Some(service) => service.configure(&self.program, &self.arguments, self.without()),
            None => Ok(()),
        }
    }

    /// Has it read its settings anew. What takes long is returned, to be looked after.
    ///
    /// # Errors
    /// When there is no systemctl.
    pub fn reload(&self, source: &mut Source) -> Result<Option<Child>, String> {
        match (source, &self.service) {
            (Source::Supervisor(supervisor), _) => supervisor.signal(Signal::SIGHUP),
            // Not the signal itself: only systemd knows whether the process is the daemon yet.
            (Source::Unit(_), service) => {
                let begin = |service: &Service| service.begin(&["reload"]);
                return service.as_ref().map(begin).transpose();
            }
        }
        Ok(None)
    }

    /// Ends it by `signal` and starts it anew, both announced. What takes long is returned, to be looked after.
    ///
    /// # Errors
    /// When it does not end within `patience`, or does not start.
    pub fn restart(
        &self,
        source: &mut Source,
        signal: Signal,
        patience: Duration,
    ) -> Result<Option<Child>, String> {
        match (source, &self.service) {
            (Source::Supervisor(supervisor), _) => {
                supervisor.stop(signal, patience)?;
                let (program, arguments) = self.command();
                supervisor.set_command(program, arguments);
                supervisor.start().map(|_| None)
            }
            (Source::Unit(unit), service) => {
                let Some(service) = service else { return Ok(None) };
                unit.expect_end();
                if signal == Signal::SIGKILL {
                    // Its own Restart= brings it back, which is part of what is seen here.
                    return service.begin(&["kill", "--signal=KILL"]).map(Some);
                }
                // Not by restart: systemd forgets how it ended when it starts it again.
                let stopped = service.stop();
                unit.look();
                stopped?;
                service.begin(&["start"]).map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{program, record::What, watch::systemd::Unit};
    use std::{fs, path::Path, process::ExitStatus};

    /// Restarts a unit by a systemctl that says `stopped` of it between stop and start. How it ended and started.
    fn restarted_by_systemd(stopped: &str) -> Vec<What> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let systemctl = path("systemctl");
        let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit\ncase $1 in\nshow) cat state ;;\n\
                      stop) cp stopped state ;;\nstart | restart) cp started state ;;\nesac\n";
        program::write(&systemctl, script).unwrap();
        let runs = |pid, invocation| {
            format!(
                "MainPID={pid}\nInvocationID={invocation}\nExecMainCode=0\nExecMainStatus=0\nResult=success\n"
            )
        };
        fs::write(path("state"), runs(std::process::id(), "a")).unwrap();
        fs::write(path("started"), runs(1, "b")).unwrap();
        fs::write(path("stopped"), format!("MainPID=0\nInvocationID=a\n{stopped}\n")).unwrap();
        let mut daemon = Daemon::new("/x/xtcp2".into(), Vec::new());
        daemon.run_by(Service::of(&systemctl, &path("drop-in"))).unwrap();
        let mut source = Source::Unit(Unit::new(
            "xtcp2-none.service",
            &systemctl,
            Path::new("/nonexistent"),
            folder.path(),
        ));
        source.events();
        let begun = daemon.restart(&mut source, Signal::SIGTERM, Duration::from_secs(10));
        let status = begun.unwrap().map(|mut child| child.wait().unwrap());
        assert!(status.is_none_or(|status: ExitStatus| status.success()));
        source.events()
    }

    #[test]
    fn how_it_ended_is_known_though_systemd_has_started_it_again() {
        for (stopped, is_bad) in [
            ("ExecMainCode=1\nExecMainStatus=0\nResult=success", false),
            ("ExecMainCode=1\nExecMainStatus=101\nResult=exit-code", true),
            ("ExecMainCode=2\nExecMainStatus=9\nResult=timeout", true),
            // To systemd that is success; to a daemon that is to deliver what it has it is not.
            ("ExecMainCode=2\nExecMainStatus=15\nResult=success", true),
        ] {
            let events = restarted_by_systemd(stopped);
            let [
                What::DaemonEnded { announced, .. },
                What::DaemonStarted {
                    pid: 1,
                    announced: true,
                    ..
                },
            ] = events[..]
            else {
                panic!("{stopped}: {events:?}");
            };
            assert_eq!(announced, !is_bad, "{stopped}: {events:?}");
        }
    }

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
            daemon.drop_next_capability().unwrap();
        }
        let without = |name: &str| ("setpriv".to_owned(), format!("--bounding-set=-{name}"));
        let all = ("/x/xtcp2".to_owned(), "-a".to_owned());
        let middle = CAPABILITIES.map(without);
        assert_eq!(seen[0], all);
        assert_eq!(seen[1..5], middle);
        assert_eq!(seen[5], all);
    }
}
