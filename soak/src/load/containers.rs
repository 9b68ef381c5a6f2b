//! `load containers`: Docker containers that hold sockets; now and then one ends and is made anew.
//!
//! Their image is a single static program (holder/holder.rs), so nothing is fetched from anywhere. What is
//! counted is seen from outside, in /proc of each container's first process.

use super::{
    DURATION, FOLDER, LONG_DOC,
    engine::{Engine, image, label},
    number, rate, sockets_each,
    trace::ProcessId,
    worker::{self, REPORT_EVERY, Worker},
};
use crate::{
    clean,
    cli::{Command, Flag, Given},
    program,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fs,
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

/// The command.
pub const COMMAND: Command = Command {
    name: "load containers",
    doc: "Docker containers that hold sockets",
    long_doc: LONG_DOC,
    words: "",
    flags: &[
        Flag {
            doc: "As for the other loads, and of no use here: Docker mounts namespaces in /run/docker/netns. \
                  Required.",
            ..FOLDER
        },
        Flag {
            name: "containers",
            value: "COUNT",
            default: "",
            doc: "How many, in the engine that answers at /var/run/docker.sock, or else in one of its own. \
                  Required.",
        },
        Flag {
            name: "sockets",
            value: "COUNT",
            default: "",
            doc: "Established sockets in each, with a little traffic; two are a connection. Required.",
        },
        Flag {
            name: "restarts-per-minute",
            value: "RATE",
            default: "0",
            doc: "So often the oldest is removed, and a new one is started.",
        },
        DURATION,
    ],
    run: |given| super::run(given, shares),
};

/// The static program; empty if it could not be made.
const HOLDER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/holder"));
/// Where a container says how many bytes it has received.
const BYTES: &str = "bytes";
/// What a container takes until all its sockets are there, on a busy machine, and more.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks at one that starts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Share of a worker: of the only one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    containers: u32,
    sockets: u32,
    restarts_per_minute: f64,
}

fn shares(given: &Given) -> Result<Vec<worker::Work>, String> {
    if HOLDER.is_empty() {
        return Err(
            "load containers: this program was built without the static one for containers, since there was no \
             static C library (see soak/build.rs)"
                .to_owned(),
        );
    }
    Ok(vec![worker::Work::Containers(Work {
        containers: number(given, "containers")?,
        sockets: sockets_each(given)?,
        restarts_per_minute: rate(given, "restarts-per-minute")?,
    })])
}

/// A container that runs, or ran when it was last looked at.
#[derive(Debug)]
struct Container {
    name: String,
    /// Its first process.
    init: ProcessId,
    /// Received, when it was last looked at.
    bytes: u64,
    /// It ended by itself, and that was said.
    is_missed: bool,
}

/// Does a share.
///
/// # Errors
/// When not everything could be made at first. What fails later is counted.
pub fn work(worker: &mut Worker, work: &Work) -> Result<(), String> {
    let marker = worker.share.marker;
    let mut engine = Engine::find(worker)?;
    let result = hold(worker, work, &engine);
    let ended = engine.end();
    worker.load.containers = 0;
    worker.load.sockets = 0;
    // The parent may have been killed: then nobody else does it.
    result.and(ended).and(clean::after(marker))
}

fn hold(worker: &mut Worker, work: &Work, engine: &Engine) -> Result<(), String> {
    import(worker, engine)?;
    let mut containers = VecDeque::new();
    for _ in 0..work.containers {
        if worker.wait(Instant::now())? {
            return Ok(());
        }
        containers.push_back(start(worker, work, engine)?);
    }
    let mut ended_bytes = 0;
    look(worker, &mut containers, ended_bytes);
    worker.ready();
    let between = match work.restarts_per_minute {
        0.0 => None,
        rate => Some(Duration::from_secs_f64((60.0 / rate).min(1e9))),
    };
    let mut restart_at = between.map(|between| Instant::now() + between);
    loop {
        let look_at = Instant::now() + REPORT_EVERY;
        if worker.wait(restart_at.map_or(look_at, |restart| restart.min(look_at)))? {
            return Ok(());
        }
        if let Some((due, between)) = restart_at.zip(between)
            && due <= Instant::now()
        {
            if let Some(oldest) = containers.pop_front() {
                ended_bytes += oldest.bytes;
                match engine.docker(&["rm", "--force", &oldest.name]) {
                    Ok(_) => {}
                    Err(problem) => worker.failed(&problem),
                }
            }
            look(worker, &mut containers, ended_bytes);
            match start(worker, work, engine) {
                Ok(container) => {
                    containers.push_back(container);
                    worker.load.containers_restarted += 1;
                }
                Err(problem) => worker.failed(&problem),
            }
            // What was missed meanwhile is left out.
            restart_at = Some((due + between).max(Instant::now()));
        }
        look(worker, &mut containers, ended_bytes);
    }
}

