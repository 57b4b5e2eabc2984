//! The commands `up` and `fault`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Fault, Up, ask};

/// Keep a city of real nodes up on this machine, in real time and with real TLS, until Ctrl-C
#[derive(Debug, Args)]
pub struct UpCommand {
    /// The scenario file; of it, the city is taken. What goes wrong comes by hand: `civicmesh sim fault`
    scenario: PathBuf,
    /// The seed: another one is another city
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The city's folder, which must not hold one yet; by default one beside where you are, named by the seed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Seconds that an hour of the city takes
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = hour)]
    hour: f64,
}

/// Break a city that is up, or mend it
///
/// The nodes share one process, so that none can be killed by itself: `stop` ends one in order. What a kill at any moment
/// does, a power cut or a full disk, `civicmesh sim run` shows with the operations `away`, `crash` and `disk-full`.
#[derive(Debug, Args)]
pub struct FaultCommand {
    /// The city's folder
    dir: PathBuf,
    #[command(subcommand)]
    fault: Fault,
}

fn hour(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=3_600.0).contains(seconds));
    seconds.ok_or_else(|| format!("`{text}` is not a number from 0.05 to 3600"))
}

impl UpCommand {
    /// Runs until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// As [`Up::run`].
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.dir.unwrap_or_else(|| PathBuf::from(format!("civicmesh-city-{}", self.seed)));
        let hour = Duration::from_secs_f64(self.hour);
        let up = Up { scenario: self.scenario, seed: self.seed, folder, hour };
        // many nodes in one process: each has two databases
        if let Err(error) = civicmesh_node::raise_open_files() {
            line(&format!("the limit of open files stays as it is: {error}"));
        }
        let runtime = civicmesh_node::runtime()?;
        runtime.block_on(async {
            let stop = async {
                if let Err(error) = civicmesh_node::termination().await {
                    line(&format!("signals cannot be heard, so the city ends: {error}"));
                }
            };
            up.run(stop, &mut line).await
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl FaultCommand {
    /// Asks the city to do it, and says what it said.
    ///
    /// # Errors
    /// As [`ask`].
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = runtime.block_on(ask(&self.dir, &self.fault))?;
        said.lines.iter().for_each(|said| line(said));
        Ok(if said.done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A line for whoever reads. A reader that is gone needs none.
fn line(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}
