//! The integration tests, one binary: real processes, real TLS on loopback, real third-party clients.

mod city;
mod layers;
