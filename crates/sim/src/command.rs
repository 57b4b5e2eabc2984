//! The commands `run`, `fuzz`, `up` and `fault`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result};
use civicmesh_sim::central::{self, Compared, Comparison};
use civicmesh_sim::check::CHECKERS;
use civicmesh_sim::city::City;
use civicmesh_sim::fuzz;
use civicmesh_sim::growth::{self, Growth};
use civicmesh_sim::outcome::Outcome;
use civicmesh_sim::report::{self, of_run};
use civicmesh_sim::run::{Progress, run};
use civicmesh_sim::scenario::Scenario;
use civicmesh_sim::up::command::{FaultCommand, UpCommand};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::news::{News, out, say};

/// A checker found something.
const FOUND: u8 = 1;
/// The scenario cannot be run.
const UNUSABLE: u8 = 2;
/// Ended by Ctrl-C, or SIGTERM.
const INTERRUPTED: u8 = 130;
/// Longest wait for nodes on loopback to end.
const NODES_END: Duration = Duration::from_secs(10);

/// Run a whole city on this machine: the real nodes, a simulated network and clock, broken on purpose
///
/// A run is a scenario file and a seed, and nothing else: the same two give the same run. Checkers watch it: every
/// acknowledged row is in its product once, no personal value leaves its owner, every node gets what each owner has, no
/// answer hides a gap.
#[derive(Debug, Parser)]
#[command(name = "civicmesh-sim", version, max_term_width = 100)]
#[command(
    after_help = "Examples:\n  civicmesh sim run deploy/sim/first-city.toml\n  civicmesh sim run deploy/sim/storm.toml --seed \
                        7 --out storm\n  civicmesh sim fuzz --minutes 10 --keep failures\n\nExit codes: 0 nothing was found, 1 a \
                        checker found something, 2 the scenario cannot be run, 130 ended by Ctrl-C or \
                        SIGTERM, which leave a report of what came so far."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario and report what came of it
    Run(RunCommand),
    /// Draw scenarios by seed and run them; shrink those in which a checker finds something
    Fuzz(FuzzCommand),
    Up(UpCommand),
    Fault(FaultCommand),
}

#[derive(Debug, Args)]
struct RunCommand {
    /// The scenario file; deploy/sim/ has some, each says what it shows
    scenario: PathBuf,
    /// The seed: another one is another city, other weather and other dice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder for report.html, report.json and trace.txt
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to say what came of it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print what happened, line by line
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Args)]
struct FuzzCommand {
    /// A scenario whose city is used; its operations come on top of those drawn. By default a small city for a day
    scenario: Option<PathBuf>,
    /// How long to go on
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// Which seeds to run: `A..B`, from A to before B
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<(u64, u64)>,
    /// A folder for the scenarios that failed
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is no range of seeds; write 0..50, for instance");
    let (from, until) = text.split_once("..").ok_or_else(wrong)?;
    let range = (from.parse().map_err(|_| wrong())?, until.parse().map_err(|_| wrong())?);
    if range.0 < range.1 { Ok(range) } else { Err(wrong()) }
}

/// Runs the command that was given.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stopped = Arc::new(AtomicBool::new(false));
    let done = match arguments.command {
        Command::Run(command) => run_file(&command, &stopped),
        Command::Fuzz(command) => on_interrupt(&stopped).and_then(|_listening| run_many(&command, &stopped)),
        Command::Up(command) => command.run(),
        Command::Fault(command) => command.run(),
    };
    done.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::from(UNUSABLE)
    })
}

/// Sets `stopped` at the first Ctrl-C or SIGTERM, for as long as what it returns lives.
fn on_interrupt(stopped: &Arc<AtomicBool>) -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stopped = Arc::clone(stopped);
    runtime.spawn(async move {
        if civicmesh_node::termination().await.is_ok() {
            stopped.store(true, SeqCst);
        }
    });
    Ok(runtime)
}

/// Runs a scenario: one that compares on real nodes and in real time, any other in the simulation, one that grows many times.
fn run_file(command: &RunCommand, stopped: &Arc<AtomicBool>) -> Result<ExitCode> {
    match Comparison::read(&command.scenario)? {
        Some(comparison) => compare(&comparison, command),
        None => {
            let _listening = on_interrupt(stopped)?;
            match Growth::read(&command.scenario)? {
                Some(growth) => grow(&growth, command, stopped),
                None => run_one(command, stopped),
            }
        }
    }
}

