//! The process that was started as a load: it has workers do it, adds up what they say, and ends them.

use super::{
    Common,
    trace::{self, Made, Marker, ProcessId},
    worker::{REPORT_EVERY, SHARE, Share, Work},
};
use crate::{clean, record::Load};
use nix::sys::signal::{SigSet, Signal};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// A report waits so much longer for a worker that is late, then what that one said last counts.
const LATE_MAX: Duration = Duration::from_millis(500);
/// How long workers may take to take away what they made: 20 containers are a matter of seconds.
const END_MAX: Duration = Duration::from_secs(90);

/// What the parent hears.
enum Heard {
    /// A worker said what it did so far.
    Load(usize, Load),
    /// A worker's output ended: so did the worker.
    End(usize),
    /// SIGTERM or SIGINT.
    Stop,
}

/// Makes a load until it is told to end.
///
/// # Errors
/// When not everything could be made, or a worker ended before it was told to. What was made is gone then.
pub fn run(common: Common, works: Vec<Work>) -> Result<ExitCode, String> {
    let (sender, heard) = mpsc::channel();
    stop_on_signals(sender.clone())?;
    let marker = Marker::own()?;
    let mut common = common;
    common.folder = folder(marker, &common.folder)?;
    let result = Workers::start(marker, &common, works, &sender).and_then(|mut workers| {
        let result = workers.run(&heard, common.duration);
        workers.end(&heard);
        result
    });
    let left = clean::after(marker);
    result.and(left).map(|()| ExitCode::SUCCESS)
}

/// The folder as an absolute path; made if there is none, and then noted as ours.
fn folder(marker: Marker, folder: &Path) -> Result<std::path::PathBuf, String> {
    let said = |error: io::Error| format!("{}: {error}", folder.display());
    let is_ours = !folder.exists();
    fs::create_dir_all(folder).map_err(said)?;
    let path = folder.canonicalize().map_err(said)?;
    let made = Made::Folder {
        path: path.clone(),
        is_ours,
    };
    trace::note(marker, &made)?;
    Ok(path)
}

