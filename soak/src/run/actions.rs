//! What a scenario does to the daemon and to what is around it, and when.
//!
//! What takes long is begun here and looked after each second: samples go on meanwhile.

use super::{daemon::Daemon, pipeline::Pipeline, signal, spool_disk::SpoolDisk};
use crate::{
    record::What as Event,
    scenario::{Action, What},
    watch::Source,
};
use nix::sys::signal::Signal;
use std::{
    process::Child,
    time::{Duration, Instant},
};

/// A daemon that was told to end has so long: `--shutdown-timeout` is 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A broker starts in seconds, and replays its log after a kill: an outage that nobody ends would excuse everything.
const BEGUN_TIMEOUT: Duration = Duration::from_secs(120);

/// An action and when it is due next.
#[derive(Debug)]
struct Due {
    action: Action,
    at: Option<Duration>,
}

/// Something that has been begun: of the pipeline, or by systemd.
#[derive(Debug)]
struct Begun {
    name: String,
    child: Child,
    since: Instant,
}

/// All actions of a run.
#[derive(Debug)]
pub struct Actions {
    due: Vec<Due>,
    begun: Vec<Begun>,
}

/// What actions act on.
pub struct On<'a> {
    /// Who runs the daemon.
    pub source: &'a mut Source,
    /// What the daemon is started with.
    pub daemon: &'a mut Daemon,
    /// The pipeline, if there is one.
    pub pipeline: Option<&'a Pipeline>,
    /// The small file system of the spool, if there is one.
    pub disk: Option<&'a mut SpoolDisk>,
}

impl Actions {
    /// Those of a scenario.
    pub fn new(actions: &[Action]) -> Actions {
        let due = |action: &Action| Due {
            at: Some(action.at.0),
            action: action.clone(),
        };
        Actions {
            due: actions.iter().map(due).collect(),
            begun: Vec::new(),
        }
    }

    /// Does what is due at `elapsed`, and says what was begun and what is done.
    ///
    /// # Errors
    /// When something cannot be done: the run is no longer what the scenario says.
    pub fn tick(&mut self, elapsed: Duration, on: &mut On<'_>) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for index in 0..self.due.len() {
            let Due { action, at } = &mut self.due[index];
            if at.is_none_or(|at| at > elapsed) {
                continue;
            }
            *at = action.every.and_then(|every| at.map(|at| at + every.0));
            let what = action.what;
            let name = name(what);
            events.push(Event::Action {
                name: name.clone(),
                done: false,
            });
            match self.act(what, on)? {
                Some(child) => {
                    let since = Instant::now();
                    self.begun.push(Begun { name, child, since });
                }
                None => events.push(Event::Action { name, done: true }),
            }
        }
        let mut failed = None;
        self.begun.retain_mut(|begun| match begun.child.try_wait() {
            Ok(None) if begun.since.elapsed() < BEGUN_TIMEOUT => true,
            Ok(Some(status)) if status.success() => {
                events.push(Event::Action {
                    name: begun.name.clone(),
                    done: true,
                });
                false
            }
            Ok(None) => {
                failed = Some(format!("action {}: not done after {BEGUN_TIMEOUT:?}", begun.name));
                let _ = begun.child.kill();
                let _ = begun.child.wait();
                false
            }
            ended => {
                failed = Some(format!("action {}: {ended:?}", begun.name));
                false
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(events),
        }
    }

    fn act(&mut self, what: What, on: &mut On<'_>) -> Result<Option<Child>, String> {
        match what {
            What::ReloadDaemon => return on.daemon.reload(on.source),
            What::RestartDaemon => return on.daemon.restart(on.source, Signal::SIGTERM, STOP_TIMEOUT),
            What::KillDaemon => return on.daemon.restart(on.source, Signal::SIGKILL, STOP_TIMEOUT),
            What::DropNextCapability => {
                on.daemon.drop_next_capability()?;
                return on.daemon.restart(on.source, Signal::SIGTERM, STOP_TIMEOUT);
            }
            What::FillDisk | What::EmptyDisk => {
                let disk = on
                    .disk
                    .as_mut()
                    .ok_or("the scenario has no spool of its own to fill")?;
                match what {
                    What::FillDisk => disk.fill(),
                    _ => disk.empty(),
                }
                .map_err(|error| format!("{}: {error}", name(what)))?;
            }
            What::FreezeKafka => {
                let pid = on.pipeline.and_then(|pipeline| pipeline.pid("kafka"));
                signal(pid.ok_or("no Kafka runs")?, Signal::SIGSTOP);
            }
            What::StopKafka => return on.begin(&["stop", "kafka"]),
            What::KillKafka => return on.begin(&["kill", "kafka"]),
            What::StartKafka => {
                if let Some(pid) = on.pipeline.and_then(|pipeline| pipeline.pid("kafka")) {
                    signal(pid, Signal::SIGCONT);
                }
                return on.begin(&["start", "kafka"]);
            }
            What::KillClickhouse => return on.begin(&["kill", "clickhouse"]),
            What::StartClickhouse => return on.begin(&["start", "clickhouse"]),
            What::KillFeeder => return on.begin(&["kill", "feeder"]),
            What::StartFeeder => return on.begin(&["start", "feeder"]),
        }
        Ok(None)
    }
}

impl On<'_> {
    fn begin(&self, words: &[&str]) -> Result<Option<Child>, String> {
        let pipeline = self.pipeline.ok_or("the scenario has no pipeline")?;
        pipeline.begin(words).map(Some)
    }
}

/// As scenario files spell it.
fn name(what: What) -> String {
    let mut name = String::new();
    for letter in format!("{what:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        assert_eq!(name(What::DropNextCapability), "drop-next-capability");
        assert_eq!(name(What::StopKafka), "stop-kafka");
    }
}
