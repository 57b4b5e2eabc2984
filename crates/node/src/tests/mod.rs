//! Whole nodes in one process: real TLS on loopback, real databases on disk.

mod fixture;
mod two_nodes;
