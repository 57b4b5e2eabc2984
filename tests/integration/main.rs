//! The integration tests, one binary: real processes, real TLS on loopback, real third-party clients.

mod city;
mod first;
mod kill;
mod layers;
mod power;
mod sample;
mod samples;