/// Before any thread starts, which inherits that the signals are blocked.
fn stop_on_signals(sender: Sender<Heard>) -> Result<(), String> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    signals
        .thread_block()
        .map_err(|error| format!("sigprocmask: {error}"))?;
    let wait = move || {
        while signals.wait().is_ok() {
            if sender.send(Heard::Stop).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread
        .map(drop)
        .map_err(|error| format!("thread for signals: {error}"))
}

/// Every worker, and what each said last.
struct Workers {
    children: Vec<Child>,
    /// None before everything of its share is there.
    said: Vec<Option<Load>>,
    /// Who said something since the last report.
    is_new: Vec<bool>,
    living: usize,
    /// When everything was there, and what was done until then.
    ready: Option<(Instant, Load)>,
    /// The last report while it ran.
    last: Option<(Instant, Load)>,
}

impl Workers {
    fn start(
        marker: Marker,
        common: &Common,
        works: Vec<Work>,
        sender: &Sender<Heard>,
    ) -> Result<Workers, String> {
        let step = works.len() as u64;
        let mut workers = Workers {
            children: Vec::new(),
            said: vec![None; works.len()],
            is_new: vec![false; works.len()],
            living: 0,
            ready: None,
            last: None,
        };
        for (first, work) in (0..).zip(works) {
            let share = Share {
                marker,
                folder: common.folder.clone(),
                events: common.events.clone(),
                first,
                step,
                work,
            };
            let index = workers.children.len();
            workers.children.push(start_one(&share, index, sender.clone())?);
            workers.living += 1;
        }
        Ok(workers)
    }

    /// What all of them did so far; none before everything is there.
    fn sum(&self) -> Option<Load> {
        self.said
            .iter()
            .try_fold(Load::default(), |sum, said| Some(sum + said.as_ref()?))
    }

    /// Until a signal, the end of the duration, or the end of who reads what it says.
    fn run(&mut self, heard: &Receiver<Heard>, duration: Option<Duration>) -> Result<(), String> {
        let mut last_report = Instant::now();
        loop {
            let now = Instant::now();
            // Workers report each second; so does their sum, as soon as all have.
            let late = last_report + REPORT_EVERY + LATE_MAX;
            let end = self
                .ready
                .as_ref()
                .zip(duration)
                .map(|((ready, _), duration)| *ready + duration);
            if end.is_some_and(|end| end <= now) {
                return Ok(());
            }
            if self.is_new.iter().all(|is_new| *is_new) || self.ready.is_some() && late <= now {
                if self.ready.is_none() {
                    self.ready = self.sum().map(|sum| (now, sum));
                }
                if !self.report() {
                    return Ok(());
                }
                self.is_new.fill(false);
                self.last = self.sum().map(|sum| (now, sum));
                last_report = now;
                continue;
            }
            let until = [Some(late), end].into_iter().flatten().min().unwrap_or(late);
            let wait = match self.ready {
                Some(_) => until.saturating_duration_since(now),
                None => REPORT_EVERY,
            };
            match heard.recv_timeout(wait) {
                Ok(Heard::Load(index, load)) => {
                    self.said[index] = Some(load);
                    self.is_new[index] = true;
                }
                Ok(Heard::Stop) => return Ok(()),
                Ok(Heard::End(index)) => {
                    self.living -= 1;
                    let status = self.children[index].wait();
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(format!("a process of the load ended by itself: {status}"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("nobody is left to hear".to_owned()),
            }
        }
    }

    /// What was reached since everything was there, on stderr: what was asked for is another thing.
    fn summary(&self) {
        let (Some((ready, before)), Some((last, now))) = (&self.ready, &self.last) else {
            return;
        };
        let seconds = last.duration_since(*ready).as_secs_f64();
        let events = |load: &Load| load.namespaces_created + load.namespaces_deleted;
        let each = [
            ("namespace events", events(now) - events(before)),
            ("bytes", now.bytes - before.bytes),
            ("connections", now.connections - before.connections),
            ("restarts", now.containers_restarted - before.containers_restarted),
        ];
        let rates = each.iter().filter(|(_, count)| *count > 0);
        let rates: Vec<_> = rates
            .map(|(what, count)| format!("{:.1} {what}", *count as f64 / seconds))
            .collect();
        if !rates.is_empty() {
            eprintln!(
                "xtcp2-soak: reached in {seconds:.1} s, each second: {}",
                rates.join(", ")
            );
        }
    }

    /// Says what was done so far, and whether anybody reads it.
    fn report(&self) -> bool {
        let Some(sum) = self.sum() else { return true };
        let mut out = io::stdout();
        serde_json::to_string(&sum).is_ok_and(|line| writeln!(out, "{line}").is_ok() && out.flush().is_ok())
    }

    /// Tells all of them to end, waits until they have, and says what was done in all.
    fn end(&mut self, heard: &Receiver<Heard>) {
        self.summary();
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        let end = Instant::now() + END_MAX;
        while self.living > 0 {
            match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Heard::Load(index, load)) => self.said[index] = Some(load),
                Ok(Heard::End(_)) => self.living -= 1,
                // It is ending.
                Ok(Heard::Stop) => {}
                Err(_) => break,
            }
        }
        for child in &mut self.children {
            // Of those that have ended only the status is left; the others had their time.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.report();
    }
}

fn start_one(share: &Share, index: usize, sender: Sender<Heard>) -> Result<Child, String> {
    let share_json = serde_json::to_string(share).map_err(|error| format!("share: {error}"))?;
    let mut child = Command::new("/proc/self/exe")
        // For who looks at a list of processes.
        .arg0(env::args_os().next().unwrap_or_default())
        .args(env::args_os().skip(1))
        .env(SHARE, share_json)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A Ctrl-C is for the parent.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("worker: {error}"))?;
    if let Some(process) = i32::try_from(child.id()).ok().and_then(ProcessId::of) {
        let role = "worker".to_owned();
        trace::note(share.marker, &Made::Process { role, process })?;
    }
    let Some(output) = child.stdout.take() else {
        return Err("worker: no standard output".to_owned());
    };
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                // When nobody hears any more, the parent ends.
                Ok(load) => drop(sender.send(Heard::Load(index, load))),
                Err(error) => eprintln!("xtcp2-soak: a worker said {line:?}: {error}"),
            }
        }
        let _ = sender.send(Heard::End(index));
    });
    Ok(child)
}
