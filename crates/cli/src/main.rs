//! The `civicmesh` command: one binary for the city's office, a department's node, and those who ask.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed and says why, 2 usage,
//! 3 completeness, freshness or coverage demanded and not met.

mod args;
mod city;
mod completeness;
mod contract;
mod demo;
mod ingest;
mod node;
mod query;
mod render;
mod replica;
mod say;
mod sim;
mod status;
mod values;

use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Questions and links take and give back memory all the time, on many threads.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            say::error(&error);
            ExitCode::from(say::exit_code(&error))
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let logs = arguments.logs();
    match arguments.command {
        Command::City(command) => city::run(command),
        Command::Node(command) => node::run(command, &logs),
        Command::Contract(command) => contract::run(command),
        Command::Ingest(command) => ingest::run(command),
        Command::Query(command) => query::run(&command),
        Command::Status(command) => status::run(&command),
        Command::Replica(command) => replica::run(command),
        Command::Demo(command) => demo::run(command),
        Command::Sim { arguments } => sim::run(arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "civicmesh", &mut script);
            say::line(String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
    }
}
