//! The engine over small worlds of raw rows that the tests know: what it answers, what it refuses, and whether it
//! agrees with plain SQL over the raw rows.

mod agreement;
mod answers;
mod bounds;
mod browse;
mod coarse;
mod completeness;
mod cut;
mod exact;
mod explain;
mod figures;
mod fixture;
mod goldens;
mod plans;
mod refusals;
mod replicas;
mod sound;
