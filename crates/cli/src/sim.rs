//! `civicmesh sim`: becomes the simulator, a program of its own beside this one.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow};

/// The simulator's name.
const PROGRAM: &str = "civicmesh-sim";

/// Becomes the simulator; comes back only where that cannot be.
pub fn run(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let own = std::env::current_exe().context("where this program stands is not known")?;
    Err(become_simulator(&own, arguments))
}

fn become_simulator(own: &Path, arguments: Vec<OsString>) -> anyhow::Error {
    let program = own.with_file_name(PROGRAM);
    let error = Command::new(&program).arg0("civicmesh sim").args(arguments).exec();
    match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "the simulator is not installed: there is no {}; build it with `scripts/build`, or put {PROGRAM} beside {}",
            program.display(),
            own.display()
        ),
        _ => anyhow!(error).context(format!("{} cannot be run", program.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_simulator_it_is_said_how_to_get_one() {
        let error = become_simulator(Path::new("/nowhere/at/all/civicmesh"), Vec::new());
        assert!(error.to_string().contains("scripts/build"), "{error}");
        assert!(error.to_string().contains("civicmesh-sim"), "{error}");
    }
}
