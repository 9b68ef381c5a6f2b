//! `xtcp2 replay`: the rows of captures, through the same encoder, formats and outputs as the
//! daemon's own. Needs no privileges.

use crate::{
    capture::Replay,
    config::Config,
    daemon::{Fatal, instance_id, open_output, rows},
    epoll::{Epoll, Source},
    output::Output,
    record::Origin,
    rows::Rows,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// A receiver may take nothing for so long before the replay gives up.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Delivers the rows of `files`, one after the other.
///
/// # Errors
/// When the output cannot work. A file that cannot be read is reported, and makes the exit status
/// one of failure; the others are replayed nevertheless.
pub fn run(config: Config, files: &[PathBuf]) -> Result<ExitCode, Fatal> {
    let epoll = Epoll::new().map_err(Fatal::system("epoll"))?;
    let instance_id = instance_id()?;
    let output = open_output(&config, &epoll, instance_id)?;
    let rows = rows(&config, instance_id, &output)?;
    let mut replayer = Replayer {
        config,
        epoll,
        rows,
        output,
    };
    let mut failed = false;
    for (file, sequence) in files.iter().zip(1..) {
        if let Err(error) = replayer.file(file, sequence) {
            log::error!("{error}");
            failed = true;
        }
    }
    replayer.rows.flush();
    replayer.deliver(true)?;
    replayer.output.shutdown();
    let dropped = replayer.output.counters().dropped_total().rows;
    if dropped > 0 && !replayer.output.is_closed() {
        log::error!("{dropped} rows were not delivered");
        failed = true;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

struct Replayer {
    config: Config,
    epoll: Epoll,
    rows: Rows,
    output: Output,
}

impl Replayer {
    /// The rows of one capture; each file is a poll of its own.
    fn file(&mut self, path: &Path, sequence: u64) -> Result<(), String> {
        let name = path.display().to_string();
        let mut replay = Replay::open(path).map_err(|error| error.to_string())?;
        let mut read = || -> Result<(), String> {
            while let Some(replies) = replay.next_datagram().map_err(|error| error.to_string())? {
                self.rows.enter(&Origin {
                    timestamp_ns: replies.timestamp_ns.unwrap_or(0),
                    poll_sequence: sequence,
                    // A capture of somebody else's does not say which namespace it is from.
                    netns: replies.netns.map_or("", |netns| netns.name),
                    netns_inode: 0,
                    netns_cookie: replies.netns.map_or(0, |netns| netns.cookie),
                    socket_fd: 0,
                });
                for reply in replies {
                    if self.config.states.contains(reply.state()) {
                        self.rows.push(&reply);
                    }
                }
                self.deliver(false).map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        let result = read();
        let (packets, messages) = (replay.packet_counts(), replay.message_counts());
        log::info!(
            "{name}: {} packets, {} messages, {} replies",
            packets.packets,
            messages.messages,
            messages.replies
        );
        if packets.datagrams < packets.packets || messages.malformed + messages.cut > 0 {
            log::warn!("{name}: passed over: {packets:?}, {messages:?}");
        }
        result
    }

    /// Hands messages to the output, and waits for as long as it is full, or until it is idle.
    fn deliver(&mut self, until_idle: bool) -> Result<(), Fatal> {
        while let Some(message) = self.rows.take_message() {
            self.wait(|output| !output.is_full())?;
            self.output.offer(vec![message], &self.epoll, Instant::now());
        }
        if until_idle {
            self.wait(Output::is_idle)
        } else {
            Ok(())
        }
    }

    fn wait(&mut self, done: impl Fn(&Output) -> bool) -> Result<(), Fatal> {
        let mut delivered = self.output.counters().delivered;
        let mut give_up = Instant::now() + STALL_MAX;
        loop {
            let now = Instant::now();
            if self.output.counters().delivered != delivered {
                delivered = self.output.counters().delivered;
                give_up = now + STALL_MAX;
            }
            if done(&self.output) || self.output.is_closed() || now >= give_up {
                return Ok(());
            }
            let until = self
                .output
                .deadline()
                .map_or(give_up, |deadline| deadline.min(give_up));
            let events = self.epoll.wait(Some(until.saturating_duration_since(now)));
            for event in events.map_err(Fatal::system("epoll_wait"))? {
                if event.token.source == Source::Output {
                    self.output.ready(&event, &self.epoll, Instant::now());
                }
            }
            let now = Instant::now();
            if self.output.deadline().is_some_and(|deadline| deadline <= now) {
                self.output.tick(&self.epoll, now);
            }
        }
    }
}
