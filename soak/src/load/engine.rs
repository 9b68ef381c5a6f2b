//! A Docker Engine: the one that runs, or one of our own for as long as the load lasts.
//!
//! Ours has a data folder of its own, but the usual folder for what runs, so that namespaces are where an
//! operator's are: /run/docker/netns. It has no bridge and touches no packet filter.

use super::{
    trace::{self, Made, Marker, ProcessId},
    worker::Worker,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    fs::{self, File},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Where an engine answers that was there before.
const SOCKET: &str = "/var/run/docker.sock";
/// Folders that an engine makes outside of its data. Those that were not there before it go with it.
pub const FOLDERS: [&str; 3] = ["/run/docker", "/run/containerd", "/etc/docker"];
/// What versions before 25 make in a folder that the package may have made.
const KEY: &str = "/etc/docker/key.json";
/// What a dockerd takes to start on a busy machine, and more.
const START_MAX: Duration = Duration::from_secs(60);
/// What it takes to end; its containers are gone by then.
const END_MAX: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An engine.
#[derive(Debug)]
pub struct Engine {
    marker: Marker,
    socket: PathBuf,
    /// A folder of the load.
    pub folder: PathBuf,
    own: Option<Child>,
}

impl Engine {
    /// That which runs, or else a new one.
    ///
    /// # Errors
    /// When there is none, and none can be started: one line with what dockerd said.
    pub fn find(worker: &mut Worker) -> Result<Engine, String> {
        let marker = worker.share.marker;
        let folder = env::temp_dir().join(worker.next_name());
        trace::note(marker, &Made::Temporary { path: folder.clone() })?;
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut engine = Engine {
            marker,
            socket: PathBuf::from(SOCKET),
            folder,
            own: None,
        };
        // A socket file alone may be a dead engine's.
        if UnixStream::connect(SOCKET).is_ok() && engine.docker(&["version"]).is_ok() {
            trace::note(
                marker,
                &Made::Engine {
                    socket: engine.socket.clone(),
                },
            )?;
            return Ok(engine);
        }
        match engine.start() {
            Ok(()) => Ok(engine),
            Err(problem) => {
                engine.end()?;
                Err(problem)
            }
        }
    }

    fn start(&mut self) -> Result<(), String> {
        if let Some(process) = trace::processes_named("dockerd").first() {
            return Err(format!(
                "dockerd runs as process {}, but does not answer at {SOCKET}: two cannot share /run/docker",
                process.pid
            ));
        }
        for path in FOLDERS.map(PathBuf::from) {
            if !path.exists() {
                trace::note(self.marker, &Made::EngineFolder { path })?;
            }
        }
        let path = PathBuf::from(KEY);
        if !path.exists() {
            trace::note(self.marker, &Made::File { path })?;
        }
        self.socket = self.folder.join("docker.sock");
        let file = |name: &str| self.folder.join(name).display().to_string();
        let said = |error| format!("dockerd: {error}");
        fs::write(file("daemon.json"), "{}").map_err(said)?;
        let log = File::create(file("dockerd.log")).map_err(said)?;
        let mut child = Command::new("dockerd")
            .args([
                "--config-file",
                &file("daemon.json"),
                "--pidfile",
                &file("dockerd.pid"),
            ])
            .args([
                "--data-root",
                &file("data"),
                "--host",
                &format!("unix://{}", file("docker.sock")),
            ])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--storage-driver=vfs",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| {
                format!("no engine answers at {SOCKET}, and dockerd cannot be started: {error}")
            })?;
        self.note_process("dockerd", pid(&child))?;
        let end = Instant::now() + START_MAX;
        let answers = loop {
            if UnixStream::connect(&self.socket).is_ok() {
                break true;
            }
            if Instant::now() >= end || child.try_wait().map_err(said)?.is_some() {
                break false;
            }
            thread::sleep(LOOK_EVERY);
        };
        let dockerd = pid(&child);
        self.own = Some(child);
        for process in trace::children_of(dockerd) {
            self.note_process("containerd", process.pid)?;
        }
        let answer = match answers {
            true => self.docker(&["version"]).map(drop),
            false => Err("it does not answer".to_owned()),
        };
        answer.map_err(|problem| {
            let log = fs::read_to_string(self.folder.join("dockerd.log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or("it said nothing").to_owned();
            format!("dockerd: {problem}: {last}")
        })
    }

    /// Notes a process of the engine, if it is there.
    fn note_process(&self, role: &str, pid: i32) -> Result<(), String> {
        let Some(process) = ProcessId::of(pid) else {
            return Ok(());
        };
        let role = role.to_owned();
        trace::note(self.marker, &Made::Process { role, process })
    }

    /// Notes where the engine has mounted something; it goes with the container, unless all are killed.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn note_mount(&self, path: &Path) -> Result<(), String> {
        match (&self.own, path.canonicalize()) {
            (Some(_), Ok(path)) => trace::note(self.marker, &Made::File { path }),
            _ => Ok(()),
        }
    }

    /// What `docker` with these arguments says.
    ///
    /// # Errors
    /// What it says on stderr.
    pub fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        docker(&self.socket, arguments)
    }

    /// Removes the containers and the image, and ends the engine if it is ours.
    ///
    /// # Errors
    /// When containers, or the engine, stay.
    pub fn end(&mut self) -> Result<(), String> {
        let removed = match self.socket.exists() {
            true => remove_all(&self.socket, self.marker),
            false => Ok(()),
        };
        let Some(mut child) = self.own.take() else {
            return removed;
        };
        let _ = kill(Pid::from_raw(pid(&child)), Signal::SIGTERM);
        let end = Instant::now() + END_MAX;
        while Instant::now() < end && child.try_wait().is_ok_and(|status| status.is_none()) {
            thread::sleep(LOOK_EVERY);
        }
        let _ = child.kill();
        child.wait().map_err(|error| format!("end of dockerd: {error}"))?;
        removed
    }
}

fn pid(child: &Child) -> i32 {
    // Kernels give out numbers below 2^22.
    i32::try_from(child.id()).unwrap_or(i32::MAX)
}

/// Name of the image, and label of the containers, of a load.
pub fn image(marker: Marker) -> String {
    format!("xtcp2-soak:{marker}")
}

/// Label of the containers of a load.
pub fn label(marker: Marker) -> String {
    format!("xtcp2-soak={marker}")
}

/// Removes every container and the image of a load.
///
/// # Errors
/// What docker says.
pub fn remove_all(socket: &Path, marker: Marker) -> Result<(), String> {
    let filter = format!("label={}", label(marker));
    let ids = docker(
        socket,
        &["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter],
    )?;
    let mut arguments = vec!["rm", "--force"];
    arguments.extend(ids.lines());
    if arguments.len() > 2 {
        docker(socket, &arguments)?;
    }
    let image = image(marker);
    match docker(socket, &["images", "--quiet", &image])?.is_empty() {
        true => Ok(()),
        false => docker(socket, &["rmi", "--force", &image]).map(drop),
    }
}

/// `docker`, at that socket, with none of the settings of who calls.
fn docker(socket: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(["--host", &format!("unix://{}", socket.display())])
        .args(arguments)
        .env_remove("DOCKER_CONTEXT")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("docker: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!(
            "docker {}: {}",
            arguments.first().unwrap_or(&""),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