/// Runs a city again and again, each time with more departments.
fn grow(growth: &Growth, command: &RunCommand, stopped: &AtomicBool) -> Result<ExitCode> {
    let mut news = News::new(&growth.title);
    let grown = growth::run_all(growth, command.seed, &mut |departments, progress| {
        news.tell(progress.at, progress.whole, || format!("{departments} departments"));
        if stopped.load(SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    news.end();
    let figures = growth::figures(growth, &grown)?;
    match command.format {
        Format::Text => growth::lines(growth, &grown).iter().for_each(|line| out(line)),
        Format::Json => out(&serde_json::to_string_pretty(&grown)?),
    }
    if let Some(folder) = &command.out {
        say(&format!("report: {}", report::write(&figures, folder)?.display()));
    }
    let found = grown.points.iter().any(|point| !point.findings.is_empty());
    Ok(match (found, grown.interrupted) {
        (true, _) => ExitCode::from(FOUND),
        (false, true) => ExitCode::from(INTERRUPTED),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// The first Ctrl-C ends a comparison where it is; its report tells what was measured by then.
fn compare(comparison: &Comparison, command: &RunCommand) -> Result<ExitCode> {
    if let Err(error) = civicmesh_node::raise_open_files() {
        say(&format!("the limit of open files stays as it is: {error}"));
    }
    let folder = command.out.clone().unwrap_or_else(|| PathBuf::from("central-vs-cluster"));
    let cities = tempfile::Builder::new().prefix("civicmesh-sim-").tempdir()?;
    let runtime = civicmesh_node::runtime()?;
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    let mut kept = |compared: &Compared| {
        report::write(&central::figures(compared)?, &folder)?;
        Ok(())
    };
    let ran =
        runtime.block_on(central::run(comparison, command.seed, cities.path(), stop, &mut |news| say(news), &mut kept));
    // nodes of a part that was stopped end before their folders go
    runtime.shutdown_timeout(NODES_END);
    let compared = ran?;
    let figures = central::figures(&compared)?;
    match command.format {
        Format::Text => out(&figures.verdict),
        Format::Json => out(&serde_json::to_string_pretty(&figures)?),
    }
    say(&format!("report: {}", folder.join(report::PAGE_FILE).display()));
    Ok(if compared.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) })
}

fn run_one(command: &RunCommand, stopped: &AtomicBool) -> Result<ExitCode> {
    let scenario = Scenario::read(&command.scenario)?;
    let mut news = News::new(&scenario.title);
    let outcome = run(&scenario, command.seed, &mut |progress: Progress| {
        news.tell(progress.at, progress.whole, || match progress.findings {
            0 => format!("day {}", progress.at / 86_400 + 1),
            findings => format!("day {}, {findings} findings", progress.at / 86_400 + 1),
        });
        if stopped.load(SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    news.end();
    if command.trace {
        outcome.trace.iter().for_each(|line| out(line));
    }
    match command.format {
        Format::Text => tell(&outcome),
        Format::Json => out(&serde_json::to_string_pretty(&outcome)?),
    }
    if let Some(folder) = &command.out {
        write(&scenario, &outcome, folder)?;
    }
    Ok(match (outcome.findings.is_empty(), outcome.interrupted) {
        (false, _) => ExitCode::from(FOUND),
        (true, true) => ExitCode::from(INTERRUPTED),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn write(scenario: &Scenario, outcome: &Outcome, folder: &Path) -> Result<()> {
    let city = City::draw(outcome.seed, &scenario.city)?;
    let looked: Vec<of_run::Looked> = CHECKERS
        .iter()
        .map(|(checker, promise, of)| of_run::Looked {
            checker: (*checker).to_owned(),
            promise: (*promise).to_owned(),
            things: outcome.looks.get(*checker).copied().unwrap_or(0),
            of: (*of).to_owned(),
        })
        .collect();
    let page = report::write(&of_run::figures(outcome, &city, &looked)?, folder)?;
    let trace = folder.join("trace.txt");
    std::fs::write(&trace, outcome.trace.join("\n") + "\n").with_context(|| trace.display().to_string())?;
    say(&format!("report: {}", page.display()));
    Ok(())
}

/// What came of a run, in a few lines.
fn tell(outcome: &Outcome) {
    let rows: u64 = outcome.nodes.iter().map(|node| node.rows_accepted).sum();
    let bytes: u64 = outcome.links.iter().map(|link| link.bytes).sum();
    let days = outcome.seconds as f64 / 86_400.0;
    out(&format!("{} (seed {})", outcome.title, outcome.seed));
    if outcome.interrupted {
        out("ended before its time, by Ctrl-C or SIGTERM: what follows is as far as it came");
    }
    out(&format!("{} nodes, {days:.1} days, {rows} rows taken in, {bytes} bytes between nodes", outcome.nodes.len()));
    let answered = outcome.questions.iter().filter(|question| question.error.is_none()).count();
    out(&format!("{answered} of {} questions answered, {} faults", outcome.questions.len(), outcome.faults.len()));
    let cost = &outcome.cost;
    let memory = cost.memory_bytes_max >> 20;
    out(&format!("{:.1} s on the wall, {:.1} s of processor, {memory} MB at the most", cost.wall_s, cost.cpu_s));
    for (checker, promise, of) in CHECKERS {
        let found: Vec<_> = outcome.findings.iter().filter(|finding| finding.checker == checker).collect();
        let looks = outcome.looks.get(checker).copied().unwrap_or(0);
        match found.as_slice() {
            [] => out(&format!("ok     {checker}: {promise} ({looks} {of})")),
            found => {
                out(&format!("FOUND  {checker}"));
                found.iter().for_each(|finding| out(&format!("       {}", finding.said)));
            }
        }
    }
}

fn run_many(command: &FuzzCommand, stopped: &AtomicBool) -> Result<ExitCode> {
    let base = match &command.scenario {
        Some(file) => Scenario::read(file)?,
        None => fuzz::base(),
    };
    if let Some(folder) = &command.keep {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut news = News::new("fuzzing");
    let until = Duration::from_secs(60 * command.minutes.unwrap_or(1));
    let (first, last) = command.seeds.unwrap_or((0, u64::MAX));
    let (mut tried, mut failed) = (0_u64, 0_u64);
    for seed in first..last {
        let over = command.seeds.is_none() && news.elapsed() >= until;
        if over || stopped.load(SeqCst) {
            break;
        }
        let mut going = || if stopped.load(SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        match fuzz::try_seed(&base, seed, &mut going)? {
            Some(failure) => {
                failed += 1;
                news.aside(|| keep(&failure, command.keep.as_deref()))?;
            }
            // a run that was cut says nothing of its seed
            None if stopped.load(SeqCst) => break,
            None => {}
        }
        tried += 1;
        let (at, whole) = match command.seeds {
            Some((first, last)) => (tried, last - first),
            None => (news.elapsed().as_secs(), until.as_secs()),
        };
        news.tell(at, whole, || format!("{tried} seeds, {failed} failed"));
    }
    news.end();
    let ended = if stopped.load(SeqCst) { ", ended before its time" } else { "" };
    out(&format!("{tried} seeds in {:.0} s, {failed} failed{ended}", news.elapsed().as_secs_f64()));
    Ok(match (failed, stopped.load(SeqCst)) {
        (0, false) => ExitCode::SUCCESS,
        (0, true) => ExitCode::from(INTERRUPTED),
        (_, _) => ExitCode::from(FOUND),
    })
}

fn keep(failure: &fuzz::Failure, folder: Option<&Path>) -> Result<()> {
    out(&format!("seed {} failed:", failure.seed));
    failure.outcome.findings.iter().for_each(|finding| out(&format!("  {}: {}", finding.checker, finding.said)));
    out(&failure.as_test());
    if let Some(folder) = folder {
        let file = folder.join(format!("seed-{}.toml", failure.seed));
        std::fs::write(&file, failure.scenario.to_toml()).with_context(|| file.display().to_string())?;
        let trace = folder.join(format!("seed-{}.trace", failure.seed));
        std::fs::write(&trace, failure.outcome.trace.join("\n")).with_context(|| trace.display().to_string())?;
    }
    Ok(())
}
