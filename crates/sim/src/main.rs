//! Runs a city in one process. See `civicmesh-sim --help`.

fn main() {}
