//! Runs a city in one process. See `civicmesh-sim --help`.

mod command;
mod news;

fn main() -> std::process::ExitCode {
    command::main()
}
