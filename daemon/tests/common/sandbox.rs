//! Privileges for a test, also for an ordinary user: the test runs itself again as the root of
//! fresh user, network and mount namespaces, in a process that ends with it.

use nix::mount::{MsFlags, mount};
use std::process::Command;
use tempfile::TempDir;

/// Names the step of the test that a child is to run.
const STEP: &str = "XTCP2_TEST_STEP";

/// Where the sandbox has a file system of its own: what is still mounted there when the test ends
/// goes with it.
const OWN_FILES: &str = "/run";

/// An empty folder, in the sandbox.
pub fn folder() -> TempDir {
    TempDir::new_in(OWN_FILES).expect("a folder in the sandbox")
}

/// Runs `body` as root of namespaces of its own. `test` is the path of the calling test, as the
/// test binary lists it. Where the system forbids that, the test says so and passes.
pub fn run(test: &str, body: impl FnOnce()) {
    let sandbox = ["unshare", "-Urnm", "--fork", "--kill-child", "--"];
    match std::env::var(STEP) {
        Ok(step) if step == "sandbox" => {
            let tmpfs = Some("tmpfs");
            mount(tmpfs, OWN_FILES, tmpfs, MsFlags::empty(), None::<&str>).expect("a tmpfs on /run");
            body();
        }
        // A later step: `again` runs it from where the test calls it.
        Ok(_) => {}
        Err(_) => {
            let probe = Command::new(sandbox[0]).args(&sandbox[1..]).arg("true").output();
            match probe {
                Ok(probe) if probe.status.success() => start(test, "sandbox", &sandbox),
                Ok(probe) => {
                    let why = String::from_utf8_lossy(&probe.stderr);
                    eprintln!("{test}: skipped, no user namespaces here: {}", why.trim());
                }
                Err(error) => eprintln!("{test}: skipped, no unshare program here: {error}"),
            }
        }
    }
}

/// From within the sandbox, runs the test once more under `wrapper`, with the given step.
pub fn start(test: &str, step: &str, wrapper: &[&str]) {
    let binary = std::env::current_exe().expect("the path of the test binary");
    let child = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(binary)
        .args([
            "--exact",
            test,
            "--include-ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(STEP, step)
        .output()
        .expect("start of the test's child");
    eprint!("{}", String::from_utf8_lossy(&child.stdout));
    eprint!("{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{test}, step {step}: {}", child.status);
}

/// Whether this process was started for that step.
pub fn is_step(step: &str) -> bool {
    std::env::var(STEP).is_ok_and(|current| current == step)
}
