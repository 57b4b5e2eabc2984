//! A whole city in one process: the real node code, many nodes over a simulated network and clock, broken on purpose,
//! watched by checkers.
//!
//! A run is a [`Scenario`](scenario::Scenario) and a seed, and nothing else: the same two print the same trace byte for
//! byte. What is simulated is the network (turmoil), the clock, the disk's memory and the departments' feeds; what runs
//! is `civicmesh_node::Node`. Out of scope by name: loss of the page cache, RocksDB's own threads, the noise of OpenDP,
//! and TLS, whose place a plain link with the same identity check takes.
//!
//! - [`scenario`]: what a scenario file says; [`faults`]: the operations that break things.
//! - [`city`]: departments, contracts, feeds and canaries, drawn from the seed.
//! - [`world`]: network, clock, disks and links of the simulation, and the taps and hooks on them.
//! - [`run`]: drives a scenario and gives its [`Outcome`](outcome::Outcome).
//! - [`check`]: one checker per invariant; [`fuzz`]: draws scenarios, shrinks those that fail.
//! - [`growth`]: the same city with more and more departments, against what theory says.
//! - [`central`]: one central brain against a cluster of brains; [`up`]: a city of real nodes on loopback.
//! - [`report`]: writes an [`Outcome`](outcome::Outcome) as HTML and JSON.

pub mod central;
pub mod check;
pub mod city;
pub mod faults;
pub mod fuzz;
pub mod growth;
pub mod outcome;
pub mod report;
pub mod run;
pub mod scenario;
pub mod up;
pub mod world;

#[cfg(test)]
mod tests;
