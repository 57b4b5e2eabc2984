//! The integration tests, one binary: real processes, real TLS on loopback, real third-party clients.

// The tests are the world that the nodes run in: they take ports, connect and wait as an operator's machine does.
#![allow(clippy::disallowed_methods)]

mod city;
mod demo;
mod first;
mod flight;
mod grpc;
mod kill;
mod late;
mod layers;
mod logs;
mod openmetrics;
mod oracle;
mod postgres;
mod power;
mod sample;
mod samples;
mod sketches;
mod surfaces;
mod trust;
mod windows;
