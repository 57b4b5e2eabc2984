//! Whole nodes in one process: real TLS on loopback, real databases on disk.

mod department;
mod fixture;
mod losses;
mod two_nodes;
mod two_stories;
