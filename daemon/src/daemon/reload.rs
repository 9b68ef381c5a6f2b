//! SIGHUP: the settings are read again, and the output is opened anew.
//!
//! New settings take force as a whole, between two polls, or not at all: a mistake in the file leaves
//! everything as it was. Numbers that make a table prove itself (instance id, record counter,
//! envelope sequence, counters) go on without a gap.

use super::{core::Core, parts};
use crate::{
    cli::{self, Command, Invocation},
    config::Config,
    epoll::Epoll,
    logger,
    pipeline::PollState,
};
use std::{fs, path::PathBuf, time::Instant};

/// Settings of what is opened once, at start.
const NEED_RESTART: [&str; 7] = [
    "spool-dir",
    "spool-max-bytes",
    "netns-dirs",
    "proc-scan-every",
    "record",
    "prom-listen",
    "prom-path",
];

/// Settings that the messages of the old format must be delivered before.
const OF_FORMAT: [&str; 2] = ["marshal", "columns"];

/// Settings that the output is opened with.
const OF_OUTPUT: [&str; 7] = [
    "dest",
    "topic",
    "kafka-compression",
    "kafka-property",
    "http-headers-file",
    "marshal",
    "columns",
];

/// Reads the command line and the environment of the start once more, and the configuration file as
/// it is by then.
pub type ReadSettings = Box<dyn Fn() -> Result<Invocation, cli::Error>>;

/// How the settings are read again, and those that are not in force yet.
pub struct Reload {
    read: ReadSettings,
    /// Read again only while it is a regular file: a pipe is empty the second time, which would say
    /// that every setting is the default.
    config_file: Option<PathBuf>,
    pending: Option<Pending>,
}

struct Pending {
    config: Config,
    wait_logged: bool,
}

impl Reload {
    /// Settings come from `read`, which reads `config_file` if there is one.
    pub fn new(read: ReadSettings, config_file: Option<PathBuf>) -> Reload {
        Reload {
            read,
            config_file,
            pending: None,
        }
    }

    /// The settings as they are now, less those that need a restart.
    fn read(&self, current: &Config) -> Result<Config, String> {
        if let Some(path) = &self.config_file
            && fs::metadata(path).is_ok_and(|file| !file.is_file())
        {
            let path = path.display();
            return Err(format!(
                "{path}: expected a regular file to read again, got another kind"
            ));
        }
        let invocation = (self.read)().map_err(|error| error.to_string())?;
        invocation.warnings.iter().for_each(|line| log::warn!("{line}"));
        let Command::Run(mut config) = invocation.command else {
            return Err("expected the command run, got another one".to_owned());
        };
        parts::name_host(&mut config).map_err(|error| error.to_string())?;
        let mut ignored = cli::changed_settings(current, &config);
        ignored.retain(|name| NEED_RESTART.contains(name));
        if !ignored.is_empty() {
            log::warn!(
                "SIGHUP: changed, but in force only after a restart: {}",
                ignored.join(", ")
            );
            cli::copy_settings(&ignored, current, &mut config);
        }
        Ok(config)
    }
}

impl Core {
    /// SIGHUP came. Whatever the settings are like, a file that was renamed is left.
    pub(super) fn reload(&mut self, epoll: &Epoll, now: Instant) {
        self.notify.reloading();
        let mut opens_output = false;
        match self.reload.read(&self.config) {
            Ok(config) => {
                let changed = cli::changed_settings(&self.config, &config);
                opens_output = any(&changed, &OF_OUTPUT);
                self.reload.pending = (!changed.is_empty()).then_some(Pending {
                    config,
                    wait_logged: false,
                });
            }
            Err(error) => log::error!("SIGHUP: {error}; the settings stay as they are"),
        }
        if !opens_output {
            log::info!("SIGHUP: the output is opened anew");
            self.output.reopen(epoll, now);
        }
        if self.reload.pending.is_none() {
            self.notify.reloaded();
        }
    }

    /// Puts new settings in force when their time has come. Not while events of the old output may
    /// still be in hand: the new one's first descriptor could be taken for it.
    pub(super) fn apply_reload(&mut self, epoll: &Epoll, now: Instant) {
        if self.pipeline.state() != PollState::Idle || self.ending.is_some() {
            return;
        }
        let Some(mut pending) = self.reload.pending.take() else {
            return;
        };
        let changed = cli::changed_settings(&self.config, &pending.config);
        if any(&changed, &OF_FORMAT) && !self.output.is_idle() {
            if !pending.wait_logged {
                pending.wait_logged = true;
                log::info!(
                    "SIGHUP: new settings wait until {} bytes of the old format are delivered",
                    self.output.queued().bytes
                );
            }
            self.reload.pending = Some(pending);
            return;
        }
        let config = pending.config;
        match self.reconfigure(&config, any(&changed, &OF_OUTPUT), epoll, now) {
            Ok(()) => {
                self.config = config;
                log::info!("SIGHUP: in force now: {}", changed.join(", "));
            }
            Err(error) => {
                log::error!("SIGHUP: {error}; the settings stay as they are");
                self.output.reopen(epoll, now);
            }
        }
        self.notify.reloaded();
    }

    fn reconfigure(
        &mut self,
        config: &Config,
        opens_output: bool,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<(), super::Fatal> {
        if opens_output {
            let options = parts::output_options(config, self.instance_id)?;
            self.output
                .replace(&config.dest, options, epoll, now)
                .map_err(super::Fatal::configuration)?;
        }
        self.output.set_queue_bytes_max(config.output_queue_bytes);
        self.pipeline
            .rows
            .reconfigure(parts::rows(config, self.instance_id, &self.output)?);
        if config.marshal != self.config.marshal {
            self.output.set_format(config.marshal.to_string());
        }
        self.pipeline.poll.set_options(parts::poll_options(config));
        self.schedule
            .set(config.frequency, config.poll_jitter_percent, now);
        logger::start(config.log_level, config.log_format);
        Ok(())
    }
}

fn any(changed: &[&str], of: &[&str]) -> bool {
    changed.iter().any(|name| of.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_setting() {
        for name in NEED_RESTART.into_iter().chain(OF_FORMAT).chain(OF_OUTPUT) {
            assert!(cli::is_setting(name), "{name}");
        }
        assert!(any(&OF_FORMAT, &OF_OUTPUT), "a new format opens the output anew");
    }
}