/// Makes the image.
fn import(worker: &Worker, engine: &Engine) -> Result<(), String> {
    let file = |name: &str| engine.folder.join(name).display().to_string();
    let said = |error| format!("image: {error}");
    program::write(&engine.folder.join("holder"), HOLDER).map_err(said)?;
    let folder = engine.folder.display().to_string();
    let tar = process::Command::new("tar")
        .args([
            "--create",
            "--file",
            &file("image.tar"),
            "--directory",
            &folder,
            "holder",
        ])
        .output()
        .map_err(|error| format!("tar: {error}"))?;
    if !tar.status.success() {
        return Err(format!("tar: {}", String::from_utf8_lossy(&tar.stderr).trim()));
    }
    let image = image(worker.share.marker);
    engine
        .docker(&[
            "import",
            "--change",
            "ENTRYPOINT [\"/holder\"]",
            &file("image.tar"),
            &image,
        ])
        .map(drop)
}

/// Starts one, and waits until all its sockets are there.
fn start(worker: &mut Worker, work: &Work, engine: &Engine) -> Result<Container, String> {
    let marker = worker.share.marker;
    let name = worker.next_name();
    let (label, image, sockets) = (label(marker), image(marker), work.sockets.to_string());
    let isolation = [
        "--network",
        "none",
        "--log-driver",
        "none",
        "--stop-signal",
        "SIGKILL",
    ];
    let mut arguments = vec!["run", "--detach", "--name", &name, "--label", &label];
    arguments.extend(isolation);
    arguments.extend([image.as_str(), &sockets]);
    engine.docker(&arguments)?;
    let format = "{{.State.Pid}} {{.NetworkSettings.SandboxKey}}";
    let inspected = engine.docker(&["inspect", "--format", format, &name])?;
    let (pid, mount) = inspected.split_once(' ').unwrap_or((&inspected, ""));
    engine.note_mount(Path::new(mount))?;
    let init = pid.parse().ok().and_then(ProcessId::of);
    let init = init.ok_or_else(|| format!("container {name} ended at once"))?;
    let container = Container {
        name,
        init,
        bytes: 0,
        is_missed: false,
    };
    let end = Instant::now() + START_MAX;
    while container.received().is_none() {
        if !init.is_alive() || Instant::now() >= end {
            return Err(format!("container {}: its sockets are not there", container.name));
        }
        // Reports go on meanwhile; that it is time to end is seen again by the next who waits.
        if worker.wait(Instant::now() + LOOK_EVERY)? {
            thread::sleep(LOOK_EVERY);
        }
    }
    Ok(container)
}

impl Container {
    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.init.pid)).ok()
    }

    /// What it says that it received; none before all its sockets are there.
    fn received(&self) -> Option<u64> {
        self.file(&format!("root/{BYTES}"))?.trim().parse().ok()
    }

    /// TCP sockets in its namespace, without the listener.
    fn sockets(&self) -> Option<u64> {
        let sockstat = self.file("net/sockstat")?;
        let tcp = sockstat
            .lines()
            .find_map(|line| line.strip_prefix("TCP: inuse "))?;
        let count: u64 = tcp.split(' ').next()?.parse().ok()?;
        Some(count.saturating_sub(1))
    }
}

/// Counts what is there. A container that ended by itself is an error, once; it stays in the list, to be
/// removed in its turn.
fn look(worker: &mut Worker, containers: &mut VecDeque<Container>, ended_bytes: u64) {
    let (mut alive, mut sockets, mut bytes) = (0, 0, ended_bytes);
    for container in containers {
        if container.init.is_alive() {
            alive += 1;
            container.bytes = container.received().unwrap_or(container.bytes);
            sockets += container.sockets().unwrap_or(0);
        } else if !container.is_missed {
            container.is_missed = true;
            worker.failed(&format!("container {} ended by itself", container.name));
        }
        bytes += container.bytes;
    }
    worker.load.containers = alive;
    worker.load.sockets = sockets;
    worker.load.bytes = bytes;
}
