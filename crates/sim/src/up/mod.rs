//! A city of real nodes on loopback, with real TLS, real disks and real time: kept up for people by [`Up`], and lived
//! through by the comparison in `central`.

pub mod command;
mod fault;
mod live;
#[cfg(test)]
mod tests;
pub mod town;
pub mod wires;

pub use fault::{EVERY, Fault, Said, ask};
pub use live::Up;
