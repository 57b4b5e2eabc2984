//! A city of real nodes on loopback, with real TLS, real disks and real time.

pub mod town;
pub mod wires;
