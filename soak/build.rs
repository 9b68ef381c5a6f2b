//! Compiles the program of the containers (holder/holder.rs) into one static file, which is put into ours:
//! the image is made where a load runs, and there is no compiler there. Where that is not possible, for want
//! of a static C library, the file is empty, and only `load containers` says so and refuses.

use std::{env, fs, io, path::Path, process::Command};

const SOURCE: &str = "holder/holder.rs";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={SOURCE}");
    let variable = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let output = Path::new(&variable("OUT_DIR")?).join("holder");
    let compiled = Command::new(variable("RUSTC")?)
        .args(["--edition", "2024", "--crate-name", "holder", SOURCE])
        .args(["--target", &variable("TARGET")?])
        .args([
            "-Ctarget-feature=+crt-static",
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
        ])
        .arg("-o")
        .arg(&output)
        .output()?;
    if !compiled.status.success() {
        let said = String::from_utf8_lossy(&compiled.stderr);
        let why = said.lines().next().unwrap_or("rustc said nothing");
        println!("cargo::warning=load containers will not work: {SOURCE} cannot be linked statically: {why}");
        fs::write(&output, "")?;
    }
    Ok(())
}
