//! Runs a city in one process. See `civicmesh-sim --help`.

mod command;
mod news;

use mimalloc::MiMalloc;

/// A city in one process takes and gives back memory all the time.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    command::main()
}
